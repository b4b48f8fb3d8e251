"""The builder of training forms: what stands at a site while it trains, beside what is deployed there."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from graphopt.errors import GraphoptError
from graphopt.ir.build import Build
from graphopt.ir.fragments import Fragment
from graphopt.ir.sites import Site
from graphopt.ir.view import GraphView


class TrainingBuild(Build):
    """Builds what stands at a site while it trains. Weights of its own are dropped when it collapses.

    It must end as the deployed form: the same ops, once every fade has ended, and weights computed from weights only.
    """

    def __init__(self, site: Site, pass_name: str, view: GraphView, deployed: Fragment):
        super().__init__(site, f"{pass_name}-training", view, None)
        self._view, self._deployed = view, deployed
        self._copies: dict[str, gs.Tensor] = {}
        self.fragment.nodes += deployed.nodes
        self.fades: dict[str, float] = {}
        self.ends: dict[str, gs.Tensor] = {}

    def rewritten(self, role: str = "output") -> gs.Tensor:
        """What `rewrite` returned, with weights as the search left them."""
        return self._deployed.outputs[self._site.outputs[role]]

    def original(self, role: str = "output") -> gs.Tensor:
        """What the site computed before the rewrite, with weights of its own."""
        if not self._copies:
            for name in self._view.regions.sort(self._site.nodes):
                node = self._nodes[name]
                operands = [gs.Variable.empty() if t.is_empty() else self._copy(t) for t in node.inputs]
                made = self.op(node.op, operands, outputs=len(node.outputs), **node.attrs)
                results = made if isinstance(made, list) else [made]
                self._copies.update(zip([t.name for t in node.outputs], results, strict=True))
        return self._copies[self._site.outputs[role]]

    def _copy(self, tensor: gs.Tensor) -> gs.Tensor:
        if tensor.name in self._copies:
            return self._copies[tensor.name]
        if isinstance(tensor, gs.Constant):  # marked where it is not trained
            stem = tensor.name.removesuffix("_fixed")
            return self._constant(stem, tensor.values, tensor.name[len(stem) :])
        return self.host(tensor.name)

    def fade(self, first: gs.Tensor, then: gs.Tensor, share: float) -> gs.Variable:
        """lambda * first + (1 - lambda) * then, with lambda falling linearly from 1 to 0 over the first `share` of the
        fine-tuning, and 0 from there on."""
        if not 0 < share <= 1:
            raise GraphoptError(f"a fade lasts a share of the fine-tuning above 0 and up to 1, not {share}")
        weight = self.constant("fade", 1.0, self._float)
        faded: gs.Variable = self.add(then, self.mul(weight, self.op("Sub", [first, then])))
        self.fades[weight.name], self.ends[faded.name] = share, then
        return faded
