"""The tables of docs/results.md: what each network costs, and how well it denoises, beside the first one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphopt.cost.ratio import Ratio

Row = dict[str, Any]


def markdown(found: dict[str, Any]) -> str:
    """The output of `benchmarks/denoise.py` as tables, with the command and the commit that made them."""
    rows: list[Row] = found["rows"]
    networks = list({row["network"]: row for row in rows if row["targets"]}.values())
    height, width = found["resolution"]
    parts = [
        f"Made at commit `{found['commit']}` by\n\n```\n{found['command']}\n```",
        f"Size at {height}x{width}; parameters and MACs are counted, ratios are those to `{found['reference']}`.",
        _sizes(networks),
        "Latency and memory; what is estimated has its spread beside it. Times as fast: with an interval of its own, "
        "which holds 90 %.",
        _prices(networks),
    ]
    for name in dict.fromkeys(row["set"] for row in rows):
        parts += [
            f"{name}, measured: PSNR in dB (difference to `{found['reference']}`), SSIM",
            _qualities([row for row in rows if row["set"] == name]),
        ]
    return "\n\n".join(parts)


def _sizes(networks: list[Row]) -> str:
    head = ("network", "parameters", "ratio", "GMAC", "ratio")
    return _table(
        head,
        (
            (n["network"], f"{n['parameters']:,}", _ratio(n["parameters_ratio"]), f"{n['macs'] / 1e9:.3f}",
             _ratio(n["macs_ratio"]))
            for n in networks
        ),
    )  # fmt: skip


def _prices(networks: list[Row]) -> str:
    head = ("network", "target", "ms", "times as fast", "peak MiB", "ratio", "")
    return _table(
        head,
        (
            (n["network"], f"`{target}`", _spread(price), str(Ratio.from_dict(price["gain"])),
             f"{price['peak_memory_bytes'] / 2**20:.1f}", _ratio(price["peak_memory_ratio"]), price["provenance"])
            for n in networks
            for target, price in n["targets"].items()
        ),
    )  # fmt: skip


def _qualities(rows: list[Row]) -> str:
    sigmas = list(dict.fromkeys(row["sigma"] for row in rows))
    by_network: dict[str, dict[float, Row]] = {}
    for row in rows:
        by_network.setdefault(row["network"], {})[row["sigma"]] = row
    return _table(
        ("network", *(f"sigma {sigma:g}" for sigma in sigmas)),
        ((name, *(_quality(of[sigma]) for sigma in sigmas)) for name, of in by_network.items()),
    )


def _quality(row: Row) -> str:
    difference = f" ({row['psnr_difference']:+.2f})" if row["psnr_difference"] else ""
    return f"{row['psnr']:.2f}{difference}, {row['ssim']:.4f}"


def _spread(price: Row) -> str:
    return f"{price['latency_ms']:.3g} ({price['low_ms']:.3g} to {price['high_ms']:.3g})"


def _ratio(value: float) -> str:
    return f"{value:.3f}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
