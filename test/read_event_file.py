"""A second reader of TensorBoard event files, for src/base/tensorboard.test.ts: plain struct, no libraries.

Prints JSON: {"records": [{"step", "wall_time", "version", "start", "values": {tag: value}}], "torn": bytes of a last
record that is not whole}. A wrong checksum is an error.

Does not: import anything of belay, TensorFlow or protobuf; that is its point.
"""
import json
import struct
import sys


def crc32c(data):
    """Bit by bit, from the definition of the polynomial 0x1EDC6F41 (reflected: 0x82F63B78)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1))
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        else:
            size, at = varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = data[at : at + size], at + size
        yield key >> 3, value


def decode(data):
    event = {"step": 0, "wall_time": 0.0, "version": None, "start": False, "values": {}}
    for field, value in fields(data):
        if field == 1:
            event["wall_time"] = struct.unpack("<d", value)[0]
        elif field == 2:
            event["step"] = value
        elif field == 3:
            event["version"] = value.decode()
        elif field == 7:
            event["start"] = dict(fields(value)).get(1) == 1
        elif field == 5:
            for _, one in fields(value):
                parts = dict(fields(one))
                event["values"][parts[1].decode()] = struct.unpack("<f", parts[2])[0]
    return event


def main(path):
    with open(path, "rb") as file:
        data = file.read()
    found = []
    at = 0
    while len(data) - at >= 16:
        (size,) = struct.unpack_from("<Q", data, at)
        if struct.unpack_from("<I", data, at + 8)[0] != masked(data[at : at + 8]):
            sys.exit(f"wrong checksum of the length at byte {at}")
        if at + 16 + size > len(data):
            break
        body = data[at + 12 : at + 12 + size]
        if struct.unpack_from("<I", data, at + 12 + size)[0] != masked(body):
            sys.exit(f"wrong checksum of the data at byte {at}")
        found.append(decode(body))
        at += 16 + size
    json.dump({"records": found, "torn": len(data) - at}, sys.stdout)


main(sys.argv[1])
