"""The stages of a run that train, search and fine-tuning: several processes can share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric

from graphopt.atomic import write_json
from graphopt.backends.wholes import whole_costs
from graphopt.config.pipeline import PipelineConfig
from graphopt.cost.cache import CostCache
from graphopt.cost.table import CostTable
from graphopt.cost.target import Target
from graphopt.ir.files import load_graph, save_graph
from graphopt.ir.passes import Pass
from graphopt.ir.space_files import load_space
from graphopt.ir.training_forms import training_graph
from graphopt.nn.module import GraphModule
from graphopt.nn.training_forms import TrainingModule, collapse
from graphopt.progress import Progress
from graphopt.run.stages import read_json
from graphopt.search.problem import Given, teacher_of
from graphopt.search.stage import SearchStage
from graphopt.train.data import PatchSampler
from graphopt.train.features import shared_features
from graphopt.train.finetune import finetune, frozen
from graphopt.train.processes import start_fabric


@dataclass(frozen=True)
class TrainingStages:
    """Both read what the earlier stages wrote into `folder`. The first process of `fabric` writes the results.

    `cache` keeps prices, `weights` are those of the targets; without a `fabric`, this process works alone.
    """

    config: PipelineConfig
    folder: Path
    cache: Path
    targets: Mapping[str, Target]
    weights: Mapping[str, float]
    passes: Sequence[Pass]
    cleanups: Sequence[Pass]
    fabric: Fabric | None

    def search(self, say: Progress, place: Path) -> None:
        """Chooses a candidate for each site."""
        self._set_threads()
        data, config = self.config.data, self.config.search
        whole = [target for name, target in self.targets.items() if target.kind == "qnn" and self.weights[name] > 0]
        space, cache = load_space(self.folder / "cost" / "space"), CostCache(self.cache / "costs")
        given = Given(
            config,
            space,
            CostTable.from_dict(read_json(self.folder / "cost" / "table.json")),
            read_json(self.folder / "cost" / "original.json"),
            self.weights,
            teacher_of(load_graph(self.folder / "source" / "canonical.onnx")),
            lambda seed, varied: PatchSampler.of_data(data, seed, varied=None if varied else False),
            self.fabric or start_fabric(config.device, config.precision),
            [target.name for target in whole],
            lambda selection: whole_costs(space, selection, whole, self.cleanups, cache),
        )
        SearchStage(given, place).run(say)

    def finetune(self, say: Progress, place: Path) -> None:
        """Trains the chosen network, and brings its training forms back to what is deployed."""
        self._set_threads()
        graph = load_graph(self.folder / "rewrite" / "model.onnx")
        original = load_graph(self.folder / "source" / "canonical.onnx")
        space = load_space(self.folder / "search" / "space")
        selection = read_json(self.folder / "search" / "selection.json")["selection"]
        form = training_graph(graph, space, selection, self.passes, self.config.exclude)
        data, tuning = self.config.data, self.config.finetune
        watch = shared_features(form.graph, original) if tuning.losses.get("features") else []
        network, teacher = TrainingModule(form, watch), frozen(GraphModule(original, watch))
        sampler = PatchSampler.of_data(data, tuning.seed)
        history = finetune(network, teacher, sampler, tuning, place / "checkpoint.pt", say, network.advance)
        if self.fabric is not None and not self.fabric.is_global_zero:
            return
        difference = collapse(network, graph, torch.from_numpy(sampler.batch(1, tuning.patches[1])[0]))
        save_graph(graph, place / "model.onnx")
        write_json(place / "history.json", [asdict(record) for record in history])
        write_json(place / "forms.json", {"sites": form.sites, "difference": difference})

    def _set_threads(self) -> None:
        if self.config.threads:
            torch.set_num_threads(self.config.threads)
