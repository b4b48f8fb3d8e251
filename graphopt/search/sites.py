"""ERN-Net's search, site by site: weights and probabilities in turn, on disjoint patches; then the decision.

L = L_restore + w_kd * L_output + lambda(t) * (1/N) sum_i H(p_i) / ln K_i + w_s * E[s] + hardware terms
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from graphopt.config.search import SearchConfig
from graphopt.errors import GraphoptError
from graphopt.progress import Progress
from graphopt.search.additive import Additive, Probabilities
from graphopt.search.decision import decide_as_whole
from graphopt.search.hardware import Hardware
from graphopt.search.method import Method, Rounding, SearchResult, normalised_entropy
from graphopt.search.problem import Problem
from graphopt.search.search import Search
from graphopt.train.loader import Batches, Share
from graphopt.train.processes import mean, mean_gradients


class Sites(Method):
    """Every choice has probabilities of its own, which have gradients. `route` and `regularised` tell rivals apart."""

    regularised: ClassVar[bool] = True  # by the entropy and by what candidates lose alone

    def __init__(self, problem: Problem):
        super().__init__(problem)
        config = self.config
        choosing = max(1, round((config.steps - config.warm_up_steps) / 2 * (1 - config.settle)))
        # a step of the search takes two batches, so it leaves one update of the weights less
        self.steps, self.searching = config.steps - choosing, config.warm_up_steps + choosing
        self.supernet, fabric = problem.supernet, problem.fabric
        self.alphas = self.supernet.architecture_parameters()
        self.optimiser = torch.optim.Adam([{"params": self.alphas}], config.choice_learning_rate, (0.5, 0.999))
        share = Share(1, fabric.global_rank, fabric.world_size)
        self.batches = Batches(problem.samplers[1], config.seed, share, 0, fabric.device)
        if self.regularised:
            lost = {n: [problem.sensitivity[n][o] for o in c.options] for n, c in problem.space.choices.items()}
            self.lost = Additive(problem.space, 0.0, lost)
            self._start_from_sensitivities()

    def route(self, tau: float, random: torch.Generator, for_choices: bool) -> dict[str, Any]:
        """How the supernet runs for one step: the arguments of its forward. Gradients reach the alphas."""
        return {"probabilities": self.supernet.probabilities(tau)}

    def choose(self, search: Search, say: Progress) -> SearchResult:
        """Mixes all options first, then searches, then decides."""
        config, warm_up = self.config, self.config.warm_up_steps
        while search.step < warm_up:
            tau = config.temperature[0]
            loss = self._mix(search, tau)
            search.record("warm-up", loss, self._shares(tau), search.step == warm_up, tau)
            say(search.share, f"warm-up step {search.step}/{self.steps}, {-loss:.2f} dB")
        while search.step < self.searching:
            progress = (search.step - warm_up) / max(1, self.searching - warm_up - 1)
            tau = temperature(progress, *config.temperature)
            self._update_choices(search.step, progress, tau)
            loss = self._mix(search, tau)
            search.record("search", loss, self._shares(tau), search.step == self.searching, tau)
            words = f"search step {search.step}/{self.steps}, {-loss:.2f} dB, entropy {search.history[-1].entropy:.2f}"
            say(search.share, words)
        return self._decided()

    def _mix(self, search: Search, tau: float) -> float:
        """One update of the weights; the loss, in dB."""
        random = self._random(search.step, 0)
        with torch.no_grad():
            routed = self.route(tau, random, for_choices=False)
        return search.update(**routed)

    def _update_choices(self, step: int, progress: float, tau: float) -> None:
        problem = self.problem
        ((noisy, clean),) = self.batches.of(step, self.config.patches)
        routed = self.route(tau, self._random(step, 1), for_choices=True)
        loss = problem.loss(noisy, clean, **routed)[0].cpu() + self._terms(progress, tau)
        if not torch.isfinite(found := mean(problem.fabric, loss)):
            raise GraphoptError(
                f"search: the loss of the choices became {found.item()} at step {step}; lower search.learning_rate "
                f"(now {self.config.learning_rate:g}), and list bounded-gate among the passes"
            )
        self.optimiser.zero_grad()
        loss.backward()
        mean_gradients(problem.fabric, self.alphas)
        self.optimiser.step()

    def _terms(self, progress: float, tau: float) -> Tensor:
        """All of the loss that does not look at images."""
        p = self.supernet.probabilities(tau)
        total = penalty(self.problem.hardware, self.problem.given.searched, self.config, p)
        if self.regularised:
            total = total + entropy_weight(progress, self.config.entropy) * normalised_entropy(p)
            total = total + self.config.sensitivity * self.lost(p)
        return total

    @torch.no_grad()
    def _decided(self) -> SearchResult:
        """What the probabilities say, within the goals; and what rounding them costs before any further training."""
        problem = self.problem
        p = self._shares(self.config.temperature[1])
        likely = {name: values.tolist() for name, values in self._shares(1.0).items()}
        sensitivity = problem.sensitivity if self.regularised else None
        decision = decide_as_whole(problem.aim, likely, sensitivity, self.config.wholes)
        chosen = decision.selection
        rounding = Rounding(
            problem.psnr(problem.judged, probabilities=p), problem.psnr(problem.judged, selection=chosen)
        )
        shares = {name: values.tolist() for name, values in p.items()}
        return SearchResult(shares, chosen, decision.turned, decision.restored, rounding)

    def _shares(self, tau: float) -> dict[str, Tensor]:
        """The probabilities, without gradients."""
        with torch.no_grad():
            return dict(self.supernet.probabilities(tau))

    @torch.no_grad()
    def _start_from_sensitivities(self) -> None:
        """alpha_ik = -start * s_ik, so that the first mixtures are of what is likely to stay."""
        for name, row in self.lost.values.items():
            self.supernet.logits(name).copy_(-self.config.sensitivity_start * torch.tensor(row).clamp_min(0))

    def _random(self, step: int, purpose: int) -> torch.Generator:
        """Random numbers of one step, the same whether the search was killed before it or not."""
        return torch.Generator().manual_seed((self.config.seed * 1_000_003 + step) * 7 + purpose)

    def state(self) -> dict[str, Any]:
        return {"alphas": self.supernet.alphas.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        self.supernet.alphas.load_state_dict(saved["alphas"])
        self.optimiser.load_state_dict(saved["optimiser"])


def penalty(hardware: Hardware, weights: Mapping[str, float], config: SearchConfig, p: Probabilities) -> Tensor:
    """w_lat * sum_T w_T * max(0, E[lat_T] / goal_T - 1), the same for memory, and one term for parameters.

    With `objective.targets: worst`, the largest term over the targets stands for the sum. What is under its goal pulls
    at nothing.
    """
    goals, objective = hardware.goals, config.objective

    def over_targets(excess: Mapping[str, Tensor]) -> Tensor:
        if objective.targets == "worst":
            return torch.stack(list(excess.values())).max().clamp_min(0)
        return torch.stack([weights[target] * value.clamp_min(0) for target, value in excess.items()]).sum()

    latency = {t: hardware.latency[t](p) / goal - 1 for t, goal in goals.latency_ms.items()}
    total = config.latency_weight * over_targets(latency)
    if goals.memory_bytes:
        memory = hardware.memory_excess(lambda figure: figure(p))
        total = total + objective.memory_weight * over_targets(memory)
    if goals.parameters is not None:
        excess = hardware.parameters(p) / goals.parameters - 1
        total = total + objective.parameter_weight * excess.clamp_min(0)
    return total


def entropy_weight(progress: float, strength: float) -> float:
    """-strength at the start (explore), +strength at the end (decide), half a cosine between; the sign flips once."""
    return -strength * math.cos(math.pi * progress)


def temperature(progress: float, start: float, end: float) -> float:
    """Geometric from `start` to `end`."""
    return start * (end / start) ** progress
