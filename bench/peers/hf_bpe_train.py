"""Hugging Face's trainer of byte-level BPE: hf_bpe_train.py TEXTS.jsonl PATTERN.txt SIZE MERGES.json

Prints {"name", "seconds", "peak"}: of training alone, and the peak memory of the process. The peer of tokenizer-train.ts.
"""
import json
import resource
import sys
import time

import tokenizers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

path, pattern, size, out = sys.argv[1:]
with open(path, encoding="utf8") as file:
    texts = [json.loads(line) for line in file]
with open(pattern, encoding="utf8", newline="") as file:
    expression = file.read()
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Split(Regex(expression), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
)
trainer = trainers.BpeTrainer(
    vocab_size=int(size), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=[], show_progress=False
)
start = time.perf_counter()
tokenizer.train_from_iterator(texts, trainer)
seconds = time.perf_counter() - start
with open(out, "w", encoding="utf8") as file:
    json.dump(json.loads(tokenizer.to_str())["model"]["merges"], file)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"name": f"tokenizers {tokenizers.__version__}", "seconds": seconds, "peak": peak}))
