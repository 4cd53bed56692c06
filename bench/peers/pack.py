"""Documents to a Megatron .bin with Hugging Face tokenizers: the peer of bench/pack.ts.

Reads the gzipped JSON lines of DIR/documents, encodes them in batches (the library spreads a batch over all cores), and
writes int32 ids, with <s> and </s>, as Megatron's preprocessing does with its fast tokenizers. Prints seconds.
"""
import glob
import gzip
import json
import os
import resource
import sys
import time

import numpy
from tokenizers import Tokenizer

folder = sys.argv[1]
tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer", "tokenizer.json"))
tokenizer.no_truncation()
# What a page spells out of control tokens is text.
tokenizer.encode_special_tokens = True
os.makedirs(os.path.join(folder, "peer"), exist_ok=True)


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


began, before, tokens = time.perf_counter(), cpu(), 0
with open(os.path.join(folder, "peer", "train.bin"), "wb") as out:

    def flush(texts):
        global tokens
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            ids = numpy.array([1, *encoding.ids, 2], dtype=numpy.int32)
            tokens += len(ids)
            out.write(ids.tobytes())

    batch = []
    for path in sorted(glob.glob(os.path.join(folder, "documents", "train-*.jsonl.gz"))):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                batch.append(json.loads(line)["text"])
                if len(batch) == 1000:
                    flush(batch)
                    batch = []
    flush(batch)
print(json.dumps({"clock": time.perf_counter() - began, "cpu": cpu() - before, "tokens": tokens}))
