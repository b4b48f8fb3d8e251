import pytest

from graphopt.errors import GraphoptError
from graphopt.tuning.budget import Budget, parse_budget, split


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("500 trials", Budget(500, "trials")),
        ("1 trial", Budget(1, "trials")),
        (" 10minutes ", Budget(10, "minutes")),
        ("0.5 minutes", Budget(0.5, "minutes")),
    ],
)
def test_budgets(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["500", "ten minutes", "-3 trials", "0 trials", "2.5 trials", "10 hours", ""])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(GraphoptError, match="expected a number of trials or of minutes, '500 trials' or '10 minutes'"):
        parse_budget(text)


def test_a_split_follows_the_weights_in_whole_batches() -> None:
    shares = split(800, 8, {"a": 6.0, "b": 3.0, "c": 1.0})
    assert shares == {"a": 480, "b": 240, "c": 80}
    assert split(64, 8, {"a": 1.0, "b": 1.0, "c": 0.0}) == {"a": 32, "b": 32, "c": 0}


@pytest.mark.parametrize("total", [3, 8, 20, 100, 1000])
def test_a_split_spends_everything_and_never_less_on_the_heavier(total: int) -> None:
    weights = {"a": 5.0, "b": 4.0, "c": 0.1, "d": 0.05}
    shares = split(total, 8, weights)
    assert sum(shares.values()) == total
    assert shares["a"] >= shares["b"] >= shares["c"] >= shares["d"] >= 0


def test_a_small_budget_goes_to_the_heaviest() -> None:
    assert split(3, 8, {"light": 1.0, "heavy": 2.0}) == {"light": 0, "heavy": 3}
    assert split(8, 8, {"light": 1.0, "heavy": 2.0}) == {"light": 0, "heavy": 8}
    assert split(8, 8, {}) == {}
