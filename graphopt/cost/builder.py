"""A builder for MetaSchedule, in this process: TVM's own starts a process for every task, which takes longer."""

from __future__ import annotations

from tvm.ir.utils import derived_object
from tvm.s_tir.meta_schedule.builder import BuilderInput, BuilderResult, PyBuilder
from tvm.s_tir.meta_schedule.builder.local_builder import default_build, default_export


@derived_object
class InProcessBuilder(PyBuilder):
    """Builds candidates one after the other. They are run elsewhere: a candidate that crashes costs only itself."""

    def build(self, build_inputs: list[BuilderInput]) -> list[BuilderResult]:
        return [_built(candidate) for candidate in build_inputs]


def _built(candidate: BuilderInput) -> BuilderResult:
    try:
        # each artefact has a temporary folder of its own: after the run, MetaSchedule removes that folder
        return BuilderResult(default_export(default_build(candidate.mod, candidate.target, None)), None)
    except Exception as error:  # a schedule that LLVM or TVM refuses is a failed trial, not a failed tuning
        return BuilderResult(None, f"{type(error).__name__}: {error}")
