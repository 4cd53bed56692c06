// The stage `tokens`: clean documents and a tokenizer -> token files for training and validation.
//
// Every document becomes `<s>` + its tokens + `</s>`. `documents.jsonl.gz` says which document stands where, so that
// `belay trace` can go from a training step to the texts it saw. Of the control tokens only the personal-data markers
// are recognised in text; a page that spells out `<|user_start|>` gets the ids of those letters.
//
// Does not: choose or change documents.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { writeJsonAtomic } from '../base/atomic.ts';
import type { Document } from '../base/document.ts';
import type { Json } from '../base/json.ts';
import { JsonlWriter, readJsonl } from '../base/jsonl.ts';
import type { Log } from '../base/progress.ts';
import type { Recipe } from '../base/recipe.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { EOS, personalDataMarkers } from '../tokenizer/special-tokens.ts';
import { MegatronWriter, tokenTypeFor } from './megatron.ts';

export type Split = 'train' | 'validation';
export const splits: readonly Split[] = ['train', 'validation'];
export const packedDocumentsName = 'documents.jsonl.gz';
export const languagesName = 'languages.json';

/** One line of documents.jsonl.gz. */
export interface PackedDocument {
  readonly split: Split;
  /** Number of the document in the split's token file. */
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

/** Content of languages.json: split -> language -> sizes. */
export type PackedLanguages = Record<Split, Record<string, PackedSize>>;

export interface PackDocumentsOptions {
  /** Folder to make. */
  readonly dir: string;
  /** Folder of the stage `documents`, with train.jsonl.gz and, where something is held out, validation.jsonl.gz. */
  readonly documentsDir: string;
  readonly tokenizerDir: string;
  readonly recipe: Recipe;
  readonly log: Log;
}

export async function packDocuments(options: PackDocumentsOptions): Promise<StageResult> {
  const { dir, documentsDir, tokenizerDir, log } = options;
  return runStage({
    dir,
    kind: 'tokens',
    version: 1,
    // Nothing in a recipe changes how documents are packed; the inputs say it all.
    recipe: {},
    inputs: { documents: documentsDir, tokenizer: tokenizerDir },
    onStart: (what) => log.line(what === 'skip' ? `tokens: up to date in ${dir}` : `tokens: packing into ${dir}`),
    run: async (into) => {
      const tokenizer = Tokenizer.load(tokenizerDir);
      const rows = new JsonlWriter(join(into, packedDocumentsName));
      const languages: PackedLanguages = { train: {}, validation: {} };
      const facts: Record<string, Json> = { vocabularySize: tokenizer.vocabularySize };
      for (const split of splits) {
        facts[split] = { ...(await packSplit(split, into, documentsDir, tokenizer, rows, languages[split], log)) };
      }
      await rows.close();
      writeJsonAtomic(join(into, languagesName), languages);
      return facts;
    },
  });
}

async function packSplit(
  split: Split,
  into: string,
  documentsDir: string,
  tokenizer: Tokenizer,
  rows: JsonlWriter,
  languages: Record<string, PackedSize>,
  log: Log,
): Promise<PackedSize> {
  const input = join(documentsDir, `${split}.jsonl.gz`);
  const writer = new MegatronWriter(join(into, split), tokenTypeFor(tokenizer.vocabularySize));
  const total: PackedSize = { documents: 0, tokens: 0, bytes: 0 };
  const progress = log.progress(`tokenizing ${split}`, 0, 'B');
  const markers = personalDataMarkers.filter((marker) => tokenizer.idOf(marker) !== undefined);
  if (existsSync(input)) {
    for await (const document of readJsonl<Document>(input)) {
      const ids = tokenizer.encode(document.text, { bos: true, allowSpecial: markers });
      ids.push(EOS);
      writer.addDocument(ids);
      const { id, language, source, licence } = document;
      const bytes = Buffer.byteLength(document.text, 'utf8');
      const row: PackedDocument = {
        split,
        index: total.documents,
        id,
        language,
        source,
        licence,
        tokens: ids.length,
        bytes,
      };
      await rows.write(row);
      languages[language] ??= { documents: 0, tokens: 0, bytes: 0 };
      add(total, ids.length, bytes);
      add(languages[language], ids.length, bytes);
      progress.update(total.bytes);
    }
  }
  writer.close();
  progress.finish(`${total.documents} documents, ${total.tokens} tokens`);
  return total;
}

function add(size: PackedSize, tokens: number, bytes: number): void {
  size.documents++;
  size.tokens += tokens;
  size.bytes += bytes;
}

/** The rows of documents.jsonl.gz, training documents first. */
export function readPackedDocuments(dir: string): AsyncGenerator<PackedDocument> {
  return readJsonl<PackedDocument>(join(dir, packedDocumentsName));
}
