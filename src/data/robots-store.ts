// robots.txt files of many hosts as of a date, on disk: a folder per date, asked with little memory.
//
//   STORE/2025-01-31/robots-00000.jsonl.gz ...   {host, status, body}, sorted by host
//   STORE/2025-01-31/index.jsonl                 what there is; then a line per block of about 64 KiB
//
// A block is a gzip member of its own, so a shard is an ordinary .jsonl.gz and one block can be read alone. The index is
// held in memory: the first host of each block and four bytes per host, which tell a host that is not there without
// reading. Importing sorts in runs on disk, so it needs no more memory for a million hosts than for a thousand.
//
// Does not: fetch from the web, or parse what it holds.
import { isUtf8 } from 'node:buffer';
import { existsSync, openSync, readdirSync, readSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { z } from 'zod';
import { beginFolder, commitFolder } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import { type BadLine, JsonlWriter, readJsonl } from '../base/jsonl.ts';
import { compressedNames } from '../base/pieces.ts';
import { parseHttpResponse, readWarc } from './readers/warc.ts';
import { hostOf, isRobotsUrl, type RobotsAnswer, RobotsSnapshot, type RobotsSource } from './robots-snapshot.ts';
import { maxRobotsBytes } from './robots.ts';

export const robotsIndexName = 'index.jsonl';
const datePattern = /^\d{4}-\d{2}-\d{2}$/;
const blockBytes = 1 << 16;
const shardBytes = 1 << 26;

/** A line of a shard, and of files to import; `base64` holds a body that is no UTF-8. */
const lineSchema = z
  .object({
    host: z.string().optional(),
    url: z.string().optional(),
    status: z.int().min(0).max(999).default(200),
    body: z.string().default(''),
    base64: z.string().optional(),
    date: z.string().optional(),
  })
  .refine(({ host, url }) => host !== undefined || url !== undefined);

const headerSchema = z.object({
  kind: z.literal('robots-snapshot'),
  version: z.literal(1),
  date: z.string(),
  hosts: z.int(),
  statuses: z.record(z.string(), z.int()),
  files: z.array(z.object({ name: z.string(), bytes: z.int(), sha256: z.string() })),
});
export type RobotsSnapshotFacts = z.output<typeof headerSchema>;

interface Block {
  /** Number of its shard. */
  readonly file: number;
  readonly offset: number;
  readonly bytes: number;
  readonly first: string;
  /** 32-bit hashes of its hosts, base64. */
  readonly hashes: string;
}

interface HostRecord {
  readonly host: string;
  readonly status: number;
  readonly body?: string;
  readonly base64?: string;
  /** When it was fetched, for the choice among several of one host. */
  readonly date?: string;
}

/** FNV-1a over UTF-16 units. */
function hashOf(host: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < host.length; i++) hash = Math.imul(hash ^ host.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

function bodyOf({ body = '', base64 }: HostRecord): Uint8Array {
  return Buffer.from(base64 ?? body, base64 === undefined ? 'utf8' : 'base64');
}

/** One snapshot of a store. */
export class StoredRobots implements RobotsSource {
  readonly facts: RobotsSnapshotFacts;
  private readonly dir: string;
  private readonly blocks: readonly Block[];
  private readonly hashes: readonly Uint32Array[];
  private readonly files = new Map<number, number>();
  /** The blocks used last, with what their hosts answered. */
  private readonly held = new Map<number, ReadonlyMap<string, RobotsAnswer>>();

  private constructor(dir: string, facts: RobotsSnapshotFacts, blocks: readonly Block[]) {
    this.dir = dir;
    this.facts = facts;
    this.blocks = blocks.map(({ hashes: _, ...block }) => ({ ...block, hashes: '' }));
    this.hashes = blocks.map(({ hashes }) => new Uint32Array(new Uint8Array(Buffer.from(hashes, 'base64')).buffer));
  }

  static async open(dir: string): Promise<StoredRobots> {
    let facts: RobotsSnapshotFacts | undefined;
    const blocks: Block[] = [];
    for await (const line of readJsonl<unknown>(join(dir, robotsIndexName))) {
      if (facts) blocks.push(line as Block);
      else facts = headerSchema.safeParse(line).data;
      if (!facts) break;
    }
    if (!facts) {
      throw new UserError(`${dir} is no robots snapshot`, {
        next: 'belay robots import --store DIR --date DATE FILE...',
      });
    }
    return new StoredRobots(dir, facts, blocks);
  }

  find(host: string): RobotsAnswer | undefined {
    const number = this.blockOf(host);
    if (number < 0 || !this.hashes[number]?.includes(hashOf(host))) return undefined;
    let block = this.held.get(number);
    if (block) this.held.delete(number);
    else block = this.read(number);
    this.held.set(number, block);
    if (this.held.size > 64) this.held.delete(this.held.keys().next().value as number);
    return block.get(host);
  }

  /** The last block whose first host is not behind the asked one. */
  private blockOf(host: string): number {
    let low = 0;
    let high = this.blocks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.blocks[middle] as Block).first <= host) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  private read(number: number): ReadonlyMap<string, RobotsAnswer> {
    const { file, offset, bytes } = this.blocks[number] as Block;
    const { name } = this.facts.files[file] as { readonly name: string };
    let handle = this.files.get(file);
    if (handle === undefined) this.files.set(file, (handle = openSync(join(this.dir, name), 'r')));
    const packed = Buffer.alloc(bytes);
    let text: string;
    try {
      for (let at = 0; at < bytes; ) {
        const got = readSync(handle, packed, at, bytes - at, offset + at);
        if (got === 0) throw new Error('the file is too short');
        at += got;
      }
      text = gunzipSync(packed).toString('utf8');
    } catch (error) {
      throw new UserError(`${join(this.dir, name)} is damaged at byte ${offset}`, {
        next: 'import the snapshot again',
        cause: error,
      });
    }
    const answers = new Map<string, RobotsAnswer>();
    for (const line of text.split('\n')) {
      if (line === '') continue;
      const record = JSON.parse(line) as HostRecord;
      answers.set(record.host, { status: record.status, body: bodyOf(record) });
    }
    return answers;
  }
}

/** The folder of a snapshot: `path` itself, or of a store the newest up to `date`. */
function snapshotFolder(path: string, date: string | null): string {
  if (existsSync(join(path, robotsIndexName))) return path;
  const dates = readdirSync(path)
    .filter((name) => datePattern.test(name) && existsSync(join(path, name, robotsIndexName)))
    .sort();
  const chosen = dates.filter((name) => date === null || name <= date).at(-1);
  if (chosen !== undefined) return join(path, chosen);
  throw new UserError(`${path} has no robots snapshot${date === null ? '' : ` up to ${date}`}`, {
    found: dates.length === 0 ? 'no folder named by a date' : dates.join(', '),
    next: 'belay robots import --store DIR --date DATE FILE...',
  });
}

function kindOf(path: string): 'folder' | 'file' {
  if (!existsSync(path))
    throw new UserError(`there is no robots snapshot ${path}`, { found: 'no such file or folder' });
  return statSync(path).isDirectory() ? 'folder' : 'file';
}

/** The file whose contents stand for all of a snapshot: the index has the hashes of the shards. */
export function robotsFileOf(path: string, date: string | null): string {
  return kindOf(path) === 'file' ? path : join(snapshotFolder(path, date), robotsIndexName);
}

/** Opens a store, a snapshot of it, or a JSON-lines file, which is held in memory. */
export async function openRobots(
  path: string,
  date: string | null,
  say: (words: string) => void,
): Promise<RobotsSource> {
  if (kindOf(path) === 'folder') {
    const stored = await StoredRobots.open(snapshotFolder(path, date));
    say(`robots.txt as of ${stored.facts.date}, hosts: ${stored.facts.hosts}`);
    return stored;
  }
  const snapshot = new RobotsSnapshot();
  let bad = 0;
  for await (const { record } of readRecords(path)) {
    if (record) snapshot.add(`https://${record.host}/robots.txt`, record.date ?? '', record.status, bodyOf(record));
    else bad++;
  }
  if (snapshot.numHosts === 0) throw noHosts(path, bad);
  say(`robots.txt of ${basename(path)}, hosts: ${snapshot.numHosts}${bad > 0 ? `, unreadable records: ${bad}` : ''}`);
  return snapshot;
}

function noHosts(path: string, unreadable: number): UserError {
  return new UserError(`${path} has no robots.txt of any host`, {
    found: unreadable > 0 ? `unreadable records: ${unreadable}` : 'no record',
    expected: 'JSON lines {"host", "status", "body"}, or a WARC file with robots.txt records',
    next: 'a robots.txt alone does not say whose it is: put it into the body of a line (docs/robots.md)',
  });
}

/** Records of a WARC or JSON-lines file; undefined for one that cannot be read. */
async function* readRecords(path: string): AsyncGenerator<{ readonly record: HostRecord | undefined }> {
  if (new RegExp(`\\.warc${compressedNames}$`).test(path)) {
    for await (const { record, rejected } of readWarc(path)) {
      if (rejected) {
        if (rejected.targetUri !== undefined && isRobotsUrl(rejected.targetUri)) yield { record: undefined };
        continue;
      }
      const { targetUri, type, block } = record;
      if (targetUri === undefined || !isRobotsUrl(targetUri)) continue;
      if (type === 'resource') yield { record: recordOf(targetUri, 200, block, record.date) };
      if (type !== 'response') continue;
      const http = parseHttpResponse(block);
      yield { record: typeof http === 'string' ? undefined : recordOf(targetUri, http.status, http.body, record.date) };
    }
    return;
  }
  const bad: BadLine[] = [];
  for await (const value of readJsonl<unknown>(path, (line) => bad.push(line))) {
    for (; bad.length > 0; bad.pop()) yield { record: undefined };
    const line = lineSchema.safeParse(value).data;
    if (!line) {
      yield { record: undefined };
      continue;
    }
    const { host, url, status, body, base64, date } = line;
    const bytes = Buffer.from(base64 ?? body, base64 === undefined ? 'utf8' : 'base64');
    yield { record: recordOf(url ?? `https://${host}/robots.txt`, status, bytes, date) };
  }
  for (; bad.length > 0; bad.pop()) yield { record: undefined };
}

function recordOf(url: string, status: number, body: Uint8Array, date: string | undefined): HostRecord | undefined {
  const host = hostOf(url);
  if (host === undefined) return undefined;
  const said = status >= 200 && status < 300 ? body.subarray(0, maxRobotsBytes) : new Uint8Array();
  const text = isUtf8(said)
    ? { body: Buffer.from(said).toString('utf8') }
    : { base64: Buffer.from(said).toString('base64') };
  return { host, status, ...text, ...(date === undefined ? {} : { date }) };
}

export interface ImportRobotsOptions {
  readonly store: string;
  /** YYYY-MM-DD. */
  readonly date: string;
  /** WARC files, or JSON lines {host, status, body}. */
  readonly files: readonly string[];
  /** Characters of records that are sorted in memory at once. */
  readonly runCharacters?: number;
}

export interface ImportedRobots {
  readonly dir: string;
  readonly facts: RobotsSnapshotFacts;
  /** Records of hosts that came again; the latest is kept. */
  readonly repeated: number;
  readonly unreadable: number;
}

/** Makes the snapshot of a date from files that others fetched. Of several records of a host the latest counts. */
export async function importRobots(options: ImportRobotsOptions): Promise<ImportedRobots> {
  const { store, date, files, runCharacters = 1 << 27 } = options;
  if (!z.iso.date().safeParse(date).success) {
    throw new UserError('a snapshot is named by its date', { found: date, expected: 'YYYY-MM-DD' });
  }
  const dir = join(store, date);
  if (existsSync(dir)) {
    throw new UserError(`${dir} is there already`, { next: 'choose another date, or remove it first' });
  }
  const aside = beginFolder(dir);
  const runs: string[] = [];
  let pending: HostRecord[] = [];
  let characters = 0;
  let unreadable = 0;
  const flush = async (): Promise<void> => {
    // A stable sort: of two records of one date the first read comes first.
    pending.sort((a, b) => compare(a.host, b.host) || compare(b.date ?? '', a.date ?? ''));
    const run = new JsonlWriter(join(aside, `run-${runs.length}.jsonl.gz`));
    for (const record of pending) await run.write(record);
    await run.close();
    runs.push(run.path);
    pending = [];
    characters = 0;
  };
  for (const path of files) {
    for await (const { record } of readRecords(path)) {
      if (!record) {
        unreadable++;
        continue;
      }
      pending.push(record);
      characters += 100 + record.host.length + (record.body ?? record.base64 ?? '').length;
      if (characters >= runCharacters) await flush();
    }
  }
  if (pending.length === 0 && runs.length === 0) {
    rmSync(aside, { recursive: true });
    throw noHosts(files.join(', '), unreadable);
  }
  await flush();

  const writer = new ShardWriter(aside);
  let repeated = 0;
  let last: string | undefined;
  for await (const record of merge(runs)) {
    if (record.host === last) {
      repeated++;
      continue;
    }
    last = record.host;
    await writer.add(record);
  }
  const facts = await writer.close(date);
  for (const run of runs) rmSync(run);
  commitFolder(dir);
  return { dir, facts, repeated, unreadable };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Records of sorted files in one order: by host, then the latest first, then as they were read. */
async function* merge(runs: readonly string[]): AsyncGenerator<HostRecord> {
  const heads: { readonly lines: AsyncGenerator<HostRecord>; record: HostRecord }[] = [];
  for (const run of runs) {
    const lines = readJsonl<HostRecord>(run);
    const { value, done } = await lines.next();
    if (!done) heads.push({ lines, record: value });
  }
  while (heads.length > 0) {
    let first = 0;
    for (let i = 1; i < heads.length; i++) {
      const [a, b] = [(heads[i] as { record: HostRecord }).record, (heads[first] as { record: HostRecord }).record];
      if ((compare(a.host, b.host) || compare(b.date ?? '', a.date ?? '')) < 0) first = i;
    }
    const head = heads[first] as { readonly lines: AsyncGenerator<HostRecord>; record: HostRecord };
    yield head.record;
    const { value, done } = await head.lines.next();
    if (done) heads.splice(first, 1);
    else head.record = value;
  }
}

/** Writes sorted records in blocks, shard after shard, and the index. */
class ShardWriter {
  private readonly dir: string;
  private readonly index: string[] = [];
  private readonly names: string[] = [];
  private readonly statuses: Record<string, number> = {};
  private handle: Awaited<ReturnType<typeof open>> | undefined;
  private offset = 0;
  private hosts = 0;
  private lines: string[] = [];
  private length = 0;
  private blockHosts: string[] = [];

  constructor(dir: string) {
    this.dir = dir;
  }

  async add({ host, status, body, base64 }: HostRecord): Promise<void> {
    const line = `${JSON.stringify(base64 === undefined ? { host, status, body } : { host, status, base64 })}\n`;
    this.lines.push(line);
    this.length += line.length;
    this.blockHosts.push(host);
    this.hosts++;
    this.statuses[status] = (this.statuses[status] ?? 0) + 1;
    if (this.length >= blockBytes) await this.endBlock();
  }

  private async endBlock(): Promise<void> {
    if (this.lines.length === 0) return;
    if (!this.handle) {
      const name = `robots-${String(this.names.length).padStart(5, '0')}.jsonl.gz`;
      this.names.push(name);
      this.handle = await open(join(this.dir, name), 'w');
      this.offset = 0;
    }
    const packed = gzipSync(this.lines.join(''), { level: 6 });
    await this.handle.appendFile(packed);
    const hashes = Buffer.from(Uint32Array.from(this.blockHosts, hashOf).buffer).toString('base64');
    const [first = ''] = this.blockHosts;
    const block: Block = { file: this.names.length - 1, offset: this.offset, bytes: packed.length, first, hashes };
    this.index.push(JSON.stringify(block));
    this.offset += packed.length;
    this.lines = [];
    this.length = 0;
    this.blockHosts = [];
    if (this.offset >= shardBytes) await this.endShard();
  }

  private async endShard(): Promise<void> {
    await this.handle?.close();
    this.handle = undefined;
  }

  async close(date: string): Promise<RobotsSnapshotFacts> {
    await this.endBlock();
    await this.endShard();
    const files = this.names.map((name) => ({ name, ...hashFile(join(this.dir, name)) }));
    const { hosts, statuses } = this;
    const facts: RobotsSnapshotFacts = { kind: 'robots-snapshot', version: 1, date, hosts, statuses, files };
    writeFileSync(join(this.dir, robotsIndexName), `${[JSON.stringify(facts), ...this.index].join('\n')}\n`);
    return facts;
  }
}
