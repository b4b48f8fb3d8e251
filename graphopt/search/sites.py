"""ERN-Net's search, site by site: weights and probabilities in turn, on disjoint patches; then the decision.

L = L_restore + w_kd * L_output + lambda(t) * (1/N) sum_i H(p_i) / ln K_i + w_s * E[s] + hardware terms
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from graphopt.config.search import SearchConfig
from graphopt.errors import GraphoptError
from graphopt.ir.space import KEEP, Selection, Space
from graphopt.progress import Progress
from graphopt.search.additive import Additive, Probabilities
from graphopt.search.hardware import Hardware
from graphopt.search.method import Method, SearchResult, normalised_entropy
from graphopt.search.problem import Problem
from graphopt.search.programme import solve
from graphopt.search.sensitivity import Sensitivity
from graphopt.search.wholes import Aim
from graphopt.train.loader import Batches, Share
from graphopt.train.processes import mean, mean_gradients

Rows = Mapping[str, list[float]]  # the probabilities of each choice's options
LEAST = 1e-12  # a probability below this counts as this
BARRED = 1e3  # more than any sum of sensitivities, in dB


class Sites(Method):
    """Every choice has probabilities of its own, which have gradients. `route` and `regularised` tell rivals apart."""

    regularised: ClassVar[bool] = True  # by the entropy and by what candidates lose alone

    def __init__(self, problem: Problem):
        super().__init__(problem)
        config, fabric = self.config, problem.given.fabric
        choosing = max(1, round((config.steps - config.warm_up_steps) / 2 * (1 - config.settle)))
        # a step of the search takes two batches, so it leaves one update of the weights less
        self.steps, self.searching = config.steps - choosing, config.warm_up_steps + choosing
        self.supernet = problem.supernet
        self.alphas = self.supernet.architecture_parameters()
        self.optimiser = torch.optim.Adam([{"params": self.alphas}], config.choice_learning_rate, (0.5, 0.999))
        share = Share(1, fabric.global_rank, fabric.world_size)
        self.batches = Batches(problem.samplers[1], config.seed, share, 0, fabric.device)
        if self.regularised:
            lost = {n: [problem.sensitivity[n][o] for o in c.options] for n, c in self.space.choices.items()}
            self.lost = Additive(self.space, 0.0, lost)
            with torch.no_grad():  # the first mixtures are of what is likely to stay
                for name, row in lost.items():
                    start = -config.sensitivity_start * torch.tensor(row).clamp_min(0)
                    self.supernet.logits(name).copy_(start)

    def route(self, tau: float, step: int, for_choices: bool) -> dict[str, Any]:
        """How the supernet runs for one step: the arguments of its forward. Gradients reach the alphas."""
        return {"probabilities": self.supernet.probabilities(tau)}

    def choose(self, say: Progress) -> SearchResult:
        """Mixes all options first, then searches, then decides."""
        config, warm_up = self.config, self.config.warm_up_steps
        while (step := self.step) < self.searching:
            progress = max(0, step - warm_up) / max(1, self.searching - warm_up - 1)
            tau, phase = temperature(progress, *config.temperature), "search" if step >= warm_up else "warm-up"
            if step >= warm_up:
                self._update_choices(progress, tau)
            with torch.no_grad():
                routed = self.route(tau, step, for_choices=False)
            loss = self.update(**routed)
            self.record(phase, loss, self._shares(tau), self.step in (warm_up, self.searching), tau)
        sensitivity = self.problem.sensitivity if self.regularised else None
        found = decide_as_whole(self.problem.aim, self._shares(1.0), sensitivity, config.wholes)
        tau, psnr = config.temperature[1], partial(self.problem.psnr, self.problem.judged)
        rounding = psnr(probabilities=self.supernet.probabilities(tau)), psnr(selection=found.selection)
        return replace(found, probabilities=self._shares(tau), rounding=rounding)

    def _update_choices(self, progress: float, tau: float) -> None:
        problem, config = self.problem, self.config
        ((noisy, clean),) = self.batches.of(self.step, config.patches)
        p = self.supernet.probabilities(tau)
        terms = penalty(problem.aim.hardware, problem.given.searched, config, p)
        if self.regularised:
            terms = terms + entropy_weight(progress, config.entropy) * normalised_entropy(p)
            terms = terms + config.sensitivity * self.lost(p)
        loss = problem.loss(noisy, clean, **self.route(tau, self.step, for_choices=True))[0].cpu() + terms
        if not torch.isfinite(found := mean(self.fabric, loss)):
            raise GraphoptError(f"search: the loss of the choices became {found} at step {self.step}; {self.advice}")
        self.optimiser.zero_grad()
        loss.backward()
        mean_gradients(self.fabric, self.alphas)
        self.optimiser.step()

    @torch.no_grad()
    def _shares(self, tau: float) -> dict[str, list[float]]:
        return {name: values.tolist() for name, values in self.supernet.probabilities(tau).items()}

    def state(self) -> dict[str, Any]:
        return {"alphas": self.supernet.alphas.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        self.supernet.alphas.load_state_dict(saved["alphas"])
        self.optimiser.load_state_dict(saved["optimiser"])


def penalty(hardware: Hardware, weights: Mapping[str, float], config: SearchConfig, p: Probabilities) -> Tensor:
    """w_lat * sum_T w_T * max(0, E[lat_T] / goal_T - 1), the same for memory, and one term for parameters.

    With `objective.targets: worst`, the largest term over the targets stands for the sum.
    """
    goals, objective = hardware.goals, config.objective

    def over_targets(excess: Mapping[str, Tensor]) -> Tensor:
        if objective.targets == "worst":
            return torch.stack(list(excess.values())).max().clamp_min(0)
        return torch.stack([weights[target] * value.clamp_min(0) for target, value in excess.items()]).sum()

    latency = {t: hardware.latency[t](p) / goal - 1 for t, goal in goals.latency_ms.items()}
    total = config.latency_weight * over_targets(latency)
    if goals.memory_bytes:
        total = total + objective.memory_weight * over_targets(hardware.memory_excess(lambda figure: figure(p)))
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


def decide_within(hardware: Hardware, rows: Rows, sensitivity: Sensitivity | None) -> SearchResult:
    """The most likely selection that meets every goal: max sum_i ln p_ik, p at temperature 1.

    What it leaves of the goals is spent where `sensitivity` is given: of the chosen candidates and `keep`, those with
    the least sum of sensitivities.
    """
    space = hardware.space
    likely = solve(hardware, unlikeliness(space, rows))
    turned = changed(space, likely, decide(space, rows))
    if sensitivity is None:
        return SearchResult(rows, likely, turned)
    losses = {
        name: {o: sensitivity[name][o] if o in (likely[name], KEEP) else BARRED for o in choice.options}
        for name, choice in space.choices.items()
    }
    chosen = solve(hardware, losses)
    return SearchResult(rows, chosen, turned, changed(space, chosen, likely))


def decide_as_whole(aim: Aim, rows: Rows, sensitivity: Sensitivity | None, rounds: int) -> SearchResult:
    """`decide_within`, up to `rounds` times again with what a whole that misses a goal has taught.

    If none meets the goals, the most likely whole that does; the last decision where there is none.
    """
    decision = None
    with suppress(GraphoptError):  # nothing meets the goals, as far as is known now
        for _ in range(rounds + 1):
            decision = decide_within(aim.hardware, rows, sensitivity)
            if not aim.look(decision.selection) or aim.met(decision.selection):
                break
    if decision is not None and aim.met(decision.selection):
        return decision
    space = aim.hardware.space
    if (best := aim.best(unlikeliness(space, rows))) is not None:
        return SearchResult(rows, best, changed(space, best, decide(space, rows)))
    return decision or decide_within(aim.hardware, rows, sensitivity)


def decide(space: Space, rows: Rows) -> dict[str, str]:
    """The most probable option of each choice."""
    return {name: choice.options[rows[name].index(max(rows[name]))] for name, choice in space.choices.items()}


def changed(space: Space, selection: Selection, before: Selection) -> list[str]:
    """The choices in effect whose option is another one than before."""
    return [name for name in space.in_effect(selection) if selection[name] != before[name]]


def unlikeliness(space: Space, rows: Rows) -> dict[str, dict[str, float]]:
    """-ln p_ik, less the least of the choice."""
    found = {}
    for name, choice in space.choices.items():
        row = [-math.log(max(p, LEAST)) for p in rows[name]]
        found[name] = {option: value - min(row) for option, value in zip(choice.options, row, strict=True)}
    return found
