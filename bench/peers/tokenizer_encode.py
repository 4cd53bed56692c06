"""Tokenizers of others as a process that waits: the peers of bench/tokenizer-encode.ts.

    python3 tokenizer_encode.py hf|tiktoken|sentencepiece FILE THREADS

FILE is a tokenizer.json, for tiktoken one whose ids ascend as its merges do, or a SentencePiece model. Reads the path of a JSON
list of texts from standard input, encodes them without special tokens, as a batch, and answers with CPU seconds, seconds on
the clock, the number of ids and the SHA-256 of all ids as int32 (outside of the time).

Does not: fetch anything.
"""

import hashlib
import json
import os
import struct
import sys
import time

kind, file, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
os.environ["RAYON_NUM_THREADS"] = str(threads)


def byte_of():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


if kind == "hf":
    import tokenizers

    version = tokenizers.__version__
    tokenizer = tokenizers.Tokenizer.from_file(file)

    def encode(texts):
        return tokenizer.encode_batch_fast(texts, add_special_tokens=False)

    def ids_of(encoding):
        return encoding.ids
elif kind == "tiktoken":
    import tiktoken

    version = tiktoken.__version__
    with open(file, encoding="utf8") as opened:
        content = json.load(opened)
    if content.get("normalizer") is not None:
        raise ValueError("tiktoken has no normaliser, and the file names one: its ids would differ")
    alphabet = byte_of()
    added = {token["id"] for token in content["added_tokens"]}
    vocabulary = {token: id for token, id in content["model"]["vocab"].items() if id not in added}
    tokenizer = tiktoken.Encoding(
        name="bench",
        pat_str=content["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"],
        mergeable_ranks={bytes(alphabet[char] for char in token): id for token, id in vocabulary.items()},
        special_tokens={},
    )

    def encode(texts):
        if threads == 1:
            return [tokenizer.encode_ordinary(text) for text in texts]
        return tokenizer.encode_ordinary_batch(texts, num_threads=threads)

    def ids_of(encoding):
        return encoding
else:
    import sentencepiece

    version = sentencepiece.__version__
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=file)

    def encode(texts):
        return tokenizer.encode(texts, num_threads=threads)

    def ids_of(encoding):
        return encoding


print(json.dumps({"version": version}), flush=True)
for line in sys.stdin:
    with open(line.strip(), encoding="utf8") as opened:
        texts = json.load(opened)
    cpu, clock = time.process_time(), time.perf_counter()
    encoded = encode(texts)
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    digest, count = hashlib.sha256(), 0
    for encoding in encoded:
        ids = ids_of(encoding)
        count += len(ids)
        digest.update(struct.pack(f"<{len(ids)}i", *ids))
    print(json.dumps({"cpu": cpu, "clock": clock, "ids": count, "hash": digest.hexdigest()}), flush=True)
