// `belay tokenizer eval`: tokenizers side by side on a file of lines, and on the declaration of human rights.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { runCli } from '../../test/run-cli.ts';
import { silentLog } from '../base/progress.ts';
import { udhrArticles } from '../data/sources/udhr-articles.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import type { TokenizerComparison } from '../tokenizer/metrics.ts';
import { writeTokenizerFiles } from '../tokenizer/tokenizer-files.ts';
import { trainBpe } from '../tokenizer/train.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-tokenizer-eval-'));
after(() => rmSync(dir, { recursive: true }));
const english = 'Everyone has the right to life, liberty and security of person.';
const german = 'Jeder hat das Recht auf Leben, Freiheit und Sicherheit der Person.';
before(async () => {
  for (const [name, text] of [
    ['english', english],
    ['german', german],
  ] as const) {
    writeTokenizerFiles(join(dir, name), await trainBpe([text], 350, silentLog));
  }
});

test('the verb measures two tokenizers on a file, leaves out what has no text, and says so', async () => {
  const texts = join(dir, 'texts.jsonl');
  const lines = [
    { text: english, language: 'eng' },
    { text: german, language: 'deu' },
    { text: ' \n', language: 'deu' },
    { title: 'no text' },
  ];
  writeFileSync(texts, `${lines.map((line) => JSON.stringify(line)).join('\n')}\n{"text": \nnull\n`);
  const out = join(dir, 'out');
  const args = ['--tokenizer', join(dir, 'english'), '--tokenizer', `de=${join(dir, 'german', 'tokenizer.json')}`];
  const { code, stdout, stderr } = await runCli([
    'tokenizer',
    'eval',
    ...args,
    '--texts',
    texts,
    '--json',
    '--out',
    out,
  ]);
  assert.equal(code, 0, stderr);
  const comparison = JSON.parse(stdout) as TokenizerComparison;
  assert.deepEqual(comparison, JSON.parse(readFileSync(join(out, 'tokenizers.json'), 'utf8')));
  assert.deepEqual(
    [comparison.lines, comparison.languages, comparison.leftOut],
    [2, 2, { 'no words': 1, 'no text': 2, 'not valid JSON': 1 }],
  );
  const [en, de] = comparison.tokenizers;
  assert.deepEqual([en?.name, de?.name], ['english', 'de']);
  const encoded = Tokenizer.load(join(dir, 'german')).encode(english).length;
  assert.equal(de?.languages['eng']?.tokens, encoded);
  assert.equal(de?.cost.lines.perLanguage['eng'], encoded);
  assert.ok((en?.languages['eng']?.bytesPerToken ?? 0) > (de?.languages['eng']?.bytesPerToken ?? 0));
  const picture = readFileSync(join(out, 'tokenizers.svg'), 'utf8');
  assert.equal(picture.match(/<path/g)?.length, 2);
  assert.ok(!/NaN|undefined/.test(picture));
  assert.match(readFileSync(join(out, 'tokenizers.md'), 'utf8'), /\| de +\| +350 \|/);
});

test('a text file is measured line by line, and what is left out is said', async () => {
  const texts = join(dir, 'texts.txt');
  writeFileSync(texts, Buffer.concat([Buffer.from(`\ufeff${english}\r\n\r\n${german}\r\n \n`), Buffer.alloc(1, 255)]));
  const args = ['tokenizer', 'eval', '--tokenizer', join(dir, 'english'), '--texts', texts];
  const { code, stdout, stderr } = await runCli([...args, '--json']);
  assert.equal(code, 0, stderr);
  const { lines, leftOut, tokenizers } = JSON.parse(stdout) as TokenizerComparison;
  const tokenizer = Tokenizer.load(join(dir, 'english'));
  assert.deepEqual([lines, leftOut], [2, { empty: 1, 'no words': 1, 'not UTF-8': 1 }]);
  assert.equal(tokenizers[0]?.all.tokens, tokenizer.encode(english).length + tokenizer.encode(german).length);
  const page = (await runCli(args)).stdout;
  assert.match(page, /2 lines in 1 language of .*; 3 lines left out: 1 empty, 1 no words, 1 not UTF-8\./);
  writeFileSync(texts, '\n \n');
  const none = await runCli(args);
  assert.equal(none.code, 2);
  assert.match(none.stderr, /no line with words\n +found: +2 lines left out: 1 empty, 1 no words/);
});

test('mistakes are named', async () => {
  const one = ['--tokenizer', join(dir, 'english')];
  const texts = join(dir, 'line.txt');
  writeFileSync(texts, english);
  for (const [args, message] of [
    [one, /--udhr/],
    [[...one, ...one, '--udhr'], /two tokenizers have the name english/],
    [[...one, '--texts', join(dir, 'nothing.jsonl')], /nothing\.jsonl/],
    [[...one, '--texts', texts, '--out', texts], /cannot write .*line\.txt.*\n +found: +(EEXIST|ENOTDIR)/],
  ] as const) {
    const { code, stderr } = await runCli(['tokenizer', 'eval', ...args]);
    assert.equal(code, 2);
    assert.match(stderr, message);
  }
});

test('the declaration has thirty articles in hundreds of languages', async () => {
  const all = await udhrArticles();
  assert.ok(all.length > 400);
  assert.equal(new Set(all.map(({ language }) => language)).size, all.length);
  for (const { language, articles } of all) {
    assert.equal(articles.length, 30, language);
    assert.ok(!articles.some((text) => /<\/?[a-z]|&#/.test(text)), language);
  }
  assert.match(all.find(({ language }) => language === 'deu')?.articles[2] ?? '', /^Jeder hat das Recht auf Leben/);
});
