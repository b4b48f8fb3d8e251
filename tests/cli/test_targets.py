"""`graphopt targets`: the list of devices."""

from __future__ import annotations

import json

from graphs import Call


def test_targets_as_json(call: Call) -> None:
    status, out, _ = call("targets", "list", "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert {"sm8650-adreno750", "exynos2100-mali-g78", "host-cpu"} <= rows.keys()
    assert rows["host-cpu"]["provenance"] == "measured"
    assert rows["sm8650-adreno750"]["provenance"] == "estimated"
    assert rows["sm8650-adreno750"]["dtype"] == "float16"


def test_the_list_for_people_names_the_same(call: Call) -> None:
    names = [row["name"] for row in json.loads(call("targets", "list", "--json")[1])]
    status, out, _ = call("targets", "list")
    assert status == 0
    assert all(name in out for name in names)
