"""Stage `report`: all that the stages have left -> one page, `metrics.json`, and the table that closes a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphopt.atomic import replacing
from graphopt.progress import Progress
from graphopt.run.folder import STAGES
from graphopt.run.forms import deployed_network
from graphopt.run.run import Run
from graphopt.run.stage import RunStage, noise_keys
from graphopt.run.stamps import read_stamp
from graphopt.train.data import photographs_digest

if TYPE_CHECKING:
    from graphopt.report.data import ReportData
    from graphopt.report.on_devices import DeviceRow
    from graphopt.report.published import Comparison
    from graphopt.train.metrics import Quality

Costs = Mapping[str, Mapping[str, Any]]


def _reads(run: Run) -> list[Any]:
    said = {name: [asdict(row) for row in rows] for name, rows in _on_devices(run).items()}
    return [photographs_digest(run.test_images), noise_keys(run), _titles(run), run.path.read_text(), said]


def _on_devices(run: Run) -> dict[str, list[DeviceRow]]:
    """By target, what devices have measured of both networks: they may do so long after a run."""
    from graphopt.cost.keys import graph_key
    from graphopt.cost.measured import measured_rows
    from graphopt.report.on_devices import device_rows

    before, rows = graph_key(run.folder.original.read()), {}
    for name, backend in run.backends().items():
        after = graph_key(deployed_network(run.folder, backend))
        rows[name] = [measured_rows(run.cache, name, key) for key in (before, after)]
    return {name: found for name, pair in rows.items() if (found := device_rows(*pair))}


def _titles(run: Run) -> list[str]:
    return [target.title for target in run.targets.values()]


def _work(run: Run, say: Progress) -> None:
    from rich.console import Console

    from graphopt.report.metrics import write_metrics
    from graphopt.report.page import write_page
    from graphopt.report.summary import summary_table
    from graphopt.run.bundles import add_quality

    data = _gathered(run, say)
    with replacing(run.folder.summary) as temporary, temporary.open("w") as file:
        Console(file=file, width=110).print(summary_table(data))
    add_quality(run, data.quality)
    write_metrics(data, run.folder.metrics)
    write_page(data, run.folder.page)


def _gathered(run: Run, say: Progress) -> ReportData:
    """Judges both networks on the test photographs, and reads the files of the earlier stages."""
    from graphopt.report.data import HistoryPoint, RefusalRow, ReportData, TargetRow, TunePoint, UnpricedRow
    from graphopt.report.rows import choice_rows, front_points
    from graphopt.run.judging import judge
    from graphopt.run.tried import tried

    folder, said = run.folder, _on_devices(run)
    scores, crops = judge(run, folder.stage("report"), say)
    artefacts, precisions = tried(run, say)
    space, found, table = folder.searched.read(), folder.selection.read(), folder.table.read()
    deployed, gains = folder.deployed.read(), folder.gains.read()
    before, after = (
        {name: cost.to_dict() for name, cost in costs.items()}
        for costs in (folder.original_costs.read(), deployed.costs)
    )
    first = next(iter(before))
    return ReportData(
        title=f"{Path(run.config.model).name}, made faster",
        quality={name: {"psnr": score.psnr, "ssim": score.ssim} for name, score in scores.items()},
        parameters={"before": before[first]["parameters"], "after": after[first]["parameters"]},
        macs={"before": before[first]["macs"], "after": after[first]["macs"]},
        targets=[
            TargetRow(
                name, backend.target.title, run.weights[name], before[name], after[name],
                found["sum_of_parts_ms"].get(name), backend.provenance, gains.get(name), said.get(name, ()),
            )
            for name, backend in run.backends().items()
            if name in before
        ],
        choices=choice_rows(space, found, table),
        refusals=[RefusalRow(r.pass_name, r.where, r.reason) for r in space.refusals],
        exact=_exact(run),
        history=[HistoryPoint(**record) for record in folder.search_history.read()],
        tuning=[TunePoint(r["step"], r["psnr"], r["loss"]) for r in folder.finetune_history.read()],
        crops=crops,
        seconds={name: stamp.seconds for name in STAGES if (stamp := read_stamp(folder.stage(name))).done},
        command=f"graphopt run {run.path.name}",
        config_text=run.path.read_text(),
        latency_goal=_goal(run, found),
        files=[*deployed.files, folder.name(folder.page), folder.name(folder.metrics)],
        unpriced=[
            UnpricedRow(name, backend.target.title, backend.unpriced, said.get(name, ()))
            for name, backend in run.backends().items()
            if backend.unpriced
        ],
        comparison=_comparison(run, before, after, scores),
        front=front_points(folder.front.read(), run.config.search.method),
        artefacts=artefacts,
        precisions=precisions,
    )  # fmt: skip


def _goal(run: Run, found: Mapping[str, Any]) -> str:
    goal = ", ".join(f"{target} {ms:.2f} ms" for target, ms in found["goals_ms"].items())
    missed = f"; missed on {', '.join(found['missed'])}: no more candidates" if found["missed"] else ""
    return f"{run.config.search.latency:g} of the original on each searched target ({goal}){missed}"


def _comparison(run: Run, before: Costs, after: Costs, scores: Mapping[str, Quality]) -> Comparison | None:
    """Beside a paper's ratios, on the searched target of the largest weight."""
    from graphopt.report.published import compare
    from graphopt.report.rows import places

    if run.config.published is None:
        return None
    target = run.heaviest

    def facts(cost: Mapping[str, Any], score: Quality) -> dict[str, float]:
        sizes = {"memory": cost["peak_memory_bytes"], "parameters": cost["parameters"]}
        return {"latency": cost["latency_ms"], **sizes, "psnr": score.psnr}

    selection = run.folder.selection.read()["selection"]
    published = run.config.published.model_dump()
    return compare(
        f"{published.pop('source')}; here {run.targets[target].title}", published,
        facts(before[target], scores["before"]), facts(after[target], scores["after"]),
        places(run.folder.searched.read(), selection, run.folder.table.read(), target),
    )  # fmt: skip


def _exact(run: Run) -> list[str]:
    """What was done that changes nothing, and by how much it differs all the same."""
    prepared, forms, edits = run.folder.prepared.read(), run.folder.forms.read(), run.folder.edits.read()
    settled = Counter(run.folder.table.read().settled.values())
    source = run.folder.source.read()
    lines = [
        f"canonical form: {source.nodes} nodes; the output differs by {source.difference:.1e} relative from that of "
        "what was given (measured)"
    ]
    lines += [f"{name}: {count} sites, before the search" for name, count in prepared.items()]
    lines += [f"{name}: {count} sites, cheaper than what stood there" for name, count in settled.items()]
    lines += [
        f"{name}: {count} sites in their training form while fine-tuned; collapsed, the output differs by "
        f"{forms.difference:.1e} relative (measured, in fp64)"
        for name, count in forms.sites.items()
    ]
    lines += [f"{name}: {count} rewrites in the tuned network" for name, count in edits.edits.items()]
    nodes = f"{edits.nodes_before} nodes became {edits.nodes_after}"
    return [*lines, f"{nodes}; the output changed by {edits.difference:.1e} relative (measured)"]


STAGE = RunStage("report", ("deploy",), _reads, _work)
