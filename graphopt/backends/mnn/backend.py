"""MNN, which Android applications carry: its converter writes the file, its runtime runs and times it on this CPU."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import onnx

from graphopt.backends.base import Artefact, Loaded
from graphopt.backends.host import HostBackend, HostTarget
from graphopt.backends.manifests import manifest_of
from graphopt.backends.mnn.convert import TOLERANCES, convert, mnn_version
from graphopt.backends.mnn.memory import planned_bytes
from graphopt.cost.keys import figures_of, hash_of
from graphopt.cost.target import Target
from graphopt.progress import Progress, silent


class MnnBackend(HostBackend[HostTarget]):
    """Measures. A file of a `float16` target has its weights in half precision, and computes in it where a CPU can."""

    kind: ClassVar[str] = "mnn"
    target_type: ClassVar[type[Target]] = HostTarget
    tolerance: ClassVar[float] = TOLERANCES["float32"]
    packages: ClassVar[tuple[tuple[str, str], ...]] = (("MNN", "3.6."),)

    def key(self) -> str:
        return hash_of([figures_of(self.target), mnn_version(self.target), self.processor()])

    def build(self, model: onnx.ModelProto, folder: Path, say: Progress = silent) -> Artefact:
        """`<target>.mnn`, which was run and compared with onnxruntime; no file for a network that MNN does not carry,
        or computes wrongly.
        """
        version = mnn_version(self.target)
        say(0.0, f"{self.target.name}: converts, and compares what it computes")
        precision = "low" if self._is_half else "high"
        loaded_by = f"MNN's Module or Interpreter on the CPU, precision {precision}"
        manifest = manifest_of(model, self.target, "mnn", ("MNN", version), loaded_by, delegate="cpu")
        path = folder / f"{self.target.name}.mnn"
        refusal = convert(model, self.target.dtype, path)
        return Artefact(() if refusal else (path,), manifest, refusal)

    def planned_memory(self, model: onnx.ModelProto) -> int:
        return planned_bytes(model, self.target.bytes_per_element)

    def load(self, artefact: Artefact) -> Loaded:
        from graphopt.backends.mnn.runtime import load

        mnn_version(self.target)
        names = [[value["name"] for value in artefact.manifest[side]] for side in ("inputs", "outputs")]
        return load(artefact.files[0], names[0], names[1], self.target.threads, self._is_half)

    @property
    def elsewhere(self) -> str:
        """A phone's file runs here as well: for its numbers, not for its time."""
        return ""

    @property
    def _is_half(self) -> bool:
        return self.target.dtype == "float16"
