"""The integer programme on sensitivities as a method of its own, as in LANA (Molchanov et al. 2022)."""

from __future__ import annotations

from graphopt.progress import Progress
from graphopt.search.milp import solve
from graphopt.search.problem import Problem


def choose(problem: Problem, report: Progress) -> tuple[dict[str, str], int]:
    """The selection with the least sum of sensitivities that meets every goal. No training steps.

    Where whole networks are priced, of those that were looked at.
    """
    report(0.0, "solves the integer programme")
    return problem.aim.best(problem.sensitivity) or solve(problem.hardware, problem.sensitivity), 0
