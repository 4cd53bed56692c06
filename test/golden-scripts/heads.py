"""Training of small classifiers by PyTorch, step by step: what test/golden/heads.json holds.

    /usr/bin/python3 test/golden-scripts/heads.py > test/golden/heads.json

Needs Debian's python3-torch. Inputs, labels and first weights are integers over a power of two, by the formulas below,
which src/data/heads/train.test.ts has too. AdamW with PyTorch's own defaults, linear warm-up, no dropout, batches in order.

Does not: say what a good classifier is.
"""

import json

import torch

N, WIDTH, HIDDEN, BATCH, EPOCHS, LR, WARMUP = 320, 24, 40, 64, 12, 3e-3, 20


def numbers(count, a, b):
    """(i * a mod b) / 1024 - b / 2048: exact in float32."""
    return torch.tensor([(i * a % b) / 1024 - b / 2048 for i in range(count)], dtype=torch.float32)


x = numbers(N * WIDTH, 7919, 2039).view(N, WIDTH)
labels = torch.tensor([1 if float(row[:8].sum()) > float(row[8:16].sum()) else 0 for row in x])


def train(outputs):
    head = torch.nn.Sequential(
        torch.nn.Linear(WIDTH, HIDDEN), torch.nn.ReLU(), torch.nn.Dropout(0.0), torch.nn.Linear(HIDDEN, outputs))
    with torch.no_grad():
        for number, parameter in enumerate(head.parameters()):
            parameter.copy_(numbers(parameter.numel(), 104729 + 2 * number, 401).view(parameter.shape))
    optimizer = torch.optim.AdamW(head.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / WARMUP))
    losses = []
    for _ in range(EPOCHS):
        for at in range(0, N, BATCH):
            optimizer.zero_grad()
            logits = head(x[at : at + BATCH])
            y = labels[at : at + BATCH]
            if outputs == 1:
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.flatten(), y.float())
            else:
                loss = torch.nn.functional.cross_entropy(logits, y)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    with torch.no_grad():
        logits = head(x)
        scores = torch.sigmoid(logits).flatten() if outputs == 1 else torch.softmax(logits, 1)[:, 1]
    return {"outputs": outputs, "losses": losses, "scores": scores.tolist(),
            "lastBias": head[3].bias.tolist(), "firstBias": head[0].bias.tolist()}


print(json.dumps({"torch": torch.__version__, "positive": int(labels.sum()), "runs": [train(2), train(1)]},
                 separators=(",", ":")))
