import assert from 'node:assert/strict';
import test from 'node:test';
import { textDocument } from '../../../test/corpus-step.ts';
import { silentLog } from '../../base/progress.ts';
import type { Step } from '../step.ts';
import { definition, placeOf } from './sample.ts';

const made = async (given: object): Promise<Step> =>
  (await definition.make(definition.settings.parse(given), { log: silentLog, seed: 1 })) as Step;

test('the share is kept, the same documents every time, others with another seed', async () => {
  const ids = Array.from({ length: 20_000 }, (_, i) => `https://site-${i % 71}.example/${i}`);
  const keptBy = async (given: object): Promise<string[]> => {
    const step = await made(given);
    return ids.filter((id) => 'keep' in (step.run(textDocument('x', id)) as object));
  };
  for (const rate of [0.95, 0.3135, 0.095]) {
    const kept = await keptBy({ rate });
    // Three standard deviations of a binomial.
    assert.ok(Math.abs(kept.length - rate * ids.length) < 3 * Math.sqrt(rate * (1 - rate) * ids.length), `${rate}`);
    assert.deepEqual(await keptBy({ rate }), kept);
    assert.notDeepEqual(await keptBy({ rate, seed: 43 }), kept);
  }
  // A smaller share is a part of a larger one.
  const larger = new Set(await keptBy({ rate: 0.3135 }));
  assert.ok((await keptBy({ rate: 0.095 })).every((id) => larger.has(id)));
  assert.equal((await keptBy({})).length, ids.length);
  assert.equal((await keptBy({ rate: 0 })).length, 0);
});

test('a language may have a rate of its own', async () => {
  const step = await made({ rate: 0, byLanguage: { deu: { rate: 1 } } });
  const document = textDocument('x', 'id');
  assert.deepEqual(step.run(document), { drop: { reason: 'not-sampled' } });
  const german = { ...document, language: 'deu' };
  assert.deepEqual(step.run(german), { keep: german });
  assert.ok(placeOf(42, 'id') >= 0 && placeOf(42, 'id') < 1);
});
