"""Prices on disk: what comes back, what is counted, and a folder that is no cache."""

from pathlib import Path

import pytest

from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError


def test_what_is_put_comes_back_in_another_process_too(tmp_path: Path) -> None:
    cache = CostCache(tmp_path / "prices")
    assert cache.get("a") is None
    cache.put("a", {"ms": 1.5, "rows": [1, None]})
    cache.put("b", 0)
    cache.put("a", {"ms": 2.5})
    again = CostCache(tmp_path / "prices")
    assert (again.get("a"), again.get("b"), again.get("c")) == ({"ms": 2.5}, 0, None)
    assert (cache.hits, cache.misses) == (0, 1)
    assert (again.hits, again.misses) == (2, 1)


@pytest.mark.parametrize("what", ["a file in place of the folder", "no database"])
def test_a_cache_that_cannot_be_used_is_one_message(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "prices"
    if what == "no database":
        folder.mkdir()
        (folder / "prices.sqlite").write_text("this is no database " * 100)
    else:
        folder.write_text("")
    with pytest.raises(
        GraphoptError, match=r"price cache .*prices\.sqlite cannot be used .*; delete it to start afresh"
    ):
        CostCache(folder)
