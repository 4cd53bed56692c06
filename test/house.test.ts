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

/** Relative imports of a file's text, as absolute paths; static, re-exports, types and `import()`. */
function importsOf(path: string, text: string): string[] {
  const found = text.matchAll(/(?:from\s+|import\s*\(\s*|^import\s+)'(\.{1,2}\/[^']+)'/gm);
  return [...found].map((match) => join(dirname(path), match[1] as string));
}

/** File -> files it imports. */
type Imports = ReadonlyMap<string, readonly string[]>;

/** Imports that the law table forbids. */
function breachesOf(imports: Imports): string[] {
  const breaches: string[] = [];
  for (const [file, targets] of imports) {
    const room = roomOf(file);
    const allowed = laws.get(room);
    if (allowed === 'everything' || allowed === undefined) continue;
    for (const target of targets) {
      const to = roomOf(target);
      if (to !== room && !allowed.includes(to)) {
        breaches.push(
          `${relative(packageRoot, file)} imports ${relative(packageRoot, target)}: ${room} may not import ${to}`,
        );
      }
    }
  }
  return breaches;
}

/** Circles of imports, each as the way around. */
function cyclesOf(imports: Imports): string[] {
  const state = new Map<string, 'open' | 'done'>();
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      cycles.push([...path.slice(path.indexOf(file)), file].map((name) => relative(packageRoot, name)).join(' -> '));
      return;
    }
    state.set(file, 'open');
    for (const target of imports.get(file) ?? []) visit(target, [...path, file]);
    state.set(file, 'done');
  };
  for (const file of imports.keys()) visit(file, []);
  return cycles;
}

/** Whether a text does nothing but re-export: comments aside, only `export ... from`. */
function onlyReExports(text: string): boolean {
  const code = text.replace(/^\s*\/\/.*$/gm, '').trim();
  return code.replace(/export (type )?(\{[^}]*\}|\*( as \w+)?) from '[^']+';\s*/g, '') === '';
}

const laws = readLaws();
const files = [...sourceFiles(join(packageRoot, 'src')), ...sourceFiles(join(packageRoot, 'recipes'))];
const texts = new Map(files.map((file) => [file, readFileSync(file, 'utf8')]));
const imports: Imports = new Map([...texts].map(([file, text]) => [file, importsOf(file, text)]));

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
  assert.deepEqual(breachesOf(imports), []);
});

test('every relative import names a file', () => {
  const missing = [...imports].flatMap(([file, targets]) =>
    targets.filter((target) => !existsSync(target)).map((target) => `${file} -> ${target}`),
  );
  assert.deepEqual(missing, []);
});

test('no file is part of an import cycle', () => {
  assert.deepEqual(cyclesOf(imports), []);
});

test('the checks can fail: a planted breach and a planted cycle are seen', () => {
  const at = (path: string): string => join(packageRoot, 'src', path);
  const planted = (path: string, text: string): [string, string[]] => [at(path), importsOf(at(path), text)];
  const breaches = breachesOf(
    new Map([
      planted(
        'tensor/a.ts',
        "import { x } from '../base/errors.ts';\nimport type { Apertus } from '../model/apertus.ts';",
      ),
      planted('base/b.ts', "export {\n  c,\n} from '../data/c.ts';\nconst d = await import('../train/d.ts');"),
      planted('commands/e.ts', "import '../train/d.ts';"),
    ]),
  );
  assert.deepEqual(breaches, [
    'src/tensor/a.ts imports src/model/apertus.ts: tensor may not import model',
    'src/base/b.ts imports src/data/c.ts: base may not import data',
    'src/base/b.ts imports src/train/d.ts: base may not import train',
  ]);
  const cycles = cyclesOf(
    new Map([
      planted('base/a.ts', "import { b } from './b.ts';"),
      planted('base/b.ts', "import { c } from './c.ts';\nimport { d } from './d.ts';"),
      planted('base/c.ts', "import type { b } from './b.ts';"),
      planted('base/d.ts', "import 'node:fs';"),
    ]),
  );
  assert.deepEqual(cycles, ['src/base/b.ts -> src/base/c.ts -> src/base/b.ts']);
});

test('the public face consists of re-exports, and no other file does', () => {
  const doors = [...texts].filter(([, text]) => onlyReExports(text)).map(([file]) => relative(packageRoot, file));
  assert.deepEqual(doors, [join('src', 'index.ts')]);
});

test('no file is a drawer called utils, helpers or common', () => {
  const drawers = files.filter((file) => /(^|[/\\])(utils?|helpers?|common|types|misc)\.ts$/.test(file));
  assert.deepEqual(drawers, []);
});
