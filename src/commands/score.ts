// `belay score`: log-probabilities of every token of the texts of a JSON-lines file.
//
// The file is read as a stream; lines are scored some at a time, and the results are written in the same order to
// `<out>.partial`, which becomes the output when all is done. A line that cannot be scored gets an `error` on its own
// line and is counted; the run goes on.
//
// Does not: interpret scores; evaluate/ does.
import { rmSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { buildCommand } from '@stricli/core';
import { z } from 'zod';
import { commitFile, makeFolder } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { JsonlWriter, readJsonl } from '../base/jsonl.ts';
import { type Log, silentLog, terminalLog } from '../base/progress.ts';
import { scoreSequences, type ScoreSequence, whyNotScorable } from '../generate/score.ts';
import { wholeNumber } from './flags.ts';
import { type ModelFolder, openModelFolder } from './model-folder.ts';

/** Tokens that are read ahead and scored together. */
const tokensAtOnce = 16_384;

export interface ScoreFileOptions {
  /** Model folder. */
  readonly model: string;
  /** .jsonl or .jsonl.gz, lines `{"ids": [...]}` or `{"text": "..."}`, optional `"documents"`: indices where attention restarts. */
  readonly input: string;
  /** .jsonl or .jsonl.gz, one line `{"logprobs": [...]}` or `{"error": "..."}` per input line. */
  readonly output: string;
  readonly threads?: number | undefined;
  readonly log?: Log | undefined;
}

export interface ScoreFileResult {
  readonly lines: number;
  /** Predicted tokens. */
  readonly tokens: number;
  /** Sum of the log-probabilities of all of them, in nats. */
  readonly logprob: number;
  /** Lines that got an `error`. */
  readonly errors: number;
}

/** Exit code when some lines could not be scored; the others were. */
export const someLinesFailed = 3;

type Item = { readonly sequence: ScoreSequence } | { readonly error: string };

const lineSchema = z
  .object({
    ids: z.array(z.number()).optional(),
    text: z.string().optional(),
    documents: z.array(z.number()).optional(),
  })
  .refine(({ ids, text }) => (ids === undefined) !== (text === undefined), 'expected "ids" or "text", one of them');

/** Scores a file. The output appears when it is whole. */
export async function scoreFile(options: ScoreFileOptions): Promise<ScoreFileResult> {
  const { input, output, log = silentLog } = options;
  if (statSync(input, { throwIfNoEntry: false })?.isFile() !== true) {
    throw new UserError(`cannot read the input ${input}`, { found: 'no file at this path' });
  }
  // The suffix that says gzip stays the last one.
  const aside = output.endsWith('.gz') ? `${output.slice(0, -3)}.partial.gz` : `${output}.partial`;
  if (isSameFile(input, output)) throw new UserError('input and output are the same file', { found: input });
  if (isSameFile(input, aside)) {
    throw new UserError('the input is the file in which the output would be built', {
      found: input,
      next: 'give --out another name, or rename the input',
    });
  }
  const folder = openModelFolder(options.model, { threads: options.threads });
  makeFolder(dirname(resolve(output)));
  const writer = new JsonlWriter(aside);
  const progress = log.progress('score', 0, 'tokens');
  const total = { lines: 0, tokens: 0, logprob: 0, errors: 0 };

  let waiting: Item[] = [];
  let waitingTokens = 0;
  const flush = async (): Promise<void> => {
    const sequences = waiting.flatMap((item) => ('sequence' in item ? [item.sequence] : []));
    const scores = scoreSequences(folder.model, sequences);
    let next = 0;
    for (const item of waiting) {
      total.lines++;
      const logprobs = 'sequence' in item ? Array.from(scores[next++] as Float32Array) : undefined;
      if (logprobs?.every(Number.isFinite)) {
        total.tokens += logprobs.length;
        for (const logprob of logprobs) total.logprob += logprob;
        await writer.write({ logprobs });
      } else {
        total.errors++;
        const error = 'error' in item ? item.error : 'the model gives numbers that are not finite for this line';
        await writer.write({ error });
      }
    }
    waiting = [];
    waitingTokens = 0;
    progress.update(total.tokens, `${total.lines} lines${total.errors > 0 ? `, ${total.errors} with errors` : ''}`);
  };

  try {
    // A line that is no JSON is reported between its neighbours, so the order is kept.
    const onBad = ({ reason }: { readonly reason: string }): void => void waiting.push({ error: reason });
    for await (const value of readJsonl<unknown>(input, onBad)) {
      const item = readItem(value, folder);
      waiting.push(item);
      waitingTokens += 'sequence' in item ? item.sequence.ids.length : 1;
      if (waitingTokens >= tokensAtOnce) await flush();
    }
    await flush();
    await writer.close();
  } catch (error) {
    await writer.close().catch(() => {});
    rmSync(aside, { force: true });
    throw error;
  }
  commitFile(aside, output);
  progress.finish(`${total.lines} lines, ${total.tokens} tokens, ${total.errors} errors`);
  return total;
}

/** One file under two names (a link) counts too. */
function isSameFile(a: string, b: string): boolean {
  if (resolve(a) === resolve(b)) return true;
  const [one, other] = [a, b].map((path) => statSync(path, { throwIfNoEntry: false }));
  return one !== undefined && one.dev === other?.dev && one.ino === other.ino;
}

function readItem(value: unknown, folder: ModelFolder): Item {
  const parsed = lineSchema.safeParse(value);
  if (!parsed.success) {
    return { error: parsed.error.issues.map(({ path, message }) => [...path, message].join(' ')).join('; ') };
  }
  const { ids, text, documents } = parsed.data;
  const sequence = {
    ids: ids ?? folder.tokenizer().encode(text ?? '', { bos: true }),
    ...(documents ? { documents } : {}),
  };
  const error = whyNotScorable(sequence, folder.model.config.vocabularySize);
  return error === undefined ? { sequence } : { error };
}

interface Flags {
  readonly model: string;
  readonly input: string;
  readonly out: string;
  readonly threads?: number;
  readonly json: boolean;
}

export const command = buildCommand<Flags>({
  docs: {
    brief: 'Log-probabilities of the texts of a file',
    fullDescription: `Reads lines {"ids": [...]} or {"text": "..."} (text is encoded with the folder's tokenizer and begins with <s>), each
with optional "documents": indices where a document starts and attention restarts. Writes, in the same order,
{"logprobs": [...]}: the natural log of the probability of each token after the first, or {"error": "..."}. Other keys
and empty lines are ignored.
Exit code 0 when every line was scored, ${someLinesFailed} when some lines have an error. Running again replaces the output.

EXAMPLE
  belay score --model out/demo/release --input texts.jsonl --out scores.jsonl`,
  },
  parameters: {
    flags: {
      model: { kind: 'parsed', parse: String, brief: 'model folder', placeholder: 'DIR' },
      input: { kind: 'parsed', parse: String, brief: '.jsonl or .jsonl.gz', placeholder: 'FILE' },
      out: { kind: 'parsed', parse: String, brief: '.jsonl or .jsonl.gz', placeholder: 'FILE' },
      threads: { kind: 'parsed', parse: wholeNumber(1, 256), brief: 'threads (default: all cores)', optional: true },
      json: { kind: 'boolean', brief: 'print the totals as JSON', default: false },
    },
  },
  async func({ model, input, out, threads, json }) {
    const log = terminalLog({ quiet: json });
    const result = await scoreFile({ model, input, output: out, threads, log });
    if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
    if (result.errors === 0) return;
    if (!json) process.stderr.write(`belay: ${result.errors} of ${result.lines} lines have an error; see ${out}\n`);
    process.exitCode = someLinesFailed;
  },
});
