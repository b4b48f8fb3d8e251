"""Mistakes in the options of the search, each in one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from configs import PIPELINE, message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"search": {"method": "entrpy"}}, "key 'search.method': 'entrpy' is not known; did you mean 'entropy'?"),
        ({"search": {"baselines": ["mlip"]}}, "key 'search.baselines': 'mlip' is not known; did you mean 'milp'?"),
        (
            {"search": {"settle": 0.4}},
            "key 'search': 'settle' is an option of the methods entropy-sites, darts, gumbel, proxyless; leave it out",
        ),
        (
            {"search": {"method": "darts", "baselines": ["milp"], "contenders": 8}},
            "key 'search': 'contenders' is an option of the methods entropy, halving; leave it out, or set 'method' to",
        ),
        (
            {"search": {"objective": {"targets": "worst"}}},
            "key 'search': 'objective.targets' is an option of the methods entropy-sites, darts, gumbel, proxyless; leave",
        ),
        (
            {"search": {"method": "darts", "objective": {"memory_weight": 3}}},
            "key 'search.objective': 'memory_weight' is the weight of a goal that is not asked for; give 'memory', too",
        ),
        (
            {"search": {"pareto": [0.5], "warm_up_steps": 3}},
            "key 'search': 'warm_up_steps' is an option of the methods entropy-sites, darts, gumbel, proxyless, evolution",
        ),
        ({"search": {"method": "darts", "sensitivity": 3}}, "'sensitivity' is an option of the methods entropy-sites;"),
        (
            {"search": {"baselines": ["random"], "steps": 20}},
            "key 'search': 'warm_up_steps' (20) leaves nothing of 'steps' (20) for the choice by random",
        ),
        (
            {"search": {"objective": {"target": "mix"}}},
            "unknown key 'search.objective.target'; did you mean 'targets'?",
        ),
        (
            {"search": {"objective": {"targets": "best"}}},
            "key 'search.objective.targets': Input should be 'mix' or 'worst'",
        ),
        ({"search": {"latency": 1.5}}, "key 'search.latency': Input should be less than or equal to 1, found 1.5"),
        ({"search": {"learning_rate": float("nan")}}, "key 'search.learning_rate': "),
        ({"search": {"temperature": [1, 0]}}, "key 'search.temperature.1': Input should be greater than 0"),
        ({"search": {"patches": [0, 64]}}, "key 'search.patches.0': Input should be greater than or equal to 1"),
        ({"search": {"seed": -1}}, "key 'search.seed': Input should be greater than or equal to 0"),
    ],
)
def test_mistakes_in_the_search(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert expected in message(tmp_path, {**PIPELINE, **changes})
