import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { cutIntoShards, runCorpusStep, textDocument } from '../../../test/corpus-step.ts';
import { goldenJson } from '../../../test/golden.ts';
import type { Document } from '../../base/document.ts';
import { silentLog } from '../../base/progress.ts';
import { Random } from '../../base/rng.ts';
import { notedNumber, quantile, settings, topShare } from './top-share.ts';

interface Golden {
  readonly cases: readonly {
    readonly name: string;
    readonly scores: readonly number[];
    readonly p: number;
    readonly threshold: number;
    readonly above: number;
  }[];
}
const { cases } = goldenJson<Golden>('quantiles.json');

function scored(score: number | undefined, i: number, language = 'deu'): Document {
  const notes = score === undefined ? {} : { notes: { toxicity: { score } } };
  return { ...textDocument('text', `document ${i}`), language, ...notes };
}

/** Settings of one rule, and the others. */
function settingsOf(given: Readonly<Record<string, unknown>>): ReturnType<typeof settings.parse> {
  const { sample, parts, ...rule } = given;
  return settings.parse({ rules: [rule], ...(parts ? { parts } : {}), sample: sample ?? null });
}

const made = (given: Readonly<Record<string, unknown>>, lines: string[] = []) =>
  topShare(settingsOf(given), { ...silentLog, line: (line) => void lines.push(line) });

test('the quantile is that of numpy, to the bit', () => {
  assert.ok(cases.length >= 48);
  for (const { name, scores, p, threshold } of cases) {
    const sorted = scores.toSorted((a, b) => a - b);
    assert.equal(quantile(sorted.length, 1 - p, (rank) => sorted[rank] as number) + 0, threshold + 0, `${name}, ${p}`);
  }
});

test('the step drops or keeps what numpy counts above its threshold', async () => {
  for (const { name, scores, p, threshold, above } of cases) {
    const documents = scores.map((score, i) => scored(score, i));
    for (const top of ['drop', 'keep'] as const) {
      const lines: string[] = [];
      const step = made({ share: p, top, parts: 3 }, lines);
      const { verdicts } = await runCorpusStep(step, cutIntoShards(documents, [scores.length >> 1]));
      const kept = verdicts.filter((verdict) => 'keep' in verdict).length;
      assert.equal(kept, top === 'drop' ? scores.length - above : above, `${name}, ${p}, ${top}`);
      assert.deepEqual(lines, [`top-share: deu: toxicity.score > ${threshold + 0} of ${scores.length} documents`]);
    }
  }
});

test('a score that no document has is said, since a rule about it does nothing', async () => {
  const lines: string[] = [];
  const documents = [scored(undefined, 0), scored(undefined, 1)];
  const { verdicts } = await runCorpusStep(
    made({ note: 'toxicty.score', top: 'keep' }, lines),
    cutIntoShards(documents, [1]),
  );
  assert.ok(verdicts.every((verdict) => 'keep' in verdict));
  assert.deepEqual(lines, ['top-share: no document has the score toxicty.score: nothing falls to this rule']);
});

test('each language has a threshold of its own, whatever the shards, the parts and the memory', async () => {
  const language = fc.constantFrom('deu', 'fra', 'a label that is longer than eight bytes', 'another long label');
  const document = fc.record({
    language,
    score: fc.option(fc.oneof(fc.constantFrom(0, -0, 0.5, 1), fc.double({ noNaN: true, noDefaultInfinity: true }))),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(document, { maxLength: 60 }),
      fc.array(fc.nat(), { maxLength: 4 }),
      fc.integer({ min: 1, max: 5 }),
      fc.constantFrom(1, 5, null),
      async (given, cuts, parts, sample) => {
        const documents = given.map(({ language, score }, i) => scored(score ?? undefined, i, language));
        const options = { share: 0.3, byLanguage: { fra: { share: 0.6 } }, sample };
        const one = await runCorpusStep(made(options), [documents]);
        const many = await runCorpusStep(
          topShare({ ...settingsOf({ ...options, parts }), memory: 1 / 4096 }, silentLog),
          cutIntoShards(documents, cuts),
        );
        assert.deepEqual(many.verdicts, one.verdicts);
        if (sample !== null) return;
        for (const [i, document] of documents.entries()) {
          const score = notedNumber(document, ['toxicity', 'score']);
          const scores = documents
            .filter((other) => other.language === document.language)
            .flatMap((other) => notedNumber(other, ['toxicity', 'score']) ?? [])
            .sort((a, b) => a - b);
          const q = 1 - (document.language === 'fra' ? 0.6 : 0.3);
          const goes = score !== undefined && score > quantile(scores.length, q, (rank) => scores[rank] as number);
          assert.equal('drop' in (one.verdicts[i] as object), goes);
        }
      },
    ),
    { numRuns: 80 },
  );
});

test('a sample is the same documents whatever their order, and near the whole', async () => {
  const documents = Array.from({ length: 4000 }, (_, i) => scored((i * 7919) % 4000, i));
  const thresholdOf = async (of: readonly Document[]): Promise<string> => {
    const lines: string[] = [];
    await runCorpusStep(made({ sample: 1000 }, lines), [of]);
    return lines[0] as string;
  };
  const line = await thresholdOf(documents);
  assert.equal(await thresholdOf(documents.toReversed()), line);
  const threshold = Number(/> ([\d.]+) of 4000 documents \(1000 of them\)$/.exec(line)?.[1]);
  assert.ok(Math.abs(threshold - 3800) < 80, line);
});

test('each rule looks at all documents, and the first that a document falls to drops it', async () => {
  const random = new Random(6, 'rules');
  const documents = Array.from({ length: 400 }, (_, i) => {
    const document = textDocument('text', `document ${i}`);
    const quality = { quality: { score: random.real() } };
    // Some have one score alone.
    const toxicity = i % 7 === 0 ? {} : { toxicity: { score: random.real() } };
    return { ...document, language: i % 3 === 0 ? 'deu' : 'fra', notes: { ...quality, ...toxicity } };
  });
  const rules = [
    { note: 'quality.score', top: 'keep', share: 0.33 },
    { note: 'toxicity.score', top: 'drop', share: 0.05, byLanguage: { fra: { share: 0.5 } } },
  ] as const;
  const verdictsOf = async (of: object, shards: readonly (readonly Document[])[]) =>
    (await runCorpusStep(topShare(settings.parse(of), silentLog), shards)).verdicts;
  const both = await verdictsOf({ rules, parts: 3 }, cutIntoShards(documents, [100, 250]));
  const [quality, toxicity] = [await made1(rules[0]), await made1(rules[1])];
  async function made1(rule: object) {
    return await verdictsOf({ rules: [rule] }, [documents]);
  }
  assert.deepEqual(
    both,
    documents.map((document, i) => {
      if ('drop' in (quality[i] as object)) return { drop: { reason: 'below-top-share', detail: 'quality.score' } };
      if ('drop' in (toxicity[i] as object)) return { drop: { reason: 'in-top-share', detail: 'toxicity.score' } };
      return { keep: document };
    }),
  );
  assert.ok(both.some((verdict, i) => 'drop' in verdict && 'drop' in (toxicity[i] as object)));
});

test('a judgement changes only where a verdict does, and notes are found by path', async () => {
  const shard = (scores: readonly number[]) => scores.map((score, i) => scored(score, i));
  const first = shard([1, 2, 3, 4]);
  const before = await runCorpusStep(made({ share: 0.5 }), [first, shard([1, 2, 3, 4])]);
  const after = await runCorpusStep(made({ share: 0.5 }), [first, shard([1, 2.4, 2.6, 4])]);
  assert.equal(before.judgements[0]?.length, 16);
  assert.equal(after.judgements[0], before.judgements[0]);
  const document = { ...textDocument('', 'x'), notes: { a: { b: 2, c: 'text', d: [1] } } };
  assert.equal(notedNumber(document, ['a', 'b']), 2);
  for (const path of ['a', 'a.c', 'a.d', 'a.d.0', 'a.toString', 'b', '__proto__']) {
    assert.equal(notedNumber(document, path.split('.')), undefined, path);
  }
});
