"""Stage `source`: a checkpoint or any ONNX file -> the canonical graph, checked against the original."""

from __future__ import annotations

from typing import Any

from graphopt.errors import GraphoptError
from graphopt.progress import Progress
from graphopt.run.folder import Source
from graphopt.run.run import Run
from graphopt.run.stage import RunStage
from graphopt.run.stamps import file_digest


def _reads(run: Run) -> list[Any]:
    return [file_digest(run.model), run.config.resolution]


def _work(run: Run, say: Progress) -> None:
    wait = "" if run.model.suffix == ".onnx" else "; the first export of a checkpoint takes some ten seconds"
    say(0.0, f"reads {run.model.name}{wait}")
    from graphopt.ir.canonical import input_shapes, to_graph
    from graphopt.ir.quantised import check_float
    from graphopt.models.source import load_source
    from graphopt.nn.module import GraphModule
    from graphopt.run.sizes import sizes_of

    model, difference = load_source(run.model, run.config.resolution, run.cache / "exports")
    check_float(model, str(run.model), "surgery takes")
    if len(shapes := input_shapes(model)) != 1:
        raise GraphoptError(f"model {run.model} has {len(shapes)} inputs; a run takes networks with one, the image")
    GraphModule(to_graph(model))  # an op that cannot be trained is named here, before any work
    sizes_of(run.config.deploy, run.path, model)  # and so is a size that it cannot be deployed at
    run.folder.original.write(model)
    run.folder.source.write(Source(difference, len(model.graph.node)))


STAGE = RunStage("source", (), _reads, _work)
