"""DARTS (arXiv 1806.09055): the search site by site without entropy and sensitivities."""

from __future__ import annotations

from typing import ClassVar

from graphopt.search.sites import Sites


class Darts(Sites):
    """sum_k p_k y_k trains weights and choices; nothing but the goals pulls at p beside it."""

    regularised: ClassVar[bool] = False
