"""The leaderboard: the challenge's score, prices of published networks and of a user's file, the page, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from graphs import Call, onnx_model

from graphopt.models.leaderboard import Row, agreement, challenge_constant, score, size_note
from graphopt.models.zoo import NETWORKS
from graphopt.report.leaderboard import quality_plot

PUBLISHED = {name: entry.published for name, entry in NETWORKS.items() if entry.published is not None}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHOPT_CACHE", str(cache))


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that needs even sizes."""
    model = onnx_model(
        "(float[1,3,N,M] x) => (float[1,3,K,L] y) {"
        " d = Conv<strides=[2,2]>(x, down) u = ConvTranspose<strides=[2,2]>(d, up) y = Add(x, u) }",
        {"down": (8, 3, 2, 2), "up": (8, 3, 2, 2)},
    )
    path = tmp_path_factory.mktemp("mine") / "mine.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("name", PUBLISHED)
def test_one_constant_explains_every_published_score(name: str) -> None:
    published = PUBLISHED[name]
    assert score(published.psnr, published.latency_ms) == pytest.approx(published.score, rel=0.01)
    assert challenge_constant() == pytest.approx(2 ** (2 * 37.52) / (39 * 53.99), rel=0.005)


def row(name: str, published: float | None, estimated: float) -> Row:
    ratio = None if published is None else estimated / published
    return Row(name, name, "", "", 1, 1, 0.004, None, 30.0, published, estimated, estimated / 2, estimated * 2,
               "estimated", ratio, None, None)  # fmt: skip


def test_the_agreement_is_of_what_was_published_alone() -> None:
    rows = [row("a", 1, 2), row("b", 10, 5), row("c", 100, 50), row("mine", None, 7)]
    found = agreement(rows)
    assert found is not None
    assert (found.networks, found.spearman) == (3, 1.0)
    assert found.p_value == pytest.approx(1 / 3)  # two of the six orders are perfect, one of them backwards
    assert found.ratios == (0.5, pytest.approx(0.5 ** (1 / 3)), 2.0)
    swapped = agreement([row("a", 1, 5), row("b", 10, 2), row("c", 100, 50)])
    assert swapped is not None
    assert swapped.spearman == pytest.approx(0.5)
    assert agreement(rows[:2]) is None
    assert agreement([row("a", None, 1)] * 4) is None


def test_a_published_network_and_a_file_of_mine(call: Call, mine: Path, tmp_path: Path) -> None:
    arguments = ["leaderboard", "--only", "enerzai", "--add", mine, "--psnr", 36.5, "--size", "49x48"]
    status, out, _ = call(*arguments, "--json", "--html", tmp_path / "new" / "board.html")
    assert status == 0
    content = json.loads(out)
    assert (content["target"], content["size"], content["agreement"]) == ("exynos2100-mali-g78", "49x48", None)
    rows = {row["name"]: row for row in content["networks"]}
    published, added = rows["enerzai"], rows["mine"]
    assert published["parameters"] == 19_987
    assert published["kb"] == pytest.approx(79.948)
    assert (published["published_kb"], published["psnr"], published["published_ms"]) == (81, 36.33, 11)
    assert published["ratio"] is None  # published at another size
    assert published["provenance"] == "estimated"
    assert 0 < published["low_ms"] < published["latency_ms"] < published["high_ms"]
    assert published["note"] == "padded to 50x48, its stride being 2"
    assert added["note"] == "padded to 64x48: it does not compute at 49x48"
    assert added["score"] == pytest.approx(score(36.5, added["latency_ms"]))
    page = (tmp_path / "new" / "board.html").read_text()
    assert "<svg" in page
    assert "http" not in page.replace("http-equiv", "")
    for text in ("enerzai", "mine", "padded to 64x48", "depth and widths are ours", "36.33"):
        assert text in page
    status, out, _ = call(*arguments)
    assert status == 0
    assert "mine: padded to 64x48" in out
    assert "No rank correlation" in out


def test_several_processes_give_the_same_rows(call: Call) -> None:
    arguments = ["leaderboard", "--only", "enerzai", "--only", "mier", "--size", "48x48", "--json"]
    together = call(*arguments, "--jobs", 2)
    assert together[0] == 0, together[2]
    assert together[1] == call(*arguments)[1]
    assert [row["name"] for row in json.loads(together[1])["networks"]] == ["enerzai", "mier"]


def test_what_fits_is_not_padded_and_raw_is_said() -> None:
    assert size_note(NETWORKS["dncnn"], (31, 33), 1) == ""
    assert size_note(NETWORKS["megvii"], (480, 720), 16) == ""
    raw = "RAW: 4 channels of 36x20; padded to 40x24, its stride being 8"
    assert size_note(NETWORKS["feature-align"], (20, 36), 8) == raw


def test_the_plot_shows_what_has_a_quality() -> None:
    assert quality_plot([row("a", 1, 2), row("b", None, 3)]).count("<svg") == 1
    nameless = row("a", 1, 2).__class__(**{**row("a", 1, 2).__dict__, "psnr": None})
    assert quality_plot([nameless]) == ""


MISTAKES: list[tuple[list[Any], str]] = [
    (["--only", "noahtvc"], "unknown network 'noahtvc'; did you mean 'noahtcv'?"),
    (["--size", "720"], "size '720': expected WIDTHxHEIGHT"),
    (["--target", "exynos"], "did you mean 'exynos2100-mali-g78'?"),
    (["--psnr", 30], "1 --psnr for 0 --add; give one for each, or none"),
    (["--add", "gone.onnx", "--psnr", 300], "expected dB between 0 and 100"),
    (["--only", "enerzai", "--size", "48x48", "--add", "gone.onnx"], "ONNX file gone.onnx does not exist"),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES, ids=lambda value: " ".join(map(str, value))[:40])
def test_a_mistake_is_one_line(arguments: list[Any], expected: str, call: Call) -> None:
    status, out, err = call("leaderboard", *arguments)
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("error: ")
    assert expected in err


def test_networks_are_listed_and_written(call: Call, tmp_path: Path) -> None:
    status, out, _ = call("models", "list", "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows.keys() >= NETWORKS.keys()
    assert rows["nafnet-width8-sigma25"]["weights"] == "pretrained, sigma 25"
    assert {rows[name]["weights"] for name in NETWORKS} == {"untrained"}
    status, out, _ = call("models", "export", "enerzai", tmp_path / "net.onnx", "--size", "33x32")
    assert status == 0
    assert "19,987 parameters" in out
    assert "33x32 is no multiple of its stride 2: it pads to 34x32 with zeros" in out
    model = onnx.load(tmp_path / "net.onnx")
    assert [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 32, 33]
    assert call("models", "export", "enerzay", tmp_path / "x.onnx")[2].startswith(
        "error: unknown network 'enerzay'; did"
    )
    assert "ends in .onnx" in call("models", "export", "enerzai", tmp_path / "x.txt")[2]
    assert "does not exist" in call("models", "export", "enerzai", tmp_path / "gone" / "x.onnx")[2]
