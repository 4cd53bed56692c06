// A text classifier: notes the score of a label, and drops what is below or above a threshold.
//
// The model is any fastText classifier; `belay data train-classifier` makes one. Quality filters of this kind: DCLM
// (Li et al. 2024, section 4.4), FineWeb-Edu. The text is one line for the model: line breaks count as spaces.
//
// Does not: train (../fasttext/train.ts).
import { existsSync } from 'node:fs';
import { z } from 'zod';
import { withNote } from '../../base/document.ts';
import { UserError } from '../../base/errors.ts';
import { readFastTextModel } from '../fasttext/model.ts';
import { defineStep } from '../step.ts';

const name = 'classify';

export const definition = defineStep({
  name,
  brief: 'the score of a text classifier, as a note or a threshold',
  settings: z.strictObject({
    /** Path of a fastText model. */
    model: z.string(),
    /** Whose probability the score is; null: that of the most probable label. */
    label: z.string().nullable().default(null),
    /** Score at which a document is dropped; null: none is. */
    threshold: z.number().min(0).max(1).nullable().default(null),
    /** Which side of the threshold goes; a score that equals it stays. */
    drop: z.enum(['below', 'above']).default('below'),
  }),
  files: ({ model }) => [model],
  make({ model: path, label, threshold, drop }) {
    if (!existsSync(path)) {
      throw new UserError(`the model of the step ${name} is not there`, {
        found: path,
        next: 'belay data train-classifier --help',
      });
    }
    const model = readFastTextModel(path);
    const wanted = label === null ? -1 : model.labels.indexOf(label);
    if (label !== null && wanted < 0) {
      throw new UserError(`the model ${path} has no label "${label}"`, {
        expected: model.labels.slice(0, 50).join(', '),
      });
    }
    const probabilities = new Float64Array(model.labels.length);
    return {
      name,
      run(document) {
        // A text without a row that the model knows has no score.
        const known = model.probabilities(document.text, probabilities);
        const best = label === null ? probabilities.indexOf(Math.max(...probabilities)) : wanted;
        const score = known ? Math.min(1, probabilities[best] as number) : 0;
        if (threshold !== null && (drop === 'below' ? score < threshold : score > threshold)) {
          return { drop: { reason: `${drop}-threshold`, detail: score.toFixed(3) } };
        }
        const note = { label: known ? (model.labels[best] as string) : null, score: Math.round(score * 1000) / 1000 };
        return { keep: withNote(document, name, note) };
      },
    };
  },
});
