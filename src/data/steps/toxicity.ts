// Toxic documents by a head over the vectors of an encoder: the score of a document is the highest of its chunks; above the
// threshold of its language it is dropped.
//
// Source: section 3.1 of the Apertus report and swiss-ai/pretrain-data (XLM-R base, 512-token chunks, a head per
// language), which drops the top 5 % of a language: `top-share` does that with the score noted here. The preset has the
// thresholds that pretrain-data uses for that share, which belong to its own heads.
//
// Does not: judge languages without a head; they are kept, without a note.
import { z } from 'zod';
import { withNote } from '../../base/document.ts';
import { notedScore, scoreOf } from '../heads/head.ts';
import { defineStep, type Step } from '../step.ts';
import { type EmbeddingHeads, filesOfHeads, openHeads } from './embedding-heads.ts';

const name = 'toxicity';

/** pipelines/fineweb-2/main.py and pipelines/fineweb/main.py of swiss-ai/pretrain-data. */
export const apertusThresholds: Readonly<Record<string, number>> = {
  deu: 0.9977,
  fra: 0.9994,
  pol: 0.9867,
  por: 0.9476,
  spa: 0.9953,
  ita: 0.9985,
  cmn: 0.5954,
  nld: 0.9883,
  eng: 0.99944,
};

const threshold = z.number().min(0).max(1).nullable();

const settings = z.strictObject({
  /** Folder of an encoder, or a fastText model. */
  embedder: z.string(),
  /** Folder of `belay data train-head toxicity`. */
  heads: z.string(),
  /** Above it a document goes; null: scores are noted alone, for top-share. */
  threshold: threshold.default(null),
  /** By language: another threshold. */
  byLanguage: z.record(z.string(), z.strictObject({ threshold })).default({}),
  /** `apertus`: the thresholds of pretrain-data, where `byLanguage` has none. */
  preset: z.enum(['apertus']).nullable().default(null),
  /** Sources that are not judged (Apertus: code, math, FineWeb-Edu, DCLM-Edu). */
  skip: z.array(z.string()).default([]),
});

export function toxicityStep(options: z.output<typeof settings>, { embedder, heads }: EmbeddingHeads): Step {
  const skipped = new Set(options.skip);
  const thresholds = new Map<string, number | null>(options.preset === null ? [] : Object.entries(apertusThresholds));
  for (const [language, changed] of Object.entries(options.byLanguage)) thresholds.set(language, changed.threshold);
  return {
    name,
    async run(document) {
      const head = skipped.has(document.source) ? undefined : heads.of(document.language);
      if (!head) return { keep: document };
      const vectors = await embedder.embed(document.text);
      let top = 0;
      for (const vector of vectors) top = Math.max(top, scoreOf(head, vector));
      const score = notedScore(top);
      const own = thresholds.get(document.language);
      const limit = own === undefined ? options.threshold : own;
      if (limit !== null && score > limit) return { drop: { reason: 'toxic', detail: `score ${score}` } };
      return { keep: withNote(document, name, { score, chunks: vectors.length }) };
    },
  };
}

export const definition = defineStep({
  name,
  brief: 'toxic documents, by a head over an encoder',
  settings,
  files: filesOfHeads,
  make: async (given) => toxicityStep(given, await openHeads(given, name)),
});
