"""onnxruntime, as the judge of what a graph computes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from graphopt.errors import GraphoptError

Array = NDArray[np.float32]
SILENT = 4  # of onnxruntime's own log: what goes wrong is said once, by GraphoptError


class OnnxSession:
    """Runs a model on the CPU. `outputs` adds inner tensors to what can be asked for."""

    def __init__(self, model: onnx.ModelProto, outputs: Sequence[str] = (), threads: int = 0, optimise: bool = True):
        if outputs:
            model = with_outputs(model, outputs)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = SILENT
        if not optimise:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no public base class
            raise GraphoptError(
                f"onnxruntime does not accept the graph: {str(error).strip().splitlines()[0]}"
            ) from error
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def run(self, *inputs: Array) -> Array:
        """The first output."""
        return self.run_named(dict(zip(self.inputs, inputs, strict=True)), self.outputs[:1])[0]

    def run_named(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        if not outputs:  # onnxruntime would take an empty list for all of them
            return []
        try:
            found: list[Array] = self._session.run(list(outputs), dict(inputs))
        except Exception as error:  # onnxruntime's errors share no public base class
            raise GraphoptError(f"onnxruntime cannot run the graph: {str(error).strip().splitlines()[0]}") from error
        return found


def with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of the model that also returns the tensors `names`."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    present = {value.name for value in copied.graph.output}
    copied.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in present)
    return copied


def optimise_basic(model: onnx.ModelProto) -> onnx.ModelProto:
    """onnxruntime's constant folding: removes the Shape and Gather chains that exporters leave behind."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = SILENT
    # Fusions would change weights and hide the structure that passes look for; sharing would rename equal weights.
    kept_apart = [
        "ConvAddFusion",
        "ConvMulFusion",
        "ConvBNFusion",
        "PadFusion",
        "MatMulAddFusion",
        "GemmActivationFusion",
        "ConstantSharing",
        "CommonSubexpressionElimination",
        # These move or drop the QuantizeLinear and DequantizeLinear of a quantised network.
        "QDQPropagationTransformer",
        "EnsureUniqueDQForNodeUnit",
        "DoubleQDQPairsRemover",
        "ClipQuantRewrite",
        "ReluQuantRewrite",
        "WeightBiasQuantization",
        "QDQS8ToU8Transformer",
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=kept_apart
            )
        except Exception as error:  # onnxruntime's errors share no public base class
            reason = str(error).strip().splitlines()[0]
            raise GraphoptError(f"onnxruntime does not accept the graph: {reason}") from error
        optimised = onnx.load(path)
    standard = [entry for entry in optimised.opset_import if entry.domain in ("", "ai.onnx")]
    del optimised.opset_import[:]
    optimised.opset_import.extend(standard)
    return optimised
