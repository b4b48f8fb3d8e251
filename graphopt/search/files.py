"""The files that a search leaves in its folder."""

from __future__ import annotations

from pathlib import Path

SELECTION = "selection.json"  # of the search for the goal that the run goes on with
HISTORY = "history.json"  # of the same search
FRONT = "front.json"  # all searches in short
WHOLES = "wholes.json"  # whole networks that were priced
SENSITIVITY = "sensitivity.json"  # what each candidate alone loses
SPACE = "space"  # the folder of the space, with the weights that were trained


def selection_of(place: Path, label: str) -> Path:
    """Of a further goal or method."""
    return place / f"selection.{label}.json"


def checkpoint_of(place: Path, label: str) -> Path:
    """What a search that was killed goes on from."""
    return place / f"checkpoint.{label}.pt"
