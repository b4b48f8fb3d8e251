"""Where the tuning databases lie, and what they say of a kernel when a network is priced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median

from graphopt.atomic import replacing
from graphopt.cost.record import Provenance
from graphopt.errors import GraphoptError
from graphopt.kernels.keys import figures_key, target_key
from graphopt.kernels.target import TvmTarget
from graphopt.tuning.records import Database, Loaded, Record

TVM = metadata.version("apache-tvm")


def database(folder: Path, target: TvmTarget, provenance: Provenance, tracker_key: str = "") -> Database:
    """The database of a target in `folder` (the cost cache's `tuning`). Trials over RPC have one for each tracker key:
    what this host measured of itself is another matter.

    Estimates depend on every figure of the target, measurements on what schedules may ask of it alone.
    """
    name = f"{target.name}@{tracker_key}" if tracker_key else target.name
    key = target_key(target) if provenance == "estimated" else figures_key(target, local=not tracker_key)
    return Database(folder / provenance / name, provenance, key[:16], TVM)


def remote_databases(folder: Path, target: TvmTarget) -> Iterator[Database]:
    """The databases of a target that hold times measured over RPC."""
    for place in sorted((folder / "measured").glob(f"{target.name}@*")):
        yield database(folder, target, "measured", place.name.partition("@")[2])


@dataclass(frozen=True)
class TunedKernels:
    """The best that is known of an `opencl` target's kernels: measured over RPC, or estimated of tuned schedules."""

    measured: tuple[Loaded, ...]
    estimated: Loaded

    def times_ms(self, workload: str) -> tuple[float, float, float] | None:
        """Measured milliseconds of a kernel: median, least, most of its quickest schedule's runs."""
        found = self.measured_record(workload)
        if found is None:
            return None
        times = [1e3 * seconds for seconds in found.run_secs]
        return median(times), min(times), max(times)

    def measured_record(self, workload: str) -> Record | None:
        best = [record for loaded in self.measured if (record := loaded.best(workload)) is not None]
        return min(best, key=lambda record: record.seconds, default=None)


def tuned_kernels(folder: Path, target: TvmTarget) -> TunedKernels:
    """What the databases in `folder` hold for a target."""
    measured = tuple(found.load() for found in remote_databases(folder, target))
    return TunedKernels(measured, database(folder, target, "estimated").load())


def tuning_state(folder: Path, target: TvmTarget) -> str:
    """Another text whenever `graphopt tune` has worked for this target; empty where it never has."""
    marks = [*folder.glob(f"*/{target.name}/tuned"), *folder.glob(f"*/{target.name}@*/tuned")]
    return ",".join(f"{mark.parent.parent.name}/{mark.parent.name}:{mark.read_text()}" for mark in sorted(marks))


def mark_tuned(found: Database) -> None:
    """Says that what is priced from now on may find other records than before."""
    mark = found.folder / "tuned"
    with suppress(GraphoptError):  # a full disk, which the next trial reports
        count = int(mark.read_text() or 0) if mark.exists() else 0
        with replacing(mark) as temporary:
            temporary.write_text(str(count + 1))
