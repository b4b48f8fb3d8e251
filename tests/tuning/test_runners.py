"""Which runner is asked for: what goes together, and what does not."""

import pytest

from graphopt.errors import GraphoptError
from graphopt.tuning.runners import choose_runner
from graphopt.tuning.tracker import parse_tracker
from graphopt.tuning.work import RunnerSpec


def test_what_goes_together() -> None:
    assert choose_runner("static", limit_s=7) == RunnerSpec("static")
    assert choose_runner("local") == RunnerSpec("local")
    asked = choose_runner("rpc", "10.0.0.7:9190", "my.phone-2", 45)
    assert asked == RunnerSpec("rpc", ("10.0.0.7", 9190), "my.phone-2", 45)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("statik",), "runner 'statik' is not known; did you mean 'static'?"),
        (("local", "here:9190"), "--tracker and --key belong to --runner rpc, not to local"),
        (("static", None, "phone"), "--tracker and --key belong to --runner rpc, not to static"),
        (("rpc", "here:9190"), "--runner rpc needs --tracker HOST:PORT and --key KEY"),
        (("rpc", None, "phone"), "--runner rpc needs --tracker HOST:PORT and --key KEY"),
        (("rpc", "here:9190", "my phone"), "--key 'my phone': expected letters, digits, '.', '_' and '-'"),
    ],
)
def test_what_does_not(asked: tuple[str, ...], message: str) -> None:
    with pytest.raises(GraphoptError) as error:
        choose_runner(*asked)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("text", ["here", ":9190", "here:", "here:0", "here:65536", "here:-1", "here:9190x"])
def test_no_address_of_a_tracker(text: str) -> None:
    with pytest.raises(GraphoptError, match=f"--tracker '{text}': expected HOST:PORT"):
        parse_tracker(text)


def test_an_address_may_hold_colons() -> None:
    assert parse_tracker("fe80::1:65535") == ("fe80::1", 65535)
