"""FBNet (arXiv 1812.03443): site by site, mixed by softmax((alpha + Gumbel noise) / tau)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphopt.search.rivals.darts import Darts


class Gumbel(Darts):
    """Weights and choices see the mixture with noise."""

    def route(self, tau: float, step: int, for_choices: bool) -> dict[str, Any]:
        random = self.random(step, for_choices)

        def noisy(name: str) -> Tensor:
            alpha = self.supernet.logits(name)
            noise = -torch.empty_like(alpha).exponential_(generator=random).log()
            return torch.softmax((alpha + noise) / tau, 0)

        return {"probabilities": {name: noisy(name) for name in self.space.choices}}
