// JSON-lines files that are damaged, read in part, or hold what nobody may repeat.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { openFiles } from '../../test/open-files.ts';
import { UserError } from './errors.ts';
import { type BadLine, DamagedGzip, readJsonl } from './jsonl.ts';
import { Random } from './rng.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-jsonl-'));
after(() => rmSync(dir, { recursive: true, force: true }));

function file(name: string, content: string | Uint8Array): string {
  writeFileSync(join(dir, name), content);
  return join(dir, name);
}

async function all(path: string, onBad?: (bad: BadLine) => void): Promise<unknown[]> {
  const values: unknown[] = [];
  for await (const value of readJsonl(path, onBad)) values.push(value);
  return values;
}

/** Lines that do not compress, so that the file is read in many pieces. */
function manyLines(): string {
  const random = new Random(1, 'lines');
  return Array.from({ length: 100_000 }, () => `${random.integer(1e9)}\n`).join('');
}

test('a bad line is named by its number and never quoted', async () => {
  const path = file('bad.jsonl', '{"a":1}\njo@example.com\n\n{"b":"jo@example.com}\n');
  const bad: BadLine[] = [];
  assert.deepEqual(await all(path, (line) => bad.push(line)), [{ a: 1 }]);
  assert.deepEqual(bad, [
    { path, line: 2, reason: 'not valid JSON' },
    { path, line: 4, reason: 'not valid JSON' },
  ]);
  await assert.rejects(all(path), (error: unknown) => {
    assert.ok(error instanceof UserError);
    assert.match(error.message, /line 2 of .*bad\.jsonl is not valid JSON/);
    assert.doesNotMatch(error.message, /example/);
    return true;
  });
});

test('a file that is no gzip, is cut off or is missing is a mistake of the user that names it', async () => {
  const whole = gzipSync(manyLines());
  for (const path of [
    file('plain.jsonl.gz', '{"a":1}\n'),
    file('cut.jsonl.gz', whole.subarray(0, whole.length - 9)),
    file(
      'flipped.jsonl.gz',
      whole.map((byte, i) => (i === whole.length - 6 ? byte ^ 1 : byte)),
    ),
  ]) {
    await assert.rejects(all(path), (error) => error instanceof DamagedGzip && error.message.includes(path));
  }
  for (const name of ['none.jsonl', 'none.jsonl.gz']) {
    const missing = join(dir, name);
    await assert.rejects(
      all(missing),
      (error) => error instanceof UserError && !(error instanceof DamagedGzip) && error.message.includes(missing),
    );
  }
});

test('a reader that stops early, and one that meets damage, leave no file open', async () => {
  const text = manyLines();
  const whole = gzipSync(text);
  const damaged = Buffer.concat([whole.subarray(0, 1000), Buffer.alloc(whole.length)]);
  for (const path of [file('long.jsonl', text), file('long.jsonl.gz', whole), file('damaged.jsonl.gz', damaged)]) {
    try {
      for await (const _ of readJsonl(path)) if (!path.includes('damaged')) break;
    } catch (error) {
      assert.ok(error instanceof DamagedGzip);
    }
    assert.equal(await openFiles(path), 0, path);
  }
});
