// `belay data`: builds and cleans the documents of a run; `belay data get` fetches document collections.
//
// Does not: do the work; data/ does.
import { buildCommand, buildRouteMap } from '@stricli/core';
import { terminalLog } from '../base/progress.ts';
import { getDebianDocuments } from '../data/sources/debian.ts';
import { trainClassifier } from './data-classifier.ts';
import { funnel, ledger } from './data-funnel.ts';
import { trainLanguages } from './data-languages.ts';
import { command as optout } from './data-optout.ts';
import { probes } from './data-probes.ts';
import { command as step } from './data-step.ts';
import { summary } from './data-summary.ts';
import { submit, tasks } from './data-tasks.ts';
import { command as trainHead } from './data-train-head.ts';
import { wholeNumber } from './flags.ts';
import { runStageVerb, type StageFlags, stageFlags } from './stage-verb.ts';

interface CleanFlags extends StageFlags {
  readonly workers?: number;
  readonly keepRemoved: boolean;
  readonly keepIntermediate: boolean;
}

const clean = buildCommand({
  docs: {
    brief: 'clean documents, with a reason for each one dropped',
    fullDescription: `Reads the recipe's source (or builds it from a shipped collection) and sends every document through the steps of
data.steps; docs/steps.md has them. Every document gets a row in the ledger. Run again, it goes on where it was, and makes again
only what a change of recipe or source touches.

EXAMPLE
  belay data clean --out out/demo --recipe recipes/demo.ts
  belay data clean --out out/mine --recipe recipes/my-run.ts --workers 8 --keep-removed`,
  },
  parameters: {
    flags: {
      ...stageFlags,
      workers: { kind: 'parsed', parse: wholeNumber(1), brief: 'threads (default: a core each)', optional: true },
      keepRemoved: { kind: 'boolean', brief: 'keep dropped documents in removed/', default: false },
      keepIntermediate: { kind: 'boolean', brief: 'keep what passes hand to each other', default: false },
    },
  },
  func: async (flags: CleanFlags) => {
    const { workers, keepRemoved, keepIntermediate } = flags;
    const cleaning = { keepRemoved, keepIntermediate, ...(workers === undefined ? {} : { workers }) };
    await runStageVerb(['documents'], flags, { cleaning });
  },
});

interface GetFlags {
  readonly out: string;
}

const get = buildCommand({
  docs: {
    brief: 'fetch a document collection',
    fullDescription:
      'debian: the handbook, the installation guide and the GNOME help in about 41 languages, through apt-get (no root needed). Their licences are GPL and CC-BY-SA.\n\nEXAMPLE\n  belay data get debian --out data/debian',
  },
  parameters: {
    flags: { out: { kind: 'parsed', parse: String, brief: 'folder to fill', default: 'data/debian' } },
    positional: {
      kind: 'tuple',
      parameters: [
        { parse: (text: string): 'debian' => oneOf(text), brief: 'collection: debian', placeholder: 'collection' },
      ],
    },
  },
  func: async ({ out }: GetFlags, _collection: 'debian') => {
    await getDebianDocuments({ dir: out, log: terminalLog() });
  },
});

function oneOf(text: string): 'debian' {
  if (text !== 'debian') throw new Error(`belay knows no collection "${text}"; expected: debian`);
  return text;
}

export const command = buildRouteMap({
  routes: {
    clean,
    submit,
    tasks,
    optout,
    step,
    funnel,
    ledger,
    summary,
    probes,
    trainClassifier,
    trainHead,
    trainLanguages,
    get,
  },
  defaultCommand: 'clean',
  docs: {
    brief: 'clean documents, with a reason for each one dropped',
    fullDescription:
      'EXAMPLE\n  belay data clean --out out/demo\n  belay data funnel out/demo\n  belay data step pii < in.jsonl > out.jsonl\n  belay data get debian',
  },
});
