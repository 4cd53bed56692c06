import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import { crc32c, cutEventFiles, EventFileWriter, readEventFile, readEventFiles } from './tensorboard.ts';
import { packageRoot } from './version.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-tb-'));
after(() => rmSync(scratch, { recursive: true }));
let folders = 0;
const folder = (): string => join(scratch, `run-${folders++}`);

const python = spawnSync('python3', ['--version']).status === 0;

interface SecondReading {
  readonly records: readonly {
    readonly step: number;
    readonly wall_time: number;
    readonly version: string | null;
    readonly start: boolean;
    readonly values: Readonly<Record<string, number>>;
  }[];
  readonly torn: number;
}

/** What the independent decoder makes of a file. */
function secondReading(path: string): SecondReading {
  const script = join(packageRoot, 'test', 'read_event_file.py');
  const { status, stdout, stderr } = spawnSync('python3', [script, path], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as SecondReading;
}

/** Steps from..to with a loss that tells the step and the attempt. */
function writeSteps(dir: string, from: number, to: number, attempt: number): string {
  const writer = new EventFileWriter(dir, { firstStep: from });
  for (let step = from; step <= to; step++)
    writer.scalars(step, { 'lm loss': step + attempt / 10, lr: 0 }, 1000 + step);
  writer.close();
  return writer.path;
}

test('CRC-32C has the check value of its definition', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa, 'RFC 3720, appendix B.4: 32 bytes of zeroes');
});

test('what is written comes back, to the bit of float32', () => {
  const dir = folder();
  const writer = new EventFileWriter(dir, { suffix: '.rank-0' });
  const wallTime = 1_763_800_000.123;
  const large = 3_000_000_000;
  writer.scalars(1, { 'lm loss': 2.345678901, 'params-norm/model.embed_tokens.weight': 1e-30, über: -0.5 }, wallTime);
  writer.scalars(large, { zero: 0, not: Number.NaN, most: Number.POSITIVE_INFINITY }, wallTime + 1);
  writer.close();
  assert.match(writer.path, /events\.out\.tfevents\.\d{10}\.[\w.-]+\.\d+\.0\.rank-0$/);
  assert.deepEqual(readEventFile(writer.path), [
    { step: 1, wallTime, tag: 'lm loss', value: Math.fround(2.345678901) },
    { step: 1, wallTime, tag: 'params-norm/model.embed_tokens.weight', value: Math.fround(1e-30) },
    { step: 1, wallTime, tag: 'über', value: -0.5 },
    { step: large, wallTime: wallTime + 1, tag: 'zero', value: 0 },
    { step: large, wallTime: wallTime + 1, tag: 'not', value: Number.NaN },
    { step: large, wallTime: wallTime + 1, tag: 'most', value: Number.POSITIVE_INFINITY },
  ]);
});

test('an independent decoder reads the same', { skip: !python && 'python3 is not installed' }, () => {
  const dir = folder();
  const path = writeSteps(dir, 5, 300, 1);
  const { records, torn } = secondReading(path);
  assert.equal(torn, 0);
  assert.deepEqual([records[0]?.version, records[0]?.start], ['brain.Event:2', false]);
  assert.deepEqual([records[1]?.start, records[1]?.step], [true, 5]);
  const seen = records
    .slice(2)
    .flatMap(({ step, wall_time: wallTime, values }) =>
      Object.entries(values).map(([tag, value]) => ({ step, wallTime, tag, value })),
    );
  assert.equal(seen.length, 2 * 296);
  assert.deepEqual(seen, readEventFile(path));
  // A changed byte is noticed by both.
  const bytes = readFileSync(path);
  const at = bytes.length - 10;
  bytes[at] = (bytes[at] as number) ^ 1;
  const damaged = join(dir, 'damaged');
  writeFileSync(damaged, bytes);
  assert.equal(readEventFile(damaged).length, 2 * 295);
  assert.throws(() => secondReading(damaged), /wrong checksum of the data/);
});

test('a file torn at any byte gives its whole records, and a cut repairs it', () => {
  const dir = folder();
  const whole = readFileSync(writeSteps(folder(), 1, 6, 1));
  const path = join(dir, 'events.out.tfevents.0000000001.x.1.0');
  mkdirSync(dir);
  let before = 0;
  for (let size = 1; size <= whole.length; size++) {
    writeFileSync(path, whole.subarray(0, size));
    const points = readEventFile(path).length;
    assert.ok(points === before || points === before + 2, `a step is read whole or not at all (${size} bytes)`);
    before = points;
    if (size % 29 !== 0) continue;
    cutEventFiles(dir, 100);
    if (points === 0) continue;
    assert.equal(readEventFile(path).length, points);
    assert.equal(readFileSync(path).length <= size, true);
    if (python) assert.equal(secondReading(path).torn, 0);
  }
  assert.equal(before, 12);
});

test('after cuts and resumes every step is there once, in files that sort by attempt', () => {
  const dir = folder();
  writeSteps(dir, 1, 10, 1);
  cutEventFiles(dir, 6);
  writeSteps(dir, 7, 12, 2);
  // A third attempt that dies before its first step, then one from an older checkpoint.
  new EventFileWriter(dir, { firstStep: 13 }).close();
  cutEventFiles(dir, 8);
  writeSteps(dir, 9, 14, 3);
  const losses = readEventFiles(dir).filter(({ tag }) => tag === 'lm loss');
  assert.deepEqual(
    losses.map(({ step }) => step),
    Array.from({ length: 14 }, (_, i) => i + 1),
  );
  assert.deepEqual(
    losses.map(({ step, value }) => Math.round((value - step) * 10)),
    [1, 1, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 3, 3],
  );
  assert.equal(readdirSync(dir).length, 4, 'a file of each attempt');
  const before = readdirSync(dir).map((name) => readFileSync(join(dir, name)));
  cutEventFiles(dir, 14);
  assert.deepEqual(
    readdirSync(dir).map((name) => readFileSync(join(dir, name))),
    before,
  );
  cutEventFiles(dir, 0);
  assert.deepEqual(readEventFiles(dir), []);
  assert.equal(readdirSync(dir).length, 4);
  const next = new EventFileWriter(dir);
  next.close();
  assert.equal(readdirSync(dir).sort().at(-1), basename(next.path), 'no name comes back');
});

test('what a kill left of a cut goes away with the next one', () => {
  const dir = folder();
  const path = writeSteps(dir, 1, 4, 1);
  copyFileSync(path, join(dir, 'cut.partial'));
  cutEventFiles(dir, 2);
  assert.deepEqual(readdirSync(dir).length, 1);
  assert.deepEqual(
    readEventFiles(dir)
      .filter(({ tag }) => tag === 'lr')
      .map(({ step }) => step),
    [1, 2],
  );
});

test('a record with broken data is left out, what follows it stays; after a broken length nothing can be read', () => {
  const dir = folder();
  const path = writeSteps(dir, 1, 3, 1);
  const good = readFileSync(path);
  const size = good.length;
  truncateSync(path, 0);
  const recordLength = (at: number): number => 16 + Number(good.readBigUInt64LE(at));
  let at = 0;
  at += recordLength(at);
  at += recordLength(at);
  const bad = Buffer.from(good);
  bad[at + 14] = (bad[at + 14] as number) ^ 255;
  writeFileSync(path, bad);
  assert.deepEqual([...new Set(readEventFile(path).map(({ step }) => step))], [2, 3]);
  cutEventFiles(dir, 3);
  assert.equal(readFileSync(path).length, size - recordLength(at));
  appendFileSync(path, Buffer.alloc(40, 7));
  assert.deepEqual([...new Set(readEventFile(path).map(({ step }) => step))], [2, 3]);
});
