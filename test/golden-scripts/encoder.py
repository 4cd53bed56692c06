"""A small encoder in the layout of XLM-R, and what it makes of texts: test/golden/embedder/.

    node --import tsx test/golden-scripts/encoder-texts.ts > texts.jsonl
    /usr/bin/python3 test/golden-scripts/encoder.py texts.jsonl test/golden/embedder

Needs Debian's python3-sentencepiece (trains a Unigram vocabulary with its own nmt_nfkc map) and python3-torch. The weights
are random: the file shows that a graph is run right, not that it says anything. Leaves

    tokenizer.json.gz   laid out as the tokenizer.json of xlm-roberta-base: Precompiled, WhitespaceSplit, Metaspace, Unigram
    model.onnx          2 layers, width 24: input_ids, attention_mask -> last_hidden_state
    vectors.json        ids (by sentencepiece, in chunks of 512 with <s> and </s>) and means over tokens, by PyTorch

Does not: fetch anything.
"""

import base64
import gzip
import io
import json
import os
import sys

import sentencepiece
import torch
from sentencepiece import sentencepiece_model_pb2 as model_pb2

WIDTH, HEADS, LAYERS, INNER, POSITIONS, CHUNK = 24, 4, 2, 64, 514, 512
texts = [json.loads(line) for line in open(sys.argv[1], encoding="utf8")]
out = sys.argv[2]

trained = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter([line for text in texts for line in text["text"].split("\n") if line]),
    model_writer=trained, model_type="unigram", vocab_size=1100, character_coverage=0.995, hard_vocab_limit=False,
    normalization_rule_name="nmt_nfkc", num_threads=1, max_sentence_length=100000, minloglevel=2,
)
proto = model_pb2.ModelProto()
proto.ParseFromString(trained.getvalue())
processor = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
pieces = [(piece.piece, piece.score) for piece in proto.pieces]
# The order of fairseq, as transformers' XLMRobertaConverter writes it.
vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces[3:], ("<mask>", 0.0)]
special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
ids = {piece: i for i, (piece, _) in enumerate(vocab)}
bos, eos, unk, pad = ids["<s>"], ids["</s>"], ids["<unk>"], ids["<pad>"]
tokenizer = {
    "version": "1.0", "truncation": None, "padding": None,
    "added_tokens": [
        {"id": ids[token], "content": token, "single_word": False, "lstrip": token == "<mask>", "rstrip": False,
         "normalized": False, "special": True}
        for token in special
    ],
    "normalizer": {"type": "Precompiled",
                   "precompiled_charsmap": base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}]},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "</s>", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}},
                 {"Sequence": {"id": "B", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [bos], "tokens": ["<s>"]},
                           "</s>": {"id": "</s>", "ids": [eos], "tokens": ["</s>"]}}},
    "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
    "model": {"type": "Unigram", "unk_id": unk, "vocab": vocab, "byte_fallback": False},
}
os.makedirs(out, exist_ok=True)
with open(os.path.join(out, "tokenizer.json.gz"), "wb") as file:
    text = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode()
    file.write(gzip.compress(text, 9, mtime=0))


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = torch.nn.Linear(WIDTH, 3 * WIDTH)
        self.out = torch.nn.Linear(WIDTH, WIDTH)
        self.norm1, self.norm2 = torch.nn.LayerNorm(WIDTH, eps=1e-5), torch.nn.LayerNorm(WIDTH, eps=1e-5)
        self.up, self.down = torch.nn.Linear(WIDTH, INNER), torch.nn.Linear(INNER, WIDTH)

    def forward(self, x, bias):
        batch, length = x.shape[0], x.shape[1]
        q, k, v = self.qkv(x).view(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5 + bias, -1)
        x = self.norm1(x + self.out((weights @ v).transpose(1, 2).reshape(batch, length, WIDTH)))
        return self.norm2(x + self.down(torch.nn.functional.gelu(self.up(x))))


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.positions = torch.nn.Embedding(len(vocab), WIDTH), torch.nn.Embedding(POSITIONS, WIDTH)
        self.norm = torch.nn.LayerNorm(WIDTH, eps=1e-5)
        self.layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, input_ids, attention_mask):
        # Positions of RoBERTa: counted over the mask, from the padding id + 1.
        positions = torch.cumsum(attention_mask, 1) * attention_mask + pad
        x = self.norm(self.words(input_ids) + self.positions(positions))
        bias = (1 - attention_mask[:, None, None, :].to(x.dtype)) * -10000.0
        for layer in self.layers:
            x = layer(x, bias)
        return x


torch.manual_seed(42)
encoder = Encoder().eval()
example = torch.tensor([[bos, 5, 6, eos]])
torch.onnx.export(
    encoder, (example, torch.ones_like(example)), os.path.join(out, "model.onnx"), opset_version=14,
    input_names=["input_ids", "attention_mask"], output_names=["last_hidden_state"],
    dynamic_axes={name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask", "last_hidden_state")},
)


def pooled(chunk):
    ids_ = torch.tensor([chunk])
    with torch.no_grad():
        mask = torch.ones_like(ids_)
        hidden = encoder(ids_, mask)
        expanded = mask.unsqueeze(-1).expand(hidden.size())
        return (torch.sum(hidden * expanded, 1) / torch.clamp(expanded.sum(1), min=1e-9))[0].tolist()


vectors = []
for text in texts:
    if not text.get("vector"):
        continue
    tokens = [i + 1 if i else unk for i in processor.encode(text["text"])]
    # sentencepiece numbers <unk> 0, <s> 1, </s> 2, pieces from 3; here pieces begin at 4.
    chunks = [tokens[at : at + CHUNK - 2] for at in range(0, max(1, len(tokens)), CHUNK - 2)]
    chunks = [[bos, *chunk, eos] for chunk in chunks]
    vectors.append({"text": text["text"], "chunks": [
        {"length": len(chunk), "ids": chunk if len(chunk) < 100 else None, "vector": [round(x, 6) for x in pooled(chunk)]}
        for chunk in chunks]})
with open(os.path.join(out, "vectors.json"), "w", encoding="utf8") as file:
    json.dump({"torch": torch.__version__, "sentencepiece": sentencepiece.__version__, "width": WIDTH, "texts": vectors},
              file, ensure_ascii=False, separators=(",", ":"))
    file.write("\n")
