"""What the phones' tools print, in the form that their projects document or their sources write."""

from __future__ import annotations

OLD_LITERT = """STARTING!
Log parameter values verbosely: [0]
Num threads: [4]
Graph: [/data/local/tmp/graphopt-1/mine.tflite]
Loaded model /data/local/tmp/graphopt-1/mine.tflite
INFO: Initialized TensorFlow Lite runtime.
The input model file size (MB): 11.983
Initialized session in 20.283ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=2 first=339304 curr=266325 min=266325 max=339304 avg=302814 std=36489

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=266601 curr=266931 min=265837 max=268116 avg=266473 std=419

Inference timings in us: Init: 20283, First inference: 339304, Warmup (avg): 302814, Inference (avg): 266473
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory \
footprint of the model at runtime. Take the information at your discretion.
Memory footprint delta from the start of the tool (MB): init=6.70312 overall=63.4023
"""
NEW_LITERT = """INFO: count=5 first=130492 curr=111222 min=111222 max=130492 avg=116523 std=7192 p5=111222 median=112001 p95=130492

INFO: count=49 first=112256 curr=111087 min=110425 max=114213 avg=112533 std=778 p5=110800 median=112400 p95=113900

INFO: Inference timings in us: Init: 34939, First inference: 130492, Warmup (avg): 116523, Inference (avg): 112533
"""
REPLACED = "VERBOSE: Replacing {} out of 58 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 partitions.\n"
NOT_DELEGATED = (
    "INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.\n"
)
PERF_TEST = """Session creation time cost: 0.0183481 s
First inference time cost: 64 ms
Total inference time cost: 0.315 s
Total inference requests: 5
Average inference time cost: 63 ms
Total inference run time: 0.3151 s
Number of inferences per second: 15.868
Avg CPU usage: 12 %
Peak working set size: 114634752 bytes
graphopt-1,0.0642,114634752,12,0
graphopt-1,0.0611,114634752,12,1
graphopt-1,6.05e-02,114634752,12,2
graphopt-1,0.0689,114634752,12,3
graphopt-1,0.0603,114634752,12,4
"""
VIEWER = """Qnn Init/Prepare/Finalize/De-Init/Execute/Lib-Load Statistics:
------------------------------------------------------------

Init Stats:
-----------
    NetRun:  331158 us

Execute Stats (Average):
------------------------
Total Inference Time:
---------------------
Graph 0 (model):
    NetRun:  2952 us
    Backend (Number of HVX threads used): 4 count
    Backend (RPC (execute) time): 2920 us
    Backend (QNN accelerator (execute) time): 2600 us

Execute Stats (Min):
--------------------
Total Inference Time:
---------------------
Graph 0 (model):
    NetRun:  2810 us

Execute Stats (Max):
--------------------
Total Inference Time:
---------------------
Graph 0 (model):
    NetRun:  3377 us

Execute Stats (Overall):
------------------------
    NetRun IPS:  214.8888 inf/sec
"""
MNN = """Use extra forward type: 0
Open Model mine.mnn
Session Info: memory use 18.250000 MB, flops is 3211.000000 M, backendType is 13
precision:1, Run 30 time:
                     Convolution1 \t[Convolution] run 30 average cost 1.500000 ms, 12.195 %, FlopsRate: 13.000 %
Avg= 12.300000 ms, {}min= 12.000000 ms, max= 13.750000 ms
"""
