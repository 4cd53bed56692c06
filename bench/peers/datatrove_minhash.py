# The MinHash of datatrove (huggingface/datatrove), as it is, for bench/data-dedup.ts and for test/golden/minhash.json.
#
# The sources are not installed: BELAY_DATATROVE names the folder `src` of a checkout. Debian's python3-numpy,
# python3-xxhash, python3-regex, python3-loguru, python3-fsspec and python3-dill are all it needs here: what it imports
# beyond that for downloads is stubbed. Its word splitters (spaCy, NLTK) are replaced by the words of
# src/data/steps/simplified-words.ts, so that both sides compare the same words.
#
#   datatrove_minhash.py golden < texts.json > minhash.json     simplified texts, shingles and signatures
#   datatrove_minhash.py worker                                 a path a line; answers CPU seconds and clusters
#
# Does not: time anything but its own work.
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import shutil
import struct
import sys
import time
import types

import regex

sys.path.insert(0, os.environ["BELAY_DATATROVE"])


class Anything(Exception):
    def __init__(self, *args, **kwargs):
        pass

    def __getattr__(self, name):
        return Anything()

    def __call__(self, *args, **kwargs):
        return Anything()


class Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules that are imported but not used here, with whatever is asked of them."""

    names = [name for name in ("huggingface_hub", "tokenizers", "tqdm") if importlib.util.find_spec(name) is None]

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda key: Anything
        module.__path__ = []
        if spec.name == "tqdm":
            module.tqdm = lambda items, **_: items
        return module

    def exec_module(self, module):
        pass


sys.meta_path.append(Stubs())

from datatrove.data import Document  # noqa: E402
from datatrove.pipeline.dedup import minhash  # noqa: E402
from datatrove.utils.hashing import HashConfig  # noqa: E402
from datatrove.utils.logging import logger  # noqa: E402
from datatrove.utils.text import simplify_text  # noqa: E402

logger.remove()

scripts = ["Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Tai_Le", "New_Tai_Lue"]
alone = "".join("\\p{Script=%s}" % script for script in scripts)
word = regex.compile("[%s]|[^\\s%s]+" % (alone, alone))


class Words:
    def word_tokenize(self, text):
        return word.findall(text)


minhash.load_word_tokenizer = lambda language: Words()


def step(bits=64, folder="/tmp"):
    config = minhash.MinhashConfig(hash_config=HashConfig(precision=bits))
    return minhash.MinhashDedupSignature(output_folder=folder, config=config)


def golden():
    texts = json.load(sys.stdin)
    out = []
    for text in texts:
        row = {"text": text, "simplified": simplify_text(text)}
        for bits in (64, 32):
            stage = step(bits)
            shingles = stage.get_shingles(text)
            row["shingles%d" % bits] = ["%x" % int(x) for x in shingles.ravel()]
            signature = stage.get_signature(shingles) if shingles.size else []
            row["signature%d" % bits] = ["%x" % x for bucket in signature for x in bucket]
        out.append(row)
    rows = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in out)
    sys.stdout.write("[\n" + ",\n".join(rows) + "\n]\n")


def worker():
    documents = []
    print("ready", flush=True)
    for line in sys.stdin:
        path = line.strip()
        work = path + ".datatrove"
        with open(path, encoding="utf-8") as file:
            documents = [Document(text=row["text"], id=row["id"]) for row in map(json.loads, file)]
        start = time.process_time()
        step(64, os.path.join(work, "signatures")).run(iter(documents))
        signed = time.process_time()
        config = minhash.MinhashConfig()
        buckets = minhash.MinhashDedupBuckets(
            input_folder=os.path.join(work, "signatures"),
            output_folder=os.path.join(work, "pairs"),
            config=config,
        )
        for rank in range(config.num_buckets):
            buckets.run(rank=rank, world_size=config.num_buckets)
        cluster = minhash.MinhashDedupCluster(
            input_folder=os.path.join(work, "pairs"),
            output_folder=os.path.join(work, "removed"),
            config=config,
            save_cluster_id=True,
        )
        # Debian's fsspec has no patterns with a depth; the folder holds nothing else.
        cluster.input_folder.list_files = lambda **_: sorted(os.listdir(os.path.join(work, "pairs")))
        cluster.run(None, 0, 1)
        clustered = time.process_time()
        # Document numbers with the number of the cluster each is in.
        clusters = []
        found = os.path.join(work, "removed", "000000.clusters")
        if os.path.exists(found):
            with open(found, "rb") as file:
                clusters = list(struct.iter_unpack("<2I", file.read()))
        shutil.rmtree(work)
        print(json.dumps({"sign": signed - start, "cluster": clustered - signed, "clusters": clusters}), flush=True)


if sys.argv[1] == "golden":
    golden()
else:
    worker()
