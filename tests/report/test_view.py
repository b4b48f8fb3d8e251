"""What the page says of a target, of blocks and of refusals."""

# ruff: noqa: RUF001
from __future__ import annotations

import pytest
from sample_report import price

from graphopt.cost.ratio import Ratio
from graphopt.report import view
from graphopt.report.data import ArtefactRow, CandidateRow, ChoiceRow, ReportData, TargetRow


def two_targets(after: dict[str, object], parts: float | None = None, low: float = 1.1) -> view.TargetCard:
    gain = Ratio(1.25, low, 1.4, "measured")
    row = TargetRow("t", "T", 1.0, price(10.0, 9.0, 11.0, "measured", 1), after, parts, gain=gain)
    return view.target_card(row)


def test_warnings_say_when_a_gain_is_not_to_be_trusted() -> None:
    sound = two_targets(price(8.0, 7.5, 8.5, "measured: rpc", 1), parts=8.3)
    assert sound.warnings == []
    assert sound.gain == "1.25x (1.10 to 1.40) as fast"
    assert sound.parts_difference == pytest.approx(3.75)
    assert [bar.width for bar in sound.bars] == [90.91, 72.73]
    assert (sound.bars[1].low, sound.bars[1].high) == (68.18, 77.27)
    assert two_targets(price(9.5, 8.0, 10.0, "measured", 1)).warnings == []  # spreads overlap, and the gain is sure
    doubtful = two_targets(price(8.0, 7.5, 8.5, "measured", 1), low=0.95)
    assert doubtful.warnings == [
        "The interval of the gain, 1.25x (0.95 to 1.40), holds 1: the network may be no faster than before."
    ]
    mixed = two_targets(price(8.0, 7.5, 8.5, "estimated: model", 1))
    assert len(mixed.warnings) == 1
    assert "provenance" in mixed.warnings[0]
    off = two_targets(price(8.0, 7.5, 8.5, "measured", 1), parts=7.0)
    assert len(off.warnings) == 1
    assert "−12.5" in off.warnings[0]


def test_a_device_whose_arithmetic_loses_quality_is_named() -> None:
    def warning(artefact: float) -> str:
        psnr = {"original": 31.5, "onnx": 31.3, "artefact": artefact}
        return view.artefact_warning(
            ArtefactRow("npu", "NPU", "n.onnx", "an emulator", 1e-3, [], "float16", 64, 4, psnr)
        )

    assert warning(31.28) == ""
    assert "own float16 loses 2.30\N{NO-BREAK SPACE}dB against model.onnx. It ends at 65504; the" in warning(29.0)
    assert "own float16 leaves no picture" in warning(float("nan"))
    assert view.artefact_warning(ArtefactRow("cpu", "CPU", "c.so", "this machine", 1e-7, [])) == ""


def test_sites_inside_a_replaced_one_are_not_counted() -> None:
    def row(site: str, parent: str | None, chosen: str) -> ChoiceRow:
        options = [CandidateRow(n, "tuned", n == chosen, 0.5, {"t": d}, 1) for n, d in (("keep", 0.0), ("drop", -2.0))]
        return ChoiceRow(site, "b.0", parent, options)

    choices = [row("b.0", None, "keep"), row("b.0/ff", "b.0", "drop"), row("b.0/norm", "b.0/ff", "drop"),
               row("b.0/sca", "b.0", "keep")]  # fmt: skip
    assert view.outcome(choices) == {"keep": 2, "drop": 1}
    assert list(view.kinds(choices)) == ["whole block", "ff", "norm", "sca"]
    (block,) = view.blocks(choices)
    assert block.changed == 1
    assert block.deltas == {"t": -2.0}
    assert block.cells["norm"][0].inside == "b.0/ff"
    assert block.cells["sca"][0].inside is None


def test_refusals_are_grouped_with_the_most_frequent_reason_first(data: ReportData) -> None:
    found = view.grouped(data.refusals)
    assert list(found) == ["channel-affine", "transposed-conv"]
    assert [len(where) for where in found["channel-affine"].values()] == [12, 1]
