"""graphopt models: what it lists, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
from graphs import Call

from graphopt.models.zoo import NETWORKS


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


def test_models_as_json(call: Call) -> None:
    status, out, _ = call("models", "list", "--json")
    assert status == 0
    (row,) = [row for row in json.loads(out) if row["name"] == "nafnet-width8-sigma25"]
    assert row["sigma"] == [25, 25]
    assert Path(row["path"]).is_file()


def test_the_list_for_people_names_the_same(call: Call) -> None:
    names = [row["name"] for row in json.loads(call("models", "list", "--json")[1])]
    status, out, _ = call("models", "list")
    assert status == 0
    assert all(name in out for name in names)
