import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { type RemovedLine, runStepOnLines } from './run-step.ts';
import type { CorpusStep, StepOf } from './step.ts';

async function run(step: StepOf, text: string) {
  const dir = mkdtempSync(join(tmpdir(), 'belay-run-step-'));
  const kept: unknown[] = [];
  const removed: RemovedLine[] = [];
  try {
    const input = join(dir, 'in.jsonl');
    writeFileSync(input, text);
    const counts = await runStepOnLines({
      step,
      input,
      keep: async (line) => void kept.push(line),
      remove: async (line) => void removed.push(line),
    });
    return { kept, removed, counts };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

test('a line keeps what else it holds, and gets only what the step changed', async () => {
  const step: StepOf = {
    name: 'shout',
    run: (document) =>
      document.text === 'no'
        ? { drop: { reason: 'no' } }
        : { keep: { ...document, text: document.text.toUpperCase() } },
  };
  const lines = ['{"text":"a","mine":1}', '', '{"text":"no","id":"x"}', 'broken', '[1]', '{"id":"y"}'];
  const { kept, removed, counts } = await run(step, lines.join('\n'));
  assert.deepEqual(kept, [{ text: 'A', mine: 1 }]);
  assert.deepEqual(
    removed.map(({ line, reason, detail }) => [line, reason, detail]),
    [
      [3, 'no', undefined],
      [4, 'unreadable', 'not valid JSON'],
      [5, 'unreadable', 'no JSON object'],
      [6, 'unreadable', 'no text'],
    ],
  );
  assert.deepEqual(removed[0]?.record, { text: 'no', id: 'x' });
  assert.deepEqual(counts, { read: 5, kept: 1, removed: 4 });
});

test('fields may have the names and codes that data clean reads', async () => {
  const seen: string[] = [];
  const step: StepOf = {
    name: 'look',
    run(document) {
      seen.push(`${document.url} ${document.language} ${document.licence} ${document.source}`);
      return { keep: document };
    },
  };
  const given = [
    { text: 'a', lang: 'de-CH', license: 'https://creativecommons.org/licenses/by/4.0/' },
    { text: 'b', language: 'fr', licence: 'MIT', lang: 'de', source: 's' },
    { text: 'c', metadata: { lang: 'gsw', license: 'MIT', url: 'https://a.example/' } },
    { text: 'd', lang: 7 },
  ];
  const { kept } = await run(step, given.map((line) => JSON.stringify(line)).join('\n'));
  assert.deepEqual(seen, [
    'undefined deu CC-BY-4.0 lines',
    'undefined fra MIT s',
    'https://a.example/ gsw MIT lines',
    'undefined und unknown lines',
  ]);
  assert.deepEqual(kept, given, 'what the step did not change stays as it was written');
});

test('a step that needs all documents sees the input as its corpus', async () => {
  // Drops what is shorter than the longest.
  const step: CorpusStep = {
    name: 'longest',
    parts: 1,
    sign: ({ text }) => Uint8Array.of(text.length),
    match: async (_part, [shard], out) => writeFileSync(out, readFileSync(shard?.signs ?? '')),
    judge: async ([part], _shards, out) =>
      writeFileSync(out(0), Uint8Array.of(Math.max(...readFileSync(part as string)))),
    apply: async (judgement) => {
      const longest = readFileSync(judgement)[0] as number;
      return {
        name: 'longest',
        run: (document) => (document.text.length < longest ? { drop: { reason: 'short' } } : { keep: document }),
      };
    },
  };
  const { kept, removed } = await run(step, '{"text":"a"}\nbroken\n{"text":"bb"}\n{"text":"cc"}\n');
  assert.deepEqual(kept, [{ text: 'bb' }, { text: 'cc' }]);
  assert.deepEqual(
    removed.map(({ reason }) => reason),
    ['short', 'unreadable'],
  );
});

test('fields of a wrong type and values that could not be written again are removed lines', async () => {
  const step: StepOf = { name: 'same', run: (document) => ({ keep: document }) };
  const deep = `{"text":"a","deep":${'['.repeat(20_000)}${']'.repeat(20_000)}}`;
  const bad = [
    ['{"text":"a","url":5}', 'url is no text'],
    ['{"text":"a","language":["de"]}', 'language is no text'],
    ['{"text":"a","licence":{}}', 'licence is no text'],
    ['{"text":"a","source":true}', 'source is no text'],
    ['{"text":"a","notes":[1]}', 'notes are no object'],
    ['{"text":"a","sections":5}', 'sections are no parts of the text'],
    ['{"text":"a","sections":[null]}', 'sections are no parts of the text'],
    ['{"text":"a","sections":[{"label":"x","start":0,"end":2}]}', 'sections are no parts of the text'],
    ['{"text":"a","sections":[{"label":5,"start":0,"end":1}]}', 'sections are no parts of the text'],
    [deep, 'nested too deeply'],
  ] as const;
  const good = ['{"text":"a","id":7}', '{"text":"a","id":null,"url":null,"notes":null,"sections":null}'];
  const { kept, removed, counts } = await run(step, [...bad.map(([line]) => line), ...good].join('\n'));
  assert.deepEqual(
    removed.map(({ reason, detail }) => [reason, detail]),
    bad.map(([, detail]) => ['unreadable', detail]),
  );
  assert.equal(removed.at(-1)?.record, undefined);
  assert.deepEqual(
    kept.map((line) => JSON.stringify(line)),
    good,
  );
  assert.deepEqual(counts, { read: 12, kept: 2, removed: 10 });
});
