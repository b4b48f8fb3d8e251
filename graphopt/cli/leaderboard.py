"""`graphopt leaderboard`: the published mobile denoisers, and yours, on one table."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphopt.cli.options import JsonFlag, TargetOption
from graphopt.cli.terminal import print_table, progress
from graphopt.errors import GraphoptError

if TYPE_CHECKING:
    from graphopt.models.leaderboard import Row


def leaderboard(
    target: TargetOption = "exynos2100-mali-g78",
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the image")] = "720x480",
    only: Annotated[list[str] | None, typer.Option(help="a published network; may be repeated; all by default")] = None,
    add: Annotated[list[Path] | None, typer.Option(help="an ONNX file of yours; may be repeated")] = None,
    psnr: Annotated[list[float] | None, typer.Option(help="dB of each --add, on the challenge's images")] = None,
    html: Annotated[Path | None, typer.Option(help="the table as a page, with a plot of latency and quality")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="processes that price a network each; each needs memory")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Prices the published mobile denoisers, beside what their authors measured; and your network among them."""
    from graphopt.models.zoo import NETWORKS, find_entry

    entries = [find_entry(name) for name in only] if only else list(NETWORKS.values())
    files, given = add or [], psnr or []
    if given and len(given) != len(files):
        raise GraphoptError(f"leaderboard: {len(given)} --psnr for {len(files)} --add; give one for each, or none")
    if any(not 0 < value < 100 for value in given):
        raise GraphoptError(f"leaderboard: --psnr {given}: expected dB between 0 and 100")
    from graphopt.backends.targets import load_target
    from graphopt.cost.cache import CostCache, cache_folder
    from graphopt.models.leaderboard import agreement, check_files, in_words, price_entries, price_files
    from graphopt.models.source import parse_size

    device, extent = load_target(target), parse_size(size)
    cache = CostCache(cache_folder() / "costs")
    check_files(files, device, cache)
    with progress(announce=False) as report:
        rows = price_entries(entries, extent, device, cache, jobs, report)
        rows += price_files(files, given, extent, device, cache, report)
    rows.sort(key=lambda row: -1 if row.score is None else row.score, reverse=True)
    found = agreement(rows)
    if html is not None:
        from graphopt.report.leaderboard import write_leaderboard

        write_leaderboard(rows, in_words(found), device.title, size, html)
    if as_json:
        content = {
            "target": device.name,
            "size": size,
            "networks": [asdict(row) for row in rows],
            "agreement": asdict(found) if found else None,
        }
        typer.echo(json.dumps(content, indent=1))
        return
    _print(rows, in_words(found), device.title, size)
    if html is not None:
        typer.echo(f"page: {html}")


def _print(rows: list[Row], agreement: str, title: str, size: str) -> None:
    typer.echo(f"{title}, {size}. Prices: {', '.join(sorted({row.provenance for row in rows}))}.")
    print_table([_cells(row) for row in rows], tuple(_cells(rows[0])))
    typer.echo("KB, file: parameters in float32 beside the published file. ms, score: published; est.: estimated here.")
    typer.echo("What is not public, and therefore ours:")
    for row in rows:
        words = "; ".join(part for part in (row.reading, row.note) if part)
        if words:
            typer.echo(f"  {row.name}: {words}")
    typer.echo(agreement)


def _cells(row: Row) -> dict[str, str]:
    def number(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    return {
        "network": row.name,
        "KB": f"{row.kb:.0f}",
        "file": number(row.published_kb, 0),
        "GMAC": f"{row.macs / 1e9:.2f}",
        "PSNR": number(row.psnr, 2),
        "ms": number(row.published_ms, 0),
        "est.ms": f"{row.latency_ms:.1f}",
        "range": f"{row.low_ms:.0f}-{row.high_ms:.0f}",
        "ratio": number(row.ratio, 2),
        "score": number(row.published_score, 2),
        "est.": number(row.score, 2),
    }
