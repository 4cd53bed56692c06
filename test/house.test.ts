// The laws of the house (ARCHITECTURE.md), checked on every file: imports go one way, and no file is in a cycle.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../src/base/version.ts';

/** Room -> rooms it may import, or `everything`. */
function readLaws(): Map<string, readonly string[] | 'everything'> {
  const laws = new Map<string, readonly string[] | 'everything'>();
  const text = readFileSync(join(packageRoot, 'ARCHITECTURE.md'), 'utf8');
  const [, table = ''] = text.split('| room | may import |');
  for (const line of table.split('\n').slice(2)) {
    const row = /^\s*\| `([^`]+)` \| (.*) \|\s*$/.exec(line);
    if (!row) break;
    const [, room = '', allowed = ''] = row;
    if (allowed === 'everything') laws.set(room, 'everything');
    else laws.set(room, allowed === 'nothing of ours' ? [] : allowed.split(',').map((name) => name.trim()));
  }
  return laws;
}

function sourceFiles(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) return sourceFiles(path);
    return entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts') ? [path] : [];
  });
}

/** `base` for src/base/x.ts, `cli.ts` for src/cli.ts, `recipes` for recipes/x.ts. */
function roomOf(path: string): string {
  const [first = '', second = ''] = relative(packageRoot, path).split(sep);
  return first === 'src' ? second : first;
}

/** Relative imports of a file, as absolute paths; static, re-exports, types and `import()`. */
function importsOf(path: string): string[] {
  const text = readFileSync(path, 'utf8');
  const found = text.matchAll(/(?:from\s+|import\s*\(\s*|^import\s+)'(\.{1,2}\/[^']+)'/gm);
  return [...found].map((match) => join(dirname(path), match[1] as string));
}

const laws = readLaws();
const files = [...sourceFiles(join(packageRoot, 'src')), ...sourceFiles(join(packageRoot, 'recipes'))];

test('the law table names every room', () => {
  assert.ok(laws.size >= 18, `only ${laws.size} rows were read from ARCHITECTURE.md`);
  assert.ok(files.length > 50, `only ${files.length} files were found`);
  const rooms = new Set(files.map(roomOf));
  assert.deepEqual(
    [...rooms].filter((room) => !laws.has(room)),
    [],
  );
});

test('imports go one way', () => {
  const breaches: string[] = [];
  for (const file of files) {
    const room = roomOf(file);
    const allowed = laws.get(room);
    if (allowed === 'everything' || allowed === undefined) continue;
    for (const target of importsOf(file)) {
      const to = roomOf(target);
      if (to !== room && !allowed.includes(to)) {
        breaches.push(
          `${relative(packageRoot, file)} imports ${relative(packageRoot, target)}: ${room} may not import ${to}`,
        );
      }
    }
  }
  assert.deepEqual(breaches, []);
});

test('every relative import names a file', () => {
  const missing = files.flatMap((file) =>
    importsOf(file)
      .filter((target) => !existsSync(target))
      .map((target) => `${file} -> ${target}`),
  );
  assert.deepEqual(missing, []);
});

test('no file is part of an import cycle', () => {
  const state = new Map<string, 'open' | 'done'>();
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      cycles.push([...path.slice(path.indexOf(file)), file].map((name) => relative(packageRoot, name)).join(' -> '));
      return;
    }
    state.set(file, 'open');
    for (const target of importsOf(file)) visit(target, [...path, file]);
    state.set(file, 'done');
  };
  for (const file of files) visit(file, []);
  assert.deepEqual(cycles, []);
});

test('the checks can fail: a planted breach is seen', () => {
  assert.deepEqual(importsOf(join(packageRoot, 'test', 'house.test.ts')), [
    join(packageRoot, 'src', 'base', 'version.ts'),
  ]);
  assert.ok(!(laws.get('tensor') as readonly string[]).includes('model'));
});

test('only the public face re-exports: no drawers called utils, helpers or common', () => {
  const drawers = files.filter((file) => /(^|[/\\])(utils?|helpers?|common|types|misc)\.ts$/.test(file));
  assert.deepEqual(drawers, []);
});
