// `belay tokenizer`: trains tokenizers, runs them, measures them, and changes vocabularies.
//
// Does not: do the work; tokenizer/train-stage.ts, tokenizer-lines.ts, tokenizer-eval.ts and tokenizer-change.ts do.
import { buildCommand, buildRouteMap } from '@stricli/core';
import { UserError } from '../base/errors.ts';
import { terminalLog } from '../base/progress.ts';
import { trainTokenizerOnFiles } from '../tokenizer/train-stage.ts';
import { realNumber, wholeNumber } from './flags.ts';
import { runStageVerb, type StageFlags, stageFlags } from './stage-verb.ts';
import { extend, pad, rename } from './tokenizer-change.ts';
import { command as evaluate } from './tokenizer-eval.ts';
import { decodeCommand, encodeCommand } from './tokenizer-lines.ts';

interface TrainFlags extends Omit<StageFlags, 'out'> {
  readonly out?: string;
  readonly files?: readonly string[];
  readonly vocabularySize?: number;
  readonly parity?: string;
  readonly threads?: number;
  readonly memory?: number;
}

const train = buildCommand<TrainFlags>({
  docs: {
    brief: 'train a tokenizer',
    fullDescription: `Byte-level BPE with the reserved ids of Apertus. In a run: on its training documents only, after the stages before it.
With --files: on texts of yours, .jsonl with {"text": "..."} on each line or .txt with a text a line, also .gz or .zst;
--out is then the folder of the tokenizer. --parity is a file of lines {"text", "language"} that say the same in several
languages: merges then go to the language that pays most tokens for a line (its languages are named in --files too).

EXAMPLE
  belay tokenizer train --out out/demo --recipe recipes/demo.ts
  belay tokenizer train --files texts.jsonl --vocabulary-size 32000 --out my-tokenizer`,
  },
  parameters: {
    flags: {
      ...stageFlags,
      out: {
        kind: 'parsed',
        parse: String,
        brief: 'run folder (default: out/demo); the folder to make with --files',
        placeholder: 'DIR',
        optional: true,
      },
      files: {
        kind: 'parsed',
        parse: String,
        brief: 'texts to train on; may be repeated',
        variadic: true,
        optional: true,
      },
      vocabularySize: {
        kind: 'parsed',
        parse: wholeNumber(1, 2 ** 30),
        brief: 'entries, with --files',
        optional: true,
      },
      parity: {
        kind: 'parsed',
        parse: String,
        brief: 'the same lines in several languages, with --files',
        placeholder: 'FILE',
        optional: true,
      },
      threads: {
        kind: 'parsed',
        parse: wholeNumber(1, 256),
        brief: 'threads, with --files (default: all cores)',
        optional: true,
      },
      memory: {
        kind: 'parsed',
        parse: realNumber(0, 1e6, true),
        brief: 'GiB for words and counts, with --files (default: 4)',
        optional: true,
      },
    },
  },
  async func({ out, files, vocabularySize, parity, threads, memory, ...flags }) {
    if (files === undefined || files.length === 0) {
      const alone = Object.entries({ vocabularySize, parity, threads, memory }).find(
        ([, value]) => value !== undefined,
      );
      if (alone)
        throw new UserError(`--${alone[0].replace('S', '-s')} is for texts of yours`, { next: '--files FILE.jsonl' });
      return runStageVerb(['tokenizer'], { ...flags, out: out ?? 'out/demo' });
    }
    if (out === undefined || vocabularySize === undefined) {
      throw new UserError('training on files needs a size and a folder', {
        next: '--vocabulary-size 32000 --out my-tokenizer',
      });
    }
    if (flags.recipe !== undefined || flags.set !== undefined) {
      throw new UserError('--files trains outside of any run', { next: 'leave --recipe and --set out' });
    }
    const memoryBytes = memory === undefined ? undefined : Math.round(memory * 2 ** 30);
    const log = terminalLog({ quiet: flags.json });
    const { manifest, skipped } = await trainTokenizerOnFiles({
      dir: out,
      files,
      vocabularySize,
      parity,
      threads,
      memoryBytes,
      log,
    });
    if (flags.json) process.stdout.write(`${JSON.stringify({ dir: out, skipped, manifest }, null, 2)}\n`);
    else log.line(`tokenizer: ${out}`);
  },
});

export const command = buildRouteMap({
  routes: { train, encode: encodeCommand, decode: decodeCommand, eval: evaluate, extend, rename, pad },
  defaultCommand: 'train',
  docs: {
    brief: 'train tokenizers, run them on lines, measure them side by side, change vocabularies',
    fullDescription:
      'EXAMPLE\n  belay tokenizer train --out out/demo\n  belay tokenizer train --files texts.jsonl --vocabulary-size 32000 --out my-tokenizer\n  belay tokenizer encode --tokenizer out/demo/tokenizer < texts.jsonl\n  belay tokenizer eval --tokenizer out/demo/tokenizer --udhr\n  belay tokenizer extend --model out/demo/release --token Grüezi --out my-model',
  },
});
