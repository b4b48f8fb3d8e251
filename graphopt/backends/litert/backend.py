"""LiteRT: one .tflite for phones and for this host. XNNPACK runs it here; a phone's GPU takes what its delegate can."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

import onnx

from graphopt.atomic import replacing
from graphopt.backends.base import Artefact, Loaded
from graphopt.backends.host import HostBackend
from graphopt.backends.litert.convert import conversion_key, convert
from graphopt.backends.litert.memory import planned_bytes
from graphopt.backends.litert.profile import offenders
from graphopt.backends.litert.runtime import open_interpreter
from graphopt.backends.litert.target import LiteRtTarget
from graphopt.backends.litert.versions import CONVERTER, RUNTIME, SERIES, version
from graphopt.backends.manifests import manifest_of
from graphopt.cost.keys import figures_of, hash_of
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.progress import Progress, silent

_DELEGATES = {"cpu": "xnnpack", "gpu": "gpu"}  # as manifests name them
_SHOWN = 6  # offenders that are named one by one


class LiteRtBackend(HostBackend[LiteRtTarget]):
    """Measures under XNNPACK, where the target is this host."""

    kind: ClassVar[str] = "litert"
    integers: ClassVar[str] = "litert"
    target_type: ClassVar[type[Target]] = LiteRtTarget
    packages: ClassVar[tuple[tuple[str, str], ...]] = ((RUNTIME, SERIES[RUNTIME]), (CONVERTER, SERIES[CONVERTER]))

    def key(self) -> str:
        here = "" if self.unpriced else self.processor()
        return hash_of([figures_of(self.target), conversion_key(self.target), here])

    def build(self, model: onnx.ModelProto, folder: Path, say: Progress = silent) -> Artefact:
        """`<target>.tflite`: images come and go as (N, H, W, C) in fp32. On a target in fp16, the weights of
        convolutions are in fp16: the GPU computes in fp16, a CPU widens them and computes in fp32. A QDQ graph
        computes in int8, with its own weights, scales and zero points.

        No files, and the operators in question, for a network that the GPU delegate does not take.
        """
        made = convert(model, self.target, self.cache.folder, say)
        manifest = self._manifest(model)
        if self.target.delegate == "gpu":
            refused = offenders(made.read_bytes())
            if refused:
                return Artefact((), manifest, _refusal([str(one) for one in refused]))
        path = folder / f"{self.target.name}.tflite"
        with replacing(path) as temporary:
            shutil.copyfile(made, temporary)
        return Artefact((path,), manifest)

    def load(self, artefact: Artefact) -> Loaded:
        version(RUNTIME, self.target.name)
        names = ([value["name"] for value in artefact.manifest[ends]] for ends in ("inputs", "outputs"))
        try:
            return open_interpreter(artefact.files[0], self.target.threads, *names)
        except GraphoptError as error:
            raise GraphoptError(f"target {self.target.name}: {error}") from error

    def planned_memory(self, model: onnx.ModelProto) -> int:
        """By XNNPACK's rules, from the file."""
        return planned_bytes(convert(model, self.target, self.cache.folder, silent).read_bytes())

    def _manifest(self, model: onnx.ModelProto) -> dict[str, Any]:
        delegate = _DELEGATES[self.target.delegate]
        loaded_by = f"LiteRT with its {delegate.upper()} delegate (CompiledModel on Android, ai_edge_litert in Python)"
        runtime = ("litert", version(RUNTIME, self.target.name))
        manifest = manifest_of(
            model, self.target, "tflite", runtime, loaded_by, delegate=delegate, images_in="float32"
        )  # fmt: skip
        for value in (*manifest["inputs"], *manifest["outputs"]):
            if len(value["shape"]) == 4:
                batch, channels, height, width = value["shape"]
                value.update(layout="NHWC", shape=[batch, height, width, channels])
        return manifest


def _refusal(refused: list[str]) -> str:
    more = f"; and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    return f"the GPU delegate does not take {'; '.join(refused[:_SHOWN])}{more}"
