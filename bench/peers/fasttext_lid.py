# The original fastText for bench/language-id.ts: a path of JSON lines on standard input, labels and CPU seconds back.
#
#   python3 fasttext_lid.py lid.176.ftz        (Debian: python3-fasttext)
import json
import sys
import time

import fasttext

fasttext.FastText.eprint = lambda *args: None
model = fasttext.load_model(sys.argv[1])
print("fastText's Python binding, lid.176.ftz", flush=True)
for path in sys.stdin:
    path = path.strip()
    with open(path, encoding="utf-8") as lines:
        texts = [json.loads(line).replace("\n", " ") for line in lines]
    before = time.process_time()
    labels = [model.predict(text)[0] for text in texts]
    seconds = time.process_time() - before
    with open(path + ".out", "w", encoding="utf-8") as out:
        out.writelines((label[0].removeprefix("__label__") if label else "und") + "\n" for label in labels)
    print(json.dumps({"seconds": seconds}), flush=True)
