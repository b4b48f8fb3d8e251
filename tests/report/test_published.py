"""A run beside a paper's ratios: where each comes from, and whether these sites could reach it at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sample_report import empty

from graphopt.config.pipeline import PipelineConfig
from graphopt.config.reading import read_config
from graphopt.report.metrics import metrics
from graphopt.report.page import write_page
from graphopt.report.published import Comparison, Option, Place, compare

EXAMPLES = Path(__file__).parents[2] / "examples"
BEFORE = {"latency": 10.0, "memory": 300.0, "parameters": 1000.0, "psnr": 31.0}
AFTER = {"latency": 4.0, "memory": 240.0, "parameters": 950.0, "psnr": 30.9}
PUBLISHED = {"latency": 0.5, "memory": 2 / 3, "parameters": 0.88, "psnr": 0.993}


def place(site: str, chosen: str, parent: str | None = None, **options: tuple[float, float]) -> Place:
    return Place(site, parent, chosen, {"keep": Option(0, 0), **{name: Option(*o) for name, o in options.items()}})


PLACES = [
    place("a.0/norm1", "affine", affine=(-2.0, 0.0), rms=(-1.0, -10.0)),
    place("a.1/norm1", "rms", affine=(-2.0, 0.0), rms=(-1.0, -10.0)),
    place("a.0/block", "skip", skip=(-3.0, -40.0)),
    place("a.0/attention", "static", "a.0/block", static=(-5.0, -20.0)),  # gone with the block around it
    place("b.0/attention", "keep", static=(0.5, -15.0)),
]


@pytest.fixture
def found() -> Comparison:
    return compare("a paper", PUBLISHED, BEFORE, AFTER, PLACES)


def test_each_ratio_its_parts_and_its_limit(found: Comparison) -> None:
    latency, memory, parameters, psnr = found.ratios
    assert latency.found == 0.4
    assert latency.parts == pytest.approx({"norm1": -0.3, "block": -0.3})
    assert latency.least == pytest.approx(1 - (2 + 2 + 5 + 0) / 10)  # inside the block, static saves more than skip
    assert parameters.parts == pytest.approx({"norm1": -0.01, "block": -0.04})
    assert parameters.least == pytest.approx(1 - (10 + 10 + 40 + 15) / 1000)
    assert (memory.found, memory.least, memory.parts) == (0.8, None, {})
    assert psnr.found == pytest.approx(30.9 / 31)


def test_what_was_reached_is_never_below_the_limit() -> None:
    """Affines fold across sites when the whole network is cleaned up: no single site's candidate shows that."""
    folded = compare("a paper", PUBLISHED, BEFORE, {**AFTER, "parameters": 900.0}, PLACES)
    assert folded.ratios[2].least == folded.ratios[2].found == 0.9


def test_verdicts(found: Comparison) -> None:
    latency, memory, parameters, psnr = (ratio.verdict for ratio in found.ratios)
    assert (latency, memory, psnr) == ("reached", "not reached", "reached")
    assert parameters == "not reached, nor can it be at these sites alone: their smallest candidates leave 0.925"
    worse = compare("a paper", PUBLISHED, BEFORE, {**AFTER, "psnr": 30.0}, PLACES)
    assert worse.ratios[3].verdict == "not reached"
    assert compare("a paper", {"latency": 0.5}, BEFORE, AFTER, PLACES).ratios[1].verdict == ""


def test_page_and_metrics_show_it(found: Comparison, tmp_path: Path) -> None:
    data = replace(empty(), comparison=found)
    write_page(data, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Beside what was published" in page
    assert "nor can it be at these sites alone" in page
    assert metrics(data)["published"]["ratios"]["parameters"]["least"] == pytest.approx(0.925)
    assert "published" not in metrics(empty())
    write_page(empty(), tmp_path / "page.html")
    assert "Beside what was published" not in (tmp_path / "page.html").read_text()


def test_ern_nets_search_is_read_with_its_published_ratios() -> None:
    config = read_config(EXAMPLES / "ern_net.yaml", PipelineConfig)
    assert config.published is not None
    assert config.published.model_dump(exclude={"source"}) == pytest.approx(
        {"latency": 1 / 2, "memory": 1 / 1.5, "parameters": 1 - 0.12, "psnr": 1 - 0.007}, abs=1e-3
    )
    assert config.exclude == ["middle_blks*"]
