"""What `graphopt passes new` writes: a pass that works, and its test. Both are meant to be changed."""

from __future__ import annotations

import keyword
from pathlib import Path
from string import Template

from graphopt.atomic import replacing
from graphopt.errors import GraphoptError

PASS = Template('''\
"""$name: channel attention -> a constant scale."""

from dataclasses import dataclass
from typing import ClassVar

from graphopt import Contract, Pass, capture, const, op, pattern


@pattern
def attention(x):
    pooled = op.ReduceMean(x, axes=(2, 3), keepdims=1)
    return op.Mul(x, capture("scale", op.Conv(pooled, const("weight"), const("bias"))))


@dataclass(frozen=True)
class $kind(Pass):
    """x * conv(mean(x))  ->  x * s, with s the mean scale over the calibration images."""

    name: ClassVar[str] = "$name"
    contract: ClassVar[Contract] = Contract.TUNED

    gain: float = 1.0  # an option: `./$file: {gain: 0.5}` in a pipeline

    def sites(self, graph):
        return graph.find(attention, label="attention")

    def rewrite(self, site, build):
        scale = self.gain * build.statistics.mean("scale")
        return build.mul(build.input("x"), build.parameter("scale", scale.reshape(1, -1, 1, 1)))
''')

TEST = Template('''\
"""$name on a small network: what it finds, what it promises, what it leaves."""

from pathlib import Path

from onnx import parser

from graphopt import canonical_graph, check_pass, load_pass, random_images

NETWORK = """
<ir_version: 10, opset_import: ["": 20]>
network (float[1, 2, 16, 16] image) => (float[1, 2, 16, 16] result)
<int64[2] axes = {2, 3}, float[2, 2, 1, 1] weight = {0.5, -0.25, 0.75, 1.0}, float[2] bias = {1.0, -0.5}>
{
    features = Tanh(image)
    pooled = ReduceMean<keepdims = 1>(features, axes)
    scale = Conv(pooled, weight, bias)
    result = Mul(features, scale)
}
"""


def checked(text):
    rule = load_pass("$file", {}, Path(__file__).parent)
    return check_pass(rule, canonical_graph(parser.parse_model(text)), random_images((1, 2, 16, 16)))


def test_the_site_is_found_and_the_contract_kept():
    found = checked(NETWORK)
    assert [row.site for row in found.rows] == ["attention", "whole network"]
    assert found.problems == []


def test_what_the_rewrite_leaves():
    assert [node.op for node in checked(NETWORK).rewritten.nodes] == ["Tanh", "Mul"]
''')


def write_skeleton(path: Path) -> list[Path]:
    """Writes a pass to `path` and its test beside it; returns both. Never overwrites a file."""
    stem = path.stem
    if path.suffix != ".py" or not stem.isidentifier() or keyword.iskeyword(stem) or not stem.strip("_"):
        raise GraphoptError(f"cannot make a pass of {path}: expected a name of letters, digits and _, e.g. my_pass.py")
    test = path.with_name(f"test_{path.name}")
    for file in (path, test):
        if file.exists():
            raise GraphoptError(f"{file} exists already; choose another name, or move it away")
    if not path.parent.is_dir():
        raise GraphoptError(f"the folder {path.parent} does not exist; make it first")
    words = [word for word in stem.lower().split("_") if word]
    names = {"name": "-".join(words), "kind": "".join(word.capitalize() for word in words), "file": path.name}
    for file, template in ((path, PASS), (test, TEST)):
        with replacing(file) as temporary:
            temporary.write_text(template.substitute(names))
    return [path, test]
