// JSON-lines files, plain or gzipped, read and written as streams.
//
// Written gzip is deterministic (no time stamp, fixed level), so equal records give equal bytes and equal hashes.
// A line that does not parse is handed to `onBad` with its number and the reason; reading goes on.
//
// Does not: know what is in a line.
import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { UserError } from './errors.ts';
import { errorText } from './json.ts';

export interface BadLine {
  readonly path: string;
  readonly line: number;
  readonly reason: string;
}

/** The values of a .jsonl or .jsonl.gz file, one by one. Without `onBad`, a bad line is a UserError. */
export async function* readJsonl<T>(path: string, onBad?: (bad: BadLine) => void): AsyncGenerator<T> {
  const file = createReadStream(path, { highWaterMark: 1 << 18 });
  const input = path.endsWith('.gz') ? file.pipe(createGunzip({ chunkSize: 1 << 18 })) : file;
  if (input !== file) file.on('error', (error) => input.destroy(error));
  let rest: Buffer[] = [];
  let line = 0;
  const parse = (bytes: Buffer): T | undefined => {
    line++;
    if (bytes.length === 0) return undefined;
    try {
      return JSON.parse(bytes.toString('utf8')) as T;
    } catch (error) {
      const bad = { path, line, reason: errorText(error) };
      if (!onBad) throw new UserError(`line ${line} of ${path} is not JSON`, { found: bad.reason });
      onBad(bad);
      return undefined;
    }
  };
  for await (const chunk of input as AsyncIterable<Buffer>) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(10, start);
      if (end < 0) break;
      const piece = chunk.subarray(start, end);
      const value = parse(rest.length === 0 ? piece : Buffer.concat([...rest, piece]));
      rest = [];
      start = end + 1;
      if (value !== undefined) yield value;
    }
    if (start < chunk.length) rest.push(chunk.subarray(start));
  }
  const last = rest.length > 0 ? parse(Buffer.concat(rest)) : undefined;
  if (last !== undefined) yield last;
}

/** Writes values to a .jsonl or .jsonl.gz file; `await writer.write(v)` respects back-pressure, `close()` ends it. */
export class JsonlWriter {
  readonly path: string;
  count = 0;
  private readonly input: Writable;
  private readonly end: Promise<void>;
  private pending: string[] = [];
  private pendingLength = 0;

  constructor(path: string) {
    this.path = path;
    const file = createWriteStream(path);
    if (path.endsWith('.gz')) {
      const gzip = createGzip({ level: 6 });
      gzip.pipe(file);
      gzip.on('error', (error) => file.destroy(error));
      this.input = gzip;
    } else {
      this.input = file;
    }
    this.end = finished(file);
    this.end.catch(() => {});
  }

  async write(value: unknown): Promise<void> {
    const text = `${JSON.stringify(value)}\n`;
    this.count++;
    this.pending.push(text);
    this.pendingLength += text.length;
    if (this.pendingLength >= 1 << 16) await this.flush();
  }

  private async flush(): Promise<void> {
    const text = this.pending.join('');
    this.pending = [];
    this.pendingLength = 0;
    if (text !== '' && !this.input.write(text)) await Promise.race([once(this.input, 'drain'), this.end]);
  }

  async close(): Promise<void> {
    await this.flush();
    this.input.end();
    await this.end;
  }
}
