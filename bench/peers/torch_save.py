# The PyTorch peer of bench/checkpoint.ts: torch.save of weights and three moments, flushed, driven over standard input.
#
# Reads one JSON line with the shapes of all parameters and a path; answers every line `save` with the seconds of
# torch.save and of the flush after it, as a JSON list. Nothing is hashed and nothing is renamed.
import json
import os
import sys
import time

import torch

facts = json.loads(sys.stdin.readline())
path = facts["path"]
torch.manual_seed(0)
weights = {str(n): torch.randn(shape) for n, shape in enumerate(facts["shapes"])}
moments = {name: {key: torch.randn_like(value) for key, value in weights.items()} for name in ("m1", "m2", "v")}
print(json.dumps({"ready": torch.__version__}), flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    with open(path, "wb") as file:
        torch.save({"model": weights, "optimizer": moments}, file)
        file.flush()
        saved = time.perf_counter()
        os.fsync(file.fileno())
    print(json.dumps([saved - started, time.perf_counter() - saved]), flush=True)
    os.remove(path)
