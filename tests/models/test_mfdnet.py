"""MFDNet's Haar transform."""

from __future__ import annotations

import torch

from graphopt.models.mfdnet import Haar


def test_the_haar_transform_keeps_lengths_and_comes_back() -> None:
    torch.manual_seed(0)
    haar, x = Haar(3), torch.randn(2, 3, 8, 6)
    y = haar(x)
    assert y.shape == (2, 12, 4, 3)
    torch.testing.assert_close(y.norm(), x.norm())
    torch.testing.assert_close(y[:, 4], x[:, 1].unfold(1, 2, 2).unfold(2, 2, 2).sum((-1, -2)) / 2)  # the means
    torch.testing.assert_close(haar.inverse(y), x, rtol=0, atol=1e-5)
