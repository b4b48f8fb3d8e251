"""Stage `cost`: space and targets -> prices of the original, the cost table, and the space that a search sees.

The original is priced in float, all else in the precision that will be deployed. Exact candidates are settled here by
price, for all targets together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphopt.ir.passes import Stage
from graphopt.progress import Progress
from graphopt.run.run import Run
from graphopt.run.stage import RunStage, pass_keys, price_keys

if TYPE_CHECKING:
    import onnx
    import onnx_graphsurgeon as gs

    from graphopt.backends.base import Backend
    from graphopt.backends.precision import InPrecision
    from graphopt.cost.record import NetworkCost


def _reads(run: Run) -> list[Any]:
    return [price_keys(run), run.weights, pass_keys(run, Stage.CLEANUP)]


def _work(run: Run, say: Progress) -> None:
    from graphopt.cost.settling import settle
    from graphopt.cost.table import build_table
    from graphopt.ir.canonical import copy_graph, to_model
    from graphopt.ir.rewriting import rewrite_everywhere

    backends = run.backends()
    searched = run.searched(backends)

    def whole(model: onnx.ModelProto, name: str, pricer: Backend[Any] | InPrecision) -> NetworkCost:
        say(0.0, f"{name}: the whole network")
        return pricer.price_beside(model, original, run.config.trials, say)

    def wholes(graph: gs.Graph) -> dict[str, NetworkCost]:
        kept = copy_graph(graph)
        rewrite_everywhere(kept, run.cleanups)  # they are applied to whatever is chosen
        return {name: whole(to_model(kept), name, pricer) for name, pricer in searched.items()}

    for name, backend in backends.items():
        if caution := backend.caution():
            say(0.0, f"{name}: {caution}")
    original, space = run.folder.original.read(), run.folder.space.read()
    run.folder.original_costs.write(
        {name: whole(original, name, backend).total for name, backend in backends.items() if not backend.unpriced}
    )
    table = build_table(space, wholes(space.graph), searched, run.cleanups, say)
    space, table = settle(space, table, run.weights, wholes)
    run.folder.settled.write(space)
    run.folder.table.write(table)


STAGE = RunStage("cost", ("space",), _reads, _work)
