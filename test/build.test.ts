// native/build.mjs with compilers that are too old, played by a script, on a copy of native/.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { packageRoot } from '../src/base/version.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-build-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
cpSync(join(packageRoot, 'native'), join(scratch, 'native'), { recursive: true });
const compiler = join(scratch, 'compiler');
const library = join(scratch, 'build', 'Release', 'belay.node');

/** A compiler that refuses arguments that match, and writes its arguments into what it was asked to make. */
function playCompiler(refused: string): void {
  writeFileSync(
    compiler,
    `#!/bin/sh
[ "$1" = --version ] && echo "pretended compiler" && exit 0
for argument; do case "$argument" in ${refused}) echo "unrecognized option $argument" >&2; exit 1;; esac; done
for argument; do file=$argument; [ "$previous" = -o ] && break; previous=$argument; done
printf '%s\\n' "$*" > "$file"
`,
  );
  chmodSync(compiler, 0o755);
}

function build(...args: string[]): { status: number | null; stderr: string } {
  // The headers of node are not what is tested here.
  writeFileSync(join(scratch, 'node_api.h'), '');
  const headers = join(scratch, 'include', 'node');
  cpSync(join(scratch, 'node_api.h'), join(headers, 'node_api.h'));
  const env = { ...process.env, CXX: compiler, npm_config_nodedir: scratch };
  return spawnSync(process.execPath, [join(scratch, 'native', 'build.mjs'), ...args], { encoding: 'utf8', env });
}

const made = (name: string): string => join(scratch, 'build', 'Release', `${name}.o`);
const onX86 = { skip: process.arch !== 'x64' || process.platform === 'win32' };

test('a target whose instructions the compiler does not know is left out with a sentence', onX86, () => {
  playCompiler('-mavx512bf16');
  const { status, stderr } = build('--required');
  assert.equal(status, 0, stderr);
  assert.match(stderr, /does not know the instructions of avx512bf16; built without/);
  assert.ok(existsSync(library));
  assert.ok(existsSync(made('target-avx512')) && !existsSync(made('target-avx512bf16')));
  assert.match(readFileSync(made('dispatch'), 'utf8'), /-DBELAY_NO_AVX512BF16/);
  assert.doesNotMatch(readFileSync(library, 'utf8'), /avx512bf16/);
  playCompiler('--none');
  const whole = build();
  assert.deepEqual([whole.status, whole.stderr], [0, '']);
  assert.ok(existsSync(made('target-avx512bf16')));
});

test('a compiler without C++20 fails an install no more than none does; an older library does not stay', onX86, () => {
  playCompiler('--none');
  assert.equal(build('--required').status, 0);
  playCompiler('-std=c++20');
  const kept = build();
  assert.equal(kept.status, 0, kept.stderr);
  assert.match(kept.stderr, /makes no C\+\+20 \(pretended compiler\).*TypeScript/);
  assert.ok(existsSync(library), 'a library of the same sources stays');
  assert.equal(build('--required').status, 1);
  appendFileSync(join(scratch, 'native', 'kernels.h'), '// changed\n');
  const removed = build();
  assert.equal(removed.status, 0, removed.stderr);
  assert.match(removed.stderr, /removed .*belay\.node, which was built from other sources/);
  assert.ok(!existsSync(library));
  rmSync(compiler);
  assert.equal(build().status, 0);
  assert.equal(build('--required').status, 1);
});

const hasCompiler = process.arch === 'x64' && spawnSync('g++', ['--version']).status === 0;
test('dispatch names a target that was left out, and why it cannot run', { skip: !hasCompiler }, () => {
  const source = join(scratch, 'ask.cpp');
  writeFileSync(
    source,
    `#include <stdio.h>
#include "kernels.h"
extern "C" const BelayKernels *belay_target_portable(void) { return nullptr; }
extern "C" const BelayKernels *belay_target_avx2(void) { return nullptr; }
extern "C" const char *const *belay_targets(void);
extern "C" const BelayKernels *belay_kernels(const char *name, const char **why);
int main() {
  for (const char *const *name = belay_targets(); *name != nullptr; name++) {
    const char *why = "";
    belay_kernels(*name, &why);
    printf("%s: %s\\n", *name, why);
  }
}
`,
  );
  const flags = ['-std=c++20', '-Wall', '-Wextra', '-Werror', '-DBELAY_NO_AVX512', '-DBELAY_NO_AVX512BF16'];
  const files = [source, join(packageRoot, 'native', 'cpu', 'dispatch.cpp')];
  const program = join(scratch, 'ask');
  const { status, stderr } = spawnSync('g++', [...flags, `-I${packageRoot}/native`, ...files, '-o', program], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  const said = spawnSync(program, { encoding: 'utf8' }).stdout;
  assert.match(said, /^avx512bf16: It was not built/m);
  assert.match(said, /^avx512: It was not built/m);
  assert.doesNotMatch(said, /^(avx2|portable): It was not built/m);
});
