"""The quick import of TVM's intrinsics."""

import inspect

from graphopt.kernels.intrinsics import import_intrinsics


def test_the_import_of_intrinsics_leaves_inspect_as_it_was() -> None:
    before = inspect.stack
    import_intrinsics()
    assert inspect.stack is before
    assert inspect.stack()[0].code_context is not None
