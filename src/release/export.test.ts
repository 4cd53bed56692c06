import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import type { Json } from '../base/json.ts';
import { JsonlWriter } from '../base/jsonl.ts';
import { FunnelCounter, funnelName } from '../base/ledger.ts';
import { checkFiles, readManifest, writeManifest } from '../base/manifest.ts';
import { silentLog } from '../base/progress.ts';
import { parseRecipe } from '../base/recipe.ts';
import { encodeChat } from '../tokenizer/chat-format.ts';
import { Apertus } from '../model/apertus.ts';
import { parameterCount } from '../model/arithmetic.ts';
import { modelConfig } from '../model/config.ts';
import { loadHfFolder, saveHfFolder } from '../model/hf-folder.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import { Engine } from '../tensor/tensor.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { writeTokenizerFiles } from '../tokenizer/tokenizer-files.ts';
import { trainBpe } from '../tokenizer/train.ts';
import { releaseModel } from './export.ts';
import { recommendedSampling } from './model-card.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-release-'));
after(() => rmSync(scratch, { recursive: true }));

const recipe = parseRecipe(
  {
    name: 'test',
    data: {},
    model: { layers: 2, hidden: 16, intermediate: 32, heads: 2, kvHeads: 1, headDim: 8, vocabularySize: 345 },
    pretrain: { steps: 17, peakLearningRate: 0.001, sequenceLength: 128, batchSize: 6 },
    release: { modelName: 'Apertus-test' },
  },
  'test',
);
const engine = new Engine(jsBackend());
const spread = (mean: number): object => ({ mean, min: mean - 0.0111, max: mean + 0.0222, sd: 0.01 });
const bucket = (repetitions: number, rougeL: number): object => ({
  repetitions,
  probes: 9,
  rougeL: spread(rougeL),
  lccs: spread(0.1),
  exact: spread(0),
  suffixLogprob: spread(-3),
});
const loss = (documents: number, natsPerToken: number): object => ({
  documents,
  tokens: documents * 97,
  bytes: documents * 331,
  natsPerToken,
  bitsPerByte: natsPerToken / 2.3,
  unigramNatsPerToken: natsPerToken + 2.4567,
  unigramBitsPerByte: natsPerToken / 1.7,
});
const validation = (nats: number): object => ({
  overall: loss(83, nats),
  languages: { deu: loss(41, nats + 0.1357), fra: loss(42, nats - 0.2468) },
});
const evaluation = {
  format: 'belay-evaluation-1',
  validation: { base: validation(3.9173), chat: validation(4.0281) },
  languageQuestion: {
    questions: 74,
    correct: 53,
    accuracy: 53 / 74,
    standardError: 0.0523,
    languages: 19,
    chance: 1 / 19,
    majority: 7 / 74,
  },
  languageNames: { deu: 'German, Standard', fra: 'French' },
};
const memorisation = {
  steps: 120,
  rule: { k: 45, h: 13 },
  seeds: [1, 2, 3],
  goldfish: [bucket(0, 0.1812), bucket(32, 0.2034)],
  standard: [bucket(0, 0.1799), bucket(32, 0.6543)],
};

/** A folder with a manifest, filled by `fill`. */
async function stage(
  name: string,
  kind: string,
  inputs: Record<string, string>,
  facts: Record<string, Json>,
  fill: (dir: string) => void | Promise<void>,
): Promise<string> {
  const dir = join(scratch, name);
  mkdirSync(dir);
  await fill(dir);
  writeManifest(dir, { kind, version: 1, recipe: kind === 'documents' ? line : {}, inputs, facts });
  return dir;
}

const line = {
  steps: [
    { step: 'opt-out', settings: { agents: ['GPTBot', 'CCBot'] } },
    { step: 'pii', settings: {} },
  ],
};
const documents = await stage('documents', 'documents', {}, {}, async (dir) => {
  const ledger = new JsonlWriter(join(dir, 'ledger-00000.jsonl.gz'));
  const funnel = new FunnelCounter(['read', 'opt-out']);
  const row = { source: 'udhr', url: 'https://x.example/' };
  for (let i = 0; i < 23; i++) {
    const language = i % 2 ? 'fra' : 'deu';
    const of = { language, source: 'udhr' };
    funnel.passed(0, of, { bytes: 1234 }, { bytes: 1234 });
    if (i < 4) funnel.dropped(1, of, { bytes: 1234 }, 'opt-out');
    else if (i === 4) funnel.moved(1, of, { bytes: 1234 });
    else funnel.passed(1, of, { bytes: 1234 }, { bytes: 1200 });
    await ledger.write({
      ...row,
      id: `d${i}`,
      language,
      licence: i % 3 ? 'CC-BY-4.0' : 'unknown | odd',
      bytesIn: 1234,
      ...(i < 4
        ? { verdict: 'dropped' as const, step: 'opt-out', reason: 'opt-out', bytesOut: 0 }
        : { verdict: 'kept' as const, bytesOut: 1200, notes: { pii: { email: i % 5, ip: 0, iban: 1 } } }),
    });
  }
  await ledger.close();
  writeJsonAtomic(join(dir, funnelName), { steps: funnel.steps });
});
const tokenizer = await stage('tokenizer', 'tokenizer', { documents }, {}, async (dir) => {
  writeTokenizerFiles(dir, await trainBpe(['all human beings are born free'], 345, silentLog));
});
const original = new Apertus(engine, modelConfig(recipe.model), { gradients: false });
original.initialise(3);
const saveModel = (dir: string): void =>
  saveHfFolder(join(dir, 'model'), original, { dtype: 'float32', eosTokenId: 2 });
const facts = { steps: 17, tokens: 13056, loss: 4.321987, target: 'js' };
const base = await stage('pretrain', 'model', { tokenizer }, facts, saveModel);
const chat = await stage('sft', 'model', { base, tokenizer }, { ...facts, loss: 1.2345678 }, saveModel);
const evaluationDir = await stage('evaluation', 'evaluation', { base, chat }, {}, (dir) =>
  writeJsonAtomic(join(dir, 'evaluation.json'), evaluation),
);
const memorisationDir = await stage('memorisation', 'memorisation', { documents }, {}, (dir) =>
  writeJsonAtomic(join(dir, 'memorisation.json'), memorisation),
);
const inputs = { documents, tokenizer, base, chat, evaluation: evaluationDir, memorisation: memorisationDir };
const { dir, manifest } = await releaseModel({
  dir: join(scratch, 'release'),
  recipe,
  inputs,
  engine,
  log: silentLog,
});
const card = readFileSync(join(dir, 'README.md'), 'utf8');
const summary = readFileSync(join(dir, 'DATA_SUMMARY.md'), 'utf8');

test('the release loads back as the model rounded to bfloat16, with its tokenizer', () => {
  const loaded = loadHfFolder(dir, engine, { gradients: false });
  for (const { name } of original.parameters.slices) {
    const [before, now] = [original.parameters.valuesOf(name), loaded.parameters.valuesOf(name)];
    for (let i = 0; i < before.length; i++) {
      const [x, y] = [before[i] as number, now[i] as number];
      assert.ok(Math.abs(x - y) <= Math.abs(x) * 2 ** -8, `${name}[${i}]: ${x} became ${y}`);
      before[i] = y;
    }
  }
  // With the rounded weights put into the original, both give the same logits, up to the constants of xIELU.
  const tokens = Int32Array.from(encodeChat(Tokenizer.load(dir), [{ role: 'user', content: 'born free' }]));
  const T = tokens.length;
  const positions = tokens.map((_, t) => t);
  const batch = { B: 1, T, tokens, positions, lo: new Int32Array(T), hi: positions.map((t) => t + 1) };
  const logits = (model: Apertus): Float32Array => engine.scope(() => model.logits(model.hidden(batch))).data;
  const [expected, actual] = [logits(original), logits(loaded)];
  for (let i = 0; i < expected.length; i++) {
    assert.ok(Math.abs((expected[i] as number) - (actual[i] as number)) < 1e-6);
  }
});

test('the folder has what libraries and people look for, and its manifest covers it', () => {
  const files = readdirSync(dir).sort();
  for (const name of [
    'DATA_SUMMARY.md',
    'README.md',
    'chat_template.jinja',
    'config.json',
    'data-summary.json',
    'evaluation',
    'generation_config.json',
    'manifest.json',
    'model.safetensors',
    'provenance',
    'special_tokens_map.json',
    'tokenizer.json',
    'tokenizer_config.json',
  ]) {
    assert.ok(files.includes(name), `${name} is not in ${files.join(', ')}`);
  }
  assert.deepEqual(checkFiles(dir, manifest, true), []);
  const generation = JSON.parse(readFileSync(join(dir, 'generation_config.json'), 'utf8')) as object;
  assert.deepEqual(generation, {
    bos_token_id: 1,
    do_sample: true,
    eos_token_id: [68, 2, 72],
    pad_token_id: 3,
    temperature: 0.8,
    top_p: 0.9,
  });
  const config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as Record<string, unknown>;
  assert.equal(config['eos_token_id'], 68);
  assert.equal(config['torch_dtype'], 'bfloat16');
});

test('provenance holds every manifest of the tree, byte for byte', () => {
  interface Node {
    id: string;
    file: string;
    inputs: Node[];
  }
  const index = JSON.parse(readFileSync(join(dir, 'provenance', 'index.json'), 'utf8')) as { inputs: Node[] };
  const seen = new Set<string>();
  const visit = ({ id, file, inputs: below }: Node): void => {
    seen.add(id);
    const copy = JSON.parse(readFileSync(join(dir, 'provenance', file), 'utf8')) as { id: string };
    assert.equal(copy.id, id);
    below.forEach(visit);
  };
  index.inputs.forEach(visit);
  for (const input of Object.values(inputs)) assert.ok(seen.has(readManifest(input).id), input);
  assert.equal(manifest.facts['artefacts'], 6);
});

test('every number on the card and in the summary is one that was measured or chosen', () => {
  const known = new Set<string>();
  const learn = (value: unknown): void => {
    if (typeof value === 'number') {
      for (const form of [String(value), value.toFixed(4), value.toPrecision(4), (100 * value).toFixed(1)])
        known.add(form);
    } else if (typeof value === 'string') {
      for (const [digits] of value.matchAll(/\d+(\.\d+)?/g)) known.add(digits);
    } else if (value !== null && typeof value === 'object') Object.values(value).forEach(learn);
  };
  const funnel: unknown = JSON.parse(readFileSync(join(documents, 'funnel.json'), 'utf8'));
  learn([recipe, evaluation, memorisation, facts, 1.2345678, funnel, recommendedSampling]);
  // Counts over the ledger written above, and what is counted in the release itself.
  const kept = Array.from({ length: 19 }, (_, i) => i + 4);
  const emails = kept.reduce((sum, i) => sum + (i % 5), 0);
  const shares = [...kept, ...[0, 1, 2, 3]].map((i) => (i % 3 ? 'CC' : 'unknown'));
  learn([23, 23 * 1234, 19, 19 * 1200, 19, emails, parameterCount(recipe.model), memorisation.seeds.length, 6, 2]);
  for (const licence of ['CC', 'unknown']) {
    const all = shares.filter((share) => share === licence).length;
    const left = kept.filter((i) => (i % 3 ? 'CC' : 'unknown') === licence).length;
    learn([all, all * 1234, left, left * 1200]);
  }
  for (const odd of [0, 1]) {
    const all = Array.from({ length: 23 }, (_, i) => i).filter((i) => i % 2 === odd).length;
    const left = kept.filter((i) => i % 2 === odd).length;
    learn([all, all * 1234, left, left * 1200]);
  }
  const strip = (text: string): string =>
    text
      .replace(/^#.*$/gm, '')
      .replace(/apache-2\.0|ISO 639-3|CC-BY-4\.0|UTF-8|`[0-9a-f]{12,}`|AI2Bot/g, '')
      .replace(/(?<=\d) (?=\d{3})/g, '');
  for (const text of [card, summary]) {
    for (const [number] of strip(text).matchAll(/\d+(\.\d+)?/g)) {
      assert.ok(known.has(number), `the number ${number} comes from nowhere`);
    }
  }
  for (const expected of ['3.9173', '4.0281', '71.6 %', '0.6543', '0.2034', '12 ', '1.235']) {
    assert.ok(card.includes(expected), `${expected} is not on the card`);
  }
  assert.match(summary, /opt-out \| opt-out \| 4 \| 4 936/);
  assert.match(summary, new RegExp(`email \\| ${emails} `));
  assert.match(summary, /unknown \\\| odd/);
  // 'udhr' is the source of this recipe.
  for (const text of [card, summary])
    assert.match(text, /licences of the `udhr` pages are statements that the builder/);
  assert.match(summary, /1 kept documents are held out whole/);
});

test('other measurements give another card', async () => {
  const other = await stage('evaluation-2', 'evaluation', { base }, {}, (into) =>
    writeJsonAtomic(join(into, 'evaluation.json'), { ...evaluation, validation: { base: validation(2.2222) } }),
  );
  const { memorisation: _left, evaluation: _replaced, chat: _none, ...rest } = inputs;
  const second = await releaseModel({
    dir: join(scratch, 'release-2'),
    recipe,
    inputs: { ...rest, evaluation: other },
    engine,
    log: silentLog,
  });
  const text = readFileSync(join(second.dir, 'README.md'), 'utf8');
  assert.match(text, /2\.2222/);
  assert.ok(!text.includes('3.9173'));
  assert.match(text, /## Memorisation\n\nNot measured\./);
  assert.match(text, /base model: it continues text/);
  assert.equal(JSON.parse(readFileSync(join(second.dir, 'config.json'), 'utf8')).eos_token_id, 2);
});

test('a model that began with the weights of another says so on its card and in its summary', async () => {
  const other = await stage('pretrain-on', 'model', { tokenizer, base }, facts, saveModel);
  const release = async (name: string, from: string): Promise<string> => {
    const { dir: made } = await releaseModel({
      dir: join(scratch, name),
      recipe,
      inputs: { documents, tokenizer, base: from },
      engine,
      log: silentLog,
    });
    return ['README.md', 'DATA_SUMMARY.md'].map((file) => readFileSync(join(made, file), 'utf8')).join('');
  };
  const own = await release('release-on', other);
  const id = readManifest(base).id.slice(0, 12);
  assert.ok(own.includes(`began with a model trained with belay (artefact ${id}); what those weights`), own);
  assert.match(own, new RegExp(`models it was made from\\W+a model trained with belay \\(artefact ${id}\\)`));
  assert.match(own, /models of section 1\.2 were trained on is not counted here/);

  const named = await stage('pretrain-released', 'model', { tokenizer, base: dir }, facts, saveModel);
  assert.match(await release('release-released', named), /began with Apertus-test \(artefact/);

  const outside = join(scratch, 'pretrain-outside');
  mkdirSync(outside);
  saveModel(outside);
  const hash = 'ab12'.repeat(16);
  const from = { 'from:config.json': hash, 'from:model.safetensors': hash };
  writeManifest(outside, { kind: 'model', version: 1, recipe: from, inputs: { tokenizer }, facts });
  assert.match(
    await release('release-outside', outside),
    /weights from outside \(SHA-256 of config\.json ab12ab12ab12, model\.safetensors ab12ab12ab12\)/,
  );
  for (const text of [card, summary]) assert.doesNotMatch(text, /began with|not counted here/);
});

test('an input that was replaced since is refused', async () => {
  const made = join(scratch, 'tokenizer');
  writeManifest(made, { kind: 'tokenizer', version: 2, recipe: {}, inputs: { documents }, facts: {} });
  const again = releaseModel({ dir: join(scratch, 'release-3'), recipe, inputs, engine, log: silentLog });
  await assert.rejects(again, (error) => error instanceof UserError && /origin of the release/.test(error.message));
});

test('a model with another activation is refused: nobody else could load it', async () => {
  const compared = { ...recipe, model: { ...recipe.model, activation: 'relu2' as const } };
  const model = new Apertus(engine, modelConfig(compared.model), { gradients: false });
  const other = await stage('pretrain-relu2', 'model', { tokenizer }, facts, (dir) =>
    saveHfFolder(join(dir, 'model'), model, { dtype: 'float32', eosTokenId: 2 }),
  );
  const dir = join(scratch, 'release-relu2');
  await assert.rejects(
    releaseModel({ dir, recipe: compared, inputs: { documents, tokenizer, base: other }, engine, log: silentLog }),
    (error) => error instanceof UserError && /relu2[\s\S]*xielu/.test(`${error.found} ${error.expected}`),
  );
  assert.ok(!readdirSync(scratch).includes('release-relu2'));
});
