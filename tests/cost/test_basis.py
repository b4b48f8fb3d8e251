"""What a price rests on, by kernel."""

from dataclasses import replace

from graphopt.cost.basis import basis_in_words, basis_ms
from graphopt.cost.record import KernelCost


def test_what_a_price_rests_on_is_said() -> None:
    row = KernelCost("a", "conv", 1, 1.0, 1, 1, 1)
    assert basis_in_words([row]) == []
    assert basis_ms([row]) == {}
    others = [
        replace(row, name="measured/x", basis="measured"),
        replace(row, name="tuned/x", basis="tuned"),
        replace(row, name="parts/x", basis="parts"),
    ]
    assert basis_ms([row, *others]) == {"measured": 1, "tuned": 1, "model": 1, "parts": 1}
    assert basis_in_words([row, *others]) == [
        "1.000 ms measured over RPC, 1.000 ms estimated of tuned schedules, 1.000 ms estimated of TVM's default "
        "schedules, 1.000 ms estimated of their parts, because TVM cannot compile them whole",
        "priced by parts: parts/x",
    ]
