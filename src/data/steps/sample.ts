// A share of the documents, by a hash of their ids: what Apertus does with languages that no model judges.
//
// Source: swiss-ai/pretrain-data, pipelines/fineweb-2: 0.3135 or 0.095 of the languages without a quality model, 0.95 of
// those with one but without a toxicity model, seed 42. There a stream of random numbers runs along the documents of a
// file (datatrove's SamplerFilter), so the choice depends on their order and on how they are cut into files; here it
// depends on seed and id alone, so the shares are the same and the documents are not.
//
// Does not: know which languages have a model; the settings say.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { defineStep } from '../step.ts';
import { settingsFor } from './per-language.ts';

const name = 'sample';
const rate = z.number().min(0).max(1);

/** A number in [0, 1) that follows from seed and id alone: 53 bits of their SHA-256. */
export function placeOf(seed: number, id: string): number {
  const digest = createHash('sha256').update(`${seed}/${name}/${id}`).digest();
  return ((digest.readUInt32LE(0) >>> 5) * 67108864 + (digest.readUInt32LE(4) >>> 6)) / 9007199254740992;
}

export const definition = defineStep({
  name,
  brief: 'a share of the documents, by language',
  settings: z.strictObject({
    /** Share that is kept (pretrain-data: 0.3135 or 0.095). */
    rate: rate.default(1),
    /** By ISO 639-3 code: another rate. */
    byLanguage: z.record(z.string(), z.strictObject({ rate })).default({}),
    /** pretrain-data: 42. */
    seed: z.int().min(0).default(42),
  }),
  make(settings) {
    const of = settingsFor(settings);
    return {
      name,
      run(document) {
        const kept = of(document.language).rate;
        if (kept === 1 || placeOf(settings.seed, document.id) < kept) return { keep: document };
        return { drop: { reason: 'not-sampled' } };
      },
    };
  },
});
