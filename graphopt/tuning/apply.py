"""Schedules from the database, applied to the kernels of a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphopt.kernels.calls import workload_key
from graphopt.tuning.records import Record


def scheduled_by(record: Record, function: Any) -> Any:
    """The kernel `function` (unscheduled) under the schedule of a record of the same workload."""
    import tvm
    from tvm import s_tir
    from tvm.s_tir.schedule import Trace

    schedule = s_tir.Schedule(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}))
    Trace.apply_json_to_schedule(record.trace, schedule)
    return schedule.mod["main"].without_attr("global_symbol").with_attr("tirx.is_scheduled", True)


def apply_best(module: Any, best: Callable[[str], Record | None]) -> Any:
    """`module` with those of its kernels scheduled for which `best(workload)` knows a record."""
    import tvm

    made = tvm.IRModule(dict(module.functions_items()), attrs=module.attrs)
    for variable, function in module.functions_items():
        if isinstance(function, tvm.tirx.PrimFunc):
            record = best(workload_key(function))
            if record is not None:
                made.update_func(variable, scheduled_by(record, function))
    return made
