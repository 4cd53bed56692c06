// One step alone on a user's lines: JSON lines in, JSON lines out, so that any step can be tried and compared.
//
// A line needs `text` only. What else stands in it is kept; a line that is no document is a removed record with the
// reason, never an error. A step that needs the whole corpus takes the input for one, through files in a folder of its
// own.
//
// Does not: read anything but JSON lines, or keep a ledger.
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Document } from '../base/document.ts';
import type { Json } from '../base/json.ts';
import { JsonlWriter, readJsonl, readJsonlLines } from '../base/jsonl.ts';
import { languageOfTag } from './language-codes.ts';
import { licenceOf } from './licences.ts';
import { type CorpusStep, isCorpusStep, type SignedShard, type Step, type StepOf } from './step.ts';

/** A line of the input: a document some of whose fields may be missing, and whatever else its owner put there. */
type Line = Partial<Document> & { readonly [key: string]: Json | undefined };

export interface RemovedLine {
  /** Number of the line in the input, from 1. */
  readonly line: number;
  readonly reason: string;
  readonly detail?: string;
  /** The line as it was; absent where it is no JSON, or nested too deeply to be written. */
  readonly record?: Line;
}

export interface RunStepOptions {
  readonly step: StepOf;
  /** Path of the input; `/dev/stdin` for standard input. */
  readonly input: string;
  readonly keep: (line: Line) => Promise<void>;
  readonly remove: (removed: RemovedLine) => Promise<void>;
}

export interface RunStepResult {
  readonly read: number;
  readonly kept: number;
  readonly removed: number;
}

/** Sends the lines of a file through one step. */
export async function runStepOnLines(options: RunStepOptions): Promise<RunStepResult> {
  const { step } = options;
  if (!isCorpusStep(step)) return await runLines(options, lines(options.input), step);
  const dir = mkdtempSync(join(tmpdir(), 'belay-step-'));
  try {
    return await runCorpus(options, step, dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

interface Read {
  readonly number: number;
  readonly line?: Line;
  /** Why the line is no document. */
  readonly problem?: string;
}

async function* lines(path: string): AsyncGenerator<Read> {
  for await (const item of readJsonlLines<unknown>(path)) {
    // Standard input is never compressed.
    if ('mark' in item) throw new Error('run-step: a mark of a compressed file');
    const { line: number, value, bad } = item;
    if (bad !== undefined) {
      yield { number, problem: bad };
      continue;
    }
    if (isTooDeep(value, 0)) {
      yield { number, problem: 'nested too deeply' };
      continue;
    }
    const problem = problemOf(value);
    yield { number, line: value as Line, ...(problem === undefined ? {} : { problem }) };
  }
}

/** Deeper values could be read, but not written again. */
const deepest = 200;

function isTooDeep(value: unknown, depth: number): boolean {
  if (value === null || typeof value !== 'object') return false;
  if (depth >= deepest) return true;
  return Object.values(value).some((inner) => isTooDeep(inner, depth + 1));
}

/** Why a value is no document, or undefined. Fields other than the text may be missing or null. */
function problemOf(value: unknown): string | undefined {
  if (!isObject(value)) return 'no JSON object';
  if (typeof value['text'] !== 'string') return 'no text';
  for (const key of ['id', 'url', 'language', 'source', 'licence']) {
    const field = value[key] ?? '';
    if (typeof field !== 'string' && !(key === 'id' && typeof field === 'number')) return `${key} is no text`;
  }
  if (!isObject(value['notes'] ?? {})) return 'notes are no object';
  const { length } = value['text'];
  const areSections = (sections: unknown): boolean =>
    Array.isArray(sections) && sections.every((section) => isSection(section, length));
  if (!areSections(value['sections'] ?? [])) return 'sections are no parts of the text';
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function isSection(value: unknown, length: number): boolean {
  if (!isObject(value) || typeof value['label'] !== 'string') return false;
  const { start, end } = value as { start: unknown; end: unknown };
  if (!Number.isInteger(start) || !Number.isInteger(end)) return false;
  return 0 <= (start as number) && (start as number) <= (end as number) && (end as number) <= length;
}

/** The document of a line, with the names and codes that `data clean` reads (readers/documents.ts). */
function documentOf({ number, line = {} }: Read): Document {
  const given = Object.fromEntries(Object.entries(line).filter(([, value]) => value !== null));
  const metadata = isObject(given['metadata']) ? given['metadata'] : {};
  const either = (...keys: readonly string[]): string | undefined => {
    const values = keys.flatMap((key) => [given[key], metadata[key]]);
    return values.find((value): value is string => typeof value === 'string' && value !== '');
  };
  const url = either('url');
  return {
    ...given,
    id: String(given['id'] ?? `line-${number}`),
    text: given['text'] as string,
    ...(url === undefined ? {} : { url }),
    language: languageOfTag(either('language', 'lang')),
    source: either('source') ?? 'lines',
    licence: licenceOf(either('licence', 'license')),
  };
}

/** The line with what the step changed; fields that the line did not have are added only where the step set them. */
function lineOf(line: Line, before: Document, after: Document): Line {
  const changed = Object.entries(after).filter(([key, value]) => before[key as keyof Document] !== value);
  return { ...line, ...Object.fromEntries(changed) };
}

async function runLines(options: RunStepOptions, input: AsyncIterable<Read>, step: Step): Promise<RunStepResult> {
  const count = { read: 0, kept: 0, removed: 0 };
  for await (const read of input) {
    count.read++;
    const { number, line, problem } = read;
    if (problem !== undefined) {
      count.removed++;
      const record = line === undefined ? {} : { record: line };
      await options.remove({ line: number, reason: 'unreadable', detail: problem, ...record });
      continue;
    }
    const document = documentOf(read);
    const verdict = await step.run(document);
    if ('drop' in verdict) {
      count.removed++;
      await options.remove({ line: number, ...verdict.drop, record: line as Line });
      continue;
    }
    count.kept++;
    await options.keep(lineOf(line as Line, document, verdict.keep));
  }
  return count;
}

async function runCorpus(options: RunStepOptions, step: CorpusStep, dir: string): Promise<RunStepResult> {
  const shard: SignedShard & { count: number } = {
    first: 0,
    count: 0,
    signs: join(dir, 'signs'),
    ids: join(dir, 'ids.jsonl'),
    documents: join(dir, 'documents.jsonl'),
  };
  const inputCopy = join(dir, 'input.jsonl');
  const documents = new JsonlWriter(shard.documents);
  const ids = new JsonlWriter(shard.ids);
  const all = new JsonlWriter(inputCopy);
  const signs = openSync(shard.signs, 'w');
  try {
    for await (const read of lines(options.input)) {
      await all.write(read);
      if (read.problem !== undefined) continue;
      const document = documentOf(read);
      shard.count++;
      await documents.write(document);
      await ids.write(document.id);
      writeSync(signs, step.sign(document));
    }
  } finally {
    closeSync(signs);
    await documents.close();
    await ids.close();
    await all.close();
  }
  const parts: string[] = [];
  for (let part = 0; part < step.parts; part++) {
    const out = join(dir, `part-${part}`);
    await step.match(part, [shard], out);
    parts.push(out);
  }
  const judgement = join(dir, 'judgement');
  await step.judge(parts, [shard], () => judgement);
  return await runLines(options, readJsonl<Read>(inputCopy), await step.apply(judgement));
}
