"""Networks specialised by noise: the selector, its bounds, and the network of each image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphopt.errors import GraphoptError
from graphopt.models.specialised import NoiseSelector, Specialised, range_of
from graphopt.models.zoo import NETWORKS, build


class Times(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, image: Tensor) -> Tensor:
        return self.factor * image


def test_a_selector_learns_the_noise_and_each_image_takes_its_own_network() -> None:
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(1)
    selector = NoiseSelector(2)
    specialised = Specialised([Times(2.0), Times(3.0)], [20], selector)

    def batch(count: int) -> tuple[Tensor, Tensor]:
        sigma = torch.rand(count, generator=random) * 40
        plain = torch.rand(count, 3, 1, 1, generator=random).expand(-1, -1, 32, 32)
        return plain + torch.randn(plain.shape, generator=random) * sigma[:, None, None, None] / 255, sigma

    optimiser = torch.optim.Adam(selector.parameters(), 1e-2)
    for _ in range(150):
        images, sigma = batch(32)
        loss = nn.functional.cross_entropy(selector(images), range_of(sigma, specialised.bounds))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    images, sigma = batch(64)
    with torch.no_grad():
        chosen = selector(images).argmax(dim=1)
        restored = specialised(images)
    assert (chosen == range_of(sigma, specialised.bounds)).float().mean() > 0.8
    factors = torch.where(chosen == 0, 2.0, 3.0)[:, None, None, None]
    torch.testing.assert_close(restored, images * factors, rtol=0, atol=0)


def test_the_selector_is_tiny() -> None:
    parameters = sum(parameter.numel() for parameter in NoiseSelector(4).parameters())
    with torch.device("meta"):
        smallest = min(sum(p.numel() for p in build(name).parameters()) for name in NETWORKS)
    assert parameters < smallest / 3


@pytest.mark.parametrize("bounds", [[], [10, 20], [float("inf"), 1, 2]])
def test_bounds_that_do_not_fit(bounds: list[float]) -> None:
    with pytest.raises(GraphoptError, match="2 specialised networks need 1 ascending bounds"):
        Specialised([Times(1), Times(2)], bounds, NoiseSelector(2))


def test_a_sigma_on_the_bound_belongs_below() -> None:
    specialised = Specialised([Times(1), Times(2), Times(3)], [10, 30], NoiseSelector(3))
    assert range_of(torch.tensor([0.0, 10.0, 10.1, 30.0, 75.0]), specialised.bounds).tolist() == [0, 0, 1, 1, 2]


def test_the_selector_takes_images_smaller_than_its_strides() -> None:
    assert NoiseSelector(2)(torch.rand(2, 3, 5, 9)).shape == (2, 2)
