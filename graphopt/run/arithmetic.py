"""What each precision leaves of the quality, on onnxruntime's CPU and in a device's own arithmetic, and its price."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from graphopt.backends.base import Backend
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import in_precision
from graphopt.config.precision import Precision
from graphopt.cost.keys import hash_of
from graphopt.errors import GraphoptError
from graphopt.progress import Progress, part_of
from graphopt.quantise.memory import hash_of_model
from graphopt.run.crops import Crops, crops_of
from graphopt.run.precisions import Version, deployed_integers, is_judged, quantised_by, versions_of
from graphopt.run.run import Run
from graphopt.run.stage import photograph_keys
from graphopt.run.stamps import file_digest
from graphopt.train.data import photographs_digest
from graphopt.train.restorer import PADDING, OnnxRestorer

Planes = NDArray[np.float32]
_KEY = "precisions-1"  # another one where what is kept has another shape


@dataclass(frozen=True)
class Score:
    """The network in one `precision`: mean PSNR (dB) by onnxruntime's CPU (`cpu`) and in the device's own arithmetic
    (`device`), or `why_not`; and its price, where the target has one: milliseconds, their bounds, and provenance.
    """

    precision: str
    cpu: float
    device: float | None
    why_not: str = ""
    price: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Judged:
    """The `original` (dB, onnxruntime) and the network in each precision, on `count` crops of `side` pixels against the
    clean images; or why there is nothing. Empty where there is nothing to judge.
    """

    side: int = 0
    count: int = 0
    original: float | None = None
    scores: tuple[Score, ...] = ()
    why_not: str = ""

    def of(self, precision: str) -> Score | None:
        return next((score for score in self.scores if score.precision == precision), None)


def judge_arithmetic(run: Run, backend: Backend[Any], say: Progress) -> Judged:
    """Crops of the first test photographs, for a target whose precisions differ here. What was judged before is kept in
    the run's cache.
    """
    if not is_judged(backend):
        return Judged()
    given = deployed_integers(run, backend)
    key = f"{_KEY}:{hash_of(_keys(run, backend, given))}"
    kept = backend.cache.get(key)
    if kept is not None:
        return Judged(**{**kept, "scores": tuple(Score(**score) for score in kept["scores"])})
    name = backend.target.name
    try:
        crops = crops_of(run)
        if not crops.pairs:
            raise GraphoptError(f"no test photograph has {PADDING} pixels or more in height and width")
        model = run.folder.folded.read()
        made = versions_of(
            model, backend, given, quantised_by(run, backend.integers), _named(name, part_of(say, 0, 0.5))
        )  # fmt: skip
        judged = judge_versions(made, backend, crops, _named(name, part_of(say, 0.5, 1)))
        original = on_cpu(run.folder.original.read(), "the original", crops)
    except GraphoptError as error:
        return Judged(why_not=f"not judged on crops: {error}")
    found = Judged(crops.side, len(crops.pairs), float(np.mean(original)), tuple(judged))
    if not any(score.why_not for score in judged):
        backend.cache.put(key, asdict(found))
    return found


def judge_versions(versions: Sequence[Version], backend: Backend[Any], crops: Crops, say: Progress) -> list[Score]:
    """Each version on the same crops. What the device does not carry says so, and the others go on.

    Raises:
        GraphoptError: a version that onnxruntime does not run at the size of the crops.
    """
    scores = []
    for done, version in enumerate(versions):
        own = in_its_precision(backend, version.precision) if version.device is not None else backend
        share = done / len(versions)
        small = version.at((crops.side, crops.side))
        say(share, f"{version.precision} on onnxruntime's CPU")
        cpu = float(np.mean(on_cpu(small.cpu, version.precision, crops)))
        device, why_not = None, ""
        if small.device is not None:
            say(share + 0.3 / len(versions), f"{version.precision} on {backend.runs_on}")
            try:
                device = float(np.mean(on_device(small.device, own, crops)))
            except GraphoptError as error:
                why_not = str(error)
        price, reason = _price(version, own)
        scores.append(Score(version.precision, cpu, device, "; ".join(filter(None, (why_not, reason))), price))
    return scores


def in_its_precision(backend: Backend[Any], precision: Precision) -> Backend[Any]:
    """The same device for networks in another precision, in which it builds and prices them."""
    return open_backend(in_precision(backend.target, precision, "precision"), backend.cache)


def on_cpu(model: onnx.ModelProto, where: str, crops: Crops) -> list[float]:
    """PSNR (dB) of each crop, by onnxruntime."""
    return crops.psnr(OnnxRestorer(model, where, crops.pairs[0][0].shape[0]))


def on_device(model: onnx.ModelProto, backend: Backend[Any], crops: Crops) -> list[float]:
    """PSNR (dB) of each crop, of the artefact that is built of a network for crops.

    Raises:
        GraphoptError: it is refused, does not build, or does not run.
    """
    with tempfile.TemporaryDirectory(prefix="graphopt-crops-") as place:
        artefact = backend.build(model, Path(place))
        if not artefact.files:
            raise GraphoptError(artefact.refusal)

        def restore(image: Planes) -> Planes:
            made: Planes = backend.run(artefact, [image[None]])[0][0].astype(np.float32)
            return made

        return crops.psnr(restore)


def _price(version: Version, backend: Backend[Any]) -> tuple[dict[str, Any] | None, str]:
    """Of what the device runs, where its prices are estimates; what is measured is measured when it is deployed."""
    if version.device is None or backend.unpriced or backend.provenance != "estimated":
        return None, ""
    try:
        cost = backend.price(version.device).total.to_dict()
    except GraphoptError as error:
        return None, str(error)
    return {key: cost[key] for key in ("latency_ms", "low_ms", "high_ms", "provenance")}, ""


def _keys(run: Run, backend: Backend[Any], given: Mapping[Precision, onnx.ModelProto]) -> list[Any]:
    files = [file_digest(run.folder.folded.path), file_digest(run.folder.original.path)]
    integers = {name: hash_of_model(model) for name, model in given.items()}
    quantised = run.config.quantise.model_dump()
    return [files, integers, photograph_keys(run), photographs_digest(run.test_images), quantised, backend.key()]


def _named(name: str, say: Progress) -> Progress:
    return lambda share, words: say(share, f"{name}: {words}")
