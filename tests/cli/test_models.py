"""`graphopt models`: the list of networks."""

from __future__ import annotations

import json
from pathlib import Path

from graphs import Call


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
