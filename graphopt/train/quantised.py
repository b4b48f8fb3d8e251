"""Quantisation-aware fine-tuning: trains what a QDQ graph computes, and writes it back into the same graph."""

from __future__ import annotations

from pathlib import Path

import onnx
from torch import nn

from graphopt.config.training import FinetuneConfig
from graphopt.nn.quantised_module import QuantisedModule
from graphopt.progress import Progress
from graphopt.quantise.quantise import Quantised
from graphopt.quantise.training_form import quantised_form, with_trained
from graphopt.train.data import PatchSampler
from graphopt.train.finetune import TuneRecord, finetune


def train_quantised(
    model: onnx.ModelProto,
    quantised: Quantised | onnx.ModelProto,
    teacher: nn.Module,
    sampler: PatchSampler,
    config: FinetuneConfig,
    state: Path,
    say: Progress,
) -> tuple[onnx.ModelProto, list[TuneRecord]]:
    """The QDQ graph in the same structure, with weights, biases and scales trained for `config.quantised_steps`.

    `model`: the float network (canonical) that it was made of, whose exact weights are where training starts.
    `teacher`: frozen, as `finetune` takes it; where `config.losses` asks for features, it must watch tensors that
    both have, and `watch` of it names them. Goes on from the checkpoint `state`, as every training.

    Raises:
        GraphoptError: a float network that has other weights; a loss that is not finite.
    """
    start = quantised if isinstance(quantised, onnx.ModelProto) else quantised.model
    form = quantised_form(start, model)
    network = QuantisedModule(form.graph, form.scales, getattr(teacher, "watch", ()))
    history = finetune(network, teacher, sampler, config.in_integers(), state, say)
    weights = {name: weight.detach() for name, weight in network.named_initialisers().items()}
    scales = {name: scale.detach() for name, scale in network.scales().items()}
    values = {name: value.cpu().contiguous().numpy() for name, value in {**weights, **scales}.items()}
    return with_trained(start, form.masters, values), history
