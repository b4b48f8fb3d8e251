"""What a pass is. Built-in passes and a user's own file use this and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from graphopt.ir.contract import Contract

if TYPE_CHECKING:
    from graphopt.ir.build import Build, TrainingBuild
    from graphopt.ir.sites import Site
    from graphopt.ir.view import GraphView


class Stage(StrEnum):
    """When a pass acts."""

    PREPARE = "prepare"  # everywhere, before the search: nearly free, and makes candidates behave
    SEARCH = "search"  # offers candidates
    TRAIN = "train"  # everywhere, while the chosen network is fine-tuned; afterwards the site itself stands there again
    CLEANUP = "cleanup"  # everywhere, on the chosen network, again and again until nothing changes; exact


class Pass(ABC):
    """A frozen dataclass whose fields are its options, in YAML and in Python. Its docstring opens with the equation.

    `tolerance` belongs to the contract `approximate`: the largest relative difference of the network's output, in the
    root mean square over calibration images.
    """

    name: ClassVar[str]
    contract: ClassVar[Contract]
    stage: ClassVar[Stage] = Stage.SEARCH
    tolerance: ClassVar[float] = 0.0

    @abstractmethod
    def sites(self, graph: GraphView) -> Iterable[Site]:
        """Where: usually `graph.find(pattern)`. `graph.refuse(site, reason)` says why a place is left out."""

    @abstractmethod
    def rewrite(self, site: Site, build: Build) -> object:
        """What: builds a fragment of ONNX ops, and returns the tensor that replaces the site's output."""

    def training(self, site: Site, build: TrainingBuild) -> object:
        """What stands there while it trains, where that is not what `rewrite` built; None, the default: the same.

        Returns as `rewrite` does. It must collapse into what `rewrite` built: see `TrainingBuild`.
        """
        return None
