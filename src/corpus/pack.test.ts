import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Document } from '../base/document.ts';
import { JsonlWriter } from '../base/jsonl.ts';
import { silentLog } from '../base/progress.ts';
import { parseRecipe } from '../base/recipe.ts';
import { runStage } from '../base/stage.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { BOS, EOS } from '../tokenizer/special-tokens.ts';
import { trainTokenizer } from '../tokenizer/train-stage.ts';
import { MegatronReader } from './megatron.ts';
import { packDocuments, type PackedDocument, readPackedDocuments } from './pack.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-pack-'));
after(() => rmSync(dir, { recursive: true }));

const recipe = parseRecipe(
  {
    name: 'test',
    model: { layers: 1, hidden: 8, intermediate: 8, heads: 1, kvHeads: 1, headDim: 8, vocabularySize: 340 },
    tokenizer: { vocabularySize: 340 },
  },
  'test',
);
const document = (id: string, language: string, text: string): Document => ({
  id,
  language,
  text,
  source: 'test',
  licence: 'CC0-1.0',
});
const train = [
  document('a', 'deu', 'Alle Menschen sind frei. Alle Menschen sind gleich.'),
  document('b', 'eng', 'All human beings write to <email-pii> and </s> is text.'),
  document('c', 'deu', ''),
];
const validation = [document('d', 'roh', 'Tuots umans naschan libers')];

async function makeDocuments(into: string, parts: Record<string, readonly Document[]>): Promise<string> {
  const path = join(dir, into);
  await runStage({
    dir: path,
    kind: 'documents',
    version: 1,
    recipe: { into },
    inputs: {},
    run: async (folder) => {
      for (const [split, documents] of Object.entries(parts)) {
        const writer = new JsonlWriter(join(folder, `${split}.jsonl.gz`));
        for (const one of documents) await writer.write(one);
        await writer.close();
      }
      return {};
    },
  });
  return path;
}

test('documents become tokens that decode to them, with a line and a count for each', async () => {
  const documentsDir = await makeDocuments('documents', { train, validation });
  const tokenizerDir = join(dir, 'tokenizer');
  const trained = await trainTokenizer({ dir: tokenizerDir, documentsDir, recipe, log: silentLog });
  assert.equal(trained.manifest.kind, 'tokenizer');
  assert.deepEqual(
    trained.manifest.files.map(({ path }) => path),
    ['chat_template.jinja', 'special_tokens_map.json', 'tokenizer.json', 'tokenizer_config.json'],
  );

  const tokensDir = join(dir, 'tokens');
  const packed = await packDocuments({ dir: tokensDir, documentsDir, tokenizerDir, recipe, log: silentLog });
  const tokenizer = Tokenizer.load(tokenizerDir);
  const rows: PackedDocument[] = [];
  for await (const row of readPackedDocuments(tokensDir)) rows.push(row);
  assert.deepEqual(
    rows.map(({ split, index, id }) => `${split} ${index} ${id}`),
    ['train 0 a', 'train 1 b', 'train 2 c', 'validation 0 d'],
  );
  for (const [split, documents] of Object.entries({ train, validation })) {
    const reader = new MegatronReader(join(tokensDir, split));
    assert.equal(reader.type, 'uint16');
    assert.equal(reader.documents, documents.length);
    documents.forEach(({ id, text }, i) => {
      const ids = [...reader.documentTokens(i)];
      assert.equal(ids[0], BOS);
      assert.equal(ids.indexOf(EOS), ids.length - 1, 'the only end of document is the last token');
      assert.equal(tokenizer.decode(ids.slice(1, -1)), text);
      const row = rows.find((one) => one.id === id);
      assert.deepEqual([row?.tokens, row?.bytes], [ids.length, Buffer.byteLength(text)]);
    });
    reader.close();
  }
  const marker = tokenizer.idOf('<email-pii>') as number;
  const reader = new MegatronReader(join(tokensDir, 'train'));
  assert.ok(reader.documentTokens(1).includes(marker));
  assert.equal((packed.manifest.facts['train'] as { tokens: number }).tokens, reader.tokens);
  reader.close();
  const languages = JSON.parse(readFileSync(join(tokensDir, 'languages.json'), 'utf8')) as {
    train: Record<string, { documents: number; tokens: number }>;
  };
  assert.deepEqual(Object.keys(languages.train).sort(), ['deu', 'eng']);
  assert.equal(languages.train['deu']?.documents, 2);
  assert.equal(languages.train['deu']?.tokens, (rows[0]?.tokens ?? 0) + (rows[2]?.tokens ?? 0));

  // Up to date stages are skipped, and a second run elsewhere gives the same artefact.
  assert.ok((await packDocuments({ dir: tokensDir, documentsDir, tokenizerDir, recipe, log: silentLog })).skipped);
  const other = await packDocuments({ dir: join(dir, 'again'), documentsDir, tokenizerDir, recipe, log: silentLog });
  assert.equal(other.manifest.id, packed.manifest.id);
});

test('without held-out documents the validation files are empty', async () => {
  const documentsDir = await makeDocuments('train-only', { train });
  const tokensDir = join(dir, 'train-only-tokens');
  await packDocuments({ dir: tokensDir, documentsDir, tokenizerDir: join(dir, 'tokenizer'), recipe, log: silentLog });
  const reader = new MegatronReader(join(tokensDir, 'validation'));
  assert.equal(reader.documents, 0);
  reader.close();
});
