"""Feature matching: each candidate alone learns its site, and no worse one is kept."""

from __future__ import annotations

import numpy as np
import torch
from nested_space import space

from graphopt.nn.supernet import Supernet
from graphopt.search.matching import match
from graphopt.train.data import PatchSampler
from graphopt.train.processes import start_fabric


class Planes:
    """Batches of the four-channel host of the supernet's tests."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)

    def batch(self, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        made = self.random.standard_normal((count, 4, size, size)).astype(np.float32)
        return made, made


def silent(share: float, words: str) -> None:
    pass


def matched(rate: float, steps: int = 60) -> tuple[Supernet, dict, dict[str, torch.Tensor]]:
    supernet = Supernet(space())
    start = {name: value.detach().clone() for name, value in supernet.base.trained().items()}
    sampler: PatchSampler = Planes()  # type: ignore[assignment]
    return supernet, match(space(), supernet, sampler, (8, 6), steps, rate, start_fabric("cpu", "fp32"), silent), start


def test_every_candidate_comes_nearer_to_its_site_and_the_base_stays() -> None:
    supernet, errors, start = matched(0.1)
    before, after = errors["before"], errors["after"]
    assert {name: set(row) for name, row in after.items()} == {
        "block": {"skip"}, "block/norm": {"affine"}, "block/act": {"limited"}, "halves": {"scaled"},
    }  # fmt: skip
    assert after["block"]["skip"] == before["block"]["skip"]  # no weights
    for choice, candidate in (("block/norm", "affine"), ("block/act", "limited"), ("halves", "scaled")):
        assert after[choice][candidate] < 0.5 * before[choice][candidate], choice
    for name, value in supernet.base.trained().items():
        assert torch.equal(value, start[name])
        assert value.requires_grad
    assert all(parameter.grad is None for parameter in supernet.base.parameters())


def test_the_affine_goes_to_the_least_squares_fit() -> None:
    supernet, _, _ = matched(0.3, steps=200)
    x = torch.from_numpy(np.random.default_rng(5).standard_normal((32, 4, 6, 6)).astype(np.float32))
    with torch.no_grad():
        i = torch.conv2d(x, supernet.base.trained()["k0"], padding=1)
        norm = (i - i.mean(1, keepdim=True)) / (i - i.mean(1, keepdim=True)).square().mean(1, keepdim=True).sqrt()
    rows, wanted = i.transpose(0, 1).flatten(1), norm.transpose(0, 1).flatten(1)
    covariance = ((rows - rows.mean(1, keepdim=True)) * (wanted - wanted.mean(1, keepdim=True))).mean(1)
    scale = covariance / rows.var(1, unbiased=False)
    found = supernet.fragments.trained()["block/norm@affine/scale"].detach().flatten()
    torch.testing.assert_close(found, scale, rtol=0.1, atol=0.05)


def test_what_came_out_worse_takes_its_start_again() -> None:
    first = Supernet(space())
    supernet, errors, _ = matched(1e3, steps=2)
    worse = [(n, o) for n, row in errors["after"].items() for o, v in row.items() if v > errors["before"][n][o]]
    assert not worse
    start = first.fragments.trained()
    restored = {name for name, value in supernet.fragments.trained().items() if torch.equal(value, start[name])}
    assert restored == set(start) - {"block/act@limited/scale"}  # that one did come nearer
    assert errors["after"]["block/norm"] == errors["before"]["block/norm"]
