"""What a bundle says of itself, `manifest.json`: its files, how they are loaded and fed, and what they cost.

`schema.json`, beside this file, says the same to programs in other languages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from graphopt.config.keys import Strict
from graphopt.config.precision import Precision
from graphopt.errors import GraphoptError

SCHEMA_FILE = Path(__file__).with_name("schema.json")

SCHEMA: Literal[2] = 2  # another where programs that read a manifest have to change
Size = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class Runtime(Strict):
    """What loads the first file: the version is the one that the artefact was made with, or checked in."""

    name: str
    version: str


class BundledFile(Strict):
    """A file of the bundle. `name` is relative to its folder."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@+-]*(/[A-Za-z0-9_][A-Za-z0-9_.@+-]*)*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Quantisation(Strict):
    """value = scale * (integer - zero_point), the integer of `dtype`."""

    scale: float = Field(gt=0)
    zero_point: int
    dtype: str


class Operand(Strict):
    """An input or an output, in the order in which the runtime takes or gives it. A dimension of null is free."""

    name: str
    layout: Literal["NCHW", "NHWC"]
    shape: list[int | None]
    dtype: str
    range: tuple[float, float] = Field(description="of the values; what lies outside is clipped")
    quantisation: Quantisation | None = Field(
        default=None, description="how the artefact turns them into integers; values are still given and taken as dtype"
    )


class Noise(Strict):
    """The noise that the network was tuned for. `low` and `high` are standard deviations on the scale 0-255."""

    kind: str
    low: float | None = None
    high: float | None = None


class Figure(Strict):
    """One figure: what it is of, its bounds where it has some, and how it came about.

    `value`, `low` and `high` are in `unit`. A measured one says the device, the runtime and the day; `command` prints
    it again, in the folder in which the run was started.
    """

    what: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str
    provenance: Literal["measured", "estimated"]
    size: Size | None = Field(default=None, description="height and width of the image that it was found with")
    device: str
    runtime: str
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    command: str


class Manifest(Strict):
    """All that a program must know to run a bundle, and all that a reader wants to know of it.

    `stride` divides the height and the width of whatever runs. Larger images go through by tiles of `tile` (height,
    width) that share `overlap` pixels. `graph` is a hash of the network without its names and weights.
    """

    schema_: Literal[2] = Field(default=SCHEMA, alias="schema")
    graphopt: str
    target: str
    title: str
    kind: str
    format: str = Field(description="onnx, tflite, mnn, qnn-context, opencl, tvm, or that of a backend of yours")
    runtime: Runtime
    loaded_by: str
    delegate: str = Field(
        default="",
        pattern="^[a-z0-9-]*$",  # what measures on devices goes by the word
        description="what of the runtime computes: xnnpack, cpu, gpu, htp; empty where there is one way alone",
    )
    precision: Precision = Field(description="w8a8, w8a16: bits of weights and of activations")
    files: list[BundledFile] = Field(min_length=1, description="the one to load first, and those that it needs")
    inputs: list[Operand] = Field(min_length=1)
    outputs: list[Operand] = Field(min_length=1)
    stride: int | None = Field(default=None, ge=1, description="null where only the size of `tile` runs")
    tile: Size
    overlap: int = Field(ge=0)
    noise: Noise
    licence: str | None = Field(default=None, description="of the weights; null where nothing says it")
    graph: str
    figures: list[Figure] = Field(default=[])

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that the artefact takes; None where both are free."""
        first = self.inputs[0]
        height, width = (first.shape[first.layout.index(axis)] for axis in "HW")
        return None if height is None or width is None else (height, width)


def read_manifest(path: Path) -> Manifest:
    """Raises GraphoptError: it is missing, no JSON, or not what the schema says."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise GraphoptError(
            f"{path.parent} is no bundle: {path.name} cannot be read ({error.strerror}); graphopt run writes bundles "
            "into deploy/ of its run folder"
        ) from error
    except ValidationError as error:
        wrong = _of_another_time(error) or f"{_first(error)}; expected what graphopt run writes"
        raise GraphoptError(f"{path}: {wrong}") from error


def make_manifest(content: dict[str, Any], target: str) -> Manifest:
    """Raises GraphoptError: the backend of `target` leaves out something, or says something else."""
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise GraphoptError(f"target {target}: manifest of its artefact: {_first(error)}; see manifest_of") from error


def _of_another_time(error: ValidationError) -> str:
    """Empty where the schema is that of today."""
    found = next((detail["input"] for detail in error.errors() if detail["loc"] == ("schema",)), None)
    return "" if found is None else f"it is of schema {found}, and this graphopt reads {SCHEMA}; run the pipeline again"


def _first(error: ValidationError) -> str:
    detail = error.errors()[0]
    where = ".".join(str(part) for part in detail["loc"]) or "top level"
    return f"{where}: {detail['msg']}"


def json_schema() -> dict[str, Any]:
    """The content of `schema.json`. To write it anew: `python -m graphopt.bundle.schema`."""
    schema = Manifest.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
