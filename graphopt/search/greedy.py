"""Greedy: from the network as it is, turn the choice that loses least for what it saves, until every goal is met."""

from __future__ import annotations

from graphopt.ir.space import KEEP
from graphopt.progress import Progress
from graphopt.search.problem import Problem
from graphopt.search.selection import meet_goal


def choose(problem: Problem, report: Progress) -> tuple[dict[str, str], int]:
    """By sensitivities (dB for each share of the goals that is saved). No training steps."""
    report(0.0, "turns one choice after another")
    scores = {
        name: [-problem.sensitivity[name][option] for option in choice.options]
        for name, choice in problem.space.choices.items()
    }
    kept = dict.fromkeys(problem.space.choices, KEEP)
    return meet_goal(problem.space, problem.hardware, kept, scores)[0], 0
