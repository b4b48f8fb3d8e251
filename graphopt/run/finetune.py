"""Stage `finetune`: the rewritten graph, photographs, the original as teacher -> the graph with trained weights."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from graphopt.ir.passes import Stage
from graphopt.progress import Progress
from graphopt.run.folder import Forms
from graphopt.run.run import Run
from graphopt.run.stage import RunStage, pass_keys, patch_keys


def _reads(run: Run) -> list[Any]:
    config = run.config.finetune
    keys = config.model_dump(exclude={"workers", "precision", "quantised_steps", "quantised_learning_rate"})
    precision = "fp32" if config.is_for_integers else config.precision  # integers are trained later
    return [keys, precision, pass_keys(run, Stage.TRAIN), patch_keys(run)]


def _work(run: Run, say: Progress) -> None:
    """Training forms come back to what is deployed. The first process writes."""
    import torch

    from graphopt.ir.training_forms import training_graph
    from graphopt.nn.module import GraphModule
    from graphopt.nn.training_module import TrainingModule, collapse
    from graphopt.train.data import PatchSampler
    from graphopt.train.features import shared_features
    from graphopt.train.finetune import finetune, frozen

    run.set_threads()
    folder, config = run.folder, run.config.finetune
    graph, original = folder.rewritten.read(), folder.original_graph.read()
    selection = folder.selection.read()["selection"]
    form = training_graph(graph, folder.searched.read(), selection, run.passes, run.config.exclude)
    watch = shared_features(form.graph, original) if config.losses.get("features") else []
    network, teacher = TrainingModule(form, watch), frozen(GraphModule(original, watch))
    sampler = PatchSampler.of_data(run.config.data, config.seed)
    history = finetune(network, teacher, sampler, config, folder.finetune_checkpoint, say, network.advance)
    if run.fabric is not None and not run.fabric.is_global_zero:
        return
    difference = collapse(network, graph, torch.from_numpy(sampler.batch(1, config.patches[1])[0]))
    folder.finetuned.write(graph)
    folder.finetune_history.write([asdict(record) for record in history])
    folder.forms.write(Forms(form.sites, difference))


STAGE = RunStage("finetune", ("rewrite",), _reads, _work, shared=True)
