"""Stage `quantise`: the folded network, photographs -> its QDQ graph in each form that a target wants, trained too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from graphopt.backends.base import Backend
from graphopt.progress import Progress, part_of
from graphopt.run.folder import Integers
from graphopt.run.forms import forms_of
from graphopt.run.run import Run
from graphopt.run.stage import RunStage, patch_keys, price_keys

if TYPE_CHECKING:
    import onnx

    from graphopt.quantise.mixed import Allowed
    from graphopt.train.finetune import TuneRecord
    from graphopt.train.quantising import Outcome, Patches

T = TypeVar("T")
_TRAINS_FROM = 0.4  # of the progress of a form that is trained


def _reads(run: Run) -> list[Any]:
    forms = {form: [backend.target.name for backend in backends] for form, backends in forms_of(run.backends()).items()}
    if not forms:
        return []
    config = run.config
    prices = [price_keys(run), run.weights] if config.quantise.mixed else []
    trains = config.finetune.model_dump(exclude={"workers"}) if config.finetune.is_for_integers else []
    return [forms, config.quantise.model_dump(), trains, patch_keys(run), prices]


def _work(run: Run, say: Progress) -> None:
    """The first process finds ranges and writes; all of them train."""
    forms = forms_of(run.backends())
    is_first = run.fabric is None or run.fabric.is_global_zero
    found = {}
    for number, (form, backends) in enumerate(forms.items()):
        heard = _named(form, part_of(say, number / len(forms), (number + 1) / len(forms)))
        found[form] = _quantised(run, form, backends, heard)
    if is_first:
        run.folder.integers.write(found)


def _quantised(run: Run, form: str, backends: Sequence[Backend[Any]], say: Progress) -> Integers:
    """Calibrates, trains where that is asked for, and writes what is better on patches that nothing was fitted to."""
    config, folder, precision = run.config, run.folder, backends[0].target.precision
    folder.quantised(form).path.parent.mkdir(exist_ok=True)
    trains = config.finetune.precision == precision and config.finetune.quantised_steps > 0
    patches = _patches(run)
    calibrates = part_of(say, 0, _TRAINS_FROM if trains else 1)
    found = _by_first(run, lambda: _calibrated(run, backends, patches, calibrates))
    history: list[TuneRecord] = []
    made = found.quantised.model
    psnr = {"float": found.held_out[0], "calibrated": found.held_out[1]}
    if trains:
        trained, history = _trained(run, form, made, part_of(say, _TRAINS_FROM, 1))
        psnr["trained"] = _by_first(run, lambda: patches.judge(trained))
        made = trained if psnr["trained"] > psnr["calibrated"] else made
    if run.fabric is None or run.fabric.is_global_zero:
        folder.quantised(form).write(made)
    quantised, widened = found.quantised, found.quantised.widened
    return Integers(
        targets=[backend.target.name for backend in backends],
        rules=backends[0].integers,
        precision=precision,
        method=quantised.method,
        scores=quantised.scores,
        psnr={**psnr, "quantised": max(score for name, score in psnr.items() if name != "float")},
        psnr_seen={"float": found.seen[0], "calibrated": found.seen[1]},
        patches={"seen": found.patches[0], "held_out": found.patches[1]},
        in_float=quantised.in_float,
        refused=quantised.refused,
        wide=list(widened.wide) if widened else [],
        wide_gains=widened.gains if widened else {},
        wide_ms=widened.ms if widened else None,
        steps=config.finetune.quantised_steps if trains else 0,
        history=[asdict(record) for record in history],
        warning=found.warning,
    )


def _patches(run: Run) -> Patches:
    from graphopt.train.data import noise_of
    from graphopt.train.quantising import patches_of

    where, network = f"config {run.path}: 'data.train'", run.folder.folded.read()
    return patches_of(network, run.train_images, noise_of(run.config.data), where, run.config.quantise.images)


def _calibrated(run: Run, backends: Sequence[Backend[Any]], patches: Patches, say: Progress) -> Outcome:
    """What is finished of it is kept in the run's cache: a stage that was killed goes on there."""
    from graphopt.cost.cache import CostCache
    from graphopt.quantise.memory import Memory
    from graphopt.train.quantising import quantise_on

    precision, rules = backends[0].target.precision, backends[0].integers
    memory = Memory(CostCache(run.cache / "costs"))
    network = run.folder.folded.read()
    return quantise_on(network, patches, precision, rules, say, _allowed(run, backends), memory)


def _allowed(run: Run, backends: Sequence[Backend[Any]]) -> Allowed | None:
    """The prices of a form are those of its targets together, in milliseconds."""
    from graphopt.quantise.mixed import Allowed

    if not run.config.quantise.mixed or backends[0].target.precision != "w8a8":
        return None
    priced = [backend for backend in backends if not backend.unpriced]

    def price(model: onnx.ModelProto, beside: onnx.ModelProto) -> float:
        return sum(backend.price_beside(model, beside, run.config.trials).total.latency_ms for backend in priced)

    return Allowed(price, run.config.quantise.mixed)


def _trained(
    run: Run, form: str, quantised: onnx.ModelProto, say: Progress
) -> tuple[onnx.ModelProto, list[TuneRecord]]:
    """With the original in float as its teacher. Goes on from the checkpoint in the folder of the form."""
    from graphopt.ir.canonical import to_graph
    from graphopt.nn.module import GraphModule
    from graphopt.train.data import PatchSampler
    from graphopt.train.features import shared_features
    from graphopt.train.finetune import frozen
    from graphopt.train.quantised import train_quantised

    run.set_threads()
    folder, config = run.folder, run.config.finetune
    original = folder.original_graph.read()
    watch = shared_features(to_graph(quantised), original) if config.losses.get("features") else []
    teacher, sampler = frozen(GraphModule(original, watch)), PatchSampler.of_data(run.config.data, config.seed)
    state = folder.quantised_checkpoint(form)
    return train_quantised(folder.folded.read(), quantised, teacher, sampler, config, state, say)


def _by_first(run: Run, work: Callable[[], T]) -> T:
    from graphopt.train.processes import by_first

    return work() if run.fabric is None else by_first(run.fabric, work)


def _named(form: str, say: Progress) -> Progress:
    return lambda share, words: say(share, f"{form}: {words}")


STAGE = RunStage("quantise", ("fold",), _reads, _work, shared=True)
