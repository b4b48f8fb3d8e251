"""The leaderboard: the challenge's score, the agreement of two orders, and what is said of sizes."""

from __future__ import annotations

import pytest
from leaderboard_rows import row

from graphopt.models.leaderboard import agreement, challenge_constant, score, size_note
from graphopt.models.zoo import NETWORKS

PUBLISHED = {name: entry.published for name, entry in NETWORKS.items() if entry.published is not None}


@pytest.mark.parametrize("name", PUBLISHED)
def test_one_constant_explains_every_published_score(name: str) -> None:
    published = PUBLISHED[name]
    assert score(published.psnr, published.latency_ms) == pytest.approx(published.score, rel=0.01)
    assert challenge_constant() == pytest.approx(2 ** (2 * 37.52) / (39 * 53.99), rel=0.005)


def test_the_agreement_is_of_what_was_published_alone() -> None:
    rows = [row("a", 1, 2), row("b", 10, 5), row("c", 100, 50), row("mine", None, 7)]
    found = agreement(rows)
    assert found is not None
    assert (found.networks, found.spearman) == (3, 1.0)
    assert found.p_value == pytest.approx(1 / 3)  # two of the six orders are perfect, one of them backwards
    assert found.ratios == (0.5, pytest.approx(0.5 ** (1 / 3)), 2.0)
    swapped = agreement([row("a", 1, 5), row("b", 10, 2), row("c", 100, 50)])
    assert swapped is not None
    assert swapped.spearman == pytest.approx(0.5)
    assert agreement(rows[:2]) is None
    assert agreement([row("a", None, 1)] * 4) is None


def test_what_fits_is_not_padded_and_raw_is_said() -> None:
    assert size_note(NETWORKS["dncnn"], (31, 33), 1) == ""
    assert size_note(NETWORKS["megvii"], (480, 720), 16) == ""
    raw = "RAW: 4 channels of 36x20; padded to 40x24, its stride being 8"
    assert size_note(NETWORKS["feature-align"], (20, 36), 8) == raw
