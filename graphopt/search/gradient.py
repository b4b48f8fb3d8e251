"""The entropy-regularised differentiable search: warm up the weights, then weights and probabilities in turn.

L = L_restore + w_kd * L_output + lambda(t) * (1/N) sum_i H(p_i) / ln K_i + w_s * E[s]
    + w_lat * sum_T w_T * max(0, E[lat_T] / goal_T - 1)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphopt.config import SearchConfig
from graphopt.cost.table import CostTable
from graphopt.errors import GraphoptError
from graphopt.ir.space import Space
from graphopt.nn.module import GraphModule
from graphopt.nn.supernet import Supernet
from graphopt.search.objective import Expectation, ExpectedLatency, entropy_weight, normalised_entropy, temperature
from graphopt.search.sensitivity import Sensitivity
from graphopt.train.data import PatchSampler
from graphopt.train.losses import psnr_loss
from graphopt.train.schedule import cosine

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Record:
    """The search at one step. Entropy is normalised: 1 undecided, 0 decided. Latencies are expected ones, in ms."""

    step: int
    phase: str
    loss: float
    entropy: float
    temperature: float
    expected_ms: dict[str, float]
    probabilities: dict[str, list[float]]


@dataclass
class SearchResult:
    """Final probabilities of every choice, and the history. The supernet holds the trained weights."""

    probabilities: dict[str, list[float]]
    history: list[Record] = field(default_factory=list)


class EntropySearch:
    """One search; `run` can be killed and goes on from `state`."""

    def __init__(
        self,
        space: Space,
        table: CostTable,
        goals: Mapping[str, float],
        weights: Mapping[str, float],
        config: SearchConfig,
        supernet: Supernet,
        sensitivity: Sensitivity,
        teacher: nn.Module,
        sampler: PatchSampler,
        state: Path,
    ):
        """`goals` (ms) and `weights` by target; targets without weight are not searched for.

        `sensitivity` (dB) steadies the search: what the mixed network says of one site in one step is mostly noise.
        """
        torch.manual_seed(config.seed)
        self.config, self.state, self.sampler = config, state, sampler
        self.supernet, self.teacher = supernet, teacher
        self.sensitivity = Expectation(
            space, {n: [sensitivity[n][o] for o in c.options] for n, c in space.choices.items()}
        )
        self.ways = {n: len(c.options) - len(table.exact[n]) for n, c in space.choices.items()}
        self.goals, self.weights = goals, weights
        self.latency = [ExpectedLatency(space, table, target) for target in goals if weights[target] > 0]
        self.steps = config.warm_up_steps + config.steps
        self.for_weights = torch.optim.AdamW(
            self.supernet.weight_parameters(), config.learning_rate, (0.9, 0.9), weight_decay=0, fused=True
        )
        self.for_choices = torch.optim.Adam(
            self.supernet.architecture_parameters(), config.choice_learning_rate, (0.5, 0.999)
        )
        self.step = 0
        self.history: list[Record] = []

    def run(self, report: Report) -> SearchResult:
        """Trains until the end. NaN stops it with the last good checkpoint kept."""
        self._resume(report)
        while self.step < self.steps:
            searching = self.step >= self.config.warm_up_steps
            progress = max(0.0, (self.step - self.config.warm_up_steps) / max(1, self.config.steps - 1))
            tau = temperature(progress, *self.config.temperature)
            if searching:
                self._update_choices(progress, tau)
            loss = self._update_weights(tau)
            if self.step % self.config.record_every == 0 or self.step == self.steps - 1:
                self._record("search" if searching else "warm-up", loss, tau)
                self._save()
            self.step += 1
            last = self.history[-1]
            words = f"{last.phase} step {self.step}/{self.steps}, {-loss:.2f} dB, entropy {last.entropy:.2f}"
            report(self.step / self.steps, words)
        self._save()
        final = self.supernet.probabilities(self.config.temperature[1])
        return SearchResult({name: p.detach().tolist() for name, p in final.items()}, self.history)

    def _update_weights(self, tau: float) -> float:
        lowest = self.config.learning_rate / 10
        rate = cosine(self.step / self.steps, self.config.learning_rate, end=lowest, warm_up=0.05)
        for group in self.for_weights.param_groups:
            group["lr"] = rate
        with torch.no_grad():
            probabilities = self.supernet.probabilities(tau)
        loss = self._quality(probabilities)
        self._check(loss)
        self.for_weights.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.supernet.weight_parameters(), 1.0)
        self.for_weights.step()
        return loss.item()

    def _update_choices(self, progress: float, tau: float) -> None:
        probabilities = self.supernet.probabilities(tau)
        loss = self._quality(probabilities)
        loss = loss + entropy_weight(progress, self.config.entropy) * normalised_entropy(probabilities, self.ways)
        loss = loss + self.config.sensitivity * self.sensitivity(probabilities)
        for latency in self.latency:
            excess = latency(probabilities) / self.goals[latency.target] - 1
            loss = loss + self.config.latency_weight * self.weights[latency.target] * excess.clamp_min(0)
        self._check(loss)
        self.for_choices.zero_grad()
        loss.backward()
        self.for_choices.step()

    def _quality(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """PSNR loss against the clean image, and a share of the same against the original network's output."""
        noisy, clean = self.sampler.batch(*self.config.patches)
        image = torch.from_numpy(noisy).to(memory_format=torch.channels_last)
        restored = self.supernet(image, probabilities=probabilities)
        assert isinstance(restored, Tensor)
        loss = psnr_loss(restored, torch.from_numpy(clean))
        if self.config.distillation:
            with torch.no_grad():
                expected = self.teacher(image)
            loss = (loss + self.config.distillation * psnr_loss(restored, expected)) / (1 + self.config.distillation)
        return loss

    def _check(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise GraphoptError(
                f"search: the loss became {loss.item()} at step {self.step}; the last good checkpoint is {self.state}; "
                f"lower search.learning_rate (now {self.config.learning_rate:g}), and list bounded-gate among the passes"  # noqa: E501
            )

    def _record(self, phase: str, loss: float, tau: float) -> None:
        with torch.no_grad():
            p = self.supernet.probabilities(tau)
            expected = {latency.target: float(latency(p)) for latency in self.latency}
            entropy = float(normalised_entropy(p, self.ways))
        rounded = {name: np.round(values.numpy(), 4).tolist() for name, values in p.items()}
        self.history.append(Record(self.step, phase, loss, entropy, tau, expected, rounded))

    def _save(self) -> None:
        parts: dict[str, Any] = {
            "supernet": self.supernet.state_dict(),
            "weights": self.for_weights.state_dict(),
            "choices": self.for_choices.state_dict(),
            "step": self.step + 1,
            "history": [asdict(record) for record in self.history],
        }
        temporary = self.state.with_suffix(".tmp")
        torch.save(parts, temporary)
        os.replace(temporary, self.state)

    def _resume(self, report: Report) -> None:
        if not self.state.exists():
            return
        saved = torch.load(self.state, weights_only=True)
        self.supernet.load_state_dict(saved["supernet"])
        self.for_weights.load_state_dict(saved["weights"])
        self.for_choices.load_state_dict(saved["choices"])
        self.step = min(saved["step"], self.steps)
        self.history = [Record(**record) for record in saved["history"]]
        self.sampler.random = np.random.default_rng([self.config.seed, self.step])  # not the patches seen already
        report(self.step / self.steps, f"goes on at step {self.step}")


def teacher_of(graph: Any) -> nn.Module:
    """The original network, frozen."""
    teacher = GraphModule(graph).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return teacher.requires_grad_(False)
