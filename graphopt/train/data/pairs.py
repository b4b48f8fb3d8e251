"""Two folders with the same file names: noisy images and their clean partners."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from graphopt.config.data import PairFolders
from graphopt.errors import GraphoptError
from graphopt.train.data.images import list_images, read_image
from graphopt.train.data.photographs import Photograph, Views, check_pair


def paired_folders(folders: PairFolders) -> list[Photograph]:
    """Partners share their name up to the suffix. An image without a partner is an error."""
    noisy, clean = ({path.stem: path for path in list_images([f])} for f in (folders.noisy, folders.clean))
    for ours, others, kind, folder in ((noisy, clean, "clean", folders.clean), (clean, noisy, "noisy", folders.noisy)):
        alone = next((path for stem, path in ours.items() if stem not in others), None)
        if alone is not None:
            raise GraphoptError(f"image {alone} has no {kind} partner: {folder} holds no image named {alone.stem}.*")
    return [pair_of_files(clean[stem], path) for stem, path in noisy.items()]


def pair_of_files(clean: Path, noisy: Path) -> Photograph:
    return Photograph(noisy.name, (clean, noisy), partial(_read, clean, noisy))


def _read(clean: Path, noisy: Path) -> Views:
    return check_pair(read_image(clean), read_image(noisy), f"image {noisy}")
