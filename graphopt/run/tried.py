"""What came of the artefacts here: which ran, and what their precisions leave of the quality, as rows of the report."""

from __future__ import annotations

from typing import Any

from graphopt.backends.base import Backend
from graphopt.config.precision import is_integer
from graphopt.progress import Progress
from graphopt.report.data import ArtefactRow, PrecisionRow, PrecisionTable
from graphopt.run.arithmetic import Judged, judge_arithmetic
from graphopt.run.run import Run


def tried(run: Run, say: Progress) -> tuple[list[ArtefactRow], list[PrecisionTable]]:
    """A row for each target, and a table for each whose precisions can be compared."""
    deployed, rows, tables = run.folder.deployed.read(), [], []
    for name, backend in run.backends().items():
        title = backend.target.title
        judged = judge_arithmetic(run, backend, say)
        if judged.scores:
            tables.append(_table(run, backend, judged))
        if name in deployed.refusals:
            rows.append(ArtefactRow(name, title, "", "", None, [f"no artefact: {deployed.refusals[name]}"]))
            continue
        ran = deployed.ran[name]
        reasons = [reason for reason in (ran.why_not, judged.why_not) if reason]
        arithmetic, psnr = _own(backend, judged)
        rows.append(
            ArtefactRow(
                name, title, ran.file, ran.on, ran.difference, reasons, arithmetic, judged.side, judged.count, psnr
            )
        )
    return rows, tables


def _own(backend: Backend[Any], judged: Judged) -> tuple[str, dict[str, float]]:
    """The device's own arithmetic, and what the deployed artefact gives in it; nothing where that did not run."""
    precision = backend.target.precision
    arithmetic = precision if is_integer(precision) else backend.own_arithmetic
    whole, own = judged.of("fp32"), judged.of(precision)
    if judged.original is None or whole is None or own is None or own.device is None:
        return arithmetic, {}
    return arithmetic, {"original": judged.original, "onnx": whole.cpu, "artefact": own.device}


def _table(run: Run, backend: Backend[Any], judged: Judged) -> PrecisionTable:
    """The original first. What was priced in the deployed precision has the price that it was deployed with."""
    name, precision = backend.target.name, backend.target.precision
    before, after = run.folder.original_costs.read().get(name), run.folder.deployed.read().costs.get(name)
    assert judged.original is not None
    rows = [PrecisionRow("the original", judged.original, price=before.to_dict() if before else None)]
    rows += [
        PrecisionRow(
            score.precision, score.cpu, score.device,
            after.to_dict() if after and score.precision == precision else score.price,
            score.why_not, score.precision == precision,
        )
        for score in judged.scores
    ]  # fmt: skip
    on = backend.runs_on if any(score.device is not None for score in judged.scores) else ""
    return PrecisionTable(name, backend.target.title, on, judged.side, judged.count, rows)
