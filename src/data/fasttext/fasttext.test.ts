import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import type { Document } from '../../base/document.ts';
import { silentLog } from '../../base/progress.ts';
import { Random } from '../../base/rng.ts';
import { packageRoot } from '../../base/version.ts';
import type { Step } from '../step.ts';
import { makeStep } from '../steps.ts';
import { dataKernels } from '../steps/xxhash.ts';
import { evaluateClassifier, HoldOut } from './evaluate.ts';
import { modelOf, readFastTextModel } from './model.ts';
import { ClassifierTrainer, type TrainSettings, trainSettings } from './train.ts';
import { fnv, WordTable } from './words.ts';
import { type Classifier, writeFastTextModel } from './write.ts';

const golden = join(packageRoot, 'test', 'golden', 'fasttext');
const kernels = dataKernels();
const dir = mkdtempSync(join(tmpdir(), 'belay-fasttext-'));
test.after(() => rmSync(dir, { recursive: true }));

interface Line {
  readonly text: string;
  readonly label: string;
}

function train(lines: readonly Line[], settings: Partial<TrainSettings>, native = true): Classifier {
  const trainer = new ClassifierTrainer(trainSettings.parse(settings));
  for (const { text, label } of lines) trainer.add(text, label);
  return trainer.train(silentLog, native ? undefined : null);
}

const goldenLines = readFileSync(join(golden, 'lines.jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Line);

test('probabilities of the original, for its models and for ours', () => {
  const texts = readFileSync(join(golden, 'texts.txt'), 'utf8').trimEnd().split('\n');
  for (const file of ['ours.bin', 'theirs.bin', 'theirs.ftz']) {
    const expected = JSON.parse(readFileSync(join(golden, `${file.replace('.', '-')}.json`), 'utf8')) as Record<
      string,
      number
    >[];
    assert.equal(expected.length, texts.length);
    for (const engine of kernels ? [undefined, null] : [null]) {
      const model = readFastTextModel(join(golden, file), engine);
      for (const [i, text] of texts.entries()) {
        const found = model.predict(text, 5);
        assert.equal(found.length, Object.keys(expected[i] as object).length);
        for (const { label, probability } of found) {
          const theirs = expected[i]?.[label] as number;
          assert.ok(Math.abs(probability - theirs) < 2e-5, `${file}: ${text}: ${label} ${probability} ${theirs}`);
        }
      }
    }
  }
});

test('the same lines give the bytes of the model that the original read', () => {
  const settings = { dim: 6, epoch: 20, lr: 0.5, wordNgrams: 2, minn: 2, maxn: 3, bucket: 300, minCount: 3 };
  for (const native of kernels ? [true, false] : [false]) {
    const path = join(dir, 'again.bin');
    writeFastTextModel(path, train(goldenLines, settings, native));
    assert.deepEqual(readFileSync(path), readFileSync(join(golden, 'ours.bin')));
  }
});

test('native training gives the bits of its twin', { skip: kernels ? false : 'no native library' }, () => {
  const random = new Random(28, 'test');
  for (const [dim, numLabels, wordNgrams] of [
    [1, 1, 1],
    [8, 2, 3],
    [10, 7, 2],
    [20, 9, 1],
    [33, 40, 1],
  ] as const) {
    const lines = Array.from({ length: 120 }, (_, i) => ({
      text: Array.from(
        { length: random.integer(12) },
        () => 'wörd'.repeat(1 + random.integer(3)) + random.integer(30),
      ).join(' '),
      label: `l${i % numLabels}`,
    }));
    const settings = { dim, wordNgrams, lr: 1, epoch: 4, minn: 1, maxn: 3, bucket: 97, minCount: 2 };
    const [a, b] = [train(lines, settings), train(lines, settings, false)];
    assert.deepEqual(a.input, b.input);
    assert.deepEqual(a.output, b.output);
    assert.equal(
      a.output.some((value) => value !== 0),
      numLabels > 1,
    );
    const other = train(lines, { ...settings, seed: 29 });
    assert.notDeepEqual(a.input, other.input);
  }
});

test('native vectors have the bits of their twin, whatever the text', {
  skip: kernels ? false : 'no native library',
}, () => {
  const settings = { dim: 7, wordNgrams: 3, minn: 1, maxn: 4, bucket: 500, minCount: 2 };
  const weights = train(goldenLines, settings);
  const [native, plain] = [modelOf(weights), modelOf(weights, null)];
  const piece = fc.oneof(
    fc.constantFrom('</s>', '__label__deu', '__label__x', ' ', '\n', '\0', '<', '\ud800', 'Menschen', 'y'.repeat(40)),
    fc.string({ unit: 'binary' }),
  );
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const text = pieces.join('');
      assert.deepEqual(native.vector(text), plain.vector(text));
      assert.deepEqual(native.predict(text, 3), plain.predict(text, 3));
      assert.deepEqual(native.predict(text), plain.predict(text, 3).slice(0, 1));
    }),
    { numRuns: 500 },
  );
});

test('the kernels refuse what leads outside', { skip: kernels ? false : 'no native library' }, () => {
  const one = Int32Array.of(0, 1);
  const call = (tokens: number[], rows: number[], labels: number[]): void =>
    kernels?.dataTrain(
      Int32Array.of(0),
      0,
      1,
      Int32Array.of(0, tokens.length),
      Int32Array.from(tokens),
      Int32Array.from(labels),
      one,
      Int32Array.from(rows),
      Int32Array.of(5),
      Int32Array.of(1, 1, 1),
      new Float32Array(16),
      new Float32Array(8),
      1,
      Float64Array.of(1, 0, 1, 0),
    );
  call([0], [1], [0]);
  for (const [tokens, rows, labels] of [
    [[1], [0], [0]],
    [[-1], [0], [0]],
    [[0], [2], [0]],
    [[0], [-1], [0]],
    [[0], [0], [1]],
  ] as const) {
    assert.throws(() => call([...tokens], [...rows], [...labels]), /a number outside/);
  }
});

test('a table of words answers like a map', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 3 }), { maxLength: 3000, size: 'max' }), (words) => {
      const table = new WordTable();
      const map = new Map<string, number>();
      for (const word of words) {
        const key = word.join();
        if (!map.has(key)) map.set(key, map.size);
        assert.equal(table.add(word, 0, word.length, fnv(word, 0, word.length)), map.get(key));
      }
      assert.equal(table.size, map.size);
      for (const word of words) {
        assert.equal(table.find(word, 0, word.length, fnv(word, 0, word.length)), map.get(word.join()));
        assert.deepEqual(table.word(map.get(word.join()) as number), word);
      }
    }),
    { numRuns: 50 },
  );
});

test('learns what can be learned, and counts it', () => {
  const random = new Random(28, 'two');
  const lines = Array.from({ length: 2000 }, (_, i) => {
    const label = i % 4 === 0 ? 'rare' : 'common';
    const words = Array.from({ length: 6 }, () => `w${random.integer(50) + (label === 'rare' ? 40 : 0)}`);
    return { text: words.join(' '), label };
  });
  const holdOut = new HoldOut(0.25, 28);
  const held = lines.filter(({ label }) => holdOut.takes(label));
  assert.deepEqual(
    ['rare', 'common'].map((label) => held.filter((line) => line.label === label).length),
    [125, 375],
  );
  const rest = lines.filter((line) => !held.includes(line));
  const scores = evaluateClassifier(modelOf(train(rest, { dim: 8, epoch: 10, lr: 0.5 })), held);
  assert.ok((scores.accuracy as number) > 0.95, `${scores.accuracy}`);
  assert.ok((scores.labels['rare']?.recall as number) > 0.9);
  const constant = {
    ...modelOf(train(rest, { dim: 8, epoch: 1 })),
    predict: () => [{ label: 'rare', probability: 1 }],
  };
  const { labels } = evaluateClassifier(constant, held);
  assert.deepEqual(labels, {
    common: { texts: 375, precision: null, recall: 0 },
    rare: { texts: 125, precision: 0.25, recall: 1 },
  });
});

test('settings that make no classifier are refused', () => {
  for (const wrong of [{ minn: 3, maxn: 2 }, { minn: 0, maxn: 2 }, { dim: 0 }, { lr: 0 }, { other: 1 }])
    assert.equal(trainSettings.safeParse(wrong).success, false);
});

test('a rate that leads nowhere is said, whichever loop runs', () => {
  for (const native of kernels ? [true, false] : [false])
    assert.throws(() => train(goldenLines, { dim: 8, lr: 1e30, epoch: 3 }, native), /left the range of numbers/);
});

const document = (text: string): Document => ({ id: 'x', text, language: 'und', source: 's', licence: 'unknown' });

interface Note {
  readonly label: string;
  readonly score: number;
}

test('the step notes and drops by score', async () => {
  const step = async (settings: object): Promise<Step> =>
    (await makeStep('classify', { model: join(golden, 'ours.bin'), ...settings }, { log: silentLog, seed: 1 })) as Step;
  const greek = document(goldenLines.find((line) => line.label === 'ell')?.text as string);
  const noted = await (await step({})).run(greek);
  assert.ok('keep' in noted);
  const note = noted.keep.notes?.['classify'] as unknown as Note;
  const { label, score } = note;
  assert.equal(label, 'ell');
  assert.deepEqual(await (await step({ label: 'ell', threshold: score - 0.01 })).run(greek), noted);
  assert.deepEqual(await (await step({ label: 'ell', threshold: score + 0.01 })).run(greek), {
    drop: { reason: 'below-threshold', detail: score.toFixed(3) },
  });
  assert.deepEqual(await (await step({ label: 'ell', threshold: score - 0.01, drop: 'above' })).run(greek), {
    drop: { reason: 'above-threshold', detail: score.toFixed(3) },
  });
  await assert.rejects(step({ label: 'xyz' }), /has no label "xyz"/);
  await assert.rejects(step({ model: join(dir, 'none.bin') }), /is not there/);
});

test('the verb trains, scores and rejects lines', () => {
  const input = join(dir, 'in.jsonl');
  const lines = goldenLines.map((line) => JSON.stringify(line));
  writeFileSync(input, `${['{"text":1}', 'no json', '{"text":"a","label":"b c"}', ...lines].join('\n')}\n`);
  const args = ['data', 'train-classifier', '--out', join(dir, 'v.bin'), '--dim', '8', '--lr', '1', '--epoch', '20'];
  const run = (extra: readonly string[]): string =>
    execFileSync(process.execPath, [...process.execArgv, join(packageRoot, cli), ...args, ...extra, input], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  const cli = import.meta.url.endsWith('.js') ? 'dist/src/cli.js' : 'src/cli.ts';
  const summary = JSON.parse(run(['--json', '--bucket', '1000', '--minn', '1', '--maxn', '3'])) as {
    readonly lines: number;
    readonly rejected: number;
    readonly heldOut: { readonly texts: number; readonly accuracy: number };
  };
  assert.equal(summary.rejected, 3);
  assert.equal(summary.lines + summary.heldOut.texts, goldenLines.length);
  assert.ok(summary.heldOut.texts >= 6 && summary.heldOut.accuracy > 0.6, JSON.stringify(summary));
  assert.match(run([]), /deu +\d+ +[01]\.\d{3}/);
  assert.equal(readFastTextModel(join(dir, 'v.bin')).labels.length, 5);
});
