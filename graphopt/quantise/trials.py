"""Quantised forms of one network, made and judged once each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from graphopt.progress import Progress, part_of, silent
from graphopt.quantise.histograms import Array, counted
from graphopt.quantise.memory import NOWHERE, Memory, hash_of_arrays, hash_of_model
from graphopt.quantise.methods import METHODS, Range
from graphopt.quantise.qdq import Qdq, prepared, to_qdq
from graphopt.quantise.rules import Precision, Rules
from graphopt.quantise.tensors import tensors_in_groups

Judge = Callable[[onnx.ModelProto], float]  # the more the better; dB here
Ranges = Mapping[str, Range]
_COARSE = 8  # bits of which `entropy` asks: with more, levels outnumber the parts of a histogram
ALL_VALUES = "min-max"  # the method for tensors of 16 bits: an outlier costs them no step that matters


@dataclass(frozen=True)
class Trials:
    """`ready` is a prepared network. `memory` knows of the network and of what the judge judges by."""

    ready: onnx.ModelProto
    rules: Rules
    precision: Precision
    judge: Judge
    memory: Memory = NOWHERE

    @classmethod
    def of(
        cls, model: onnx.ModelProto, rules: Rules, precision: Precision, judge: Judge, memory: Memory = NOWHERE
    ) -> Trials:
        """`model`: a canonical one."""
        ops = sorted(rules.ops) if rules.ops is not None else None
        form = [rules.name, ops, precision.name, hash_of_model(model)]
        return cls(prepared(model, rules, precision), rules, precision, judge, memory.of(*form))

    def ranges(self, images: Sequence[Array], say: Progress = silent) -> dict[str, dict[str, Range]]:
        """By method, of every float tensor.

        Raises:
            GraphoptError: a tensor has values that are not finite.
        """
        methods = {name: find for name, find in METHODS.items() if self.precision.bits <= _COARSE or name != "entropy"}
        found: dict[str, dict[str, Range]] = {name: {} for name in methods}
        together, shown = tensors_in_groups(self.ready), self.memory.of("ranges", hash_of_arrays(images))

        for number, tensors in enumerate(together):
            step = part_of(say, number / len(together), (number + 1) / len(together))

            def find(tensors: list[str] = tensors, step: Progress = step) -> dict[str, dict[str, Range]]:
                seen = counted(self.ready, tensors, images, step)
                steps = self.precision.steps
                return {name: {t: way(seen[t], steps) for t in tensors} for name, way in methods.items()}

            for name, part in shown.of(tensors).recall(find).items():
                found[name] |= {tensor: (low, high) for tensor, (low, high) in part.items()}
        return found

    def graph(self, ranges: Ranges, wide: frozenset[str] = frozenset()) -> Qdq:
        """Raises GraphoptError where the quantiser refuses the network."""
        return to_qdq(self.ready, ranges, self.rules, self.precision, wide)

    def score(self, ranges: Ranges, wide: frozenset[str] = frozenset()) -> float:
        """What the judge gives the graph."""
        form = sorted((name, *ends) for name, ends in ranges.items()), sorted(wide)
        return float(self.memory.of("score", *form).recall(lambda: self.judge(self.graph(ranges, wide).model)))

    def float_score(self) -> float:
        """What the judge gives the network itself."""
        return float(self.memory.of("float").recall(lambda: self.judge(self.ready)))
