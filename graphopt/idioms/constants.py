"""What is known of a tensor before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs


def is_constant(tensor: gs.Tensor) -> bool:
    """Whether it is an initialiser. Its values stay unread: to read them would copy them out of the file."""
    return hasattr(type(tensor), "values")
