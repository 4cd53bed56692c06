// Classifier heads from one end to the other: trained by the command on labelled lines, used by the steps, through the
// cleaning line in threads, over a fastText model and over an encoder in ONNX.
import assert from 'node:assert/strict';
import {
  copyFileSync,
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
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { documentFiles } from '../src/base/documents-folder.ts';
import { readJsonl } from '../src/base/jsonl.ts';
import { readLedger } from '../src/base/ledger.ts';
import { silentLog } from '../src/base/progress.ts';
import { parseRecipe } from '../src/base/recipe.ts';
import { buildSource } from '../src/data/build-source.ts';
import { cleanDocuments } from '../src/data/clean.ts';
import type { HeadsFile } from '../src/data/heads/train-folder.ts';
import { findLanguageModel } from '../src/data/language-id.ts';
import { declaration } from './golden-scripts/encoder-texts.ts';
import { goldenPath } from './golden.ts';
import { runCli } from './run-cli.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-heads-'));
after(() => rmSync(dir, { recursive: true }));
const at = (...name: string[]): string => join(dir, ...name);

const fastText = findLanguageModel() ?? '';
const encoder = at('encoder');
mkdirSync(encoder);
copyFileSync(goldenPath('embedder', 'model.onnx'), join(encoder, 'model.onnx'));
writeFileSync(join(encoder, 'tokenizer.json'), gunzipSync(readFileSync(goldenPath('embedder', 'tokenizer.json.gz'))));

/** Lines of a version of the declaration, as texts of a few words. */
function pieces(key: string): string[] {
  const words = declaration(key).split(/\s+/);
  return Array.from({ length: Math.floor(words.length / 12) }, (_, i) => words.slice(i * 12, (i + 1) * 12).join(' '));
}
const lines = (texts: readonly string[], label: unknown, language?: string): string =>
  texts.map((text) => `${JSON.stringify({ text, label, ...(language ? { language } : {}) })}\n`).join('');
const english = pieces('eng');
const german = pieces('deu_1996');
const data = at('data.jsonl');
writeFileSync(
  data,
  [
    // Under the label "deu" German is class 1 and English class 0; under "eng" the other way round.
    lines(german.slice(20), 1, 'deu') + lines(english.slice(20), false, 'deu'),
    lines(english.slice(20), true, 'eng') + lines(german.slice(20), 0, 'eng'),
    lines(german.slice(0, 5), 1, 'roh') + lines(['text'], 2) + lines([' '], 1) + lines(['text'], 1, '../up'),
    'no JSON\n',
  ].join(''),
);
const quick = ['--set', 'hidden=32', '--set', 'learningRate=0.01', '--set', 'warmup=5', '--set', 'epochs=12'];

async function train(kind: string, embedder: string, out: string, ...more: string[]): Promise<HeadsFile> {
  const args = ['data', 'train-head', kind, '--embedder', embedder, '--out', out, '--json', ...quick, ...more, data];
  const { code, stdout, stderr } = await runCli(args);
  assert.equal(code, 0, stderr);
  assert.equal(stderr, '');
  assert.deepEqual(JSON.parse(readFileSync(join(out, 'heads.json'), 'utf8')), JSON.parse(stdout));
  return JSON.parse(stdout) as HeadsFile;
}

// The encoder has random weights, so less can be learnt from it.
for (const [name, embedder, leastAuc, mistakes] of [
  ['fasttext', fastText, 0.97, 4],
  ['onnx', encoder, 0.8, 7],
] as const) {
  test(`${name}: a head for each language is trained, the same again, and the step drops what it finds`, async () => {
    const made = await train('toxicity', embedder, at(`${name}-heads`));
    assert.equal(made.embedder.kind, name);
    assert.deepEqual(made.rejected, { 'bad-label': 1, 'no-text': 1, 'bad-language': 1, unreadable: 1 });
    assert.deepEqual(made.skipped, { roh: [0, 5] });
    assert.deepEqual(Object.keys(made.languages), ['deu', 'eng']);
    for (const { documents, trained, validated, best, epochs } of Object.values(made.languages)) {
      assert.ok(documents >= trained + validated && epochs.length === 12);
      const { auc } = epochs[best - 1] as (typeof epochs)[0];
      assert.ok((auc ?? 0) > leastAuc, JSON.stringify(epochs[best - 1]));
    }
    const again = await train('toxicity', embedder, at(`${name}-again`));
    assert.deepEqual(again, made);
    for (const file of readdirSync(at(`${name}-heads`))) {
      assert.deepEqual(readFileSync(at(`${name}-again`, file)), readFileSync(at(`${name}-heads`, file)), file);
    }

    const input = [...german.slice(0, 20), ...english.slice(0, 20)]
      .map((text) => `${JSON.stringify({ text, language: 'deu' })}\n`)
      .join('');
    const set = [`embedder=${embedder}`, `heads=${at(`${name}-heads`)}`, 'threshold=0.5'].flatMap((one) => [
      '--set',
      one,
    ]);
    const { code, stdout, stderr } = await runCli(['data', 'step', 'toxicity', ...set], { input });
    assert.equal(code, 0, stderr);
    const kept = stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { text: string }).text);
    const right = kept.filter((text) => english.includes(text)).length;
    assert.ok(
      right >= 20 - mistakes && kept.length - right <= mistakes,
      `${right} of 20 English and ${kept.length - right} German lines stay`,
    );
  });
}

test('the cleaning line scores in threads, takes quantiles, and its bytes do not depend on the threads', async () => {
  await train('quality', encoder, at('quality'));
  const udhr = (file: string, language: string, texts: readonly string[]): void => {
    const made = texts.map((text, i) => JSON.stringify({ id: `${file}-${i}`, text, language }));
    writeFileSync(at('in', file), `${made.join('\n')}\n`);
  };
  mkdirSync(at('in'));
  udhr('a.jsonl', 'deu', german);
  udhr('b.jsonl', 'eng', english);
  udhr('c.jsonl', 'deu', english);
  udhr('d.jsonl', 'ita', pieces('ita'));
  const recipe = parseRecipe(
    {
      name: 'test',
      model: { layers: 1, hidden: 8, intermediate: 8, heads: 1, kvHeads: 1, headDim: 8, vocabularySize: 512 },
      data: {
        source: { kind: 'jsonl', paths: [at('in')] },
        plant: null,
        heldOutSections: [],
        heldOutShare: 0,
        shardBytes: 1,
        steps: [
          { step: 'quality', embedder: encoder, heads: at('quality') },
          { step: 'top-share', rules: [{ note: 'quality.score', top: 'keep', share: 0.33 }], parts: 2 },
          { step: 'sample', rate: 0.25, byLanguage: { deu: { rate: 1 }, eng: { rate: 1 } } },
        ],
      },
    },
    'test',
  );
  await buildSource({ dir: at('source'), recipe, log: silentLog });
  const clean = async (name: string, workers: number): Promise<Map<string, Buffer>> => {
    await cleanDocuments({ dir: at(name), recipe, source: at('source'), log: silentLog, workers });
    const files = readdirSync(at(name)).filter((file) => file !== 'manifest.json');
    return new Map(files.map((file) => [file, readFileSync(at(name, file))]));
  };
  const one = await clean('one', 1);
  assert.deepEqual(await clean('two', 2), one);
  const kept: { id: string; language: string; notes?: { quality?: { score: number } } }[] = [];
  for (const path of documentFiles(at('one'), 'train'))
    for await (const document of readJsonl(path)) kept.push(document as never);
  const share = kept.filter(({ language }) => language === 'deu').length / (german.length + english.length);
  assert.ok(Math.abs(share - 0.33) < 0.01, `${share} of the documents labelled German stay`);
  const right = kept.filter(({ id }) => id.startsWith('a.jsonl')).length;
  const wrong = kept.filter(({ id }) => id.startsWith('c.jsonl')).length;
  assert.ok(right > 5 * wrong, `${right} German and ${wrong} English texts are the best third of German`);
  assert.ok(kept.every(({ language, notes }) => (language === 'ita') === (notes?.quality === undefined)));
  const reasons = new Set<string | undefined>();
  for await (const { reason } of readLedger(at('one'))) reasons.add(reason);
  assert.deepEqual([...reasons].filter(Boolean).sort(), ['below-top-share', 'not-sampled']);
});

test('mistakes are told: other embedder, other kind, other bytes, no lines, a folder of something else', async () => {
  const heads = at('fasttext-heads');
  const step = async (name: string, settings: Readonly<Record<string, string>>): Promise<string> => {
    const set = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
    const { code, stderr } = await runCli(['data', 'step', name, ...set], { input: '{"text":"a"}\n' });
    assert.equal(code, 2, stderr);
    return stderr;
  };
  assert.match(await step('toxicity', { embedder: encoder, heads }), /trained on another embedder/);
  assert.match(await step('quality', { embedder: fastText, heads }), /of another kind/);
  assert.match(await step('toxicity', { embedder: fastText, heads: dir }), /no classifier heads/);
  assert.match(await step('toxicity', { heads }), /settings of the step toxicity/);
  const file = join(heads, 'deu.safetensors');
  const bytes = readFileSync(file);
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1;
  writeFileSync(file, bytes);
  assert.match(await step('toxicity', { embedder: fastText, heads }), /is not the file that heads\.json names/);

  const refused = async (out: string, input: string, ...more: string[]): Promise<string> => {
    const args = ['data', 'train-head', 'toxicity', '--embedder', fastText, '--out', out, ...more, input];
    const { code, stderr } = await runCli(args);
    assert.equal(code, 2, stderr);
    return stderr;
  };
  assert.match(await refused(at('in'), data), /holds something else/);
  assert.ok(existsSync(at('in', 'a.jsonl')));
  assert.match(await refused(at('x'), at('nothing.jsonl')), /there is no file/);
  writeFileSync(at('few.jsonl'), lines(['a', 'b'], 1));
  assert.match(await refused(at('x'), at('few.jsonl')), /no language has enough lines/);
  assert.match(await refused(at('x'), data, '--set', 'epoch=1'), /settings of the head/);
  assert.ok(!existsSync(at('x')));
});
