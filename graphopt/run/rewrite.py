"""Stage `rewrite`: space and selection -> the graph with the selected fragments."""

from __future__ import annotations

from typing import Any

from graphopt.progress import Progress
from graphopt.run.run import Run
from graphopt.run.stage import RunStage


def _reads(run: Run) -> list[Any]:
    return []


def _work(run: Run, say: Progress) -> None:
    from graphopt.ir.rewriting import apply_selection

    say(0.0, "applies the selection")
    selection = run.folder.selection.read()["selection"]
    run.folder.rewritten.write(apply_selection(run.folder.searched.read(), selection))


STAGE = RunStage("rewrite", ("search",), _reads, _work)
