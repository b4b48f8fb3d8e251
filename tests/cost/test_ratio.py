from graphopt.cost.ratio import Ratio, independent
from graphopt.cost.record import Cost


def test_bounds_of_independent_prices_are_the_widest():
    before = Cost(10.0, 8.0, 12.0, "estimated", 0, 0, 0)
    after = Cost(5.0, 4.0, 6.0, "estimated", 0, 0, 0)
    found = independent(before, after)
    assert found == Ratio(2.0, 8 / 6, 3.0, "estimated")
    assert str(found) == "2.00x (1.33 to 3.00)"
    assert Ratio.from_dict(found.to_dict()) == found


def test_a_network_without_work_has_no_gain():
    nothing = Cost(0.0, 0.0, 0.0, "measured", 0, 0, 0)
    assert independent(nothing, nothing) == Ratio(1.0, 1.0, 1.0, "measured")
