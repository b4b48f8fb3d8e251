"""Compiles one ONNX file for a Hexagon NPU in this process, onnxruntime-qnn's verbose log on stdout and stderr.

    python -m graphopt.backends.qnn.child MODEL SOC_MODEL HTP_ARCH [CONTEXT]

Started by `compile_npu` as a process of its own: the compiler's log is of the whole process, and a compiler that
crashes or never ends takes only itself along. Nothing is executed. Ops that the NPU refuses are left to the CPU, and
the log says which; with CONTEXT, the context binary is written too, for which the NPU must carry all ops.
"""

from __future__ import annotations

import sys

EXECUTION_PROVIDER = "QNNExecutionProvider"
FAILURE = "graphopt: the compiler said: "  # starts the line of the log that says why nothing was compiled


def main(model: str, soc_model: str, htp_arch: str, context: str | None = None) -> int:
    """0 where the model is compiled, 1 where the compiler refused it."""
    import onnxruntime as ort
    import onnxruntime_qnn

    ort.set_default_logger_severity(0)
    ort.register_execution_provider_library(EXECUTION_PROVIDER, onnxruntime_qnn.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == EXECUTION_PROVIDER]
    options = ort.SessionOptions()
    options.log_severity_level = 0
    entries = {}
    if context is not None:
        entries = {
            "ep.context_enable": "1",
            "ep.context_file_path": context,
            "ep.context_embed_mode": "0",
            "session.disable_cpu_ep_fallback": "1",
        }
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    options.add_provider_for_devices(
        devices,
        {
            "backend_path": onnxruntime_qnn.get_qnn_htp_path(),
            "soc_model": soc_model,
            "htp_arch": htp_arch,
            "htp_graph_finalization_optimization_mode": "3",
            "enable_htp_fp16_precision": "1",
            # A context takes and gives float32; a price is that of the network, as it was calibrated.
            "offload_graph_io_quantization": "1" if context is None else "0",
        },
    )
    try:
        ort.InferenceSession(model, options)
    except Exception as error:  # onnxruntime's exceptions have no common class but this
        print(f"\n{FAILURE}{' '.join(str(error).split())}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
