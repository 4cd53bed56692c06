// Writes WARC 1.1 files (ISO 28500): one gzip member per record, so that a reader can start at any record.
//
// Bytes depend on the records alone: no time stamps, no random ids; the caller gives dates, ids come from a hash.
//
// Does not: write revisits or split large records.
import { createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

export interface NewWarcRecord {
  readonly type: 'warcinfo' | 'request' | 'response' | 'resource' | 'conversion' | 'metadata';
  /** A URI in angle brackets, see `recordId`. */
  readonly id: string;
  /** ISO 8601 in UTC, whole seconds: 2025-01-15T00:00:00Z. */
  readonly date: string;
  readonly targetUri?: string;
  readonly contentType: string;
  readonly block: Uint8Array;
}

/** A record id made from words: the same words give the same id (laid out as a UUID of version 8, RFC 9562). */
export function recordId(...words: readonly string[]): string {
  const digest = createHash('sha256').update(words.join('\n')).digest();
  digest[6] = ((digest[6] as number) & 0x0f) | 0x80;
  digest[8] = ((digest[8] as number) & 0x3f) | 0x80;
  const hex = digest.toString('hex');
  const groups = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)];
  return `<urn:uuid:${groups.join('-')}>`;
}

/** The bytes of an HTTP/1.1 response, the block of a `response` record. */
export function httpResponse(status: string, headers: Readonly<Record<string, string>>, body: Uint8Array): Buffer {
  const lines = Object.entries({ ...headers, 'Content-Length': String(body.length) }).map(([k, v]) => `${k}: ${v}\r\n`);
  return Buffer.concat([Buffer.from(`HTTP/1.1 ${status}\r\n${lines.join('')}\r\n`, 'latin1'), body]);
}

/** The bytes of one uncompressed record. */
export function encodeRecord(record: NewWarcRecord): Buffer {
  const digest = createHash('sha256').update(record.block).digest('hex');
  const head = [
    'WARC/1.1',
    `WARC-Type: ${record.type}`,
    `WARC-Record-ID: ${record.id}`,
    `WARC-Date: ${record.date}`,
    ...(record.targetUri === undefined ? [] : [`WARC-Target-URI: ${record.targetUri}`]),
    `WARC-Block-Digest: sha256:${digest}`,
    `Content-Type: ${record.contentType}`,
    `Content-Length: ${record.block.length}`,
    '\r\n',
  ].join('\r\n');
  return Buffer.concat([Buffer.from(head, 'utf8'), record.block, Buffer.from('\r\n\r\n')]);
}

/** Writes records to a .warc or .warc.gz file. */
export class WarcWriter {
  readonly path: string;
  bytes = 0;
  private readonly file: number;

  constructor(path: string) {
    this.path = path;
    this.file = openSync(path, 'w');
  }

  write(record: NewWarcRecord): void {
    let bytes = encodeRecord(record);
    if (this.path.endsWith('.gz')) {
      bytes = gzipSync(bytes, { level: 6 });
      // The header names the system that wrote it; 255 is "unknown", the same everywhere.
      bytes[9] = 255;
    }
    for (let at = 0; at < bytes.length; ) at += writeSync(this.file, bytes, at);
    this.bytes += bytes.length;
  }

  close(): void {
    closeSync(this.file);
  }
}
