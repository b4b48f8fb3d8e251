"""The published denoisers on one table: price on a target, beside what their authors published."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import onnx

from graphopt.backends.registry import open_backend
from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import canonical, read_onnx
from graphopt.models.source import export_random
from graphopt.models.zoo import NETWORKS, Entry, Published, unfilled
from graphopt.progress import Progress

CHALLENGE_TARGET = "exynos2100-mali-g78"
CHALLENGE_SIZE = (480, 720)
BYTES_PER_WEIGHT = 4  # the published files fit float32 where the parameters are known (NOAHTCV)
PADDINGS = (16, 32, 64)  # tried in turn for an ONNX file that does not compute at the size


@dataclass(frozen=True)
class Row:
    """A network: what is published of it, what its price here is, and what follows. None where there is nothing."""

    name: str
    title: str
    source: str
    reading: str
    parameters: int
    macs: int
    kb: float
    published_kb: float | None
    psnr: float | None
    published_ms: float | None
    latency_ms: float
    low_ms: float
    high_ms: float
    provenance: str
    ratio: float | None
    published_score: float | None
    score: float | None
    note: str = ""


@dataclass(frozen=True)
class Agreement:
    """How the prices agree with what was published: Spearman's rank correlation, and estimate / published."""

    networks: int
    spearman: float
    p_value: float
    ratios: tuple[float, float, float]  # smallest, geometric mean, largest


def challenge_constant() -> float:
    """C of score = 2^(2 PSNR) / (C ms), from the published scores: their geometric mean."""
    from statistics import geometric_mean

    found = [entry.published for entry in NETWORKS.values() if entry.published is not None]
    return geometric_mean([2 ** (2 * p.psnr) / (p.score * p.latency_ms) for p in found])


def score(psnr: float, latency_ms: float) -> float:
    """The challenge's: 2^(2 PSNR) / (C ms), PSNR in dB on its own test images."""
    return float(2 ** (2 * psnr) / (challenge_constant() * latency_ms))


def price_entry(entry: Entry, size: tuple[int, int], target: Target, cache: CostCache, say: Progress) -> Row:
    """The row of a published network, built with random weights, at `size` (height, width) of the image."""
    say(0.0, f"{entry.name}: building")
    height, width = (extent // 2 if entry.is_raw else extent for extent in size)
    model = export_random(entry.name, (height, width), cache.folder.parent / "exports")
    network = unfilled(entry.name)
    compared = target.name == CHALLENGE_TARGET and size == CHALLENGE_SIZE
    row = _row(
        entry,
        model,
        target,
        cache,
        entry.published,
        compared,
        size_note(entry, (height, width), network.config.stride),
        say,
    )
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return replace(row, parameters=parameters, kb=parameters * BYTES_PER_WEIGHT / 1000)


def price_entries(
    entries: Sequence[Entry], size: tuple[int, int], target: Target, cache: CostCache, jobs: int,
    report: Callable[[str, float, str], None],
) -> list[Row]:  # fmt: skip
    """The rows of published networks, in their order; with `jobs` above 1, so many processes price a network each."""
    if jobs == 1:
        rows = []
        for entry in entries:
            rows.append(price_entry(entry, size, target, cache, partial(report, entry.name)))
            report(entry.name, 1.0, "priced")
        return rows
    with ProcessPoolExecutor(min(jobs, len(entries)), get_context("spawn"), _leave_interrupts) as pool:
        work = {pool.submit(_price_entry, entry, size, target, cache.folder): entry for entry in entries}
        found = {}
        try:
            for done, future in enumerate(as_completed(work)):
                found[work[future].name] = future.result()
                report("leaderboard", (done + 1) / len(work), f"{work[future].name} is priced")
        except BrokenProcessPool as error:
            raise GraphoptError(
                "leaderboard: a process ended without a word, perhaps for lack of memory; give fewer --jobs. Prices "
                "that were found are kept"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return [found[entry.name] for entry in entries]


def _price_entry(entry: Entry, size: tuple[int, int], target: Target, folder: Path) -> Row:
    return price_entry(entry, size, target, CostCache(folder), lambda share, words: None)


def _leave_interrupts() -> None:
    """Ctrl-C is for the process that speaks; the others end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def size_note(entry: Entry, size: tuple[int, int], stride: int) -> str:
    """What the network makes of images of `size` (height, width), where that is not plain."""
    height, width = size
    notes = [f"RAW: 4 channels of {width}x{height}"] if entry.is_raw else []
    if height % stride or width % stride:
        notes.append(f"padded to {width + -width % stride}x{height + -height % stride}, its stride being {stride}")
    return "; ".join(notes)


def price_file(
    path: Path, psnr: float | None, size: tuple[int, int], target: Target, cache: CostCache,
    say: Progress,
) -> Row:  # fmt: skip
    """The row of an ONNX file, at `size`, or at the next multiple of 16, 32 or 64 where it does not compute there."""
    original = read_onnx(path)
    sizes = dict.fromkeys([size, *((size[0] + -size[0] % n, size[1] + -size[1] % n) for n in PADDINGS)])
    failures = []
    for height, width in sizes:
        try:
            model = canonical(original, (height, width), str(path))
            break
        except GraphoptError as error:
            failures.append(error)
    else:
        raise failures[0]
    entry = Entry(path.stem, str(path), "", "", "", "")
    note = "" if not failures else f"padded to {width}x{height}: it does not compute at {size[1]}x{size[0]}"
    row = _row(entry, model, target, cache, None, False, note, say)
    return row if psnr is None else replace(row, psnr=psnr, score=score(psnr, row.latency_ms))


def check_files(paths: Sequence[Path], target: Target, cache: CostCache) -> None:
    """GraphoptError where a file cannot be read, or the target does not carry it: said before the others are priced."""
    backend = open_backend(target, cache)
    for path in paths:
        try:
            backend.check_carried(read_onnx(path))
        except GraphoptError as error:
            raise GraphoptError(f"leaderboard: --add {path}: {error}") from error


def price_files(
    paths: Sequence[Path], psnr: Sequence[float], size: tuple[int, int], target: Target, cache: CostCache,
    report: Callable[[str, float, str], None],
) -> list[Row]:  # fmt: skip
    """The rows of ONNX files, in their order; `psnr` (dB, on the challenge's images) is of each of them, or empty."""
    given: Sequence[float | None] = psnr or [None] * len(paths)
    return [
        price_file(path, value, size, target, cache, partial(report, path.name))
        for path, value in zip(paths, given, strict=True)
    ]


def agreement(rows: Sequence[Row]) -> Agreement | None:
    """None for fewer than three networks whose published latency can be compared."""
    from statistics import geometric_mean

    from scipy.stats import permutation_test, spearmanr

    pairs = [(row.published_ms, row.latency_ms, row.ratio) for row in rows if row.ratio is not None]
    if len(pairs) < 3:
        return None
    published, estimated = ([pair[column] for pair in pairs] for column in (0, 1))
    # by all orders of the few networks there are: the usual approximation calls any perfect order impossible by chance
    found = permutation_test(
        (published,),
        lambda order: spearmanr(order, estimated).statistic,
        permutation_type="pairings",
        n_resamples=50000,
    )
    ratios = [ratio for _, _, ratio in pairs if ratio is not None]
    spread = (min(ratios), geometric_mean(ratios), max(ratios))
    return Agreement(len(pairs), float(found.statistic), float(found.pvalue), spread)


def in_words(found: Agreement | None) -> str:
    """The agreement with the published latencies in a sentence or two."""
    if found is None:
        return "No rank correlation: published latencies are the Exynos 2100's at 720x480, of seven networks."
    low, middle, high = found.ratios
    return (
        f"Rank correlation of estimated and published latency (Spearman): {found.spearman:.2f} over {found.networks} "
        f"networks (p {found.p_value:.2g}); estimated / published from {low:.2f} to {high:.2f}, geometric mean "
        f"{middle:.2f}. The networks are rebuilt from what is published: a ratio is of the model and of the reading."
    )


def _row(
    entry: Entry, model: onnx.ModelProto, target: Target, cache: CostCache, published: Published | None,
    compared: bool, note: str, say: Progress,
) -> Row:  # fmt: skip
    price = open_backend(target, cache).price(model, say=lambda share, words: say(share, f"{entry.name}: {words}"))
    facts: dict[str, Any] = {"psnr": None, "published_ms": None, "published_kb": None, "published_score": None}
    if published is not None:
        facts = {
            "psnr": published.psnr,
            "published_ms": published.latency_ms,
            "published_kb": published.size_kb,
            "published_score": published.score,
        }
    return Row(
        name=entry.name,
        title=entry.title,
        source=entry.source,
        reading=entry.reading,
        parameters=price.parameters,
        macs=price.macs,
        kb=price.parameters * BYTES_PER_WEIGHT / 1000,
        latency_ms=price.latency_ms,
        low_ms=price.low_ms,
        high_ms=price.high_ms,
        provenance=price.provenance,
        ratio=price.latency_ms / published.latency_ms if published and compared else None,
        score=score(published.psnr, price.latency_ms) if published and compared else None,
        note=note,
        **facts,
    )
