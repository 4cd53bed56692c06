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
import { packDocuments, type PackedDocument, readPackedDocuments, tokenFileOf, trainingTokenFiles } from './pack.ts';

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

test('groups take their documents, the rest stays in train, and rows say which document stands where', async () => {
  const documentsDir = await makeDocuments('grouped', {
    train: [
      ...train,
      document('e', 'roh', 'Tuots umans'),
      document('f', 'eng', 'All human beings are born free. '.repeat(20)),
    ],
    validation: [...validation, document('g', 'deu', 'Alle Menschen sind frei. '.repeat(30))],
  });
  const tokenizerDir = join(dir, 'tokenizer');
  const all = { minTokens: null, maxTokens: null, languages: null, sources: null };
  const groups = [
    { ...all, name: 'long', minTokens: 100 },
    { ...all, name: 'german', languages: ['deu', 'gsw'], maxTokens: 99 },
    { ...all, name: 'elsewhere', sources: ['other'] },
  ];
  const tokensDir = join(dir, 'grouped-tokens');
  const options = { documentsDir, tokenizerDir, recipe, log: silentLog };
  const packed = await packDocuments({ ...options, dir: tokensDir, groups });
  const rows: PackedDocument[] = [];
  for await (const row of readPackedDocuments(tokensDir)) rows.push(row);
  assert.deepEqual(
    rows.map(({ split, group, index, id }) => [split, group, index, id]),
    [
      ['train', 'german', 0, 'a'],
      ['train', undefined, 0, 'b'],
      ['train', 'german', 1, 'c'],
      ['train', undefined, 1, 'e'],
      ['train', 'long', 0, 'f'],
      ['validation', undefined, 0, 'd'],
      ['validation', undefined, 1, 'g'],
    ],
  );
  const plain = join(dir, 'plain-tokens');
  const without = await packDocuments({ ...options, dir: plain });
  assert.notEqual(packed.manifest.id, without.manifest.id);
  const plainRows: PackedDocument[] = [];
  for await (const row of readPackedDocuments(plain)) plainRows.push(row);
  for (const [i, row] of rows.entries()) {
    const { index } = row;
    assert.deepEqual({ ...row, group: undefined, index: 0 }, { ...plainRows[i], group: undefined, index: 0 });
    const reader = new MegatronReader(tokenFileOf(tokensDir, row));
    const plainReader = new MegatronReader(tokenFileOf(plain, plainRows[i] as PackedDocument));
    assert.deepEqual(reader.documentTokens(index), plainReader.documentTokens((plainRows[i] as PackedDocument).index));
    assert.equal(reader.documentTokens(index).length, row.tokens);
    reader.close();
    plainReader.close();
  }
  const { facts } = packed.manifest;
  const count = (sizes: unknown): number => (sizes as { documents: number }).documents;
  assert.deepEqual(
    Object.entries(facts['groups'] as object).map(([name, sizes]) => [name, count(sizes)]),
    [
      ['long', 1],
      ['german', 2],
      ['elsewhere', 0],
    ],
  );
  assert.deepEqual([count(facts['train']), count(facts['validation'])], [2, 2]);
  assert.equal(without.manifest.facts['groups'], undefined);
  assert.equal(
    readFileSync(join(tokensDir, 'languages.json'), 'utf8'),
    readFileSync(join(plain, 'languages.json'), 'utf8'),
  );
  assert.deepEqual(
    trainingTokenFiles(tokensDir),
    ['train', 'long', 'german', 'elsewhere'].map((name) => join(tokensDir, name)),
  );
  assert.deepEqual(trainingTokenFiles(plain), [join(plain, 'train')]);
  // Long validation documents are found by their rows.
  assert.deepEqual(
    rows.filter(({ split, tokens }) => split === 'validation' && tokens >= 100).map(({ id }) => id),
    ['g'],
  );
  // The recipe's groups are the default.
  const fromRecipe = parseRecipe({ ...recipe, tokens: { groups } }, 'test');
  const again = await packDocuments({ ...options, dir: join(dir, 'recipe-tokens'), recipe: fromRecipe });
  assert.equal(again.manifest.id, packed.manifest.id);
  for (const name of ['train', 'german']) {
    await assert.rejects(
      packDocuments({
        ...options,
        dir: join(dir, 'clash'),
        groups: [groups[1] as (typeof groups)[1], { ...all, name }],
      }),
      new RegExp(`two token files would be called "${name}"`),
    );
  }
});
