"""The tuning database: a line of JSON for each trial, appended when the trial is done. Measured and estimated trials
lie in folders of their own, and every line says what it is.
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from graphopt.cost.record import Provenance
from graphopt.errors import GraphoptError


@dataclass(frozen=True)
class Record:
    """One trial: the schedule of a workload (as MetaSchedule's trace) and what it took.

    `workload` is the hash of the kernel, `target` that of the target's figures, `run_secs` the times of its runs (none
    where it failed, `error` says why), `spent_s` what the trial took with its build, `device` where it ran. `facts` are
    those that the kernel model was asked with, where nothing ran.
    """

    workload: str
    target: str
    tvm: str
    provenance: Provenance
    device: str
    run_secs: tuple[float, ...]
    spent_s: float
    trace: Any = None
    facts: dict[str, Any] | None = None
    error: str = ""

    @property
    def seconds(self) -> float:
        """The median of the runs; infinite where the trial failed."""
        return median(self.run_secs) if self.run_secs else float("inf")


@dataclass
class Loaded:
    """The records of a database by workload; `foreign` counts those of other versions of TVM, which are not used."""

    records: dict[str, list[Record]] = field(default_factory=dict)
    foreign: Counter[str] = field(default_factory=Counter)

    def best(self, workload: str) -> Record | None:
        """The quickest trial of a workload that did not fail."""
        found = min(self.records.get(workload, ()), key=lambda record: record.seconds, default=None)
        return found if found is not None and found.run_secs else None

    def trials(self, workload: str) -> int:
        return len(self.records.get(workload, ()))

    def spent_s(self, workload: str) -> float:
        return sum(record.spent_s for record in self.records.get(workload, ()))

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            self.records.setdefault(record.workload, []).append(record)


class Database:
    """The records of one target in one folder, all of one provenance."""

    def __init__(self, folder: Path, provenance: Provenance, target: str, tvm: str):
        """`target` is the key of the target's figures, `tvm` the version of TVM: of other records, none is used."""
        self.folder, self.provenance, self.target, self._tvm = folder, provenance, target, tvm
        self.path = folder / "records.jsonl"

    def append(self, records: Sequence[Record]) -> None:
        """Writes the records to disk before it returns.

        Raises:
            GraphoptError: the disk is full or cannot be written, or a record of another provenance.
        """
        for record in records:
            if record.provenance != self.provenance:
                raise GraphoptError(
                    f"tuning database {self.folder}: a trial that is {record.provenance} does not belong among those "
                    f"that are {self.provenance}"
                )
        text = "".join(json.dumps(asdict(record), separators=(",", ":")) + "\n" for record in records)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                whole = file.tell() == 0 or self._ends_with_a_line()
                file.write((text if whole else "\n" + text).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            why = "the disk is full" if error.errno == errno.ENOSPC else str(error.strerror)
            raise GraphoptError(
                f"tuning database {self.path} cannot be written: {why}; all earlier trials are kept, and the same "
                "command goes on from there"
            ) from error

    def load(self) -> Loaded:
        """What is on disk for this target and this TVM. A line that a kill cut short is left out.

        Raises:
            GraphoptError: the file holds trials of the other provenance, or cannot be read.
        """
        loaded = Loaded()
        if not self.path.exists():
            return loaded
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError as error:
            raise GraphoptError(f"tuning database {self.path} cannot be read: {error.strerror}") from error
        for line in lines:
            record = _parse(line)
            if record is None:
                continue
            if record.provenance != self.provenance:
                raise GraphoptError(
                    f"tuning database {self.path} holds trials that are {record.provenance}, expected "
                    f"{self.provenance} ones alone; move the file away"
                )
            if record.tvm != self._tvm:
                loaded.foreign[record.tvm] += 1
            elif record.target == self.target:
                loaded.add([record])
        return loaded

    def _ends_with_a_line(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def _parse(line: bytes) -> Record | None:
    try:
        content = json.loads(line)
        return Record(**{**content, "run_secs": tuple(content["run_secs"])})
    except (ValueError, TypeError, KeyError):
        return None
