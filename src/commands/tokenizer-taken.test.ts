// A run that takes a tokenizer, alone or with the weights that were trained with it: on texts of another run than theirs.
import assert from 'node:assert/strict';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { runCli } from '../../test/run-cli.ts';
import { writeSmallModel } from '../../test/small-model.ts';
import { exitCodes, UserError } from '../base/errors.ts';
import { readManifest } from '../base/manifest.ts';
import { silentLog } from '../base/progress.ts';
import { parseRecipe } from '../base/recipe.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { chatTemplate } from '../tokenizer/chat-template.ts';
import { firstOther } from '../tokenizer/same-ids.ts';
import { checkTaken, takeTokenizer } from '../tokenizer/taken-stage.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-taken-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
const base = join(scratch, 'base');
const texts = join(scratch, 'texts.jsonl');

const model = {
  layers: 1,
  hidden: 32,
  intermediate: 48,
  heads: 2,
  kvHeads: 1,
  headDim: 16,
  vocabularySize: 345,
  maxPositions: 512,
  ropeScaling: null,
};

/** A recipe on the texts of the test, written down for the command line. */
function recipeFile(name: string, parts: object): string {
  const path = join(scratch, `${name}.json`);
  const data = { source: { kind: 'jsonl', paths: [texts] }, steps: [] };
  writeFileSync(path, JSON.stringify({ name, data, model, ...parts }));
  return path;
}
const set = (from: string): string[] => ['--set', `pretrain.from=${from}`];
const pretrain = { from: base, steps: 2, sequenceLength: 16, batchSize: 2, peakLearningRate: 1e-3, compute: 'float32' };

before(async () => {
  mkdirSync(base);
  await writeSmallModel(base);
  const lines = Array.from({ length: 30 }, (_, i) => ({
    id: `t${i}`,
    text: `Nobody said ${i} times what is free and equal.`,
  }));
  writeFileSync(texts, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
});

/** A tokenizer of as many tokens, two of which changed their ids. */
function otherTokenizer(): string {
  const dir = join(scratch, 'swapped');
  mkdirSync(dir);
  const content = JSON.parse(readFileSync(join(base, 'tokenizer.json'), 'utf8')) as {
    model: { vocab: Record<string, number> };
  };
  const { vocab } = content.model;
  for (const [name, id] of Object.entries(vocab)) if (id === 100 || id === 101) vocab[name] = 201 - id;
  writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(content));
  return dir;
}

test('weights go on with the tokenizer they were trained with, on other texts', async () => {
  const out = join(scratch, 'on');
  const recipe = recipeFile('on', { tokenizer: { from: base }, pretrain });
  const { code, stderr } = await runCli(['pretrain', '--out', out, '--recipe', recipe]);
  assert.equal(code, 0, stderr);
  for (const name of ['tokenizer.json', 'chat_template.jinja', 'tokenizer_config.json']) {
    assert.deepEqual(readFileSync(join(out, 'tokenizer', name)), readFileSync(join(base, name)));
  }
  assert.equal(readManifest(join(out, 'tokens')).facts['vocabularySize'], 345);
  assert.equal(readManifest(join(out, 'tokenizer')).facts['vocabularySize'], 345);

  const again = await runCli(['pretrain', '--out', out, '--json']);
  assert.equal(again.code, 0, again.stderr);
  const { stages } = JSON.parse(again.stdout) as { stages: Record<string, { skipped: boolean }> };
  assert.ok(
    Object.values(stages).every(({ skipped }) => skipped),
    again.stdout,
  );

  // The artefact that the tokenizer is part of is an input of the one that took it.
  const next = recipeFile('next', { tokenizer: { from: join(out, 'pretrain') }, pretrain });
  const third = await runCli(['pretrain', '--out', join(scratch, 'next'), '--recipe', next]);
  assert.equal(third.code, 0, third.stderr);
  const taken = readManifest(join(scratch, 'next', 'tokenizer'));
  assert.deepEqual(
    taken.inputs.map(({ name, id }) => [name, id]),
    [['base', readManifest(join(out, 'tokenizer')).id]],
  );
});

test('weights of another tokenizer are refused, with the id that means something else', async () => {
  const out = join(scratch, 'other');
  const recipe = recipeFile('other', { tokenizer: { vocabularySize: 340 }, pretrain });
  const { code, stderr } = await runCli(['pretrain', '--out', out, '--recipe', recipe]);
  assert.equal(code, exitCodes.user, stderr);
  assert.match(stderr, /weights of pretrain\.from were trained with another tokenizer/);
  assert.match(
    stderr,
    /found: +\d+ is "[^"]+" in .*base\/tokenizer\.json, "[^"]+" in .*other\/tokenizer\/tokenizer\.json/,
  );
  assert.match(stderr, /tokenizer: \{ from: '.*base' \}/);
  assert.ok(!existsSync(join(out, 'pretrain')));

  // Weights without a tokenizer are taken at their word.
  const bare = join(scratch, 'bare');
  mkdirSync(bare);
  for (const name of ['config.json', 'model.safetensors']) copyFileSync(join(base, name), join(bare, name));
  const trusted = await runCli(['pretrain', '--out', out, '--recipe', recipe, '--set', `pretrain.from=${bare}`]);
  assert.equal(trusted.code, 0, trusted.stderr);
  assert.match(trusted.stderr, /is not checked: there is no tokenizer\.json in .*bare/);

  // Finished work does not make room for what is refused.
  const { id } = readManifest(join(out, 'pretrain'));
  const back = await runCli(['pretrain', '--out', out, '--recipe', recipe]);
  assert.equal(back.code, exitCodes.user, back.stderr);
  assert.equal(readManifest(join(out, 'pretrain')).id, id);
  assert.ok(!existsSync(join(out, 'pretrain.superseded-1')));

  // One that belay does not run cannot be compared.
  const content = JSON.parse(readFileSync(join(base, 'tokenizer.json'), 'utf8')) as { model: object };
  const unigram = { ...content, model: { type: 'Unigram', vocab: [] } };
  writeFileSync(join(bare, 'tokenizer.json'), JSON.stringify(unigram));
  const unknown = await runCli(['pretrain', '--out', join(scratch, 'unknown'), '--recipe', recipe, ...set(bare)]);
  assert.equal(unknown.code, 0, unknown.stderr);
  assert.match(unknown.stderr, /is not checked: .*bare\/tokenizer\.json/);
});

test('a run is not made of itself', async () => {
  const out = join(scratch, 'itself');
  const recipe = recipeFile('itself', { tokenizer: {}, model: { ...model, vocabularySize: 8192 }, pretrain });
  const first = await runCli([
    'pretrain',
    '--out',
    out,
    '--recipe',
    recipe,
    '--set',
    'tokenizer.vocabularySize=340',
    '--set',
    'pretrain.from=null',
  ]);
  assert.equal(first.code, 0, first.stderr);
  const ids = (): string[] => ['tokenizer', 'pretrain'].map((name) => readManifest(join(out, name)).id);
  const before = ids();
  const own = [
    ['tokenizer.from', join(out, 'tokenizer')],
    ['tokenizer.from', join(out, 'pretrain')],
    ['pretrain.from', join(out, 'pretrain', 'model')],
  ];
  for (const [name, path] of own) {
    const changes = ['tokenizer.vocabularySize=null', 'tokenizer.from=null', `${name}=${path}`].flatMap((change) => [
      '--set',
      change,
    ]);
    const { code, stderr } = await runCli(['pretrain', '--out', out, ...changes]);
    assert.equal(code, exitCodes.user, stderr);
    assert.match(stderr, new RegExp(`${name} names what the run itself has made`));
    assert.deepEqual(ids(), before);
  }
});

test('what cannot be used is refused before any stage runs', async () => {
  const refused = async (name: string, parts: object, message: RegExp): Promise<void> => {
    const out = join(scratch, name);
    const { code, stderr } = await runCli(['pretrain', '--out', out, '--recipe', recipeFile(name, parts)]);
    assert.equal(code, exitCodes.user, stderr);
    assert.match(stderr, message);
    assert.deepEqual(existsSync(join(out, 'source')) || existsSync(join(out, 'documents')), false);
  };
  await refused(
    'absent',
    { tokenizer: { from: join(scratch, 'nowhere') }, pretrain },
    /tokenizer\.from is no tokenizer/,
  );
  await refused(
    'start',
    { tokenizer: { vocabularySize: 340 }, pretrain: { ...pretrain, from: scratch } },
    /pretrain\.from is not a Hugging/,
  );
  await refused(
    'narrow',
    { tokenizer: { from: base }, model: { ...model, vocabularySize: 344 }, pretrain },
    /345 tokens, model\.vocabularySize 344/,
  );
  await refused(
    'both',
    { tokenizer: { from: base, vocabularySize: 345 }, pretrain },
    /tokenizer\.from .*base, tokenizer\.vocabularySize 345/,
  );
  // What no release could say the origin of, where there is to be one.
  const copied = join(scratch, 'copied');
  cpSync(join(scratch, 'on', 'tokenizer'), copied, { recursive: true });
  const lost = JSON.parse(readFileSync(join(copied, 'manifest.json'), 'utf8')) as object;
  const inputs = [{ name: 'documents', path: '../nowhere', id: '0'.repeat(64) }];
  writeFileSync(join(copied, 'manifest.json'), JSON.stringify({ ...lost, inputs }));
  const release = { modelName: 'test' };
  await refused(
    'origin',
    { tokenizer: { from: copied }, pretrain, release },
    /not whole: .*nowhere[\s\S]*no manifest\.json/,
  );
  const empty = join(scratch, 'empty');
  mkdirSync(empty);
  await refused('nothing', { tokenizer: { from: empty }, pretrain }, /tokenizer\.from is no tokenizer: .*empty/);
  await refused(
    'apart',
    { tokenizer: { from: otherTokenizer() }, pretrain },
    /weights of pretrain\.from were trained with another tokenizer/,
  );

  const content = readFileSync(join(base, 'tokenizer.json'), 'utf8');
  const write = (name: string, text: string): string => {
    mkdirSync(join(scratch, name));
    writeFileSync(join(scratch, name, 'tokenizer.json'), text);
    return join(scratch, name);
  };
  const noEnd = write('no-end', content.replaceAll('"</s>"', '"<end>"'));
  await refused(
    'ends',
    { tokenizer: { from: noEnd }, pretrain: { ...pretrain, from: null } },
    /no <\/s>[\s\S]*<\/s> 2/,
  );
  const noChat = write('no-chat', content.replaceAll('<|assistant_end|>', '<|bot_end|>'));
  const sft = { steps: 1, peakLearningRate: 1e-3 };
  await refused('chats', { tokenizer: { from: noChat }, pretrain, sft }, /no <\|assistant_end\|>[\s\S]*68/);
  const noDeveloper = write('no-developer', content.replaceAll('<|developer_start|>', '<|maker_start|>'));
  await refused('developers', { tokenizer: { from: noDeveloper }, pretrain, sft }, /no <\|developer_start\|>[\s\S]*63/);
});

test('a file alone gets the companions of a trained tokenizer, and one beside another keeps its own', async () => {
  const recipe = parseRecipe({ name: 'x', tokenizer: { from: base }, model }, 'of the test');
  const file = join(scratch, 'alone.json');
  copyFileSync(join(base, 'tokenizer.json'), file);
  const dir = join(scratch, 'from-file');
  await takeTokenizer({ dir, from: file, recipe, log: silentLog });
  assert.deepEqual(
    readdirSync(dir).sort(),
    readdirSync(base)
      .filter((name) => /token|chat/.test(name))
      .concat('manifest.json')
      .sort(),
  );
  const facts = readManifest(dir).facts;
  assert.deepEqual(facts['added'], ['tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja']);
  await assert.rejects(
    takeTokenizer({ dir: `${dir}-2`, from: join(scratch, 'none.json'), recipe, log: silentLog }),
    UserError,
  );
});

test('files that are added tell the tokens and the template that are there', async () => {
  const recipe = parseRecipe({ name: 'x', tokenizer: { from: base }, model }, 'of the test');
  const from = join(scratch, 'own-tokens');
  mkdirSync(from);
  const content = readFileSync(join(base, 'tokenizer.json'), 'utf8').replaceAll('"<unk>"', '"<nix>"');
  writeFileSync(join(from, 'tokenizer.json'), content.replaceAll('"<SPECIAL_4>"', '"<mine>"'));
  const dir = join(scratch, 'from-own-tokens');
  await takeTokenizer({ dir, from, recipe, log: silentLog });
  const read = (name: string): Record<string, unknown> =>
    JSON.parse(readFileSync(join(dir, name), 'utf8')) as Record<string, unknown>;
  const { added_tokens_decoder: tokens, ...config } = read('tokenizer_config.json');
  const contents = Object.values(tokens as Record<string, { content: string }>).map((token) => token.content);
  assert.deepEqual([contents[0], contents[4], contents.length], ['<nix>', '<mine>', 73]);
  assert.deepEqual([config['bos_token'], 'unk_token' in config], ['<s>', false]);
  assert.deepEqual(Object.keys(read('special_tokens_map.json')), ['bos_token', 'eos_token', 'pad_token']);

  // A template that stands in the configuration alone goes into its own file.
  writeFileSync(join(from, 'tokenizer_config.json'), JSON.stringify({ chat_template: 'OTHER' }));
  await takeTokenizer({ dir: `${dir}-2`, from, recipe, log: silentLog });
  assert.equal(readFileSync(join(`${dir}-2`, 'chat_template.jinja'), 'utf8'), 'OTHER');
  // Whoever fine-tunes in the format of Apertus must not release another one.
  const tuned = parseRecipe({ ...recipe, sft: { steps: 1, peakLearningRate: 1e-3 } }, 'of the test');
  assert.throws(() => checkTaken(from, tuned), /chat template of the tokenizer[\s\S]*"OTHER"[\s\S]*system_start/);
  const named = [{ name: 'default', template: chatTemplate.replace('Conversation format', 'The format') }];
  writeFileSync(join(from, 'tokenizer_config.json'), JSON.stringify({ chat_template: named }));
  checkTaken(from, tuned);
});

test('ids are the same where they mean the same, however the file spells it', () => {
  const content = JSON.parse(readFileSync(join(base, 'tokenizer.json'), 'utf8')) as {
    model: { vocab: Record<string, number>; merges: [string, string][] };
  };
  const one = new Tokenizer(content, 'one');
  const spelled = structuredClone(content) as { model: { merges: unknown[] } };
  spelled.model.merges = content.model.merges.map((pair) => pair.join(' '));
  assert.equal(firstOther(one, new Tokenizer(spelled, 'spelled')), undefined);

  const swapped = structuredClone(content);
  const names = Object.entries(swapped.model.vocab).filter(([, id]) => id === 100 || id === 101);
  for (const [name, id] of names) swapped.model.vocab[name] = 201 - id;
  const other = firstOther(one, new Tokenizer(swapped, 'swapped'));
  assert.equal(other?.id, 100);
  assert.notEqual(other?.texts[0], other?.texts[1]);

  // A place that was kept for a token is given to one: no text had its id before.
  const renamed = JSON.stringify(content).replaceAll('<SPECIAL_4>', '<mine>');
  assert.equal(firstOther(one, new Tokenizer(JSON.parse(renamed) as object, 'renamed')), undefined);
  const moved = JSON.stringify(content).replaceAll('<SPECIAL_4>', '<SPECIAL_99>').replaceAll('<unk>', '<SPECIAL_4>');
  assert.equal(firstOther(one, new Tokenizer(JSON.parse(moved) as object, 'moved'))?.id, 0);
});
