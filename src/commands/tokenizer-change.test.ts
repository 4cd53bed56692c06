// `belay tokenizer rename`, `extend` and `pad`: files, rows and the account of them.
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Tokenizer as Reference } from 'tokenizers';
import { runCli } from '../../test/run-cli.ts';
import { writeSmallModel } from '../../test/small-model.ts';
import { readManifest } from '../base/manifest.ts';
import { loadHfFolder, saveHfFolder } from '../model/hf-folder.ts';
import { defaultBackend } from '../tensor/backend-select.ts';
import { SafetensorsFile } from '../tensor/safetensors.ts';
import { Engine } from '../tensor/tensor.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { openModelFolder } from './model-folder.ts';
import { changeVocabulary } from './tokenizer-change.ts';
import { cardOfChanged } from './vocabulary-card.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-tokenizer-change-'));
const model = join(dir, 'model');
after(() => rmSync(dir, { recursive: true }));
before(() => writeSmallModel(model));
const matrices = ['model.embed_tokens.weight', 'lm_head.weight'] as const;

function weights(path: string, name: string): Float32Array {
  const file = new SafetensorsFile(join(path, 'model.safetensors'));
  try {
    return file.read(name, defaultBackend());
  } finally {
    file.close();
  }
}

/** All other tensors have the same bytes. */
function assertRestUnchanged(path: string): void {
  const file = new SafetensorsFile(join(model, 'model.safetensors'));
  for (const name of file.tensors.keys()) {
    if (!(matrices as readonly string[]).includes(name))
      assert.deepEqual(weights(path, name), weights(model, name), name);
  }
  file.close();
}

const meanOf = (values: Float32Array, width: number, ids: readonly number[]): Float32Array =>
  Float32Array.from(
    { length: width },
    (_, i) => ids.reduce((sum, id) => sum + (values[id * width + i] as number), 0) / ids.length,
  );

test('added tokens: one id each, rows that are the means of their pieces, and it is told', async () => {
  const out = join(dir, 'extended');
  const args = ['--model', model, '--token', 'Grüezi', '--token', '漢字', '--out', out, '--json'];
  const { code, stdout, stderr } = await runCli(['tokenizer', 'extend', ...args]);
  assert.equal(code, 0, stderr);
  const old = Tokenizer.load(model);
  const { facts, recipe, kind } = readManifest(out);
  assert.equal(kind, 'vocabulary');
  assert.deepEqual((JSON.parse(stdout) as { manifest: { facts: unknown } }).manifest.facts, facts);
  const pieces = ['Grüezi', '漢字'].map((text) => old.encode(text));
  assert.deepEqual(facts, { ids: [345, 346], pieces, rowsBefore: 345, rows: 347 });
  assert.deepEqual((recipe as { change: unknown }).change, {
    kind: 'extend',
    tokens: ['Grüezi', '漢字'],
    special: false,
  });
  assert.ok((recipe as { files: { name: string }[] }).files.some(({ name }) => name === 'model.safetensors'));
  const tokenizer = Tokenizer.load(out);
  assert.deepEqual(tokenizer.encode('Grüezi 漢字'), [345, ...old.encode(' '), 346]);
  assert.equal(tokenizer.decode([345, 346]), 'Grüezi漢字');
  const reference = Reference.fromFile(join(out, 'tokenizer.json'));
  assert.deepEqual(
    (await reference.encode('zu Grüezi!', null, { addSpecialTokens: false })).getIds(),
    tokenizer.encode('zu Grüezi!'),
  );
  for (const name of matrices) {
    const before = weights(model, name);
    const after = weights(out, name);
    assert.deepEqual(after.subarray(0, before.length), before);
    pieces.forEach((ids, i) => {
      assert.deepEqual(after.slice((345 + i) * 32, (346 + i) * 32), meanOf(before, 32, ids), name);
    });
  }
  assertRestUnchanged(out);
  // It loads, and again nothing is done.
  assert.equal(openModelFolder(out).model.config.vocabularySize, 347);
  assert.equal(
    (await changeVocabulary(model, out, { kind: 'extend', tokens: ['Grüezi', '漢字'], special: false })).skipped,
    true,
  );
});

test('padding: rows to a multiple, in the dtype of the weights; padded rows are taken by tokens that come later', async () => {
  const bf16 = join(dir, 'bf16');
  await writeSmallModel(bf16);
  saveHfFolder(bf16, loadHfFolder(bf16, new Engine(defaultBackend())), { dtype: 'bfloat16', eosTokenId: 2 });
  const out = join(dir, 'padded');
  const { code, stderr } = await runCli(['tokenizer', 'pad', '--model', bf16, '--multiple', '64', '--out', out]);
  assert.equal(code, 0, stderr);
  assert.deepEqual(readManifest(out).facts, { rowsBefore: 345, rows: 384 });
  assert.equal(openModelFolder(out).model.config.vocabularySize, 384);
  assert.equal(Tokenizer.load(out).vocabularySize, 345);
  const before = weights(bf16, 'lm_head.weight');
  const all = weights(out, 'lm_head.weight');
  assert.deepEqual(all.subarray(0, before.length), before);
  const rounded = new Uint16Array(32);
  const back = new Float32Array(32);
  defaultBackend().toBf16(
    32,
    meanOf(
      before,
      32,
      Array.from({ length: 345 }, (_, id) => id),
    ),
    rounded,
  );
  defaultBackend().fromBf16(32, rounded, back);
  assert.deepEqual(all.slice(345 * 32, 346 * 32), back);
  assert.deepEqual(all.slice(383 * 32), back);

  const later = join(dir, 'later');
  const { manifest } = await changeVocabulary(out, later, { kind: 'extend', tokens: ['<|x|>'], special: true });
  assert.equal(manifest.facts['rows'], 384);
  assert.deepEqual(
    manifest.inputs.map(({ name }) => name),
    ['model'],
  );
  const taken = weights(later, 'lm_head.weight');
  assert.notDeepEqual(taken.slice(345 * 32, 346 * 32), back);
  assert.deepEqual(taken.slice(346 * 32), all.slice(346 * 32));
  const tokenizer = Tokenizer.load(later);
  assert.ok(tokenizer.isSpecial(345));
  assert.ok(!tokenizer.encode('a<|x|>').includes(345));
  assert.deepEqual(tokenizer.encode('<|x|>', { allowSpecial: true }), [345]);
});

test('a model card says what was changed, under its title', async () => {
  const carded = join(dir, 'carded');
  cpSync(model, carded, { recursive: true });
  const front = '---\nlicense: apache-2.0\n---\n';
  writeFileSync(join(carded, 'README.md'), `${front}\n# small\n\nIt has 345 rows.\n`);
  const cards = [
    [
      { kind: 'extend', tokens: ['Grüezi', 'a`b'], special: false },
      /tokens were added, `` "Grüezi" ``, `` "a\\u0060b" ``/,
    ],
    [{ kind: 'pad', multiple: 64 }, /a multiple of 64\. .* have 384 rows, 345 before/],
    [{ kind: 'rename', names: { '<SPECIAL_4>': '<|m|>' } }, /"<SPECIAL_4> -> <\|m\|>" ``\. Sizes, /],
  ] as const;
  for (const [i, [change, said]] of cards.entries()) {
    const out = join(dir, `carded-${i}`);
    await changeVocabulary(carded, out, change);
    const card = readFileSync(join(out, 'README.md'), 'utf8');
    assert.ok(card.startsWith(`${front}\n# small\n\n> **The vocabulary was changed**`), card);
    assert.ok(card.endsWith('\n\nIt has 345 rows.\n'), card);
    assert.match(card, said);
  }
  const again = join(dir, 'carded-again');
  await changeVocabulary(join(dir, 'carded-0'), again, { kind: 'extend', tokens: ['zwei'], special: false });
  const twice = readFileSync(join(again, 'README.md'), 'utf8');
  assert.equal(twice.match(/The vocabulary was changed/g)?.length, 2);
  assert.ok(twice.includes(readManifest(join(dir, 'carded-0')).id));
  assert.equal(cardOfChanged('No title.\n', { change: 'x.' }).match(/^> .*\n\nNo title\.\n$/)?.length, 1);
});

test('tokens of any name can be added; a text that spells another token is told so', async () => {
  const out = join(dir, 'names');
  const tokens = ['__proto__', 'constructor', 'toString', '"\\'];
  await changeVocabulary(model, out, { kind: 'extend', tokens, special: false });
  const tokenizer = Tokenizer.load(out);
  const reference = Reference.fromFile(join(out, 'tokenizer.json'));
  for (const [i, token] of tokens.entries()) {
    assert.equal(tokenizer.idOf(token), 345 + i);
    assert.equal(reference.tokenToId(token), 345 + i);
    assert.deepEqual(tokenizer.encode(token), [345 + i]);
  }
  const further = join(dir, 'names-further');
  await changeVocabulary(out, further, { kind: 'extend', tokens: ['later'], special: false });
  assert.deepEqual(Tokenizer.load(further).encode('__proto__later'), [345, 349]);
  const renamed = join(dir, 'names-renamed');
  await changeVocabulary(out, renamed, { kind: 'rename', names: { constructor: '<|c|>' } });
  assert.deepEqual(
    ['__proto__', '<|c|>', 'constructor'].map((name) => Tokenizer.load(renamed).idOf(name)),
    [345, 346, undefined],
  );
  for (const [token, message] of [
    ['é', /cannot be added\n +found: +in tokenizer\.json "é" is how the token \d+ is spelled, which is the bytes e9\n/],
    ['__proto__', /it has the id 345/],
    ['a', /it has the id \d+\n/],
    [' ', /it has the id \d+\n/],
    ['', /an empty text/],
  ] as const) {
    const change = changeVocabulary(out, join(dir, 'never'), { kind: 'extend', tokens: [token], special: false });
    await assert.rejects(change, message);
  }
});

test('renaming: ids stay, all files agree', async () => {
  const out = join(dir, 'renamed');
  const args = ['--model', model, '--token', '<SPECIAL_4>=<|memory|>', '--token', '<s>=<|begin|>', '--out', out];
  const { code, stderr } = await runCli(['tokenizer', 'rename', ...args]);
  // The template writes <s>.
  assert.equal(code, 2);
  assert.match(stderr, /chat_template\.jinja writes it/);
  await changeVocabulary(model, out, {
    kind: 'rename',
    names: { '<SPECIAL_4>': '<|memory|>', '<unk>': '<|unknown|>' },
  });
  const tokenizer = Tokenizer.load(out);
  assert.equal(tokenizer.idOf('<|memory|>'), 4);
  assert.equal(tokenizer.idOf('<SPECIAL_4>'), undefined);
  const config = readFileSync(join(out, 'tokenizer_config.json'), 'utf8');
  assert.ok(config.includes('<|memory|>') && !config.includes('<SPECIAL_4>'));
  assert.equal((JSON.parse(config) as { unk_token: string }).unk_token, '<|unknown|>');
  assert.match(readFileSync(join(out, 'special_tokens_map.json'), 'utf8'), /<\|unknown\|>/);
  assert.equal(Reference.fromFile(join(out, 'tokenizer.json')).tokenToId('<|memory|>'), 4);
  for (const name of matrices) assert.deepEqual(weights(out, name), weights(model, name));
});

test('a token gets one name', async () => {
  const out = join(dir, 'one-name');
  const tokens = ['--token', '<SPECIAL_4>=<a>', '--token', '<SPECIAL_4>=<b>'];
  const { code, stderr } = await runCli(['tokenizer', 'rename', '--model', model, ...tokens, '--out', out]);
  assert.equal(code, 2);
  assert.match(stderr, /<SPECIAL_4> is renamed twice\n +found: +<a>, <b>\n/);
  assert.ok(!existsSync(out));
});

test('a token is not renamed where a chat template among the settings writes it', async () => {
  const plain = join(dir, 'plain');
  cpSync(model, plain, { recursive: true });
  rmSync(join(plain, 'chat_template.jinja'));
  const path = join(plain, 'tokenizer_config.json');
  const config = JSON.parse(readFileSync(path, 'utf8')) as object;
  const out = join(dir, 'plain-renamed');
  const change = { kind: 'rename', names: { '<SPECIAL_4>': '<|memory|>' } } as const;
  for (const template of ['{{ "<SPECIAL_4>" }}', [{ name: 'default', template: '<SPECIAL_4>' }]]) {
    writeFileSync(path, JSON.stringify({ ...config, chat_template: template }));
    await assert.rejects(changeVocabulary(plain, out, change), /the chat_template of tokenizer_config\.json writes it/);
  }
  writeFileSync(path, JSON.stringify({ ...config, chat_template: '<s>' }));
  await changeVocabulary(plain, out, change);
  assert.equal(Tokenizer.load(out).idOf('<|memory|>'), 4);
});

test('a tokenizer alone can be changed, but not padded; mistakes are named and leave nothing', async () => {
  const alone = join(dir, 'alone');
  await changeVocabulary(model, alone, { kind: 'rename', names: { '<SPECIAL_5>': '<|five|>' } });
  for (const name of ['config.json', 'model.safetensors']) rmSync(join(alone, name));
  rmSync(join(alone, 'manifest.json'));
  const more = join(dir, 'more');
  const { manifest } = await changeVocabulary(alone, more, { kind: 'extend', tokens: ['xyz'], special: false });
  assert.deepEqual(manifest.facts['ids'], [345]);
  assert.ok(!existsSync(join(more, 'config.json')));
  const out = join(dir, 'never');
  for (const [from, change, message] of [
    [alone, { kind: 'pad', multiple: 8 }, /is no model/],
    [model, { kind: 'extend', tokens: ['<s>'], special: false }, /it has the id 1/],
    [model, { kind: 'extend', tokens: ['x y', 'x y'], special: false }, /it has the id 345/],
    [model, { kind: 'rename', names: { nothing: 'x' } }, /no added token/],
    [model, { kind: 'rename', names: { '<SPECIAL_4>': '<SPECIAL_5>' } }, /a token of this name/],
    [join(dir, 'nowhere'), { kind: 'pad', multiple: 8 }, /no model/],
    [join(dir, 'nowhere'), { kind: 'extend', tokens: ['x y'], special: false }, /nothing at this path/],
    [join(model, 'tokenizer.json', 'x'), { kind: 'rename', names: { a: 'b' } }, /nothing at this path/],
    [join(model, 'tokenizer.json'), { kind: 'rename', names: { a: 'b' } }, /found: +a file\n +expected: .*folder/],
  ] as const) {
    await assert.rejects(changeVocabulary(from, out, change), message);
    assert.ok(!existsSync(out));
  }
  await assert.rejects(changeVocabulary(model, model, { kind: 'pad', multiple: 8 }), /take the place/);
});
