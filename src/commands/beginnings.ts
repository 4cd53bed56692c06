// What a run begins with that is there already: a tokenizer (`tokenizer.from`) and weights (`pretrain.from`). Both are
// checked before any stage runs, since those before their own may take days, and before finished work makes room.
//
// Does not: take them over; taken-stage.ts and pretrain-stage.ts do.
import { existsSync, realpathSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import { enclosingArtefact } from '../base/manifest.ts';
import type { Recipe } from '../base/recipe.ts';
import { requireOrigin } from '../release/provenance.ts';
import { Tokenizer, tokenizerFile } from '../tokenizer/bpe.ts';
import { firstOther } from '../tokenizer/same-ids.ts';
import { checkTaken } from '../tokenizer/taken-stage.ts';
import { findTokenizerOfModel, tokenizerAt } from './model-folder.ts';
import { stageFolders } from './run-folder.ts';

/**
 * The folder or file of the tokenizer that a run in `dir` takes; undefined where it trains one. A UserError where it
 * cannot be used.
 */
export function takenTokenizer(recipe: Recipe, dir: string): string | undefined {
  const from = recipe.tokenizer?.from ?? null;
  if (from === null) return undefined;
  const place = tokenizerAt(from, 'tokenizer.from');
  refuseOwn(
    'tokenizer.from',
    place,
    dir,
    'the tokenizer that is there is kept as long as its part of the recipe stays',
  );
  return place;
}

/** Refuses a tokenizer that the run in `dir` cannot take. */
export function checkTokenizer(recipe: Recipe, dir: string): void {
  const place = takenTokenizer(recipe, dir);
  if (place === undefined) return;
  checkTaken(place, recipe);
  checkOrigin('tokenizer.from', place, recipe);
}

/** Refuses weights that the run in `dir` cannot begin with, as far as that is known before its stages ran. */
export function checkWeights(recipe: Recipe, dir: string): void {
  const from = recipe.pretrain?.from ?? null;
  if (from === null) return;
  if (!existsSync(join(from, 'config.json'))) {
    throw new UserError(`pretrain.from is not a Hugging Face folder`, {
      found: `no config.json in ${resolve(from)}`,
      expected: 'a folder with config.json and safetensors files, e.g. out/demo/pretrain/model',
    });
  }
  refuseOwn('pretrain.from', from, dir, 'train on in another run folder: this one would replace what it begins with');
  checkOrigin('pretrain.from', from, recipe);
  const place = takenTokenizer(recipe, dir);
  if (place !== undefined) checkIds(from, place);
}

/** Refuses what no release could say the origin of, where there is to be one. */
function checkOrigin(name: string, path: string, recipe: Recipe): void {
  const artefact = recipe.release === undefined ? undefined : enclosingArtefact(path);
  if (artefact !== undefined) requireOrigin(name, artefact);
}

/**
 * Refuses weights whose ids meant other texts than those of the tokenizer in `place`. Answers why that cannot be told,
 * where it cannot.
 */
export function checkIds(from: string, place: string): string | undefined {
  const { found, places } = findTokenizerOfModel(from);
  if (found === undefined) return `there is no tokenizer.json in ${places.join(' or ')}`;
  const theirs = tokenizerFile(found);
  const ours = tokenizerFile(place);
  if (hashFile(theirs).sha256 === hashFile(ours).sha256) return undefined;
  let trained: Tokenizer;
  try {
    trained = Tokenizer.load(theirs);
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  const other = firstOther(trained, Tokenizer.load(ours));
  if (other === undefined) return undefined;
  throw new UserError('the weights of pretrain.from were trained with another tokenizer', {
    found: `${other.id} is ${other.texts[0]} in ${theirs}, ${other.texts[1]} in ${ours}`,
    expected: 'ids that mean the same: weights know texts by their ids alone',
    next: `take its tokenizer: tokenizer: { from: '${found}' }`,
  });
}

/** Refuses what a stage of the run in `dir` has made: the run would be made of itself. */
function refuseOwn(name: string, path: string, dir: string, next: string): void {
  const real = (place: string): string => (existsSync(place) ? realpathSync(place) : resolve(place));
  const [first = ''] = relative(real(dir), real(path)).split(sep);
  if (!(Object.values(stageFolders) as string[]).includes(first)) return;
  throw new UserError(`${name} names what the run itself has made`, {
    found: real(path),
    expected: 'something that was there before the run, outside of its folder',
    next: `leave it out (--set ${name}=null): ${next}`,
  });
}
