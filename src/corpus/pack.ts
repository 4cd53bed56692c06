// The stage `tokens`: clean documents and a tokenizer -> token files for training and validation.
//
// Training documents may be divided into groups with token files of their own, so that a mixture can weigh them: a
// document goes to the first group that takes it, else to `train`.
//
// Every document becomes `<s>` + its tokens + `</s>`. `documents.jsonl.gz` says which document stands where, so that
// `belay trace` can go from a training step to the texts it saw. Of the control tokens only the personal-data markers
// are recognised in text; a page that spells out `<|user_start|>` gets the ids of those letters.
//
// Does not: choose or change documents.
import { join } from 'node:path';
import { writeJsonAtomic } from '../base/atomic.ts';
import type { Document } from '../base/document.ts';
import { documentFiles } from '../base/documents-folder.ts';
import type { Json } from '../base/json.ts';
import { JsonlWriter, readJsonl } from '../base/jsonl.ts';
import { readManifest } from '../base/manifest.ts';
import type { Log } from '../base/progress.ts';
import { UserError } from '../base/errors.ts';
import type { Recipe, TokenGroupRecipe } from '../base/recipe.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { encodeTexts } from '../tokenizer/encode-texts.ts';
import { BOS, EOS, personalDataMarkers, reservedContent } from '../tokenizer/special-tokens.ts';
import { MegatronWriter, tokenTypeFor } from './megatron.ts';

export type Split = 'train' | 'validation';
export const splits: readonly Split[] = ['train', 'validation'];
export const packedDocumentsName = 'documents.jsonl.gz';
export const languagesName = 'languages.json';

/** One line of documents.jsonl.gz. */
export interface PackedDocument {
  readonly split: Split;
  /** The group whose token file holds it; without one it is in the split's. */
  readonly group?: string;
  /** Number of the document in its token file. */
  readonly index: number;
  readonly id: string;
  readonly language: string;
  readonly source: string;
  readonly licence: string;
  /** With `<s>` and `</s>`. */
  readonly tokens: number;
  /** UTF-8 length of the text. */
  readonly bytes: number;
}

/** Sizes of a split, or of a language in it. */
export interface PackedSize {
  documents: number;
  tokens: number;
  bytes: number;
}

/** Content of languages.json: split -> language -> sizes, over all groups. */
export type PackedLanguages = Record<Split, Record<string, PackedSize>>;

export interface PackDocumentsOptions {
  /** Folder to make. */
  readonly dir: string;
  /** Folder of the stage `documents`, with documents for training and, where something is held out, for validation. */
  readonly documentsDir: string;
  readonly tokenizerDir: string;
  readonly recipe: Recipe;
  /** Default: those of the recipe. */
  readonly groups?: readonly TokenGroupRecipe[];
  /** Threads that encode; default: a core each. The files are the same with any number. */
  readonly workers?: number;
  readonly log: Log;
}

/** Prefix of the token file that holds a document. */
export function tokenFileOf(dir: string, { split, group }: Pick<PackedDocument, 'split' | 'group'>): string {
  return join(dir, group ?? split);
}

/** Prefixes of all token files with training documents: `train`, and those of the groups. */
export function trainingTokenFiles(dir: string): string[] {
  const groups = readManifest(dir).facts['groups'] ?? {};
  return ['train', ...Object.keys(groups)].map((name) => join(dir, name));
}

export async function packDocuments(options: PackDocumentsOptions): Promise<StageResult> {
  const { dir, documentsDir, tokenizerDir, log } = options;
  const groups = options.groups ?? options.recipe.tokens?.groups ?? [];
  checkNames(groups);
  return runStage({
    dir,
    kind: 'tokens',
    version: 1,
    // Of a recipe only the groups change how documents are packed; for the rest the inputs say it all.
    recipe: groups.length > 0 ? { groups: groups as unknown as Json } : {},
    inputs: { documents: documentsDir, tokenizer: tokenizerDir },
    onStart: (what) => log.line(what === 'skip' ? `tokens: up to date in ${dir}` : `tokens: packing into ${dir}`),
    run: async (into) => {
      const tokenizer = Tokenizer.load(tokenizerDir);
      checkReserved(tokenizer, tokenizerDir);
      const rows = new JsonlWriter(join(into, packedDocumentsName));
      const languages: PackedLanguages = { train: {}, validation: {} };
      const facts: Record<string, Json> = { vocabularySize: tokenizer.vocabularySize };
      for (const split of splits) {
        const sizes = await packSplit({
          split,
          into,
          inputs: documentFiles(documentsDir, split),
          groups: split === 'train' ? groups : [],
          tokenizer,
          tokenizerDir,
          workers: options.workers,
          rows,
          languages: languages[split],
          log,
        });
        const { [split]: rest, ...byGroup } = sizes;
        facts[split] = { ...(rest as PackedSize) };
        if (split === 'train' && groups.length > 0) facts['groups'] = byGroup as unknown as Json;
      }
      await rows.close();
      writeJsonAtomic(join(into, languagesName), languages);
      return facts;
    },
  });
}

function checkNames(groups: readonly TokenGroupRecipe[]): void {
  const names: string[] = [...splits];
  for (const { name } of groups) {
    if (names.includes(name)) {
      throw new UserError(`two token files would be called "${name}"`, {
        expected: `groups of different names, none of them ${splits.join(' or ')}`,
        next: 'rename one in tokens.groups',
      });
    }
    names.push(name);
  }
}

/** The first group that takes a document of so many tokens. */
function groupFor(
  { language, source }: Document,
  tokens: number,
  groups: readonly TokenGroupRecipe[],
): string | undefined {
  return groups.find(
    ({ minTokens, maxTokens, languages, sources }) =>
      tokens >= (minTokens ?? 0) &&
      tokens <= (maxTokens ?? Number.POSITIVE_INFINITY) &&
      (languages?.includes(language) ?? true) &&
      (sources?.includes(source) ?? true),
  )?.name;
}

/** Documents are told apart by `</s>`, whose id everything that reads token files knows. */
function checkReserved(tokenizer: Tokenizer, tokenizerDir: string): void {
  for (const id of [BOS, EOS]) {
    const content = reservedContent(id);
    if (tokenizer.idOf(content) === id) continue;
    throw new UserError(`documents cannot be packed by the tokenizer in ${tokenizerDir}`, {
      found: `${content} has ${tokenizer.idOf(content) === undefined ? 'no id' : `the id ${tokenizer.idOf(content)}`}`,
      expected: `the reserved ids of Apertus: ${content} is ${id}`,
    });
  }
}

interface PackSplitOptions {
  readonly split: Split;
  readonly into: string;
  /** Files with the documents. */
  readonly inputs: readonly string[];
  readonly groups: readonly TokenGroupRecipe[];
  readonly tokenizer: Tokenizer;
  readonly tokenizerDir: string;
  readonly workers: number | undefined;
  readonly rows: JsonlWriter;
  readonly languages: Record<string, PackedSize>;
  readonly log: Log;
}

/** Sizes by token file: the split's own, and one for each group. */
async function packSplit(options: PackSplitOptions): Promise<Record<string, PackedSize>> {
  const { split, into, inputs, groups, tokenizer, tokenizerDir, workers, rows, languages, log } = options;
  const type = tokenTypeFor(tokenizer.vocabularySize);
  const files = new Map(
    [split, ...groups.map(({ name }) => name)].map((name) => [
      name,
      { writer: new MegatronWriter(join(into, name), type), size: { documents: 0, tokens: 0, bytes: 0 } },
    ]),
  );
  const total: PackedSize = { documents: 0, tokens: 0, bytes: 0 };
  const progress = log.progress(`tokenizing ${split}`, 0, 'B');
  const markers = personalDataMarkers.filter((marker) => tokenizer.idOf(marker) !== undefined);
  const encoded = encodeTexts(tokenizerDir, documentsOf(inputs), ({ text }) => text, {
    bos: true,
    allowSpecial: markers,
    last: EOS,
    workers,
    loaded: tokenizer,
  });
  for await (const { item: document, ids } of encoded) {
    const group = groupFor(document, ids.length, groups);
    const { writer, size } = files.get(group ?? split) as { writer: MegatronWriter; size: PackedSize };
    writer.addDocument(ids);
    const { id, language, source, licence } = document;
    const bytes = Buffer.byteLength(document.text, 'utf8');
    const row: PackedDocument = {
      split,
      ...(group === undefined ? {} : { group }),
      index: size.documents,
      id,
      language,
      source,
      licence,
      tokens: ids.length,
      bytes,
    };
    await rows.write(row);
    languages[language] ??= { documents: 0, tokens: 0, bytes: 0 };
    for (const one of [size, total, languages[language]]) add(one, ids.length, bytes);
    progress.update(total.bytes);
  }
  for (const { writer } of files.values()) writer.close();
  progress.finish(`${total.documents} documents, ${total.tokens} tokens`);
  return Object.fromEntries([...files].map(([name, { size }]) => [name, size]));
}

async function* documentsOf(files: readonly string[]): AsyncGenerator<Document> {
  for (const file of files) yield* readJsonl<Document>(file);
}

function add(size: PackedSize, tokens: number, bytes: number): void {
  size.documents++;
  size.tokens += tokens;
  size.bytes += bytes;
}

/** The rows of documents.jsonl.gz, training documents first and in their own order, whatever their groups. */
export function readPackedDocuments(dir: string): AsyncGenerator<PackedDocument> {
  return readJsonl<PackedDocument>(join(dir, packedDocumentsName));
}
