"""Thresholds and what is above them, by numpy: what test/golden/quantiles.json holds.

    /usr/bin/python3 test/golden-scripts/quantiles.py > test/golden/quantiles.json

Needs Debian's python3-numpy. A case is a list of scores and a share p; `threshold` is numpy.quantile(scores, 1 - p), as
epfml/fineweb2-hq computes it, and `above` counts the scores that are strictly greater.

Does not: know languages.
"""

import json

import numpy

rng = numpy.random.default_rng(7)
cases = []


def add(name, scores):
    for p in (0.05, 0.1, 0.33, 0.5, 0, 1):
        threshold = numpy.quantile(scores, 1 - p)
        above = int(sum(score > threshold for score in scores))
        cases.append({"name": name, "scores": scores, "p": p, "threshold": float(threshold), "above": above})


add("one", [0.25])
add("two", [0.75, 0.5])
add("ties", [0.1, 0.9, 0.9, 0.9, 0.9, 0.2, 0.9, 0.9, 0.9, 0.9, 0.9, 0.3])
add("equal", [0.5] * 40)
add("signs", [-1.5, 0.0, -0.0, 2.25, -1e-300, 5e-324, 1e300, -7.0])
add("uniform", [float(x) for x in rng.random(257)])
add("float32", [float(numpy.float32(x)) for x in rng.beta(0.3, 4, 200)])
add("saturated", [float(1 / (1 + numpy.exp(-x))) for x in rng.normal(9, 6, 150)])
print(json.dumps({"numpy": numpy.__version__, "cases": cases}, separators=(",", ":")))
