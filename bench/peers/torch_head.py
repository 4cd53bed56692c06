"""Trains the toxicity head of data-heads.ts in PyTorch: WIDTH HIDDEN DOCUMENTS EPOCHS THREADS -> seconds an epoch, one a line.

Does not: check what is learnt; test/golden-scripts/heads.py does.
"""

import sys
import time

import torch

width, hidden, documents, epochs, threads = map(int, sys.argv[1:])
torch.set_num_threads(threads)
x, y = torch.randn(documents, width), torch.randint(0, 2, (documents,))
head = torch.nn.Sequential(
    torch.nn.Linear(width, hidden), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(hidden, 2))
optimizer = torch.optim.AdamW(head.parameters(), lr=3e-4)
for _ in range(epochs):
    start = time.perf_counter()
    order = torch.randperm(documents)
    for at in range(0, documents, 64):
        rows = order[at : at + 64]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(x[rows]), y[rows]).backward()
        optimizer.step()
    print(time.perf_counter() - start, flush=True)
