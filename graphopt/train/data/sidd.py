"""SIDD (Abdelhamed et al., CVPR 2018) as it is published: scenes of sRGB pairs, and the validation blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphopt.errors import GraphoptError
from graphopt.train.data.pairs import pair_of_files
from graphopt.train.data.photographs import Photograph, Views

NOISY, CLEAN = "ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"
LAYOUT = "<scene>/*_NOISY_SRGB_*.PNG beside *_GT_SRGB_*.PNG"


def sidd(folder: Path, judged: bool) -> list[Photograph]:
    """The scenes of `folder`; where it holds the validation blocks, those when it is to judge by, or without scenes."""
    if not folder.is_dir():
        raise GraphoptError(f"SIDD folder {folder} does not exist")
    has_blocks = any((folder / f"{name}.mat").exists() for name in (NOISY, CLEAN))
    scenes = [] if judged and has_blocks else _scenes(folder)
    if scenes:
        return scenes
    if not has_blocks:
        raise GraphoptError(f"SIDD folder {folder} holds neither {LAYOUT} nor {NOISY}.mat and {CLEAN}.mat")
    return _Blocks(folder).photographs()


def _scenes(folder: Path) -> list[Photograph]:
    found = sorted(p for p in folder.rglob("*_NOISY_SRGB_*") if p.suffix.lower() == ".png")
    pairs = []
    for noisy in found:
        clean = noisy.with_name(noisy.name.replace("_NOISY_SRGB_", "_GT_SRGB_"))
        if not clean.exists():
            raise GraphoptError(f"image {noisy} has no clean partner: {clean.name} is not beside it")
        pairs.append(pair_of_files(clean, noisy))
    return pairs


@dataclass(frozen=True)
class _Blocks:
    """40 photographs of 32 blocks of 256x256, as two MATLAB files; other counts and sizes are taken too."""

    folder: Path

    def photographs(self) -> list[Photograph]:
        count, blocks = self._arrays[0].shape[:2]
        files = (self._path(CLEAN), self._path(NOISY))
        return [
            Photograph(f"image {i:02} block {j:02}", files, partial(self._read, i, j))
            for i in range(count)
            for j in range(blocks)
        ]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.mat"

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(clean, noisy)."""
        clean, noisy = (self._load(name) for name in (CLEAN, NOISY))
        if clean.shape != noisy.shape:
            shapes = f"{noisy.shape} and {clean.shape}"
            raise GraphoptError(f"SIDD: {NOISY}.mat and {CLEAN}.mat of {self.folder} differ in shape: {shapes}")
        return clean, noisy

    def _load(self, name: str) -> NDArray[np.uint8]:
        from scipy.io import loadmat

        path = self._path(name)
        if not path.exists():
            raise GraphoptError(f"SIDD: {path} does not exist; it belongs beside the other MAT file")
        try:
            content = loadmat(path, variable_names=[name])
        except Exception as error:  # scipy raises many kinds for broken files
            raise GraphoptError(f"SIDD: {path} cannot be read as a MATLAB 5 file: {error}") from error
        blocks = content.get(name)
        if blocks is None or blocks.dtype != np.uint8 or blocks.ndim != 5 or blocks.shape[-1] != 3:
            found = "no such variable" if blocks is None else f"{blocks.dtype} of shape {blocks.shape}"
            raise GraphoptError(
                f"SIDD: {path}: expected the variable {name}, uint8 (40, 32, 256, 256, 3), found {found}"
            )
        return np.asarray(blocks)

    def _read(self, image: int, block: int) -> Views:
        clean, noisy = self._arrays
        return clean[image, block], noisy[image, block]
