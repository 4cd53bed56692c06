// Files far larger than memory: a sparse pair of 100 GB with a small index, read anywhere in constant memory.
import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Random } from '../base/rng.ts';
import { TokenBatches } from './batches.ts';
import { checkTokenFile } from './check-token-file.ts';
import { MegatronReader } from './megatron.ts';
import { longestSequence, writeIndex } from './megatron-index.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-large-'));
after(() => rmSync(dir, { recursive: true }));

const MiB = 2 ** 20;
/** 100 GB of uint16. */
const tokens = 50_000_000_000;
const short = 1000;
/** Documents of zeros as long as the format allows; one that holds numbers at the beginning, between them, and at the end. */
const zeros = Array<number>(11).fill(longestSequence);
/** What is left of them. */
const rest = tokens - 3 * short - 23 * longestSequence;
const lengths = [short, ...zeros, short, ...zeros, longestSequence, rest, short];
const withNumbers = [0, 12, lengths.length - 1];
/** What stands in document d: 2 to 1,001, shifted. */
const content = (d: number): number[] => Array.from({ length: short }, (_, i) => 2 + ((i + d) % short));

const memory = (): number => process.memoryUsage().rss / MiB;

test('100 GB are read at random in a few MiB', (t) => {
  const prefix = join(dir, 'sparse');
  const handle = openSync(`${prefix}.bin`, 'w');
  try {
    ftruncateSync(handle, 2 * tokens);
  } catch (error) {
    closeSync(handle);
    if ((error as NodeJS.ErrnoException).code !== 'EFBIG') throw error;
    t.skip(`${dir} cannot hold a file of 100 GB, not even an empty one`);
    return;
  }
  for (const d of withNumbers) {
    const at = lengths.slice(0, d).reduce((sum, length) => sum + length, 0);
    writeSync(handle, new Uint8Array(Uint16Array.from(content(d)).buffer), 0, 2 * short, 2 * at);
  }
  closeSync(handle);
  writeIndex(`${prefix}.idx`, {
    type: 'uint16',
    sequences: lengths.length,
    documents: lengths.length,
    lengths: () => lengths,
    documentEnds: () => lengths.map((_, d) => d + 1),
  });
  const { size, blocks } = statSync(`${prefix}.bin`);
  assert.equal(size, 100e9);
  assert.ok(512 * blocks < MiB, 'the file is sparse');
  const { problems, ...counts } = checkTokenFile(prefix);
  assert.deepEqual(problems, []);
  assert.equal(counts.tokens, tokens);

  const reader = new MegatronReader(prefix);
  const random = new Random(1, 'large');
  const window = new Int32Array(4097);
  const read = (): void => {
    const d = random.integer(lengths.length);
    const count = reader.readFrom(d, Math.floor(random.real() * (lengths[d] as number)), window.length, window, 0);
    assert.ok(withNumbers.includes(d) || window.subarray(0, count).every((id) => id === 0));
  };
  for (let i = 0; i < 100; i++) read();
  const before = memory();
  for (let i = 0; i < 5000; i++) read();
  for (const d of withNumbers) assert.deepEqual([...reader.documentTokens(d)], content(d));
  reader.close();
  assert.ok(memory() - before < 8, `${memory() - before} MiB more`);

  // And as rows of training, in their shuffled order, from index files.
  const T = 1 << 17;
  const batches = new TokenBatches({
    path: prefix,
    sequenceLength: T,
    seed: 5,
    samples: null,
    goldfish: null,
    documentMask: false,
    eodLossMask: false,
    cacheDir: join(dir, 'cache'),
  });
  assert.equal(batches.samples, Math.floor((tokens - 1) / T));
  for (let i = 0; i < 10; i++) batches.sample(random.integer(batches.samples));
  const start = memory();
  for (let i = 0; i < 200; i++) batches.sample(random.integer(batches.samples));
  // Rows of 3 MiB come and go; how many of them wait for the collector is its own business.
  assert.ok(memory() - start < 64, `${memory() - start} MiB more`);
  let seen = 0;
  for (const d of withNumbers) {
    for (const { sample, from, to } of batches.whereIs(d)) {
      const row = batches.sample(sample);
      const found = [...row.tokens.subarray(from, to), ...(to > T ? [row.labels[T - 1] as number] : [])];
      const at = content(d).indexOf(found[0] as number);
      assert.deepEqual(found, content(d).slice(at, at + found.length));
      seen += found.length;
    }
  }
  // All of them but for a document that lies where the last window ends.
  assert.ok(seen >= 2 * short, `${seen} tokens`);
  batches.close();
});
