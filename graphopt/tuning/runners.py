"""Which runner a command line asks for."""

from __future__ import annotations

import re
from typing import cast, get_args

from graphopt.cost.target import Target
from graphopt.errors import GraphoptError, did_you_mean
from graphopt.kernels.target import TvmTarget
from graphopt.tuning.tracker import parse_tracker
from graphopt.tuning.work import RunnerKind, RunnerSpec


def tunable(target: Target) -> TvmTarget:
    """The target, where TVM makes its kernels.

    Raises:
        GraphoptError: another compiler does.
    """
    if not isinstance(target, TvmTarget):
        raise GraphoptError(f"target {target.name}: its own compiler schedules the network, there is nothing to tune")
    return target


def choose_runner(kind: str, tracker: str | None = None, key: str | None = None, limit_s: int = 30) -> RunnerSpec:
    """The runner of a kind; `rpc` needs a tracker, `HOST:PORT`, and the key that it has for the device, others neither.

    Raises:
        GraphoptError: an unknown kind, or what does not go with it.
    """
    known = get_args(RunnerKind)
    if kind not in known:
        raise GraphoptError(f"runner '{kind}' is not known; {did_you_mean(kind, known)}")
    if kind != "rpc":
        if tracker or key:
            raise GraphoptError(f"--tracker and --key belong to --runner rpc, not to {kind}")
        return RunnerSpec(cast(RunnerKind, kind))
    if not tracker or not key:
        raise GraphoptError("--runner rpc needs --tracker HOST:PORT and --key KEY, those of your tracker")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", key):
        raise GraphoptError(f"--key '{key}': expected letters, digits, '.', '_' and '-'")
    return RunnerSpec("rpc", parse_tracker(tracker), key, limit_s)
