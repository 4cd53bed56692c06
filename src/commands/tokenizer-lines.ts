// `belay tokenizer encode` and `belay tokenizer decode`: JSON lines with text to JSON lines with ids, and back.
//
// A line keeps whatever else stands in it, as it is spelled: JavaScript would write other digits of long numbers. One that
// cannot be used is set aside with its number and the reason, and counted; the others go on.
//
// Does not: encode or decode; tokenizer/ does.
import { isUtf8 } from 'node:buffer';
import { once } from 'node:events';
import { buildCommand } from '@stricli/core';
import type { Json } from '../base/json.ts';
import { readJsonlLines } from '../base/jsonl.ts';
import { terminalLog } from '../base/progress.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { encodeTexts } from '../tokenizer/encode-texts.ts';
import { fileOfRemoved } from './data-step.ts';
import { wholeNumber } from './flags.ts';

type Fields = Readonly<Record<string, Json>>;

export interface RejectedLine {
  /** From 1. */
  readonly line: number;
  readonly reason: string;
  /** The line as it was; absent where it is no JSON. */
  readonly record?: Json;
}

export interface TokenizerLinesOptions {
  /** tokenizer.json or its folder. */
  readonly tokenizer: string;
  /** Path of JSON lines; `/dev/stdin` for standard input. */
  readonly input: string;
  /** Takes a line of output, without its end. */
  readonly write: (line: string) => Promise<void>;
  readonly reject: (rejected: RejectedLine) => Promise<void>;
}

export interface EncodeLinesOptions extends TokenizerLinesOptions {
  /** Text that spells a control token becomes one. */
  readonly special?: boolean;
  /** The control tokens of the file's template are put around each text. */
  readonly template?: boolean;
  readonly workers?: number | undefined;
}

export interface DecodeLinesOptions extends TokenizerLinesOptions {
  readonly skipSpecial?: boolean;
}

export interface TokenizerLinesResult {
  readonly lines: number;
  readonly tokens: number;
  readonly rejected: number;
}

/** A line that can be used: its fields, and the JSON of those that are kept, open at the end. */
interface Usable {
  readonly fields: Fields;
  readonly before: string;
}

/** The JSON objects of a file in which `problemOf` finds none; the others are rejected. `replaced` are fields not kept. */
async function* usable(
  { input, reject }: TokenizerLinesOptions,
  replaced: readonly string[],
  problemOf: (fields: Fields) => string | undefined,
  count: { rejected: number },
): AsyncGenerator<Usable> {
  for await (const item of readJsonlLines<Json>(input)) {
    const refused = async (line: number, reason: string, record?: Json): Promise<void> => {
      count.rejected++;
      await reject({ line, reason, ...(record === undefined ? {} : { record }) });
    };
    if (!('line' in item)) {
      await refused(0, `damaged at byte ${item.offset}: ${item.reason}`);
      continue;
    }
    const { line, value, bytes, bad } = item;
    const isObject = value !== null && typeof value === 'object' && !Array.isArray(value);
    const reason = bad ?? (isObject ? problemOf(value as Fields) : 'no JSON object');
    if (reason === undefined && bytes)
      yield { fields: value as Fields, before: textWithout(bytes.toString('utf8'), replaced) };
    else await refused(line, reason ?? 'no JSON object', writable(value) ? value : undefined);
  }
}

/** An object's JSON without some of its members, up to its end: what follows is another member, or the bracket. */
function textWithout(json: string, names: readonly string[]): string {
  const kept: string[] = [];
  const sign = /["{}[\],]/g;
  let depth = 0;
  let start = 0;
  let name: string | undefined;
  for (let found = sign.exec(json); found !== null; found = sign.exec(json)) {
    const { 0: part, index } = found;
    if (part === '"') {
      const end = endOfString(json, index);
      // The first string of a member is its name.
      if (depth === 1) name ??= JSON.parse(json.slice(index, end)) as string;
      sign.lastIndex = end;
      continue;
    }
    if (depth === 1 && (part === ',' || part === '}')) {
      if (name !== undefined && !names.includes(name)) kept.push(json.slice(start, index).trim());
      name = undefined;
    }
    if (part === '{' || part === '[') depth++;
    else if (part !== ',') depth--;
    if (depth === 1 && (part === ',' || start === 0)) start = index + 1;
  }
  return kept.length === 0 ? '{' : `{${kept.join(',')},`;
}

/** Where a string that begins at `at` is over. */
function endOfString(json: string, at: number): number {
  for (let quote = json.indexOf('"', at + 1); ; quote = json.indexOf('"', quote + 1)) {
    let escapes = 0;
    while (json[quote - 1 - escapes] === '\\') escapes++;
    if (escapes % 2 === 0) return quote + 1;
  }
}

function writable(value: unknown): value is Json {
  try {
    return JSON.stringify(value) !== undefined;
  } catch {
    return false;
  }
}

/** Lines `{"text", ...}` as lines `{..., "ids"}`, in their order. */
export async function encodeLines(options: EncodeLinesOptions): Promise<TokenizerLinesResult> {
  const count = { lines: 0, tokens: 0, rejected: 0 };
  const problemOf = ({ text }: Fields): string | undefined => (typeof text === 'string' ? undefined : 'no text');
  const lines = usable(options, ['text', 'ids'], problemOf, count);
  const encoded = encodeTexts(options.tokenizer, lines, ({ fields }) => fields['text'] as string, {
    allowSpecial: options.special === true,
    template: options.template === true,
    workers: options.workers,
  });
  for await (const { item, ids } of encoded) {
    await options.write(`${item.before}"ids":[${ids.join(',')}]}`);
    count.lines++;
    count.tokens += ids.length;
  }
  return count;
}

/** Lines `{"ids", ...}` as lines `{..., "text"}`; where the bytes are no UTF-8 they stand beside it, in base64. */
export async function decodeLines(options: DecodeLinesOptions): Promise<TokenizerLinesResult> {
  const tokenizer = Tokenizer.load(options.tokenizer);
  const count = { lines: 0, tokens: 0, rejected: 0 };
  const problemOf = ({ ids }: Fields): string | undefined => {
    if (!Array.isArray(ids)) return 'no ids';
    const wrong = ids.some((id) => typeof id !== 'number' || !tokenizer.has(id));
    return wrong ? `an id that is not in [0, ${tokenizer.vocabularySize})` : undefined;
  };
  for await (const { fields, before } of usable(options, ['ids', 'text', 'bytes'], problemOf, count)) {
    const ids = fields['ids'] as number[];
    const bytes = Buffer.from(tokenizer.decodeBytes(ids, { skipSpecial: options.skipSpecial === true }));
    const exact = isUtf8(bytes) ? '' : `,"bytes":"${bytes.toString('base64')}"`;
    await options.write(`${before}"text":${JSON.stringify(bytes.toString('utf8'))}${exact}}`);
    count.lines++;
    count.tokens += ids.length;
  }
  return count;
}

interface Flags {
  readonly tokenizer: string;
  readonly rejected?: string;
}

/** Standard input to standard output, with rejected lines in a file and their reasons counted on standard error. */
async function onStandardStreams(
  verb: string,
  { tokenizer, rejected: path }: Flags,
  run: (options: TokenizerLinesOptions) => Promise<TokenizerLinesResult>,
): Promise<void> {
  const log = terminalLog();
  const rejected = path === undefined ? undefined : fileOfRemoved(path);
  const reasons = new Map<string, number>();
  let held: string[] = [];
  let heldUnits = 0;
  const flush = async (): Promise<void> => {
    const text = held.join('');
    held = [];
    heldUnits = 0;
    if (text !== '' && !process.stdout.write(text)) await once(process.stdout, 'drain');
  };
  const result = await run({
    tokenizer,
    input: '/dev/stdin',
    write: async (line) => {
      held.push(line, '\n');
      heldUnits += line.length;
      if (heldUnits >= 1 << 16) await flush();
    },
    reject: async (line) => {
      reasons.set(line.reason, (reasons.get(line.reason) ?? 0) + 1);
      await rejected?.write(line as unknown as Json);
    },
  });
  await flush();
  await rejected?.close();
  const told = [...reasons].map(([reason, count]) => `${count} ${reason}`).join(', ');
  log.line(
    `${verb}: ${result.lines} lines, ${result.tokens} tokens, ${result.rejected} rejected${told && ` (${told})`}`,
  );
}

const common = {
  tokenizer: { kind: 'parsed', parse: String, brief: 'tokenizer.json or its folder', placeholder: 'FILE' },
  rejected: {
    kind: 'parsed',
    parse: String,
    brief: 'file for lines that cannot be used, with the reason',
    placeholder: 'FILE',
    optional: true,
  },
} as const;

export const encodeCommand = buildCommand<
  Flags & { readonly special: boolean; readonly template: boolean; readonly workers?: number }
>({
  docs: {
    brief: 'JSON lines with text to JSON lines with ids',
    fullDescription: `Reads lines {"text": "..."} from standard input and writes {"ids": [...]} with whatever else stood in them, in their order.
Text that spells a control token stays text unless --special is given.

EXAMPLE
  belay tokenizer encode --tokenizer out/demo/tokenizer < texts.jsonl > ids.jsonl`,
  },
  parameters: {
    flags: {
      ...common,
      special: { kind: 'boolean', brief: 'texts may spell control tokens', default: false },
      template: { kind: 'boolean', brief: "put the file's control tokens around each text", default: false },
      workers: { kind: 'parsed', parse: wholeNumber(1, 256), brief: 'threads (default: all cores)', optional: true },
    },
  },
  func: async ({ special, template, workers, ...flags }) =>
    await onStandardStreams('encode', flags, (options) => encodeLines({ ...options, special, template, workers })),
});

export const decodeCommand = buildCommand<Flags & { readonly skipSpecial: boolean }>({
  docs: {
    brief: 'JSON lines with ids to JSON lines with text',
    fullDescription: `Reads lines {"ids": [...]} from standard input and writes {"text": "..."} with whatever else stood in them. Where the bytes of
the ids are no UTF-8, as of half a character, they stand beside the text in base64 ("bytes").

EXAMPLE
  belay tokenizer decode --tokenizer out/demo/tokenizer < ids.jsonl > texts.jsonl`,
  },
  parameters: {
    flags: { ...common, skipSpecial: { kind: 'boolean', brief: 'leave control tokens out', default: false } },
  },
  func: async ({ skipSpecial, ...flags }) =>
    await onStandardStreams('decode', flags, (options) => decodeLines({ ...options, skipSpecial })),
});
