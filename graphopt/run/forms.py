"""The forms in which a run's targets want their network: in float, or quantised by the rules of a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from graphopt.backends.base import Backend
from graphopt.config.pipeline import PipelineConfig
from graphopt.config.precision import is_integer
from graphopt.errors import GraphoptError
from graphopt.run.folder import RunFolder
from graphopt.train.data import Photograph

FLOAT = ""  # the form of targets that compute in float


def form_of(backend: Backend[Any]) -> str:
    """RULES-PRECISION of a target that computes in integers, as `qnn-w8a8`; `FLOAT` of others."""
    precision = backend.target.precision
    return f"{backend.integers}-{precision}" if is_integer(precision) else FLOAT


def forms_of(backends: Mapping[str, Backend[Any]]) -> dict[str, list[Backend[Any]]]:
    """Each form of integers that there is, and for whom."""
    found: dict[str, list[Backend[Any]]] = {}
    for backend in backends.values():
        if form := form_of(backend):
            found.setdefault(form, []).append(backend)
    return found


def deployed_file(folder: RunFolder, backend: Backend[Any]) -> Path:
    """The network that a target's artefact is built from, at the size that it was priced at."""
    form = form_of(backend)
    return folder.quantised(form).path if form else folder.model.path


def deployed_network(folder: RunFolder, backend: Backend[Any]) -> onnx.ModelProto:
    """The same, read."""
    return onnx.load(deployed_file(folder, backend))


def check_integers(
    config: PipelineConfig, file: Path, backends: Mapping[str, Backend[Any]], photographs: Sequence[Photograph]
) -> None:
    """What a run in integers needs, or what asks for integers and has none; `photographs` are those to train on.

    Raises:
        GraphoptError: the mistake, in the pipeline's `file`.
    """
    from graphopt.train.quantising import check_judged

    forms = forms_of(backends)
    asked = {backend.target.precision for found in forms.values() for backend in found}
    where, tuned = f"config {file}:", config.finetune.precision
    if forms:
        check_judged(photographs, f"{where} 'data.train'")
    elif "quantise" in config.model_fields_set:
        raise GraphoptError(
            f"{where} 'quantise' is for targets that compute in integers, and there is none; leave it out, or ask for "
            "'precision: w8a8'"
        )
    if config.finetune.is_for_integers and tuned not in asked:
        raise GraphoptError(
            f"{where} 'finetune.precision' is {tuned}, which no target computes in; give "
            f"{' or '.join(sorted(asked)) or 'fp32 or bf16'}, or ask for 'precision: {tuned}'"
        )
    if not config.quantise.mixed:
        return
    if "w8a8" not in asked:
        raise GraphoptError(
            f"{where} 'quantise.mixed' keeps layers wider than 8 bits, and no target has w8a8; leave it out"
        )
    for found in forms.values():
        if all(backend.unpriced for backend in found):
            raise GraphoptError(
                f"{where} 'quantise.mixed' weighs prices, and target {found[0].target.name} has none on this machine: "
                f"{found[0].unpriced}; leave it out"
            )
