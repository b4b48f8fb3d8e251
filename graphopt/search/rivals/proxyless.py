"""ProxylessNAS (arXiv 1812.00332): site by site; one drawn path trains weights, two drawn options train choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graphopt.search.rivals.darts import Darts


class Proxyless(Darts):
    """Only what is drawn runs."""

    def route(self, tau: float, step: int, for_choices: bool) -> dict[str, Any]:
        random = self.random(step, for_choices)
        p = self.supernet.probabilities(tau)
        if for_choices:
            return two_paths(p, random)
        drawn = {name: int(torch.multinomial(values.detach(), 1, generator=random)) for name, values in p.items()}
        return {"selection": {name: self.supernet.options(name)[i] for name, i in drawn.items()}}


def two_paths(p: Mapping[str, Tensor], random: torch.Generator) -> dict[str, Any]:
    """Of each choice two drawn options run, renormalised between them; the first one drawn counts.

    As its binary gates: the rest of the options keep their probability.
    """
    probabilities, sampled = {}, {}
    for name, values in p.items():
        drawn = torch.multinomial(values.detach(), 2, generator=random).tolist()
        among = values[drawn] / values[drawn].sum()
        hot = torch.tensor([1.0, 0.0]) + among - among.detach()  # one-hot in value, the mixture in gradient
        probabilities[name] = torch.zeros_like(values).index_put((torch.tensor(drawn),), hot)
        sampled[name] = drawn
    return {"probabilities": probabilities, "sampled": sampled}
