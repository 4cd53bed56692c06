"""A second reader of Megatron's token files, written from the format's description alone (struct, no numpy).

Prints one JSON object: type code, and every document as a list of its sequences. The tests compare it with what belay
wrote; it shares no code with it.
"""
import json
import struct
import sys

with open(sys.argv[1] + ".idx", "rb") as stream:
    index = stream.read()
with open(sys.argv[1] + ".bin", "rb") as stream:
    tokens = stream.read()

assert index[:9] == b"MMIDIDX\x00\x00", "not an index"
version, code, sequences, entries = struct.unpack_from("<QBQQ", index, 9)
assert version == 1
letter, width = {1: ("B", 1), 2: ("b", 1), 3: ("h", 2), 4: ("i", 4), 5: ("q", 8), 8: ("H", 2)}[code]
at = 9 + struct.calcsize("<QBQQ")
lengths = struct.unpack_from(f"<{sequences}i", index, at)
at += 4 * sequences
pointers = struct.unpack_from(f"<{sequences}q", index, at)
at += 8 * sequences
documents = struct.unpack_from(f"<{entries}q", index, at)
assert at + 8 * entries == len(index), "bytes are left over"
assert documents[0] == 0 and documents[-1] == sequences
assert sum(lengths) * width == len(tokens)


def sequence(number):
    return struct.unpack_from(f"<{lengths[number]}{letter}", tokens, pointers[number])


print(json.dumps({
    "code": code,
    "documents": [[sequence(s) for s in range(a, b)] for a, b in zip(documents, documents[1:])],
}))
