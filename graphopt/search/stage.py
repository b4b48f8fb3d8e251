"""The search stage: fair starts, sensitivities, the search for the goal, and a front of further goals and methods."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from graphopt.atomic import write_json
from graphopt.config.search import SearchConfig
from graphopt.cost.live import LiveBytes, live_bytes
from graphopt.cost.record import Cost
from graphopt.cost.table import CostTable
from graphopt.errors import GraphoptError
from graphopt.ir.space import Selection, Space
from graphopt.ir.space_files import load_space, save_space
from graphopt.nn.supernet import Supernet
from graphopt.progress import Progress
from graphopt.search.disjoint import disjoint
from graphopt.search.hardware import Goals, Hardware
from graphopt.search.matching import match
from graphopt.search.methods import CHOOSERS, search_by
from graphopt.search.milp import reachable
from graphopt.search.objective import normalised_entropy
from graphopt.search.problem import Problem, Rounding, SearchResult, save_state
from graphopt.search.sensitivity import Sensitivity, measure
from graphopt.search.wholes import Aim, Price, Whole
from graphopt.train.data import PatchSampler
from graphopt.train.processes import by_first

SENSITIVITY_PATCHES = (8, 64)
JUDGED = (16, 64)  # patches that every network of a front is judged on
JUDGE = 4242  # the seed of these patches: the same for every method and seed of a search


@dataclass(frozen=True)
class SearchStage:
    """What the stage reads. `original` holds the price of the original on each target, `weights` those of targets."""

    config: SearchConfig
    space: Path
    table: CostTable
    original: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, float]
    teacher: nn.Module
    samplers: Callable[[int, bool], PatchSampler]  # seed, varied or as they are
    fabric: Fabric  # its processes share the work, and the first one writes
    whole_targets: Sequence[str] = ()  # those whose parts do not add up
    price_whole: Price | None = None  # of a selection on these

    def run(self, place: Path, say: Progress) -> None:
        """Writes `selection.json`, `history.json`, `front.json` and the trained space into `place`."""
        config = self.config
        wanted = [(config.method, config.latency)]
        wanted += [(config.method, share) for share in sorted(set(config.pareto) - {config.latency})]
        wanted += [(name, share) for name in config.baselines for share in sorted({config.latency, *config.pareto})]
        wanted = list(dict.fromkeys(wanted))
        space = load_space(self.space)
        live = live_bytes(space) if config.objective.memory is not None else None
        hardware = {share: self._hardware(space, live, share) for _, share in wanted}
        if not (self.whole_targets and config.wholes):  # else sums say little of what can be reached
            for share, each in hardware.items():
                _check_reachable(each, share)
        sensitivity = self._prepare(space, place, lambda share, words: say(share / 10, words))
        aims = self._aims(hardware, sensitivity, place, lambda share, words: say(0.1 + share / 10, words))
        front = []
        for number, (method, share) in enumerate(wanted):

            def inside(done: float, words: str, number: int = number, head: str = f"{method} at {share:g}: ") -> None:
                say(0.2 + 0.8 * (number + done) / len(wanted), (head if len(wanted) > 1 else "") + words)

            main = number == 0
            problem = self._problem(space, aims[share], sensitivity, place, method, share)
            found = self._search(method, problem, inside)
            front.append({"method": method, "goal": share, **{k: found[k] for k in _SUMMARY}})
            name = "selection.json" if main else f"selection.{_label(config, method, share)}.json"
            self._write(place / name, {key: value for key, value in found.items() if key != "history"})
            if main:
                self._write(place / "history.json", found["history"])
                if self.fabric.is_global_zero:
                    problem.supernet.write_back(space)
                    save_space(space, place / "space")
                space = load_space(self.space)  # the next search starts from the calibrated weights, too
        self._write(place / "front.json", front)

    def _hardware(self, space: Space, live: LiveBytes | None, share: float) -> Hardware:
        searched = {name: weight for name, weight in self.weights.items() if weight > 0}
        weights = {name: weight / sum(searched.values()) for name, weight in searched.items()}
        objective, original = self.config.objective, self.original
        memory, parameters = objective.memory, objective.parameters
        goals = Goals(
            {name: share * original[name]["latency_ms"] for name in weights},
            {} if memory is None else {name: memory * original[name]["peak_memory_bytes"] for name in weights},
            None if parameters is None else parameters * original[next(iter(weights))]["parameters"],
        )
        return Hardware(space, self.table, live, goals, weights, self.config)

    def _aims(
        self, hardware: Mapping[float, Hardware], sensitivity: Sensitivity, place: Path, say: Progress
    ) -> dict[float, Aim]:
        """By share. What was seen for one goal is known for all of them."""
        seen: list[Whole] = []
        names = self.whole_targets if self.config.wholes else ()
        original = {name: Cost.from_dict(self.original[name]) for name in names}
        aims = {}
        for number, (share, each) in enumerate(hardware.items()):

            def inside(done: float, words: str, number: int = number) -> None:
                say((number + done) / len(hardware), words)

            aims[share] = Aim(each, self._price, original, seen)
            if original:
                aims[share].search(sensitivity, self.config.wholes, inside)
                if aims[share].best(sensitivity) is None:
                    _check_reachable(aims[share].hardware, share)
        if original:
            self._write(place / "wholes.json", [whole.to_dict() for whole in seen])
        return aims

    def _prepare(self, space: Space, place: Path, say: Progress) -> Sensitivity:
        """Matched candidates in `matched.pt`, and what each of them loses alone in `sensitivity.json`."""
        config, seed = self.config, self.config.seed
        matched, lost = place / "matched.pt", place / "sensitivity.json"
        if not self.fabric.broadcast(lost.exists()):
            supernet = self._supernet(space)
            errors = match(
                space, supernet, disjoint(self.samplers(seed, True), config.held_out, seed)[0], config.patches,
                config.matching_steps, config.matching_rate, self.fabric,
                lambda share, words: say(share / 2, words),
            )  # fmt: skip
            self._write(place / "matching.json", errors)
            save_state(self.fabric, matched, supernet.state_dict())
            plain = self.samplers(seed, False)
            found = measure(
                space, supernet, plain, SENSITIVITY_PATCHES, self.fabric,
                lambda share, words: say((1 + share) / 2, words),
            )  # fmt: skip
            self._write(lost, found)
            self.fabric.barrier()
        content: Sensitivity = json.loads(lost.read_text())
        return content

    def _problem(
        self, space: Space, aim: Aim, sensitivity: Sensitivity, place: Path, method: str, share: float
    ) -> Problem:
        config = self.config
        supernet = self._supernet(space)
        supernet.load_state_dict(torch.load(place / "matched.pt", "cpu", weights_only=True))
        for_weights, for_choices = disjoint(self.samplers(config.seed, True), config.held_out, config.seed)
        warm = place / "warm.pt" if method == config.method and method not in CHOOSERS and config.pareto else None
        state = place / f"checkpoint.{_label(config, method, share)}.pt"
        return Problem(
            space,
            aim,
            config,
            supernet,
            sensitivity,
            self.teacher.to(supernet.device),
            for_weights,
            for_choices,
            self._judged(),
            self.fabric,
            state,
            warm,
        )

    def _search(self, method: str, problem: Problem, say: Progress) -> dict[str, Any]:
        """One search, its decision, and what it is worth."""
        result: SearchResult = search_by(method, problem).run(say)
        hardware, selection = problem.hardware, result.selection
        problem.aim.look(selection)
        psnr = problem.psnr(problem.judged, selection=selection)
        rounding = result.rounding or Rounding(psnr, psnr)
        return {
            "selection": selection,
            "probabilities": result.probabilities,
            "goals_ms": dict(hardware.goals.latency_ms),
            "missed": sorted(problem.aim.missed(selection)),
            "turned": result.turned,
            "restored": result.restored,
            "sum_of_parts_ms": hardware.costs(selection),
            "psnr_soft": rounding.soft,
            "psnr_rounded": rounding.chosen,
            "psnr": psnr,
            **_decision(result),
            "history": [asdict(record) for record in result.history],
        }

    def _supernet(self, space: Space) -> Supernet:
        supernet: Supernet = Supernet(space).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return supernet.place(self.fabric.device, self.config.precision == "bf16")

    def _price(self, selection: Selection) -> Mapping[str, Cost]:
        assert self.price_whole is not None
        price = partial(self.price_whole, selection)
        return by_first(self.fabric, price)

    def _write(self, path: Path, content: Any) -> None:
        if self.fabric.is_global_zero:
            write_json(path, content)

    def _judged(self) -> tuple[Tensor, Tensor]:
        """Noisy and clean: fixed patches of the part of the photographs that weights never see."""
        noisy, clean = disjoint(self.samplers(JUDGE, False), self.config.held_out, JUDGE)[1].batch(*JUDGED)
        return torch.from_numpy(noisy), torch.from_numpy(clean)


_SUMMARY = ("sum_of_parts_ms", "missed", "psnr_soft", "psnr_rounded", "psnr", "entropy", "decided")


def _decision(result: SearchResult) -> dict[str, float]:
    """The entropy when it was decided, and the share of the choices whose largest probability exceeds 0.9."""
    p = {name: torch.tensor(values) for name, values in result.probabilities.items()}
    largest = [max(values) for values in result.probabilities.values()]
    decided = sum(share > 0.9 for share in largest) / max(1, len(largest))
    return {"entropy": float(normalised_entropy(p)), "decided": decided}


def _check_reachable(hardware: Hardware, share: float) -> None:
    """GraphoptError with the cheapest that can be reached, before any training."""
    selection, slack = reachable(hardware)
    if slack <= 1e-6:
        return
    excess = hardware.excess(selection)
    worst = "; ".join(f"{term} {value:+.1%}" for term, value in excess.items())
    raise GraphoptError(
        f"search: no selection meets every goal (search.latency {share:g} of the original); the cheapest reachable one "
        f"misses them by {slack:.1%} ({worst} against its goal); give at least {share * (1 + slack):.3f}, ask less of "
        "search.objective, or list more passes"
    )


def _label(config: SearchConfig, method: str, share: float) -> str:
    return f"{share:g}" if method == config.method else f"{method}.{share:g}"
