"""The run folder: every path in it, and the shape of every file. No other module spells a name of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import TypeAdapter

from graphopt.atomic import replacing
from graphopt.cost.ratio import Ratio
from graphopt.cost.record import Cost
from graphopt.search import files

if TYPE_CHECKING:
    import onnx
    import onnx_graphsurgeon as gs

    from graphopt.cost.table import CostTable
    from graphopt.ir.space import Space

T = TypeVar("T")
STAGES = ("source", "space", "cost", "search", "rewrite", "finetune", "fold", "quantise", "deploy", "report")


@dataclass(frozen=True)
class File(Generic[T]):
    """One file, or one folder of files, that a stage writes and later ones read."""

    path: Path
    read: Callable[[], T]
    write: Callable[[T], None]


@dataclass(frozen=True)
class Source:
    """The canonical graph: by how much its output differs from that of what was given (relative), and its size."""

    difference: float
    nodes: int


@dataclass(frozen=True)
class Forms:
    """Training forms: sites by pass, and by how much the output differs once they are collapsed (relative, in fp64)."""

    sites: dict[str, int]
    difference: float


@dataclass(frozen=True)
class Edits:
    """What the exact clean-ups changed in the tuned network: edits by pass, and the output (relative)."""

    edits: dict[str, int]
    difference: float
    nodes_before: int
    nodes_after: int


@dataclass(frozen=True)
class Integers:
    """What came of quantising for `targets`, by the `rules` of their device. PSNR in dB, measured by onnxruntime on
    this machine.

    `psnr`: on patches that nothing was fitted to but choices, in `float`, `calibrated`, `trained` where that was asked
    for, and `quantised`, which is deployed: the better one. `psnr_seen`: on those that ranges were found on; `patches`:
    how many of both. `scores`: of each method of finding ranges, and `method` the one that was taken. `in_float`: how
    many nodes of which ops the rules leave in float; `refused`: ops that the quantiser refuses, and why. `wide`: groups
    of layers that stay wider than 8 bits; `wide_gains`: dB of each group alone; `wide_ms`: without and with those.
    `steps`, `history`: of the training. `warning`: of too few images, and what that costs.
    """

    targets: list[str]
    rules: str
    precision: str
    method: str
    scores: dict[str, float]
    psnr: dict[str, float]
    psnr_seen: dict[str, float]
    patches: dict[str, int]
    in_float: dict[str, int]
    refused: dict[str, str]
    wide: list[str]
    wide_gains: dict[str, float]
    wide_ms: tuple[float, float] | None
    steps: int
    history: list[dict[str, Any]]
    warning: str


@dataclass(frozen=True)
class Ran:
    """What came of running an artefact: the `file` that was run, `on` what, by how much its output differs from that of
    the network that it was built from (relative to the largest value), or why there is no difference. `steps`: the same
    in steps of the output's integers, where it has some.
    """

    file: str
    on: str
    difference: float | None
    why_not: str
    steps: float | None = None


@dataclass(frozen=True)
class Deployed:
    """Costs by target, files relative to the run folder, what other exports differ by from model.onnx (relative), why a
    target has no artefact, and what came of running those that there are.
    """

    costs: dict[str, Cost]
    files: list[str]
    differences: dict[str, float]
    refusals: dict[str, str]
    ran: dict[str, Ran]


class RunFolder:
    """The files of a run, by the stage that writes them. What users take away lies at the top."""

    def __init__(self, root: Path):
        self.root = root

    def stage(self, name: str) -> Path:
        """Where a stage keeps its files, its stamp and its checkpoints."""
        return self.root / name

    @property
    def original(self) -> File[onnx.ModelProto]:
        return _model(self.stage("source") / "canonical.onnx")

    @property
    def original_graph(self) -> File[gs.Graph]:
        """The same file as a graph."""
        return _graph(self.original.path)

    @property
    def source(self) -> File[Source]:
        return _json(self.stage("source") / "source.json", Source)

    @property
    def space(self) -> File[Space]:
        return _space(self.stage("space"))

    @property
    def prepared(self) -> File[dict[str, int]]:
        """Edits by pass, before the search."""
        return _json(self.stage("space") / "prepared.json", dict[str, int])

    @property
    def table(self) -> File[CostTable]:
        from graphopt.cost.table import CostTable

        path = self.stage("cost") / "table.json"
        content: File[dict[str, Any]] = _json(path, dict[str, Any])
        return File(path, lambda: CostTable.from_dict(content.read()), lambda table: content.write(table.to_dict()))

    @property
    def settled(self) -> File[Space]:
        """The space that a search sees: exact candidates stand in its graph where they are cheaper."""
        return _space(self.stage("cost") / "space")

    @property
    def original_costs(self) -> File[dict[str, Cost]]:
        """By target."""
        return _json(self.stage("cost") / "original.json", dict[str, Cost])

    @property
    def selection(self) -> File[dict[str, Any]]:
        """The selection, its probabilities, its goals, and what it is worth."""
        return _json(self.stage("search") / files.SELECTION, dict[str, Any])

    @property
    def search_history(self) -> File[list[dict[str, Any]]]:
        return _json(self.stage("search") / files.HISTORY, list[dict[str, Any]])

    @property
    def front(self) -> File[list[dict[str, Any]]]:
        """One row for each goal and method that was searched."""
        return _json(self.stage("search") / files.FRONT, list[dict[str, Any]])

    @property
    def searched(self) -> File[Space]:
        """The space with the weights that the search has trained."""
        return _space(self.stage("search") / files.SPACE)

    @property
    def rewritten(self) -> File[gs.Graph]:
        return _graph(self.stage("rewrite") / "model.onnx")

    @property
    def finetune_checkpoint(self) -> Path:
        return self.stage("finetune") / "checkpoint.pt"

    @property
    def finetuned(self) -> File[gs.Graph]:
        return _graph(self.stage("finetune") / "model.onnx")

    @property
    def finetune_history(self) -> File[list[dict[str, Any]]]:
        return _json(self.stage("finetune") / "history.json", list[dict[str, Any]])

    @property
    def forms(self) -> File[Forms]:
        return _json(self.stage("finetune") / "forms.json", Forms)

    @property
    def folded(self) -> File[onnx.ModelProto]:
        """The network that is deployed, in float."""
        return _model(self.stage("fold") / "model.onnx")

    @property
    def edits(self) -> File[Edits]:
        return _json(self.stage("fold") / "edits.json", Edits)

    def quantised(self, form: str) -> File[onnx.ModelProto]:
        """The QDQ graph in one form (see `forms_of`)."""
        return _model(self.stage("quantise") / form / "model.onnx")

    def quantised_checkpoint(self, form: str) -> Path:
        return self.stage("quantise") / form / "checkpoint.pt"

    @property
    def integers(self) -> File[dict[str, Integers]]:
        """By form; empty where all targets compute in float."""
        return _json(self.stage("quantise") / "quantise.json", dict[str, Integers])

    @property
    def deployed(self) -> File[Deployed]:
        return _json(self.stage("deploy") / "deploy.json", Deployed)

    @property
    def gains(self) -> File[dict[str, Ratio]]:
        """How many times faster the deployed network is than the original, by target."""
        return _json(self.stage("deploy") / "gains.json", dict[str, Ratio])

    @property
    def summary(self) -> Path:
        return self.stage("report") / "summary.txt"

    @property
    def model(self) -> File[onnx.ModelProto]:
        return _model(self.root / "model.onnx")

    @property
    def half_model(self) -> File[onnx.ModelProto]:
        return _model(self.root / "model.fp16.onnx")

    @property
    def weights(self) -> Path:
        return self.root / "model.safetensors"

    def bundle(self, target: str) -> Path:
        """The bundle of a target: a folder that can be taken elsewhere as it is."""
        return self.stage("deploy") / target

    def bundles(self) -> list[Path]:
        """Of all targets that have one."""
        return sorted(path for path in self.stage("deploy").iterdir() if path.is_dir())

    @property
    def page(self) -> Path:
        return self.root / "report.html"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.json"

    def name(self, path: Path) -> str:
        """A file as users are told of it: relative to the run folder."""
        return path.relative_to(self.root).as_posix()


def _json(path: Path, shape: Any) -> File[Any]:
    adapter = TypeAdapter(shape)

    def write(content: Any) -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(adapter.dump_json(content, indent=1))

    return File(path, lambda: adapter.validate_json(path.read_bytes()), write)


def _model(path: Path) -> File[onnx.ModelProto]:
    import onnx

    def write(model: onnx.ModelProto) -> None:
        with replacing(path) as temporary:
            onnx.save(model, temporary)

    return File(path, lambda: onnx.load(path), write)


def _graph(path: Path) -> File[gs.Graph]:
    from graphopt.ir.files import load_graph, save_graph

    return File(path, lambda: load_graph(path), lambda graph: save_graph(graph, path))


def _space(folder: Path) -> File[Space]:
    from graphopt.ir.space_files import load_space, save_space

    return File(folder, lambda: load_space(folder), lambda space: save_space(space, folder))
