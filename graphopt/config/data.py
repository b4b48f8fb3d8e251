"""`data:`, the same keys for a pipeline, a pretraining and an evaluation: photographs, pairs, and noise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from graphopt.config.keys import FilePath, Strict


class PairFolders(Strict):
    """Noisy images and their clean partners, of the same names."""

    noisy: FilePath
    clean: FilePath


class SiddFolder(Strict):
    """SIDD as it is published: scenes of pairs to train on, or the validation blocks."""

    sidd: FilePath


class H5File(Strict):
    """Patches in HDF5: a dataset `clean` and, for pairs, `noisy`."""

    h5: FilePath


_SOURCES = {"pairs": PairFolders, "sidd": SiddFolder, "h5": H5File}


def _kind_of_source(value: Any) -> str:
    if isinstance(value, dict):
        return next((key for key in ("sidd", "h5") if key in value), "pairs")
    return next((tag for tag, kind in _SOURCES.items() if isinstance(value, kind)), "folder")


Source = Annotated[
    Annotated[FilePath, Tag("folder")]
    | Annotated[PairFolders, Tag("pairs")]
    | Annotated[SiddFolder, Tag("sidd")]
    | Annotated[H5File, Tag("h5")],
    Discriminator(_kind_of_source),
]
Sigma = Annotated[float, Field(ge=0)]
Variance = Annotated[float, Field(gt=0)]


def _rising(value: Any, name: str) -> Any:
    if isinstance(value, tuple) and value[0] > value[1]:
        raise ValueError(f"'{name}' is a range [low, high]; expected low <= high, found [{value[0]:g}, {value[1]:g}]")
    return value


class RawNoiseKeys(Strict):
    """Noise of a camera's sensor. Ranges of variances at full signal (`shot`) and without any (`read`)."""

    shot: tuple[Variance, Variance] = (1e-4, 0.012)
    read: tuple[Variance, Variance] | None = Field(default=None, description="follows shot by default")
    packed: bool = Field(default=False, description="stays packed Bayer RAW: R, G, G, B at half the size (`bayer`)")

    @model_validator(mode="after")
    def _low_first(self) -> RawNoiseKeys:
        _rising(self.shot, "shot")
        _rising(self.read, "read")
        return self


class NoiseKeys(Strict):
    """The noise that clean images get: `sigma`, or with `noise: raw` that of a camera's sensor.

    With `noise: bayer`, images become what that sensor saw, noisy and clean: packed Bayer RAW, before any demosaicing.
    """

    sigma: Sigma | tuple[Sigma, Sigma] = Field(
        default=25, description="standard deviation of the noise on the scale 0-255, or a range: [0, 50]"
    )
    noise: Literal["gaussian"] | RawNoiseKeys = "gaussian"

    @field_validator("noise", mode="before")
    @classmethod
    def _short_noise(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in ("gaussian", "raw", "bayer"):
            raise ValueError("expected gaussian, raw, bayer, or {shot: [low, high], read: [low, high]}")
        return RawNoiseKeys(packed=value == "bayer") if value in ("raw", "bayer") else value

    @field_validator("sigma", mode="before")
    @classmethod
    def _number_or_range(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and len(value) != 2:
            raise ValueError("expected a number or a range [low, high]")
        return value

    @model_validator(mode="after")
    def _one_noise(self) -> NoiseKeys:
        _rising(self.sigma, "sigma")
        if self.noise != "gaussian" and "sigma" in self.model_fields_set:
            raise ValueError("give either 'sigma' or 'noise: raw': the noise of a sensor has no sigma")
        return self

    @property
    def is_packed(self) -> bool:
        """Whether images have the four channels of packed Bayer RAW."""
        return self.noise != "gaussian" and self.noise.packed

    def _check_packed(self, sources: list[Source]) -> None:
        if self.is_packed and any(isinstance(source, PairFolders | SiddFolder) for source in sources):
            raise ValueError("'noise: bayer' makes RAW of clean images; pairs have their noise in RGB: leave them out")


class TrainData(NoiseKeys):
    """What to train on: folders of clean photographs, pairs `{noisy: DIR, clean: DIR}`, `{sidd: DIR}`, `{h5: FILE}`."""

    train: list[Source] = Field(min_length=1)
    vary: bool = Field(default=True, description="train on patches at several scales, colours and contrasts too")
    mixup: float = Field(default=0, ge=0, description="blends two patches; the parameter of the beta distribution")

    @model_validator(mode="after")
    def _clean_for_packed(self) -> TrainData:
        self._check_packed(self.train)
        return self


class EvaluationData(NoiseKeys):
    """What to judge by; the same kinds of sources."""

    test: list[Source] = Field(min_length=1)

    @model_validator(mode="after")
    def _clean_to_judge_packed(self) -> EvaluationData:
        self._check_packed(self.test)
        return self


class DataConfig(TrainData, EvaluationData):
    """Photographs to calibrate and train on, and others to judge the result by. Noise is added on the fly."""

    calibration_images: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _rgb(self) -> DataConfig:
        if self.is_packed:
            raise ValueError("a pipeline takes RGB images; 'noise: bayer' is for `pretrain` and `evaluate`")
        return self


class JudgedData(EvaluationData):
    """`data` of any configuration, read for its `test` alone."""

    model_config = ConfigDict(extra="ignore")


class JudgeConfig(Strict):
    """`graphopt evaluate --data FILE.yaml`: the `data` of a pipeline; its other keys are passed over."""

    model_config = ConfigDict(extra="ignore")
    data: JudgedData
