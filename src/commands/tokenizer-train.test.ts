// `belay tokenizer train --files`: a tokenizer from texts of one's own.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runCli } from '../../test/run-cli.ts';
import { readManifest } from '../base/manifest.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-tokenizer-train-'));
after(() => rmSync(dir, { recursive: true }));
const sentences = [
  'Tuots umans naschan libers ed eguals in dignità e drets.',
  'Els sun dotats cun intellet e conscienza.',
];

test('texts of two kinds of files make a tokenizer; again, nothing is done', async () => {
  const jsonl = join(dir, 'texts.jsonl');
  const txt = join(dir, 'texts.txt');
  writeFileSync(jsonl, `${sentences.map((text) => JSON.stringify({ text })).join('\n')}\n{"title": 1}\n{"text"\n`);
  writeFileSync(txt, sentences.join('\n'));
  const out = join(dir, 'rumantsch');
  const args = [
    'tokenizer',
    'train',
    '--files',
    jsonl,
    '--files',
    txt,
    '--vocabulary-size',
    '370',
    '--out',
    out,
    '--json',
  ];
  const { code, stdout, stderr } = await runCli(args);
  assert.equal(code, 0, stderr);
  const { facts, recipe } = readManifest(out);
  assert.deepEqual((JSON.parse(stdout) as { manifest: { facts: unknown } }).manifest.facts, facts);
  assert.deepEqual([facts['vocabularySize'], facts['texts']], [370, 4]);
  assert.deepEqual(facts['linesLeftOut'], { 'no text': 1, 'not valid JSON': 1 });
  assert.equal((recipe as { files: unknown[] }).files.length, 2);
  const tokenizer = Tokenizer.load(out);
  assert.equal(tokenizer.vocabularySize, 370);
  assert.equal(tokenizer.decode(tokenizer.encode(sentences[0] as string)), sentences[0]);
  const again = JSON.parse((await runCli(args)).stdout) as { skipped: boolean };
  assert.equal(again.skipped, true);
});

test('languages are balanced by parity lines', async () => {
  const lines = join(dir, 'lines.jsonl');
  const rows = Array.from({ length: 3 }, () => [
    { text: sentences[0], language: 'roh' },
    { text: 'All human beings are born free and equal in dignity and rights.', language: 'eng' },
  ]).flat();
  writeFileSync(lines, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const out = join(dir, 'fair');
  const args = ['--files', lines, '--parity', lines, '--vocabulary-size', '350', '--out', out];
  const { code, stderr } = await runCli(['tokenizer', 'train', ...args]);
  assert.equal(code, 0, stderr);
  assert.equal((readManifest(out).recipe as { parity: { path: string } }).parity.path, lines);
  assert.deepEqual(readManifest(out).facts['parity'], { languages: 2, textsLeftOut: {}, withoutTexts: [] });

  // Texts of other languages are told; where there are no others, that is refused.
  const mixed = join(dir, 'mixed.jsonl');
  const other = { text: 'Alle Menschen sind frei und gleich an Würde und Rechten geboren.', language: 'deu' };
  const some = [...rows.filter(({ language }) => language === 'roh'), other, other, { text: 'und so weiter' }];
  writeFileSync(mixed, `${some.map((row) => JSON.stringify(row)).join('\n')}\n`);
  const bad = join(dir, 'bad-parity.jsonl');
  writeFileSync(bad, `${readFileSync(lines, 'utf8')}{"text": ""}\n{"text": 1}\nno\nno\n`);
  const told = await runCli([
    ...['tokenizer', 'train', '--files', mixed, '--parity', bad],
    ...['--vocabulary-size', '340', '--out', join(dir, 'mixed')],
  ]);
  assert.equal(told.code, 0, told.stderr);
  assert.match(told.stderr, /nothing is learnt from 3 texts in languages without parity lines: deu \(2\), und \(1\)/);
  assert.match(told.stderr, /parity lines without texts to learn from: eng/);
  assert.match(told.stderr, /4 parity lines left out: 2 not valid JSON, 1 empty, 1 no text/);
  const { facts } = readManifest(join(dir, 'mixed'));
  assert.deepEqual(facts['parity'], { languages: 1, textsLeftOut: { deu: 2, und: 1 }, withoutTexts: ['eng'] });
  assert.deepEqual(facts['parityLinesLeftOut'], { empty: 1, 'no text': 1, 'not valid JSON': 2 });
  const plain = join(dir, 'plain.txt');
  writeFileSync(plain, sentences.join('\n'));
  const refused = await runCli([
    ...['tokenizer', 'train', '--files', plain, '--parity', lines],
    ...['--vocabulary-size', '340', '--out', join(dir, 'und')],
  ]);
  assert.equal(refused.code, 2);
  assert.match(
    refused.stderr,
    /no text is in a language of the parity lines\n +found: +texts in und \(2\)\n +expected: texts in roh, eng/,
  );
  assert.ok(!existsSync(join(dir, 'und')) && !existsSync(join(dir, 'und.partial')));
});

test('line ends, byte order marks and what is no text: left out lines are told with their reasons', async () => {
  const out = join(dir, 'windows');
  const plain = join(dir, 'unix.txt');
  const windows = join(dir, 'windows.txt');
  writeFileSync(plain, sentences.join('\n'));
  const odd = [
    Buffer.from(`\ufeff${sentences.join('\r\n')}\r\n\r\n`),
    Buffer.alloc(9000, 'a'),
    Buffer.from('\na\0b\n\xff\n', 'latin1'),
  ];
  writeFileSync(windows, Buffer.concat(odd));
  const train = (file: string, to: string) =>
    runCli(['tokenizer', 'train', '--files', file, '--vocabulary-size', '340', '--out', to]);
  const { code, stderr } = await train(windows, out);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /3 lines left out: 1 empty, 1 not UTF-8, 1 with a NUL byte/);
  assert.deepEqual(readManifest(out).facts['linesLeftOut'], { empty: 1, 'with a NUL byte': 1, 'not UTF-8': 1 });
  assert.equal(readManifest(out).facts['texts'], 3);
  writeFileSync(windows, `\ufeff${sentences.join('\r\n')}\r\n`);
  for (const file of [plain, windows]) assert.equal((await train(file, `${file}.tokenizer`)).code, 0);
  const [one, two] = [plain, windows].map((file) => readFileSync(join(`${file}.tokenizer`, 'tokenizer.json'), 'utf8'));
  assert.equal(one, two);
  for (const [bytes, message] of [
    [Buffer.from(sentences.join('\n'), 'utf16le'), /is no text\n +found: +a NUL byte at its beginning/],
    [Buffer.from('\ufeff人人生而自由', 'utf16le'), /is no text\n +found: +UTF-16 at its beginning/],
    [Buffer.from('\xff\n\n', 'latin1'), /there is no text in .*\n +found: +2 lines left out: 1 empty, 1 not UTF-8/],
    [Buffer.alloc(0), /there is no text in .*\n +found: +no line/],
  ] as const) {
    writeFileSync(windows, bytes);
    const refused = await train(windows, join(dir, 'none'));
    assert.equal(refused.code, 2, refused.stderr);
    assert.match(refused.stderr, message);
    assert.ok(!existsSync(join(dir, 'none.partial')));
  }
});

test('mistakes are named, and nothing is written over', async () => {
  const txt = join(dir, 'texts.txt');
  writeFileSync(txt, sentences.join('\n'));
  const taken = join(dir, 'taken');
  mkdirSync(taken);
  writeFileSync(join(taken, 'mine'), 'mine');
  const size = ['--vocabulary-size', '350'];
  for (const [args, message] of [
    [['--files', txt, ...size], /needs a size and a folder/],
    [['--files', join(dir, 'nothing.jsonl'), ...size, '--out', join(dir, 'x')], /no file at this path/],
    [['--files', join(txt, 'below.jsonl'), ...size, '--out', join(dir, 'x')], /no file at this path/],
    [['--files', txt, ...size, '--out', taken], /holds something else/],
    [['--files', txt, ...size, '--out', txt], /texts\.txt is no folder\n +found: +a file/],
    [
      ['--files', txt, ...size, '--out', join(txt, 'below')],
      /cannot write .*below\n +found: +ENOTDIR: not a directory\n/,
    ],
    [
      ['--files', txt, '--vocabulary-size', '340', '--out', join(dir, 'rumantsch')],
      /a tokenizer that was made of something/,
    ],
    [
      ['--files', txt, '--vocabulary-size', '9000', '--out', join(dir, 'x')],
      /too few.*[\s\S]*next: .* --vocabulary-size to 3\d\d or/,
    ],
    [
      ['--files', txt, '--vocabulary-size', '300', '--out', join(dir, 'x')],
      /too small[\s\S]*next: .* --vocabulary-size to 329 or/,
    ],
    [['--files', txt, ...size, '--out', join(dir, 'x'), '--recipe', 'r.ts'], /outside of any run/],
    [size, /--vocabulary-size is for texts of yours/],
  ] as const) {
    const { code, stderr } = await runCli(['tokenizer', 'train', ...args]);
    assert.equal(code, 2, args.join(' '));
    assert.match(stderr, message);
  }
  assert.equal(readFileSync(join(taken, 'mine'), 'utf8'), 'mine');
  assert.equal(readFileSync(txt, 'utf8'), sentences.join('\n'));
  assert.equal(Tokenizer.load(join(dir, 'rumantsch')).vocabularySize, 370);
  assert.ok(!existsSync(join(dir, 'x')) && !existsSync(join(dir, 'x.partial')));
});
