"""Quantised fine-tuning: the loss falls, scales stay above zero, and a killed run goes on to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import torch
from onnx import numpy_helper
from patches import sampler
from qdq import residual, scene, to_integers

from graphopt.config.training import FinetuneConfig
from graphopt.errors import GraphoptError
from graphopt.ir.canonical import to_graph, to_model
from graphopt.ir.quantised import is_quantised
from graphopt.ir.session import OnnxSession
from graphopt.nn.module import GraphModule
from graphopt.nn.quantised_module import PACE, QuantisedModule
from graphopt.quantise.training_form import quantised_form
from graphopt.train.finetune import TuneRecord, frozen
from graphopt.train.quantised import train_quantised

Result = tuple[onnx.ModelProto, list[TuneRecord]]


def config(**changes: Any) -> FinetuneConfig:
    content = {"precision": "w8a8", "quantised_steps": 40, "patches": (2, 16), "ema": 0.8, "record_every": 10}
    return FinetuneConfig.model_validate({**content, "quantised_learning_rate": 3e-3, **changes})


def trained(state: Path, say: Any = lambda share, words: None, device: str = "qnn", **changes: Any) -> Result:
    model = residual()
    quantised = to_integers(model, device, "w8a8", scene(16, 16))
    teacher = frozen(GraphModule(to_graph(model)))
    return train_quantised(model, quantised, teacher, sampler(), config(**changes), state, say)


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def psnr(model: onnx.ModelProto) -> float:
    noisy, clean = sampler(9).batch(8, 16)
    session = OnnxSession(model)
    errors = [np.square(session.run(x[None])[0] - y).mean() for x, y in zip(noisy, clean, strict=True)]
    return float(np.mean(-10 * np.log10(errors)))


@pytest.mark.parametrize("device", ["qnn", "cpu"])
def test_training_raises_the_psnr_of_the_file_itself(device: str, tmp_path: Path) -> None:
    start = to_integers(residual(), device, "w8a8", scene(16, 16))
    made, history = trained(tmp_path / "s.pt", device=device, distillation=0)
    assert psnr(made) > psnr(start) + 1
    assert [record.step for record in history] == [10, 20, 30, 40]
    assert history[-1].loss < history[0].loss - 1


def test_the_structure_stays_and_the_numbers_move(tmp_path: Path) -> None:
    start = to_integers(residual(), "qnn", "w8a8", scene(16, 16))
    made, _ = trained(tmp_path / "s.pt")
    onnx.checker.check_model(made, full_check=True)
    assert is_quantised(made)
    assert [node.SerializeToString() for node in made.graph.node] == [
        node.SerializeToString() for node in start.graph.node
    ]
    before, after = arrays(start), arrays(made)
    assert {name: (v.dtype, v.shape) for name, v in before.items()} == {n: (v.dtype, v.shape) for n, v in after.items()}
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {"w_quantized", "k_quantized", "d_quantized", "w_scale", "k_scale", "d_quantized_scale"} <= moved
    assert not any(name.endswith("zero_point") for name in moved)
    scales = [value for name, value in after.items() if name.endswith("scale")]
    assert all((value > 0).all() for value in scales if value.dtype == np.float32)


class Killed(Exception):
    pass


def test_a_run_that_was_killed_is_the_same_as_one_that_was_not(tmp_path: Path) -> None:
    expected, history = trained(tmp_path / "whole.pt")

    def kill(share: float, words: str) -> None:
        if words.startswith(("step 17/", "step 33/")):
            raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            trained(tmp_path / "parted.pt", kill)
    found, again = trained(tmp_path / "parted.pt")
    assert again == history
    assert found.SerializeToString() == expected.SerializeToString()


def test_a_checkpoint_of_another_form_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "s.pt", quantised_steps=1)
    with pytest.raises(GraphoptError, match="is the checkpoint of another network"):
        trained(tmp_path / "s.pt", device="cpu", quantised_steps=1)


def test_without_a_teacher_the_float_network_teaches(nafnet_graph: gs.Graph, tmp_path: Path) -> None:
    """Its features as well: the less is rounded, the nearer."""
    model = to_model(nafnet_graph)
    shape = tuple(nafnet_graph.inputs[0].shape[2:])
    coarse, fine = (to_integers(model, "qnn", precision, scene(*shape)) for precision in ("w8a8", "w8a16"))
    chosen = config(losses={"l2": 1e-9, "teacher": 1, "features": 1}, quantised_steps=1)
    losses = []
    for made in (coarse, fine):
        state = tmp_path / f"{len(losses)}.pt"
        losses.append(
            train_quantised(model, made, None, sampler(), chosen, state, lambda share, words: None)[1][0].loss
        )
    assert 0 < losses[1] < losses[0]


def test_no_steps_leave_the_activations_as_they_were(tmp_path: Path) -> None:
    start = to_integers(residual(), "qnn", "w8a8", scene(16, 16))
    made, history = trained(tmp_path / "s.pt", quantised_steps=0)
    assert history == []
    before, after = arrays(start), arrays(made)
    assert all(np.array_equal(before[name], after[name]) for name in before if before[name].dtype != np.int32)


def test_a_scale_moves_by_a_share_of_itself_and_stays_above_zero() -> None:
    model = residual()
    form = quantised_form(to_integers(model, "qnn", "w8a8", scene(16, 16)), model)
    network = QuantisedModule(form.graph, form.scales)
    starts = network.initialisers.tensors()
    assert all(torch.equal(scale, starts[name]) for name, scale in network.scales().items())
    network(torch.from_numpy(scene(16, 16))).sum().backward()
    assert network.moved.grad is not None
    assert int((network.moved.grad != 0).sum()) > network.moved.numel() / 2
    with torch.no_grad():
        network.moved.fill_(-2 / PACE)
    for name, scale in network.scales().items():
        torch.testing.assert_close(scale, starts[name] * np.exp(-2), rtol=1e-6, atol=0)
