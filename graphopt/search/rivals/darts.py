"""DARTS (arXiv 1806.09055): the search site by site without entropy and sensitivities."""

from __future__ import annotations

from typing import ClassVar

import torch

from graphopt.search.sites import Sites


class Darts(Sites):
    """sum_k p_k y_k trains weights and choices; nothing but the goals pulls at p beside it."""

    regularised: ClassVar[bool] = False

    def random(self, step: int, for_choices: bool) -> torch.Generator:
        """Random numbers of one step, the same whether the search was killed before it or not."""
        return torch.Generator().manual_seed((self.config.seed * 1_000_003 + step) * 7 + for_choices)
