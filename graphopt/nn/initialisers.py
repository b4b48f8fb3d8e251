"""The initialisers of a graph as parameters and buffers of a torch module, under their ONNX names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_graphsurgeon as gs
import torch
from torch import Tensor, nn

from graphopt.errors import GraphoptError

FIXED = "_fixed"  # the ending of the names of constants that are never trained
# Operands that set an op up, whatever their size: never trained.
_SETTINGS = {
    "Clip": (1, 2), "Resize": (1, 2, 3), "Pad": (1, 2, 3), "Pow": (1,), "BatchNormalization": (3, 4),
    "QuantizeLinear": (1,), "DequantizeLinear": (1,),
}  # fmt: skip
# Ops that have weights of their own; anywhere else a single element is a number (an epsilon, a factor, a bound).
_WEIGHTED = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "PRelu"}
    | {"BatchNormalization", "InstanceNormalization", "LayerNormalization"}
)


def attribute_name(name: str) -> str:
    """A reversible name that torch takes for a parameter: no dots, and never that of a module's own attribute."""
    return "=" + name.replace("%", "%25").replace(".", "%2E")


def is_weight(constant: gs.Constant) -> bool:
    """True for a floating-point initialiser that training may change, judged by its name and by who reads it."""
    if not np.issubdtype(constant.dtype, np.floating) or constant.name.endswith(FIXED):
        return False
    uses = [(node, i) for node in _readers(constant) for i, x in enumerate(node.inputs) if x is constant]
    if any(i in _SETTINGS.get(node.op, ()) for node, i in uses):
        return False
    return constant.values.size != 1 or any(node.op in _WEIGHTED for node, _ in uses)


def is_trained(constant: gs.Constant) -> bool:
    """As `is_weight`, for the constants of a fragment: the builder marks by name what is not trained."""
    return bool(np.issubdtype(constant.dtype, np.floating)) and not constant.name.endswith(FIXED)


def _readers(tensor: gs.Tensor) -> list[gs.Node]:
    return list({id(node): node for node in tensor.outputs}.values())


class Initialisers(nn.Module):
    """Holds each constant by its ONNX name: a Parameter where `trained` says so, a buffer otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self._attributes: dict[str, str] = {}  # ONNX name -> attribute

    def store(self, constant: gs.Constant, trained: bool) -> None:
        """Adds one constant; its name must be new."""
        name = constant.name
        if name in self._attributes:
            raise GraphoptError(f"initialiser '{name}' is there twice; every constant needs a name of its own")
        try:
            value = torch.from_numpy(np.array(constant.values))
        except TypeError as error:
            raise GraphoptError(
                f"initialiser '{name}' has the type {constant.dtype}, which torch cannot take "
                "from numpy; store it as float32"
            ) from error
        attribute = attribute_name(name)
        if trained:
            self.register_parameter(attribute, nn.Parameter(value))
        else:
            self.register_buffer(attribute, value)
        self._attributes[name] = attribute

    def tensors(self) -> dict[str, Tensor]:
        """Every constant by its ONNX name, as it is now (after `.to()`, `.double()` and optimiser steps)."""
        held: dict[str, Tensor | None] = {**self._parameters, **self._buffers}
        return {name: tensor for name, key in self._attributes.items() if (tensor := held[key]) is not None}

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters by their ONNX names."""
        held = self._parameters
        return {name: p for name, key in self._attributes.items() if (p := held.get(key)) is not None}

    def write_back(self, constants: Iterable[gs.Constant], where: str) -> None:
        """Puts the parameters into the constants of the same names, bit for bit, in the constants' own types."""
        by_name: Mapping[str, gs.Constant] = {constant.name: constant for constant in constants}
        trained = self.trained()
        missing = [name for name in trained if name not in by_name]
        if missing:
            raise GraphoptError(
                f"{where} has no initialiser '{missing[0]}' ({len(missing)} are missing); "
                "write back into the graph that the module was made from, or a copy of it"
            )
        for name, parameter in trained.items():
            constant = by_name[name]
            if tuple(constant.shape) != tuple(parameter.shape):
                raise GraphoptError(
                    f"{where}: initialiser '{name}' has shape {tuple(constant.shape)}, the trained one "
                    f"{tuple(parameter.shape)}; write back into the graph that the module was made from"
                )
            values = parameter.detach().cpu().contiguous().numpy()
            constant.values = values.astype(constant.dtype, copy=True)
