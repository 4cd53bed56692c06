import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { goldenJson, goldenPath } from '../../test/golden.ts';
import { UserError } from '../base/errors.ts';
import { TokenBatches } from './batches.ts';
import { openBlendOrder, openSampleOrder } from './index-cache.ts';
import { allDocuments, planSamples } from './indices.ts';
import { MegatronReader, MegatronWriter } from './megatron.ts';
import { describeBlend, describeDataset } from './megatron-description.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-index-cache-'));
after(() => rmSync(dir, { recursive: true }));
const cache = join(dir, 'cache');
beforeEach(() => rmSync(cache, { recursive: true, force: true }));

interface Case {
  readonly id: string;
  readonly corpus: string;
  readonly split: string;
  readonly documents?: number[];
  readonly seed: number;
  readonly sequence_length: number;
  readonly num_samples_requested: number | null;
  readonly document_index: number[];
  readonly sample_index: number[][];
  readonly shuffle_index: number[];
  readonly dtypes?: Record<string, string>;
}
interface GoldenBlend {
  readonly weights_normalised: number[];
  readonly sizes: number[];
  readonly size: number;
  readonly dataset_index: number[];
  readonly dataset_sample_index: number[];
}
const golden = goldenJson<{ cases: Case[]; blends: GoldenBlend[]; exhaustive_blends: GoldenBlend[] }>(
  'megatron',
  'indices.json',
);

function open(path: string, c: Pick<Case, 'seed' | 'sequence_length' | 'num_samples_requested'>) {
  const reader = new MegatronReader(path);
  const { seed, sequence_length: sequenceLength, num_samples_requested: samples } = c;
  const order = openSampleOrder({
    dir: cache,
    description: describeDataset({ path, samples, seed, sequenceLength, keepPartialSample: false, identity: {} }),
    source: `${path}.idx`,
    plan: planSamples({ tokens: reader.tokens, sequenceLength, samples }),
    sequences: reader.sequences,
    sequenceLength,
    seed,
    documents: reader.sequences,
    lists: () => ({ lengths: reader.lengths(), documents: allDocuments(reader.sequences) }),
  });
  reader.close();
  return order;
}
const files = (): string[] => readdirSync(cache).sort();
const file = (end: string): string => join(cache, files().find((name) => name.endsWith(end)) as string);

/** Numbers and type of a .npy file, read without our reader. */
function readNpy(path: string): { type: string; values: number[] } {
  const bytes = readFileSync(path);
  const header = bytes.toString('latin1', 10, 10 + bytes.readUInt16LE(8));
  const data = bytes.subarray(10 + header.length);
  const type = /'descr': '<(..)'/.exec(header)?.[1] as string;
  const size = Number(type[1]);
  const read = { i2: data.readInt16LE, i4: data.readInt32LE, u4: data.readUInt32LE } as Record<
    string,
    (at: number) => number
  >;
  const values = Array.from({ length: data.length / size }, (_, i) =>
    type === 'i8' ? Number(data.readBigInt64LE(8 * i)) : (read[type] as (at: number) => number).call(data, size * i),
  );
  return { type: { i2: 'int16', i4: 'int32', u4: 'uint32', i8: 'int64' }[type] as string, values };
}

test('the files of a case equal those of the reference byte for byte', () => {
  const c = golden.cases.find(({ id }) => id === 'corpus_a_seed28_len64_epochs2.3') as Case;
  assert.ok(open(goldenPath('megatron', c.corpus), c).built);
  for (const name of ['document_index', 'sample_index', 'shuffle_index']) {
    const expected = readFileSync(goldenPath('megatron', `${c.id}_${name}.npy`));
    assert.ok(readFileSync(file(`-${name}.npy`)).equals(expected), name);
  }
});

test('every case: numbers and types in the files, and read back from them', () => {
  const whole = golden.cases.filter(({ documents }) => !documents);
  assert.equal(whole.length, 7);
  for (const c of whole) {
    rmSync(cache, { recursive: true, force: true });
    const path = goldenPath('megatron', c.corpus);
    open(path, c).close();
    for (const [name, expected] of [
      ['document_index', c.document_index],
      ['sample_index', c.sample_index.flat()],
      ['shuffle_index', c.shuffle_index],
    ] as const) {
      assert.deepEqual(readNpy(file(`-${name}.npy`)), { type: c.dtypes?.[name], values: expected }, `${c.id} ${name}`);
    }
    const order = open(path, c);
    assert.equal(order.built, false);
    assert.equal(order.samples, c.shuffle_index.length);
    assert.deepEqual(
      c.document_index.map((_, place) => order.documentAt(place)),
      c.document_index,
    );
    assert.deepEqual(
      c.shuffle_index.map((_, i) => order.windowOf(i)),
      c.shuffle_index,
    );
    assert.deepEqual(
      c.sample_index.map((_, window) => [order.placeOf(window), order.offsetOf(window)]),
      c.sample_index,
    );
    order.close();
  }
});

test('blends: int16 and int64 files with the numbers of the reference', () => {
  const check = (b: GoldenBlend, weights: readonly number[], size: number | null): void => {
    rmSync(cache, { recursive: true, force: true });
    const options = { dir: cache, description: describeBlend([], weights, size), weights, size };
    assert.ok(openBlendOrder(options).built);
    assert.deepEqual(readNpy(file('-dataset_index.npy')), { type: 'int16', values: b.dataset_index });
    assert.deepEqual(readNpy(file('-dataset_sample_index.npy')), { type: 'int64', values: b.dataset_sample_index });
    const order = openBlendOrder(options);
    assert.equal(order.built, false);
    assert.equal(order.size, b.dataset_index.length);
    assert.deepEqual(
      b.dataset_index.map((_, i) => [order.datasetOf(i), order.sampleOf(i)]),
      b.dataset_index.map((dataset, i) => [dataset, b.dataset_sample_index[i]]),
    );
    order.close();
  };
  for (const b of golden.blends) check(b, b.weights_normalised, b.size);
  for (const b of golden.exhaustive_blends) check(b, b.sizes, null);
});

test('names and descriptions are those of Megatron', () => {
  // The text is what Megatron-LM of swiss-ai (81d44dbe) wrote for these settings.
  const text = `{
    "class": "GPTDataset",
    "dataset_path": "/data/fran\\u00e7ais",
    "num_samples": 119,
    "index_split": "train",
    "random_seed": 28,
    "sequence_length": 64,
    "split": "99,1,0",
    "split_matrix": [
        [
            0,
            0.99
        ],
        [
            0.99,
            1.0
        ],
        null
    ],
    "tokenizer": {
        "class": "_HuggingFaceTokenizer",
        "tokenizer_path": [
            "a/b"
        ]
    }
}`;
  const dataset = {
    path: '/data/français',
    samples: 119,
    seed: 28,
    sequenceLength: 64,
    keepPartialSample: false,
    identity: { split: '99,1,0', tokenizer: { class: '_HuggingFaceTokenizer', tokenizer_path: ['a/b'] } },
  };
  const description = describeDataset(dataset);
  assert.equal(description.text, text);
  assert.match(description.base, /^[0-9a-f]{32}-GPTDataset-train$/);
  assert.match(describeDataset({ ...dataset, keepPartialSample: true }).base, /-GPTDataset-valid$/);
  assert.match(
    describeDataset({ ...dataset, identity: { split: null } }).text,
    /"split": null,\n {4}"split_matrix": null/,
  );
  const blend = describeBlend([dataset, dataset], [0.99999, 0.00001], 3);
  assert.match(blend.base, /^[0-9a-f]{32}-BlendedDataset-train$/);
  assert.match(
    blend.text,
    /"split": "train",\n {4}"weights": \[\n {8}0\.99999,\n {8}1e-05\n {4}\],\n {4}"size": 3\n\}$/,
  );
  assert.match(describeBlend([dataset], [5], null).text, /\[\n {8}5\n {4}\],\n {4}"size": null\n\}$/);
  assert.match(describeBlend([dataset], [1e16, 1, 2.5e-7], 9).text, /1e\+16,\s+1\.0,\s+2\.5e-07\s/);
});

const corpusA = { seed: 7, sequence_length: 32, num_samples_requested: 300 };
/** A copy of a golden pair, so that it can be changed. */
function pair(name: string): string {
  const prefix = join(dir, 'pair');
  for (const end of ['bin', 'idx']) copyFileSync(goldenPath('megatron', `${name}.${end}`), `${prefix}.${end}`);
  return prefix;
}

test('a damaged file is noticed and made anew', () => {
  const prefix = pair('corpus_a');
  open(prefix, corpusA).close();
  const whole = Object.fromEntries(files().map((name) => [name, readFileSync(join(cache, name))]));
  assert.equal(files().length, 5);
  const flip = (at: number) => (path: string) => {
    const bytes = readFileSync(path);
    const place = at < 0 ? bytes.length + at : at;
    bytes[place] = (bytes[place] as number) ^ 1;
    writeFileSync(path, bytes);
  };
  for (const name of files()) {
    for (const damage of [
      (path: string) => rmSync(path),
      (path: string) => truncateSync(path, 0),
      (path: string) => truncateSync(path, statSync(path).size - 1),
      (path: string) => writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(4)])),
      // In the header, in the numbers.
      flip(0),
      flip(60),
      flip(-5),
    ]) {
      damage(join(cache, name));
      const order = open(prefix, corpusA);
      // Of our own notes only what matters is missed: a last line feed is not.
      if (!name.endsWith('.json')) assert.ok(order.built, name);
      order.close();
      for (const [again, bytes] of Object.entries(whole)) {
        if (!again.endsWith('.json')) assert.ok(readFileSync(join(cache, again)).equals(bytes), `${name} ${again}`);
      }
      assert.equal(open(prefix, corpusA).built, false);
    }
  }
});

test('indices of a token file that was replaced are made anew; one that was only touched or copied is not', () => {
  const prefix = pair('corpus_a');
  open(prefix, corpusA).close();
  utimesSync(`${prefix}.idx`, 1, 1);
  assert.equal(open(prefix, corpusA).built, false);
  rmSync(`${prefix}.idx`);
  pair('corpus_a');
  assert.equal(open(prefix, corpusA).built, false);
  // As many documents and tokens, other lengths: nothing but the source itself tells.
  const reader = new MegatronReader(prefix);
  const lengths = [...reader.lengths()].reverse();
  reader.close();
  const writer = new MegatronWriter(prefix, 'int32');
  for (const length of lengths) writer.addDocument(new Int32Array(length));
  writer.close();
  const order = open(prefix, corpusA);
  assert.ok(order.built);
  order.close();
  assert.equal(open(prefix, corpusA).built, false);
});

test('damage that only shows in use is told', () => {
  const prefix = pair('corpus_a');
  const batches = new TokenBatches({
    path: prefix,
    sequenceLength: 32,
    seed: 7,
    samples: 3000,
    goldfish: null,
    documentMask: true,
    eodLossMask: true,
    cacheDir: cache,
  });
  const path = file('-shuffle_index.npy');
  const bytes = readFileSync(path);
  bytes.writeUInt32LE(4_000_000_000, 128 + 4 * 2000);
  writeFileSync(path, bytes);
  assert.throws(
    () => batches.sample(2000),
    (error: unknown) =>
      error instanceof UserError && /shuffle_index\.npy is damaged\s+found: +4000000000/.test(error.message),
  );
  batches.close();
});

test('what cannot be written is said; what a killed process left is removed', () => {
  const prefix = pair('corpus_a');
  writeFileSync(cache, 'a file');
  assert.throws(
    () => open(prefix, corpusA),
    (error: unknown) => error instanceof UserError && /cannot write the index cache/.test(error.message),
  );
  rmSync(cache);
  open(prefix, corpusA).close();
  const left = ['old', 'new'].map((name) => `${file('-shuffle_index.npy')}.${name}.partial`);
  for (const path of left) writeFileSync(path, 'x');
  utimesSync(left[0] as string, 1, 1);
  rmSync(file('-shuffle_index.npy'));
  assert.ok(open(prefix, corpusA).built);
  assert.deepEqual(
    files().filter((name) => name.endsWith('.partial')),
    [left[1]?.slice(cache.length + 1)],
  );
});

test('a folder that may not be written is enough for indices that are there', {
  skip: process.getuid?.() === 0 && 'root may write everywhere',
}, () => {
  const prefix = pair('corpus_a');
  open(prefix, corpusA).close();
  utimesSync(`${prefix}.idx`, 1, 1);
  chmodSync(cache, 0o555);
  assert.equal(open(prefix, corpusA).built, false);
  chmodSync(cache, 0o755);
});

test('several processes make the same indices at once', async () => {
  const prefix = join(dir, 'shared');
  const writer = new MegatronWriter(prefix, 'uint16');
  for (let d = 0; d < 3000; d++) writer.addDocument(new Uint16Array(20 + (d % 300)).fill(d));
  writer.close();
  mkdirSync(cache);
  const options = {
    path: prefix,
    sequenceLength: 16,
    seed: 1,
    samples: 100_000,
    goldfish: null,
    documentMask: true,
    eodLossMask: true,
    cacheDir: cache,
  };
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const module = pathToFileURL(fileURLToPath(new URL(`./batches.${extension}`, import.meta.url))).href;
  const script = `
    const { TokenBatches } = await import(${JSON.stringify(module)});
    const { createHash } = await import('node:crypto');
    const batches = new TokenBatches(${JSON.stringify(options)});
    const hash = createHash('sha256');
    for (let i = 0; i < 100000; i += 997) hash.update(batches.sample(i).tokens);
    console.log(hash.digest('hex'));`;
  const loader = extension === 'ts' ? ['--import', import.meta.resolve('tsx')] : [];
  const outputs = await Promise.all(
    Array.from(
      { length: 4 },
      () =>
        new Promise<string>((resolve) => {
          const child = spawn(process.execPath, [...loader, '--input-type=module', '-e', script]);
          let output = '';
          child.stdout.setEncoding('utf8').on('data', (text: string) => void (output += text));
          child.stderr.setEncoding('utf8').on('data', (text: string) => void (output += text));
          child.on('close', (code) => resolve(`${code} ${output.trim()}`));
        }),
    ),
  );
  assert.match(outputs[0] as string, /^0 [0-9a-f]{64}$/);
  assert.deepEqual(new Set(outputs).size, 1, outputs.join('\n'));
  assert.equal(files().length, 5);
  const { built } = open(prefix, { seed: 1, sequence_length: 16, num_samples_requested: 100_000 });
  assert.equal(built, false);
});
