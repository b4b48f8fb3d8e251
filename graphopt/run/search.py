"""Stage `search`: space, cost table and photographs -> a selection, its history, and a front of selections."""

from __future__ import annotations

from typing import Any

from graphopt.progress import Progress
from graphopt.run.run import Run
from graphopt.run.stage import RunStage, patch_keys


def _reads(run: Run) -> list[Any]:
    return [run.config.search.model_dump(), run.weights, patch_keys(run)]


def _work(run: Run, say: Progress) -> None:
    from graphopt.cost.pricing import whole_costs
    from graphopt.search.problem import Given, teacher_of
    from graphopt.search.stage import SearchStage
    from graphopt.train.data import PatchSampler
    from graphopt.train.processes import start_fabric

    run.set_threads()
    config, data, space = run.config.search, run.config.data, run.folder.settled.read()
    as_wholes = {name: backend for name, backend in run.searched(run.backends()).items() if not backend.additive}
    original = run.folder.original.read()
    given = Given(
        config,
        space,
        run.folder.table.read(),
        {name: cost.to_dict() for name, cost in run.folder.original_costs.read().items()},
        run.weights,
        teacher_of(run.folder.original_graph.read()),
        lambda seed, varied: PatchSampler.of_data(data, seed, varied=None if varied else False),
        run.fabric or start_fabric(config.device, config.precision),
        list(as_wholes),
        lambda selection: whole_costs(space, selection, as_wholes, run.cleanups, original),
    )
    SearchStage(given, run.folder.stage("search")).run(say)


STAGE = RunStage("search", ("cost",), _reads, _work, shared=True)
