"""Verdicts of datatrove's filters on the lines of filter-texts.ts: what test/golden/filters.json holds.

    /usr/bin/python3 datatrove_verdicts.py DATATROVE/src TEXTS.jsonl > test/golden/filters.json

Needs datatrove's sources (huggingface/datatrove, the commit in the output) and Debian's python3-numpy, -loguru, -regex,
-dill, -fsspec, -humanize, -multiprocess, -tqdm. Words and sentences are those of src/data/steps/text-scan.ts and c4.ts,
written here as a pattern of the `regex` module; spaCy is not asked. Everything else is datatrove's own code.

Does not: fetch anything.
"""

import hashlib
import json
import sys
import types

import regex

SPACE = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
PART = r"[\p{L}\p{M}\p{N}_\u200c\u200d]"
TOKEN = regex.compile(
    rf"(?:(?<={PART})['’])?{PART}+(?:(?<=\p{{Nd}})[.,](?=\p{{Nd}}){PART}+)*|\.{{2,}}|[^{SPACE}]"
)
CLOSERS = "\"'”’»)]}」』）】"
WIDE = "。！？｡"


class Words:
    """Stands where datatrove has spaCy."""

    known = {}

    def word_tokenize(self, text):
        return self.known.get(text) or TOKEN.findall(text)

    def span_tokenize(self, text):
        spans, start = [], 0
        for match in self.ends.finditer(text):
            rest = text[match.end():]
            if (rest[:1].isspace() and rest.strip()) or (rest and not rest[0].isspace() and match[1][-1] in WIDE):
                spans.append((start, match.end()))
                start = match.end()
        return spans + [(start, len(text))]


class Both:
    """One filter after the other."""

    def __init__(self, *filters):
        self.filters = filters

    def filter(self, document):
        answers = (step.filter(document) for step in self.filters)
        return next((answer for answer in answers if answer is not True), True)


def load(sources):
    """datatrove's filters without what they do not need here: the hub, and writers of files."""
    sys.path.insert(0, sources)

    class Anything(types.ModuleType):
        __path__ = []

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    for name in ("huggingface_hub", "huggingface_hub.utils", "tokenizers", "datatrove.pipeline.writers",
                 "datatrove.pipeline.writers.disk_base", "datatrove.pipeline.writers.jsonl"):
        sys.modules[name] = Anything(name)
    from datatrove.utils import word_tokenizers
    from datatrove.utils.text import TERMINAL_PUNCTUATION

    terminal = regex.escape("".join(sorted(TERMINAL_PUNCTUATION)), literal_spaces=True)
    Words.ends = regex.compile(f"([{terminal}]+)[{regex.escape(CLOSERS)}]*")
    words = Words()
    word_tokenizers.load_word_tokenizer = lambda language: words
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4ParagraphFilter, C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter,
    )

    return Document, {
        "gopher-quality": GopherQualityFilter(),
        "gopher-repetition": GopherRepetitionFilter(),
        "c4": C4QualityFilter(),
        "c4 of FineWeb": C4QualityFilter(filter_no_terminal_punct=False),
        "mc4": Both(C4QualityFilter(), C4ParagraphFilter()),
        "fineweb": FineWebQualityFilter(),
    }


def digest(text):
    """Of the code units, which JavaScript has too."""
    return hashlib.sha256(text.encode("utf-16-le", "surrogatepass")).hexdigest()[:16]


def main(sources, path):
    Document, filters = load(sources)
    verdicts, lines = {}, open(path, "rb").read().splitlines()
    for line in lines:
        record = json.loads(line)
        text = record["text"]
        if "words" in record:
            Words.known[text] = record["words"]
        row = verdicts[record["name"]] = {}
        for name, step in filters.items():
            document = Document(text=text, id=record["name"])
            answer = step.filter(document)
            if answer is not True:
                row[name] = answer[1]
            elif document.text != text:
                row[name] = {"sha256": digest(document.text)}
        row["words"] = digest("\n".join(Words().word_tokenize(text)))
    source = "huggingface/datatrove a649de79c14a550dc90f48a15c025f2dd3fd3b57 on the texts of filter-texts.ts"
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in verdicts.items())
    print(f'{{"source": {json.dumps(source)},\n"verdicts": {{\n{rows}\n}}}}')


if __name__ == "__main__":
    main(*sys.argv[1:])
