"""Batches for one process of a training: the same patches whatever the number of processes and of loader workers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from graphopt.errors import GraphoptError

Batch = tuple[Tensor, Tensor]  # noisy, clean: (N, 3, size, size)
AHEAD = 4  # batches that each worker prepares in advance


class Sampler(Protocol):
    """What gives patches, and their targets beside them."""

    def seeded(self, *seed: int) -> Sampler:
        """The same, with randomness of its own."""
        ...

    def batch(self, count: int, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Noisy patches (N, C, size, size); clean ones, or another target for each (N, ...)."""
        ...


@dataclass(frozen=True)
class Share:
    """This process's share of each batch: `parts` parts (gradients are accumulated) in each of `processes`."""

    parts: int = 1
    rank: int = 0
    processes: int = 1

    def patches(self, count: int) -> int:
        """How many of a batch of `count` are in one part."""
        if count % (self.parts * self.processes):
            raise GraphoptError(
                f"training: a batch of {count} patches cannot be shared by {self.processes} processes in {self.parts} "
                "parts each ('accumulate'); give a number of patches that both divide"
            )
        return count // (self.parts * self.processes)


@dataclass
class _Parts(Dataset[tuple[np.ndarray, np.ndarray]]):
    """Part i % parts of step i // parts. Patch k of step s is drawn with the seed (seed, s, k): nothing else counts."""

    sampler: Sampler
    seed: int
    share: Share
    count: int
    size: int

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        step, part = divmod(index, self.share.parts)
        each = self.share.patches(self.count)
        first = (self.share.rank * self.share.parts + part) * each
        drawn = [self.sampler.seeded(self.seed, step, first + k).batch(1, self.size) for k in range(each)]
        noisy, clean = zip(*drawn, strict=True)
        return np.concatenate(noisy), np.concatenate(clean)


class Batches:
    """`of(step, patches)` gives the parts of a step, on `device`, channels last."""

    def __init__(self, sampler: Sampler, seed: int, share: Share, workers: int, device: torch.device):
        self._sampler, self._seed, self._share = sampler, seed, share
        self._workers, self._device = workers, device
        self._next: tuple[int, tuple[int, int]] | None = None
        self._parts: Iterator[Batch] = iter(())

    def of(self, step: int, patches: tuple[int, int]) -> list[Batch]:
        """`patches` is (count, size) of the whole batch. Steps in order are prepared ahead by the workers."""
        if self._next != (step, patches):
            self._parts = self._open(step, patches)
        self._next = (step + 1, patches)
        return [self._placed(*next(self._parts)) for _ in range(self._share.parts)]

    def _open(self, step: int, patches: tuple[int, int]) -> Iterator[Batch]:
        self._share.patches(patches[0])
        loader = DataLoader(
            _Parts(self._sampler, self._seed, self._share, *patches),
            batch_size=None,  # an item is a whole part
            sampler=range(step * self._share.parts, sys.maxsize),
            num_workers=self._workers,
            prefetch_factor=AHEAD if self._workers else None,
            pin_memory=self._device.type == "cuda",
        )
        return iter(loader)

    def _placed(self, noisy: Tensor, clean: Tensor) -> Batch:
        noisy = noisy.to(self._device, non_blocking=True).to(memory_format=torch.channels_last)
        return noisy, clean.to(self._device, non_blocking=True)
