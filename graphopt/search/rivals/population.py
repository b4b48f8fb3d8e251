"""What random search and evolution share: networks that meet the goals, judged by the supernet on held-out patches.

Both first train the weights for the warm-up along random paths (single path one-shot, Guo et al., arXiv 1904.00420).
An evaluation is one batch forward: a third of a training step.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from graphopt.ir.space import KEEP, Selection
from graphopt.progress import Progress
from graphopt.search.method import Method, SearchResult, one_hot
from graphopt.search.problem import Problem
from graphopt.search.rivals.greedy import meet_goals

Score = Callable[[Selection], float]  # minus the PSNR, in dB


class Population(Method):
    """Warms up, then `best` judges `count` networks."""

    def __init__(self, problem: Problem):
        super().__init__(problem)
        config = self.config
        self.count = max(2, min(config.evaluations, 3 * (config.steps - config.warm_up_steps) // 2))
        self.steps = config.steps - math.ceil(self.count / 3)
        self.random = np.random.default_rng([config.seed, 7])

    @abstractmethod
    def best(self, judge: Score, say: Progress) -> dict[str, str]:
        """The network that is chosen."""

    def choose(self, say: Progress) -> SearchResult:
        warm_up = self.config.warm_up_steps
        paths = [self.drawn() for _ in range(warm_up)]  # all of them, whichever step a search goes on at
        while self.step < warm_up:
            selection = paths[self.step]
            loss = self.update(selection=selection)
            self.record("warm-up", loss, one_hot(self.space, selection), self.step == warm_up)
        patches = self.problem.held_out(1)

        def judge(selection: Selection) -> float:
            found = -self.problem.psnr(patches, selection=selection)
            return found if math.isfinite(found) else math.inf

        found = self.best(judge, lambda done, words: say(self.share, words))
        return SearchResult(one_hot(self.space, found), found)

    def drawn(self) -> dict[str, str]:
        """A selection that meets the goals.

        Each choice changes with one probability for the whole network, drawn first, so that shallow and deep changes
        both occur.
        """
        rate = self.random.random()
        selection = {}
        for name, choice in self.space.choices.items():
            changed = self.random.random() < rate
            selection[name] = str(self.random.choice(list(choice.candidates))) if changed else KEEP
        return self.repaired(selection)

    def repaired(self, selection: Selection) -> dict[str, str]:
        """Turns choices in random order, each to the option that helps, until the goals are met."""
        space, hardware, found = self.space, self.problem.aim.hardware, dict(selection)
        names = list(space.choices)
        for index in self.random.permutation(len(names)):
            over = hardware.missed(found)
            if not over:
                return found
            name = names[index]
            for option in self.random.permutation([o for o in space.choices[name].options if o != found[name]]):
                trial = hardware.excess({**found, name: str(option)})
                if sum(trial[term] for term in over) < sum(over.values()) - 1e-9:
                    found[name] = str(option)
                    break
        nothing = {name: dict.fromkeys(choice.options, 0.0) for name, choice in space.choices.items()}
        return meet_goals(hardware, found, nothing)[0]
