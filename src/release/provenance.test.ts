// Where a model comes from, when what it began with is here without those it was made of.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { tracePath } from '../commands/trace.ts';
import { UserError } from '../base/errors.ts';
import { type Manifest, writeManifest } from '../base/manifest.ts';
import { readProvenance, requireOrigin, writeProvenance } from './provenance.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-provenance-'));
after(() => rmSync(scratch, { recursive: true }));

function artefact(kind: string, dir: string, inputs: Record<string, string> = {}): Manifest {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'data'), `${kind} in ${dir}`);
  if (kind === 'release') writeProvenance(dir, inputs);
  return writeManifest(dir, { kind, version: 1, recipe: {}, inputs, facts: {} });
}

test('a release that was copied elsewhere hands its ancestors on to the next one', async () => {
  const run = (...names: string[]): string => join(scratch, 'run', ...names);
  const documents = artefact('documents', run('documents'));
  const model = artefact('model', run('model'), { documents: run('documents') });
  const first = artefact('release', run('release'), { model: run('model') });
  const copied = join(scratch, 'downloaded');
  cpSync(run('release'), copied, { recursive: true });

  const next = (...names: string[]): string => join(scratch, 'next', ...names);
  const later = artefact('model', next('model'), { base: copied });
  const { tree, artefacts } = writeProvenance(next('release'), { model: next('model') });
  assert.deepEqual(
    artefacts.map(({ name, kind, manifest }) => [name, kind, manifest.id]),
    [
      ['model', 'model', later.id],
      ['base', 'release', first.id],
      ['model', 'model', model.id],
      ['documents', 'documents', documents.id],
    ],
  );
  assert.equal(tree[0]?.inputs[0]?.inputs[0]?.inputs[0]?.id, documents.id);
  const known = readProvenance(next('release'));
  for (const [id, path] of [
    [documents.id, run('documents', 'manifest.json')],
    [model.id, run('model', 'manifest.json')],
  ] as const) {
    assert.deepEqual(readFileSync(known.get(id)?.path as string), readFileSync(path));
  }
  // The model that began with it is traced as far, before there is a next release.
  rmSync(run(), { recursive: true });
  const { artefact: traced } = await tracePath(next('model'));
  const [base] = traced.inputs;
  assert.deepEqual(
    [base?.state, base?.inputs[0]?.state, base?.inputs[0]?.inputs[0]?.state],
    ['here', 'copied', 'copied'],
  );
  requireOrigin('pretrain.from', copied);

  // A model alone brings nothing along.
  const alone = join(scratch, 'alone');
  artefact('documents', join(alone, 'documents'));
  artefact('model', join(alone, 'model'), { documents: join(alone, 'documents') });
  rmSync(join(alone, 'documents'), { recursive: true });
  assert.throws(() => requireOrigin('pretrain.from', join(alone, 'model')), UserError);
  assert.throws(
    () => writeProvenance(next('other'), { model: join(alone, 'model') }),
    /is not whole: .*alone.documents/,
  );
});
