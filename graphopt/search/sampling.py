"""How a supernet runs while its choices are open: soft, Gumbel, a sampled path, or straight through.

| way | weights see | choices see |
|---|---|---|
| soft | sum_k p_k y_k | the same (DARTS, arXiv 1806.09055) |
| gumbel | sum_k g_k y_k with g = softmax((alpha + Gumbel noise) / tau) | the same (FBNet, arXiv 1812.03443) |
| path | one option of each choice, drawn from p: only it runs | two drawn options run, one counts (ProxylessNAS) |
| straight-through | the most probable option counts | the same, with the gradient of the soft sum |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graphopt.nn.supernet import Supernet


def routing(way: str, supernet: Supernet, tau: float, random: torch.Generator, for_choices: bool) -> dict[str, Any]:
    """The arguments of `Supernet.forward` for one step. Gradients reach the alphas where `for_choices`."""
    with torch.set_grad_enabled(for_choices):
        p = supernet.probabilities(tau)
        if way == "gumbel":
            return {"probabilities": {name: _gumbel(supernet, name, tau, random) for name in p}}
        if way == "straight-through":
            return {"probabilities": {name: _hard(values, int(values.argmax())) for name, values in p.items()}}
        if way == "path" and for_choices:
            return _two_paths(p, random)
        if way == "path":
            return {"selection": sampled_path(supernet, p, random)}
        return {"probabilities": p}


def sampled_path(supernet: Supernet, p: Mapping[str, Tensor], random: torch.Generator) -> dict[str, str]:
    """One option of each choice, drawn from p."""
    drawn = {name: int(torch.multinomial(values.detach(), 1, generator=random)) for name, values in p.items()}
    return {name: supernet.options(name)[i] for name, i in drawn.items()}


def _gumbel(supernet: Supernet, name: str, tau: float, random: torch.Generator) -> Tensor:
    alpha = supernet.logits(name)
    noise = -torch.empty_like(alpha).exponential_(generator=random).log()
    return torch.softmax((alpha + noise) / tau, 0)


def _hard(p: Tensor, chosen: int) -> Tensor:
    """One-hot in value, p in gradient."""
    hot = torch.zeros_like(p)
    hot[chosen] = 1.0
    return hot + p - p.detach()


def _two_paths(p: Mapping[str, Tensor], random: torch.Generator) -> dict[str, Any]:
    """Of each choice two drawn options run, renormalised between them; the first one drawn counts.

    As the binary gates of ProxylessNAS (arXiv 1812.00332): the rest of the options keep their probability.
    """
    probabilities, sampled = {}, {}
    for name, values in p.items():
        possible = int((values > 0).sum())
        drawn = torch.multinomial(values.detach(), min(2, possible), generator=random).tolist()
        among = values[drawn] / values[drawn].sum()
        hot = _hard(among, 0)
        probabilities[name] = torch.zeros_like(values).index_put((torch.tensor(drawn),), hot)
        sampled[name] = drawn
    return {"probabilities": probabilities, "sampled": sampled}
