// `belay data train-head`: classifier heads from labelled texts, one for each language.
//
// Does not: do the work; data/heads/ does.
import { cpus } from 'node:os';
import { buildCommand, buildRouteMap } from '@stricli/core';
import { terminalLog } from '../base/progress.ts';
import type { HeadKind } from '../data/heads/head.ts';
import { trainHeads } from '../data/heads/train-folder.ts';
import { settingsOf } from './data-step.ts';
import { wholeNumber } from './flags.ts';

interface Flags {
  readonly embedder: string;
  readonly out: string;
  readonly set?: readonly string[];
  readonly seed: number;
  readonly threads?: number;
  readonly json: boolean;
}

function commandOf(kind: HeadKind, example: string) {
  return buildCommand<Flags, string[]>({
    docs: {
      brief: `heads for the step ${kind}`,
      fullDescription: `Embeds the lines of JSON-lines files ("text", "label" 0 or 1, perhaps "language") and trains a head on each language.
docs/data.md, "Classifiers", says where Apertus had its lines from: none ship with belay.

EXAMPLE
  ${example}`,
    },
    parameters: {
      flags: {
        embedder: { kind: 'parsed', parse: String, brief: 'folder of an encoder, or a fastText model' },
        out: { kind: 'parsed', parse: String, brief: 'folder to make' },
        set: {
          kind: 'parsed',
          parse: String,
          brief: 'a setting, key=value (again for more)',
          variadic: true,
          optional: true,
        },
        seed: { kind: 'parsed', parse: wholeNumber(0), brief: 'decides weights, order and dropout', default: '42' },
        threads: {
          kind: 'parsed',
          parse: wholeNumber(1, 256),
          brief: 'threads of the encoder (default: all cores)',
          optional: true,
        },
        json: { kind: 'boolean', brief: 'print what heads.json says', default: false },
      },
      positional: {
        kind: 'array',
        parameter: { parse: String, brief: '.jsonl, .jsonl.gz or .jsonl.zst', placeholder: 'FILE' },
        minimum: 1,
      },
    },
    async func({ embedder, out, set = [], seed, threads = cpus().length, json }, ...files) {
      const log = terminalLog({ quiet: json });
      const made = await trainHeads({ kind, files, embedder, out, settings: settingsOf(set), seed, threads, log });
      if (json) process.stdout.write(`${JSON.stringify(made)}\n`);
      else log.line(`${out}: heads for ${Object.keys(made.languages).join(', ')}`);
    },
  });
}

export const command = buildRouteMap({
  routes: {
    toxicity: commandOf(
      'toxicity',
      'belay data train-head toxicity --embedder xlm-r/ --out heads/toxicity comments.jsonl.gz',
    ),
    quality: commandOf(
      'quality',
      'belay data train-head quality --embedder xlm-r/ --out heads/quality --set epochs=3 good.jsonl rest.jsonl',
    ),
  },
  docs: {
    brief: 'classifier heads for the steps toxicity and quality',
    fullDescription:
      'EXAMPLE\n  belay data train-head toxicity --embedder xlm-r/ --out heads/toxicity comments.jsonl.gz',
  },
});
