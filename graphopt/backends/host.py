"""What backends share that run networks on this machine: an artefact is built, loaded, and measured by the clock."""

from __future__ import annotations

import os
import platform
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import numpy as np
import onnx
from pydantic import Field

from graphopt.backends.base import Array, Artefact, Backend
from graphopt.backends.base import Loaded as Loaded  # its subclasses return one
from graphopt.backends.measuring import Call, Limits, Timing, busy, pinned, time_call, time_ratio
from graphopt.backends.peak import peak_bytes
from graphopt.cost.counts import macs_and_parameters, static_shapes
from graphopt.cost.memory import peak_memory
from graphopt.cost.ratio import Ratio
from graphopt.cost.record import NetworkCost, Provenance
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.progress import Progress, silent

_PRICE_S, _RATIO_S = 3.0, 20.0  # after so long, what is known is the answer


class HostTarget(Target):
    """A CPU: this host's, or that of a phone that has the same runtime. `threads` is on how many networks run."""

    device: Literal["cpu", "android"]
    threads: int = Field(1, ge=1)


HostT = TypeVar("HostT", bound=HostTarget)


class HostBackend(Backend[HostT]):
    """Measures whole networks. Parts do not add up: what one leaves in a cache, or in a layout, the next one finds."""

    provenance: ClassVar[Provenance] = "measured"
    additive: ClassVar[bool] = False

    @abstractmethod
    def load(self, artefact: Artefact) -> Loaded:
        """The artefact, ready to run on the target's number of threads: inputs in the graph's order -> outputs.

        Raises:
            GraphoptError: the runtime does not accept it.
        """

    def find_price(self, model: onnx.ModelProto, budget: int, say: Progress) -> NetworkCost:
        """The median of interleaved runs; memory is planned, and `measured_memory` says what it is."""
        macs, parameters = macs_and_parameters(model)
        timing = self._time(model, say) if model.graph.node else Timing(0.0, 0.0, 0.0, 0)
        memory = self.planned_memory(model)
        return NetworkCost(
            timing.ms, timing.low_ms, timing.high_ms, self.provenance, macs, parameters, memory
        )  # fmt: skip

    def planned_memory(self, model: onnx.ModelProto) -> int:
        """Bytes that the network is expected to take at its peak."""
        return peak_memory(model, self.target.bytes_per_element)

    def measured_memory(self, model: onnx.ModelProto) -> int | None:
        """Bytes of a process of its own, at its peak while it runs the network, above what it had with the runtime
        loaded and no network; None where the target is elsewhere, or the system does not say.

        Raises:
            GraphoptError: as `price`.
        """
        if self.unpriced:
            return None
        with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
            artefact = self._built(model, Path(folder), silent)
            return peak_bytes(self.target, artefact, _inputs(model, artefact))

    def compare(
        self, before: onnx.ModelProto, after: onnx.ModelProto, budget: int = 0, say: Progress = silent
    ) -> Ratio:
        """Both in one process, turn by turn. Measured anew each time."""
        return self.compare_within(before, after, Limits(self.target.threads, seconds=_RATIO_S), say)

    def compare_within(self, before: onnx.ModelProto, after: onnx.ModelProto, limits: Limits, say: Progress) -> Ratio:
        """`compare`, for no longer than the limits say."""
        if not before.graph.node or not after.graph.node:
            raise GraphoptError(f"target {self.target.name}: a network without nodes takes no time, and has no ratio")
        with self._ready(before, say) as first, self._ready(after, say) as second:
            say(0.5, f"{self.target.name}: measures both, turn by turn")
            return time_ratio(first, second, limits)[2]

    @property
    def elsewhere(self) -> str:
        return "" if self.target.device == "cpu" else f"{self.target.title} is another device"

    @property
    def unpriced(self) -> str:
        """It is priced by measuring, so another device has no price here."""
        return self.elsewhere

    def caution(self) -> str:
        return "" if self.unpriced else busy()

    def run(self, artefact: Artefact, inputs: Sequence[Array]) -> list[Array]:
        if self.elsewhere:
            return super().run(artefact, inputs)
        return self.load(artefact)(inputs)

    @staticmethod
    def processor() -> str:
        """The name of this machine's processor: part of the key of what is measured on it."""
        path = Path("/proc/cpuinfo")
        lines = path.read_text().splitlines() if path.exists() else []
        named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        return f"{named or platform.processor()} x {os.cpu_count()}"

    def _time(self, model: onnx.ModelProto, say: Progress) -> Timing:
        with self._ready(model, say) as call:
            say(0.5, f"{self.target.name}: measures")
            return time_call(call, Limits(self.target.threads, seconds=_PRICE_S))

    @contextmanager
    def _ready(self, model: onnx.ModelProto, say: Progress) -> Iterator[Call]:
        """The model, built and loaded, on random images: pinned from before the runtime starts its threads."""
        if self.unpriced:
            raise GraphoptError(f"target {self.target.name} has no price on this machine: {self.unpriced}")
        with tempfile.TemporaryDirectory(prefix="graphopt-") as folder, pinned(self.target.threads):
            artefact = self._built(model, Path(folder), say)
            loaded, inputs = self.load(artefact), _inputs(model, artefact)
            yield lambda: loaded(inputs)

    def _built(self, model: onnx.ModelProto, folder: Path, say: Progress) -> Artefact:
        artefact = self.build(model, folder, say)
        if not artefact.files:
            raise GraphoptError(f"target {self.target.name}: {artefact.refusal}")
        return artefact


def _inputs(model: onnx.ModelProto, artefact: Artefact) -> list[Array]:
    """Random images in [0, 1) of the model's shapes, in the types that the artefact takes."""
    shapes, generator = static_shapes(model), np.random.default_rng(0)
    return [
        generator.random(shapes[value["name"]]).astype(value["dtype"]) for value in artefact.manifest["inputs"]
    ]  # fmt: skip
