// A trained model as the using verbs open it: weights, tokenizer and the ids that end a text.
//
// `--model DIR` is a Hugging Face folder, or an artefact with one below it (out/demo/pretrain). The tokenizer is the
// folder's own, or the nearest one that the artefact was made with.
//
// Does not: train (engine.ts chooses precision there); using a model computes in float32.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { enclosingArtefact, type FamilyNode, familyTree } from '../base/manifest.ts';
import type { Apertus } from '../model/apertus.ts';
import { loadHfFolder } from '../model/hf-folder.ts';
import { selectedBackend } from '../tensor/backend-select.ts';
import { Engine } from '../tensor/tensor.ts';
import { Tokenizer, tokenizerFile } from '../tokenizer/bpe.ts';

export interface ModelFolder {
  /** The Hugging Face folder that was found. */
  readonly dir: string;
  readonly model: Apertus;
  /** Ids after which generation ends, by generation_config.json or config.json. */
  readonly stopIds: readonly number[];
  /** The tokenizer, read when first asked for; a UserError where there is none. */
  readonly tokenizer: () => Tokenizer;
}

export interface OpenModelOptions {
  readonly threads?: number | undefined;
}

const stopSchema = z.looseObject({ eos_token_id: z.union([z.int(), z.array(z.int())]).nullish() });

/** Opens the model of a folder for generation and scoring. */
export function openModelFolder(path: string, options: OpenModelOptions = {}): ModelFolder {
  const dir = modelFolderAt(path);
  const { backend } = selectedBackend();
  if (options.threads !== undefined) backend.threads = options.threads;
  const model = loadHfFolder(dir, new Engine(backend), { gradients: false });
  let tokenizer: Tokenizer | undefined;
  return { dir, model, stopIds: readStopIds(dir), tokenizer: () => (tokenizer ??= openTokenizer(dir, model)) };
}

/** The folder with config.json: the path itself, or `model/` below it. */
export function modelFolderAt(path: string): string {
  const below = join(path, 'model');
  return resolve(!existsSync(join(path, 'config.json')) && existsSync(join(below, 'config.json')) ? below : path);
}

function readStopIds(dir: string): readonly number[] {
  for (const name of ['generation_config.json', 'config.json']) {
    const path = join(dir, name);
    if (!existsSync(path)) continue;
    const parsed = stopSchema.safeParse(readJson(path));
    const ids = parsed.success ? parsed.data.eos_token_id : undefined;
    if (ids !== undefined && ids !== null) return typeof ids === 'number' ? [ids] : ids;
  }
  return [];
}

/** The folder of the nearest ancestor in the role of the tokenizer. */
function tokenizerOf({ inputs }: FamilyNode): string | undefined {
  const direct = inputs.find(({ name, manifest }) => name === 'tokenizer' && manifest !== undefined);
  if (direct) return direct.dir;
  for (const input of inputs) {
    const found = tokenizerOf(input);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The tokenizer of a model folder: its own, or the one that the artefact was made with. The weights are not read. */
export function tokenizerOfModel(path: string): Tokenizer {
  return Tokenizer.load(tokenizerFolderOfModel(modelFolderAt(path)));
}

/** A tokenizer by its file, its folder, or a model that has one or was made with one. `name`: of the path, for errors. */
export function tokenizerAt(path: string, name: string): string {
  if (existsSync(tokenizerFile(path)) || !existsSync(path)) return path;
  const { found, places } = findTokenizerOfModel(modelFolderAt(path));
  if (found !== undefined) return found;
  throw new UserError(`${name} is no tokenizer: ${path}`, {
    found: `no tokenizer.json in ${places.join(' or ')}`,
    expected: 'a tokenizer.json, a folder with one, or a model that was made with one',
  });
}

/** The folder that holds the tokenizer of a Hugging Face folder. */
export function tokenizerFolderOfModel(dir: string): string {
  const place = findTokenizerOfModel(dir);
  if (place.found === undefined) {
    throw new UserError(`${dir} has no tokenizer`, {
      found: `no tokenizer.json in ${place.places.join(' or ')}`,
      next: 'copy tokenizer.json into the model folder, or give token ids instead of text',
    });
  }
  return place.found;
}

/** The same, or undefined where there is none, and where it was looked for. */
export function findTokenizerOfModel(dir: string): {
  readonly found: string | undefined;
  readonly places: readonly string[];
} {
  const artefact = enclosingArtefact(dir);
  const used = artefact ? tokenizerOf(familyTree(artefact)) : undefined;
  const places = [dir, ...(used === undefined ? [] : [used])];
  return { found: places.find((candidate) => existsSync(join(candidate, 'tokenizer.json'))), places };
}

function openTokenizer(dir: string, model: Apertus): Tokenizer {
  const place = tokenizerFolderOfModel(dir);
  const tokenizer = Tokenizer.load(place);
  if (tokenizer.vocabularySize > model.config.vocabularySize) {
    throw new UserError(`the tokenizer in ${place} does not belong to the model in ${dir}`, {
      found: `${tokenizer.vocabularySize} tokens`,
      expected: `at most the model's ${model.config.vocabularySize}`,
    });
  }
  return tokenizer;
}
