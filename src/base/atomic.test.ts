import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { writeJsonShared } from './atomic.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-atomic-'));
after(() => rmSync(scratch, { recursive: true }));

test('many may write one file at once: it is always whole, and nothing stays beside it', async () => {
  const path = join(scratch, 'shared.json');
  writeJsonShared(path, { writer: -1, filler: [] });
  const module = new URL(import.meta.url.endsWith('.js') ? 'atomic.js' : 'atomic.ts', import.meta.url).href;
  const source = `
    const { writeJsonShared } = await import(${JSON.stringify(module)});
    const [path, writer] = process.argv.slice(-2);
    for (let i = 0; i < 60; i++) writeJsonShared(path, { writer: Number(writer), filler: Array(2000).fill(i) });
  `;
  let running = 4;
  const ends = Array.from({ length: running }, async (_, writer) => {
    const argv = [...process.execArgv, '--input-type=module', '--eval', source, '--', path, String(writer)];
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'pipe'] });
    const [[code], said] = await Promise.all([once(child, 'close'), text(child.stderr)]);
    assert.equal(code, 0, said);
    running--;
  });
  const all = Promise.all(ends);
  while (running > 0) {
    const { writer, filler } = JSON.parse(readFileSync(path, 'utf8')) as { writer: number; filler: number[] };
    assert.ok(writer === -1 || (filler.length === 2000 && filler.every((each) => each === filler[0])));
    await Promise.race([all, new Promise((resolve) => setTimeout(resolve, 2))]);
  }
  await all;
  assert.deepEqual(readdirSync(scratch), ['shared.json']);
});
