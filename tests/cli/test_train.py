"""`graphopt pretrain`: what the command line changes of the file, and mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from graphs import Call


def test_pretrain_takes_images_and_output_from_the_command_line(call: Call, photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(
        "model: {width: 4, encoder_blocks: [1], middle_blocks: 0, decoder_blocks: [1]}\n"
        "images: [nowhere]\noutput: unused.safetensors\nsteps: 2\nsmall: [1, 16]\nlarge: [1, 16]\nthreads: 1\n"
    )
    status, out, _ = call("pretrain", "train.yaml", "--images", photographs, "--output", tmp_path / "w.safetensors")
    assert status == 0
    assert out.strip() == f"weights: {tmp_path / 'w.safetensors'}"
    assert call("evaluate", "--model", "w.safetensors", "--data", photographs)[0] == 0


def test_photographs_from_the_command_line_leave_the_noise_of_the_file(
    call: Call, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr("graphopt.train.commands.pretrain_to_file", lambda config, report: seen.append(config.source))
    (tmp_path / "train.yaml").write_text(
        "data: {train: [nowhere], sigma: [10, 55], mixup: 1.2, vary: false}\noutput: unused.safetensors\nsteps: 2\n"
    )
    assert call("pretrain", "train.yaml", "--images", photographs)[0] == 0
    (source,) = seen
    assert (source.train, source.sigma, source.mixup, source.vary) == ([photographs], (10, 55), 1.2, False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pretrain", "gone.yaml"], "config gone.yaml does not exist"),
        (["pretrain", "wrong.yaml"], "unknown key 'widht'"),
    ],
    ids=lambda value: " ".join(map(str, value))[:50],
)
def test_a_mistake_is_one_line(
    arguments: list[Any], expected: str, mistake: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "wrong.yaml").write_text("widht: 8\n")
    assert expected in mistake(*arguments)
