"""metrics.json: the declared shape, every choice, and standard JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
from sample_report import empty, price

from graphopt.report.data import ReportData, TargetRow
from graphopt.report.metrics import metrics, write_metrics


def estimated(middle: float, low: float, high: float) -> dict[str, object]:
    return {"latency_ms": middle, "low_ms": low, "high_ms": high, "provenance": "estimated"}


def test_metrics_have_exactly_the_declared_shape_and_values(data: ReportData, tmp_path: Path) -> None:
    small = dataclasses.replace(
        data, targets=data.targets[:1], choices=data.choices[:2], artefacts=data.artefacts[1:], seconds={"cost": 1312.4}
    )
    chosen = [next(row.name for row in choice.candidates if row.chosen) for choice in small.choices]
    expected = {
        "targets": {
            "adreno-750": {
                "before": {"latency_ms": 21.44, "low_ms": 16.1, "high_ms": 28.6,
                           "provenance": "estimated: kernel model", "peak_memory_bytes": 48_300_000},
                "after": {"latency_ms": 13.87, "low_ms": 10.4, "high_ms": 18.9,
                          "provenance": "estimated: kernel model", "peak_memory_bytes": 31_200_000},
                "gain": {"value": 1.546, "low": 1.41, "high": 1.72, "provenance": "estimated"},
            }
        },
        "quality": {"before": {"psnr": 31.418, "ssim": 0.88214}, "after": {"psnr": 31.296, "ssim": 0.87931}},
        "parameters": {"before": 17_111_907, "after": 11_604_355},
        "macs": {"before": 16_254_976_000, "after": 10_871_635_968},
        "artefacts": {
            "npu": {"file": "deploy/npu/npu.onnx", "on": "an emulator, in float16", "difference": 3.1e-3, "why_not": [],
                    "crops": {"count": 4, "side": 64, "arithmetic": "float16",
                              "psnr": {"original": 31.421, "onnx": 31.302, "artefact": 31.287}}},
            "mali-g78": {"file": "", "on": "", "difference": None,
                         "why_not": ["no artefact: its compiler refuses Celu"]},
        },
        "precision": {
            "npu": {"crops": {"count": 4, "side": 64}, "on": "an emulator", "provenance": "measured", "rows": {
                "the original": {"deployed": False, "psnr_cpu": 31.421, "psnr_device": None, "difference": None,
                                 "price": estimated(21.4, 16.1, 28.6)},
                "fp32": {"deployed": False, "psnr_cpu": 31.302, "psnr_device": None, "difference": None, "price": None},
                "fp16": {"deployed": True, "psnr_cpu": 31.301, "psnr_device": 31.287,
                         "difference": pytest.approx(-0.014), "price": estimated(13.87, 10.4, 18.9)},
                "w8a16": {"deployed": False, "psnr_cpu": 31.288, "psnr_device": None, "difference": None,
                          "price": estimated(9.41, 6.1, 14.2), "why_not": "the NPU refuses Erf"},
                "w8a8": {"deployed": False, "psnr_cpu": 31.071, "psnr_device": 31.083,
                         "difference": pytest.approx(0.012), "price": estimated(4.26, 1.6, 11.7)},
            }},
        },
        "choices": {"encoders.0.0/feed-forward": chosen[0], "encoders.0.0/norm1": chosen[1]},
        "seconds": {"cost": 1312.4},
    }  # fmt: skip
    assert metrics(small) == expected
    write_metrics(small, tmp_path / "run" / "metrics.json")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == expected


def test_metrics_name_every_choice_once(data: ReportData) -> None:
    found = metrics(data)["choices"]
    assert len(found) == len(data.choices) == 24 * 5 + 4
    assert found["ups.0"] in {"keep", "transposed-conv"}


def test_metrics_are_standard_json_where_figures_are_not_finite(tmp_path: Path) -> None:
    row = price(math.inf, math.nan, 3.0, "estimated", 5)
    data = dataclasses.replace(empty(), targets=[TargetRow("t", "T", 1.0, row, {}, None)],
                               quality={"before": {"psnr": math.inf, "ssim": 1.0}})  # fmt: skip
    write_metrics(data, tmp_path / "metrics.json")
    found = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert found["targets"]["t"]["before"] == {
        "latency_ms": None, "low_ms": None, "high_ms": 3.0, "provenance": "estimated", "peak_memory_bytes": 5,
    }  # fmt: skip
    assert set(found["targets"]["t"]["after"].values()) == {None}
    assert found["quality"] == {"before": {"psnr": None, "ssim": 1.0}, "after": {"psnr": None, "ssim": None}}
