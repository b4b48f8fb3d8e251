"""`graphopt targets`: the list of devices."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata

import pytest
from graphs import Call


def test_targets_as_json(call: Call) -> None:
    status, out, _ = call("targets", "list", "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert {"sm8650-adreno750", "exynos2100-mali-g78", "host-tvm"} <= rows.keys()
    assert rows["host-tvm"]["provenance"] == "measured"
    assert rows["sm8650-adreno750"]["provenance"] == "estimated"
    assert rows["sm8650-adreno750"]["precision"] == "fp16"


def test_the_list_for_people_names_the_same(call: Call) -> None:
    names = [row["name"] for row in json.loads(call("targets", "list", "--json")[1])]
    status, out, _ = call("targets", "list")
    assert status == 0
    assert all(name in out for name in names)


def test_what_is_missing_is_said_with_what_to_do(call: Call) -> None:
    status, out, err = call("targets", "check", "exynos2100-mali-g78", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["target"] == "exynos2100-mali-g78"
    rows = {row["what"]: row for row in found["checks"]}
    assert (rows["apache-tvm"]["state"], rows["apache-tvm"]["found"]) == ("ok", metadata.version("apache-tvm"))
    assert (rows["tracker"]["state"], rows["tracker"]["found"]) == ("missing", "no --tracker given")
    assert all(bool(row["do"]) == (row["state"] == "missing") for row in rows.values())
    status, out, err = call("targets", "check", "exynos2100-mali-g78")
    assert (status, err) == (0, "")
    table, (*_, last) = out.splitlines()[: len(rows) + 1], [line for line in out.splitlines() if "tracker: " in line]
    assert table[0].split() == ["what", "state", "purpose", "found"]
    assert [line.split()[0] for line in table[1:]] == [what.split()[0] for what in rows]
    assert last == f"tracker: {rows['tracker']['do']}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nokia"], "target 'nokia' is not known; "),
        (["exynos2100-mali-g78", "--tracker", "here"], "--tracker 'here': expected HOST:PORT"),
        (["exynos2100-mali-g78", "--tracker", "127.0.0.1:9"], "--tracker 127.0.0.1:9 needs --key"),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, mistake: Callable[..., str]) -> None:
    assert mistake("targets", "check", *arguments).startswith(f"error: {message}")
