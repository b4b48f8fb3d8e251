"""A network in float -> the same in every precision that a target is judged in, as onnxruntime and it run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from graphopt.backends.base import Backend
from graphopt.config.precision import Precision, is_integer
from graphopt.cost.cache import CostCache
from graphopt.ir.canonical import canonical
from graphopt.ir.half import to_fp16
from graphopt.ir.sizes import Size
from graphopt.progress import Progress, part_of
from graphopt.quantise.memory import Memory
from graphopt.quantise.rules import RULES
from graphopt.run.forms import deployed_network, form_of
from graphopt.run.run import Run
from graphopt.train.data import noise_of
from graphopt.train.quantising import patches_of, quantise_on

Make = Callable[[onnx.ModelProto, str, Progress], onnx.ModelProto]  # a network in float, in a precision of integers
_INTEGERS: tuple[Precision, ...] = ("w8a16", "w8a8")


@dataclass(frozen=True)
class Version:
    """The network in one `precision`: what onnxruntime's `cpu` runs, and what is built for the `device`; None where it
    has no such precision, or computes as onnxruntime does.
    """

    precision: Precision
    cpu: onnx.ModelProto
    device: onnx.ModelProto | None

    def at(self, size: Size) -> Version:
        """For images of another height and width.

        Raises:
            GraphoptError: the network does not run there.
        """
        cpu, device = (model and canonical(model, size, self.precision) for model in (self.cpu, self.device))
        assert cpu is not None
        return Version(self.precision, cpu, device)


def is_judged(backend: Backend[Any]) -> bool:
    """Whether its target has precisions to compare: artefacts run here in its own arithmetic, or hold integers."""
    own = bool(backend.own_arithmetic) and backend.runs_here
    return own or is_integer(backend.target.precision)


def deployed_integers(run: Run, backend: Backend[Any]) -> dict[Precision, onnx.ModelProto]:
    """What the run has quantised for the target, by precision; nothing where it deploys floats."""
    return {backend.target.precision: deployed_network(run.folder, backend)} if form_of(backend) else {}


def versions_of(
    model: onnx.ModelProto, backend: Backend[Any], given: Mapping[Precision, onnx.ModelProto], make: Make, say: Progress
) -> list[Version]:
    """`model` in fp32, fp16 and integers: those `given`, and where the target has an arithmetic of its own, all of its
    precisions, which `make` quantises.

    Raises:
        GraphoptError: as `make`.
    """
    own = bool(backend.own_arithmetic) and backend.runs_here
    in_half = own and backend.target.dtype == "float16"
    versions = [Version("fp32", model, model if own and not in_half else None)]
    versions.append(Version("fp16", to_fp16(model), model if in_half else None))
    asked = RULES[backend.integers].precisions if own and backend.integers else ()
    missing = [precision for precision in asked if precision not in given]
    made: dict[Precision, onnx.ModelProto] = dict(given)
    for done, precision in enumerate(missing):
        made[precision] = make(model, precision, part_of(say, done / len(missing), (done + 1) / len(missing)))
    return versions + [Version(name, made[name], made[name] if own else None) for name in _INTEGERS if name in made]


def quantised_by(run: Run, device: str) -> Make:
    """Quantises with the run's own photographs, after training, for a kind of device."""

    memory = Memory(CostCache(run.cache / "costs"))

    def make(model: onnx.ModelProto, precision: str, say: Progress) -> onnx.ModelProto:
        where = f"config {run.path}: 'data.train'"
        patches = patches_of(model, run.train_images, noise_of(run.config.data), where, run.config.quantise.images)
        return quantise_on(model, patches, precision, device, say, memory=memory).quantised.model

    return make
