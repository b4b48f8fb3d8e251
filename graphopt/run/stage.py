"""What a stage of a run is: the files that it reads and what it does with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import isfunction
from pathlib import Path
from typing import Any

from graphopt.ir.passes import Pass, Stage
from graphopt.progress import Progress
from graphopt.run.run import Run
from graphopt.run.stamps import file_digest
from graphopt.train.data import photographs_digest


@dataclass(frozen=True)
class RunStage:
    """A function from files to files in the run folder.

    `reads` gives all that the stage depends on beside the stages `after`: what changes there runs it again. Where it is
    `shared`, all processes of a run work on it; the first one alone does the others.
    """

    name: str
    after: tuple[str, ...]
    reads: Callable[[Run], list[Any]]
    work: Callable[[Run, Progress], None]
    shared: bool = False


def pass_keys(run: Run, *stages: Stage) -> list[Any]:
    """What the passes of these stages are: their options, and the code of the file that holds them."""
    return [(spec.model_dump(), _code_digest(rule)) for spec, rule in run.passes_of(*stages)]


def price_keys(run: Run) -> list[Any]:
    """What decides prices beside the graph."""
    found = {name: [backend.key(), backend.target.precision] for name, backend in run.backends().items()}
    return [found, run.config.trials]


def photograph_keys(run: Run) -> list[Any]:
    """The photographs that a run learns from, and their noise."""
    return [photographs_digest(run.train_images), noise_keys(run)]


def noise_keys(run: Run) -> dict[str, Any]:
    return run.config.data.model_dump(include={"sigma", "noise"})


def patch_keys(run: Run) -> list[Any]:
    """What decides the patches that are trained on."""
    data = run.config.data
    return [photograph_keys(run), data.vary, data.mixup, run.config.threads]


def _code_digest(rule: Pass) -> list[str]:
    """A hash of each file that a pass is made of: an edited pass is another pass."""
    made_of = [kind for kind in type(rule).__mro__ if issubclass(kind, Pass) and kind is not Pass]
    files = {Path(value.__code__.co_filename) for kind in made_of for value in vars(kind).values() if isfunction(value)}
    return sorted(file_digest(file) for file in files if file.is_file())  # what a dataclass writes has no file
