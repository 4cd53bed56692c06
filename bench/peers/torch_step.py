# The PyTorch peer of bench/train-step.ts: the same Apertus, the same step, driven over standard input.
#
# Reads one JSON line with the sizes, then answers every line `run N` with the milliseconds of N steps (forward,
# backward, clipping, AdamW) as a JSON list. BELAY_PEER_MODE: eager or compiled; BELAY_PEER_BF16=1: autocast.
# With a torch that has scaled_dot_product_attention it is used, else attention is spelled out.
import json
import math
import os
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(int(os.environ.get("BELAY_PEER_THREADS", "2")))
BF16 = os.environ.get("BELAY_PEER_BF16") == "1"
COMPILED = os.environ.get("BELAY_PEER_MODE") == "compiled"
SDPA = hasattr(F, "scaled_dot_product_attention")
size = json.loads(sys.stdin.readline())
L, D, H, K, T, B, V, FF = (size[k] for k in ("layers", "hidden", "heads", "kvHeads", "T", "B", "V", "intermediate"))
HD = D // H
torch.manual_seed(0)


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class XIELU(nn.Module):
    def __init__(self):
        super().__init__()
        self.alpha_p = nn.Parameter(torch.tensor(math.log(math.expm1(0.8))))
        self.alpha_n = nn.Parameter(torch.tensor(math.log(math.expm1(0.3))))

    def forward(self, x):
        p = F.softplus(self.alpha_p)
        n = 0.5 + F.softplus(self.alpha_n)
        negative = (torch.expm1(torch.clamp(x, max=-1e-6)) - x) * n + 0.5 * x
        return torch.where(x > 0, p * x * x + 0.5 * x, negative)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.n2 = RMSNorm(D), RMSNorm(D)
        self.qn, self.kn = RMSNorm(HD), RMSNorm(HD)
        self.qkv = nn.Linear(D, (H + 2 * K) * HD, bias=False)
        self.o = nn.Linear(H * HD, D, bias=False)
        self.up = nn.Linear(D, FF, bias=False)
        self.down = nn.Linear(FF, D, bias=False)
        self.act = XIELU()

    def forward(self, x, cos, sin, mask):
        q, k, v = self.qkv(self.n1(x)).split((H * HD, K * HD, K * HD), -1)
        q = rotate(self.qn(q.view(B, T, H, HD).transpose(1, 2)), cos, sin)
        k = rotate(self.kn(k.view(B, T, K, HD).transpose(1, 2)), cos, sin)
        v = v.view(B, T, K, HD).transpose(1, 2)
        if K != H:
            k, v = k.repeat_interleave(H // K, 1), v.repeat_interleave(H // K, 1)
        if SDPA:
            y = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype), is_causal=True)
        else:
            y = ((q @ k.transpose(-1, -2)) * HD**-0.5 + mask).softmax(-1) @ v
        x = x + self.o(y.transpose(1, 2).reshape(B, T, H * HD))
        return x + self.down(self.act(self.up(self.n2(x))))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(V, D)
        self.blocks = nn.ModuleList(Block() for _ in range(L))
        self.norm = RMSNorm(D)
        self.head = nn.Linear(D, V, bias=False)
        angle = torch.arange(T)[:, None] * 5e5 ** (-torch.arange(0, HD // 2) / (HD // 2))
        self.cos, self.sin = angle.cos(), angle.sin()
        self.mask = torch.full((T, T), float("-inf")).triu(1)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0, 0.02)

    def forward(self, ids, labels):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin, self.mask)
        return F.cross_entropy(self.head(self.norm(x)).view(-1, V).float(), labels.view(-1))


model = Model()
forward = torch.compile(model) if COMPILED else model
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, foreach=True)
ids, labels = torch.randint(0, V, (B, T)), torch.randint(0, V, (B, T))


def step():
    optimizer.zero_grad(set_to_none=True)
    if BF16:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = forward(ids, labels)
    else:
        loss = forward(ids, labels)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


step()
print(json.dumps({"ready": torch.__version__, "sdpa": SDPA}), flush=True)
for line in sys.stdin:
    times = []
    for _ in range(int(line.split()[1])):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps(times), flush=True)
