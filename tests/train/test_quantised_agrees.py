"""What is trained is what the QDQ graph computes: the shipped network, layer by layer and as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from qdq import scene, to_integers

from graphopt.ir.quantised import DEQUANTISE, QUANTISE
from graphopt.ir.session import OnnxSession
from graphopt.models.source import find_model, load_source
from graphopt.nn.program import Routing
from graphopt.nn.quantised_module import QuantisedModule
from graphopt.quantise.training_form import QuantisedForm, quantised_form, with_trained

SIZE = (32, 32)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return load_source(find_model("nafnet-width16-hexagon", Path()), SIZE, tmp_path_factory.mktemp("exports"))[0]


def made(network: onnx.ModelProto, device: str, precision: str) -> tuple[onnx.ModelProto, QuantisedForm]:
    quantised = to_integers(network, device, precision, scene(*SIZE))
    return quantised, quantised_form(quantised, network)


@pytest.mark.parametrize(("device", "precision"), [("qnn", "w8a8"), ("cpu", "w8a8"), ("qnn", "w8a16")])
def test_every_layer_gives_what_onnxruntime_gives(network: onnx.ModelProto, device: str, precision: str) -> None:
    """Each step on onnxruntime's own inputs: the same integers, bit by bit, and sums but for their order."""
    quantised, form = made(network, device, precision)
    module = QuantisedModule(form.graph, form.scales)
    written = rounded_again(quantised, form, module)
    tensors = [name for node in written.graph.node if node.op_type != QUANTISE for name in node.output]
    seen = OnnxSession(written, tensors, optimise=False).run_named({written.graph.input[0].name: scene(*SIZE)}, tensors)
    known = dict(zip(tensors, map(torch.from_numpy, seen), strict=True))
    given = (
        {written.graph.input[0].name: torch.from_numpy(scene(*SIZE))} | module.initialisers.tensors() | module.scales()
    )
    pairs = 0
    with torch.no_grad():
        for step, _ in module._program._plan:
            environment = {name: known[name] if name in known else given[name] for name in step.reads}
            step.run(environment, Routing())
            for name in step.writes:
                found = environment[name]
                if name not in known:  # the scale of a bias
                    given[name] = found
                elif "rounding" in step.label:
                    torch.testing.assert_close(found, known[name], rtol=0, atol=0, msg=step.label)
                    pairs += 1
                else:
                    size = float(known[name].abs().max())
                    torch.testing.assert_close(found, known[name], rtol=0, atol=2e-6 * size, msg=step.label)
    assert pairs > 400


@pytest.mark.parametrize(("device", "precision"), [("qnn", "w8a8"), ("cpu", "w8a8"), ("qnn", "w8a16")])
def test_the_network_is_within_a_step_of_the_output(network: onnx.ModelProto, device: str, precision: str) -> None:
    """In the mean: sums in another order fall on other sides of borders, in onnxruntime's own two modes as well."""
    quantised, form = made(network, device, precision)
    module = QuantisedModule(form.graph, form.scales)
    written = rounded_again(quantised, form, module)
    with torch.no_grad():
        found = module(torch.from_numpy(scene(*SIZE))).numpy()
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in written.graph.initializer}
    last = next(node for node in written.graph.node if written.graph.output[0].name in node.output)
    assert last.op_type == DEQUANTISE
    step = float(held[last.input[1]])
    exact, integer = (OnnxSession(written, optimise=optimise).run(scene(*SIZE)) for optimise in (False, True))
    apart = float(np.abs(exact - integer).mean()) / step
    for expected in (exact, integer):
        steps = np.abs(found - expected) / step
        assert steps.mean() < max(1.25 * apart, 1)
        assert steps.max() < 8


def rounded_again(quantised: onnx.ModelProto, form: QuantisedForm, module: QuantisedModule) -> onnx.ModelProto:
    """The integers as torch rounds them: onnxruntime's quantiser rounds some biases of 32 bits to a neighbour."""
    tensors = {**module.initialisers.tensors(), **module.scales()}
    return with_trained(quantised, form.masters, {name: value.detach().numpy() for name, value in tensors.items()})
