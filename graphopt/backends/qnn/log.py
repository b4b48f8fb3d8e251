"""What the verbose log of onnxruntime-qnn 2.7.0 says of a compiled network. Only the log is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

_COUNTS = {
    "read_bytes": re.compile(r"\bread_total_bytes=(\d+)"),
    "written_bytes": re.compile(r"\bwrite_total_bytes=(\d+)"),
    "spilled_bytes": re.compile(r"\bspill_bytes=(\d+)"),
    "filled_bytes": re.compile(r"\bfill_bytes=(\d+)"),
    "supertiles": re.compile(r"\bnum_supertiles = (\d+)"),
}
_RUNLIST = re.compile(r"\brunlist = (\d+) \+ (\d+) vec \+ (\d+) mtx")
_PLACED = re.compile(r"placed on \[(\w+)\]\. Number of nodes: (\d+)")
_NODE = re.compile(r"VerifyEachNodeIsAssignedToAnEp\]\s+(\S+) \((.*)\)\s*$")


@dataclass(frozen=True)
class CompiledFacts:
    """What the NPU's compiler says of a network.

    `read_bytes` and `written_bytes` go over DDR, weights and all; `spilled_bytes` and `filled_bytes` are the part of
    them that did not fit into the on-chip memory. `supertiles` are the groups of tiles into which the compiler cuts
    the work, `main_ops`, `vector_ops` and `matrix_ops` what each kind of thread runs. `graphs` are compiled apart:
    one, and one more for each gap that `refused` ops ("Det (head/Det_1)") leave.
    """

    read_bytes: int
    written_bytes: int
    spilled_bytes: int
    filled_bytes: int
    supertiles: int
    main_ops: int
    vector_ops: int
    matrix_ops: int
    graphs: int
    refused: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> CompiledFacts:
        return cls(**{**content, "refused": tuple(content["refused"])})


def parse_log(lines: Iterable[str]) -> CompiledFacts | None:
    """Sums the counts over the graphs that were compiled; None where the log says of no count or of no placement."""
    counts = dict.fromkeys(_COUNTS, 0)
    seen = set()
    ops = [0, 0, 0]
    graphs = 0
    refused: list[str] = []
    provider = ""
    for line in lines:
        for name, pattern in _COUNTS.items():
            if found := pattern.search(line):
                counts[name] += int(found[1])
                seen.add(name)
        if found := _RUNLIST.search(line):
            ops = [total + int(part) for total, part in zip(ops, found.groups(), strict=True)]
            seen.add("ops")
        elif found := _PLACED.search(line):
            provider = found[1]
            graphs += int(found[2]) if provider.startswith("QNN") else 0
            seen.add("placement")
        elif provider.startswith("CPU") and (found := _NODE.search(line)):
            refused.append(f"{found[1]} ({found[2]})")
    if "placement" not in seen or (graphs and seen != {*_COUNTS, "ops", "placement"}):
        return None
    main, vector, matrix = ops
    return CompiledFacts(
        **counts, main_ops=main, vector_ops=vector, matrix_ops=matrix, graphs=graphs, refused=tuple(refused)
    )
