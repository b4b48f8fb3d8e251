"""One configured run: everything that its configuration names, found before any work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphopt.backends.base import Backend
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import in_precision, load_target
from graphopt.config.pipeline import PassSpec, PipelineConfig
from graphopt.config.reading import read_config
from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.ir.passes import Pass, Stage
from graphopt.ir.registry import load_pass
from graphopt.models.source import find_model
from graphopt.run.folder import RunFolder
from graphopt.run.forms import check_integers
from graphopt.train.data import calibration, noise_of, open_photographs
from graphopt.train.data.photographs import Photograph

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from numpy.typing import NDArray

    from graphopt.backends.precision import InPrecision


@dataclass(frozen=True)
class Run:
    """What every stage is given. `cache` keeps exports and prices between runs, `path` is the YAML file.

    `targets` and `weights` are by the name of the target; a target of weight 0 is priced and built for only.
    `fabric`, where there is one, are the processes that share the run.
    """

    config: PipelineConfig
    path: Path
    folder: RunFolder
    cache: Path
    model: Path
    passes: Sequence[Pass]
    targets: dict[str, Target]
    weights: dict[str, float]
    train_images: Sequence[Photograph]
    test_images: Sequence[Photograph]
    fabric: Fabric | None = None

    @classmethod
    def open(cls, path: Path, folder: Path | None, cache: Path) -> Run:
        """Reads a YAML file and finds all that it names. The run folder is runs/NAME unless the file or the call says.

        Raises:
            GraphoptError: a mistake in the file, or something that it names and that is not there.
        """
        config = read_config(path, PipelineConfig)
        fabric = _processes(config)
        passes = [load_pass(spec.name, spec.options, path.parent) for spec in config.passes]
        _check(passes, path)
        targets = [
            _target(name, str(path.parent / name) if name.endswith((".yaml", ".yml")) else name, config, path)
            for name in config.targets
        ]
        opened = cls(
            config=config,
            path=path,
            folder=RunFolder(folder or config.run or Path("runs") / path.stem),
            cache=cache,
            model=find_model(config.model, path.parent),
            passes=passes,
            targets={target.name: target for target in targets},
            weights=dict(zip((target.name for target in targets), config.targets.values(), strict=True)),
            train_images=open_photographs(config.data.train),
            test_images=open_photographs(config.data.test, judged=True),
            fabric=fabric,
        )
        backends = opened.backends()
        for backend in backends.values():
            backend.key()  # a compiler that is missing is said before any work
        _check_prices(opened, backends)
        _check_options(opened, backends)
        _check_files(opened)
        check_integers(config, path, backends, opened.train_images)
        return opened

    @property
    def cleanups(self) -> list[Pass]:
        """The passes that clean up exactly, whatever is chosen."""
        return [rule for rule in self.passes if rule.stage is Stage.CLEANUP]

    def backends(self) -> dict[str, Backend[Any]]:
        """Of all targets, by name. What they lower they keep for as long as they live, so each stage opens its own."""
        prices = CostCache(self.cache / "costs")
        return {name: open_backend(target, prices) for name, target in self.targets.items()}

    def searched(self, backends: Mapping[str, Backend[Any]]) -> dict[str, InPrecision]:
        """Those that the search aims at. They price candidates in the precision that will be deployed."""
        from graphopt.backends.precision import InPrecision

        return {name: InPrecision(backend) for name, backend in backends.items() if self.weights[name] > 0}

    @property
    def heaviest(self) -> str:
        """The name of the target of the largest weight."""
        return max(self.weights, key=lambda name: self.weights[name])

    def passes_of(self, *stages: Stage) -> list[tuple[PassSpec, Pass]]:
        """The passes that act in these stages, as the file lists them."""
        listed = zip(self.config.passes, self.passes, strict=True)
        return [(spec, rule) for spec, rule in listed if rule.stage in stages]

    def set_threads(self) -> None:
        """As many for torch as the configuration says, where it says so."""
        import torch

        if self.config.threads:
            torch.set_num_threads(self.config.threads)

    def calibration(self, size: tuple[int, int] | None = None) -> list[NDArray[Any]]:
        """Noisy images (1, C, *size), at the height and width of the original's input where none are given."""
        from graphopt.ir.canonical import input_shape

        data = self.config.data
        if size is None:
            height, width = input_shape(self.folder.original.read())[2:]
            size = (height, width)
        return calibration(self.train_images, data.calibration_images, size, noise_of(data))


def _target(given: str, found_at: str, config: PipelineConfig, path: Path) -> Target:
    """What `targets` names as `given`, in the precision that the configuration asks of it."""
    target = load_target(found_at)
    if isinstance(config.precision, str):
        return in_precision(target, config.precision, f"config {path}: key 'precision'")
    asked = config.precision.get(given)
    return in_precision(target, asked, f"config {path}: key 'precision.{given}'") if asked else target


def _check_files(run: Run) -> None:
    """A run must not write over what it was given."""
    folder = run.folder
    written = [folder.model.path, folder.half_model.path, folder.weights]
    if run.model.resolve() in (path.resolve() for path in written):
        raise GraphoptError(
            f"config {run.path}: the run would write over its own model, {run.model}; choose another run folder with "
            "--run, or rename the model"
        )


def _check_prices(run: Run, backends: Mapping[str, Backend[Any]]) -> None:
    """The search aims at prices."""
    for name, backend in backends.items():
        if run.weights[name] > 0 and backend.unpriced:
            raise GraphoptError(
                f"config {run.path}: target {name} has no price on this machine: {backend.unpriced}; give it "
                "weight 0: its artefact is built all the same"
            )


def _check_options(run: Run, backends: Mapping[str, Backend[Any]]) -> None:
    """An option that none of the targets reads would have no effect."""
    config, names = run.config, ", ".join(backends)
    if "trials" in config.model_fields_set and not any(backend.tunes for backend in backends.values()):
        raise GraphoptError(
            f"config {run.path}: 'trials' is for targets that are tuned while they are priced, as host-tvm is; "
            f"leave it out (targets: {names})"
        )
    if "wholes" in config.search.model_fields_set and all(b.additive for b in run.searched(backends).values()):
        raise GraphoptError(
            f"config {run.path}: 'search.wholes' is for targets whose parts do not add up, as sm8650-hexagon is; leave "
            f"it out (targets: {names})"
        )


def _processes(config: PipelineConfig) -> Fabric | None:
    """Those that `torchrun` has started, if it has."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return None
    from graphopt.train.loader import Share
    from graphopt.train.processes import start_fabric

    fabric = start_fabric(config.search.device, config.search.precision)
    for parts, (count, _) in ((1, config.search.patches), (config.finetune.accumulate, config.finetune.patches)):
        Share(parts, processes=fabric.world_size).patches(count)  # a mistake is said before any work
    return fabric


def _check(passes: Sequence[Pass], path: Path) -> None:
    names = [rule.name for rule in passes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GraphoptError(f"config {path}: pass '{twice[0]}' is listed twice; list each pass once")
    if not any(rule.stage is Stage.SEARCH for rule in passes):
        raise GraphoptError(f"config {path}: 'passes' names no pass that offers candidates, e.g. affine-norm")
