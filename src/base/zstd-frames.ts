// The frames of a .zst file one after the other, as a stream of bytes with marks (RFC 8878, 3.1).
//
// A damaged frame is reported and reading goes on at the next frame; checksums are checked where frames have them. A
// dictionary in a skippable frame at the beginning serves all frames that follow, as .warc.zst has it (IIPC, "Use of
// Zstandard compression in WARC files", 1.0); it may be compressed itself.
//
// Does not: know what is in the frames.
import { ChunkSource, type Piece } from './chunk-source.ts';
import { errorText } from './json.ts';
import { Xxh64 } from './xxh64.ts';
import { maxBlock, readDictionary, ZstdDecoder, type ZstdDictionary, ZstdError } from './zstd-decoder.ts';

const frameMagic = 0xfd2fb528;
const dictionaryFrameMagic = 0x184d2a5d;
/** zstd makes dictionaries of 110 KB unless told otherwise; archives have had some of several megabytes. */
const maxDictionary = 1 << 26;

/** The pieces of all frames; never throws on bad content (errors of the underlying file do come through). */
export async function* readZstdFrames(chunks: AsyncIterable<Buffer>): AsyncGenerator<Piece> {
  const source = new ChunkSource(chunks);
  const decoder = new ZstdDecoder();
  let dictionary: ZstdDictionary | undefined;
  try {
    while (await source.fill(1)) {
      const { offset } = source;
      let problem: string | undefined;
      // The shortest frame has nine bytes, a skippable one eight.
      if (!(await source.fill(8))) {
        problem = 'truncated zstd frame';
        source.take(source.peek(8).length);
      } else {
        const magic = source.peek(4).readUInt32LE(0);
        if (magic === frameMagic) {
          yield { mark: 'start', offset };
          problem = yield* decodeFrame(source, decoder, dictionary);
        } else if (offset === 0 && magic === dictionaryFrameMagic) {
          const read = await takeDictionary(source);
          if (typeof read === 'string') problem = read;
          else dictionary = read;
        } else if ((magic & 0xfffffff0) >>> 0 === 0x184d2a50) {
          problem = await skipFrame(source);
        } else {
          problem = 'not a zstd frame';
          source.take(1);
        }
      }
      if (problem === undefined) continue;
      yield { mark: 'damage', offset, reason: problem };
      if (!(await seekFrame(source))) return;
    }
  } finally {
    await source.close();
  }
}

/** All bytes of a file in memory, of which no more than `limit` are made; throws ZstdError on what is not whole. */
export async function unzstd(bytes: Uint8Array, limit: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const piece of readZstdFrames(once(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)))) {
    if (Buffer.isBuffer(piece)) {
      length += piece.length;
      if (length > limit) throw new ZstdError(`more than ${limit} bytes`);
      parts.push(piece);
    } else if (piece.mark === 'damage') {
      throw new ZstdError(piece.reason);
    }
  }
  return Buffer.concat(parts, length);
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

/** Yields a frame's bytes; returns what went wrong, or undefined. */
async function* decodeFrame(
  source: ChunkSource,
  decoder: ZstdDecoder,
  dictionary: ZstdDictionary | undefined,
): AsyncGenerator<Buffer, string | undefined> {
  source.take(4);
  try {
    const header = await takeHeader(source);
    if (typeof header === 'string') return header;
    if (header.dictionary !== 0 && header.dictionary !== dictionary?.id) {
      return `damaged zstd frame (dictionary ${header.dictionary} is not there)`;
    }
    decoder.begin(header.window, dictionary);
    const hash = header.checksum ? new Xxh64() : undefined;
    let length = 0;
    for (let last = false; !last; ) {
      if (!(await source.fill(3))) return truncated(source);
      const head = source.peek(3).readUIntLE(0, 3);
      last = (head & 1) === 1;
      const kind = (head >> 1) & 3;
      const size = head >> 3;
      if (kind === 3 || size > maxBlock) {
        source.take(1);
        return 'damaged zstd frame (no such block)';
      }
      const inFile = kind === 1 ? 1 : size;
      if (!(await source.fill(3 + inFile))) return truncated(source);
      const bytes = source.peek(3 + inFile).subarray(3);
      let out: Buffer;
      try {
        out =
          kind === 0
            ? decoder.raw(bytes)
            : kind === 1
              ? decoder.repeat(bytes[0] as number, size)
              : decoder.block(bytes);
      } catch (error) {
        // The next frame may begin inside of what this block says is its own.
        source.take(1);
        throw error;
      }
      source.take(3 + inFile);
      hash?.update(out);
      length += out.length;
      if (out.length > 0) yield out;
    }
    if (hash) {
      if (!(await source.fill(4))) return truncated(source);
      if (source.take(4).readUInt32LE(0) !== hash.low()) return 'damaged zstd frame (checksum)';
    }
    if (header.content >= 0 && header.content !== length) return 'damaged zstd frame (length)';
    return undefined;
  } catch (error) {
    if (error instanceof ZstdError) return `damaged zstd frame (${errorText(error)})`;
    throw error;
  }
}

/** What is there of a frame that the file ends in may hold a later frame only if the frame lies about its lengths. */
function truncated(source: ChunkSource): string {
  source.take(1);
  return 'truncated zstd frame';
}

interface FrameHeader {
  readonly window: number;
  /** Id, or 0. */
  readonly dictionary: number;
  /** Bytes of the frame, or -1. */
  readonly content: number;
  readonly checksum: boolean;
}

async function takeHeader(source: ChunkSource): Promise<FrameHeader | string> {
  if (!(await source.fill(1))) return truncated(source);
  const descriptor = source.peek(1)[0] as number;
  const single = (descriptor & 32) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] as number;
  const contentBytes = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] as number;
  const length = 1 + (single ? 0 : 1) + dictionaryBytes + contentBytes;
  if (!(await source.fill(length))) return truncated(source);
  if (descriptor & 8) return 'damaged zstd frame (reserved bit)';
  const head = source.take(length);
  let at = 1;
  let window = 0;
  if (!single) {
    const byte = head[at++] as number;
    const base = 2 ** (10 + (byte >> 3));
    window = base + (base / 8) * (byte & 7);
  }
  const dictionary = dictionaryBytes === 0 ? 0 : head.readUIntLE(at, dictionaryBytes);
  at += dictionaryBytes;
  let content = -1;
  if (contentBytes === 8) content = Number(head.readBigUInt64LE(at));
  else if (contentBytes > 0) content = head.readUIntLE(at, contentBytes) + (contentBytes === 2 ? 256 : 0);
  return { window: single ? content : window, dictionary, content, checksum: (descriptor & 4) !== 0 };
}

async function takeDictionary(source: ChunkSource): Promise<ZstdDictionary | string> {
  const length = source.take(8).readUInt32LE(4);
  if (length > maxDictionary) return `a dictionary of ${length} bytes`;
  if (!(await source.fill(length))) return 'truncated zstd frame';
  const bytes = Buffer.from(source.take(length));
  try {
    const compressed = bytes.length >= 4 && bytes.readUInt32LE(0) === frameMagic;
    return readDictionary(compressed ? await unzstd(bytes, maxDictionary) : bytes);
  } catch (error) {
    if (error instanceof ZstdError) return `damaged zstd dictionary (${errorText(error)})`;
    throw error;
  }
}

async function skipFrame(source: ChunkSource): Promise<string | undefined> {
  for (let left = source.take(8).readUInt32LE(4); left > 0; ) {
    if (!(await source.fill(1))) return 'truncated zstd frame';
    left -= source.take(Math.min(left, 1 << 18)).length;
  }
  return undefined;
}

/** Moves to the next bytes that can begin a frame; false at the end of the file. */
async function seekFrame(source: ChunkSource): Promise<boolean> {
  while (await source.fill(4)) {
    const bytes = source.peek(1 << 18);
    const found = bytes.indexOf('28b52ffd', 0, 'hex');
    if (found >= 0) {
      source.take(found);
      return true;
    }
    source.take(bytes.length - 3);
  }
  return false;
}
