"""What slow artefacts have computed, kept in the cache by the content of their files and of their inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.atomic import replacing
from graphopt.cost.cache import CostCache
from graphopt.cost.keys import hash_of

Array = NDArray[Any]
KEPT = 200  # files, the newest


def kept_outputs(
    cache: CostCache, version: str, files: Sequence[Path], inputs: Sequence[Array], compute: Callable[[], list[Array]]
) -> list[Array]:
    """What `compute` returns, or has returned before for the same `version` of what runs, files and inputs."""
    place = cache.folder / "outputs"
    contents = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    given = [(str(a.dtype), a.shape, hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()) for a in inputs]
    path = place / f"{hash_of([version, contents, given])}.npz"
    if path.is_file():
        with np.load(path) as made:
            return [made[f"arr_{i}"] for i in range(len(made.files))]
    made = compute()
    place.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        np.savez(temporary, *made)
    for old in sorted(place.glob("*.npz"), key=lambda kept: -kept.stat().st_mtime)[KEPT:]:
        old.unlink(missing_ok=True)
    return made
