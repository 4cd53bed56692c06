// Messages of Protocol Buffers, field by field: what event files of TensorBoard and W&B are made of.
//
// A field is a varint key (number * 8 + wire type) and a value; types here are varint 0, 8 bytes 1, bytes 2, 4 bytes 5.
//
// Does not: know any message, or groups (types 3 and 4), which no message we know has.

function varint(value: number): Buffer {
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`protobuf: got ${value}, expected a whole number`);
  const out: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
  out.push(rest);
  return Buffer.from(out);
}

export function varintField(field: number, value: number): Buffer {
  return Buffer.concat([varint(field * 8), varint(value)]);
}

export function bytes(field: number, value: Uint8Array): Buffer {
  return Buffer.concat([varint(field * 8 + 2), varint(value.length), value]);
}

export function text(field: number, value: string): Buffer {
  return bytes(field, Buffer.from(value, 'utf8'));
}

export function float(field: number, value: number): Buffer {
  const out = Buffer.alloc(5);
  out[0] = field * 8 + 5;
  out.writeFloatLE(value, 1);
  return out;
}

export interface Field {
  readonly field: number;
  /** Of a varint. */
  readonly number: number;
  /** Of everything else. */
  readonly part: Buffer | undefined;
}

/** The fields of a message, in their order; known and unknown ones. */
export function* fieldsOf(message: Buffer): Generator<Field> {
  let at = 0;
  const readVarint = (): number => {
    let value = 0;
    for (let scale = 1; at < message.length; scale *= 128) {
      const byte = message[at++] as number;
      value += (byte & 127) * scale;
      if (byte < 128) break;
    }
    return value;
  };
  while (at < message.length) {
    const key = readVarint();
    const type = key % 8;
    const field = Math.floor(key / 8);
    if (type === 0) {
      yield { field, number: readVarint(), part: undefined };
      continue;
    }
    const length = type === 2 ? readVarint() : type === 1 ? 8 : type === 5 ? 4 : Number.NaN;
    // Groups (types 3 and 4) are in no message we know; what follows one cannot be read.
    if (!(at + length <= message.length)) return;
    yield { field, number: 0, part: message.subarray(at, at + length) };
    at += length;
  }
}
