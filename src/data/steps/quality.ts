// Quality by a head over the vector of a document's first chunk: what is not strictly above the threshold of its language is
// dropped.
//
// Source: FineWeb2-HQ (Messmer et al. 2025; epfml/fineweb2-hq) as section 3.1 of the Apertus report uses it. The threshold there
// is the quantile of the scores that keeps the best 33 or 10 % of a language: `top-share` does that with the score noted
// here.
//
// Does not: judge languages without a head; they are kept, without a note.
import { z } from 'zod';
import { withNote } from '../../base/document.ts';
import { notedScore, scoreOf } from '../heads/head.ts';
import { defineStep, type Step } from '../step.ts';
import { type EmbeddingHeads, filesOfHeads, openHeads } from './embedding-heads.ts';

const name = 'quality';

const threshold = z.number().min(0).max(1).nullable();

const settings = z.strictObject({
  /** Folder of an encoder, or a fastText model. */
  embedder: z.string(),
  /** Folder of `belay data train-head quality`. */
  heads: z.string(),
  /** A document stays if its score is greater; null: scores are noted alone, for top-share. */
  threshold: threshold.default(null),
  /** By language: another threshold. */
  byLanguage: z.record(z.string(), z.strictObject({ threshold })).default({}),
  /** Sources that are not judged. */
  skip: z.array(z.string()).default([]),
});

export function qualityStep(options: z.output<typeof settings>, { embedder, heads }: EmbeddingHeads): Step {
  const skipped = new Set(options.skip);
  const { byLanguage } = options;
  return {
    name,
    async run(document) {
      const { language, source, text } = document;
      const head = skipped.has(source) ? undefined : heads.of(language);
      if (!head) return { keep: document };
      const [vector] = await embedder.embed(text, 1);
      const score = notedScore(scoreOf(head, vector as Float32Array));
      const own = Object.hasOwn(byLanguage, language) ? byLanguage[language] : undefined;
      const limit = own ? own.threshold : options.threshold;
      if (limit !== null && !(score > limit)) return { drop: { reason: 'low-quality', detail: `score ${score}` } };
      return { keep: withNote(document, name, { score }) };
    },
  };
}

export const definition = defineStep({
  name,
  brief: 'quality, by a head over an encoder',
  settings,
  files: filesOfHeads,
  make: async (given) => qualityStep(given, await openHeads(given, name)),
});
