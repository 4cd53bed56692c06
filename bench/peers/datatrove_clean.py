"""datatrove's line as it ships: JSON lines in, its filters and personal data, JSON lines out. The peer of bench/data-clean.ts.

    python datatrove_clean.py DATATROVE/src IN OUT

Its own reader, words (spaCy's, for English), filters, writer and local executor, one task on one worker. Needs orjson,
spacy, fsspec, huggingface-hub, dill, multiprocess, loguru, humanize, tqdm, regex and numpy.

Does not: remove duplicates; those are lines of their own in datatrove.
"""

import sys

sys.path.insert(0, sys.argv[1])
from datatrove.executor.local import LocalPipelineExecutor  # noqa: E402
from datatrove.pipeline.filters import (  # noqa: E402
    C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter,
)
from datatrove.pipeline.formatters.pii import PIIFormatter  # noqa: E402
from datatrove.pipeline.readers import JsonlReader  # noqa: E402
from datatrove.pipeline.writers import JsonlWriter  # noqa: E402

if __name__ == "__main__":
    _, _, source, out = sys.argv
    LocalPipelineExecutor(
        pipeline=[
            JsonlReader(source),
            GopherRepetitionFilter(),
            GopherQualityFilter(min_stop_words=None),
            C4QualityFilter(filter_no_terminal_punct=False),
            FineWebQualityFilter(),
            PIIFormatter(),
            JsonlWriter(f"{out}/documents"),
        ],
        tasks=1,
        workers=1,
        logging_dir=f"{out}/logs",
    ).run()
