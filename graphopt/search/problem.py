"""What a search is given, and one problem of it: a goal, and all that a choice is judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from graphopt.config.search import SearchConfig
from graphopt.cost.table import CostTable
from graphopt.ir.space import Space
from graphopt.nn.module import GraphModule
from graphopt.nn.supernet import Supernet
from graphopt.search.sensitivity import Sensitivity
from graphopt.search.wholes import Aim, Price
from graphopt.train.data import PatchSampler
from graphopt.train.data.disjoint import disjoint
from graphopt.train.finetune import frozen
from graphopt.train.losses import psnr_loss
from graphopt.train.processes import mean, own_batch

Planes = tuple[NDArray[np.float32], NDArray[np.float32]]  # noisy and clean
JUDGED = (16, 64)  # patches that every network of a front is judged on
JUDGE = 4242  # the seed of these patches: the same for every method and seed of a search


@dataclass(frozen=True)
class Given:
    """A space without exact candidates, its prices, and what judges and trains the networks in it."""

    config: SearchConfig
    space: Space
    table: CostTable
    original: Mapping[str, Mapping[str, Any]]  # the price of the original on each target
    weights: Mapping[str, float]  # of the targets
    teacher: nn.Module
    samplers: Callable[[int, bool], PatchSampler]  # from a seed, of varied patches or of patches as they are
    fabric: Fabric  # its processes share the work
    whole_targets: Sequence[str] = ()  # those whose parts do not add up
    price_whole: Price | None = None  # of a selection on these

    @property
    def searched(self) -> dict[str, float]:
        """The weights of the targets that are searched for, of sum 1."""
        above = {name: weight for name, weight in self.weights.items() if weight > 0}
        return {name: weight / sum(above.values()) for name, weight in above.items()}

    def supernet(self) -> Supernet:
        """With the calibrated weights of the space."""
        supernet: Supernet = Supernet(self.space).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return supernet.place(self.fabric.device, self.config.precision == "bf16")


@dataclass(frozen=True)
class Problem:
    """One goal."""

    given: Given
    aim: Aim  # with the goal, and what is known of the hardware
    sensitivity: Sensitivity
    state: Path  # the file that a killed search goes on from

    @cached_property
    def supernet(self) -> Supernet:
        return self.given.supernet()

    @cached_property
    def samplers(self) -> tuple[PatchSampler, PatchSampler]:
        """For weights and for choices: they never train on the same pixels."""
        return self._disjoint(self.given.config.seed, True)

    @cached_property
    def judged(self) -> Planes:
        """Noisy and clean: patches of the part that weights never see, the same for every method and seed."""
        return self._disjoint(JUDGE, False)[1].batch(*JUDGED)

    def _disjoint(self, seed: int, varied: bool) -> tuple[PatchSampler, PatchSampler]:
        return disjoint(self.given.samplers(seed, varied), self.given.config.held_out, seed)

    def held_out(self, batches: int) -> Planes:
        """Noisy and clean, from the photographs of the choices: the same whenever they are asked for."""
        sampler = replace(self.samplers[1], random=np.random.default_rng([self.given.config.seed, 17]))
        count, size = self.given.config.patches
        return sampler.batch(batches * count, size)

    def loss(self, noisy: Tensor, clean: Tensor, **routing: Any) -> tuple[Tensor, Tensor]:
        """PSNR loss against the clean image, and a share of the same against the original's output; and the PSNR."""
        restored = self.supernet(noisy, **routing)
        assert isinstance(restored, Tensor)
        by_truth = loss = psnr_loss(restored, clean)
        if share := self.given.config.distillation:
            with torch.no_grad(), self.supernet.autocast():
                teacher, device = self.given.teacher, self.supernet.device
                expected = teacher.to(device)(noisy.to(device)).to(restored)
            loss = (loss + share * psnr_loss(restored, expected)) / (1 + share)
        return loss, -by_truth.detach()

    @torch.no_grad()
    def psnr(self, patches: Planes, **routing: Any) -> float:
        """PSNR (dB) of the supernet on noisy and clean `patches`."""
        fabric = self.given.fabric
        noisy, clean = own_batch(fabric, patches)
        restored = self.supernet(noisy.to(memory_format=torch.channels_last), **routing)
        return -float(mean(fabric, psnr_loss(restored, clean)))


def teacher_of(graph: Any) -> nn.Module:
    """The original network, frozen."""
    return frozen(GraphModule(graph))
