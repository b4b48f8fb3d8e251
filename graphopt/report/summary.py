"""The table that closes a run in the terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from graphopt.report import formats, view
from graphopt.report.data import ReportData, TargetRow, UnpricedRow
from graphopt.report.keep import KEEP


def summary_table(data: ReportData) -> Table:
    """Before, after and change of the main figures, each with its provenance."""
    table = Table(title=escape(data.title), title_justify="left", pad_edge=False)
    table.add_column("figure")
    for column in ("before", "after", "change"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("provenance")
    for unpriced in data.unpriced:
        _add_measured(table, unpriced)
    for target in data.targets:
        _add_measured(table, target)
        old, new = target.before, target.after
        kinds = dict.fromkeys((view.evidence(old.get("provenance")), view.evidence(new.get("provenance"))))
        provenance = " → ".join(kinds)
        for name, key, form, evidence in (
            ("latency", "latency_ms", formats.milliseconds, provenance),
            ("peak memory", "peak_memory_bytes", formats.memory, "estimated"),  # planned, never measured
        ):
            change = formats.percent(formats.change(old.get(key), new.get(key)))
            table.add_row(escape(f"{target.title}: {name}"), form(old.get(key)), form(new.get(key)), change, evidence)
        if target.gain is not None:
            words = (escape(f"{target.title}: times as fast"), "", "", str(target.gain), target.gain.provenance)
            table.add_row(*words)
    for name, key, digits, unit in (("PSNR", "psnr", 2, "dB"), ("SSIM", "ssim", 4, "")):
        before, after = (formats.known(data.quality.get(when, {}).get(key)) for when in ("before", "after"))
        difference = None if before is None or after is None else after - before
        figures = (formats.number(before, digits, unit), formats.number(after, digits, unit))
        table.add_row(name, *figures, formats.number(difference, digits, unit, sign=True), "measured")
    for network, scores in view.others(data.quality).items():
        before, after = (formats.known(one.get("psnr")) for one in (data.quality.get("before", {}), scores))
        difference = None if before is None or after is None else after - before
        figures = (formats.number(before, 2, "dB"), formats.number(after, 2, "dB"))
        table.add_row(f"PSNR, {network}", *figures, formats.number(difference, 2, "dB", sign=True), "measured")
    for artefact in (row for row in data.artefacts if row.psnr):
        original, own = artefact.psnr["original"], artefact.psnr["artefact"]
        name = f"PSNR on {artefact.crops} crops, in the {artefact.arithmetic} of {artefact.title}"
        figures = (formats.number(original, 2, "dB"), formats.number(own, 2, "dB"))
        table.add_row(escape(name), *figures, formats.number(own - original, 2, "dB", sign=True), "measured")
    for name, row in (("MACs", data.macs), ("parameters", data.parameters)):
        figures = (formats.short_count(row.get("before")), formats.short_count(row.get("after")))
        table.add_row(name, *figures, formats.percent(formats.change(row.get("before"), row.get("after"))), "counted")
    outcome = view.outcome(data.choices)
    if outcome:
        changed = sum(outcome.values()) - outcome[KEEP]
        table.add_row("sites changed", "", f"{changed} of {sum(outcome.values())}", "", "searched")
    return table


def _add_measured(table: Table, target: TargetRow | UnpricedRow) -> None:
    """A row for each device that has measured one of the networks."""
    for place in target.measured:
        old, new = place.before.get("latency_ms"), place.after.get("latency_ms")
        figures = (formats.milliseconds(old), formats.milliseconds(new), formats.percent(formats.change(old, new)))
        table.add_row(escape(f"{target.title}: on {place.device}"), *figures, "measured")
