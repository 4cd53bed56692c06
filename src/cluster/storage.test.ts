// Placement of a campaign's files, what is checked, how folders are striped, and caches of ranks.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { overrideSite, storageUses } from './site.ts';
import { sites } from './sites.ts';
import {
  checkPlacements,
  type DiskLook,
  jitCacheEnvironment,
  jitCacheLines,
  placeAll,
  planStripes,
  type StorageNeed,
  thisMachine,
} from './storage.ts';

const env = { USER: 'ada', PROJECT: 'a123' };
const roomy: DiskLook = { free: () => ({ bytes: 1e16, files: 1e9 }) };
const need = (use: StorageNeed['use'], bytes: number, files = 100, written = true): StorageNeed => ({
  use,
  bytes,
  files,
  written,
});

test('on Clariden tokens go to flash, checkpoints to disks, and what is to stay to the store', () => {
  const paths = placeAll(sites.clariden, ['tokens', 'indices', 'images', 'checkpoints', 'archive'], 'run-1', env);
  assert.deepEqual(
    paths.map(({ path }) => path),
    [
      '/iopsstor/scratch/cscs/ada/run-1/tokens',
      '/iopsstor/scratch/cscs/ada/run-1/indices',
      '/iopsstor/scratch/cscs/ada/run-1/images',
      '/capstor/scratch/cscs/ada/run-1/checkpoints',
      '/capstor/store/cscs/swissai/a123/run-1/archive',
    ],
  );
  assert.throws(
    () => placeAll(sites.clariden, ['archive'], 'x', { USER: 'ada' }),
    /names a variable that is not set[\s\S]*PROJECT/,
  );
  const [here] = placeAll(sites.generic, ['checkpoints'], 'x', { PWD: '/work/campaign' });
  assert.equal(here?.path, '/work/campaign/x/checkpoints');
  const without = overrideSite(sites.clariden, { storage: { store: null } }, 'a test');
  assert.throws(() => placeAll(without, ['archive'], 'x', env), /has no file system for archive/);
});

test('a campaign that fits is let through, with what the clean-up will do', () => {
  const needs = [need('tokens', 60e12, 4000, false), need('checkpoints', 20e12, 80_000)];
  const placements = placeAll(sites.clariden, ['tokens', 'checkpoints'], 'run-1', env);
  assert.deepEqual(checkPlacements(placements, needs, 7, roomy), []);
  assert.deepEqual(
    checkPlacements(placements, needs, 20, roomy).map(({ kind, use, line }) => `${kind} ${use} ${line.split(':')[0]}`),
    ['warning tokens iopsstor deletes what was not read for 14 days'],
  );
  assert.equal(checkPlacements(placements, needs, 90, roomy).length, 2);
});

test('what would fail is refused: no room, no quota, not mounted, not writable, not for jobs', () => {
  const placements = placeAll(sites.clariden, ['checkpoints', 'logs', 'archive'], 'run-1', env);
  const lines = (needs: StorageNeed[], look: DiskLook = roomy): string[] =>
    checkPlacements(placements, needs, 1, look).map(({ kind, line }) => `${kind}: ${line}`);
  assert.deepEqual(lines([need('checkpoints', 100e12, 10), need('logs', 60e12, 10)]), [
    'refused: capstor has 150 TB quota and the campaign needs 160 TB there',
  ]);
  assert.deepEqual(lines([need('checkpoints', 1, 2_000_000)]), [
    'refused: capstor has 1,000,000 files quota and the campaign needs 2,000,000 files there',
  ]);
  assert.deepEqual(lines([need('checkpoints', 2e12)], { free: () => ({ bytes: 1.5e12, files: 0 }) }), [
    'refused: capstor has 1.5 TB free and the campaign needs 2.0 TB there',
  ]);
  assert.match(
    lines([need('archive', 1)])[0] as string,
    /archive would be written by jobs to store .* where they may not/,
  );
  assert.equal(lines([], { free: () => undefined }).length, 3);
  assert.match(lines([], { free: () => null })[0] as string, /cannot be written to/);
});

test('on this machine: a folder to be made counts as the one above, and nothing is made', () => {
  const dir = mkdtempSync(join(tmpdir(), 'belay-storage-'));
  const free = thisMachine.free(join(dir, 'a', 'b'));
  assert.ok(free && free.bytes > 0);
  assert.deepEqual(readdirSync(dir), []);
  assert.equal(thisMachine.free('/no-such-mount/x'), undefined);
  rmSync(dir, { recursive: true });
});

const plan = (sizes: number[], writers: number, targets: number | null = null) =>
  planStripes({ folder: '/capstor/run 1', sizes, writers, targets });
const MiB = 1 << 20;
const GiB = 1 << 30;

test('the published layouts come out where nothing else is known', () => {
  assert.equal(
    plan([1000, 30 * MiB, 20 * GiB], 1).command,
    "lfs setstripe -E 4M -c 1 -E 64M -c 4 -E -1 -c 32 -S 4M '/capstor/run 1'",
  );
  assert.equal(plan([GiB, 20 * GiB], 1).command, "lfs setstripe -c 32 -S 4M '/capstor/run 1'");
  assert.equal(plan([10, MiB], 1).command, "lfs setstripe -c 1 '/capstor/run 1'");
  assert.match(plan([20 * GiB], 1).text, /1 files of 21 GB to 21 GB\n {2}the rest on 32 targets in 4 MiB\n/);
});

test('the more write at once, the fewer targets each file gets, and the load stays even', () => {
  const shard = 115e6;
  const widths = [1, 40, 80, 160, 320, 4096].map((writers) => {
    const { layout, text } = plan(Array<number>(8192).fill(shard), writers, 80);
    const fullest = Number(/holds ([\d.]+) times/.exec(text)?.[1]);
    assert.ok(fullest >= 1 && fullest < 1.1, text);
    return layout.at(-1)?.count;
  });
  assert.deepEqual(widths, [16, 8, 4, 2, 1, 1]);
  // One image on one target is read by all nodes from there.
  assert.match(plan([20e9], 1, 80).text, /holds 2\.50 times the mean/);
  assert.match(plan(Array<number>(8192).fill(shard), 4096, 80).text, /4096 files are written at once/);
});

test('any layout covers all sizes, in growing steps, within what there is', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 1e13 }), { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 1, max: 1e5 }),
      fc.option(fc.integer({ min: 1, max: 5000 })),
      (sizes, writers, targets) => {
        const { layout } = plan(sizes, writers, targets);
        assert.equal(layout.at(-1)?.end, null);
        layout.forEach(({ end, count }, i) => {
          assert.ok(count >= 1 && count <= Math.min(32, targets ?? 32));
          const next = layout[i + 1];
          if (next) assert.ok(end !== null && (next.end ?? Number.POSITIVE_INFINITY) > end && next.count > count);
        });
      },
    ),
  );
});

test('each rank has caches of its own, which are gone after it', () => {
  const dir = mkdtempSync(join(tmpdir(), 'belay cache-'));
  const { before, after } = jitCacheLines(dir);
  const script = [...before, 'env | grep belay-cache | sort', `find '${dir}' -mindepth 2`, ...after].join('\n');
  const said = [0, 1].map((rank) => {
    const { status, stdout, stderr } = spawnSync('sh', ['-euc', script], {
      env: { PATH: process.env['PATH'], SLURM_JOB_ID: '77', SLURM_PROCID: `${rank}` },
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
    const made = stdout.trim().split('\n');
    assert.equal(made.pop(), join(dir, 'belay-cache-77', `${rank}`));
    assert.deepEqual(
      made,
      Object.entries(jitCacheEnvironment(dir, '77', rank)).map(([name, path]) => `${name}=${path}`),
    );
    return made;
  });
  assert.notDeepEqual(said[0], said[1]);
  assert.equal(existsSync(join(dir, 'belay-cache-77')), false);
  rmSync(dir, { recursive: true });
});

test('every use of every shipped site has a place, but for those it does not have', () => {
  for (const site of Object.values(sites)) {
    for (const use of storageUses)
      assert.ok(placeAll(site, [use], 'x', { ...env, PWD: '/p' })[0], `${site.name} ${use}`);
  }
});
