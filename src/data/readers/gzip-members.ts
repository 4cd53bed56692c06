// The members of a concatenated gzip file one after the other, as a stream of bytes with marks.
//
// node:zlib reads concatenated members too, but gives up the whole file at the first damaged byte. Here a damaged
// member is reported and reading goes on at the next gzip header, which is what a crawl archive with a bad sector
// needs. Each member's CRC-32 and length are checked.
//
// Does not: know what is in the members.
import * as zlib from 'node:zlib';

/** Bytes, or a mark: `start` of a member at a byte offset of the file, or `damage` up to the next member. */
export type MemberPiece =
  | Buffer
  | { readonly mark: 'start'; readonly offset: number }
  | { readonly mark: 'damage'; readonly offset: number; readonly reason: string };

/** Compressed bytes handed to zlib at once: deflate expands at most 1,032 times, so one step gives at most 17 MB. */
const feedBytes = 16 * 1024;

/** The pieces of all members; never throws on bad content (errors of the underlying file do come through). */
export async function* readGzipMembers(chunks: AsyncIterable<Buffer>): AsyncGenerator<MemberPiece> {
  const source = new ChunkSource(chunks);
  while (await source.fill(1)) {
    const offset = source.offset;
    const problem = await skipHeader(source);
    if (problem === undefined) {
      yield { mark: 'start', offset };
      const failure = yield* inflateMember(source);
      if (failure === undefined) continue;
      yield { mark: 'damage', offset, reason: failure };
    } else {
      yield { mark: 'damage', offset, reason: problem };
    }
    // What was consumed of a bad member is gone; the search goes on in what follows.
    if (!(await seekHeader(source))) return;
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
  const inflate = zlib.createInflateRaw({ readableHighWaterMark: 2 ** 30, chunkSize: 1 << 16 } as object);
  let failure: string | undefined;
  inflate.on('error', (error: Error) => {
    failure = `damaged gzip member (${error.message})`;
  });
  let crc = 0;
  let length = 0;
  try {
    for (;;) {
      if (!(await source.fill(1))) return 'truncated gzip member';
      const piece = source.peek(feedBytes);
      const before = inflate.bytesWritten;
      await writeTo(inflate, piece);
      for (let out = inflate.read() as Buffer | null; out !== null; out = inflate.read() as Buffer | null) {
        crc = crc32(out, crc);
        length = (length + out.length) >>> 0;
        yield out;
      }
      if (failure !== undefined) {
        source.take(1);
        return failure;
      }
      const used = inflate.bytesWritten - before;
      source.take(used);
      if (used < piece.length) break;
    }
  } finally {
    inflate.destroy();
  }
  if (!(await source.fill(8))) return 'truncated gzip member';
  const trailer = source.take(8);
  if (trailer.readUInt32LE(0) !== crc) return 'damaged gzip member (checksum)';
  if (trailer.readUInt32LE(4) !== length) return 'damaged gzip member (length)';
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

/** Chunks of a file seen as one run of bytes. */
class ChunkSource {
  /** Bytes taken so far. */
  offset = 0;
  private readonly chunks: AsyncIterator<Buffer>;
  private held: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.chunks = chunks[Symbol.asyncIterator]();
  }

  /** Makes at least `count` bytes available; false when the file ends before. */
  async fill(count: number): Promise<boolean> {
    while (this.held.length < count) {
      const next = await this.chunks.next();
      if (next.done) return false;
      this.held = this.held.length === 0 ? next.value : Buffer.concat([this.held, next.value]);
    }
    return true;
  }

  /** Up to `count` of the bytes at hand, not consumed. */
  peek(count: number): Buffer {
    return this.held.subarray(0, count);
  }

  take(count: number): Buffer {
    const bytes = this.held.subarray(0, count);
    this.held = this.held.subarray(count);
    this.offset += bytes.length;
    return bytes;
  }
}

const crcTable = Int32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** CRC-32 of RFC 1952; zlib has it from Node 20.15 on. */
const crc32 = (zlib as { crc32?: (bytes: Uint8Array, start: number) => number }).crc32 ?? slowCrc32;

function slowCrc32(bytes: Uint8Array, start: number): number {
  let crc = ~start;
  for (let i = 0; i < bytes.length; i++) {
    crc = (crc >>> 8) ^ (crcTable[(crc ^ (bytes[i] as number)) & 255] as number);
  }
  return ~crc >>> 0;
}
