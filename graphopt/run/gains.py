"""How many times faster the deployed network is than the original, on each target that has a price."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from graphopt.cost.ratio import Ratio
from graphopt.progress import Progress
from graphopt.run.run import Run

if TYPE_CHECKING:
    import onnx


def find_gains(run: Run, model: onnx.ModelProto, priced: Collection[str], say: Progress) -> dict[str, Ratio]:
    """By target, for those in `priced`; `model` is the deployed network."""
    original, found = run.folder.original.read(), {}
    for name, backend in run.backends().items():
        if name in priced:
            say(0.95, f"{name}: before and after, compared")
            found[name] = backend.compare(original, model, run.config.trials)
    return found
