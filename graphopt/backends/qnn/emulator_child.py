"""Runs a context binary on the emulated NPU that onnxruntime-qnn brings for x86_64 Linux.

    python -m graphopt.backends.qnn.emulator_child ARTEFACT.onnx INPUTS.npz OUTPUTS.npz

Started by `emulate` as a process of its own. Inputs and outputs are in the order of the graph's, as `arr_0`, `arr_1`.
Nothing is left to the CPU.
"""

from __future__ import annotations

import sys

from graphopt.backends.qnn.child import EXECUTION_PROVIDER

FAILURE = "graphopt: the emulator said: "  # starts the line of the log that says why nothing was computed


def main(artefact: str, inputs: str, outputs: str) -> int:
    """0 where the artefact has run, 1 where the emulator refuses it."""
    import numpy as np
    import onnxruntime as ort
    import onnxruntime_qnn

    ort.register_execution_provider_library(EXECUTION_PROVIDER, onnxruntime_qnn.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == EXECUTION_PROVIDER]
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.add_provider_for_devices(devices, {"backend_path": onnxruntime_qnn.get_qnn_htp_path()})
    given = np.load(inputs)
    try:
        session = ort.InferenceSession(artefact, options)
        names = [value.name for value in session.get_inputs()]
        made = session.run(None, {name: given[f"arr_{i}"] for i, name in enumerate(names)})
    except Exception as error:  # onnxruntime's exceptions have no common class but this
        print(f"\n{FAILURE}{' '.join(str(error).split())}", flush=True)
        return 1
    np.savez(outputs, *made)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
