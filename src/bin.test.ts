// bin/belay.js: runs the compiled command, or says how to compile it.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { packageRoot, version } from './base/version.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-bin-'));
after(() => rmSync(scratch, { recursive: true }));

test('without compiled code it says what to type', () => {
  mkdirSync(join(scratch, 'bin'));
  cpSync(join(packageRoot, 'bin', 'belay.js'), join(scratch, 'bin', 'belay.mjs'));
  const { status, stderr } = spawnSync(process.execPath, [join(scratch, 'bin', 'belay.mjs')], { encoding: 'utf8' });
  assert.equal(status, 2);
  assert.match(stderr, /not built[\s\S]*npm ci/);
});

// Sources run through the transpiler have nothing compiled beside them.
const compiled = existsSync(join(packageRoot, 'dist', 'src', 'cli.js'));
test('the compiled command answers', { skip: compiled ? false : 'nothing is compiled here' }, () => {
  const stdout = execFileSync(process.execPath, [join(packageRoot, 'bin', 'belay.js'), '--version'], {
    encoding: 'utf8',
  });
  assert.equal(stdout, `${version}\n`);
});
