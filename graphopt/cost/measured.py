"""What devices measured, kept by target and graph: later prices and reports show it beside the estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from graphopt.atomic import replacing
from graphopt.errors import GraphoptError

Statistic = Literal["median", "mean"]


@dataclass(frozen=True)
class Reading:
    """What one measuring of a network said.

    `low_ms` and `high_ms` hold the `statistic` with 90 %, or are the shortest and the longest run where a tool says no
    more (`bounds`). `peak_memory_bytes` is at the peak of the runs, above the process without the network, None where
    nothing says so; `units` the share of layers on each unit (`NPU`, `GPU`, `CPU`), where the device says so.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    statistic: Statistic
    runs: int
    device: str
    runtime: str
    bounds: Literal["90 %", "range"] = "90 %"
    threads: int | None = None
    peak_memory_bytes: int | None = None
    units: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """A reading, of which `graph` (`graph_key`) on which `target`, when (UTC, ISO 8601), and by which `command`."""

    target: str
    graph: str
    date: str
    command: str
    reading: Reading

    @property
    def place(self) -> tuple[str, str, int | None]:
        """Device, runtime and threads: another measurement there takes this one's place."""
        return self.reading.device, self.reading.runtime, self.reading.threads

    def to_dict(self) -> dict[str, Any]:
        """Flat: the reading's figures beside the rest, with their provenance."""
        head = {"target": self.target, "provenance": "measured", **asdict(self.reading)}
        return {**head, "graph": self.graph, "date": self.date, "command": self.command}

    def __str__(self) -> str:
        found = self.reading
        spread = f"{found.low_ms:.3g} to {found.high_ms:.3g} ms" + (" at all" if found.bounds == "range" else "")
        said = [f"measured, {found.statistic} of {found.runs} runs, {spread}"]
        said += [found.device, found.runtime, self.date[:10]]
        return f"{found.latency_ms:.3f} ms ({'; '.join(said)})"


_ROWS = TypeAdapter(list[Measured])


def keep_measured(folder: Path, row: Measured) -> None:
    """Writes a row at once; it takes the place of what the same device, runtime and threads have said of that graph.

    `folder` is the user's cache folder.
    """
    rows = [old for old in measured_rows(folder, row.target, row.graph) if old.place != row.place]
    path = _path(folder, row.target, row.graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(_ROWS.dump_json([*rows, row], indent=1))


def measured_rows(folder: Path, target: str, graph: str) -> list[Measured]:
    """What devices have said of a graph on a target, the newest last.

    Raises:
        GraphoptError: the file is not what graphopt writes.
    """
    path = _path(folder, target, graph)
    try:
        return sorted(_ROWS.validate_json(path.read_bytes()), key=lambda row: row.date)
    except FileNotFoundError:
        return []
    except (ValidationError, OSError) as error:
        raise GraphoptError(f"{path} holds no measurements of this version; move it away") from error


def _path(folder: Path, target: str, graph: str) -> Path:
    return folder / "measured" / target / f"{graph}.json"
