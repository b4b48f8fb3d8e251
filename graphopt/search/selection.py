"""From probabilities to a selection that meets the latency goal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphopt.ir.space import Selection, Space
from graphopt.search.hardware import Hardware


def decide(space: Space, probabilities: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """The most probable option of each choice."""
    selection = {}
    for name, choice in space.choices.items():
        shares = dict(zip(choice.options, probabilities[name], strict=True))
        selection[name] = max(shares, key=lambda option: shares[option])
    return selection


def meet_goal(
    space: Space, hardware: Hardware, selection: Selection, scores: Mapping[str, Sequence[float]]
) -> tuple[dict[str, str], list[str]]:
    """Turns further choices, the least score lost for what is saved first, until every goal is met.

    `scores[choice]` in the order of its options: probabilities, or what else is better the higher it is. Returns the
    selection and the choices that were turned. The search aims at the goal with expected costs; rounding
    probabilities to one option can miss it by a few sites.
    """
    turned: list[str] = []
    selection = dict(selection)
    while hardware.missed(selection):
        now = hardware.violation(selection)
        best: tuple[float, str, str] | None = None
        for name in space.in_effect(selection):
            score = dict(zip(space.choices[name].options, map(float, scores[name]), strict=True))
            for option in score:
                if option == selection[name]:
                    continue
                saved = now - hardware.violation({**selection, name: option})
                if saved > 1e-9:
                    regret = max(score[selection[name]] - score[option], 1e-6) / saved
                    best = min(best, (regret, name, option)) if best else (regret, name, option)
        if best is None:
            return selection, turned
        selection[best[1]] = best[2]
        turned.append(best[1])
    return selection, turned
