// The stage `tokenizer` where the recipe takes one that is there (`tokenizer.from`): its files, checked and copied.
//
// What a run writes by number must be what the tokenizer means by it: `</s>` between documents, the marks of
// conversations. Their ids are those of Apertus, whose tokenizer and belay's own have them; another one is refused.
// Files that are missing beside tokenizer.json are those that a trained tokenizer gets, with the tokens of this one.
//
// Does not: change the vocabulary; commands/tokenizer-change.ts does.
import { copyFileSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import { errorText, readJson } from '../base/json.ts';
import { baseRole, enclosingArtefact } from '../base/manifest.ts';
import type { Log } from '../base/progress.ts';
import type { Recipe } from '../base/recipe.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import { Tokenizer, tokenizerFile, tokenizerFileName } from './bpe.ts';
import { type Message, renderChat } from './chat-format.ts';
import { chatTemplate } from './chat-template.ts';
import { BOS, conversationIds, EOS, PAD, reservedContent } from './special-tokens.ts';
import { type AddedToken, companionFiles, tokenizerFilePattern } from './tokenizer-files.ts';

export interface TakeTokenizerOptions {
  /** Folder to make. */
  readonly dir: string;
  /** A tokenizer.json, or a folder that holds one. */
  readonly from: string;
  readonly recipe: Recipe;
  readonly log: Log;
}

/** Takes a tokenizer over: `dir` then holds its files as a trained one's. */
export async function takeTokenizer({ dir, from, recipe, log }: TakeTokenizerOptions): Promise<StageResult> {
  const sources = filesOf(from);
  const artefact = enclosingArtefact(from);
  const hashes = [...sources].map(([name, path]) => ({ name, sha256: hashFile(path).sha256 }));
  return runStage({
    dir,
    kind: 'tokenizer',
    version: 1,
    // What the files hold counts, and what they came from.
    recipe: { files: hashes },
    inputs: artefact === undefined ? {} : { [baseRole]: artefact },
    onStart: (what) =>
      log.line(what === 'skip' ? `tokenizer: up to date in ${dir}` : `tokenizer: taken from ${from} into ${dir}`),
    run: async (into) => {
      const { vocabularySize } = checkTaken(from, recipe);
      for (const [name, path] of sources) copyFileSync(path, join(into, name));
      const companions = companionFiles(addedTokens(sources.get(tokenizerFileName) as string), templateOf(sources));
      const added = [...companions].filter(([name]) => !sources.has(name));
      for (const [name, content] of added) writeFileAtomic(join(into, name), content);
      return { vocabularySize, from: resolve(from), added: added.map(([name]) => name) };
    },
  });
}

/** The tokenizer in `from`, as a run of the recipe can use it; a UserError where it cannot. */
export function checkTaken(from: string, recipe: Recipe): Tokenizer {
  const file = presentFile(from);
  const tokenizer = Tokenizer.load(file);
  const wrong = [BOS, EOS, PAD, ...(recipe.sft ? conversationIds : [])].filter(
    (id) => tokenizer.idOf(reservedContent(id)) !== id || !tokenizer.isSpecial(id),
  );
  if (wrong.length > 0) {
    const found = wrong.map((id) => {
      const content = reservedContent(id);
      const other = tokenizer.idOf(content);
      return other === undefined
        ? `no ${content}`
        : other === id
          ? `${content} is no control token`
          : `${content} is ${other}`;
    });
    throw new UserError(`a run cannot use the tokenizer ${file}`, {
      found: found.join(', '),
      expected: `control tokens with the ids of Apertus: ${wrong.map((id) => `${reservedContent(id)} ${id}`).join(', ')}`,
      next: 'take a tokenizer of Apertus or of belay, or leave tokenizer.from out: then one is trained',
    });
  }
  if (recipe.sft) checkTemplate(from);
  // A recipe for a corpus alone has no model, and asking for it throws.
  const rows = Object.keys(recipe).includes('model') ? recipe.model.vocabularySize : Number.POSITIVE_INFINITY;
  if (tokenizer.vocabularySize > rows) {
    throw new UserError(`the tokenizer ${file} has more tokens than the model can tell apart`, {
      found: `${tokenizer.vocabularySize} tokens, model.vocabularySize ${rows}`,
      expected: 'a model with a row for each token',
      next: `set model.vocabularySize to ${tokenizer.vocabularySize} or more`,
    });
  }
  return tokenizer;
}

/** Says something in every part of a conversation. */
const probe: readonly Message[] = [
  { role: 'system', content: 'a' },
  { role: 'user', content: 'b' },
  { role: 'assistant', content: 'c' },
  { role: 'user', content: 'd' },
];

/** Refuses a chat template of another format than the one that fine-tuning writes: who serves the model would use it. */
function checkTemplate(from: string): void {
  const template = templateOf(filesOf(from));
  if (template === undefined || template === chatTemplate) return;
  const options = { date: '2025-01-01', addGenerationPrompt: true };
  const expected = renderChat(probe, options);
  let found: string;
  try {
    found = renderChat(probe, { ...options, template });
  } catch (error) {
    found = errorText(error);
  }
  if (found === expected) return;
  throw new UserError(`a run cannot fine-tune with the chat template of the tokenizer ${from}`, {
    found: JSON.stringify(found),
    expected: `${JSON.stringify(expected)}, which is what fine-tuning writes`,
    next: 'take the tokenizer without its chat_template (the one of Apertus is added then), or leave sft out',
  });
}

/** The chat template among a tokenizer's files, in the order in which readers look; undefined where there is none. */
function templateOf(files: ReadonlyMap<string, string>): string | undefined {
  const own = files.get('chat_template.jinja');
  if (own !== undefined) return readFileSync(own, 'utf8');
  const config = files.get('tokenizer_config.json');
  const parsed = config === undefined ? undefined : configSchema.safeParse(readJson(config)).data;
  const told = parsed?.chat_template;
  if (told === undefined || told === null || typeof told === 'string') return told ?? undefined;
  return told.find(({ name }) => name === 'default')?.template;
}

const configSchema = z.looseObject({
  chat_template: z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))]).nullish(),
});
const tokenSchema = z.looseObject({
  id: z.int(),
  content: z.string(),
  single_word: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  normalized: z.boolean().default(false),
  special: z.boolean().default(false),
});

function addedTokens(file: string): readonly AddedToken[] {
  return z.looseObject({ added_tokens: z.array(tokenSchema).default([]) }).parse(readJson(file)).added_tokens;
}

function presentFile(from: string): string {
  const file = tokenizerFile(from);
  if (existsSync(file)) return file;
  throw new UserError('tokenizer.from is no tokenizer', {
    found: `nothing at ${resolve(file)}`,
    expected: 'a tokenizer.json, or a folder with one',
  });
}

/** The tokenizer's files by the names they get: tokenizer.json, and what lies beside it. */
function filesOf(from: string): ReadonlyMap<string, string> {
  const file = presentFile(from);
  const dir = dirname(file);
  const files = new Map([[tokenizerFileName, file]]);
  // A file of another name was chosen alone: what lies beside it may belong to another one.
  if (basename(file) !== tokenizerFileName) return files;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (tokenizerFilePattern.test(entry.name) && entry.name !== tokenizerFileName) {
      files.set(entry.name, join(dir, entry.name));
    }
  }
  return new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1)));
}
