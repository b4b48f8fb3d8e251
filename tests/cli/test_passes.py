"""`graphopt passes`: the list of passes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import onnx_graphsurgeon as gs
import pytest
from graphs import Call

from graphopt import GraphoptError
from graphopt.cli.options import parse_options
from graphopt.ir.canonical import to_model


def test_passes_as_json(call: Call) -> None:
    status, out, err = call("passes", "list", "--json")
    assert (status, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out)}
    built_in = {path.stem.replace("_", "-") for path in (Path(__file__).parents[2] / "passes").glob("[a-z]*.py")}
    assert built_in <= rows.keys()
    assert {"affine-norm", "static-attention", "fold-affine", "bounded-gate"} <= built_in
    assert rows["affine-norm"]["contract"] == "tuned"
    assert rows["affine-norm"]["stage"] == "search"
    assert all(row.keys() == {"name", "stage", "contract", "options", "summary"} for row in rows.values())
    assert all(row["summary"] and isinstance(row["options"], dict) for row in rows.values())


def test_the_list_for_people_names_the_same(call: Call) -> None:
    names = [row["name"] for row in json.loads(call("passes", "list", "--json")[1])]
    status, out, _ = call("passes", "list")
    assert status == 0
    assert all(name in out for name in names)


def test_the_check_of_an_exact_pass_needs_no_torch(tmp_path: Path, nafnet_graph: gs.Graph) -> None:
    onnx.save(to_model(nafnet_graph), tmp_path / "net.onnx")
    code = (
        "import sys; sys.modules['torch'] = None\n"  # an import of it fails
        "from graphopt.cli import app; app(sys.argv[1:], standalone_mode=False)"
    )
    arguments = ["passes", "check", "transposed-upsample", "--model", "net.onnx"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "transposed-upsample: 1 site, every check passes"


def test_options_are_read_as_yaml() -> None:
    given = ["share=0.25", "names=[a, b]", "text=a=b", "on=true", "none="]
    expected = {"share": 0.25, "names": ["a", "b"], "text": "a=b", "on": True, "none": None}
    assert parse_options(given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["share"], "option 'share': expected KEY=VALUE, e.g. --option share=0.25"),
        (["=1"], "option '=1': expected KEY=VALUE"),
        (["a=1", "a=2"], "option 'a' is given twice; keep one of them"),
        (["a=[1"], "option 'a=[1': the value is not valid YAML"),
    ],
)
def test_options_that_are_none(given: list[str], message: str) -> None:
    with pytest.raises(GraphoptError) as error:
        parse_options(given)
    assert str(error.value).startswith(message)
