"""Two drawn options run, one counts."""

from __future__ import annotations

import pytest
import torch
from search_toys import Drop, DropPair, toy_space

from graphopt.nn.supernet import Supernet
from graphopt.search.rivals.proxyless import two_paths


def test_two_sampled_options_run_and_have_gradients() -> None:
    space = toy_space(Drop(), DropPair())
    supernet = Supernet(space)
    random = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 16, 16)
    routed = two_paths(supernet.probabilities(), random)
    assert all(len(drawn) == 2 for drawn in routed["sampled"].values())
    result = supernet(image, **routed)
    chosen = {name: supernet.options(name)[drawn[0]] for name, drawn in routed["sampled"].items()}
    torch.testing.assert_close(result, supernet(image, selection=chosen))
    result.square().sum().backward()
    slopes = [supernet.logits(name).grad for name in space.choices]
    assert max(float(slope.abs().max()) for slope in slopes) > 0.1
    assert all(float(slope.sum()) == pytest.approx(0.0, abs=1e-2) for slope in slopes)  # one gains, the other loses
