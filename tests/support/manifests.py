"""A manifest as a run writes it, of a network that nobody built."""

from __future__ import annotations

from typing import Any

_IMAGE = {"layout": "NCHW", "shape": [1, 3, 32, 32], "dtype": "float32", "range": [0.0, 1.0]}

MANIFEST: dict[str, Any] = {
    "schema": 2,
    "graphopt": "0.2.0",
    "target": "mine",
    "title": "A machine of mine",
    "kind": "rated",
    "format": "onnx",
    "runtime": {"name": "onnxruntime", "version": "1.22.0"},
    "loaded_by": "onnxruntime.InferenceSession",
    "delegate": "",
    "precision": "fp32",
    "files": [{"name": "mine.onnx", "sha256": "0" * 64, "bytes": 9}],
    "inputs": [{"name": "image", **_IMAGE}],
    "outputs": [{"name": "restored", **_IMAGE}],
    "stride": 16,
    "tile": [32, 32],
    "overlap": 8,
    "noise": {"kind": "gaussian", "low": 10, "high": 55},
    "licence": "Apache-2.0",
    "graph": "a hash",
    "figures": [],
}
