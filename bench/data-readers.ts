// The readers of documents, each on a file of its kind, beside its floor: what the same file costs when it is only read,
// unpacked or parsed. Memory is the peak of the process that read it.
//
// Files of --gigabytes of text are made in a folder below --dir and removed afterwards: members, frames and row groups of
// the same 64 MB again and again, since readers look at nothing across them. Every measurement is a process of its own,
// and rounds go through all of them in turn. A reader that needs more than 1 GB fails the bench.
//
//   npm run build && node dist/bench/data-readers.js [--dir FOLDER] [--gigabytes 1] [--rounds 3] [--files a.jsonl.gz,a.parquet] [--save NAME]
//
// Does not: compare with readers of others, or clean what is read.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createGunzip, gzipSync } from 'node:zlib';
import type { Document } from '../src/base/document.ts';
import { readLines } from '../src/base/jsonl.ts';
import { readPieces } from '../src/base/pieces.ts';
import { Random } from '../src/base/rng.ts';
import { packageRoot } from '../src/base/version.ts';
import { readDocuments } from '../src/data/readers/open.ts';
import { encodeRecord, httpResponse, recordId } from '../src/data/warc-writer.ts';
import { ParquetShard } from '../src/data/writers/parquet-shard.ts';

const maxMemory = 1e9;
/** Text that is made; files hold it many times. */
const blockBytes = 64e6;

const works: Readonly<Record<string, (path: string) => Promise<number>>> = {
  reader: async (path) => {
    let documents = 0;
    for await (const { document, rejected } of readDocuments({ path, name: path }, 'bench')) {
      if (!document) throw new Error(`${path}: ${rejected.reason}, ${rejected.detail}`);
      documents++;
    }
    return documents;
  },
  'bytes alone': async (path) => await drain(createReadStream(path, { highWaterMark: 1 << 18 })),
  'gunzip alone': async (path) =>
    await drain(createReadStream(path, { highWaterMark: 1 << 18 }).pipe(createGunzip({ chunkSize: 1 << 18 }))),
  'unpacking alone': async (path) => await drain(readPieces(path)),
  'JSON.parse alone': async (path) => {
    // Lines of the first block, parsed as often as the file holds it; reading them is not counted.
    const lines: string[] = [];
    let bytes = 0;
    for await (const some of readLines(path)) {
      for (const line of some) {
        lines.push(line.toString('utf8'));
        bytes += line.length;
      }
      if (bytes > blockBytes) break;
    }
    started = performance.now();
    startedCpu = process.cpuUsage();
    counted = bytes;
    let characters = 0;
    for (const line of lines) characters += (JSON.parse(line) as { readonly text: string }).text.length;
    return characters;
  },
};
let started = 0;
let startedCpu = process.cpuUsage();
/** Bytes of text that were worked on, where that is not all of the file. */
let counted: number | undefined;

async function drain(pieces: AsyncIterable<unknown>): Promise<number> {
  let bytes = 0;
  for await (const piece of pieces) if (Buffer.isBuffer(piece)) bytes += piece.length;
  return bytes;
}

/** Not what getrusage says: that has the peak of the parent in it. */
function peakMemory(): number {
  const status = existsSync('/proc/self/status') ? readFileSync('/proc/self/status', 'utf8') : '';
  const kilobytes = /^VmHWM:\s+(\d+) kB/m.exec(status)?.[1];
  return kilobytes === undefined ? process.resourceUsage().maxRSS * 1024 : Number(kilobytes) * 1024;
}

interface Measured {
  readonly seconds: number;
  /** Of all threads. */
  readonly cpuSeconds: number;
  readonly counted?: number;
  readonly peakBytes: number;
}

async function measureHere(work: string, path: string): Promise<void> {
  started = performance.now();
  startedCpu = process.cpuUsage();
  await works[work]?.(path);
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(startedCpu);
  const measured = { seconds, cpuSeconds: (user + system) / 1e6, counted, peakBytes: peakMemory() };
  process.stdout.write(JSON.stringify(measured));
}

function measure(work: string, path: string): Measured {
  const self = fileURLToPath(import.meta.url);
  const flags = [...process.execArgv, self, '--work', work, '--file', path];
  const { stdout, stderr, status } = spawnSync(process.execPath, flags, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${work} on ${path}: ${stderr}`);
  return JSON.parse(stdout) as Measured;
}

function makeDocuments(): Document[] {
  const random = new Random(1, 'data-readers');
  const words = Array.from({ length: 20_000 }, () =>
    String.fromCharCode(...Array.from({ length: 2 + random.integer(9) }, () => 97 + random.integer(26))),
  );
  const documents: Document[] = [];
  for (let bytes = 0; bytes < blockBytes; ) {
    // Frequent words are frequent: the square of a random number picks them.
    const text = Array.from({ length: 100 + random.integer(800) }, () => {
      const rank = (random.integer(20_000) * random.integer(20_000)) / 20_000;
      return words[Math.floor(rank)] as string;
    }).join(' ');
    bytes += text.length;
    const id = `document-${documents.length}`;
    documents.push({
      id,
      text,
      url: `https://host.example/${id}`,
      language: 'eng',
      source: 'bench',
      licence: 'unknown',
    });
  }
  return documents;
}

interface Kind {
  readonly name: string;
  readonly floors: readonly string[];
  /** Writes the blocks of the documents `times` over. */
  readonly make: (path: string, documents: readonly Document[], times: number) => void;
}

/** A file of the same bytes again and again. */
function repeat(path: string, bytes: Uint8Array, times: number): void {
  const file = openSync(path, 'w');
  for (let i = 0; i < times; i++) for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
  closeSync(file);
}

const jsonLines = (documents: readonly Document[]): Buffer =>
  Buffer.from(documents.map((document) => `${JSON.stringify(document)}\n`).join(''));

function warc(documents: readonly Document[], wet: boolean): Buffer {
  const records = documents.map(({ id, text, url }) => {
    const html = `<!doctype html><html lang="en"><body><nav><a href="/">start</a></nav><main><p>${text}</p></main></body></html>`;
    return gzipSync(
      encodeRecord({
        type: wet ? 'conversion' : 'response',
        id: recordId(id),
        date: '2024-01-01T00:00:00Z',
        targetUri: url as string,
        contentType: wet ? 'text/plain' : 'application/http;msgtype=response',
        block: wet ? Buffer.from(text) : httpResponse('200 OK', { 'Content-Type': 'text/html' }, Buffer.from(html)),
      }),
    );
  });
  return Buffer.concat(records);
}

const kinds: readonly Kind[] = [
  {
    name: 'a.jsonl',
    floors: ['bytes alone', 'JSON.parse alone'],
    make: (path, documents, times) => repeat(path, jsonLines(documents), times),
  },
  {
    name: 'a.jsonl.gz',
    floors: ['gunzip alone', 'unpacking alone'],
    make: (path, documents, times) => repeat(path, gzipSync(jsonLines(documents)), times),
  },
  {
    name: 'a.jsonl.zst',
    floors: ['unpacking alone'],
    make: (path, documents, times) =>
      repeat(path, execFileSync('zstd', ['-q', '-c'], { input: jsonLines(documents), maxBuffer: 2 ** 30 }), times),
  },
  {
    name: 'a.wet.gz',
    floors: ['gunzip alone', 'unpacking alone'],
    make: (path, documents, times) => repeat(path, warc(documents, true), times),
  },
  {
    name: 'a.warc.gz',
    floors: ['gunzip alone', 'unpacking alone'],
    make: (path, documents, times) => repeat(path, warc(documents, false), times),
  },
  {
    name: 'a.parquet',
    floors: ['bytes alone'],
    make: (path, documents, times) => {
      const file = openSync(path, 'w');
      const shard = new ParquetShard();
      writeSync(file, shard.head());
      for (let i = 0; i < times; i++) {
        for (let at = 0; at < documents.length; at += 4000)
          writeSync(file, shard.rowGroup(documents.slice(at, at + 4000)));
      }
      writeSync(file, shard.end());
      closeSync(file);
    },
  },
];

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] as number;

function run(dir: string, gigabytes: number, rounds: number, files: readonly string[] | undefined): string {
  const folder = mkdtempSync(join(dir, 'belay-data-readers-'));
  try {
    const documents = makeDocuments();
    const textBytes = documents.reduce((sum, { text }) => sum + text.length, 0);
    const times = Math.max(1, Math.round((gigabytes * 1e9) / textBytes));
    const rows: { readonly kind: string; readonly work: string; readonly path: string; readonly found: Measured[] }[] =
      [];
    const notRun: string[] = [];
    for (const { name, floors, make } of kinds) {
      if (files && !files.includes(name)) continue;
      const path = join(folder, name);
      try {
        make(path, documents, times);
      } catch (error) {
        notRun.push(`Not run: \`${name}\` (${(error as Error).message.split('\n')[0]}).`);
        continue;
      }
      for (const work of ['reader', ...floors]) rows.push({ kind: name, work, path, found: [] });
    }
    for (let round = 0; round < rounds; round++) {
      for (const { work, path, found } of rows) found.push(measure(work, path));
    }
    const table = rows.map(({ kind, work, path, found }) => {
      const rate = (of: (one: Measured) => number): string =>
        median(found.map((one) => (one.counted ?? textBytes * times) / 1e6 / of(one))).toFixed(0);
      const peak = Math.max(...found.map(({ peakBytes }) => peakBytes));
      if (work === 'reader' && peak > maxMemory) throw new Error(`${kind}: a peak of ${Math.round(peak / 1e6)} MB`);
      const rates = [rate(({ seconds }) => seconds), rate(({ cpuSeconds }) => cpuSeconds)];
      const cells = [kind, work, ...rates, (statSync(path).size / 1e6).toFixed(0), (peak / 1e6).toFixed(0)];
      return `| ${cells.map((cell, i) => (i === 0 ? `\`${cell}\`` : cell)).join(' | ')} |`;
    });
    return [
      '# Readers of documents',
      '',
      `${((textBytes * times) / 1e9).toFixed(2)} GB of text in each file, ${documents.length * times} documents; median of ${rounds} rounds; ${cpus()[0]?.model}, ` +
        `${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)}, Node ${process.version}.`,
      'MB are of text (of lines for JSON.parse), so rows of one file compare; seconds of the CPU are of all threads, which zlib has.',
      '',
      '| file | what | MB/s | MB per CPU second | file, MB | peak memory, MB |',
      '|---|---|--:|--:|--:|--:|',
      ...table,
      '',
      ...notRun,
    ].join('\n');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const { values } = parseArgs({
  options: {
    dir: { type: 'string', default: tmpdir() },
    gigabytes: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '3' },
    files: { type: 'string' },
    save: { type: 'string' },
    work: { type: 'string' },
    file: { type: 'string' },
  },
});
if (values.work !== undefined && values.file !== undefined) {
  await measureHere(values.work, values.file);
} else {
  const report = run(values.dir, Number(values.gigabytes), Number(values.rounds), values.files?.split(','));
  console.log(report);
  if (values.save !== undefined) {
    const results = join(packageRoot, 'bench', 'results');
    mkdirSync(results, { recursive: true });
    writeFileSync(join(results, `${values.save}.md`), `${report.trimEnd()}\n`);
  }
}
