"""Stage `space`: graph, passes, calibration images -> choices with calibrated candidates, and reasons for refusals."""

from __future__ import annotations

from typing import Any

from graphopt.errors import GraphoptError
from graphopt.ir.passes import Stage
from graphopt.progress import Progress
from graphopt.run.run import Run
from graphopt.run.stage import RunStage, pass_keys, photograph_keys


def _reads(run: Run) -> list[Any]:
    offered = pass_keys(run, Stage.PREPARE, Stage.SEARCH)
    return [offered, run.config.exclude, photograph_keys(run), run.config.data.calibration_images]


def _work(run: Run, say: Progress) -> None:
    from graphopt.ir.space_building import build_space, prepare
    from graphopt.nn.training_module import check_forms

    images, exclude = run.calibration(), run.config.exclude
    say(0.0, "measures activations on calibration images")
    prepared = prepare(run.folder.original_graph.read(), run.passes, images)
    space = build_space(prepared.graph, run.passes, images, exclude, say)
    if not space.choices:
        reasons = sorted({f"{refusal.pass_name}: {refusal.reason}" for refusal in space.refusals})[:3]
        found = "; ".join(reasons) or "no pattern occurs"
        raise GraphoptError(f"no pass found a site in {run.model.name}: {found}")
    check_forms(space, run.passes, exclude)
    run.folder.space.write(space)
    run.folder.prepared.write(prepared.edits)


STAGE = RunStage("space", ("source",), _reads, _work)
