"""Compiled schedules on disk, each in a temporary folder of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphopt.errors import last_line


@dataclass(frozen=True)
class CompiledSchedule:
    """A compiled schedule: the library, and TVM's JSON of its arguments. `error` where it could not be compiled."""

    path: Path | None
    arguments: tuple[Any, ...] = ()
    error: str = ""


@contextmanager
def compiled_schedules(
    schedules: list[Any], device: Any, link: Callable[..., None] | None
) -> Iterator[list[CompiledSchedule]]:
    """Compiles schedules for the TVM target; the files are gone afterwards. `link` makes the shared library for a
    device; without it, objects are kept that the loader links.

    TVM's own clean-up (`RemoveBuildArtifact`) removes the whole folder that one lies in, so it is not used.
    """
    with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
        made = []
        for number, schedule in enumerate(schedules):
            place = Path(folder) / str(number)
            place.mkdir()
            made.append(_compiled(schedule, device, link, place))
        try:
            yield made
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _compiled(schedule: Any, device: Any, link: Callable[..., None] | None, place: Path) -> CompiledSchedule:
    import tvm
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock
    from tvm.support.tar import tar

    try:
        module = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(schedule.mod)
        # by name: what TVM picks for an Adreno by itself is no pipeline that its builder can use
        built = tvm.tirx.build(module, target=device, pipeline="default")
        path = place / f"{place.name}.{'tar' if link is None else 'so'}"
        built.export_library(str(path), fcompile=link or tar)
        arguments = ArgInfo.from_entry_func(schedule.mod, remove_preproc=True)
        return CompiledSchedule(path, tuple(_plain(argument) for argument in arguments))
    except Exception as error:  # a schedule that LLVM or TVM refuses is a failed trial, not a failed tuning
        return CompiledSchedule(None, error=last_line(error))


def _plain(argument: Any) -> tuple[str, str, tuple[int, ...]]:
    kind, dtype, shape = argument.as_json()
    return str(kind), str(dtype), tuple(int(extent) for extent in shape)
