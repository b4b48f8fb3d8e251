"""A backend that prices every network in the precision in which its target's networks will be deployed."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import onnx

from graphopt.backends.base import Backend
from graphopt.config.precision import is_integer
from graphopt.cost.keys import graph_key
from graphopt.cost.record import NetworkCost
from graphopt.progress import Progress, silent
from graphopt.quantise.pricing import priced_form
from graphopt.quantise.rules import find_rules

_KEPT = 8  # forms: of what stands at a site while its candidates are priced, and of the original


class InPrecision:
    """A `graphopt.cost.pricing.Pricer`. References are priced as they are given: the original, in float."""

    def __init__(self, backend: Backend[Any]):
        self.backend, self._made = backend, OrderedDict[str, onnx.ModelProto]()

    @property
    def additive(self) -> bool:
        """Do prices of parts add up to that of the whole?"""
        return self.backend.additive

    def form(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The graph that is priced for a canonical model: its QDQ graph where the precision is one of integers, with
        ranges that serve no other purpose.

        Raises:
            GraphoptError: shapes that are not static, a network that the quantiser refuses.
        """
        target = self.backend.target
        if not is_integer(target.precision):
            return model
        key = graph_key(model)  # ranges change no price
        if key not in self._made:
            self._made[key] = priced_form(model, *find_rules(self.backend.integers, target.precision))
        self._made.move_to_end(key)
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return self._made[key]

    def price(self, model: onnx.ModelProto, budget: int = 0, say: Progress = silent) -> NetworkCost:
        """`Backend.price` of its form."""
        return self.backend.price(self.form(model), budget, say)

    def price_part(self, model: onnx.ModelProto, kept: onnx.ModelProto | None = None) -> NetworkCost:
        """`Backend.price_part`, both of them quantised in their surroundings."""
        return self.backend.price_part(model, kept, self.form)

    def price_beside(
        self, model: onnx.ModelProto, reference: onnx.ModelProto, budget: int = 0, say: Progress = silent
    ) -> NetworkCost:
        """`Backend.price_beside`, of the form of `model` beside the `reference` as it is."""
        return self.backend.price_beside(self.form(model), reference, budget, say)

    def exchanged(self, whole: NetworkCost, kept: NetworkCost, put: NetworkCost) -> float:
        """Milliseconds that `whole` takes more where its part `kept` gives way to `put`, all in this precision."""
        return self.backend.exchanged(whole, kept, put)
