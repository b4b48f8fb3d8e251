"""The stages of a run, in their order: source -> space -> cost -> search -> rewrite -> finetune -> fold ->
quantise -> deploy -> report.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from graphopt.ir.space import Space
from graphopt.run import cost, deploy, finetune, fold, quantise, report, rewrite, search, source, space
from graphopt.run.run import Run
from graphopt.run.stage import RunStage
from graphopt.run.stamps import Stamps

STAGES = tuple(
    stage.STAGE for stage in (source, space, cost, search, rewrite, finetune, fold, quantise, deploy, report)
)
Report = Callable[[str, float, str], None]  # the stage, its share that is done, and a few words


class Pipeline:
    """Runs the stages of a run that are not done already. One run at a time in one run folder."""

    def __init__(self, run: Run, say: Report):
        self.opened, self._say = run, say
        self.stamps = Stamps(run.folder.root)

    def run(self) -> bool:
        """False where there was nothing to do.

        All processes run the stages that are shared, the first one alone runs the others.
        """
        fabric = self.opened.fabric
        if fabric is None or fabric.is_global_zero:
            with self.stamps.locked():
                return self._until("report")
        for stage in STAGES:
            if stage.shared and fabric.broadcast(False):  # the first process says whether there is something to do
                stage.work(self.opened, lambda share, words: None)
        return False

    def open_space(self) -> Space:
        """The space, after the stages that make it: what of them is not done already is run."""
        with self.stamps.locked():
            self._until("space")
        return self.opened.folder.space.read()

    def _until(self, last: str) -> bool:
        for stage in STAGES:
            work = partial(self._work, stage)
            ran = self.stamps.run(stage.name, stage.reads(self.opened), stage.after, work)
            if stage.shared and not ran:
                self._tell_others(False)
            self._say(stage.name, 1.0, f"{self.stamps.seconds[stage.name]:.1f} s" if ran else "done already")
            if stage.name == last:
                break
        return bool(self.stamps.ran)

    def _work(self, stage: RunStage, place: Path) -> None:
        if stage.shared:
            self._tell_others(True)
        # a stage is at its end when its stamp says so, whatever its parts say of themselves
        stage.work(self.opened, lambda share, words: self._say(stage.name, min(share, 0.999), words))

    def _tell_others(self, there_is_work: bool) -> None:
        if self.opened.fabric is not None:
            self.opened.fabric.broadcast(there_is_work)


def open_pipeline(path: Path, run_folder: Path | None, cache: Path, say: Report) -> Pipeline:
    """Reads a YAML file and finds all that it names: mistakes are said before any work (see `Run.open`)."""
    return Pipeline(Run.open(path, run_folder, cache), say)
