"""The price cache."""

from pathlib import Path

import pytest

from graphopt.cost.cache import CostCache
from graphopt.errors import GraphoptError


def test_a_cache_that_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "prices.sqlite").write_text("not a database, but long enough to be read as the header of one" * 20)
    with pytest.raises(GraphoptError, match="delete it to start afresh"):
        CostCache(tmp_path)
