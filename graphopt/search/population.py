"""Random search and evolution: many networks that meet the goals, judged by the supernet's loss on held-out patches.

Both first train the weights for the warm-up along random paths (single path one-shot, Guo et al., arXiv 1904.00420).
An evaluation is one batch forward: a third of a training step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from graphopt.ir.space import KEEP, Selection
from graphopt.progress import Progress
from graphopt.search.problem import Problem, WeightTraining
from graphopt.search.selection import meet_goal
from graphopt.train.processes import mean, own_batch

POPULATION = 16
MUTATED = 0.1  # share of the choices that a mutation draws anew
Score = Callable[[Selection], float]


def choose_random(problem: Problem, report: Progress) -> tuple[dict[str, str], int]:
    """The best of `evaluations` random selections."""
    random, judge, count = _start(problem, report)
    best: tuple[float, dict[str, str]] | None = None
    for done in range(count):
        selection = _drawn(problem, random)
        loss = judge(selection)
        if best is None or loss < best[0]:
            best = loss, selection
        report(0.5 + done / count / 2, f"judges network {done + 1}/{count}, best {-best[0]:.2f} dB")
    assert best is not None
    return best[1], _spent(problem, count)


def choose_evolved(problem: Problem, report: Progress) -> tuple[dict[str, str], int]:
    """Regularised by size: the best POPULATION so far are parents; a child crosses two and mutates."""
    random, judge, count = _start(problem, report)
    found: list[tuple[float, dict[str, str]]] = []
    for done in range(count):
        if done < min(POPULATION, count // 2):
            child = _drawn(problem, random)
        else:
            first, second = (found[int(i)][1] for i in random.choice(min(len(found), POPULATION), 2, replace=False))
            child = {name: (first if random.random() < 0.5 else second)[name] for name in first}
            child = _repaired(problem, random, _mutated(problem, random, child))
        found.append((judge(child), child))
        found.sort(key=lambda pair: pair[0])
        report(0.5 + done / count / 2, f"judges network {done + 1}/{count}, best {-found[0][0]:.2f} dB")
    return found[0][1], _spent(problem, count)


def _start(problem: Problem, report: Progress) -> tuple[np.random.Generator, Score, int]:
    """Warms the weights up; returns random numbers, the judge, and how many networks the budget allows to judge."""
    config = problem.config
    random = np.random.default_rng([config.seed, 7])
    weights = WeightTraining(problem, max(1, config.warm_up_steps))
    for step in range(config.warm_up_steps):
        loss = weights.update(step, selection=_drawn(problem, random))
        report(step / config.warm_up_steps / 2, f"warm-up step {step + 1}/{config.warm_up_steps}, {-loss:.2f} dB")
    noisy, clean = own_batch(problem.fabric, problem.for_choices.batch(*config.patches))
    noisy = noisy.to(memory_format=torch.channels_last)

    def judge(selection: Selection) -> float:
        with torch.no_grad():
            restored = problem.supernet(noisy, selection=selection)
            assert isinstance(restored, torch.Tensor)
            error = mean(problem.fabric, (restored - clean).square().mean()).item()
        return 10 * math.log10(error) if math.isfinite(error) else math.inf

    return random, judge, max(2, min(config.evaluations, 3 * config.steps))


def _spent(problem: Problem, evaluations: int) -> int:
    return problem.config.warm_up_steps + math.ceil(evaluations / 3)


def _drawn(problem: Problem, random: np.random.Generator) -> dict[str, str]:
    """A selection that meets the goals.

    Each choice inside a kept site changes with one probability for the whole network, drawn first, so that shallow
    and deep changes both occur.
    """
    rate = random.random()
    selection = {}
    for name, choice in problem.space.choices.items():
        changed = random.random() < rate
        selection[name] = str(random.choice(list(choice.candidates))) if changed else KEEP
    return _repaired(problem, random, selection)


def _mutated(problem: Problem, random: np.random.Generator, selection: Selection) -> dict[str, str]:
    found = dict(selection)
    for name, choice in problem.space.choices.items():
        if random.random() < MUTATED:
            found[name] = str(random.choice(choice.options))
    return found


def _repaired(problem: Problem, random: np.random.Generator, selection: Selection) -> dict[str, str]:
    """Turns choices in random order, each to the option that helps, until the goals are met."""
    hardware, found = problem.hardware, dict(selection)
    names = list(problem.space.choices)
    for index in random.permutation(len(names)):
        over = hardware.missed(found)
        if not over:
            return found
        name = names[index]
        for option in random.permutation([o for o in problem.space.choices[name].options if o != found[name]]):
            trial = hardware.excess({**found, name: str(option)})
            if sum(trial[term] for term in over) < sum(over.values()) - 1e-9:
                found[name] = str(option)
                break
    scores = {name: [0.0] * len(choice.options) for name, choice in problem.space.choices.items()}
    return meet_goal(problem.space, hardware, found, scores)[0]
