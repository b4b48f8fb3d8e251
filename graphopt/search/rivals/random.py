"""Random search: the best of random networks that meet the goals."""

from __future__ import annotations

from graphopt.progress import Progress
from graphopt.search.rivals.population import Population, Score


class Random(Population):
    def best(self, judge: Score, say: Progress) -> dict[str, str]:
        found: list[tuple[float, dict[str, str]]] = []
        for done in range(self.count):
            selection = self.drawn()
            found = sorted([*found, (judge(selection), selection)], key=lambda pair: pair[0])[:1]
            say(done / self.count, f"judges network {done + 1}/{self.count}, best {-found[0][0]:.2f} dB")
        return found[0][1]
