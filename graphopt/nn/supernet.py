"""A space as a torch module: the graph, with every choice mixed by probability or resolved by a selection."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs
import torch
from torch import Tensor, nn

from graphopt.errors import GraphoptError, did_you_mean
from graphopt.ir.fragments import Fragment
from graphopt.ir.space import Choice, Space
from graphopt.nn.initialisers import Initialisers, attribute_name, is_trained
from graphopt.nn.mixing import mix
from graphopt.nn.module import Result, base_initialisers, collect, feed, graph_inputs
from graphopt.nn.program import Environment, Program, Routing, Step, node_steps


@dataclass(frozen=True)
class Branch:
    """An option of a choice: what to run, and which tensor then stands for each output of the site."""

    program: Program
    stands_for: tuple[str, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        """What comes from outside; a candidate may hand a tensor of the host straight on."""
        return (*self.program.reads, *(name for name in self.stands_for if name not in self.program.makes))

    def run(self, environment: Environment, routing: Routing) -> list[Tensor]:
        self.program.run(environment, routing)
        values = [environment[name] for name in self.stands_for]
        for name in set(self.stands_for) & self.program.makes:
            del environment[name]
        return values


@dataclass(frozen=True)
class ChoiceStep:
    """A choice: its branches run and their outputs are mixed, or only the selected branch runs."""

    name: str
    options: tuple[str, ...]
    branches: tuple[Branch, ...]
    writes: tuple[str, ...]
    position: int

    @property
    def label(self) -> str:
        return f"choice '{self.name}'"

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for branch in self.branches for name in branch.reads))

    def run(self, environment: Environment, routing: Routing) -> None:
        selected = routing.selection.get(self.name)
        if selected is not None:
            branch = self.branches[self.options.index(selected)]
            environment.update(zip(self.writes, branch.run(environment, routing), strict=True))
            return
        if self.name not in routing.probabilities:
            raise GraphoptError(
                f"{self.label} is neither selected nor given probabilities; select one of {', '.join(self.options)}"
            )
        every = range(len(self.options))
        running = [i for i in every if i in routing.sampled.get(self.name, every)]
        groups = tuple((i,) for i in running)
        values = [self.branches[i].run(environment, routing) for i in running]
        for i, name in enumerate(self.writes):
            environment[name] = mix(routing.probabilities[self.name], groups, [value[i] for value in values])


class Supernet(nn.Module):
    """Runs a space: at each choice the output is sum_k p_k * y_k over `keep` and the candidates' fragments.

    The base weights are shared by all branches, each fragment has its own. `keep` of a choice runs the site's nodes
    with the choices nested in it. p is softmax(alpha / temperature), all alphas zero at the start (DARTS, Liu et al.
    2019).
    """

    def __init__(self, space: Space):
        super().__init__()
        self._options = {name: choice.options for name, choice in space.choices.items()}
        self.base = base_initialisers(space.graph)
        self.fragments = Initialisers()
        for constant in _fragment_constants(space):
            self.fragments.store(constant, is_trained(constant))
        starts = [(attribute_name(name), torch.zeros(len(options))) for name, options in self._options.items()]
        self.alphas = nn.ParameterDict([(name, nn.Parameter(start)) for name, start in starts])
        self._inputs = [tensor.name for tensor in graph_inputs(space.graph)]
        self._outputs = [tensor.name for tensor in space.graph.outputs]
        self._program = _Planner(space).level(None, space.graph.nodes, self._outputs)
        self.device, self._half = torch.device("cpu"), False
        self._program.check({*self._inputs, *self.base.tensors(), *self.fragments.tensors()})

    def place(self, device: torch.device, half: bool = False) -> Supernet:
        """Weights on `device`, and autocast to bfloat16 there if `half`.

        The alphas stay on the CPU, where the hardware terms are computed: a GPU would wait for each of these numbers.
        Inputs are brought to the device, and outputs back to where the inputs were, in their type.
        """
        self.base.to(device)
        self.fragments.to(device)
        self.device, self._half = device, half
        return self

    def autocast(self) -> torch.autocast:
        """What this network computes under, for others that are to compute alike."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._half)

    def forward(
        self,
        *inputs: Tensor,
        probabilities: Mapping[str, Tensor] | None = None,
        selection: Mapping[str, str] | None = None,
        sampled: Mapping[str, Collection[int]] | None = None,
    ) -> Result:
        """The outputs of the graph, in its order.

        A choice that `selection` names runs only its selected branch; the others are mixed by `probabilities`, one
        vector (K,) a choice in the order of its options. Without both, p is `self.probabilities()`. With a selection
        alone, it must name every choice that runs (those inside a dropped site do not). Of a choice that `sampled`
        names, only the branches of the options at these positions are mixed.
        """
        self._check(probabilities or {}, selection or {})
        if probabilities is None:
            probabilities = self.probabilities() if selection is None else {}
        environment = feed(self._inputs, tuple(value.to(self.device) for value in inputs), self.base)
        environment.update(self.fragments.tensors())
        with self.autocast():
            self._program.run(environment, Routing(probabilities, selection or {}, sampled or {}))
        for name in self._outputs:
            value = environment[name]
            environment[name] = value.to(inputs[0]) if value.is_floating_point() else value.to(inputs[0].device)
        return collect(self._outputs, environment)

    def _check(self, probabilities: Mapping[str, Tensor], selection: Mapping[str, str]) -> None:
        for name in (*probabilities, *selection):
            if name not in self._options:
                raise GraphoptError(f"there is no choice '{name}'; {did_you_mean(name, self._options)}")
        for name, option in selection.items():
            if option not in self._options[name]:
                known = did_you_mean(option, self._options[name])
                raise GraphoptError(f"choice '{name}' has no candidate '{option}'; {known}")
        for name, values in probabilities.items():
            if values.shape != (len(self._options[name]),):
                raise GraphoptError(
                    f"choice '{name}': probabilities of shape {tuple(values.shape)}, "
                    f"expected one for each of {', '.join(self._options[name])}"
                )

    def options(self, name: str) -> tuple[str, ...]:
        """The options of a choice, `keep` first."""
        return self._options[name]

    def logits(self, name: str) -> nn.Parameter:
        """alpha (K,) of a choice, in the order of its options."""
        if name not in self._options:
            raise GraphoptError(f"there is no choice '{name}'; {did_you_mean(name, self._options)}")
        return self.alphas[attribute_name(name)]

    def probabilities(self, temperature: float = 1.0) -> dict[str, Tensor]:
        """softmax(alpha / temperature) of every choice: (K,), in the order of its options."""
        if temperature <= 0:
            raise GraphoptError(f"the temperature is {temperature}; it must be above 0")
        result: dict[str, Tensor] = {}
        for size in sorted({len(options) for options in self._options.values()}):  # one softmax for all of a size
            names = [name for name, options in self._options.items() if len(options) == size]
            rows = torch.stack([self.logits(name) for name in names])
            result.update(zip(names, torch.softmax(rows / temperature, 1).unbind(), strict=True))
        return {name: result[name] for name in self._options}

    def weight_parameters(self) -> list[nn.Parameter]:
        """The weights of the graph and of all fragments."""
        return [*self.base.parameters(), *self.fragments.parameters()]

    def architecture_parameters(self) -> list[nn.Parameter]:
        """The alphas."""
        return list(self.alphas.parameters())

    def write_back(self, space: Space) -> None:
        """Puts the weights into the graph of `space` and into the constants of its fragments, bit for bit."""
        constants = (tensor for tensor in space.graph.tensors().values() if isinstance(tensor, gs.Constant))
        self.base.write_back(constants, "the graph")
        self.fragments.write_back(_fragment_constants(space), "the space's fragments")


class _Planner:
    """Turns the nested choices of a space into nested programs."""

    def __init__(self, space: Space):
        self._space = space
        self._nodes = {node.name: node for node in space.graph.nodes}
        self._position = {name: i for i, name in enumerate(self._nodes)}
        self._visible = {tensor.name for tensor in space.graph.outputs}
        for choice in space.choices.values():
            self._visible.update(choice.site.outputs.values())
            for fragment in (candidate.fragment for candidate in choice.candidates.values()):
                self._visible.update(tensor.name for node in fragment.nodes for tensor in node.inputs)
                self._visible.update(tensor.name for tensor in fragment.outputs.values())

    def level(self, parent: str | None, nodes: Sequence[gs.Node], results: Sequence[str]) -> Program:
        """The nodes of a site (of the graph, where `parent` is None), with each choice right inside it as one step."""
        choices = [self._space.choices[name] for name in self._space.children(parent)]
        inside = {name for choice in choices for name in choice.site.nodes}
        free = [node for node in nodes if node.name not in inside]
        steps = node_steps(free, self._visible, self._space.graph.opset, self._position)
        return Program([*steps, *(self._choice(choice) for choice in choices)], results)

    def _choice(self, choice: Choice) -> Step:
        site = choice.site
        missing = [name for name in site.nodes if name not in self._nodes]
        if missing:
            raise GraphoptError(
                f"choice '{choice.name}': its site holds the node '{missing[0]}', which the graph does not have; "
                "find the sites again on this graph"
            )
        nodes = sorted((self._nodes[name] for name in site.nodes), key=lambda node: self._position[node.name])
        outputs = tuple(site.outputs.values())
        branches = [Branch(self.level(choice.name, nodes, outputs), outputs)]
        branches += [self._candidate(choice, name, each.fragment) for name, each in choice.candidates.items()]
        position = max(self._position[node.name] for node in nodes)
        return ChoiceStep(choice.name, choice.options, tuple(branches), outputs, position)

    def _candidate(self, choice: Choice, option: str, fragment: Fragment) -> Branch:
        outputs = tuple(choice.site.outputs.values())
        missing = [name for name in outputs if name not in fragment.outputs]
        if missing:
            raise GraphoptError(
                f"choice '{choice.name}', candidate '{option}': nothing stands for the site's output '{missing[0]}'; "
                "a fragment must replace every output of its site"
            )
        stands_for = tuple(fragment.outputs[name].name for name in outputs)
        positions = {node.name: i for i, node in enumerate(fragment.nodes)}
        steps = node_steps(fragment.nodes, set(stands_for), self._space.graph.opset, positions)
        return Branch(Program(steps, stands_for), stands_for)


def _fragment_constants(space: Space) -> Iterator[gs.Constant]:
    """The constants of all fragments, each once."""
    for choice in space.choices.values():
        for candidate in choice.candidates.values():
            yield from _constants(candidate.fragment)


def _constants(fragment: Fragment) -> Iterable[gs.Constant]:
    read = (tensor for node in fragment.nodes for tensor in node.inputs if isinstance(tensor, gs.Constant))
    return {id(tensor): tensor for tensor in (*fragment.constants, *read)}.values()
