"""Stage `deploy`: the tuned graph and targets -> clean-ups folded, ONNX files, and a bundle for each target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from shutil import rmtree
from typing import Any

from graphopt.backends.base import Backend
from graphopt.ir.passes import Stage
from graphopt.progress import Progress, part_of
from graphopt.run.folder import Deployed, Edits
from graphopt.run.run import Run
from graphopt.run.stage import RunStage, noise_keys, pass_keys, price_keys


def _reads(run: Run) -> list[Any]:
    files = [target.model_dump(mode="json") for target in run.targets.values()]  # each bundle holds its own
    return [
        price_keys(run),
        pass_keys(run, Stage.CLEANUP, Stage.SEARCH),
        run.weights,
        run.config.exclude,
        noise_keys(run),
        files,
        run.config.deploy.model_dump(),
    ]


def _work(run: Run, say: Progress) -> None:
    from graphopt.bundle.bundle import empty_folder, write_bundle
    from graphopt.run.bundles import describe, figures_of, said_in
    from graphopt.run.exports import write_exports
    from graphopt.run.proving import prove
    from graphopt.run.sizes import sizes_of

    folder, image, backends = run.folder, run.calibration()[0], run.backends()
    original = folder.original.read()
    sizes = said_in(sizes_of(run.config.deploy, run.path, _folded(run, backends, image, say)), run)
    model = sizes.priced
    say(0.0, "writes and verifies model.onnx and model.fp16.onnx")
    differences = write_exports(model, image, folder)
    paths = [folder.model.path, folder.half_model.path, folder.weights]
    costs, gains, refusals, ran = {}, {}, {}, {}
    for done, (name, backend) in enumerate(backends.items()):
        if not backend.unpriced:
            say((done + 0.2) / (len(backends) + 1), f"{name}: price of the whole network")
            costs[name] = backend.price_beside(model, original, run.config.trials).total
            say((done + 0.4) / (len(backends) + 1), f"{name}: before and after, compared")
            gains[name] = backend.compare(original, model, run.config.trials)
        place = empty_folder(folder.bundle(name))
        start = (done + 0.6) / (len(backends) + 1)
        say(start, f"{name}: builds")
        artefact = backend.build(sizes.of(backend), place, part_of(say, start, start + 0.2 / (len(backends) + 1)))
        if not artefact.files:
            refusals[name] = artefact.refusal
            rmtree(place)
            continue
        figures = [] if backend.unpriced else figures_of(run, backend, costs[name], gains[name], artefact)
        about = {**describe(run, sizes, backend), "figures": figures}
        paths += write_bundle(place, backend.target, artefact, about).paths
        if backend.runs_here:
            say((done + 0.8) / (len(backends) + 1), f"{name}: runs on {backend.runs_on}")
        tried = sizes.tried(backend, lambda size: run.calibration(size)[0])
        ran[name] = prove(backend, artefact, tried, folder.name)
    folder.gains.write(gains)
    folder.deployed.write(Deployed(costs, [folder.name(path) for path in paths], differences, refusals, ran))


def _folded(run: Run, backends: Mapping[str, Backend[Any]], image: Any, say: Progress) -> Any:
    """The exact clean-ups, and the exact candidates that pay.

    They come after the fine-tuning: an affine that is folded into a convolution scales its weights channel by channel,
    and Adam's steps, which do not scale along, then disturb it.
    """
    from graphopt.cost.settling import settle_network
    from graphopt.ir.canonical import to_model
    from graphopt.ir.exactness import check_sites
    from graphopt.ir.rewriting import rewrite_everywhere
    from graphopt.ir.verification import check_cleanups

    say(0.0, "folds affines and scales")
    graph = run.folder.finetuned.read()
    tuned = to_model(graph)
    check_sites(graph, run.cleanups)
    edits = Counter(rewrite_everywhere(graph, run.cleanups))
    exclude, searched = run.config.exclude, run.searched(backends)
    original = run.folder.original.read()
    graph, settled = settle_network(graph, run.passes, [image], exclude, searched, run.weights, original, say)
    edits.update(settled)
    edits.update(rewrite_everywhere(graph, run.cleanups))
    model = to_model(graph)
    changed = check_cleanups(tuned, model, [image], list(edits))
    run.folder.edits.write(Edits(dict(edits), changed, len(tuned.graph.node), len(model.graph.node)))
    return model


STAGE = RunStage("deploy", ("finetune",), _reads, _work)
