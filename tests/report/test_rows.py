"""Rows of the report."""

import pytest

from graphopt.report.rows import block_of


@pytest.mark.parametrize(
    ("site", "block"),
    [("encoders.0.1/norm1", "encoders.0.1"), ("encoders.0.1", "encoders.0.1"), ("middle_blks.3", "middle_blks.3")],
)
def test_a_whole_block_stands_in_the_row_of_itsblock_of(site: str, block: str) -> None:
    assert block_of(site) == block
