// `belay tokenizer rename`, `extend` and `pad`: the vocabulary of a tokenizer or of a model, changed into a new folder.
//
// A folder with config.json is a model: its weights get the rows that its vocabulary then needs. The manifest of the new
// folder says what was done, with the id of the artefact it was done to or the hashes of its files.
//
// Does not: train the new rows.
import { copyFileSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { buildCommand, type Command, type CommandContext } from '@stricli/core';
import { writeFileAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import type { Json } from '../base/json.ts';
import { enclosingArtefact, readManifest } from '../base/manifest.ts';
import { terminalLog } from '../base/progress.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import { vocabularyRows, writeWithRows } from '../model/vocabulary-rows.ts';
import { defaultBackend } from '../tensor/backend-select.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { addTokens, renameTokens } from '../tokenizer/edit-files.ts';
import { tokenizerFilePattern } from '../tokenizer/tokenizer-files.ts';
import { modelCardName } from '../release/export.ts';
import { wholeNumber } from './flags.ts';
import { modelFolderAt, tokenizerFolderOfModel } from './model-folder.ts';
import { cardOfChanged, quotedTexts } from './vocabulary-card.ts';

/** What is done to a vocabulary. */
export type VocabularyChange =
  | { readonly kind: 'rename'; readonly names: Readonly<Record<string, string>> }
  | { readonly kind: 'extend'; readonly tokens: readonly string[]; readonly special: boolean }
  | { readonly kind: 'pad'; readonly multiple: number };

const weightFiles = /^(config\.json|.*\.safetensors(\.index\.json)?|manifest\.json)$/;

/** Changes the vocabulary of the tokenizer or model in `from`; the result is the folder `dir`. */
export async function changeVocabulary(from: string, dir: string, change: VocabularyChange): Promise<StageResult> {
  const folder = modelFolderAt(from);
  const there = existsSync(folder) ? statSync(folder) : undefined;
  if (!there?.isDirectory()) {
    throw new UserError(`${from} is no model and no tokenizer`, {
      found: there ? 'a file' : 'nothing at this path',
      expected: 'a model folder, or the folder with tokenizer.json',
    });
  }
  const isModel = existsSync(join(folder, 'config.json'));
  const tokenizerDir = isModel ? tokenizerFolderOfModel(folder) : folder;
  if (!isModel && change.kind === 'pad') {
    throw new UserError(`${from} is no model`, {
      found: 'no config.json in it',
      expected: 'a model folder: padding adds rows to its weights',
    });
  }
  if (resolve(dir) === folder || resolve(dir) === resolve(from)) {
    throw new UserError('the result would take the place of what it is made from', { next: 'give --out a new folder' });
  }
  const artefact = enclosingArtefact(folder);
  const sources = new Map<string, string>();
  for (const place of new Set([folder, tokenizerDir])) {
    for (const entry of readdirSync(place, { withFileTypes: true })) {
      if (entry.isFile() && !sources.has(entry.name)) sources.set(entry.name, join(place, entry.name));
    }
  }
  const recipe = {
    change: change as unknown as Json,
    ...(artefact === undefined
      ? {
          files: [...sources]
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([name, path]) => ({ name, sha256: hashFile(path).sha256 })),
        }
      : {}),
  };
  return runStage({
    dir,
    kind: 'vocabulary',
    version: 1,
    recipe,
    inputs: artefact === undefined ? {} : { [isModel ? 'model' : 'tokenizer']: artefact },
    keepsOthers: true,
    run: async (into) => {
      for (const [name, path] of sources) {
        const wanted = tokenizerFilePattern.test(name) || (isModel && !weightFiles.test(name));
        if (wanted) copyFileSync(path, join(into, name));
      }
      const rows = isModel ? vocabularyRows(folder) : 0;
      const grow = (to: number, pieces: ReadonlyMap<number, readonly number[]>): void => {
        const now = Math.max(rows, to);
        if (isModel) writeWithRows(folder, into, { rows: now, pieces, backend: defaultBackend() });
        const card = join(into, modelCardName);
        if (!isModel || !existsSync(card)) return;
        const id = artefact === undefined ? undefined : readManifest(artefact).id;
        const note = { change: toldChange(change), rows: { before: rows, now }, artefact: id };
        writeFileAtomic(card, cardOfChanged(readFileSync(card, 'utf8'), note));
      };
      if (change.kind === 'rename') {
        const ids = renameTokens(into, new Map(Object.entries(change.names)));
        grow(rows, new Map());
        return { ids };
      }
      if (change.kind === 'pad') {
        const to = Math.ceil(rows / change.multiple) * change.multiple;
        grow(to, new Map());
        return { rowsBefore: rows, rows: to };
      }
      // The pieces that the old tokenizer would have read.
      const tokenizer = Tokenizer.load(tokenizerDir);
      const ids = addTokens(into, change.tokens, change.special);
      const pieces = new Map(ids.map((id, i) => [id, tokenizer.encodeOrdinary(change.tokens[i] as string)]));
      grow((ids.at(-1) as number) + 1, pieces);
      return {
        ids,
        pieces: [...pieces.values()],
        ...(isModel ? { rowsBefore: rows, rows: Math.max(rows, (ids.at(-1) as number) + 1) } : {}),
      };
    },
  });
}

function toldChange(change: VocabularyChange): string {
  switch (change.kind) {
    case 'extend':
      return `tokens were added, ${quotedTexts(change.tokens)}, with rows that are means and were not trained.`;
    case 'rename':
      return `tokens got other names, ${quotedTexts(Object.entries(change.names).map((pair) => pair.join(' -> ')))}.`;
    case 'pad':
      return `rows of no token were added, to a multiple of ${change.multiple}.`;
  }
}

interface Flags {
  readonly model: string;
  readonly out: string;
  readonly json: boolean;
}

const common = {
  model: {
    kind: 'parsed',
    parse: String,
    brief: 'model folder, or the folder of a tokenizer alone',
    placeholder: 'DIR',
  },
  out: { kind: 'parsed', parse: String, brief: 'folder to make', placeholder: 'DIR' },
  json: { kind: 'boolean', brief: 'print the manifest as JSON', default: false },
} as const;

async function changeAndTell({ model, out, json }: Flags, change: VocabularyChange): Promise<void> {
  const { manifest, skipped } = await changeVocabulary(model, out, change);
  if (json) process.stdout.write(`${JSON.stringify({ dir: out, skipped, manifest }, null, 2)}\n`);
  else
    terminalLog().line(
      `tokenizer ${change.kind}: ${out}${skipped ? ' is up to date' : ''} ${JSON.stringify(manifest.facts)}`,
    );
}

const tokenFlag = { kind: 'parsed', parse: String, variadic: true } as const;

export const rename: Command<CommandContext> = buildCommand<Flags & { readonly token: readonly string[] }>({
  docs: {
    brief: 'give reserved tokens other names',
    fullDescription: `Ids stay, so token files and weights do. All files that name a token change together.

EXAMPLE
  belay tokenizer rename --model out/demo/release --token '<SPECIAL_4>=<|memory|>' --out my-model`,
  },
  parameters: { flags: { ...common, token: { ...tokenFlag, brief: 'OLD=NEW; may be repeated' } } },
  func({ token, ...flags }) {
    const names = token.map((pair) => {
      // A name may hold an equals sign; reserved ones do not begin with one.
      const at = pair.indexOf('=', 1);
      if (at < 0)
        throw new UserError('--token takes OLD=NEW', { found: pair, next: "--token '<SPECIAL_4>=<|memory|>'" });
      return [pair.slice(0, at), pair.slice(at + 1)] as const;
    });
    const twice = names.find(([old], i) => names.findIndex(([other]) => other === old) !== i);
    if (twice) {
      const all = names.filter(([old]) => old === twice[0]).map(([, name]) => name);
      throw new UserError(`${twice[0]} is renamed twice`, { found: all.join(', '), expected: 'one name for a token' });
    }
    return changeAndTell(flags, { kind: 'rename', names: Object.fromEntries(names) });
  },
});

export const extend: Command<CommandContext> = buildCommand<
  Flags & { readonly token: readonly string[]; readonly special: boolean }
>({
  docs: {
    brief: 'add tokens, and rows for them in the weights',
    fullDescription: `New tokens take the first free ids. Their rows of embedding and output matrix are the means of the rows of the pieces
that the text was before; they are to be trained on.

EXAMPLE
  belay tokenizer extend --model out/demo/release --token Grüezi --token Röstigraben --out my-model`,
  },
  parameters: {
    flags: {
      ...common,
      token: { ...tokenFlag, brief: 'text of a token; may be repeated' },
      special: { kind: 'boolean', brief: 'control tokens: text from outside never becomes one', default: false },
    },
  },
  func({ token, special, ...flags }) {
    return changeAndTell(flags, { kind: 'extend', tokens: token, special });
  },
});

export const pad: Command<CommandContext> = buildCommand<Flags & { readonly multiple: number }>({
  docs: {
    brief: 'pad the rows of a model to a multiple',
    fullDescription: `Adds rows to embedding and output matrix, each the mean of all, until their number is a multiple; kernels and splits over
devices want that. The tokenizer stays.

EXAMPLE
  belay tokenizer pad --model out/demo/release --multiple 128 --out my-model`,
  },
  parameters: {
    flags: {
      ...common,
      multiple: { kind: 'parsed', parse: wholeNumber(1, 2 ** 20), brief: 'rows are a multiple of this' },
    },
  },
  func({ multiple, ...flags }) {
    return changeAndTell(flags, { kind: 'pad', multiple });
  },
});
