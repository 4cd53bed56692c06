// Environment definitions: what published files say is read, written back as the same, inherited and checked.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type Edf,
  edfProblems,
  edfProblemsHere,
  expandVariables,
  parseEdf,
  renderEdf,
  resolveEdf,
  siteEdf,
} from './edf.ts';
import { sites } from './sites.ts';

/** The values of files that swiss-ai/pretrain-code and CSCS's documentation publish, in the forms these use. */
const published: readonly { readonly from: string; readonly text: string; readonly edf: Edf }[] = [
  {
    from: 'pretrain-code container/env.toml',
    text: `image = "container/ngc25.05.sqsh"
mounts = ["/capstor", "/iopsstor", "/users"]
writable = true
[annotations]
com.hooks.aws_ofi_nccl.enabled = "true"
com.hooks.aws_ofi_nccl.variant = "cuda12"
[env]
FI_CXI_DEFAULT_TX_SIZE = "16384"
CUDA_CACHE_DISABLE = "1"
`,
    edf: {
      image: 'container/ngc25.05.sqsh',
      mounts: ['/capstor', '/iopsstor', '/users'],
      writable: true,
      annotations: { 'com.hooks.aws_ofi_nccl.enabled': 'true', 'com.hooks.aws_ofi_nccl.variant': 'cuda12' },
      env: { FI_CXI_DEFAULT_TX_SIZE: '16384', CUDA_CACHE_DISABLE: '1' },
    },
  },
  {
    from: 'cscs-docs edf.md: an annotation as a table, a list of bases, a mount with flags',
    text: `base_environment = ["common_env", "ml_pytorch_env1"]
image = "nvcr.io#nvidia/pytorch:22.12-py3"
entrypoint = false
workdir = "\${HOME}/my-app"
mounts = ["\${SCRATCH}:\${SCRATCH}", "\${SCRATCH}/data.sqsh:/data:sqsh", "/a:/b:ro+private"]
[annotations.com.hooks.ssh]
authorize_ssh_key = "/capstor/scratch/cscs/\${USER}/tests/edf/authorized_keys"
enabled = "true"
`,
    edf: {
      baseEnvironment: ['common_env', 'ml_pytorch_env1'],
      image: 'nvcr.io#nvidia/pytorch:22.12-py3',
      entrypoint: false,
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the engine expands it
      workdir: '${HOME}/my-app',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the engine expands it
      mounts: ['${SCRATCH}:${SCRATCH}', '${SCRATCH}/data.sqsh:/data:sqsh', '/a:/b:ro+private'],
      annotations: {
        // biome-ignore lint/suspicious/noTemplateCurlyInString: the engine expands it
        'com.hooks.ssh.authorize_ssh_key': '/capstor/scratch/cscs/${USER}/tests/edf/authorized_keys',
        'com.hooks.ssh.enabled': 'true',
      },
    },
  },
];

test('published definitions are read, have no problems, and are written back as the same', async () => {
  for (const { from, text, edf } of published) {
    assert.deepEqual(await parseEdf(text, from), edf, from);
    assert.deepEqual(edfProblems(edf), [], from);
    assert.deepEqual(await parseEdf(renderEdf(edf), from), edf, from);
  }
});

test('published references of images are taken, and others are refused', () => {
  const problem = (image: string): number => edfProblems({ image }).length;
  const good = [
    'library/ubuntu:24.04',
    'docker.io#library/ubuntu:24.04',
    'quay.io#madeeks/osu-mb:6.2-mpich4.1-ubuntu22.04-arm64',
    'jfrog.svc.cscs.ch/docker-group-csstaff/alps-images/apertus-2:alps4-dev-3f34f16a8d1f2fc0',
    'user@registry.example:5000#group/image',
    `alpine@sha256:${'a'.repeat(64)}`,
    '/path/to/image.squashfs',
  ];
  for (const image of good) assert.equal(problem(image), 0, image);
  for (const image of ['two words', 'a//b', 'image:', '#image', 'a#b#c']) assert.equal(problem(image), 1, image);
});

test('any definition survives writing and reading', async () => {
  const text = fc.string({ unit: 'binary' });
  const record = (key: fc.Arbitrary<string>) => fc.dictionary(key, text, { maxKeys: 4, noNullPrototype: true });
  const name = fc.stringMatching(/^[A-Za-z_]\w{0,8}$/);
  // Flat names of which none is the beginning of another: what TOML can say.
  const annotation = fc.tuple(name, name).map(([a, b]) => `com.${a}.x-${b}`);
  const edf = fc.record(
    {
      image: text,
      workdir: text,
      writable: fc.boolean(),
      mounts: fc.array(text),
      env: record(name),
      annotations: record(annotation),
    },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(edf, async (value) => {
      const back = await parseEdf(renderEdf(value), 'a test');
      // Tables without rows are not written.
      const rows = Object.entries(value).filter(
        ([key, part]) => !(/env|anno/.test(key) && Object.keys(part).length === 0),
      );
      assert.deepEqual(back, Object.fromEntries(rows));
    }),
    { numRuns: 300 },
  );
});

test('what is wrong is named', async () => {
  await assert.rejects(parseEdf('image = "a', 'x.toml'), /x\.toml is no TOML/);
  await assert.rejects(parseEdf('imagee = "a"', 'x.toml'), /x\.toml is not valid[\s\S]*imagee/);
  await assert.rejects(parseEdf('[env]\nTHREADS = 4', 'x.toml'), /expected string[\s\S]*THREADS/);
  assert.deepEqual(
    edfProblems({
      image: 'i:1',
      mounts: ['scratch:/scratch', '/a:b', '/a:/c:ro,private', '/d:/c'],
      workdir: 'here',
      env: { 'A-B': '1' },
      annotations: { 'com..cxi': 'true' },
    }),
    [
      'mount "scratch:/scratch": the source is no absolute path',
      'mount "/a:b": the destination is no absolute path',
      'mount "/a:/c:ro,private": flags are joined by +, e.g. ro+private',
      'two mounts at /c',
      'workdir "here" is no absolute path',
      'env: "A-B" is no name of a variable',
      'annotations: "com..cxi" has an empty part',
    ],
  );
});

/* biome-ignore-start lint/suspicious/noTemplateCurlyInString: the engine expands it */
test('variables are expanded as the engine does', () => {
  const env = { USER: 'ada', EMPTY: '' };
  assert.equal(expandVariables('/scratch/${USER}/x', env, 'a mount'), '/scratch/ada/x');
  assert.equal(expandVariables('$${USER} ${NONE:-} ${NONE:-word} $USER', env, 'a mount'), '${USER}  word $USER');
  assert.throws(() => expandVariables('${NONE}', env, 'a mount'), /a mount names a variable that is not set/);
});

test('what is not here is named before a job is submitted', () => {
  const dir = mkdtempSync(join(tmpdir(), 'belay-edf-'));
  writeFileSync(join(dir, 'image.sqsh'), '');
  const env = { DIR: dir };
  const good = { image: '${DIR}/image.sqsh', mounts: ['${DIR}', '${DIR}:/data:ro'], env: { A: '${DIR}' } };
  assert.deepEqual(edfProblemsHere(good, env), []);
  const problems = edfProblemsHere({ image: `${dir}/none.sqsh`, mounts: ['${NONE}:/x', `${dir}/gone:/y`] }, env);
  assert.equal(problems.length, 3, problems.join('\n'));
  assert.match(problems.join('\n'), /none\.sqsh is not there[\s\S]*\$\{NONE\}[\s\S]*gone is not there/);
  rmSync(dir, { recursive: true });
});
/* biome-ignore-end lint/suspicious/noTemplateCurlyInString: the engine expands it */

test('definitions inherit: lists and tables grow, single values are replaced', async () => {
  const files: Record<string, string> = {
    '/e/common.toml': 'image = "a:1"\nmounts = ["/capstor"]\n[env]\nA = "1"\nB = "1"\n',
    '/e/gpu.toml': 'writable = false\n[annotations]\ncom.hooks.cxi.enabled = "true"\n',
    '/e/mine.toml': 'base_environment = ["common", "gpu"]\nimage = "b:2"\nmounts = ["/iopsstor"]\n[env]\nB = "2"\n',
    '/e/loop.toml': 'base_environment = "loop"\n',
    '/e/orphan.toml': 'base_environment = "nobody"\n',
  };
  for (let i = 0; i < 12; i++)
    files[`/e/deep${i}.toml`] = i === 0 ? 'image = "a"' : `base_environment = "deep${i - 1}"`;
  const options = { env: { EDF_PATH: '/none:/e' }, read: (path: string) => files[path] };
  assert.deepEqual(await resolveEdf('mine', options), {
    image: 'b:2',
    writable: false,
    mounts: ['/capstor', '/iopsstor'],
    annotations: { 'com.hooks.cxi.enabled': 'true' },
    env: { A: '1', B: '2' },
  });
  assert.equal((await resolveEdf('deep10', options)).image, 'a');
  await assert.rejects(resolveEdf('deep11', options), /more than 10 files/);
  await assert.rejects(resolveEdf('loop', options), /inherits from itself[\s\S]*loop -> loop/);
  await assert.rejects(resolveEdf('orphan', options), /no environment definition nobody[\s\S]*inherited by orphan/);
});

test('the definition for Clariden says what the profile says, always in the same bytes', () => {
  const edf = siteEdf(sites.clariden, {
    image: '/capstor/images/belay.sqsh',
    mounts: ['/capstor', '/dev/shm'],
    env: { B: '', A: '1' },
  });
  assert.equal(
    renderEdf(edf),
    `image = "/capstor/images/belay.sqsh"
mounts = [
    "/capstor",
    "/iopsstor",
    "/dev/shm",
]
writable = true

[annotations]
com.hooks.aws_ofi_nccl.enabled = "true"
com.hooks.aws_ofi_nccl.variant = "cuda12"

[env]
A = "1"
B = ""
`,
  );
  assert.throws(() => siteEdf(sites.clariden, { image: 'a b' }), /no environment definition can be made/);
  assert.throws(() => siteEdf(sites.generic, { image: 'a' }), /starts no containers/);
});
