"""What a backend answers of its target: what networks cost, what a device loads, what that computes, what is missing.

A backend is a class in a folder of its own, named by an entry point in the group `graphopt.backends`; nothing outside
that folder asks which backend it is. Libraries that it needs are imported where they are used, not when it is found.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import onnx
from numpy.typing import NDArray

from graphopt.backends.breakdown import Breakdown
from graphopt.config.precision import FLOAT_OF, Precision, is_integer
from graphopt.cost.cache import CostCache
from graphopt.cost.keys import graph_key, hash_of
from graphopt.cost.memory import PLAN
from graphopt.cost.ratio import Ratio, independent
from graphopt.cost.record import NetworkCost, Provenance
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.ir.quantised import is_quantised
from graphopt.progress import Progress, silent
from graphopt.quantise.rules import RULES

Array = NDArray[Any]
Loaded = Callable[[Sequence[Array]], list[Array]]
Form = Callable[[onnx.ModelProto], onnx.ModelProto]  # a graph, in another precision
TargetT = TypeVar("TargetT", bound=Target)


def as_it_is(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph itself."""
    return model


@dataclass(frozen=True)
class Artefact:
    """What a device loads: `files`, the one to load first, and a `manifest` that says how.

    No files, and the reason in `refusal`, where the runtime does not carry the network.
    """

    files: tuple[Path, ...]
    manifest: dict[str, Any] = field(default_factory=dict)
    refusal: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that is needed for `purpose`: what was `found`, and what to `do` where it is missing."""

    what: str
    state: Literal["ok", "missing"]
    purpose: str
    found: str
    do: str = ""


@dataclass(frozen=True)
class CheckedKernel:
    """One fused function against its reference: the largest difference, relative, over all its calls."""

    name: str
    kind: str
    calls: int
    difference: float


@dataclass(frozen=True)
class Verification:
    """What was found when the `file` that was written ran on `platform`, in `arithmetic`: each kernel beside its
    reference, and the whole network's largest relative difference from onnxruntime.
    """

    file: str
    platform: str
    arithmetic: str
    kernels: list[CheckedKernel]
    difference: float


class Backend(ABC, Generic[TargetT]):
    """One way of running networks, for one target. Prices are kept in `cache`."""

    kind: ClassVar[str]  # what a target's file says, and the name of the entry point
    target_type: ClassVar[type[Target]]  # what a target's file of this kind holds
    provenance: ClassVar[Provenance]  # of its prices, where they say nothing else of themselves
    additive: ClassVar[bool] = True  # do prices of parts add up to that of the whole?
    tunes: ClassVar[bool] = False  # does `price` spend a budget?
    floats: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16")  # the precisions without integers that it has
    integers: ClassVar[str] = (
        ""  # by which of `quantise.rules.RULES` networks are quantised that it carries; none if ""
    )
    tolerance: ClassVar[float] = 1e-4  # of a float32 artefact against the graph, relative to the largest value
    own_arithmetic: ClassVar[str] = ""  # of artefacts, where `run` computes as the device does and not as the graph
    any_size: ClassVar[bool] = False  # may height and width of a model that is built be free?

    def __init__(self, target: TargetT, cache: CostCache):
        self.target, self.cache = target, cache

    @classmethod
    def precisions(cls) -> tuple[Precision, ...]:
        """What targets of this kind may say."""
        return cls.floats + (RULES[cls.integers].precisions if cls.integers else ())

    @abstractmethod
    def key(self) -> str:
        """Another text whenever the same graph may have another price: figures, versions, what tuning has found.

        Raises:
            GraphoptError: what prices is not installed. Nothing is imported or run to say so.
        """

    def price(self, model: onnx.ModelProto, budget: int = 0, say: Progress = silent) -> NetworkCost:
        """Latency (ms), MACs, parameters and peak memory (bytes) of a canonical model (static shapes, batch 1).

        `budget`: trials that tuning may take, where the backend tunes. Graphs that differ in names and weights alone
        have one price, and a second look costs nothing.

        Raises:
            GraphoptError: shapes that are not static, an operator that is not carried, control flow, a compiler that
                fails.
        """
        self.check_carried(model)
        key = self.price_key(model, budget)
        found = self.cache.get(key)
        if found is not None:
            return NetworkCost.from_dict(found)
        made = self.find_price(model, budget, say)
        self.cache.put(key, made.to_dict())
        return made

    def check_carried(self, model: onnx.ModelProto) -> None:
        """GraphoptError for what no price says anything of: several paths, integers where floats alone are carried."""
        _check_one_path(model)
        if is_quantised(model) and not self.integers:
            raise GraphoptError(
                f"target {self.target.name}: the network is quantised (QDQ), which only onnxruntime and the NPU carry "
                "here; give the network in float, or a target of theirs (graphopt targets list)"
            )

    def price_key(self, model: onnx.ModelProto, budget: int = 0) -> str:
        """What a price is kept under: whatever decides it, and the plan of memory that it holds."""
        return f"network:{hash_of([graph_key(model), self.key(), budget if self.tunes else 0, PLAN])}"

    @abstractmethod
    def find_price(self, model: onnx.ModelProto, budget: int, say: Progress) -> NetworkCost:
        """The price of a model that has none yet; a model without nodes, too."""

    def price_part(
        self, model: onnx.ModelProto, kept: onnx.ModelProto | None = None, form: Form = as_it_is
    ) -> NetworkCost:
        """The price of a part as it stands inside a network, for differences between parts of one place.

        `kept` is what stands there in the network as it is, where `model` is something else: what is measured is
        measured beside it. `form` makes of both, as they stand there, the graph that is priced.
        """
        return self.price(form(model))

    def price_beside(
        self, model: onnx.ModelProto, reference: onnx.ModelProto, budget: int = 0, say: Progress = silent
    ) -> NetworkCost:
        """`price`, where the ratio to the price of `reference` is what counts: what is measured is measured beside it.

        Raises:
            GraphoptError: as `price`.
        """
        return self.price(model, budget, say)

    def exchanged(self, whole: NetworkCost, kept: NetworkCost, put: NetworkCost) -> float:
        """Milliseconds that `whole` takes more where its part `kept` gives way to `put`, all priced by this backend."""
        return put.latency_ms - kept.latency_ms

    def compare(
        self, before: onnx.ModelProto, after: onnx.ModelProto, budget: int = 0, say: Progress = silent
    ) -> Ratio:
        """How many times faster `after` is than `before`, with bounds of the ratio itself.

        Raises:
            GraphoptError: as `price`.
        """
        return independent(self.price(before, budget, say), self.price(after, budget, say))

    def in_float(self) -> Self:
        """For networks in float on the same device, where the target asks for integers."""
        if not is_integer(self.target.precision):
            return self
        return type(self)(self.target.with_precision(FLOAT_OF[self.target.dtype]), self.cache)

    @property
    def unpriced(self) -> str:
        """Why networks have no price for this target on this machine; empty where they do."""
        return ""

    def caution(self) -> str:
        """Why prices that are found now are not to be believed; empty where they are."""
        return ""

    def measured_memory(self, model: onnx.ModelProto) -> int | None:
        """Bytes at the peak as measured here, beside the plan of `price`; None where nothing runs here."""
        return None

    def break_down(self, cost: NetworkCost, model: onnx.ModelProto | None = None) -> Breakdown | None:
        """Where a price comes from, by block too where the `model` is given. None for what is measured as a whole."""
        return None

    @abstractmethod
    def build(self, model: onnx.ModelProto, folder: Path, say: Progress = silent) -> Artefact:
        """Writes into `folder`, which exists, what a device loads to run the model.

        Raises:
            GraphoptError: an operator that is not carried, a compiler or a linker that fails.
        """

    @property
    def elsewhere(self) -> str:
        """Why artefacts do not run on this machine; empty where they do."""
        return f"{self.target.title} is another device"

    @property
    def runs_here(self) -> bool:
        """Whether `run` runs artefacts on this machine."""
        return not self.elsewhere

    @property
    def runs_on(self) -> str:
        """What `run` runs artefacts on here, and in which arithmetic where that is not the graph's own."""
        return "this machine"

    def file_run(self, artefact: Artefact) -> Path:
        """The file of the artefact that `run` loads."""
        return artefact.files[0]

    def run(self, artefact: Artefact, inputs: Sequence[Array]) -> list[Array]:
        """What the artefact, loaded from its files, computes of `inputs`, in the order of the graph's.

        Raises:
            GraphoptError: it does not run on this machine.
        """
        raise GraphoptError(f"target {self.target.name}: its artefacts do not run here: {self.elsewhere}")

    def load(self, artefact: Artefact) -> Loaded:
        """The artefact, ready to run here as often as it is called: inputs in the graph's order and layout, in the
        dtype that its manifest says -> outputs.

        Raises:
            GraphoptError: the runtime does not accept it.
        """
        return partial(self.run, artefact)

    def verify(self, model: onnx.ModelProto, written: Path | None, trials: int, say: Progress = silent) -> Verification:
        """Runs what is written for the target, kernel by kernel: the file `written`, or what a build makes now, under
        the best of `trials` schedules that tuning draws.

        Raises:
            GraphoptError: nothing to run kernel by kernel, a platform that is missing, or something else computed.
        """
        raise GraphoptError(
            f"target {self.target.name} has no OpenCL kernels; name an OpenCL target (graphopt targets list)"
        )

    def price_operators(self, rows: Path, output: Path) -> int:
        """Prices the single operators of a CSV, and writes them to another; returns how many there are.

        Raises:
            GraphoptError: the backend prices no single operators, or a file cannot be read or written.
        """
        raise GraphoptError(
            f"target {self.target.name} has no kernel model to price operators by; expected a GPU target"
        )

    @abstractmethod
    def check(self, tracker: tuple[str, int] | None = None, key: str | None = None) -> list[Finding]:
        """What this machine has, and lacks, to price, tune, build and run for the target, and what to do about it.

        `tracker` and `key`: where devices register that are reached over TVM's RPC, and under what name.
        """


def _check_one_path(model: onnx.ModelProto) -> None:
    """A compiler would take an `If` in silence, and nobody would count what is inside."""
    inner = next((node for node in model.graph.node if any(a.HasField("g") or a.graphs for a in node.attribute)), None)
    if inner is not None:
        raise GraphoptError(
            f"cost: {inner.op_type} ({inner.name}) runs a graph of its own, so the price depends on the image; price "
            "its branches as files of their own"
        )
