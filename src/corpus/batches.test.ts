import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { goldenJson, goldenPath } from '../../test/golden.ts';
import { UserError } from '../base/errors.ts';
import { TokenBatches } from './batches.ts';
import { MegatronReader, MegatronWriter } from './megatron.ts';
import { emptyBatch, SampleRows } from './sample-rows.ts';
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
}
interface Case {
  readonly id: string;
  readonly corpus: string;
  readonly documents?: number[];
  readonly seed: number;
  readonly sequence_length: number;
  readonly num_samples_requested: number | null;
  readonly num_samples_built: number;
  readonly drop_last_partial_sequence?: boolean;
}
const folder = goldenPath('megatron');
const golden = goldenJson<{ eod_token: number; cases: Case[]; samples: GoldenItem[] }>('megatron', 'indices.json');
const dir = mkdtempSync(join(tmpdir(), 'belay-batches-'));
after(() => rmSync(dir, { recursive: true }));

for (const cacheDir of [undefined, join(dir, 'cache')]) {
  test(`samples equal the reference: tokens, labels, masks, positions; ${cacheDir ? 'cached' : 'in memory'}`, () => {
    assert.equal(golden.samples.length, 73);
    const seen = new Set<string>();
    for (const item of golden.samples) {
      const c = golden.cases.find(({ id }) => id === item.case) as Case;
      const T = c.sequence_length;
      // The reference resets attention and positions together.
      assert.equal(item.reset_attention_mask, item.reset_position_ids);
      const rows = new SampleRows({
        path: join(folder, c.corpus),
        sequenceLength: T,
        seed: c.seed,
        samples: c.num_samples_requested,
        documents: c.documents && Int32Array.from(c.documents),
        keepPartialSample: c.drop_last_partial_sequence === false,
        goldfish: item.goldfish,
        documentMask: item.reset_position_ids,
        eodLossMask: item.eod_mask_loss,
        endOfDocument: golden.eod_token,
        cacheDir,
      });
      const what = `${item.case} sample ${item.sample}`;
      assert.equal(rows.samples, c.num_samples_built, what);
      const batch = emptyBatch(1, T);
      rows.fill(item.sample, batch, 0);
      rows.close();
      assert.deepEqual([...batch.tokens], item.tokens, what);
      assert.deepEqual([...batch.labels], item.labels, what);
      assert.deepEqual([...batch.lossMask], item.loss_mask, what);
      assert.deepEqual([...batch.positions], item.position_ids, what);
      if (item.first_attended_position) assert.deepEqual([...batch.lo], item.first_attended_position, what);
      seen.add(`${item.goldfish !== null} ${item.eod_mask_loss} ${item.reset_position_ids}`);
    }
    assert.deepEqual([...seen].sort(), ['false false false', 'false true true', 'true true false', 'true true true']);
  });
}

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

/** A pair whose tokens are all different and not 0, so that a token says where it comes from: [token] -> its sequence. */
function writeNumbered(
  prefix: string,
  corpus: readonly (readonly number[])[],
): { sequenceOf: number[]; ends: number[] } {
  const writer = new MegatronWriter(prefix, 'int32');
  const sequenceOf = [-1];
  const ends: number[] = [];
  let sequence = 0;
  for (const lengths of corpus) {
    for (const length of lengths) {
      writer.addSequence(Array.from({ length }, (_, i) => sequenceOf.length + i));
      for (let i = 0; i < length; i++) sequenceOf.push(sequence);
      sequence++;
    }
    writer.endDocument();
    ends.push(sequence);
  }
  writer.close();
  return { sequenceOf, ends };
}

test('whereIs finds every sample a document is in, and nothing else; cached and in memory give the same rows', () => {
  const corpora = fc.array(fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 30 })), { maxLength: 3 }), {
    minLength: 1,
    maxLength: 15,
  });
  const runs = fc.record({ T: fc.integer({ min: 1, max: 20 }), seed: fc.nat(), epochs: fc.double({ min: 0, max: 4 }) });
  let found = 0;
  const property = fc.property(corpora, runs, fc.boolean(), (corpus, { T, seed, epochs }, partial) => {
    const total = corpus.flat().reduce((sum, length) => sum + length, 0);
    fc.pre(total > T + 1);
    const prefix = join(dir, 'numbered');
    const { sequenceOf, ends } = writeNumbered(prefix, corpus);
    const samples = Number.isNaN(epochs) || epochs === 0 ? null : Math.max(1, Math.floor((epochs * total - 1) / T));
    const numbered = {
      ...options,
      path: prefix,
      sequenceLength: T,
      seed,
      samples,
      goldfish: null,
      keepPartialSample: partial,
    };
    const cacheDir = join(dir, 'numbered-cache');
    rmSync(cacheDir, { recursive: true, force: true });
    const open = [new TokenBatches(numbered), new TokenBatches({ ...numbered, cacheDir })] as const;
    try {
      const [batches, cached] = open;
      assert.deepEqual(cached.batch(0, cached.samples), batches.batch(0, batches.samples));
      // The slow way: every token of every row is looked up.
      const expected = new Map<number, string[]>();
      for (let i = 0; i < batches.samples; i++) {
        const { tokens, labels } = batches.sample(i);
        const row = [...tokens, labels[T - 1] as number];
        const end = row.includes(0) ? row.indexOf(0) : T + 1;
        for (let t = 0; t < end; ) {
          const first = row[t] as number;
          const sequence = sequenceOf[first] as number;
          let to = t + 1;
          while (to < end && row[to] === first + to - t && sequenceOf[row[to] as number] === sequence) to++;
          const document = ends.findIndex((beyond) => sequence < beyond);
          expected.set(document, [...(expected.get(document) ?? []), `${i} ${t} ${to}`]);
          t = to;
        }
      }
      for (let d = 0; d < corpus.length; d++) {
        const sightings = cached.whereIs(d);
        assert.deepEqual(
          sightings.map(({ sample, from, to }) => `${sample} ${from} ${to}`),
          expected.get(d) ?? [],
          `document ${d}`,
        );
        assert.deepEqual(batches.whereIs(d), sightings);
        found += sightings.length;
      }
    } finally {
      for (const one of open) one.close();
    }
  });
  fc.assert(property, { numRuns: 80 });
  assert.ok(found > 300);
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
