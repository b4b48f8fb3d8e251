"""The pages under docs/: what they tell users to write and to run works, and prints what they show."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import yaml
from graphs import Call, nafnet, run
from mnn import mnn_backend
from PIL import Image

from graphopt.authoring.passcheck import check_pass, random_images
from graphopt.config.pipeline import PassSpec
from graphopt.ir.canonical import to_model
from graphopt.ir.registry import load_pass

ROOT = Path(__file__).parents[1]


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language and file name, content) of every code block."""
    return re.findall(r"^```(\w[^\n]*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def sessions(content: str) -> list[tuple[list[str], str]]:
    """(arguments, shown output) of every `$ graphopt ...` of a console block."""
    found = re.findall(r"^\$ graphopt (.*)\n((?:(?!\$ ).*\n)*)", content, re.MULTILINE)
    return [(shlex.split(command), shown) for command, shown in found]


def test_the_pass_of_the_tutorial(
    call: Call, tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pytestconfig.cache is not None
    monkeypatch.setenv("GRAPHOPT_CACHE", str(pytestconfig.cache.mkdir("graphopt")))  # the export takes longest
    ran = 0
    for title, content in blocks(ROOT / "docs" / "passes.md"):
        language, _, file = title.partition(" ")
        if file:
            assert (tmp_path / file).exists()  # made by `passes new`, then edited
            (tmp_path / file).write_text(content)
        elif language == "console":
            for arguments, shown in sessions(content):
                status, out, err = call(*arguments)
                assert (status, err) == (0, ""), arguments
                rest = words(out)
                for expected in words(shown):  # in this order; `...` stands for lines left out
                    if expected != ["..."]:
                        at = next((i for i, line in enumerate(rest) if line[: len(expected)] == expected), None)
                        assert at is not None, f"{arguments} does not print {expected}"
                        rest = rest[at + 1 :]
                ran += 1
        elif language == "yaml":
            specs = [PassSpec.model_validate(entry) for entry in yaml.safe_load(content)["passes"]]
            assert [load_pass(spec.name, spec.options, tmp_path).name for spec in specs][2] == "low-rank"
    assert ran == 4
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_low_rank.py"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout.count("1 passed")) == (0, 1), done.stdout


HEAD = """
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphopt import Contract, Pass, Stage, const, op, pattern


@pattern
def convolution(x):
    return op.Conv(x, const("weight"), None)


"""


def test_the_pass_with_a_training_form(tmp_path: Path, nafnet_graph: gs.Graph) -> None:
    (shown,) = [content for _, content in blocks(ROOT / "docs" / "passes.md") if "class ScaledConv" in content]
    (tmp_path / "scaled.py").write_text(HEAD + shown)
    found = check_pass(load_pass("scaled.py", {}, tmp_path), nafnet_graph, random_images((1, 3, 16, 16)))
    assert [(row.site, row.problem) for row in found.rows] == [("ups.0.0", ""), ("whole network", "")]


@pytest.mark.parametrize("runtime", ["mnn", "onnxruntime"])
def test_the_program_of_a_runtime(runtime: str, tmp_path: Path) -> None:
    """What a page tells users to run restores an image as the graph does."""
    model, noisy = (
        to_model(nafnet(size=256, width=2)),
        np.random.default_rng(0).integers(0, 255, (260, 270, 3), np.uint8),
    )
    Image.fromarray(noisy).save(tmp_path / "noisy.png")
    if runtime == "mnn":
        pytest.importorskip("MNN", reason="MNN is not installed (graphopt[mnn])")
        mnn_backend(tmp_path).build(model, tmp_path)
    else:
        onnx.save(model, tmp_path / "host-onnxruntime.onnx")
    (program,) = [content for title, content in blocks(ROOT / "docs" / f"{runtime}.md") if title == "python"]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    planes = noisy[:256, :256].transpose(2, 0, 1)[None].astype(np.float32) / 255
    expected = np.rint(run(model, planes)[0].clip(0, 1).transpose(1, 2, 0) * 255)
    restored = np.asarray(Image.open(tmp_path / "restored.png")).astype(np.float32)
    assert np.abs(restored - expected).max() <= 1


def test_the_table_of_commands_is_complete() -> None:
    from typer.main import get_command

    from graphopt.cli import app

    readme = (ROOT / "README.md").read_text()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for full in [f"{name} {inner}" for inner in getattr(command, "commands", {})] or [name]:
            assert re.search(rf"`(graphopt )?{full}\b", readme), full


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
