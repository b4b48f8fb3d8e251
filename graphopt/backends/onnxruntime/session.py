"""How onnxruntime is opened here, for whatever is measured, planned or run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphopt.errors import GraphoptError

_SILENT = 4  # of onnxruntime's own log: what goes wrong is said once


def open_session(model: bytes | Path, threads: int, optimised: Path | None = None) -> Any:
    """A session of the CPU provider on so many threads. Its optimised graph is written to `optimised`.

    Memory comes from an arena and follows no pattern: a pattern sets aside one block for a run beside what the run
    before it left in the arena, which is nearly twice the memory, and gains no time (docs/costs.md).

    Raises:
        GraphoptError: onnxruntime does not accept the network.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_mem_pattern = False
    options.log_severity_level = _SILENT
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    source = str(model) if isinstance(model, Path) else model
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no public base class
        raise GraphoptError(f"onnxruntime does not accept the network: {str(error).strip().splitlines()[0]}") from error
