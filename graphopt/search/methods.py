"""The methods by name. All choose in the same space, by the same table, from the same supernet, at one budget."""

from __future__ import annotations

from graphopt.search import greedy, lana, population
from graphopt.search.discrete import Chooser, DiscreteSearch
from graphopt.search.entropy import EntropySearch
from graphopt.search.problem import Problem
from graphopt.search.sites import METHODS, SiteSearch
from graphopt.search.supernet_search import SupernetSearch
from graphopt.search.tempering import COOLING, HALVING, Rule

RULES: dict[str, Rule] = {"entropy": COOLING, "halving": HALVING}
CHOOSERS: dict[str, Chooser] = {
    "milp": lana.choose,
    "greedy": greedy.choose,
    "evolution": population.choose_evolved,
    "random": population.choose_random,
}


def search_by(method: str, problem: Problem) -> SupernetSearch | DiscreteSearch:
    """The search of a method named in `graphopt.config.search.METHODS`."""
    if method in RULES:
        return EntropySearch(problem, RULES[method])
    if method in METHODS:
        return SiteSearch(problem, METHODS[method])
    return DiscreteSearch(problem, CHOOSERS[method])
