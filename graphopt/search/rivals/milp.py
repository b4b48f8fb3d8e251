"""The integer programme on sensitivities as a method of its own, as in LANA (Molchanov et al. 2022)."""

from __future__ import annotations

from graphopt.progress import Progress
from graphopt.search.method import Method, SearchResult, one_hot
from graphopt.search.programme import solve


class IntegerProgramme(Method):
    """The selection with the least sum of sensitivities that meets every goal. No training steps.

    Where whole networks are priced, of those that were looked at.
    """

    def choose(self, say: Progress) -> SearchResult:
        problem = self.problem
        say(0.0, "solves the integer programme")
        found = problem.aim.best(problem.sensitivity) or solve(problem.aim.hardware, problem.sensitivity)
        return SearchResult(one_hot(self.space, found), found)
