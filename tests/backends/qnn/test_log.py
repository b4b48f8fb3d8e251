"""What is read out of the log of the NPU's compiler."""

import pytest

from graphopt.backends.qnn.log import CompiledFacts, parse_log

LOG = """\
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] supertile.cc:366:num_supertiles = 3
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] supertile.cc:367:num_subtiles = 10
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] options.cc:150:Option: supertile_max_size_kb = 256
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] spill_bytes=100
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] fill_bytes=200
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] write_total_bytes=3000
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] read_total_bytes=4000
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] x.cc:1:finalize_runlist: in_runlist=67, runlist = 59 + 22 vec + 5 mtx + 0 elt
2026-01-01 [V:onnxruntime:Default, x.cc:1 QnnLogging] <V> spillFillBufferSizes=7
"""
ALL_PLACED = "[V:onnxruntime:, x.cc:1 VerifyEachNodeIsAssignedToAnEp]  All nodes placed on [QNNExecutionProvider]. Number of nodes: 1\n"
PARTLY_PLACED = """\
[V:onnxruntime:, x.cc:1 VerifyEachNodeIsAssignedToAnEp] Node placements
[V:onnxruntime:, x.cc:1 VerifyEachNodeIsAssignedToAnEp]  Node(s) placed on [QNNExecutionProvider]. Number of nodes: 2
[V:onnxruntime:, x.cc:1 VerifyEachNodeIsAssignedToAnEp]   QNNExecutionProvider_1 (QNNExecutionProvider_QNNExecutionProvider_1_0)
[V:onnxruntime:, x.cc:1 VerifyEachNodeIsAssignedToAnEp]  Node(s) placed on [CPUExecutionProvider]. Number of nodes: 1
[V:onnxruntime:, x.cc:1 VerifyEachNodeIsAssignedToAnEp]   Celu (head (old)/Celu_2)
"""


def test_a_log_of_one_graph() -> None:
    facts = parse_log((LOG + ALL_PLACED).splitlines())
    assert facts == CompiledFacts(4000, 3000, 100, 200, 3, 59, 22, 5, graphs=1)
    assert CompiledFacts.from_dict(facts.to_dict()) == facts


def test_a_log_of_two_graphs_is_summed_and_names_what_was_refused() -> None:
    facts = parse_log((LOG + LOG + PARTLY_PLACED).splitlines())
    assert facts == CompiledFacts(8000, 6000, 200, 400, 6, 118, 44, 10, 2, refused=("Celu (head (old)/Celu_2)",))


@pytest.mark.parametrize("missing", ["num_supertiles = ", "read_total_bytes", "spill_bytes", "runlist = ", "placed on"])
def test_a_log_that_lacks_a_count_is_not_understood(missing: str) -> None:
    lines = [line for line in (LOG + ALL_PLACED).splitlines() if missing not in line]
    assert parse_log(lines) is None
