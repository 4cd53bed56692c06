// JSON-lines files that are damaged, read in part, or hold what nobody may repeat.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { openFiles } from '../../test/open-files.ts';
import type { Damage } from './chunk-source.ts';
import { UserError } from './errors.ts';
import { type BadLine, DamagedFile, readJsonl, readJsonlLines, tooLong } from './jsonl.ts';
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

/** What a file holds: values, bad lines, damage. */
async function sorted(path: string, maxLineBytes?: number) {
  const found = {
    values: [] as unknown[],
    bad: [] as (readonly [line: number, reason: string])[],
    damage: [] as Damage[],
  };
  for await (const item of readJsonlLines<unknown>(path, maxLineBytes)) {
    if ('mark' in item) found.damage.push(item);
    else if (item.bad === undefined) found.values.push(item.value);
    else found.bad.push([item.line, item.bad]);
  }
  return found;
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
    await assert.rejects(all(path), (error) => error instanceof DamagedFile && error.message.includes(path));
  }
  for (const name of ['none.jsonl', 'none.jsonl.gz']) {
    const missing = join(dir, name);
    await assert.rejects(
      all(missing),
      (error) => error instanceof UserError && !(error instanceof DamagedFile) && error.message.includes(missing),
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
      assert.ok(error instanceof DamagedFile);
    }
    assert.equal(await openFiles(path), 0, path);
  }
});

test('a line over the limit is skipped as it comes, and costs no memory', async () => {
  const path = join(dir, 'long-line.jsonl.gz');
  // A gigabyte without a line end between two good lines: eight times a member of 128 MiB.
  const member = gzipSync(Buffer.alloc(1 << 27, 'a'));
  const pieces = [gzipSync('{"a":1}\n'), ...Array.from({ length: 8 }, () => member), gzipSync('\n{"a":2}')];
  writeFileSync(path, Buffer.concat(pieces));
  let peak = 0;
  const before = process.memoryUsage().rss;
  const timer = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss - before)), 5);
  const { values, bad } = await sorted(path, 1 << 20);
  clearInterval(timer);
  assert.deepEqual(values, [{ a: 1 }, { a: 2 }]);
  assert.deepEqual(bad, [[2, tooLong]]);
  assert.ok(peak < 300e6, `${Math.round(peak / 1e6)} MB`);
});

test('behind damage, reading goes on at the next member', async () => {
  const members = [1, 2, 3].map((a) =>
    gzipSync(`${JSON.stringify({ a, text: manyLines().slice(0, 5000) })}\n{"a":${a}`),
  );
  const middle = members[1] as Buffer;
  middle[200] = (middle[200] as number) ^ 255;
  const path = file('members.jsonl.gz', Buffer.concat([...members, gzipSync('}\n')]));
  const { values, bad, damage } = await sorted(path);
  // The second line of the first member ends in the damaged one; that of the third goes over into the fourth.
  assert.deepEqual(
    values.map((value) => (value as { readonly a: number }).a),
    [1, 3, 3],
  );
  assert.equal(damage.length, 1);
  assert.equal(damage[0]?.offset, members[0]?.length);
  assert.deepEqual(
    bad.map(([line]) => line),
    [2],
  );
});

test('a byte order mark, line ends of Windows, wrong encodings and bombs of brackets', async () => {
  const path = file(
    'odd.jsonl',
    Buffer.concat([
      Buffer.from('\ufeff{"a":1}\r\n\r\n'),
      Buffer.from('{"a":"Zürich"}\n', 'latin1'),
      Buffer.from('{"a":"\0"}\n'),
      Buffer.from(`${'['.repeat(2 << 20)}\n`),
      Buffer.from(`${'[]'.repeat(1000)}\n${JSON.stringify({ a: '{['.repeat(1000) })}\n`),
    ]),
  );
  const bad: BadLine[] = [];
  assert.deepEqual(await all(path, (line) => bad.push(line)), [{ a: 1 }, { a: '{['.repeat(1000) }]);
  assert.deepEqual(
    bad.map(({ line, reason }) => [line, reason]),
    [
      [3, 'not UTF-8'],
      [4, 'not valid JSON'],
      [5, 'nothing but brackets'],
      [6, 'not valid JSON'],
    ],
  );
});

test('a file that ends within the first bytes of a member is read to its end', async () => {
  const whole = gzipSync('{"a":1}\n');
  for (let cut = 1; cut < 20; cut++) {
    const path = file('cut-header.jsonl.gz', Buffer.concat([whole, whole.subarray(0, cut)]));
    const { values, damage } = await sorted(path);
    assert.deepEqual(values[0], { a: 1 });
    assert.equal(damage.length, 1);
  }
});
