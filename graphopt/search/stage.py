"""The search stage: sensitivities, the search for the goal, and a front of further goals and methods."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from graphopt.atomic import write_json
from graphopt.cost.live import LiveBytes, live_bytes
from graphopt.cost.record import Cost
from graphopt.errors import GraphoptError
from graphopt.ir.space_files import save_space
from graphopt.progress import Progress
from graphopt.search import files
from graphopt.search.hardware import Goals, Hardware
from graphopt.search.method import SearchResult, method_of, normalised_entropy
from graphopt.search.problem import Given, Problem
from graphopt.search.programme import reachable
from graphopt.search.sensitivity import Sensitivity, measure
from graphopt.search.wholes import Aim, Whole
from graphopt.train.processes import by_first

SENSITIVITY_PATCHES = (8, 64)


@dataclass(frozen=True)
class SearchStage:
    """Searches what is `given`, and writes the files of `graphopt.search.files` into `place`."""

    given: Given
    place: Path

    def run(self, say: Progress) -> None:
        """The first search is that of the goal and method of the configuration; its weights go into the space."""
        given, config = self.given, self.given.config
        shares = [config.latency, *sorted(set(config.pareto) - {config.latency})]
        wanted = [(config.method, share) for share in shares]
        wanted += [(name, share) for name in config.baselines for share in sorted(shares)]
        wanted = list(dict.fromkeys(wanted))
        live = live_bytes(given.space) if config.objective.memory is not None else None
        hardware = {share: self._hardware(live, share) for share in shares}
        as_wholes = {name: Cost.from_dict(given.original[name]) for name in given.whole_targets if config.wholes}
        if not as_wholes:  # else sums say little of what can be reached
            for share, each in hardware.items():
                _check_reachable(each, share)
        sensitivity = self._sensitivity(_part(say, 0.0, 0.1))
        aims = self._aims(hardware, as_wholes, sensitivity, _part(say, 0.1, 0.2))
        front, trained = [], None
        for number, (method, share) in enumerate(wanted):
            head = f"{method} at {share:g}: " if len(wanted) > 1 else ""
            part = _part(_part(say, 0.2, 1.0), number / len(wanted), (number + 1) / len(wanted), head)
            label = f"{share:g}" if method == config.method else f"{method}.{share:g}"
            problem = Problem(given, aims[share], sensitivity, files.checkpoint_of(self.place, label))
            result = method_of(method, problem).run(part)
            found = _summary(problem, result)
            front.append({"method": method, "goal": share, **{key: found[key] for key in _IN_SHORT}})
            self._write(files.selection_of(self.place, label) if number else self.place / files.SELECTION, found)
            if not number:
                self._write(self.place / files.HISTORY, [asdict(record) for record in result.history])
                trained = problem.supernet
        if trained and given.fabric.is_global_zero:  # in the end: every search starts from the calibrated weights
            trained.write_back(given.space)
            save_space(given.space, self.place / files.SPACE)
        if as_wholes:
            self._write(self.place / files.WHOLES, [asdict(whole) for whole in aims[config.latency].seen])
        self._write(self.place / files.FRONT, front)

    def _hardware(self, live: LiveBytes | None, share: float) -> Hardware:
        given, objective = self.given, self.given.config.objective
        original = {name: given.original[name] for name in given.searched}
        memory, parameters = objective.memory, next(iter(original.values()))["parameters"]  # the same on every target
        goals = Goals(
            {name: share * cost["latency_ms"] for name, cost in original.items()},
            {name: memory * cost["peak_memory_bytes"] for name, cost in original.items() if memory},
            objective.parameters and objective.parameters * parameters,
        )
        return Hardware(given.space, given.table, live, goals)

    def _aims(
        self, hardware: Mapping[float, Hardware], as_wholes: Mapping[str, Cost], sensitivity: Sensitivity, say: Progress
    ) -> dict[float, Aim]:
        """By share. What was seen for one goal is known for all of them."""
        aims, seen, price = {}, list[Whole](), self.given.price_whole
        once = price and (lambda selection: by_first(self.given.fabric, partial(price, selection)))
        for number, (share, each) in enumerate(hardware.items()):
            aim = aims[share] = Aim(each, once, as_wholes, seen)
            if as_wholes:
                part = _part(say, number / len(hardware), (number + 1) / len(hardware))
                aim.search(sensitivity, self.given.config.wholes, part)
                if aim.best(sensitivity) is None:
                    _check_reachable(aim.hardware, share)
        return aims

    def _sensitivity(self, say: Progress) -> Sensitivity:
        given, path = self.given, self.place / files.SENSITIVITY
        if not given.fabric.broadcast(path.exists()):
            sampler = given.samplers(given.config.seed, False)
            self._write(path, measure(given.space, given.supernet(), sampler, SENSITIVITY_PATCHES, given.fabric, say))
            given.fabric.barrier()
        return dict(json.loads(path.read_text()))

    def _write(self, path: Path, content: Any) -> None:
        if self.given.fabric.is_global_zero:
            write_json(path, content)


_IN_SHORT = ("sum_of_parts_ms", "missed", "psnr_soft", "psnr_rounded", "psnr", "entropy", "decided")


def _summary(problem: Problem, result: SearchResult) -> dict[str, Any]:
    """What a search has found, and what it is worth."""
    selection = result.selection
    problem.aim.look(selection)
    hardware = problem.aim.hardware
    psnr = problem.psnr(problem.judged, selection=selection)
    soft, rounded = result.rounding or (psnr, psnr)
    largest = [max(values) for values in result.probabilities.values()]
    p = {name: torch.tensor(values) for name, values in result.probabilities.items()}
    return {
        "selection": selection,
        "probabilities": result.probabilities,
        "goals_ms": dict(hardware.goals.latency_ms),
        "missed": sorted(problem.aim.missed(selection)),
        "turned": result.turned,
        "restored": result.restored,
        "sum_of_parts_ms": hardware.costs(selection),
        "psnr_soft": soft,
        "psnr_rounded": rounded,
        "psnr": psnr,
        "entropy": float(normalised_entropy(p)),  # when it was decided
        "decided": sum(share > 0.9 for share in largest) / max(1, len(largest)),  # share of the choices
    }


def _check_reachable(hardware: Hardware, share: float) -> None:
    """GraphoptError with the cheapest that can be reached, before any training."""
    selection, slack = reachable(hardware)
    if slack <= 1e-6:
        return
    worst = "; ".join(f"{term} {value:+.1%}" for term, value in hardware.excess(selection).items())
    raise GraphoptError(
        f"search: no selection meets every goal (search.latency {share:g} of the original); the cheapest reachable one "
        f"misses them by {slack:.1%} ({worst} against its goal); give at least {share * (1 + slack):.3f}, ask less of "
        "search.objective, or list more passes"
    )


def _part(say: Progress, start: float, end: float, head: str = "") -> Progress:
    """Says how far a part of the work has come."""
    return lambda share, words: say(min(1.0, start + (end - start) * share), head + words)
