"""Stage `deploy`: the network, in float and in each form of integers, and targets -> ONNX files, and bundles."""

from __future__ import annotations

from shutil import rmtree
from typing import Any

from graphopt.progress import Progress, part_of
from graphopt.run.folder import Deployed
from graphopt.run.forms import FLOAT, form_of, forms_of
from graphopt.run.run import Run
from graphopt.run.stage import RunStage, noise_keys, price_keys


def _reads(run: Run) -> list[Any]:
    files = [target.model_dump(mode="json") for target in run.targets.values()]  # each bundle holds its own
    return [price_keys(run), noise_keys(run), files, run.config.deploy.model_dump()]


def _work(run: Run, say: Progress) -> None:
    from graphopt.bundle.bundle import empty_folder, write_bundle
    from graphopt.ir.quantised import output_step
    from graphopt.run.bundles import describe, figures_of, said_in
    from graphopt.run.exports import write_exports
    from graphopt.run.proving import prove
    from graphopt.run.sizes import sizes_of

    folder, image, backends = run.folder, run.calibration()[0], run.backends()
    original, asked = folder.original.read(), run.config.deploy
    networks = {FLOAT: said_in(sizes_of(asked, run.path, folder.folded.read()), run)}
    for form, found in forms_of(backends).items():
        sizes = sizes_of(asked, run.path, folder.quantised(form).read())
        networks[form] = said_in(sizes, run, found[0].target.precision)
    say(0.0, "writes and verifies model.onnx and model.fp16.onnx")
    differences = write_exports(networks[FLOAT].priced, image, folder)
    paths = [folder.model.path, folder.half_model.path, folder.weights]
    paths += [folder.quantised(form).path for form in networks if form != FLOAT]
    costs, gains, refusals, ran = {}, {}, {}, {}
    for done, (name, backend) in enumerate(backends.items()):
        form = form_of(backend)
        sizes = networks[form]
        if not backend.unpriced:
            say((done + 0.2) / (len(backends) + 1), f"{name}: price of the whole network")
            costs[name] = backend.price_beside(sizes.priced, original, run.config.trials).total
            say((done + 0.4) / (len(backends) + 1), f"{name}: before and after, compared")
            gains[name] = backend.compare(original, sizes.priced, run.config.trials)
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
        ran[name] = prove(backend, artefact, tried, folder.name, output_step(sizes.fixed) if form else None)
    folder.gains.write(gains)
    folder.deployed.write(Deployed(costs, [folder.name(path) for path in paths], differences, refusals, ran))


STAGE = RunStage("deploy", ("quantise",), _reads, _work)
