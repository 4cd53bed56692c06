// Documents that hold the prompt of a benchmark are dropped, by the rule of Apertus (swiss-ai/posttraining-data,
// 04-decontamination): an n-gram of tokens in common, then matching blocks that make up half of the prompt. What counts
// is in benchmark-index.ts, what a token is in benchmark-tokens.ts, what a benchmark file may look like in
// benchmark-files.ts.
//
// The original keeps an index for each benchmark under the name of the benchmark; here the cache is one file for all of
// them whose name is a hash of their contents, the tokenizer and the settings that shape it, so it is never stale.
//
// Does not: quote a document or a prompt; a verdict names the benchmark and the number of the prompt in it, from 1.
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../../base/atomic.ts';
import { UserError } from '../../base/errors.ts';
import { hashFile, hashJson } from '../../base/hashing.ts';
import type { Log } from '../../base/progress.ts';
import { Tokenizer } from '../../tokenizer/bpe.ts';
import { defineStep, type Step } from '../step.ts';
import { readPrompts } from './benchmark-files.ts';
import { BenchmarkIndex, buildIndex, type IndexArrays, type IndexOptions } from './benchmark-index.ts';
import { tokenizerTokens, type TokenSource, WordTokens } from './benchmark-tokens.ts';

const name = 'decontaminate';

const settings = z.strictObject({
  /** What must not be in the documents. */
  benchmarks: z
    .array(
      z.strictObject({
        /** In verdicts; the name of the file by default. */
        name: z.string().min(1).optional(),
        file: z.string().min(1),
        /** Fields of a record that make the prompt, with a space between them. */
        fields: z.array(z.string().min(1)).min(1).default(['text']),
      }),
    )
    .default([]),
  /** A tokenizer.json, or a folder with one; null compares words. Apertus: its own tokenizer. */
  tokenizer: z.string().min(1).nullable().default(null),
  /** Tokens in a row that make a candidate; Apertus: 8. */
  ngram: z.int().min(1).max(1000).default(8),
  /** Tokens of the shortest block that counts; Apertus: 5. */
  minimumBlock: z.int().min(1).max(1000).default(5),
  /** Share of the prompt that blocks must make up; Apertus: 0.5. */
  ratio: z.number().gt(0).max(1).default(0.5),
  /** `apertus` leaves out the last n-gram of every sequence, as the original does. */
  mode: z.enum(['all', 'apertus']).default('all'),
  /** Folder that keeps the index of the benchmarks; null makes it each time. */
  cache: z.string().min(1).nullable().default(null),
});
type Settings = z.output<typeof settings>;

interface Prompts {
  readonly index: BenchmarkIndex;
  readonly tokens: TokenSource;
  /** Name and first prompt of each benchmark. */
  readonly benchmarks: readonly { readonly name: string; readonly first: number }[];
}

/** The step; reads the benchmarks. */
export function decontaminate(chosen: Settings, log: Log): Step {
  if (chosen.benchmarks.length === 0) {
    throw new UserError(`${name} has no benchmarks to look for`, {
      next: `set "benchmarks" to [{"file": "prompts.jsonl", "fields": ["question"]}]`,
    });
  }
  const { index, tokens, benchmarks } = openPrompts(chosen, log);
  return {
    name,
    run(document) {
      const { tokens: ids, count } = tokens.read(document.text);
      const found = index.contaminatedBy(ids, count);
      if (!found) return { keep: document };
      const benchmark = benchmarks.findLast(({ first }) => first <= found.prompt);
      const number = found.prompt - (benchmark?.first ?? 0) + 1;
      const detail = `${benchmark?.name} ${number}, ${found.share.toFixed(2)} of it`;
      return { drop: { reason: 'contaminated', detail } };
    },
  };
}

function openPrompts(chosen: Settings, log: Log): Prompts {
  const options: IndexOptions = {
    ngram: chosen.ngram,
    minimumBlock: chosen.minimumBlock,
    ratio: chosen.ratio,
    withoutLast: chosen.mode === 'apertus',
  };
  const tokenizer = chosen.tokenizer === null ? undefined : Tokenizer.load(chosen.tokenizer);
  const path = chosen.cache === null ? undefined : join(chosen.cache, `benchmarks-${cacheKey(chosen)}.index`);
  const saved = path !== undefined && existsSync(path) ? readSaved(path) : undefined;
  if (saved) {
    const tokens = tokenizer ? tokenizerTokens(tokenizer) : WordTokens.of(saved.vocabulary);
    return { index: new BenchmarkIndex(saved.arrays, options), tokens, benchmarks: saved.benchmarks };
  }
  const words = new WordTokens();
  const tokens = tokenizer ? tokenizerTokens(tokenizer) : words;
  const all: Int32Array[] = [];
  const benchmarks = chosen.benchmarks.map((benchmark) => {
    const first = all.length;
    const title = benchmark.name ?? basename(benchmark.file);
    for (const prompt of readPrompts({ ...benchmark, name: title })) all.push(tokens.learn(prompt));
    const shortest = options.ngram + (options.withoutLast ? 1 : 0);
    const short = all.slice(first).filter((prompt) => prompt.length < shortest).length;
    const lost = short > 0 ? `, ${short} of them shorter than ${shortest} tokens and never found` : '';
    log.line(`${name}: prompts of ${title}: ${all.length - first}${lost}`);
    return { name: title, first };
  });
  const arrays = buildIndex(all, options);
  if (path !== undefined) save(path, { arrays, benchmarks, vocabulary: words.vocabulary });
  return { index: new BenchmarkIndex(arrays, options), tokens, benchmarks };
}

/** Changes with everything that the saved index depends on. */
function cacheKey({ benchmarks, tokenizer, ngram, mode }: Settings): string {
  const tokenizerHash = tokenizer === null ? null : hashFiles([tokenizerFile(tokenizer)]);
  const files = benchmarks.map(({ file, fields, name: title }) => [title ?? basename(file), fields, hashFiles([file])]);
  return hashJson({ layout: 1, ngram, mode, tokenizer: tokenizerHash, benchmarks: files }).slice(0, 32);
}

function hashFiles(paths: readonly string[]): string {
  return paths.map((path) => hashFile(path).sha256).join(' ');
}

function tokenizerFile(path: string): string {
  const inFolder = join(path, 'tokenizer.json');
  return existsSync(inFolder) ? inFolder : path;
}

interface Saved {
  readonly arrays: IndexArrays;
  readonly benchmarks: Prompts['benchmarks'];
  readonly vocabulary: WordTokens['vocabulary'];
}

const arrayNames = ['tokens', 'starts', 'slots', 'places', 'lists', 'prompts'] as const;

/** A line of JSON with names and lengths, then the arrays, each at a multiple of four bytes. */
function save(path: string, { arrays, benchmarks, vocabulary }: Saved): void {
  const parts = [...arrayNames.map((key) => arrays[key]), vocabulary.starts, vocabulary.units];
  const header = Buffer.from(JSON.stringify({ benchmarks, lengths: parts.map(({ length }) => length) }));
  const room = Math.ceil((header.length + 1) / 4) * 4;
  const pieces: Uint8Array[] = [header, Buffer.alloc(room - header.length, '\n')];
  for (const { buffer, byteOffset, byteLength } of parts) pieces.push(new Uint8Array(buffer, byteOffset, byteLength));
  writeFileAtomic(path, Buffer.concat(pieces));
}

function readSaved(path: string): Saved {
  const bytes = readFileSync(path);
  const end = bytes.indexOf(10);
  const { benchmarks, lengths } = JSON.parse(bytes.subarray(0, end).toString('utf8')) as {
    readonly benchmarks: Prompts['benchmarks'];
    readonly lengths: readonly number[];
  };
  let at = Math.ceil((end + 1) / 4) * 4;
  const next = (i: number, bytesEach: number): ArrayBuffer => {
    const size = (lengths[i] as number) * bytesEach;
    const copy = new Uint8Array(bytes.subarray(at, at + size));
    at += size;
    return copy.buffer;
  };
  const arrays = Object.fromEntries(arrayNames.map((key, i) => [key, new Int32Array(next(i, 4))]));
  const starts = new Int32Array(next(arrayNames.length, 4));
  const units = new Uint16Array(next(arrayNames.length + 1, 2));
  return { arrays: arrays as unknown as IndexArrays, benchmarks, vocabulary: { starts, units } };
}

export const definition = defineStep({
  name,
  brief: 'documents that hold prompts of benchmarks go',
  settings,
  files: ({ benchmarks, tokenizer }) => [
    ...benchmarks.map(({ file }) => file),
    ...(tokenizer === null ? [] : [tokenizerFile(tokenizer)]),
  ],
  make: (chosen, { log }) => decontaminate(chosen, log),
});
