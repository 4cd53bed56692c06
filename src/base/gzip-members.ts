// The members of a concatenated gzip file one after the other, as a stream of bytes with marks.
//
// node:zlib reads concatenated members too, but gives up the whole file at the first damaged byte. Here a damaged
// member is reported and reading goes on at the next gzip header, which is what a crawl archive with a bad sector
// needs. Each member's CRC-32 and length are checked.
//
// Does not: know what is in the members.
import * as zlib from 'node:zlib';
import { ChunkSource, type Piece } from './chunk-source.ts';
import { errorText } from './json.ts';

/** Compressed bytes given to zlib at once: deflate expands at most 1,032 times, so one step holds at most 66 MiB. */
const feedBytes = 64 * 1024;
/** A member this small is inflated in one call, which costs a fifth of a stream of its own. */
const smallMember = 128 * 1024;
/** Beyond this a small member is a bomb, and goes through the stream. */
const smallOutput = 8 * 1024 * 1024;

/** The pieces of all members; never throws on bad content (errors of the underlying file do come through). */
export async function* readGzipMembers(chunks: AsyncIterable<Buffer>): AsyncGenerator<Piece> {
  const source = new ChunkSource(chunks);
  try {
    let expectSmall = true;
    while (await source.fill(1)) {
      const offset = source.offset;
      let problem = await skipHeader(source);
      if (problem === undefined) {
        yield { mark: 'start', offset };
        const whole = expectSmall ? await inflateSmall(source) : undefined;
        if (whole) yield whole;
        else problem = yield* inflateMember(source);
        expectSmall = source.offset - offset < smallMember;
      }
      if (problem === undefined) continue;
      yield { mark: 'damage', offset, reason: problem };
      // What was consumed of a bad member is gone; the search goes on in what follows, never at the same byte.
      if (source.offset === offset) source.take(1);
      if (!(await seekHeader(source))) return;
    }
  } finally {
    await source.close();
  }
}

/** The bytes of a member that is small and whole; undefined, with nothing consumed, of any other. */
async function inflateSmall(source: ChunkSource): Promise<Buffer | undefined> {
  await source.fill(smallMember);
  const input = source.peek(smallMember);
  try {
    const options = { info: true, maxOutputLength: smallOutput, chunkSize: 1 << 16 };
    const { buffer, engine } = zlib.inflateRawSync(input, options) as unknown as {
      readonly buffer: Buffer;
      readonly engine: { readonly bytesWritten: number };
    };
    const end = engine.bytesWritten;
    if (end + 8 > input.length || trailerProblem(input.subarray(end), crc32(buffer, 0), buffer.length))
      return undefined;
    source.take(end + 8);
    return buffer;
  } catch {
    // Cut off here, or damaged: the stream says which, and gives what can be had.
    return undefined;
  }
}
/** Reads a member's header (RFC 1952, 2.3); returns what is wrong with it, if anything. */
async function skipHeader(source: ChunkSource): Promise<string | undefined> {
  if (!(await source.fill(10))) return 'truncated gzip header';
  const head = source.take(10);
  if (head[0] !== 0x1f || head[1] !== 0x8b || head[2] !== 8) return 'not a gzip header';
  const flags = head[3] as number;
  if (flags & 0xe0) return 'not a gzip header';
  if (flags & 4) {
    if (!(await source.fill(2))) return 'truncated gzip header';
    const length = source.take(2).readUInt16LE();
    if (!(await source.fill(length))) return 'truncated gzip header';
    source.take(length);
  }
  for (const flag of [8, 16]) {
    if (!(flags & flag)) continue;
    for (let n = 0; ; n++) {
      if (n > 4096 || !(await source.fill(1))) return 'truncated gzip header';
      if (source.take(1)[0] === 0) break;
    }
  }
  if (flags & 2) {
    if (!(await source.fill(2))) return 'truncated gzip header';
    source.take(2);
  }
  return undefined;
}

/** Yields the member's bytes; returns what went wrong, or undefined. */
async function* inflateMember(source: ChunkSource): AsyncGenerator<Buffer, string | undefined> {
  // The large high-water mark lets a write finish before its output is read.
  const inflate = zlib.createInflateRaw({ readableHighWaterMark: 2 ** 30, chunkSize: 1 << 18 } as object);
  let failure: string | undefined;
  inflate.on('error', (error: Error) => {
    failure = `damaged gzip member (${errorText(error)})`;
  });
  let crc = 0;
  let length = 0;
  try {
    if (!(await source.fill(1))) return 'truncated gzip member';
    let piece = source.peek(feedBytes);
    let before = inflate.bytesWritten;
    let written = writeTo(inflate, piece);
    for (let ended = false; !ended; ) {
      await written;
      const outputs: Buffer[] = [];
      for (let out = inflate.read() as Buffer | null; out !== null; out = inflate.read() as Buffer | null) {
        outputs.push(out);
      }
      if (failure === undefined) {
        const used = inflate.bytesWritten - before;
        source.take(used);
        ended = used < piece.length;
      } else {
        // The place of the damage is not known more exactly than by the bytes that zlib took.
        source.take(1);
      }
      const more = failure === undefined && !ended && (await source.fill(1));
      if (more) {
        // zlib works on the next piece, in a thread, while the reader has this one.
        piece = source.peek(feedBytes);
        before = inflate.bytesWritten;
        written = writeTo(inflate, piece);
      }
      for (const out of outputs) {
        crc = crc32(out, crc);
        length = (length + out.length) >>> 0;
        yield out;
      }
      if (failure !== undefined && !more) return failure;
      if (!more && !ended) return 'truncated gzip member';
    }
  } finally {
    inflate.destroy();
  }
  if (!(await source.fill(8))) return 'truncated gzip member';
  return trailerProblem(source.take(8), crc, length);
}

function trailerProblem(trailer: Buffer, crc: number, length: number): string | undefined {
  if (trailer.readUInt32LE(0) !== crc) return 'damaged gzip member (checksum)';
  if (trailer.readUInt32LE(4) !== length >>> 0) return 'damaged gzip member (length)';
  return undefined;
}

/** Resolves when zlib has done with the piece, or failed. */
function writeTo(inflate: zlib.InflateRaw, piece: Buffer): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      inflate.off('close', done);
      resolve();
    };
    inflate.once('close', done);
    inflate.write(piece, done);
  });
}

/** Moves to the next bytes that can begin a member; false at the end of the file. */
async function seekHeader(source: ChunkSource): Promise<boolean> {
  while (await source.fill(4)) {
    const bytes = source.peek(1 << 16);
    for (let at = 0; at + 4 <= bytes.length; at++) {
      at = bytes.indexOf(0x1f, at);
      if (at < 0 || at + 4 > bytes.length) break;
      if (bytes[at + 1] === 0x8b && bytes[at + 2] === 8 && ((bytes[at + 3] as number) & 0xe0) === 0) {
        source.take(at);
        return true;
      }
    }
    source.take(bytes.length - 3);
  }
  return false;
}

const crcTable = Int32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** CRC-32 of RFC 1952; zlib has it from Node 20.15 on. */
export const crc32: (bytes: Uint8Array, start: number) => number =
  (zlib as { crc32?: (bytes: Uint8Array, start: number) => number }).crc32 ?? slowCrc32;

function slowCrc32(bytes: Uint8Array, start: number): number {
  let crc = ~start;
  for (let i = 0; i < bytes.length; i++) {
    crc = (crc >>> 8) ^ (crcTable[(crc ^ (bytes[i] as number)) & 255] as number);
  }
  return ~crc >>> 0;
}
