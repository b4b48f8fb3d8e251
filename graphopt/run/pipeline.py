"""source -> space -> cost -> search -> rewrite -> finetune -> deploy -> report: one run, stage by stage.

Each stage reads files and writes files in the run folder. What a stage does stands in the package named after it;
here is only what flows where.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from graphopt.atomic import write_json
from graphopt.backends.qnn.compiler import compiler_version
from graphopt.backends.qnn.regression import FORMULA as NPU_FORMULA
from graphopt.config.pipeline import PipelineConfig
from graphopt.cost.record import Cost
from graphopt.cost.target import Target, load_target
from graphopt.errors import GraphoptError
from graphopt.ir.passes import Pass, Stage
from graphopt.ir.registry import load_pass
from graphopt.ir.space import Space
from graphopt.kernels.model import FORMULA
from graphopt.models.source import find_model, load_source
from graphopt.progress import Progress
from graphopt.run.stages import Stages, digest, file_digest, read_json
from graphopt.train.data import calibration, noise_of, open_photographs, photographs_digest
from graphopt.tuning.databases import tuning_state

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs
    from lightning_fabric import Fabric

    from graphopt.run.training import TrainingStages

SHARED = ("search", "finetune")  # several processes work on these, the first one alone on the others
Report = Callable[[str, float, str], None]


class Pipeline:
    """One configured run. Everything that the configuration names is found, and mistakes are said, before any work."""

    def __init__(
        self, config: PipelineConfig, path: Path, run_folder: Path, cache: Path, report: Report,
        fabric: Fabric | None = None,
    ):  # fmt: skip
        """`path` is the YAML file, `cache` keeps exports and prices between runs, `report(stage, share, words)`.

        `fabric`, where given, are the processes that share the run.
        """
        self.fabric = fabric
        self.config, self.path, self.folder, self.cache = config, path, run_folder, cache
        self._say = report
        self.model = find_model(config.model, path.parent)
        self.passes = [load_pass(spec.name, spec.options, path.parent) for spec in config.passes]
        self.cleanups = [rule for rule in self.passes if rule.stage is Stage.CLEANUP]
        self.targets: dict[str, Target] = {}
        for name in config.targets:
            target = load_target(str(path.parent / name) if name.endswith((".yaml", ".yml")) else name)
            self.targets[target.name] = target
        self.npu_compilers = [compiler_version(target) for target in self.targets.values() if target.kind == "qnn"]
        self.weights = dict(zip(self.targets, config.targets.values(), strict=True))
        self.train_images = open_photographs(config.data.train)
        self.test_images = open_photographs(config.data.test, judged=True)
        self._check_names()
        self.stages = Stages(run_folder)

    def run(self) -> bool:
        """Runs what is not done already. False where there was nothing to do. One run at a time in one run folder.

        All processes run the stages that are SHARED, the first one alone runs the others.
        """
        if self.fabric is None or self.fabric.is_global_zero:
            with self.stages.locked():
                return self._run()
        for name, work in (("search", self._training.search), ("finetune", self._training.finetune)):
            if self.fabric.broadcast(False):  # the first process says whether there is something to do
                work(lambda share, words: None, self.folder / name)
        return False

    def open_space(self) -> Space:
        """The space, after the stages that make it: what of them is not done already is run."""
        from graphopt.ir.space_files import load_space

        with self.stages.locked():
            self._run(last="space")
            return load_space(self.folder / "space")

    def _run(self, last: str = "report") -> bool:
        config, data = self.config, self.config.data
        noise = data.model_dump(include={"sigma", "noise"})
        images = [photographs_digest(self.train_images), noise]
        costs = [digest(t.model_dump()) for t in self.targets.values()] + [
            version("apache-tvm"),
            FORMULA,
            NPU_FORMULA,
            self.npu_compilers,
            config.trials,
            *(state for t in self.targets.values() if (state := tuning_state(self.cache / "costs" / "tuning", t))),
        ]
        patches = [images, data.vary, data.mixup, config.threads]
        offered, cleanups = self._pass_keys(Stage.PREPARE, Stage.SEARCH), self._pass_keys(Stage.CLEANUP)
        tuning = (config.finetune.model_dump(exclude={"workers"}), self._pass_keys(Stage.TRAIN))
        for name, inputs, after, work in (
            ("source", (file_digest(self.model), config.resolution), (), self._source),
            ("space", (offered, config.exclude, images, data.calibration_images), ("source",), self._space),
            ("cost", (costs, cleanups), ("space",), self._cost),
            ("search", (config.search.model_dump(), self.weights, patches), ("cost",), self._search),
            ("rewrite", (), ("search",), self._rewrite),
            ("finetune", (*tuning, patches), ("rewrite",), self._finetune),
            ("deploy", (costs, cleanups), ("finetune",), self._deploy),
            ("report", (photographs_digest(self.test_images), noise, self.path.read_text()), ("deploy",), self._report),
        ):
            ran = self.stages.run(name, inputs, after, partial(work, partial(self._say_working, name)))
            if name in SHARED and not ran:
                self._tell_others(False)
            self._say(name, 1.0, f"{self.stages.seconds[name]:.1f} s" if name in self.stages.ran else "done already")
            if name == last:
                break
        return bool(self.stages.ran)

    def _say_working(self, stage: str, share: float, words: str) -> None:
        """A stage is at its end when `run` says so, whatever its parts say of themselves."""
        self._say(stage, min(share, 0.999), words)

    def _check_names(self) -> None:
        names = [rule.name for rule in self.passes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise GraphoptError(f"config {self.path}: pass '{twice[0]}' is listed twice; list each pass once")
        if not any(rule.stage is Stage.SEARCH for rule in self.passes):
            raise GraphoptError(f"config {self.path}: 'passes' names no pass that offers candidates, e.g. affine-norm")

    def _pass_keys(self, *stages: Stage) -> list[Any]:
        """What the passes of these stages are."""
        listed = zip(self.config.passes, self.passes, strict=True)
        return [(spec.model_dump(), _code_digest(rule)) for spec, rule in listed if rule.stage in stages]

    def _calibration(self) -> list[Any]:
        data, (height, width) = self.config.data, self._graph_shape()[2:]
        return calibration(self.train_images, data.calibration_images, (height, width), noise_of(data))

    def _graph_shape(self) -> tuple[int, ...]:
        from graphopt.ir.canonical import input_shape

        return input_shape(onnx.load(self.folder / "source" / "canonical.onnx"))

    def _source(self, say: Progress, place: Path) -> None:
        wait = "" if self.model.suffix == ".onnx" else "; the first export of a checkpoint takes some ten seconds"
        say(0.0, f"reads {self.model.name}{wait}")
        from graphopt.ir.canonical import to_graph
        from graphopt.nn.module import GraphModule

        model, difference = load_source(self.model, self.config.resolution, self.cache / "exports")
        GraphModule(to_graph(model))  # an op that cannot be trained is named here, before any work
        onnx.save(model, place / "canonical.onnx")
        write_json(place / "source.json", {"difference": difference, "nodes": len(model.graph.node)})

    def _space(self, say: Progress, place: Path) -> None:
        from graphopt.ir.files import load_graph
        from graphopt.ir.space_building import build_space, prepare
        from graphopt.ir.space_files import save_space
        from graphopt.nn.training_forms import check_forms

        graph = load_graph(self.folder / "source" / "canonical.onnx")
        images = self._calibration()
        say(0.0, "measures activations on calibration images")
        prepared = prepare(graph, self.passes, images)
        space = build_space(prepared.graph, self.passes, images, self.config.exclude, say)
        if not space.choices:
            reasons = (
                "; ".join(sorted({f"{r.pass_name}: {r.reason}" for r in space.refusals})[:3]) or "no pattern occurs"
            )
            raise GraphoptError(f"no pass found a site in {self.model.name}: {reasons}")
        check_forms(space, self.passes, self.config.exclude)
        save_space(space, place)
        write_json(place / "prepared.json", prepared.edits)

    def _cost(self, say: Progress, place: Path) -> None:
        from graphopt.backends.pricing import network_cost
        from graphopt.cost.cache import CostCache
        from graphopt.cost.settling import settle
        from graphopt.cost.table import build_table
        from graphopt.ir.canonical import copy_graph, to_model
        from graphopt.ir.rewriting import rewrite_everywhere
        from graphopt.ir.space_files import load_space, save_space

        space = load_space(self.folder / "space")
        original = onnx.load(self.folder / "source" / "canonical.onnx")
        cache = CostCache(self.cache / "costs")
        searched = [target for name, target in self.targets.items() if self.weights[name] > 0]

        def whole(model: onnx.ModelProto, target: Target) -> Cost:
            say(0.0, f"{target.name}: the whole network")
            trials = self.config.trials if target.kind == "llvm" else 0
            heard = say if target.kind == "llvm" else None
            return network_cost(model, target, cache, trials=trials, progress=heard)

        def wholes(graph: gs.Graph) -> dict[str, Cost]:
            kept = copy_graph(graph)
            rewrite_everywhere(kept, self.cleanups)  # they are applied to whatever is chosen
            return {target.name: whole(to_model(kept), target) for target in searched}

        original_costs = {name: whole(original, target) for name, target in self.targets.items()}
        table = build_table(space, wholes(space.graph), searched, self.cleanups, cache, say)
        space, table = settle(space, table, self.weights, wholes)
        save_space(space, place / "space")
        write_json(place / "table.json", table.to_dict())
        write_json(place / "original.json", {name: _cost_of(cost) for name, cost in original_costs.items()})

    @cached_property
    def _training(self) -> TrainingStages:
        from graphopt.run.training import TrainingStages

        return TrainingStages(
            self.config, self.folder, self.cache, self.targets, self.weights, self.passes, self.cleanups, self.fabric
        )

    def _tell_others(self, there_is_work: bool) -> None:
        if self.fabric is not None:
            self.fabric.broadcast(there_is_work)

    def _search(self, say: Progress, place: Path) -> None:
        self._tell_others(True)
        self._training.search(say, place)

    def _rewrite(self, say: Progress, place: Path) -> None:
        from graphopt.ir.files import save_graph
        from graphopt.ir.rewriting import apply_selection
        from graphopt.ir.space_files import load_space

        say(0.0, "applies the selection")
        space = load_space(self.folder / "search" / "space")
        graph = apply_selection(space, read_json(self.folder / "search" / "selection.json")["selection"])
        save_graph(graph, place / "model.onnx")

    def _finetune(self, say: Progress, place: Path) -> None:
        self._tell_others(True)
        self._training.finetune(say, place)

    def _deploy(self, say: Progress, place: Path) -> None:
        from graphopt.cost.cache import CostCache
        from graphopt.run.deploy import deploy, fold

        say(0.0, "folds affines and scales")
        images = self._calibration()[:1]
        model, edits = fold(onnx.load(self.folder / "finetune" / "model.onnx"), self.cleanups, images)
        write_json(place / "edits.json", edits)
        cache = CostCache(self.cache / "costs")
        found = deploy(
            model, list(self.targets.values()), self.config.trials, images[0], self.folder, place, cache, say
        )
        write_json(place / "deploy.json", found)

    def _report(self, say: Progress, place: Path) -> None:
        from rich.console import Console

        from graphopt.report.metrics import write_metrics
        from graphopt.report.page import write_page
        from graphopt.report.summary import summary_table
        from graphopt.run.results import Run, gather

        names = [path.name for path in self.test_images]
        run = Run(self.folder, self.config, self.path, self.targets, self.weights, names)
        data = gather(run, place, self.stages.seconds, say)
        with (place / "summary.txt").open("w") as file:
            Console(file=file, width=110).print(summary_table(data))
        write_metrics(data, self.folder / "metrics.json")
        write_page(data, self.folder / "report.html")


def open_pipeline(path: Path, run_folder: Path | None, cache: Path, report: Report) -> Pipeline:
    """Reads a YAML file and finds all that it names. The run folder is runs/NAME unless the file or the call says.

    Under `torchrun`, its processes share the run.
    """
    from graphopt.config.reading import read_config

    config, fabric = read_config(path, PipelineConfig), None
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        from graphopt.train.loader import Share
        from graphopt.train.processes import start_fabric

        fabric = start_fabric(config.search.device, config.search.precision)
        for parts, (count, _) in ((1, config.search.patches), (config.finetune.accumulate, config.finetune.patches)):
            Share(parts, processes=fabric.world_size).patches(count)  # a mistake is said before any work
    return Pipeline(config, path, run_folder or config.run or Path("runs") / path.stem, cache, report, fabric)


def _code_digest(rule: Pass) -> str:
    """A hash of the file that holds a pass: an edited pass is another pass."""
    return file_digest(Path(type(rule).rewrite.__code__.co_filename))


def _cost_of(cost: Cost) -> dict[str, Any]:
    return Cost.from_dict(cost.to_dict()).to_dict()
