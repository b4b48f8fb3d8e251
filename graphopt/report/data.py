"""What a run found, as plain data: everything that the page, `metrics.json` and the closing table are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from graphopt.cost.ratio import Ratio
    from graphopt.report.on_devices import DeviceRow
    from graphopt.report.published import Comparison


@dataclass(frozen=True)
class TargetRow:
    """The network's price on one target.

    `before` and `after` hold `latency_ms`, `low_ms`, `high_ms`, `provenance` (`measured` or `estimated`, with what)
    and `peak_memory_bytes`, for the network compiled as a whole. `sum_of_parts_ms` is what the cost table predicted
    for the chosen network, and `parts_provenance` how that table was obtained. `gain` is how many times faster it is,
    with bounds of its own: what the two prices err by alike is no part of them. `measured`: what devices have said of
    both networks since.
    """

    name: str
    title: str
    weight: float
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    sum_of_parts_ms: float | None = None
    parts_provenance: str = "cost table"
    gain: Ratio | None = None
    measured: Sequence[DeviceRow] = ()


@dataclass(frozen=True)
class UnpricedRow:
    """A target that the network was built for, without a price here: the reason, and what devices have `measured`."""

    name: str
    title: str
    reason: str
    measured: Sequence[DeviceRow] = ()


@dataclass(frozen=True)
class CandidateRow:
    """One candidate of a choice. `delta_ms` is the latency against `keep` on each target; `keep` itself has 0.

    `probability` is that at the end of the search, `parameters` the weights that the candidate holds at the site.
    """

    name: str
    contract: str
    chosen: bool
    probability: float
    delta_ms: Mapping[str, float]
    parameters: int


@dataclass(frozen=True)
class ChoiceRow:
    """A site of `block` with its candidates. `parent` is the site that holds this one, if any."""

    site: str
    block: str
    parent: str | None
    candidates: Sequence[CandidateRow]

    @property
    def chosen(self) -> CandidateRow | None:
        return next((candidate for candidate in self.candidates if candidate.chosen), None)


@dataclass(frozen=True)
class RefusalRow:
    """Where a pass found its pattern and did not propose anything, and why."""

    pass_name: str
    where: str
    reason: str


@dataclass(frozen=True)
class ArtefactRow:
    """What came of running a target's artefact: the `file` that ran, `on` what, by how much its output differs from
    that of model.onnx (relative to the largest value), and `why_not`: what is missing, in full.

    `psnr` (dB, mean over `crops` crops of `side` pixels) has the keys `original`, `onnx` and `artefact`, the last in
    the device's own `arithmetic`; it is empty where artefacts compute as the graph does.
    """

    target: str
    title: str
    file: str
    on: str
    difference: float | None
    why_not: Sequence[str]
    arithmetic: str = ""
    side: int = 0
    crops: int = 0
    psnr: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PrecisionRow:
    """The deployed network in one `precision`, or the original in fp32: PSNR (dB) on onnxruntime's CPU and in the
    device's own arithmetic, None where it has none of that; `price` as that of a `TargetRow`; and what is missing.
    """

    name: str
    cpu: float
    device: float | None = None
    price: Mapping[str, Any] | None = None
    why_not: str = ""
    deployed: bool = False

    @property
    def difference(self) -> float | None:
        """What the device's own arithmetic gives more (dB)."""
        return None if self.device is None else self.device - self.cpu


@dataclass(frozen=True)
class PrecisionTable:
    """What each precision leaves of the quality on a target, on `crops` crops of `side` pixels. `on`: what ran there in
    the device's own arithmetic, empty where none did.
    """

    target: str
    title: str
    on: str
    side: int
    crops: int
    rows: Sequence[PrecisionRow]


@dataclass(frozen=True)
class CropRow:
    """Three PNG files of one part of an image; `psnr` (dB) has the keys `noisy`, `original` and `optimised`."""

    name: str
    noisy: Path
    original: Path
    optimised: Path
    psnr: Mapping[str, float]


@dataclass(frozen=True)
class HistoryPoint:
    """The search at one step. `entropy` is the mean over choices, each divided by its largest possible value.

    `probabilities` gives, for each site, one number a candidate, in the order of `ChoiceRow.candidates`.
    """

    step: int
    phase: Literal["warm-up", "search", "choice", "chosen"]
    entropy: float
    temperature: float | None
    expected_ms: Mapping[str, float]
    loss: float
    probabilities: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class TunePoint:
    """Fine-tuning at one step; PSNR in dB."""

    step: int
    psnr: float
    loss: float


@dataclass(frozen=True)
class FrontPoint:
    """A network that a search chose, before fine-tuning: PSNR (dB) on held-out patches, latency by the cost table.

    `goal` is the share of the original's latency that was asked for; `own` where the run's own method chose it.
    """

    method: str
    goal: float
    own: bool
    psnr: float
    latency_ms: Mapping[str, float]
    entropy: float
    decided: float


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows. `choices` stand in network order; lists may be empty where a stage did not run.

    `quality` has the keys `noisy`, `before` and `after`, each with `psnr` (dB) and `ssim`, and where a target
    computes in integers, `float` and each form of integers, as `cpu-w8a8`. `after` is what is deployed on the target of
    the largest weight. `parameters` and `macs` have `before` and `after`; `exact` says in one line each what an exact
    clean-up did; `seconds` is stage -> time.
    """

    title: str
    quality: Mapping[str, Mapping[str, float]]
    parameters: Mapping[str, int]
    macs: Mapping[str, int]
    targets: Sequence[TargetRow]
    choices: Sequence[ChoiceRow]
    refusals: Sequence[RefusalRow]
    exact: Sequence[str]
    history: Sequence[HistoryPoint]
    tuning: Sequence[TunePoint]
    crops: Sequence[CropRow]
    seconds: Mapping[str, float]
    command: str
    config_text: str
    latency_goal: str
    files: Sequence[str]
    front: Sequence[FrontPoint] = ()
    unpriced: Sequence[UnpricedRow] = ()
    comparison: Comparison | None = None
    artefacts: Sequence[ArtefactRow] = ()
    precisions: Sequence[PrecisionTable] = ()
