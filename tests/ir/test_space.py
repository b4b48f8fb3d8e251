"""Nested choices: which of them a selection leaves in effect."""

from __future__ import annotations

from nested_space import space


def test_what_lies_in_a_replaced_site_is_not_in_effect() -> None:
    found = space()
    assert found.inside("block") == ["block/norm", "block/act"]
    assert found.inside("halves") == []
    assert found.in_effect({"block/act": "limited"}) == {
        "block": "keep", "block/norm": "keep", "block/act": "limited", "halves": "keep",
    }  # fmt: skip
    assert found.in_effect({"block": "skip", "block/act": "limited"}) == {"block": "skip", "halves": "keep"}
