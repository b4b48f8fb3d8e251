"""What every method of search is given, and the training of the supernet's weights that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from graphopt.atomic import replacing
from graphopt.config.search import SearchConfig
from graphopt.errors import GraphoptError
from graphopt.ir.space import KEEP, Selection, Space
from graphopt.nn.module import GraphModule
from graphopt.nn.supernet import Supernet
from graphopt.search.hardware import Hardware
from graphopt.search.sensitivity import Sensitivity
from graphopt.search.wholes import Aim
from graphopt.train.data import PatchSampler
from graphopt.train.losses import psnr_loss
from graphopt.train.processes import mean, mean_gradients, own_batch, own_rows
from graphopt.train.schedule import cosine


@dataclass(frozen=True)
class Record:
    """The search at one step. Entropy is normalised: 1 undecided, 0 decided. Latencies are expected ones, in ms.

    `temperature` is that of the softmax over options, None where there is none.
    """

    step: int
    phase: str
    loss: float
    entropy: float
    temperature: float | None
    expected_ms: dict[str, float]
    probabilities: dict[str, list[float]]


@dataclass(frozen=True)
class Rounding:
    """PSNR (dB) on `Problem.judged` of the soft network, and of the chosen one with the same weights."""

    soft: float
    chosen: float


@dataclass
class SearchResult:
    """Final probabilities of every choice, the selection, and the history. The supernet holds the trained weights.

    The selection meets every goal; `turned` names the choices whose most probable option did not stay, for the goals
    or as a contender without it was better, `restored` those that went back to `keep` as there was room. `rounding` is
    that of the first decision, None where there never was a soft network.
    """

    probabilities: dict[str, list[float]]
    selection: dict[str, str]
    turned: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    rounding: Rounding | None = None
    history: list[Record] = field(default_factory=list)


def one_hot(space: Space, selection: Selection) -> dict[str, list[float]]:
    """Probabilities of 1 for what is selected."""
    return {
        name: [float(option == selection.get(name, KEEP)) for option in choice.options]
        for name, choice in space.choices.items()
    }


@dataclass(frozen=True)
class Problem:
    """A space to choose in, and all that the choice is judged by. `sensitivity` is in dB, by choice and option.

    `for_weights` and `for_choices` give disjoint patches, `judged` are fixed ones: noisy and clean, (N, 3, H, W).
    `state` is the file that a killed search goes on from; `warm`, where given, one that holds the weights after the
    warm-up, or will. The processes of `fabric` share every batch.
    """

    space: Space
    aim: Aim
    config: SearchConfig
    supernet: Supernet
    sensitivity: Sensitivity
    teacher: nn.Module
    for_weights: PatchSampler
    for_choices: PatchSampler
    judged: tuple[Tensor, Tensor]
    fabric: Fabric
    state: Path
    warm: Path | None = None

    @property
    def hardware(self) -> Hardware:
        """As far as it is known: whole networks that are priced on the way may correct it."""
        return self.aim.hardware

    def quality(self, sampler: PatchSampler, **routing: Any) -> Tensor:
        """PSNR loss against the clean image, and a share of the same against the original network's output.

        On this process's part of a batch.
        """
        noisy, clean = own_batch(self.fabric, sampler.batch(*self.config.patches))
        image = noisy.to(memory_format=torch.channels_last)
        restored = self.supernet(image, **routing)
        assert isinstance(restored, Tensor)
        loss = psnr_loss(restored, clean)
        share = self.config.distillation
        if share:
            with torch.no_grad(), self.supernet.autocast():
                expected = self.teacher(image.to(self.supernet.device)).to(restored)
            loss = (loss + share * psnr_loss(restored, expected)) / (1 + share)
        return loss

    @torch.no_grad()
    def psnr(self, patches: tuple[Tensor, Tensor], **routing: Any) -> float:
        """PSNR (dB) of the supernet on noisy and clean `patches`."""
        noisy, clean = (own_rows(self.fabric, planes) for planes in patches)
        restored = self.supernet(noisy.to(memory_format=torch.channels_last), **routing)
        assert isinstance(restored, Tensor)
        return -float(mean(self.fabric, psnr_loss(restored, clean)))

    def fixed_patches(self, batches: int) -> tuple[Tensor, Tensor]:
        """Noisy and clean, from the photographs of the choices: the same whenever they are asked for."""
        sampler = replace(self.for_choices, random=np.random.default_rng([self.config.seed, 17]))
        count, size = self.config.patches
        noisy, clean = sampler.batch(batches * count, size)
        return torch.from_numpy(noisy), torch.from_numpy(clean)

    def checked(self, loss: Tensor, step: int) -> float:
        """The loss of all processes. GraphoptError where it is not finite."""
        loss = mean(self.fabric, loss)
        if not torch.isfinite(loss):
            raise GraphoptError(
                f"search: the loss became {loss.item()} at step {step}; the last good checkpoint is {self.state}; lower "  # noqa: E501
                f"search.learning_rate (now {self.config.learning_rate:g}), and list bounded-gate among the passes"
            )
        return loss.item()

    def reseed(self, step: int) -> None:
        """Other patches than those seen before `step`, the same whenever a search goes on there."""
        self.for_weights.random = np.random.default_rng([self.config.seed, step])
        self.for_choices.random = np.random.default_rng([self.config.seed, step, 1])

    def generator(self, step: int, purpose: int) -> torch.Generator:
        """Random numbers of one step, the same whether the search was killed before it or not."""
        return torch.Generator().manual_seed((self.config.seed * 1_000_003 + step) * 7 + purpose)


class WeightTraining:
    """AdamW on the weights of a supernet: `steps` updates, the rate along a cosine."""

    def __init__(self, problem: Problem, steps: int):
        self.problem, self.steps = problem, steps
        self.parameters = [p for p in problem.supernet.weight_parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, problem.config.learning_rate, (0.9, 0.9), weight_decay=0, fused=True
        )

    def update(self, step: int, **routing: Any) -> float:
        """One step on one batch; the loss, in dB."""
        rate = self.problem.config.learning_rate
        for group in self.optimiser.param_groups:
            group["lr"] = cosine(step / self.steps, rate, end=rate / 10, warm_up=0.05)
        loss = self.problem.quality(self.problem.for_weights, **routing)
        value = self.problem.checked(loss, step)
        self.optimiser.zero_grad()
        if loss.requires_grad:  # a path may have no weights
            loss.backward()
        mean_gradients(self.problem.fabric, self.parameters)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        return value


def save_state(fabric: Fabric, path: Path, parts: Mapping[str, Any]) -> None:
    """Whole or not at all, by the first process."""
    with replacing(path) if fabric.is_global_zero else nullcontext(path) as place:
        fabric.save(place, dict(parts))
    fabric.barrier()


def teacher_of(graph: Any) -> nn.Module:
    """The original network, frozen."""
    teacher = GraphModule(graph).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return teacher.requires_grad_(False)
