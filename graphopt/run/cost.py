"""Stage `cost`: space and targets -> the prices of the original, and the cost table of all candidates."""

from __future__ import annotations

from typing import Any

from graphopt.ir.passes import Stage
from graphopt.progress import Progress
from graphopt.run.run import Run
from graphopt.run.stage import RunStage, pass_keys, price_keys


def _reads(run: Run) -> list[Any]:
    return [price_keys(run), pass_keys(run, Stage.CLEANUP)]


def _work(run: Run, say: Progress) -> None:
    from graphopt.cost.table import build_table
    from graphopt.ir.canonical import to_model
    from graphopt.ir.rewriting import apply_selection, rewrite_everywhere

    space, trials = run.folder.space.read(), run.config.trials
    graph = apply_selection(space, {})
    rewrite_everywhere(graph, run.cleanups)  # they are applied to whatever is chosen
    original, kept = run.folder.original.read(), to_model(graph)
    backends = run.backends()
    searched = run.searched(backends)
    before, base = {}, {}
    for name, backend in backends.items():
        say(0.0, f"{name}: the whole network")
        before[name] = backend.price(original, trials, say).total
        if name in searched:
            base[name] = backend.price(kept, trials, say)
    run.folder.table.write(build_table(space, base, searched, run.cleanups, say))
    run.folder.original_costs.write(before)


STAGE = RunStage("cost", ("space",), _reads, _work)
