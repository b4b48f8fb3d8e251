"""`finetune:` of a pipeline, and the file of `graphopt pretrain`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from graphopt.config.data import PairFolders, SiddFolder, Sigma, TrainData
from graphopt.config.keys import Count, FilePath, Patches, Positive, Strict
from graphopt.config.model import ModelConfig

Truth = Literal["psnr", "charbonnier", "l1", "l2", "ms-ssim"]
Weight = Annotated[float, Field(ge=0)]


class TrainingKeys(Strict):
    """What every training takes: schedule, losses, and how it runs."""

    learning_rate: float = Field(default=2e-3, gt=0)
    warm_up: float = Field(default=0.02, ge=0, lt=1, description="share of the training in which the rate rises")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the mean of the weights, which is the result")
    clip_gradient: float = Field(default=1.0, gt=0)
    accumulate: Positive = Field(default=1, description="parts of a batch that go through one after the other")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = Field(default=False, description="torch.compile; needs a C++ compiler")
    workers: Count = Field(default=0, description="processes that prepare patches ahead")
    seed: Count = 0


def _check_batches(keys: TrainingKeys, losses: Iterable[str], *batches: Patches) -> None:
    """What would otherwise be found wrong at the first step, which may come late."""
    for count, size in batches:
        if count % keys.accumulate:
            raise ValueError(f"'accumulate': {count} patches cannot be parted into {keys.accumulate} equal parts")
        if "ms-ssim" in losses and size < 11:
            raise ValueError(f"'losses': ms-ssim needs patches of 11 pixels or more, found {size}")


def _some_truth(losses: dict[Any, float]) -> dict[Any, float]:
    if not any(weight for name, weight in losses.items() if name in get_args(Truth)):
        raise ValueError(f"'losses' needs a weight above 0 for one of {', '.join(get_args(Truth))}")
    return losses


class PretrainConfig(TrainingKeys):
    """`graphopt pretrain`: the network, the photographs, and how long to train (`steps` or `minutes`).

    `images` and `sigma` are short for `data: {train: images, sigma: sigma, vary: false}`.
    """

    model: ModelConfig = ModelConfig()
    joint: bool = Field(
        default=False, description="trains a super-network on the same trunk too, detached in the end (ENERZAi)"
    )
    branches: bool = Field(
        default=False, description="1x3 and 3x1 beside each 3x3 convolution, fused in the end (Mier)"
    )
    weights: FilePath | None = Field(default=None, description="a checkpoint of the same network to start from")
    specialised: tuple[Sigma, ...] | None = Field(
        default=None, min_length=1, description="bounds within `data.sigma`: a network for each range of noise (FAN)"
    )
    selector_steps: int = Field(default=1000, ge=1, description="of the network that chooses among the specialised")
    images: list[FilePath] | None = Field(default=None, min_length=1)
    data: TrainData | None = None
    output: FilePath
    sigma: float = Field(default=25, ge=0, description="standard deviation of the noise, on the scale 0-255")
    steps: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    losses: Annotated[dict[Truth, Weight], AfterValidator(_some_truth)] = Field(default={"psnr": 1})
    small: Patches = Field(default=(16, 64), description="patches in a batch, and their size")
    large: Patches = Field(default=(4, 128), description="the same for the last part of the training")
    large_share: float = Field(default=0.3, ge=0, le=1)
    threads: int | None = Field(default=None, ge=1)
    save_every: int = Field(default=500, ge=1)

    @model_validator(mode="after")
    def _one_budget(self) -> PretrainConfig:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either 'steps' or 'minutes'")
        return self

    @model_validator(mode="after")
    def _batches(self) -> PretrainConfig:
        _check_batches(self, self.losses, self.small, self.large)
        return self

    @model_validator(mode="after")
    def _one_source(self) -> PretrainConfig:
        if (self.images is None) == (self.data is None):
            raise ValueError("give either 'images' or 'data: {train: [...]}'")
        if self.data is not None and "sigma" in self.model_fields_set:
            raise ValueError("'sigma' belongs into 'data' beside 'train'")
        return self

    @model_validator(mode="after")
    def _bounds_within_the_noise(self) -> PretrainConfig:
        if self.specialised is None:
            if "selector_steps" in self.model_fields_set:
                raise ValueError("'selector_steps' belongs to 'specialised: [bound, ...]'")
            return self
        data, bounds = self.source, self.specialised
        if data.noise != "gaussian" or not isinstance(data.sigma, tuple):
            raise ValueError("'specialised' parts a range of noise; give 'data: {train: [...], sigma: [low, high]}'")
        if any(isinstance(source, PairFolders | SiddFolder) for source in data.train):
            raise ValueError("'specialised' needs clean images: the noise of pairs has no known sigma")
        low, high = data.sigma
        if list(bounds) != sorted(set(bounds)) or not low < bounds[0] <= bounds[-1] < high:
            found = ", ".join(f"{bound:g}" for bound in bounds)
            raise ValueError(
                f"'specialised' lists the bounds between ranges, each above the one before and inside 'sigma' "
                f"({low:g} to {high:g}); found [{found}]"
            )
        return self

    def replacing(self, images: list[Path] | None, output: Path | None) -> PretrainConfig:
        """The same with other photographs or another output, where they are given. The noise stays as it is."""
        changes: dict[str, Any] = {"output": output} if output else {}
        if images and self.data is not None:
            changes["data"] = self.data.model_copy(update={"train": images})
        elif images:
            changes["images"] = images
        return self.model_copy(update=changes)

    @property
    def edges(self) -> tuple[float, ...]:
        """Where the ranges of specialised networks begin and end: one more than there are ranges."""
        assert self.specialised is not None
        assert isinstance(self.source.sigma, tuple)
        return self.source.sigma[0], *self.specialised, self.source.sigma[1]

    @property
    def source(self) -> TrainData:
        """What to train on, however it was given."""
        if self.data is not None:
            return self.data
        assert self.images is not None
        return TrainData(train=list(self.images), sigma=self.sigma, vary=False)


class FinetuneConfig(TrainingKeys):
    """Training of the chosen network, distilled from the original.

    `losses`: those against the clean image, `teacher` (the same against the original's output) and `features`;
    `distillation: 0.5` is short for `losses: {psnr: 1, teacher: 0.5}`.
    """

    steps: int = Field(default=800, ge=0)
    patches: Patches = (8, 64)
    losses: Annotated[dict[Truth | Literal["teacher", "features"], Weight], AfterValidator(_some_truth)] = Field(
        default={"psnr": 1, "teacher": 0.5}
    )
    warm_up: float = Field(default=0.03, ge=0, lt=1)
    ema: float = Field(default=0.99, ge=0, lt=1)
    record_every: int = Field(default=25, ge=1)
    seed: Count = 1
    precision: Literal["fp32", "bf16", "w8a8", "w8a16"] = Field(  # type: ignore[assignment]
        default="fp32", description="w8a8, w8a16: trains the quantised network too, after the steps in fp32"
    )
    quantised_steps: int = Field(default=400, ge=0, description="steps of the quantised network")
    quantised_learning_rate: float = Field(default=1e-4, gt=0)

    @model_validator(mode="after")
    def _batches(self) -> FinetuneConfig:
        _check_batches(self, self.losses, self.patches)
        return self

    @model_validator(mode="after")
    def _steps_in_integers(self) -> FinetuneConfig:
        given = self.model_fields_set & {"quantised_steps", "quantised_learning_rate"}
        if not self.is_for_integers and given:
            raise ValueError(
                f"'{min(given)}' trains a quantised network; give 'precision: w8a8' or 'precision: w8a16' beside it"
            )
        return self

    @property
    def is_for_integers(self) -> bool:
        """Whether the quantised network is trained too."""
        return self.precision in ("w8a8", "w8a16")

    def in_integers(self) -> FinetuneConfig:
        """The same for the quantised network: its steps, and its learning rate."""
        changes = {"steps": self.quantised_steps, "learning_rate": self.quantised_learning_rate}
        return self.model_copy(update=changes)

    @model_validator(mode="before")
    @classmethod
    def _short_distillation(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "distillation" not in value:
            return value
        if "losses" in value:
            raise ValueError("give either 'distillation' or 'losses' with a weight for 'teacher'")
        rest = {key: content for key, content in value.items() if key != "distillation"}
        return {**rest, "losses": {"psnr": 1, "teacher": value["distillation"]}}
