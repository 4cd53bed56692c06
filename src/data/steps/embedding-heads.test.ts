import assert from 'node:assert/strict';
import test from 'node:test';
import { textDocument } from '../../../test/corpus-step.ts';
import type { Document } from '../../base/document.ts';
import type { HeadWeights } from '../heads/head.ts';
import type { EmbeddingHeads } from './embedding-heads.ts';
import { definition as quality, qualityStep } from './quality.ts';
import { apertusThresholds, definition as toxicity, toxicityStep } from './toxicity.ts';

/** A head whose score is the sigmoid of the only number of a vector. */
const head = (outputs: 1 | 2): HeadWeights => ({
  ...{ width: 1, hidden: 2, outputs, hiddenWeight: Float32Array.of(1, -1), hiddenBias: new Float32Array(2) },
  outputWeight: outputs === 1 ? Float32Array.of(1, -1) : Float32Array.of(0, 0, 1, -1),
  outputBias: new Float32Array(outputs),
});

/** An embedder for texts of numbers: a chunk for each; `asked` counts them. */
function made(outputs: 1 | 2): EmbeddingHeads & { readonly asked: { chunks: number } } {
  const asked = { chunks: 0 };
  return {
    asked,
    embedder: {
      ...{ kind: 'onnx', width: 1, sha256: 'x' },
      async embed(text, most = Number.POSITIVE_INFINITY) {
        const vectors = text.split(' ').map((word) => Float32Array.of(Number(word)));
        asked.chunks += Math.min(most, vectors.length);
        return vectors.slice(0, most);
      },
    },
    heads: {
      ...{ kind: outputs === 2 ? 'toxicity' : 'quality', embedder: 'x', width: 1, languages: new Map() },
      of: (language) => (language === 'roh' ? undefined : head(outputs)),
    },
  };
}

const sigmoid = (x: number): number => Number((1 / (1 + Math.exp(-x))).toPrecision(8));
const of = (text: string, more: Partial<Document> = {}): Document => ({ ...textDocument(text, 'id'), ...more });
const paths = { embedder: 'e', heads: 'h' };

test('toxicity: the highest chunk decides; above the threshold of its language a document goes', async () => {
  const with2 = made(2);
  const step = toxicityStep(
    toxicity.settings.parse({ ...paths, preset: 'apertus', skip: ['code'], threshold: 0.9 }),
    with2,
  );
  const kept = await step.run(of('-3 0.5 0.25', { language: 'deu' }));
  assert.deepEqual(kept, {
    keep: of('-3 0.5 0.25', { language: 'deu', notes: { toxicity: { score: sigmoid(0.5), chunks: 3 } } }),
  });
  // 2.5: 0.924 is above 0.9 and below the preset for German.
  assert.ok('keep' in (await step.run(of('2.5', { language: 'deu' }))));
  assert.deepEqual(await step.run(of('-1 2.5', { language: 'xho' })), {
    drop: { reason: 'toxic', detail: `score ${sigmoid(2.5)}` },
  });
  assert.ok('drop' in (await step.run(of('7', { language: 'deu' }))));
  assert.ok('drop' in (await step.run(of('0.5', { language: 'cmn' }))));
  assert.equal(Object.keys(apertusThresholds).length, 9);
  // Exactly at the threshold it stays.
  const at = toxicityStep(toxicity.settings.parse({ ...paths, threshold: sigmoid(1) }), made(2));
  assert.ok('keep' in (await at.run(of('1'))));
  // What is not judged costs nothing and gets no note.
  const before = with2.asked.chunks;
  for (const document of [of('9', { source: 'code' }), of('9', { language: 'roh' })]) {
    assert.deepEqual(await step.run(document), { keep: document });
  }
  assert.equal(with2.asked.chunks, before);
});

test('toxicity: without a threshold scores are noted alone, and a language may have its own', async () => {
  const step = toxicityStep(toxicity.settings.parse({ ...paths, byLanguage: { deu: { threshold: 0.6 } } }), made(2));
  assert.ok('keep' in (await step.run(of('40', { language: 'fra' }))));
  assert.ok('drop' in (await step.run(of('0.5', { language: 'deu' }))));
});

test('quality: the first chunk decides; what is not above the threshold goes', async () => {
  const with1 = made(1);
  const byLanguage = { fra: { threshold: null }, deu: { threshold: 0.8 } };
  const step = qualityStep(
    quality.settings.parse({ ...paths, threshold: sigmoid(1), byLanguage, skip: ['math'] }),
    with1,
  );
  assert.deepEqual(await step.run(of('2 -9 -9')), {
    keep: of('2 -9 -9', { notes: { quality: { score: sigmoid(2) } } }),
  });
  assert.equal(with1.asked.chunks, 1);
  assert.deepEqual(await step.run(of('1')), { drop: { reason: 'low-quality', detail: `score ${sigmoid(1)}` } });
  assert.ok('drop' in (await step.run(of('1.2', { language: 'deu' }))));
  assert.ok('keep' in (await step.run(of('-5', { language: 'fra' }))));
  const skipped = of('-9', { source: 'math' });
  assert.deepEqual(await step.run(skipped), { keep: skipped });
  // A label that every object has is a language without a threshold of its own.
  assert.ok('drop' in (await step.run(of('-1', { language: 'constructor' }))));
});
