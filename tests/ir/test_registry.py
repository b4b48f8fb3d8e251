"""Passes by name, by path and as plug-ins; every way to ask for a pass wrongly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from graphopt.passes.static_attention import StaticAttention

from graphopt import Contract, GraphoptError, Stage
from graphopt.ir.registry import load_pass, pass_class, pass_names

BUILT_IN = {
    "affine-norm": (Contract.TUNED, Stage.SEARCH),
    "average-downsample": (Contract.TUNED, Stage.SEARCH),
    "blocked-convolution": (Contract.EXACT, Stage.SEARCH),
    "bounded-gate": (Contract.APPROXIMATE, Stage.PREPARE),
    "channels-last-upsample": (Contract.EXACT, Stage.SEARCH),
    "clipped-norm": (Contract.TUNED, Stage.SEARCH),
    "depthwise-subpixel": (Contract.TUNED, Stage.SEARCH),
    "feature-align": (Contract.TUNED, Stage.SEARCH),
    "fold-affine": (Contract.EXACT, Stage.CLEANUP),
    "fp16-safe-norm": (Contract.EXACT, Stage.SEARCH),
    "fused-layer-norm": (Contract.EXACT, Stage.SEARCH),
    "gsat-conv": (Contract.TUNED, Stage.SEARCH),
    "list-conv": (Contract.TUNED, Stage.SEARCH),
    "list-upsample": (Contract.TUNED, Stage.SEARCH),
    "low-rank-pointwise": (Contract.TUNED, Stage.SEARCH),
    "merge-depthwise": (Contract.EXACT, Stage.SEARCH),
    "narrow-attention": (Contract.TUNED, Stage.SEARCH),
    "narrow-feed-forward": (Contract.TUNED, Stage.SEARCH),
    "narrow-spatial": (Contract.TUNED, Stage.SEARCH),
    "padded-channels": (Contract.EXACT, Stage.SEARCH),
    "partial-depthwise": (Contract.TUNED, Stage.SEARCH),
    "plain-layer-norm": (Contract.EXACT, Stage.SEARCH),
    "plain-pixel-shuffle": (Contract.EXACT, Stage.SEARCH),
    "plain-prelu": (Contract.EXACT, Stage.SEARCH),
    "pointwise-layer-norm": (Contract.EXACT, Stage.SEARCH),
    "pointwise-mean": (Contract.EXACT, Stage.SEARCH),
    "pooled-mean": (Contract.EXACT, Stage.SEARCH),
    "remove-no-ops": (Contract.EXACT, Stage.CLEANUP),
    "reparameterised-conv": (Contract.EXACT, Stage.TRAIN),
    "resize-upsample": (Contract.TUNED, Stage.SEARCH),
    "rms-norm": (Contract.TUNED, Stage.SEARCH),
    "scale-rows": (Contract.EXACT, Stage.SEARCH),
    "skip-block": (Contract.TUNED, Stage.SEARCH),
    "skip-feed-forward": (Contract.TUNED, Stage.SEARCH),
    "skip-spatial": (Contract.TUNED, Stage.SEARCH),
    "slices-to-split": (Contract.EXACT, Stage.PREPARE),
    "space-to-depth-downsample": (Contract.EXACT, Stage.SEARCH),
    "split-convolution": (Contract.EXACT, Stage.SEARCH),
    "split-depthwise": (Contract.TUNED, Stage.SEARCH),
    "static-attention": (Contract.TUNED, Stage.SEARCH),
    "strided-attention": (Contract.TUNED, Stage.SEARCH),
    "strided-norm": (Contract.TUNED, Stage.SEARCH),
    "transposed-upsample": (Contract.EXACT, Stage.SEARCH),
    "two-step-pool": (Contract.EXACT, Stage.SEARCH),
}
HEAVY = ("onnx", "onnx_graphsurgeon", "onnxruntime", "torch", "tvm", "networkx")
MINE = '''
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from graphopt import Contract, Pass


@dataclass(frozen=True)
class Mine(Pass):
    """x -> x."""

    name: ClassVar[str] = "mine"
    contract: ClassVar[Contract] = Contract.TUNED

    count: int = 1
    sizes: tuple[int, ...] = (1, 2)
    limit: float | None = None
    mode: Literal["fast", "slow"] = "fast"
    deep: bool = False

    def sites(self, graph):
        return []

    def rewrite(self, site, build):
        return build.input("x")
'''


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_passes(name: str) -> None:
    rule = load_pass(name, {}, Path())
    assert (rule.name, (rule.contract, rule.stage)) == (name, BUILT_IN[name])
    assert "->" in (rule.__doc__ or "") or name == "fold-affine"  # the docstring says the equation


def test_all_built_in_passes_are_known() -> None:
    assert set(BUILT_IN) <= set(pass_names())


def test_options() -> None:
    assert load_pass("static-attention", {"start": "one"}, Path()) == StaticAttention(start="one")
    assert load_pass("partial-depthwise", {"share": 0.25}, Path()) == pass_class("partial-depthwise")(share=0.25)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("static-atention", {}, "unknown pass 'static-atention'; did you mean 'static-attention'?"),
        ("zzz", {}, "unknown pass 'zzz'; known: affine-norm, average-downsample, "),
        ("static-attention", {"stat": "one"}, "pass static-attention: unknown option 'stat'; did you mean 'start'?"),
        ("skip-block", {"share": 1}, "pass skip-block: unknown option 'share'; known: none"),
        ("affine-norm", {"blend": 1.5}, "pass affine-norm: option 'blend' is 1.5; expected a number from 0 to 1"),
        ("affine-norm", {"blend": "half"}, "pass affine-norm: option 'blend' is 'half'; expected float"),
        ("reparameterised-conv", {"branches": []}, "option 'branches' names none; expected at least one, each once"),
        ("reparameterised-conv", {"branches": ["row", "row"]}, "names row, row; expected at least one, each once"),
        ("reparameterised-conv", {"branches": ["diagonal"]}, "pass reparameterised-conv: option 'branches' is ['diagonal']; expected "),
        ("static-attention", {"start": "two"}, "pass static-attention: option 'start' is 'two'; expected one of mean, one"),
        ("partial-depthwise", {"share": "half"}, "pass partial-depthwise: option 'share' is 'half'; expected float"),
        ("partial-depthwise", {"share": True}, "pass partial-depthwise: option 'share' is True; expected float"),
        ("partial-depthwise", {"share": [0.5]}, "pass partial-depthwise: option 'share' is [0.5]; expected float"),
        ("partial-depthwise", {"share": 1.5}, "option 'share' is 1.5; expected a number between 0 and 1"),
        ("bounded-gate", {"tail": 0.5}, "option 'tail' is 0.5; expected a number from 0 to below 0.5"),
        ("./nothing.py", {}, "nothing.py does not exist"),
    ],
)  # fmt: skip
def test_bad_names_and_options(name: str, options: dict[str, object], expected: str) -> None:
    with pytest.raises(GraphoptError) as caught:
        load_pass(name, options, Path())
    assert expected in str(caught.value)


def test_a_file_relative_to_the_config(tmp_path: Path) -> None:
    options = {"count": 3, "sizes": [4, 5, 6], "limit": 2, "mode": "slow", "deep": True}
    rule = load_pass("./mine.py", options, write(tmp_path, MINE))
    assert (rule.name, rule.sizes, rule.limit) == ("mine", (4, 5, 6), 2.0)
    assert isinstance(hash(rule), int)  # lists became tuples
    assert load_pass("mine.py", {}, tmp_path).limit is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"count": 1.5}, "option 'count' is 1.5; expected int"),
        ({"count": "1"}, "option 'count' is '1'; expected int"),
        ({"count": True}, "option 'count' is True; expected int"),
        ({"sizes": ["a"]}, "option 'sizes' is ['a']; expected tuple[int, ...]"),
        ({"limit": "none"}, "option 'limit' is 'none'; expected float | None"),
        ({"deep": 1}, "option 'deep' is 1; expected bool"),
    ],
)
def test_options_of_wrong_types(options: dict[str, object], expected: str, tmp_path: Path) -> None:
    with pytest.raises(GraphoptError) as caught:
        load_pass("mine.py", options, write(tmp_path, MINE))
    assert expected in str(caught.value)


def test_two_files_of_one_name(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    write(first, MINE)
    write(second, MINE.replace('"mine"', '"other"'))
    kinds = [load_pass("mine.py", {}, folder) for folder in (first, second)]
    assert [kind.name for kind in kinds] == ["mine", "other"]
    assert type(kinds[0]) is not type(kinds[1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1", "expected one class that derives from graphopt.Pass, found 0"),
        ("from graphopt.passes.affine_norm import AffineNorm", "expected one class that derives from graphopt.Pass, found 0"),
        (MINE + MINE.replace("Mine", "Yours"), "expected one class that derives from graphopt.Pass, found 2"),
        ("raise KeyError('oh')", "raised KeyError when it was loaded: 'oh'"),
        ("def (", "raised SyntaxError when it was loaded"),
        (MINE.replace("@dataclass(frozen=True)", ""), "Mine must be a frozen dataclass with a `name`"),
        (MINE.replace("(frozen=True)", ""), "Mine must be a frozen dataclass with a `name`"),
        (MINE.replace('    name: ClassVar[str] = "mine"\n', ""), "Mine must be a frozen dataclass with a `name`"),
        (MINE.replace("= Contract.TUNED", "= 'exact'"), "Mine needs `contract: ClassVar[Contract] = Contract.EXACT`"),
        (MINE.replace("    contract: ClassVar[Contract] = Contract.TUNED\n", ""), "Mine needs `contract: "),
        (MINE.replace("def rewrite", "def rewrites"), "abstract"),
    ],
)  # fmt: skip
def test_files_that_are_no_pass(text: str, expected: str, tmp_path: Path) -> None:
    if expected.endswith("found 2"):
        text = text.replace("from __future__ import annotations\n", "")
    with pytest.raises(GraphoptError) as caught:
        load_pass("mine.py", {}, write(tmp_path, text))
    assert expected in str(caught.value)
    assert "mine.py" in str(caught.value)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution, as pip leaves one, whose entry points name passes that work and passes that do not."""
    write(tmp_path, MINE, "installed_plug_in.py")
    write(tmp_path, "raise KeyError('oh')", "broken_plug_in.py")
    metadata = tmp_path / "my_passes-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-passes\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[graphopt.passes]\nmine = installed_plug_in:Mine\nwhole = installed_plug_in\ngone = not_installed:Mine\n"
        "renamed = installed_plug_in:Yours\nbroken = broken_plug_in:Mine\nfunction = installed_plug_in:dataclass\n"
        "affine-norm = installed_plug_in:Mine\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("installed")
def test_plug_ins() -> None:
    assert pass_names()["mine"] == "installed_plug_in:Mine"
    assert load_pass("mine", {"count": 2}, Path()).count == 2
    assert load_pass("whole", {"count": 3}, Path()).count == 3
    assert load_pass("affine-norm", {}, Path()).name == "affine-norm"  # a built-in name is not taken over


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gone", "the plug-in not_installed:Mine cannot be loaded: No module named 'not_installed'; mend or uninstall"),
        (
            "renamed",
            "the plug-in installed_plug_in:Yours cannot be loaded: module 'installed_plug_in' has no attribute",
        ),
        ("broken", "the plug-in broken_plug_in:Mine cannot be loaded: 'oh'; mend or uninstall its package"),
        (
            "function",
            "the plug-in installed_plug_in:dataclass: expected a class that derives from graphopt.Pass, found",
        ),
    ],
)
@pytest.mark.usefixtures("installed")
def test_plug_ins_that_cannot_be_loaded(name: str, expected: str) -> None:
    with pytest.raises(GraphoptError) as caught:
        load_pass(name, {}, Path())
    assert str(caught.value).startswith(f"pass {name}: {expected}")


def test_a_broken_plug_in_does_not_hide_the_others(installed: Path) -> None:
    code = "from graphopt.ir.registry import describe_passes; import json; print(json.dumps(describe_passes()))"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert {*BUILT_IN, "mine", "broken"} <= rows.keys()
    assert rows["mine"]["options"]["sizes"] == [1, 2]
    assert rows["mine"]["summary"] == "x -> x."
    assert "cannot be loaded: 'oh'" in rows["broken"]["summary"]


def test_listing_passes_imports_nothing_heavy() -> None:
    code = f"""
import sys
import graphopt
from graphopt.ir.registry import pass_class, pass_names
for name in pass_names():
    pass_class(name)
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
