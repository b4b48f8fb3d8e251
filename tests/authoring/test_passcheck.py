"""`graphopt passes check` and `passes new`: what a broken pass is told, and a skeleton that works as it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from graphs import Call, kinds, network

from graphopt import Contract, GraphoptError, Pass, Stage, op, pattern
from graphopt.authoring.passcheck import PassCheck, check_pass, random_images
from graphopt.ir.canonical import to_model
from graphopt.ir.registry import load_pass

IMAGE = "float[1, 3, 16, 16]"
IMAGES = random_images((1, 3, 16, 16))


@pattern
def root_of_exp(x):
    return op.Sqrt(op.Exp(x))


@dataclass(frozen=True)
class Halve(Pass):
    """sqrt(exp(x)) = exp(x * factor), with factor = 1/2; or whatever else a test asks for."""

    name: ClassVar[str] = "halve"
    contract: ClassVar[Contract] = Contract.EXACT

    factor: float = 0.5
    then: str = "Exp"
    width: int = 3

    def sites(self, graph):
        return graph.find(root_of_exp, label="root")

    def rewrite(self, site, build):
        halved = build.op(
            self.then,
            [build.mul(build.input("x"), build.parameter("half", np.full((1, self.width, 1, 1), self.factor)))],
        )
        return halved


class Approximate(Halve):
    contract: ClassVar[Contract] = Contract.APPROXIMATE
    tolerance: ClassVar[float] = 0.01


class Tuned(Halve):
    contract: ClassVar[Contract] = Contract.TUNED


class CleanUp(Halve):
    stage: ClassVar[Stage] = Stage.CLEANUP


class ReadsImages(CleanUp):
    def rewrite(self, site, build):
        return build.mul(build.input("x"), build.parameter("mean", build.statistics.mean("x").reshape(1, -1, 1, 1)))


class Sites(Tuned):
    """Changes the sites that were found."""

    def __init__(self, change):
        super().__init__()
        object.__setattr__(self, "change", change)

    def sites(self, graph):
        return self.change(list(super().sites(graph)))  # type: ignore[attr-defined]


@pytest.fixture
def graph() -> gs.Graph:
    """Two sites, one after the other."""
    text = f"""({IMAGE} x) => ({IMAGE} y) {{
        ["a.0/exp"] a = Exp(x) ["a.0/sqrt"] b = Sqrt(a) ["c/tanh"] c = Tanh(b)
        ["d.0/exp"] d = Exp(c) ["d.0/sqrt"] e = Sqrt(d) ["f/sigmoid"] y = Sigmoid(e) }}"""
    return network(text)


def check(rule: Pass, graph: gs.Graph) -> PassCheck:
    return check_pass(rule, graph, IMAGES)


def test_a_pass_that_keeps_its_promise(graph: gs.Graph) -> None:
    found = check(Halve(), graph)
    assert [row.site for row in found.rows] == ["a.0", "d.0", "whole network"]
    assert found.problems == []
    assert all(row.difference < 1e-6 for row in found.rows)
    assert kinds(found.rewritten) == ["Mul", "Exp", "Tanh", "Mul", "Exp", "Sigmoid"]
    assert kinds(graph) == ["Exp", "Sqrt", "Tanh", "Exp", "Sqrt", "Sigmoid"]  # the original is untouched


@pytest.mark.parametrize(
    "name", ["affine-norm", "bounded-gate", "resize-upsample", "skip-feed-forward", "transposed-upsample"]
)
def test_built_in_passes_pass(name: str, nafnet_graph: gs.Graph) -> None:
    found = check(load_pass(name, {}, Path()), nafnet_graph)
    assert found.problems == []
    assert len(found.rows) == {"affine-norm": 7, "bounded-gate": 7, "skip-feed-forward": 4}.get(name, 2)


def test_clean_ups_run_until_nothing_changes(nafnet_graph: gs.Graph) -> None:
    found = check(load_pass("fold-affine", {}, Path()), nafnet_graph)
    assert found.problems == []
    assert found.rows[-1].difference < 1e-5
    before, after = (kinds(g).count("Mul") for g in (nafnet_graph, found.rewritten))
    assert after < before - 6  # a scale that became foldable by a fold is folded too


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (Halve(factor=0.6), r"pass halve at site a.0: the contract is 'exact', but the rewrite differs by \d\.\d+e[-+]\d+"),
        (Halve(width=5), r"pass halve at site a.0: the rewrite cannot be run: |onnxruntime"),
        (Halve(then="ReduceMean"), r"pass halve at site a.0: \w+ must stay float32\(1, 3, 16, 16\), the rewrite gives float32\(1, 1, 1, 1\)"),
        (Tuned(factor=float("nan")), "pass halve at site a.0: the rewrite gives values that are not finite"),
        (Approximate(factor=-2.0), "pass halve at site a.0: the contract is 'approximate' within 0.01, but the network's output"),
        (ReadsImages(), "pass halve at site a.0: .*statistics need calibration images"),
    ],
)  # fmt: skip
def test_a_broken_promise_is_a_row_with_a_problem(rule: Pass, problem: str, graph: gs.Graph) -> None:
    found = check(rule, graph)
    assert re.search(problem, found.problems[0])
    assert "\n" not in found.problems[0]
    assert len(found.problems) == 2  # both sites
    assert found.rewritten is None


def test_what_holds_at_each_site_can_fail_in_the_whole_network() -> None:
    text = f"({IMAGE} x) => ({IMAGE} y) {{ a = Exp(x) b = Sqrt(a) c = Exp(b) d = Exp(c) e = Exp(d) y = Sqrt(e) }}"
    found = check(Tuned(factor=3.0), network(text))
    assert [row.problem for row in found.rows[:-1]] == ["", ""]
    assert found.problems == ["pass halve: the network's output has values that are not finite; mend rewrite()"]


def test_an_op_that_cannot_be_trained_is_named(graph: gs.Graph) -> None:
    found = check(Tuned(then="Celu"), graph)
    assert [bool(row.problem) for row in found.rows] == [False, False, True]
    assert "Celu" in found.problems[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: [replace(s[0], nodes=("gone",))], "the network has no node 'gone'"),
        (lambda s: [replace(s[0], nodes=())], "it has no nodes"),
        (lambda s: [replace(s[0], inputs={"x": "gone"})], "the network has no tensor 'gone'"),
        (lambda s: [replace(s[0], nodes=("a.0/exp", "c/tanh"))], "a path leaves it through a.0/sqrt and comes back at c/tanh"),
        (lambda s: [replace(s[0], nodes=("a.0/exp",))], "a are used outside, but its outputs are b"),
        (lambda s: [s[0], s[0]], "it has the same nodes as the site a.0.2; leave one"),
        (
            lambda s: [s[0], replace(s[0], name="late", nodes=("a.0/sqrt", "c/tanh"), inputs={"x": "a"}, outputs={"output": "c"})],
            "it crosses the site late; leave one of them out in sites()",
        ),
    ],
)  # fmt: skip
def test_sites_that_are_none(change: Any, problem: str, graph: gs.Graph) -> None:
    found = check(Sites(change), graph)
    assert found.problems[0].startswith("pass halve at site a.0: ")
    assert problem in found.problems[0]


def test_no_site_is_an_error() -> None:
    with pytest.raises(GraphoptError, match="pass halve: it has no site in this network; `graphopt explain` shows"):
        check(Halve(), network(f"({IMAGE} x) => ({IMAGE} y) {{ y = Exp(x) }}"))


def test_random_images_are_the_same_each_time() -> None:
    assert [image.shape for image in random_images((1, 3, 20, 17))] == [(1, 3, 20, 17)] * 4
    assert all(np.array_equal(*pair) for pair in zip(random_images((1, 3, 16, 16)), IMAGES, strict=True))
    with pytest.raises(GraphoptError, match=r"expected an input \(1, C, H, W\), found \(1, 3\)"):
        random_images((1, 3))


def test_new_and_check_from_the_command_line(call: Call, nafnet_graph: gs.Graph, tmp_path: Path) -> None:
    assert call("passes", "new", "my_pass.py") == (
        0,
        "my_pass.py\ntest_my_pass.py\nnext: graphopt passes check my_pass.py\n",
        "",
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."], capture_output=True, text=True, check=False, cwd=tmp_path
    )  # fmt: skip
    assert (done.returncode, done.stdout.count("2 passed")) == (0, 1), done.stdout
    onnx.save(to_model(nafnet_graph), tmp_path / "net.onnx")
    status, out, err = call("passes", "check", "my_pass.py", "--model", "net.onnx")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["site", "contract", "difference", "verdict"]
    assert lines[1].split()[:2] == ["encoders.0.0/attention", "tuned"]
    assert lines[-2].startswith("whole network")
    assert lines[-1] == "my-pass: 3 sites, every check passes"
    (tmp_path / "my_pass.py").write_text(
        (tmp_path / "my_pass.py").read_text().replace("Contract.TUNED", "Contract.EXACT")
    )
    status, out, err = call("passes", "check", "my_pass.py", "--model", "net.onnx", "--option", "gain=0.5", "--json")
    assert status == 1
    assert err.startswith(
        "error: pass my-pass at site encoders.0.0/attention: the contract is 'exact', but the rewrite"
    )
    assert err.endswith(" (3 of 3 checks fail)\n")
    assert err.count("\n") == 1
    rows = json.loads(out)["checks"]
    assert [row["verdict"] for row in rows] == ["fails"] * 3
    assert rows[0]["difference"] is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my_pass.py", "my_pass.py exists already; choose another name"),
        ("tested.py", "test_tested.py exists already; choose another name"),
        ("my-pass.py", "cannot make a pass of my-pass.py: expected a name of letters, digits and _"),
        ("my_pass", "cannot make a pass of my_pass: expected a name of letters"),
        ("class.py", "cannot make a pass of class.py: expected"),
        ("_.py", "cannot make a pass of _.py: expected"),
        ("gone/a.py", "the folder gone does not exist; make it first"),
    ],
)
def test_what_new_refuses(name: str, expected: str, call: Call, tmp_path: Path) -> None:
    for file in ("my_pass.py", "test_tested.py"):
        (tmp_path / file).write_text("kept")
    status, out, err = call("passes", "new", name)
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {expected}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my_pass.py", "test_tested.py"]
    assert (tmp_path / "my_pass.py").read_text() == "kept"
