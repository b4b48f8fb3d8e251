"""What was found once is not looked for again: ranges and scores by the content of what they were found of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from graphopt.cost.cache import CostCache
from graphopt.cost.keys import hash_of

_FORM = 1  # of the graphs that are made of ranges; another one makes new scores


@dataclass(frozen=True)
class Memory:
    """Finished work under the hash `about` all that decides it; nothing is kept where there is no `cache`. What is
    finished is on the disk at once, so that a second call goes on from there.
    """

    cache: CostCache | None = None
    about: str = ""

    def of(self, *parts: Any) -> Memory:
        """The memory of something more special: `parts`, which JSON can hold, decide it too."""
        return Memory(self.cache, hash_of([self.about, *parts]))

    def recall(self, make: Callable[[], Any]) -> Any:
        """What `make` gave once (anything JSON can hold), or gives now."""
        if self.cache is None:
            return make()
        key = f"quantise:{hash_of([_FORM, onnxruntime.__version__, self.about])}"
        found = self.cache.get(key)
        if found is None:
            found = make()
            self.cache.put(key, found)
        return found


NOWHERE = Memory()


def hash_of_arrays(arrays: Sequence[NDArray[Any]]) -> str:
    """A hash of shapes, types and values."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.shape} {array.dtype.str}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def hash_of_model(model: onnx.ModelProto) -> str:
    """A hash of the graph, weights and names included."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
