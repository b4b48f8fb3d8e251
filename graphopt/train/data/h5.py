"""An HDF5 file of patches: a dataset `clean` and, for pairs, one `noisy`, each (N, H, W, 3) or (N, 3, H, W)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.errors import GraphoptError
from graphopt.train.data.images import Pixels
from graphopt.train.data.photographs import Photograph, Views

KINDS = "uint8 in 0-255 or floats in [0, 1], of the shape (N, H, W, 3) or (N, 3, H, W)"


def h5_patches(path: Path) -> list[Photograph]:
    """One photograph for each patch. Without a dataset `noisy`, noise is added."""
    patches = _Patches(path)
    names = patches.check()
    count = len(patches.open()["clean"])
    return [Photograph(f"{path.stem} {i}", (path,), partial(patches.read, i, "noisy" in names)) for i in range(count)]


@dataclass
class _Patches:
    """The file, opened once in each process: HDF5 handles do not survive a fork."""

    path: Path
    _opened: dict[int, Any] = field(default_factory=dict)

    def open(self) -> Any:
        import h5py

        if os.getpid() not in self._opened:
            try:
                self._opened = {os.getpid(): h5py.File(self.path, "r")}
            except FileNotFoundError as error:
                raise GraphoptError(f"H5 file {self.path} does not exist") from error
            except OSError as error:
                raise GraphoptError(f"H5 file {self.path} cannot be read ({error})") from error
        return self._opened[os.getpid()]

    def check(self) -> list[str]:
        """The names of the datasets, after a look at their shapes and types."""
        import h5py

        file = self.open()
        names = [name for name in file if isinstance(file[name], h5py.Dataset)]
        if "clean" not in names:
            raise GraphoptError(
                f"H5 file {self.path} has no dataset 'clean'; it holds {', '.join(names) or 'none'}; expected 'clean' "
                f"and, for pairs, 'noisy': {KINDS}"
            )
        for name in ("clean", "noisy"):
            if name in names:
                shape, kind = file[name].shape, file[name].dtype
                if len(shape) != 4 or 3 not in (shape[1], shape[3]) or not (kind == np.uint8 or kind.kind == "f"):
                    found = f"{kind} of the shape {shape}"
                    raise GraphoptError(f"H5 file {self.path}, dataset '{name}': expected {KINDS}, found {found}")
        if "noisy" in names and file["noisy"].shape != file["clean"].shape:
            shapes = f"{file['noisy'].shape} and {file['clean'].shape}"
            raise GraphoptError(f"H5 file {self.path}: 'noisy' and 'clean' differ in shape: {shapes}")
        return names

    def read(self, index: int, paired: bool) -> Views:
        file = self.open()
        return _pixels(file["clean"][index]), _pixels(file["noisy"][index]) if paired else None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_opened": {}}


def _pixels(patch: Any) -> Pixels:
    last = patch if patch.shape[-1] == 3 else patch.transpose(1, 2, 0)
    return np.asarray(last) if last.dtype == np.uint8 else np.asarray(last, np.float32)
