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
    [['--files', txt, ...size, '--out', taken], /holds something else/],
    [['--files', txt, '--vocabulary-size', '9000', '--out', join(dir, 'x')], /too few/],
    [['--files', txt, ...size, '--out', join(dir, 'x'), '--recipe', 'r.ts'], /outside of any run/],
    [size, /--vocabulary-size is for texts of yours/],
  ] as const) {
    const { code, stderr } = await runCli(['tokenizer', 'train', ...args]);
    assert.equal(code, 2, args.join(' '));
    assert.match(stderr, message);
  }
  assert.equal(readFileSync(join(taken, 'mine'), 'utf8'), 'mine');
  assert.ok(!existsSync(join(dir, 'x', 'tokenizer.json')));
});
