import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { appendEvent, cutLines, readLines } from './events.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-events-'));
after(() => rmSync(scratch, { recursive: true }));

test('an event after a torn line stands on a line of its own', () => {
  const path = join(scratch, 'events.jsonl');
  writeFileSync(path, '{"event":"first"}\n{"event":"to');
  appendEvent(path, 'second');
  appendEvent(path, 'third');
  assert.deepEqual(
    readLines<{ event: string }>(path).map(({ event }) => event),
    ['first', 'second', 'third'],
  );
});

test('lines beyond a checkpoint are cut off, a torn one with them', () => {
  const path = join(scratch, 'metrics.jsonl');
  writeFileSync(path, '{"step":1}\n{"step":2}\n{"step":3}\n{"st');
  cutLines<{ step: number }>(path, ({ step }) => step <= 2);
  assert.deepEqual(readLines(path), [{ step: 1 }, { step: 2 }]);
});

test('lines of any length are read whole, wherever the pieces of a file end', () => {
  const path = join(scratch, 'long.jsonl');
  const lines = [0, 1, 2 ** 20 - 9, 2 ** 20, 3 * 2 ** 20 + 7, 5].map((length, i) => ({
    i,
    text: 'ü漢'.repeat(length / 4),
  }));
  writeFileSync(path, `${lines.map((line) => JSON.stringify(line)).join('\n')}\n{"i":6`);
  assert.deepEqual(readLines(path), lines);
  cutLines<{ i: number }>(path, ({ i }) => i % 2 === 0);
  assert.deepEqual(
    readLines(path),
    lines.filter(({ i }) => i % 2 === 0),
  );
  assert.deepEqual(readLines(join(scratch, 'none.jsonl')), []);
});
