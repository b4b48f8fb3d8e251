"""What an ONNX file says of itself, where nothing is beside it: the manifest's facts as metadata, each as JSON."""

from __future__ import annotations

import json
from typing import Any

import onnx


def with_metadata(model: onnx.ModelProto, facts: dict[str, Any]) -> onnx.ModelProto:
    """A copy of the model whose `metadata_props` hold the facts beside what was there; texts stand as they are."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    known = {entry.key: entry for entry in made.metadata_props}
    for key, fact in facts.items():
        entry = known.get(key) or made.metadata_props.add(key=key)
        entry.value = fact if isinstance(fact, str) else json.dumps(fact)
    return made
