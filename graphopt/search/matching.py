"""Feature matching: every candidate is trained alone, at its site, to give what the original gives there.

min over the weights w_ik of each candidate k of site i:  |y_ik(x_i; w_ik) - y_i|^2 / var(y_i),
with x_i, y_i the original's activations (block-wise distillation: DNA, arXiv 1911.13053; LANA, arXiv 2107.10624).
Nothing that one candidate does reaches another, so one forward pass of the original trains them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from graphopt.ir.space import KEEP, Space
from graphopt.nn.supernet import Supernet
from graphopt.progress import Progress
from graphopt.train.data import PatchSampler
from graphopt.train.processes import mean_gradients, own_rows

Errors = dict[str, dict[str, float]]  # choice -> candidate -> relative squared error of its output
SMALLEST = 0.05  # a weight of a smaller root mean square moves as far as one of this


def match(
    space: Space, supernet: Supernet, sampler: PatchSampler, patches: tuple[int, int], steps: int, rate: float,
    fabric: Fabric, report: Progress,
) -> dict[str, Errors]:  # fmt: skip
    """Trains the weights of all candidates for `steps`, in place; the errors `before` and `after`, on one batch.

    `rate` is relative to the size of each weight. A candidate that came out worse takes its calibrated start again.
    The processes of `fabric` share every batch.
    """
    checked = _image(sampler, patches)
    with _frozen(supernet.base):
        before = _errors(supernet, checked, space)
        parameters = supernet.fragments.trained()
        start = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        groups = [{"params": [p], "lr": rate * _size(p)} for p in parameters.values()]
        optimiser = torch.optim.Adam(groups) if groups else None
        for step in range(steps if optimiser else 0):
            assert optimiser is not None
            optimiser.zero_grad()
            for group, parameter in zip(optimiser.param_groups, parameters.values(), strict=True):
                group["lr"] = rate * _size(parameter) * (1 - step / steps)
            image = own_rows(fabric, _image(sampler, patches))
            _run(supernet, image, space, lambda name, options, error: _learn(error))
            mean_gradients(fabric, parameters.values())
            optimiser.step()
            report((step + 1) / steps, f"matches candidates to their sites, pass {step + 1}/{steps}")
        after = fabric.broadcast(_errors(supernet, checked, space))
        with torch.no_grad():
            for name, choice in space.choices.items():
                for option, candidate in choice.candidates.items():
                    if option in after[name] and not after[name][option] <= before[name][option]:
                        after[name][option] = before[name][option]
                        for constant in candidate.fragment.constants:
                            if constant.name in parameters:
                                parameters[constant.name].copy_(start[constant.name])
    return {"before": before, "after": after}


def _errors(supernet: Supernet, image: Tensor, space: Space) -> Errors:
    found: Errors = {name: {} for name in space.choices}

    def note(name: str, options: tuple[int, ...], error: Tensor) -> None:
        found[name] |= {supernet.options(name)[i]: error.item() for i in options}

    _run(supernet, image, space, note)
    return found


def _run(supernet: Supernet, image: Tensor, space: Space, use: Callable[[str, tuple[int, ...], Tensor], None]) -> None:
    """One pass of the original; `use` is called with the error of every candidate, with gradients."""

    def observe(name: str, options: tuple[int, ...], values: list[Tensor], expected: list[Tensor]) -> None:
        errors = [
            (value - wanted).square().mean() / wanted.var().clamp_min(1e-12)
            for value, wanted in zip(values, expected, strict=True)
        ]
        use(name, options, torch.stack(errors).mean())

    with torch.no_grad():
        supernet(image, selection=dict.fromkeys(space.choices, KEEP), observe=observe)


def _learn(error: Tensor) -> None:
    if error.requires_grad and torch.isfinite(error):
        error.backward()


def _image(sampler: PatchSampler, patches: tuple[int, int]) -> Tensor:
    return torch.from_numpy(sampler.batch(*patches)[0]).to(memory_format=torch.channels_last)


def _size(parameter: Tensor) -> float:
    return max(SMALLEST, float(parameter.detach().square().mean().sqrt()))


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
