"""`metrics.json`: the figures of the report, for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from graphopt.atomic import replacing
from graphopt.report.data import ArtefactRow, PrecisionTable, ReportData
from graphopt.report.published import Comparison
from graphopt.report.view import others

PRICE_KEYS = ("latency_ms", "low_ms", "high_ms", "provenance", "peak_memory_bytes")


def metrics(data: ReportData) -> dict[str, Any]:
    """The content of `metrics.json`; a figure that is missing, infinite or not a number is None."""
    return {
        "targets": {
            target.name: {
                "before": _pick(target.before, PRICE_KEYS),
                "after": _pick(target.after, PRICE_KEYS),
                "gain": target.gain and _pick(target.gain.to_dict(), ("value", "low", "high", "provenance")),
                **({"measured": [asdict(row) for row in target.measured]} if target.measured else {}),
            }
            for target in data.targets
        },
        **({"unpriced": {row.name: asdict(row) for row in data.unpriced}} if data.unpriced else {}),
        "quality": {
            when: _pick(data.quality.get(when, {}), ("psnr", "ssim"))
            for when in ("before", "after", *others(data.quality))
        },
        "parameters": _pick(data.parameters, ("before", "after")),
        "macs": _pick(data.macs, ("before", "after")),
        "choices": {choice.site: choice.chosen.name for choice in data.choices if choice.chosen is not None},
        "artefacts": {row.target: _artefact(row) for row in data.artefacts},
        **({"precision": {table.target: _precision(table) for table in data.precisions}} if data.precisions else {}),
        **({"published": _published(data.comparison)} if data.comparison else {}),
        "seconds": _pick(data.seconds, tuple(data.seconds)),
    }


def write_metrics(data: ReportData, path: Path) -> None:
    """Writes `metrics.json`: standard JSON, UTF-8, the keys in the order of the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(metrics(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _artefact(row: ArtefactRow) -> dict[str, Any]:
    crops = {
        "count": row.crops,
        "side": row.side,
        "arithmetic": row.arithmetic,
        "psnr": _pick(row.psnr, tuple(row.psnr)),
    }
    return {
        **_pick(vars(row), ("file", "on", "difference")),
        "why_not": list(row.why_not),
        **({"crops": crops} if row.psnr else {}),
    }


def _precision(table: PrecisionTable) -> dict[str, Any]:
    return {
        "crops": {"count": table.crops, "side": table.side},
        "on": table.on,
        "provenance": "measured",
        "rows": {
            row.name: {
                "deployed": row.deployed,
                "psnr_cpu": _finite(row.cpu),
                "psnr_device": _finite(row.device),
                "difference": _finite(row.difference),
                "price": row.price and _pick(row.price, PRICE_KEYS[:4]),
                **({"why_not": row.why_not} if row.why_not else {}),
            }
            for row in table.rows
        },
    }


def _published(comparison: Comparison) -> dict[str, Any]:
    return {
        "source": comparison.source,
        "ratios": {
            ratio.name: {
                "published": ratio.published,
                "found": ratio.found,
                "least": ratio.least,
                "parts": dict(ratio.parts),
                "verdict": ratio.verdict,
            }
            for ratio in comparison.ratios
        },
    }


def _pick(row: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: _finite(row.get(key)) for key in keys}


def _finite(value: Any) -> Any:
    """JSON has no word for infinity and NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
