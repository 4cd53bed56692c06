// Reads WARC files (1.0 and 1.1; plain, gzipped or in zstd) record by record, whatever state they are in.
//
// A record that is cut off, too large, or whose digest does not fit its bytes is rejected with a reason, and reading
// goes on at the next record that can be found. Nothing in a file makes the reader throw, and none makes it read its
// bytes more than a few times over.
//
// Does not: look into payloads; html.ts does. Revisit records are returned like others, without their original.
import { createHash } from 'node:crypto';
import { brotliDecompressSync, gunzipSync, inflateRawSync, inflateSync } from 'node:zlib';
import type { Piece } from '../../base/chunk-source.ts';
import { errorText } from '../../base/json.ts';
import { readPieces } from '../../base/pieces.ts';

export interface WarcRecord {
  readonly type: string;
  /** Header fields by lower-case name; of repeated fields the last. */
  readonly headers: ReadonlyMap<string, string>;
  readonly id: string | undefined;
  readonly date: string | undefined;
  readonly targetUri: string | undefined;
  /** Byte offset in the file: of the record, or of the gzip member it begins in. */
  readonly offset: number;
  readonly block: Buffer;
}

export type WarcReason =
  /** The file or the gzip member ends inside the record. */
  | 'truncated'
  | 'damaged-gzip'
  /** No WARC header where one should be. */
  | 'malformed'
  | 'too-large'
  | 'digest-mismatch';

export interface WarcRejection {
  readonly reason: WarcReason;
  readonly detail: string;
  readonly offset: number;
  readonly id?: string | undefined;
  readonly targetUri?: string | undefined;
}

export type WarcItem =
  | { readonly record: WarcRecord; readonly rejected?: undefined }
  | { readonly rejected: WarcRejection; readonly record?: undefined };

export interface WarcLimits {
  readonly headerBytes: number;
  readonly blockBytes: number;
}
/** Common Crawl cuts payloads at 1 MiB (5 MiB since 2025); 32 MiB leaves room for other crawls. */
export const defaultLimits: WarcLimits = { headerBytes: 64 * 1024, blockBytes: 32 * 1024 * 1024 };

/** The records of a file in order, and what had to be rejected. */
export async function* readWarc(path: string, limits: WarcLimits = defaultLimits): AsyncGenerator<WarcItem> {
  const input = new RecordBytes(readPieces(path));
  try {
    for (;;) {
      const item = await readRecord(input, limits);
      if (item === undefined) return;
      yield item;
    }
  } finally {
    await input.close();
  }
}

async function readRecord(input: RecordBytes, limits: WarcLimits): Promise<WarcItem | undefined> {
  // Blank lines end the record before.
  while ((await input.fill(1)) && input.skipBlank());
  if (input.available === 0) return input.passDamage() ?? (input.ended ? undefined : readRecord(input, limits));
  const offset = input.offset;
  const reject = (reason: WarcReason, detail: string, headers?: ReadonlyMap<string, string>): WarcItem => ({
    rejected: { reason, detail, offset, id: headers?.get('warc-record-id'), targetUri: targetUri(headers) },
  });
  /** Looks for the next record behind the beginning of this one; its length may be what is wrong. */
  const resync = async (item: WarcItem): Promise<WarcItem> => {
    await input.seekRecord();
    return item;
  };

  const end = await input.find('\r\n\r\n', limits.headerBytes);
  const text = end === undefined ? undefined : input.peek(end).toString('utf8');
  if (text === undefined || !/^WARC\/\d+\.\d+\r\n/.test(text)) {
    if (end === undefined && input.startsWith('WARC/') && input.available < limits.headerBytes) {
      const damage = input.passDamage();
      input.skip(input.available);
      return damage ?? reject('truncated', 'the record ends inside its header');
    }
    // A header that has no end holds no other record but perhaps the last that begins in it.
    input.skip(end === undefined ? Math.max(1, input.lastStart(limits.headerBytes)) : 1);
    return resync(reject('malformed', 'no WARC header'));
  }
  const headers = parseHeaders(text.slice(text.indexOf('\r\n') + 2));
  const length = /^\d{1,15}$/.exec(headers.get('content-length') ?? '') ? Number(headers.get('content-length')) : -1;
  if (length < 0) {
    input.skip(1);
    return resync(reject('malformed', 'no usable Content-Length', headers));
  }
  input.skip((end as number) + 4);
  if (length > limits.blockBytes) {
    const skipped = await input.skipBytes(length);
    if (skipped !== 'all')
      return reject('truncated', `the ${skipped} ends inside a record of ${length} bytes`, headers);
    return reject('too-large', `${length} bytes, the limit is ${limits.blockBytes}`, headers);
  }
  if (!(await input.fill(length))) {
    const have = input.available;
    const damage = input.passDamage();
    if (damage?.rejected) {
      input.skip(input.available);
      return reject(damage.rejected.reason, damage.rejected.detail, headers);
    }
    // The length itself may be wrong: look for the next record inside what is left.
    return resync(reject('truncated', `${have} of ${length} bytes`, headers));
  }
  const next = input.nextRecord(length, input.taken);
  if (next !== undefined) {
    input.skip(next);
    return reject('truncated', `the compressed part ends inside a record of ${length} bytes`, headers);
  }
  const block = Buffer.from(input.peek(length));
  if (digestFits(headers.get('warc-block-digest'), block) === false) {
    const item = reject('digest-mismatch', 'the block does not have the digest its header gives', headers);
    if (input.mayRescan(length)) return resync(item);
    input.skip(length);
    return item;
  }
  input.skip(length);
  return {
    record: {
      type: (headers.get('warc-type') ?? '').toLowerCase(),
      headers,
      id: headers.get('warc-record-id'),
      date: headers.get('warc-date'),
      targetUri: targetUri(headers),
      offset,
      block,
    },
  };
}

/** WARC 1.0 wrote the URI in angle brackets in its examples; some tools did too. */
function targetUri(headers: ReadonlyMap<string, string> | undefined): string | undefined {
  return headers?.get('warc-target-uri')?.replace(/^<(.*)>$/, '$1');
}

function parseHeaders(text: string): Map<string, string> {
  const headers = new Map<string, string>();
  for (const line of text.replace(/\r?\n[ \t]+/g, ' ').split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon > 0) headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }
  return headers;
}

/** Undefined when the digest is missing or of a kind we cannot check. */
function digestFits(digest: string | undefined, block: Buffer): boolean | undefined {
  const match = /^(sha1|sha-1|sha256|sha-256|md5):([0-9A-Za-z]+=*)$/i.exec(digest ?? '');
  if (!match) return undefined;
  const computed = createHash((match[1] as string).toLowerCase().replace('-', ''))
    .update(block)
    .digest();
  const value = match[2] as string;
  if (value.length === computed.length * 2) return value.toLowerCase() === computed.toString('hex');
  return value.replace(/=+$/, '').toUpperCase() === base32(computed);
}

function base32(bytes: Uint8Array): string {
  let text = '';
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[(held >> (bits - 5)) & 31];
    held &= 31;
  }
  return bits > 0 ? text + 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[(held << (5 - bits)) & 31] : text;
}

/** Bytes that may be read again for wrong digests: these, and this many times what the file has had. */
const rescanBytes = 1 << 26;
const rescanTimes = 8;
const recordStart = Buffer.from('WARC/');

/** The decompressed bytes of a file with the positions of its compressed parts, and a window on them. */
class RecordBytes {
  /** No more bytes will come, now or after damage. */
  ended = false;
  private readonly pieces: AsyncIterator<Piece>;
  private held: Buffer = Buffer.alloc(0);
  private damage: WarcItem | undefined;
  /** Offset of the part that the first held byte belongs to, or of that byte itself in a plain file. */
  private members: { readonly at: number; readonly offset: number }[] = [];
  private position = 0;
  /** Bytes before the first held one. */
  taken = 0;
  private rescanned = 0;

  constructor(pieces: AsyncIterable<Piece>) {
    this.pieces = pieces[Symbol.asyncIterator]();
  }

  async close(): Promise<void> {
    await this.pieces.return?.();
  }

  get available(): number {
    return this.held.length;
  }

  get offset(): number {
    return this.members[0]?.offset ?? this.taken;
  }

  /** Makes `count` bytes available; false when the file, or its undamaged part, ends before. */
  async fill(count: number): Promise<boolean> {
    if (this.held.length >= count) return true;
    const parts = [this.held];
    let length = this.held.length;
    while (length < count && !this.ended && !this.damage) {
      const next = await this.pieces.next();
      if (next.done) {
        this.ended = true;
      } else if (Buffer.isBuffer(next.value)) {
        parts.push(next.value);
        length += next.value.length;
        this.position += next.value.length;
      } else if (next.value.mark === 'start') {
        this.members.push({ at: this.position, offset: next.value.offset });
      } else {
        const { offset, reason = '' } = next.value;
        const kind = reason.startsWith('truncated') ? 'truncated' : 'damaged-gzip';
        this.damage = { rejected: { reason: kind, detail: reason, offset } };
      }
    }
    if (parts.length > 1) this.held = Buffer.concat(parts, length);
    this.forgetMembers();
    return length >= count;
  }

  /** The rejection that stands at this point, once; reading can go on after it. */
  passDamage(): WarcItem | undefined {
    const { damage } = this;
    this.damage = undefined;
    return damage;
  }

  peek(count: number): Buffer {
    return this.held.subarray(0, count);
  }

  /** Skips line ends at the beginning; true when nothing else was there. */
  skipBlank(): boolean {
    let at = 0;
    while (this.held[at] === 0x0d || this.held[at] === 0x0a) at++;
    this.skip(at);
    return this.held.length === 0;
  }

  /** Where the last record within `limit` bytes could begin; their number where none does. */
  lastStart(limit: number): number {
    const window = this.held.subarray(0, limit);
    const found = window.lastIndexOf(recordStart);
    return found > 0 ? found : window.length;
  }

  /** True while bytes were not read again too often. */
  mayRescan(count: number): boolean {
    this.rescanned += count;
    return this.rescanned <= rescanBytes + rescanTimes * this.taken;
  }

  startsWith(text: string): boolean {
    return this.held.subarray(0, text.length).toString('latin1') === text;
  }

  skip(count: number): void {
    this.held = this.held.subarray(count);
    this.taken += count;
    this.forgetMembers();
  }

  /** How far ahead, within `count` bytes, a compressed part that began behind `from` begins a record: there any other one ends. */
  nextRecord(count: number, from: number): number | undefined {
    for (const { at } of this.members) {
      const ahead = at - this.taken;
      if (at <= from || ahead < 0) continue;
      if (ahead >= count) return undefined;
      if (this.held.subarray(ahead, ahead + recordStart.length).equals(recordStart)) return ahead;
    }
    return undefined;
  }

  /** Skips bytes that need not be held at once; says what ended before, if anything did. */
  async skipBytes(count: number): Promise<'all' | 'file' | 'compressed part'> {
    const from = this.taken;
    for (let left = count; left > 0; ) {
      await this.fill(recordStart.length);
      if (this.held.length === 0) return 'file';
      const next = this.nextRecord(left, from);
      const step = next ?? Math.min(left, this.held.length);
      this.skip(step);
      if (next !== undefined) return 'compressed part';
      left -= step;
    }
    return 'all';
  }

  /** Index of `text` in what follows, within `limit` bytes. */
  async find(text: string, limit: number): Promise<number | undefined> {
    for (let from = 0; ; ) {
      const found = this.held.subarray(0, limit + text.length).indexOf(text, from, 'latin1');
      if (found >= 0) return found;
      if (this.held.length >= limit + text.length) return undefined;
      from = Math.max(0, this.held.length - text.length);
      if (!(await this.fill(this.held.length + 1))) return undefined;
    }
  }

  /** Moves to the next place that looks like a record; true when there is one. */
  async seekRecord(): Promise<boolean> {
    for (;;) {
      for (let at = this.held.indexOf(recordStart); at >= 0; at = this.held.indexOf(recordStart, at + 1)) {
        if (at + 10 > this.held.length) break;
        if (!/^\d\.\d\r\n/.test(this.held.toString('latin1', at + 5, at + 10))) continue;
        this.skip(at);
        return true;
      }
      this.skip(Math.max(0, this.held.length - 9));
      if (!(await this.fill(this.held.length + 1))) {
        this.skip(this.held.length);
        return false;
      }
    }
  }

  private forgetMembers(): void {
    while (this.members.length > 1 && (this.members[1] as { at: number }).at <= this.taken) this.members.shift();
  }
}

export interface HttpResponse {
  readonly status: number;
  /** By lower-case name; of repeated fields the last. */
  readonly headers: ReadonlyMap<string, string>;
  /** Without transfer and content encoding. */
  readonly body: Buffer;
}

/** Servers encode a body once; a list of encodings is how a body that decodes to itself would keep a reader busy. */
const maxEncodings = 4;
/** What is wrong with a body that grows beyond the limit when it is decoded. */
export const tooLargeBody = 'more bytes than the limit once decoded';

/** Splits and decodes the block of a `response` record; a text says what is wrong with it. */
export function parseHttpResponse(block: Buffer, maxBytes = defaultLimits.blockBytes): HttpResponse | string {
  let end = block.indexOf('\r\n\r\n');
  let gap = 4;
  if (end < 0) {
    end = block.indexOf('\n\n');
    gap = 2;
  }
  const head = (end < 0 ? block : block.subarray(0, end)).subarray(0, 1 << 16).toString('latin1');
  const status = /^HTTP\/\d(?:\.\d)? (\d{3})(?: |\r?\n|$)/.exec(head)?.[1];
  if (status === undefined) return 'no HTTP status line';
  const headers = parseHeaders(head);
  let body = end < 0 ? Buffer.alloc(0) : block.subarray(end + gap);
  if (/\bchunked\b/i.test(headers.get('transfer-encoding') ?? '')) body = dechunk(body) ?? body;
  const encodings = (headers.get('content-encoding') ?? '').toLowerCase().split(',');
  if (encodings.length > maxEncodings) return `encoded ${encodings.length} times over`;
  for (const encoding of encodings.reverse()) {
    const decoded = decode(body, encoding.trim(), maxBytes);
    if (typeof decoded === 'string') return decoded;
    body = decoded;
  }
  return { status: Number(status), headers, body };
}

/** Undefined when the body is not chunked after all: many crawlers store it decoded and keep the header. */
function dechunk(body: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = body.indexOf('\r\n', at, 'latin1');
    if (lineEnd < 0 || lineEnd - at > 1024) return parts.length > 0 ? Buffer.concat(parts) : undefined;
    const size = /^([0-9a-f]{1,8})[ \t]*(?:;.*)?$/i.exec(body.subarray(at, lineEnd).toString('latin1'))?.[1];
    if (size === undefined) return parts.length > 0 ? Buffer.concat(parts) : undefined;
    const length = Number.parseInt(size, 16);
    if (length === 0) return Buffer.concat(parts);
    parts.push(body.subarray(lineEnd + 2, lineEnd + 2 + length));
    at = lineEnd + 2 + length + 2;
    if (at >= body.length) return Buffer.concat(parts);
  }
}

function decode(body: Buffer, encoding: string, maxOutputLength: number): Buffer | string {
  // A body that is not in its declared encoding was stored decoded, unless it is damaged.
  const limit = { maxOutputLength };
  try {
    if (encoding === '' || encoding === 'identity') return body;
    if (encoding === 'gzip' || encoding === 'x-gzip') {
      return body[0] === 0x1f && body[1] === 0x8b ? gunzipSync(body, limit) : body;
    }
    if (encoding === 'deflate') {
      // RFC 9110 means zlib, some servers send raw deflate.
      return ((body[0] ?? 0) & 0x0f) === 8 ? inflateSync(body, limit) : inflateRawSync(body, limit);
    }
    if (encoding === 'br') return brotliDecompressSync(body, limit);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') return tooLargeBody;
    return `cannot decode ${encoding}: ${errorText(error)}`;
  }
  return `content encoding ${encoding} is not supported`;
}
