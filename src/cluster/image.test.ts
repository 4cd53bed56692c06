// Images: equal descriptions give equal bytes, any change another id, and nothing that could be another image tomorrow.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { edfProblems } from './edf.ts';
import { hashJson, sha256 } from '../base/hashing.ts';
import { type ImageSpecInput, imageDifferences, planImage } from './image.ts';

const context = mkdtempSync(join(tmpdir(), 'belay-image-'));
after(() => rmSync(context, { recursive: true }));
writeFileSync(join(context, 'belay-lm-0.1.0.tgz'), 'a tarball');

/** The packages that the published Dockerfile of Apertus' training adds, with the base it names. */
const spec: ImageSpecInput = {
  name: 'apertus-train',
  base: { reference: 'nvcr.io/nvidia/pytorch:25.05-py3', digest: `sha256:${'0'.repeat(64)}` },
  pip: { wandb: '0.19.5', transformers: '4.48.2', tokenizers: '0.21.0', 'huggingface-hub': '0.28.1' },
  files: { '/opt/belay.tgz': 'belay-lm-0.1.0.tgz' },
  env: { PATH: '/opt/belay/bin:$PATH', HF_HUB_OFFLINE: '1' },
  run: ['npm install --global --offline /opt/belay.tgz'],
  workdir: '/workspace',
  epoch: 1_735_689_600,
};

test('the Containerfile names everything by digest or version, always in the same order', () => {
  const { containerfile } = planImage(spec, context);
  assert.equal(
    containerfile,
    `FROM nvcr.io/nvidia/pytorch:25.05-py3@sha256:${'0'.repeat(64)}
ENV SOURCE_DATE_EPOCH=1735689600
ENV HF_HUB_OFFLINE="1"
ENV PATH="/opt/belay/bin:$PATH"
RUN pip install --no-cache-dir --no-compile --no-deps \\
      huggingface-hub==0.28.1 \\
      tokenizers==0.21.0 \\
      transformers==4.48.2 \\
      wandb==0.19.5 && \\
    pip check
COPY ["belay-lm-0.1.0.tgz","/opt/belay.tgz"]
RUN npm install --global --offline /opt/belay.tgz
COPY image-manifest.json /usr/share/belay/image-manifest.json
WORKDIR /workspace
`,
  );
});

test('packages of the system come from the snapshot of a day', () => {
  const snapshot = 'http://snapshot.debian.org/archive/debian/20250601T000000Z/';
  const { containerfile } = planImage(
    { ...spec, apt: { gdb: '13.1-3', bc: '1.07.1-3+b1' }, aptSnapshot: snapshot },
    context,
  );
  assert.match(
    containerfile,
    /apt-get install -y --no-install-recommends \\\n {6}bc=1\.07\.1-3\+b1 \\\n {6}gdb=13\.1-3 &&/,
  );
  assert.ok(containerfile.includes(`deb [check-valid-until=no] ${snapshot} `));
});

test('the manifest says what is in it, and its id is the tag and the name of the file', () => {
  const { manifest, manifestText, containerfile, tag, squashfs, commands } = planImage(spec, context);
  assert.deepEqual(manifest.files, [{ path: '/opt/belay.tgz', sha256: sha256('a tarball'), bytes: 9 }]);
  assert.equal(manifest.containerfile, sha256(containerfile));
  const { id, ...content } = JSON.parse(manifestText) as typeof manifest;
  assert.equal(id, hashJson(content));
  assert.equal(tag, `apertus-train:${id.slice(0, 12)}`);
  assert.deepEqual(commands, [
    `podman build --timestamp 1735689600 -f Containerfile -t ${tag} .`,
    `enroot import -x mount -o ${squashfs} podman://${tag}`,
  ]);
  assert.deepEqual(edfProblems({ image: `/images/${squashfs}` }), []);
});

test('an equal description is the same image; any change is another one', () => {
  const idOf = (change: Partial<ImageSpecInput> = {}): string => planImage({ ...spec, ...change }, context).manifest.id;
  const reordered = { tokenizers: '0.21.0', 'huggingface-hub': '0.28.1', wandb: '0.19.5', transformers: '4.48.2' };
  assert.equal(idOf({ pip: reordered }), idOf());
  const first = idOf();
  const changes: Partial<ImageSpecInput>[] = [
    { base: { ...spec.base, digest: `sha256:${'1'.repeat(64)}` } },
    { pip: { ...spec.pip, wandb: '0.19.6' } },
    { env: {} },
    { run: [] },
    { workdir: '/' },
    { epoch: 1 },
    { apt: { bc: '1.07.1-3+b1' } },
    { name: 'other' },
  ];
  const ids = changes.map((change) => idOf(change));
  writeFileSync(join(context, 'belay-lm-0.1.0.tgz'), 'another');
  ids.push(idOf());
  assert.equal(new Set([first, ...ids]).size, changes.length + 2);
  writeFileSync(join(context, 'belay-lm-0.1.0.tgz'), 'a tarball');
});

test('what would be another image tomorrow is refused', () => {
  const refused = (change: Partial<ImageSpecInput>, why: RegExp): void =>
    void assert.throws(() => planImage({ ...spec, ...change }, context), why);
  refused({ pip: { wandb: '>=0.19', tokenizers: 'latest' } }, /exact versions[\s\S]*wandb >=0\.19, tokenizers latest/);
  refused({ apt: { gdb: '13.*' } }, /exact versions/);
  refused({ base: { reference: 'debian:12', digest: 'latest' } }, /not valid[\s\S]*sha256: and 64 digits/);
  refused({ files: { '/x': '../secret' } }, /not in the folder of the build/);
  refused({ files: { '/x': 'missing' } }, /cannot be put into the image[\s\S]*ENOENT/);
  refused({ pip: { 'wandb; rm -rf /': '1' } }, /not valid/);
  refused({ run: ['a\nUSER root'] }, /not valid/);
  refused({ env: { A: 'a\nUSER root' } }, /not valid/);
});

test('an image that was found is compared with its manifest', () => {
  const { manifest } = planImage({ ...spec, apt: { gdb: '13.1-3', bc: '1.07' } }, context);
  const pip = 'wandb==0.19.5\ntransformers==4.49.0\nTokenizers==0.21.0\nhuggingface_hub==0.28.1\nother @ file:///x\n';
  assert.deepEqual(imageDifferences(manifest, { pip, apt: 'gdb:amd64\t13.1-3\n' }), [
    'apt: bc is not there, the manifest says 1.07',
    'pip: transformers is 4.49.0, the manifest says 4.48.2',
  ]);
  assert.deepEqual(imageDifferences(manifest, {}), []);
});
