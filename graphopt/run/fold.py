"""Stage `fold`: the tuned graph -> the same function with clean-ups folded and the exact candidates that pay."""

from __future__ import annotations

from collections import Counter
from typing import Any

from graphopt.ir.passes import Stage
from graphopt.progress import Progress
from graphopt.run.folder import Edits
from graphopt.run.run import Run
from graphopt.run.stage import RunStage, pass_keys, price_keys


def _reads(run: Run) -> list[Any]:
    return [price_keys(run), pass_keys(run, Stage.CLEANUP, Stage.SEARCH), run.weights, run.config.exclude]


def _work(run: Run, say: Progress) -> None:
    """After the fine-tuning: an affine that is folded into a convolution scales its weights channel by channel,
    and Adam's steps, which do not scale along, then disturb it.
    """
    from graphopt.cost.settling import settle_network
    from graphopt.ir.canonical import to_model
    from graphopt.ir.exactness import check_sites
    from graphopt.ir.rewriting import rewrite_everywhere
    from graphopt.ir.verification import check_cleanups

    say(0.0, "folds affines and scales")
    folder, image = run.folder, run.calibration()[0]
    graph, original = folder.finetuned.read(), folder.original.read()
    tuned = to_model(graph)
    check_sites(graph, run.cleanups)
    edits = Counter(rewrite_everywhere(graph, run.cleanups))
    exclude, searched = run.config.exclude, run.searched(run.backends())
    graph, settled = settle_network(graph, run.passes, [image], exclude, searched, run.weights, original, say)
    edits.update(settled)
    edits.update(rewrite_everywhere(graph, run.cleanups))
    model = to_model(graph)
    changed = check_cleanups(tuned, model, [image], list(edits))
    folder.folded.write(model)
    folder.edits.write(Edits(dict(edits), changed, len(tuned.graph.node), len(model.graph.node)))


STAGE = RunStage("fold", ("finetune",), _reads, _work)
