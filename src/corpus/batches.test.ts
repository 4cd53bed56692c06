import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { UserError } from '../base/errors.ts';
import { packageRoot } from '../base/version.ts';
import { TokenBatches } from './batches.ts';
import { blend } from './blend.ts';
import { MegatronReader, MegatronWriter } from './megatron.ts';
import { documentTokens, validationWindows } from './validation.ts';

interface GoldenItem {
  readonly case: string;
  readonly sample: number;
  readonly goldfish: { readonly k: number; readonly h: number } | null;
  readonly eod_mask_loss: boolean;
  readonly reset_position_ids: boolean;
  readonly reset_attention_mask: boolean;
  readonly tokens: number[];
  readonly labels: number[];
  readonly loss_mask: number[];
  readonly position_ids: number[];
  readonly first_attended_position?: number[];
  readonly dataset_id?: number;
}
interface Case {
  readonly id: string;
  readonly corpus: string;
  readonly documents?: number[];
  readonly seed: number;
  readonly sequence_length: number;
  readonly num_samples_requested: number | null;
  readonly drop_last_partial_sequence?: boolean;
}
const folder = join(packageRoot, 'test/golden/megatron');
const golden = JSON.parse(readFileSync(join(folder, 'indices.json'), 'utf8')) as {
  cases: Case[];
  samples: GoldenItem[];
  end_to_end_blend: {
    corpora: string[];
    weights: number[];
    seed: number;
    sequence_length: number;
    size: number;
    requested_per_dataset: number[];
    dataset_index: number[];
    dataset_sample_index: number[];
    goldfish: { k: number; h: number };
    eod_mask_loss: boolean;
    reset_position_ids: boolean;
    samples: GoldenItem[];
  };
};
const dir = mkdtempSync(join(tmpdir(), 'belay-batches-'));
after(() => rmSync(dir, { recursive: true }));

test('samples equal the reference: tokens, labels, masks, positions', () => {
  assert.ok(golden.samples.length > 70);
  for (const item of golden.samples) {
    const c = golden.cases.find(({ id }) => id === item.case) as Case;
    const batches = new TokenBatches({
      path: join(folder, c.corpus),
      sequenceLength: c.sequence_length,
      seed: c.seed,
      samples: null,
      ...(c.num_samples_requested === null ? {} : { samples: c.num_samples_requested }),
      ...(c.documents ? { documents: Int32Array.from(c.documents) } : {}),
      keepPartialSample: c.drop_last_partial_sequence === false,
      goldfish: item.goldfish,
      documentMask: item.reset_position_ids,
      eodLossMask: item.eod_mask_loss,
    });
    const what = `${item.case} sample ${item.sample}`;
    // The reference also reads samples beyond those that were asked for.
    Object.assign(batches, { samples: batches.indices.samples });
    const sample = batches.sample(item.sample);
    batches.close();
    assert.deepEqual([...sample.tokens], item.tokens, what);
    assert.deepEqual([...sample.labels], item.labels, what);
    assert.deepEqual([...sample.lossMask], item.loss_mask, what);
    assert.deepEqual([...sample.positions], item.position_ids, what);
    if (item.first_attended_position) assert.deepEqual([...sample.firstAttended], item.first_attended_position, what);
  }
});

test('a blend read end to end equals the reference', () => {
  const g = golden.end_to_end_blend;
  const sets = g.corpora.map(
    (name, i) =>
      new TokenBatches({
        path: join(folder, name),
        sequenceLength: g.sequence_length,
        seed: g.seed,
        samples: g.requested_per_dataset[i] as number,
        goldfish: g.goldfish,
        documentMask: g.reset_position_ids,
        eodLossMask: g.eod_mask_loss,
      }),
  );
  const order = blend(g.weights, g.size);
  assert.deepEqual([...order.datasetIndex], g.dataset_index);
  assert.deepEqual([...order.datasetSampleIndex], g.dataset_sample_index);
  for (const item of g.samples) {
    const set = order.datasetIndex[item.sample] as number;
    assert.equal(set, item.dataset_id);
    const sample = (sets[set] as TokenBatches).sample(order.datasetSampleIndex[item.sample] as number);
    assert.deepEqual([...sample.tokens], item.tokens);
    assert.deepEqual([...sample.labels], item.labels);
    assert.deepEqual([...sample.lossMask], item.loss_mask);
    assert.deepEqual([...sample.positions], item.position_ids);
  }
  for (const set of sets) set.close();
});

const options = {
  path: join(folder, 'corpus_a'),
  sequenceLength: 32,
  seed: 7,
  samples: 300,
  goldfish: { k: 4, h: 13 },
  documentMask: true,
  eodLossMask: true,
};

test('a batch is its samples, whatever the batch size and the order of asking', () => {
  const batches = new TokenBatches(options);
  const again = new TokenBatches(options);
  for (const [first, B] of [
    [290, 10],
    [0, 3],
    [17, 1],
    [3, 8],
  ] as const) {
    const batch = batches.batch(first, B);
    assert.deepEqual([batch.B, batch.T], [B, 32]);
    for (let b = B - 1; b >= 0; b--) {
      const row = again.sample(first + b);
      const part = <A extends Int32Array | Float32Array>(all: A): number[] => [...all.subarray(b * 32, (b + 1) * 32)];
      assert.deepEqual(part(batch.tokens), [...row.tokens]);
      assert.deepEqual(part(batch.labels), [...row.labels]);
      assert.deepEqual(part(batch.lossMask), [...row.lossMask]);
      assert.deepEqual(part(batch.positions), [...row.positions]);
      assert.deepEqual(
        part(batch.lo),
        [...row.firstAttended].map((at) => b * 32 + at),
      );
      assert.deepEqual(
        part(batch.hi),
        [...row.tokens.keys()].map((t) => b * 32 + t + 1),
      );
    }
  }
  assert.throws(() => batches.batch(295, 10), /not in \[0, 300\)/);
  batches.close();
  again.close();
});

test('without the document mask attention and positions cover the row', () => {
  const batches = new TokenBatches({ ...options, documentMask: false, goldfish: null, eodLossMask: false });
  const sample = batches.sample(5);
  assert.deepEqual([...sample.positions], [...sample.tokens.keys()]);
  assert.ok(sample.firstAttended.every((at) => at === 0));
  assert.ok(sample.lossMask.every((weight) => weight === 1));
  batches.close();
});

test('whereIs finds every sample a document is in, and nothing else', () => {
  const batches = new TokenBatches(options);
  const reader = new MegatronReader(options.path);
  // Label every token with its document by reading the windows through the indices, the slow way.
  const { documentIndex, shuffleIndex } = batches.indices;
  const stream: number[] = [];
  for (const document of documentIndex) for (let t = reader.sequenceLength(document); t > 0; t--) stream.push(document);
  const expected = new Map<number, string[]>();
  for (let i = 0; i < batches.samples; i++) {
    const start = (shuffleIndex[i] as number) * 32;
    for (let t = 0; t <= 32; ) {
      const document = stream[start + t] as number;
      let to = t;
      // Neighbouring copies of one document are two sightings; each begins with <s>.
      const ids = reader.documentTokens(document);
      do to++;
      while (to <= 32 && stream[start + to] === document && (ids[0] !== tokenAt(i, to) || to === t));
      expected.set(document, [...(expected.get(document) ?? []), `${i} ${t} ${to}`]);
      t = to;
    }
  }
  function tokenAt(i: number, t: number): number {
    const { tokens, labels } = batches.sample(i);
    return (t < 32 ? tokens[t] : labels[31]) as number;
  }
  let found = 0;
  for (let d = 0; d < reader.documents; d++) {
    const sightings = batches.whereIs(d);
    assert.deepEqual(
      sightings.map(({ sample, from, to }) => `${sample} ${from} ${to}`),
      expected.get(d) ?? [],
      `document ${d}`,
    );
    const ids = reader.documentTokens(d);
    for (const { sample, from, to } of sightings) {
      const seen = Array.from({ length: to - from }, (_, i) => tokenAt(sample, from + i));
      assert.ok(` ${ids.join(' ')} `.includes(` ${seen.join(' ')} `));
      found++;
    }
  }
  assert.ok(found > 300);
  reader.close();
  batches.close();
});

test('indices of three million tokens are built in less than a second', () => {
  const prefix = join(dir, 'large');
  const writer = new MegatronWriter(prefix, 'uint16');
  for (let d = 0; d < 10_000; d++) writer.addDocument(new Uint16Array(300).fill(d % 5000));
  writer.close();
  const start = performance.now();
  const batches = new TokenBatches({ ...options, path: prefix, sequenceLength: 256, samples: 20_000 });
  const seconds = (performance.now() - start) / 1000;
  assert.ok(seconds < 1, `${seconds} s`);
  batches.close();
});

test('a file without a whole sample is refused', () => {
  assert.throws(
    () => {
      const prefix = join(dir, 'nothing');
      new MegatronWriter(prefix, 'uint16').close();
      return new TokenBatches({ ...options, path: prefix });
    },
    (error: unknown) => error instanceof UserError && /too few tokens/.test(error.message),
  );
});

test('validation windows predict every token but the first of each document once', () => {
  const path = join(folder, 'corpus_a');
  const rebuilt = new Map<number, number[]>();
  for (const { document, start, tokens, labels } of validationWindows({ path, sequenceLength: 20 })) {
    assert.ok(tokens.length <= 20 && tokens.length === labels.length);
    const ids = documentTokens(path, document);
    assert.deepEqual([...tokens], [...ids.subarray(start, start + tokens.length)]);
    rebuilt.set(document, [...(rebuilt.get(document) ?? []), ...labels]);
  }
  const reader = new MegatronReader(path);
  for (let d = 0; d < reader.documents; d++) {
    assert.deepEqual(rebuilt.get(d) ?? [], [...reader.documentTokens(d)].slice(1));
  }
  reader.close();
});
