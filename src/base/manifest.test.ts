import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { UserError } from './errors.ts';
import { checkFiles, familyTree, type Manifest, manifestName, readManifest, writeManifest } from './manifest.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-manifest-'));
after(() => rmSync(scratch, { recursive: true }));

/** An artefact with one file, whose manifest is then changed as a stranger might. */
function artefact(name: string, inputs: Record<string, string>, change: (manifest: Manifest) => object = () => ({})) {
  const dir = join(scratch, name);
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'file.txt'), name);
  const manifest = writeManifest(dir, { kind: 'test', version: 1, recipe: {}, inputs, facts: {} });
  writeFileSync(join(dir, manifestName), JSON.stringify({ ...manifest, ...change(manifest) }));
  return dir;
}

test('a manifest that names files outside of its folder is refused', () => {
  writeFileSync(join(scratch, 'secret'), 'not yours');
  for (const path of ['../secret', 'deep/../../secret', '..\\secret', '/etc/hostname', 'C:\\secret']) {
    const dir = artefact('outside', {}, ({ files }) => ({ files: files.map((file) => ({ ...file, path })) }));
    assert.throws(
      () => readManifest(dir),
      (error) => error instanceof UserError && /points outside of the folder/.test(error.message),
      path,
    );
  }
  const dir = artefact('inside', {}, ({ files }) => ({
    files: files.map((file) => ({ ...file, path: './file.txt' })),
  }));
  assert.deepEqual(checkFiles(dir, readManifest(dir), true), []);
});

test('an artefact that is its own input, at once or further up, is refused instead of followed for ever', () => {
  const itself = artefact('itself', {}, ({ id }) => ({ inputs: [{ name: 'base', path: '.', id }] }));
  assert.throws(() => familyTree(itself), /its own ancestor/);
  const parent = artefact('parent', {});
  const child = artefact('child', { parent });
  const { id } = JSON.parse(readFileSync(join(child, manifestName), 'utf8')) as Manifest;
  artefact('parent', {}, (manifest) => ({ id: manifest.id, inputs: [{ name: 'child', path: '../child', id }] }));
  assert.throws(() => familyTree(child), /its own ancestor/);
});

test('an input reached by two ways is no circle', () => {
  const source = artefact('source', {});
  const left = artefact('left', { source });
  const right = artefact('right', { left, source });
  assert.deepEqual(
    familyTree(right).inputs.map(({ name, inputs }) => [name, inputs.length]),
    [
      ['left', 1],
      ['source', 0],
    ],
  );
});
