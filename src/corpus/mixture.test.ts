import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { goldenJson, goldenPath } from '../../test/golden.ts';
import { UserError } from '../base/errors.ts';
import { TokenBatches } from './batches.ts';
import { blend, exhaustiveBlend, normaliseWeights } from './blend.ts';
import { MegatronReader, MegatronWriter } from './megatron.ts';
import { Mixture, type MixtureOptions } from './mixture.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-mixture-'));
after(() => rmSync(dir, { recursive: true }));

const golden = goldenJson<{
  eod_token: number;
  end_to_end_blend: {
    corpora: string[];
    weights: number[];
    seed: number;
    sequence_length: number;
    size: number;
    length_of_blend: number;
    requested_per_dataset: number[];
    built_per_dataset: number[];
    dataset_index: number[];
    dataset_sample_index: number[];
    goldfish: { k: number; h: number };
    eod_mask_loss: boolean;
    reset_position_ids: boolean;
    samples: {
      sample: number;
      tokens: number[];
      labels: number[];
      loss_mask: number[];
      position_ids: number[];
      dataset_id: number;
    }[];
  };
}>('megatron', 'indices.json');
const corpus = (name: string): string => goldenPath('megatron', name);
const rows = { sequenceLength: 32, seed: 7, goldfish: { k: 4, h: 13 }, documentMask: true, eodLossMask: true } as const;
const all = ['corpus_a', 'corpus_b', 'corpus_c'].map(corpus);

for (const cacheDir of [undefined, join(dir, 'golden-cache')]) {
  test(`a blend read end to end equals the reference; ${cacheDir ? 'cached' : 'in memory'}`, () => {
    const g = golden.end_to_end_blend;
    const mixture = new Mixture({
      datasets: g.corpora.map((name, i) => ({ path: corpus(name), weight: g.weights[i] as number })),
      sequenceLength: g.sequence_length,
      seed: g.seed,
      samples: g.size,
      goldfish: g.goldfish,
      documentMask: g.reset_position_ids,
      eodLossMask: g.eod_mask_loss,
      endOfDocument: golden.eod_token,
      cacheDir,
    });
    assert.equal(mixture.samples, g.length_of_blend);
    for (let i = 0; i < g.size; i++) {
      assert.deepEqual(mixture.sourceOf(i), { dataset: g.dataset_index[i], sample: g.dataset_sample_index[i] });
    }
    assert.equal(g.samples.length, 7);
    for (const item of g.samples) {
      assert.equal(mixture.sourceOf(item.sample).dataset, item.dataset_id);
      const batch = mixture.batch(item.sample, 1);
      assert.deepEqual([...batch.tokens], item.tokens);
      assert.deepEqual([...batch.labels], item.labels);
      assert.deepEqual([...batch.lossMask], item.loss_mask);
      assert.deepEqual([...batch.positions], item.position_ids);
    }
    mixture.close();
    g.corpora.forEach((name, d) => {
      const samples = g.requested_per_dataset[d] as number;
      const one = new TokenBatches({ ...rows, ...g, sequenceLength: 40, path: corpus(name), samples });
      assert.ok(one.samples <= (g.built_per_dataset[d] as number));
      one.close();
    });
  });
}

test('one data set is read exactly as TokenBatches reads it, with any weight', () => {
  for (const samples of [300, null]) {
    const batches = new TokenBatches({ ...rows, path: all[0] as string, samples });
    for (const weight of [null, 1, 0.25]) {
      const mixture = new Mixture({ ...rows, datasets: [{ path: all[0] as string, weight }], samples });
      assert.equal(mixture.samples, batches.samples);
      assert.deepEqual(mixture.batch(0, mixture.samples), batches.batch(0, batches.samples));
      assert.deepEqual(mixture.whereIs(0, 5), batches.whereIs(5));
      assert.throws(() => mixture.batch(mixture.samples - 1, 2), /not in \[0, /);
      mixture.close();
    }
    batches.close();
  }
});

test('a batch takes each row from the data set and sample that the blend says, whatever the batch size', () => {
  const weights = [70, 20, 10];
  const options: MixtureOptions = {
    ...rows,
    datasets: all.map((path, d) => ({ path, weight: weights[d] as number })),
    samples: 500,
  };
  // Asked for: ceil(ceil(500 w) 1.005).
  const sets = [352, 101, 51].map((samples, d) => new TokenBatches({ ...rows, path: all[d] as string, samples }));
  // Brought to a sum of one twice, as Megatron does: 0.7 becomes 0.7000000000000001, which decides ties.
  const order = blend(normaliseWeights(normaliseWeights(weights)), 500);
  const memory = new Mixture(options);
  const cached = new Mixture({ ...options, cacheDir: join(dir, 'cache') });
  assert.equal(readdirSync(join(dir, 'cache')).length, 3 * 5 + 4);
  assert.deepEqual(cached.batch(0, 500), memory.batch(0, 500));
  for (const [first, B] of [
    [490, 10],
    [0, 3],
    [250, 17],
  ] as const) {
    const batch = memory.batch(first, B);
    for (let b = 0; b < B; b++) {
      const set = sets[order.datasetIndex[first + b] as number] as TokenBatches;
      const row = set.sample(order.datasetSampleIndex[first + b] as number);
      const part = <A extends Int32Array | Float32Array>(values: A): number[] => [
        ...values.subarray(b * 32, b * 32 + 32),
      ];
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
  assert.throws(() => memory.batch(495, 10), /samples \[495, 505\) are not in \[0, 500\)/);
  for (const one of [...sets, memory, cached]) one.close();
});

test('whereIs finds every row that a document of a data set is in', () => {
  const options: MixtureOptions = {
    ...rows,
    datasets: all.map((path, d) => ({ path, weight: d + 1 })),
    samples: 200,
    goldfish: null,
    eodLossMask: false,
  };
  const mixture = new Mixture({ ...options, cacheDir: join(dir, 'cache') });
  let tokens = 0;
  for (const [dataset, path] of all.entries()) {
    const reader = new MegatronReader(path);
    for (let document = 0; document < reader.documents; document++) {
      const ids = ` ${reader.documentTokens(document).join(' ')} `;
      for (const { sample, from, to } of mixture.whereIs(dataset, document)) {
        assert.equal(mixture.sourceOf(sample).dataset, dataset);
        const batch = mixture.batch(sample, 1);
        const seen = [...batch.tokens, batch.labels[31] as number].slice(from, to);
        assert.ok(ids.includes(` ${seen.join(' ')} `), `${path} ${document}`);
        tokens += seen.length;
      }
    }
    reader.close();
  }
  // Every token of every row belongs to one document.
  assert.equal(tokens, 200 * 33);
  assert.throws(() => mixture.whereIs(3, 0), /not in \[0, 3\)/);
  mixture.close();
});

test('without weights: all samples of all data sets, or a part in proportion to their numbers', () => {
  const datasets = all.map((path) => ({ path, weight: null }));
  const sizes = all.map((path) => {
    const one = new TokenBatches({ ...rows, path, samples: null });
    one.close();
    return one.samples;
  });
  const everything = new Mixture({ ...rows, datasets, samples: null });
  const exhaustive = exhaustiveBlend(sizes);
  assert.equal(everything.samples, exhaustive.datasetIndex.length);
  const cached = new Mixture({ ...rows, datasets, samples: null, cacheDir: join(dir, 'cache') });
  for (let i = 0; i < everything.samples; i++) {
    const expected = { dataset: exhaustive.datasetIndex[i], sample: exhaustive.datasetSampleIndex[i] };
    assert.deepEqual(everything.sourceOf(i), expected);
    assert.deepEqual(cached.sourceOf(i), expected);
  }
  const part = new Mixture({ ...rows, datasets, samples: 60 });
  const proportional = blend(normaliseWeights(sizes), 60);
  for (let i = 0; i < 60; i++) assert.equal(part.sourceOf(i).dataset, proportional.datasetIndex[i]);
  const whole = new Mixture({ ...rows, datasets, samples: everything.samples });
  assert.deepEqual(whole.batch(0, 20).T, 32);
  for (const one of [everything, cached, part, whole]) one.close();
  assert.throws(
    () => new Mixture({ ...rows, datasets, samples: everything.samples + 1 }),
    (error: unknown) => error instanceof UserError && /too few samples/.test(error.message),
  );
});

test('mixtures that make no sense are refused with what is wrong', () => {
  const [a = '', b = ''] = all;
  const refused = (datasets: MixtureOptions['datasets'], samples: number | null, message: RegExp): void => {
    assert.throws(
      () => new Mixture({ ...rows, datasets, samples }),
      (error: unknown) => error instanceof UserError && message.test(error.message),
      String(message),
    );
  };
  refused([], 10, /needs data sets/);
  refused(
    [
      { path: a, weight: 1 },
      { path: b, weight: null },
    ],
    10,
    /some of its data sets only/,
  );
  refused(
    [
      { path: a, weight: 1 },
      { path: b, weight: 0 },
    ],
    10,
    /corpus_b: 0/,
  );
  refused(
    [
      { path: a, weight: 1 },
      { path: b, weight: Number.NaN },
    ],
    10,
    /not a positive number/,
  );
  refused(
    [
      { path: a, weight: 1 },
      { path: b, weight: 2 },
    ],
    null,
    /needs a number of samples/,
  );
  refused(
    [
      { path: a, weight: 1 },
      { path: join(dir, 'missing'), weight: 2 },
    ],
    10,
    /cannot open .*missing\.idx/,
  );
  const empty = join(dir, 'empty');
  new MegatronWriter(empty, 'uint16').close();
  refused(
    [
      { path: a, weight: 1 },
      { path: empty, weight: 2 },
    ],
    10,
    /too few tokens/,
  );
});
