"""Runs an OpenCL file, as its plan says, on this machine's OpenCL device.

    python -m graphopt.backends.opencl.kernels_child SOURCE.cl INPUTS.npz OUTPUTS.npz

Started by `run_shipped` as a process of its own: a kernel that never ends cannot be stopped, and one that writes where
it should not takes the process along. Inputs and outputs are in the order of the plan's, as `arr_0`, `arr_1`. Each
launch is said before it is made.
"""

from __future__ import annotations

import sys
from pathlib import Path

FAILURE = "graphopt: "  # starts the line of the log that says why nothing was computed
LAUNCH = "launches kernel "


def main(source: str, inputs: str, outputs: str) -> int:
    """0 where the file has run, 1 where it cannot be."""
    import numpy as np
    import pyopencl

    from graphopt.backends.opencl.plan import read_kernel_file
    from graphopt.backends.opencl.platform import Device, Loaded
    from graphopt.errors import GraphoptError

    given = np.load(inputs)
    try:
        artefact = read_kernel_file(Path(source))
        plan = artefact.plan
        loaded = Loaded(artefact, Device())
        for i, name in enumerate(plan.inputs):
            loaded.write(name, given[f"arr_{i}"])
        for call in plan.calls:
            print(LAUNCH + " and ".join(launch.kernel for launch in call.launches), flush=True)
            loaded.run(call)
        made = [loaded.read(name) for name in plan.outputs]
    except (GraphoptError, pyopencl.Error) as error:
        print(f"\n{FAILURE}{' '.join(str(error).split())}", flush=True)
        return 1
    np.savez(outputs, *made)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
