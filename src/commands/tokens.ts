// `belay tokens check` and `belay tokens merge`: pairs of token files, whoever made them.
//
// Does not: read or write a pair; corpus/ does.
import { buildCommand, buildRouteMap } from '@stricli/core';
import { exitCodes } from '../base/errors.ts';
import { checkTokenFile, type TokenFileReport } from '../corpus/check-token-file.ts';
import { mergeMegatron } from '../corpus/merge.ts';
import { wholeNumber } from './flags.ts';

/** What was found, for people. */
export function tokenFileText({ prefix, type, documents, sequences, tokens, problems }: TokenFileReport): string {
  const counts = Object.entries({ documents, sequences, tokens }).map(
    ([name, count]) => `${count.toLocaleString('en')} ${name}`,
  );
  const facts = [...(problems.length === 0 ? [] : ['BROKEN']), ...(type ? [...counts, type] : [])];
  const lines = problems.flatMap((problem) => problem.split('\n')).map((line) => `  ${line}\n`);
  return `${prefix}: ${facts.join(', ')}\n${lines.join('')}`;
}

interface CheckFlags {
  readonly vocabulary?: number;
  readonly json: boolean;
}

const prefixes = {
  kind: 'array',
  parameter: { parse: String, brief: 'path of a pair without .bin and .idx', placeholder: 'PREFIX' },
  minimum: 1,
} as const;

const check = buildCommand<CheckFlags, string[]>({
  docs: {
    brief: 'what pairs of token files hold, and what is wrong with them',
    fullDescription: `Reads the index of each pair PREFIX.bin, PREFIX.idx and prints its documents, sequences, tokens and type, or what is
wrong with it. Exit code 2 where a pair is broken; the others are checked all the same.

EXAMPLE
  belay tokens check out/demo/tokens/train out/demo/tokens/validation`,
  },
  parameters: {
    flags: {
      vocabulary: {
        kind: 'parsed',
        parse: wholeNumber(1),
        brief: 'read all tokens too: each must be below this',
        optional: true,
      },
      json: { kind: 'boolean', brief: 'one JSON array', default: false },
    },
    positional: prefixes,
  },
  func({ vocabulary, json }, ...paths) {
    const reports = paths.map((prefix) => {
      const report = checkTokenFile(prefix, vocabulary === undefined ? {} : { vocabularySize: vocabulary });
      if (!json) process.stdout.write(tokenFileText(report));
      return report;
    });
    if (json) process.stdout.write(`${JSON.stringify(reports)}\n`);
    if (reports.some(({ problems }) => problems.length > 0)) process.exitCode = exitCodes.user;
  },
});

const merge = buildCommand<{ readonly out: string }, string[]>({
  docs: {
    brief: 'join pairs of token files of one type',
    fullDescription: `Writes the documents of several pairs, one pair after another, to OUT.bin and OUT.idx.

EXAMPLE
  belay tokens merge --out shards/all shards/de shards/fr`,
  },
  parameters: {
    flags: { out: { kind: 'parsed', parse: String, brief: 'path of the new pair without .bin and .idx' } },
    positional: prefixes,
  },
  func({ out }, ...paths) {
    mergeMegatron(paths, out);
    process.stdout.write(tokenFileText(checkTokenFile(out)));
  },
});

export const command = buildRouteMap({
  routes: { check, merge },
  docs: {
    brief: 'check token files, and join them',
    fullDescription:
      'EXAMPLE\n  belay tokens check out/demo/tokens/train\n  belay tokens merge --out shards/all shards/de shards/fr',
  },
});
