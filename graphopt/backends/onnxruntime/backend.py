"""onnxruntime's CPU provider: the ONNX file itself is what runs, on this host or on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import onnx

from graphopt.atomic import replacing
from graphopt.backends.base import Array, Artefact, Loaded
from graphopt.backends.host import HostBackend, HostTarget
from graphopt.backends.manifests import manifest_of
from graphopt.backends.onnxruntime.plan import planned_bytes
from graphopt.backends.onnxruntime.session import open_session
from graphopt.backends.onnxruntime.surroundings import between_convolutions
from graphopt.cost.keys import figures_of, hash_of
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.progress import Progress, silent

OPTIONS = 2  # raised whenever sessions are opened, or QDQ files planned, in another way: prices are kept under it


class OnnxRuntimeBackend(HostBackend[HostTarget]):
    """Measures ONNX files with onnxruntime, each part between convolutions."""

    kind: ClassVar[str] = "onnxruntime"
    integers: ClassVar[str] = "cpu"
    target_type: ClassVar[type[Target]] = HostTarget
    any_size: ClassVar[bool] = True
    packages: ClassVar[tuple[tuple[str, str], ...]] = (("onnxruntime", "1."),)

    def key(self) -> str:
        return hash_of([figures_of(self.target), metadata.version("onnxruntime"), self.processor(), OPTIONS])

    def surrounded(self, model: onnx.ModelProto) -> onnx.ModelProto:
        return between_convolutions(model)

    def planned_memory(self, model: onnx.ModelProto) -> int:
        try:
            return planned_bytes(self._as_run(model), self.target.threads)
        except GraphoptError as error:
            raise GraphoptError(f"target {self.target.name}: {error}") from error

    def build(self, model: onnx.ModelProto, folder: Path, say: Progress = silent) -> Artefact:
        """`<target>.onnx`, in the target's precision; its images stay float32."""
        path = folder / f"{self.target.name}.onnx"
        with replacing(path) as temporary:
            onnx.save(self._as_run(model), temporary)
        runtime = ("onnxruntime", metadata.version("onnxruntime"))
        return Artefact((path,), manifest_of(model, self.target, "onnx", runtime, "onnxruntime (InferenceSession)"))

    def load(self, artefact: Artefact) -> Loaded:
        try:
            session = open_session(artefact.files[0], self.target.threads)
        except GraphoptError as error:
            raise GraphoptError(f"target {self.target.name}: {error}") from error
        names = [value["name"] for value in artefact.manifest["inputs"]]

        def run(inputs: Sequence[Array]) -> list[Array]:
            return list(session.run(None, dict(zip(names, inputs, strict=True))))

        return run

    def _as_run(self, model: onnx.ModelProto) -> onnx.ModelProto:
        from graphopt.ir.half import to_fp16

        return to_fp16(model) if self.target.dtype == "float16" else model
