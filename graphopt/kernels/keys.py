"""Keys of what TVM makes for a target: what decides it is in the key, the target's name is not."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

from graphopt.cost.keys import figures_of, hash_of
from graphopt.kernels.model import FORMULA
from graphopt.kernels.target import TvmTarget


def target_key(target: TvmTarget) -> str:
    """A hash of the figures of a target, of TVM's version and of the kernel model's; of this processor, where it is
    what is measured.
    """
    processor = _processor() if target.is_cpu else ""
    return hash_of([figures_of(target), metadata.version("apache-tvm"), FORMULA, processor])


def figures_key(target: TvmTarget, local: bool) -> str:
    """A hash of what decides which schedules a target can run, and of this processor where it runs them."""
    limits = [target.facts[name].value for name in ("max_threads", "local_memory", "wave_size") if name in target.facts]
    processor = _processor() if local else ""
    return hash_of([target.kind, target.device, target.dtype, limits, metadata.version("apache-tvm"), processor])


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = [line for line in lines if line.startswith("model name")]
    return models[0] if models else f"{platform.machine()} {platform.processor()}"
