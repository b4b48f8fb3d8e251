"""Evolution: the best networks so far are parents; a child crosses two of them and mutates."""

from __future__ import annotations

from graphopt.ir.space import Selection
from graphopt.progress import Progress
from graphopt.search.rivals.population import Population, Score

PARENTS = 16
MUTATED = 0.1  # share of the choices that a mutation draws anew


class Evolution(Population):
    """The first networks are random ones."""

    def best(self, judge: Score, say: Progress) -> dict[str, str]:
        found: list[tuple[float, dict[str, str]]] = []
        for done in range(self.count):
            child = self.drawn() if done < min(PARENTS, self.count // 2) else self._bred([s for _, s in found])
            found = sorted([*found, (judge(child), child)], key=lambda pair: pair[0])[:PARENTS]
            say(done / self.count, f"judges network {done + 1}/{self.count}, best {-found[0][0]:.2f} dB")
        return found[0][1]

    def _bred(self, parents: list[dict[str, str]]) -> dict[str, str]:
        first, second = (parents[int(i)] for i in self.random.choice(len(parents), 2, replace=False))
        crossed = {name: (first if self.random.random() < 0.5 else second)[name] for name in first}
        return self.repaired(self._mutated(crossed))

    def _mutated(self, selection: Selection) -> dict[str, str]:
        found = dict(selection)
        for name, choice in self.space.choices.items():
            if self.random.random() < MUTATED:
                found[name] = str(self.random.choice(choice.options))
        return found
