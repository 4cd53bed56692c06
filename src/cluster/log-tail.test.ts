import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { lastLines } from './log-tail.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-tail-'));
after(() => rmSync(scratch, { recursive: true }));

test('the last lines are those that reading the whole file gives, whatever their lengths', () => {
  const path = join(scratch, 'log');
  const lines = Array.from({ length: 300 }, (_, i) => `${i} ${'漢ü'.repeat((i * 37) % 900)}`);
  for (const end of ['', '\n']) {
    writeFileSync(path, lines.join('\n') + end);
    for (const count of [1, 2, 40, 299, 300, 1000]) {
      const found = lastLines(path, count).split('\n');
      // Not deepEqual, whose message would be megabytes of lines.
      assert.equal(found.length, Math.min(count, 300));
      const offset = 300 - found.length;
      const other = found.findIndex((line, i) => line !== lines[offset + i]);
      assert.equal(other, -1, `${count} lines, end ${JSON.stringify(end)}: line ${other} differs`);
    }
  }
  writeFileSync(path, '');
  assert.equal(lastLines(path, 5), '');
  writeFileSync(path, `a b\nc d\n${' \n'.repeat(70_000)}`);
  assert.equal(lastLines(path, 1), 'c d');
  assert.equal(lastLines(path, 5), 'a b\nc d');
});

test('of a log without line ends the last part is read', () => {
  const path = join(scratch, 'bar');
  const bar = Buffer.alloc((64 << 20) + 7, 'progress 10 %\r');
  bar.write('end', bar.length - 3);
  writeFileSync(path, bar);
  const found = lastLines(path, 40);
  assert.equal(found.length, 64 << 20);
  assert.ok(found.endsWith('end'));
});
