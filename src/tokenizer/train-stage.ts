// The stage `tokenizer`: the training documents of the stage `documents` -> a folder with the tokenizer's files; and the
// same from files of texts, outside of any run.
//
// Does not: look at validation documents; what is held out is held out from the tokenizer too.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { readDocuments } from '../base/documents-folder.ts';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import { readJsonl, readLines } from '../base/jsonl.ts';
import { findManifest } from '../base/manifest.ts';
import type { Log } from '../base/progress.ts';
import { type Recipe, recipePart } from '../base/recipe.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import { writeTokenizerFiles } from './tokenizer-files.ts';
import { trainBpe, type TrainingText } from './train.ts';

export interface TrainTokenizerOptions {
  /** Folder to make. */
  readonly dir: string;
  /** Folder of the stage `documents`, with training documents. */
  readonly documentsDir: string;
  readonly recipe: Recipe;
  readonly log: Log;
}

export async function trainTokenizer({ dir, documentsDir, recipe, log }: TrainTokenizerOptions): Promise<StageResult> {
  const part = recipePart(recipe, 'tokenizer');
  return runStage({
    dir,
    kind: 'tokenizer',
    version: 1,
    recipe: part,
    inputs: { documents: documentsDir },
    onStart: (what) => log.line(what === 'skip' ? `tokenizer: up to date in ${dir}` : `tokenizer: training in ${dir}`),
    run: async (into) => {
      let documents = 0;
      async function* texts(): AsyncGenerator<string> {
        for await (const { text } of readDocuments(documentsDir, 'train')) {
          documents++;
          yield text;
        }
      }
      const vocabulary = await trainBpe(texts(), part.vocabularySize, log);
      writeTokenizerFiles(into, vocabulary);
      return { vocabularySize: vocabulary.tokens.length, merges: vocabulary.merges.length, documents };
    },
  });
}

export interface TrainOnFilesOptions {
  /** Folder to make. */
  readonly dir: string;
  /** `.jsonl` with `text` (and `language`), or `.txt` with a text a line; also with .gz, .zst. */
  readonly files: readonly string[];
  readonly vocabularySize: number;
  /** Such a file of lines that say the same in several languages (train.ts). */
  readonly parity?: string | undefined;
  readonly threads?: number | undefined;
  readonly memoryBytes?: number | undefined;
  readonly log: Log;
}

/** Trains on files of texts; lines without text are counted in the manifest. */
export async function trainTokenizerOnFiles(options: TrainOnFilesOptions): Promise<StageResult> {
  const { dir, files, vocabularySize, parity, threads, memoryBytes, log } = options;
  for (const path of [...files, ...(parity === undefined ? [] : [parity])]) {
    if (!/\.(jsonl|txt)(\.gz|\.zst)?$/.test(path) || statSync(path, { throwIfNoEntry: false })?.isFile() !== true) {
      throw new UserError(`cannot train on ${path}`, {
        found: existsSync(path) ? 'a file or folder of another kind' : 'no file at this path',
        expected: 'files .jsonl or .txt, also .gz or .zst',
      });
    }
  }
  if (existsSync(dir) && readdirSync(dir).length > 0 && findManifest(dir)?.kind !== 'tokenizer') {
    throw new UserError(`${dir} holds something else`, {
      found: 'a folder that is no tokenizer made by belay',
      next: 'give --out a new folder',
    });
  }
  const hashed = (path: string) => ({ path, sha256: hashFile(path).sha256 });
  return runStage({
    dir,
    kind: 'tokenizer',
    version: 1,
    recipe: {
      vocabularySize,
      files: files.map(hashed),
      ...(parity === undefined ? {} : { parity: hashed(parity) }),
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
    },
    inputs: {},
    onStart: (what) => log.line(what === 'skip' ? `tokenizer: up to date in ${dir}` : `tokenizer: training in ${dir}`),
    run: async (into) => {
      const leftOut = new Map<string, number>();
      let texts = 0;
      async function* all(): AsyncGenerator<TrainingText> {
        for (const path of files) {
          for await (const text of textsOf(path, leftOut)) {
            texts++;
            yield text;
          }
        }
      }
      const vocabulary = await trainBpe(all(), vocabularySize, log, {
        ...(parity === undefined ? {} : { parity: textsOf(parity, new Map()) }),
        threads,
        memoryBytes,
      });
      writeTokenizerFiles(into, vocabulary);
      const { met, leftOut: rare, least } = vocabulary.words;
      return {
        vocabularySize: vocabulary.tokens.length,
        merges: vocabulary.merges.length,
        texts,
        linesLeftOut: Object.fromEntries(leftOut),
        words: met,
        wordsLeftOut: rare,
        leastCount: least,
      };
    },
  });
}

async function* textsOf(path: string, leftOut: Map<string, number>): AsyncGenerator<TrainingText> {
  const leave = (reason: string): void => void leftOut.set(reason, (leftOut.get(reason) ?? 0) + 1);
  if (/\.txt(\.gz|\.zst)?$/.test(path)) {
    for await (const lines of readLines(path)) for (const line of lines) yield { text: `${line.toString('utf8')}\n` };
    return;
  }
  for await (const value of readJsonl<unknown>(path, ({ reason }) => leave(reason))) {
    const { text, language } = (value ?? {}) as { text?: unknown; language?: unknown };
    if (typeof text === 'string') yield { text, language: typeof language === 'string' ? language : undefined };
    else leave('no text');
  }
}
