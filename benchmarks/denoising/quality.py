"""PSNR and SSIM of networks on sets of photographs, each kept once it is known."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from graphopt.atomic import write_json
from graphopt.config.data import EvaluationData
from graphopt.errors import GraphoptError
from graphopt.progress import Progress
from graphopt.run.stamps import digest, file_digest
from graphopt.train.data import open_photographs, photographs_digest
from graphopt.train.metrics import Quality
from graphopt.train.restorer import Restore, evaluate, open_restorer

NOISY = "noisy"  # the row of the images as they are


@dataclass(frozen=True)
class Case:
    """What is judged: a network (or the noisy images), on a set, at a sigma (scale 0-255)."""

    network: str
    set: str
    sigma: float

    def __str__(self) -> str:
        return f"{self.network} on {self.set} at sigma {self.sigma:g}"


class StoppedError(Exception):
    """Ends an evaluation whose figures nobody waits for any more."""


def judge(
    networks: Mapping[str, Path],
    sets: Mapping[str, Path],
    sigmas: Sequence[float],
    folder: Path,
    jobs: int,
    report: Progress,
) -> dict[Case, Quality]:
    """Every network and the noisy images, on every set at every sigma, with the noise of `graphopt evaluate`.

    `folder` keeps each by the contents of the network's file and of the photographs. `jobs` of them run at a time.
    """
    photographs = {name: photographs_digest(open_photographs([path], judged=True)) for name, path in sets.items()}
    files = {NOISY: NOISY, **{name: file_digest(path) for name, path in networks.items()}}
    kept = {
        Case(network, name, sigma): folder / f"{digest(file, photographs[name], sigma)}.json"
        for network, file in files.items()
        for name in sets
        for sigma in sigmas
    }
    found = {case: Quality(**json.loads(path.read_text())) for case, path in kept.items() if path.exists()}
    shares = {case: float(case in found) for case in kept}
    stop = threading.Event()

    def heard(case: Case, share: float, words: str) -> None:
        if stop.is_set():
            raise StoppedError
        shares[case] = share
        report(sum(shares.values()) / len(shares), f"{case}: {words}")

    def work(case: Case) -> Quality:
        try:
            heard(case, 0.0, "starts")
            data = EvaluationData(test=[sets[case.set]], sigma=case.sigma)
            quality = evaluate(_restorer(networks.get(case.network)), data, partial(heard, case))
        except BaseException:
            stop.set()
            raise
        _write(kept[case], quality)
        return quality

    missing = [case for case in kept if case not in found]
    report(len(found) / len(kept), f"{len(found)} of {len(kept)} are known already")
    # Threads, not processes: torch and onnxruntime let go of Python's lock while they compute.
    with ThreadPoolExecutor(jobs, initializer=_share_cores(jobs)) as pool:
        running = [pool.submit(work, case) for case in missing]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:  # an error or Ctrl-C in one ends the others at their next image
            stop.set()
            pool.shutdown(cancel_futures=True)
    errors = [error for future in running if not future.cancelled() and (error := future.exception())]
    for error in errors:
        if not isinstance(error, StoppedError):
            raise error
    found |= {case: future.result() for case, future in zip(missing, running, strict=True)}
    return {case: found[case] for case in kept}


def check_names(networks: Mapping[str, Path]) -> None:
    if NOISY in networks:
        raise GraphoptError(f"network '{NOISY}': that is the name of the images as they are; give it another")


def _restorer(path: Path | None) -> Restore:
    return (lambda image: image) if path is None else open_restorer(path)


def _share_cores(jobs: int) -> Callable[[], None]:
    import torch

    return partial(torch.set_num_threads, max(1, torch.get_num_threads() // jobs))


def _write(path: Path, quality: Quality) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(quality))
