"""graphopt leaderboard: prices of published networks and of a file, the page, and mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from graphs import Call, onnx_model

from graphopt.models.leaderboard import score


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
