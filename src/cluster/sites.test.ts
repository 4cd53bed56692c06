// Site profiles: what is shipped, what a user's file changes, and what is refused before a scheduler is asked.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { UserError } from '../base/errors.ts';
import { checkJob, environmentOf, partitionOf, storageFor } from './site.ts';
import { loadSite, sites } from './sites.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-sites-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

function file(name: string, value: unknown): string {
  const path = join(scratch, name);
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
  return path;
}

test('Clariden has the published facts', () => {
  const { node, slurm, partitions, storage, container, rendezvousPort } = sites.clariden;
  assert.equal(node.gpus, 4);
  assert.deepEqual([node.tasksPerNode, node.cpusPerTask, node.memoryMegabytes], [4, 36, 460_000]);
  assert.equal(slurm.constraint, 'thp_never&nvidia_vboost_enabled');
  assert.deepEqual([slurm.warningSignal, slurm.warningSeconds], ['USR2', 600]);
  assert.equal(partitions['normal']?.timeSeconds, 12 * 3600);
  assert.equal(partitions['large']?.timeSeconds, 48 * 3600);
  assert.equal(partitions['large']?.slurmName, null, 'its name is not published, so none is made up');
  assert.deepEqual([storage['iopsstor']?.cleanupDays, storage['capstor']?.cleanupDays], [14, 30]);
  assert.equal(storage['store']?.jobsWrite, false);
  assert.equal(container.engine, 'edf');
  assert.equal(rendezvousPort, 32_100);
});

test('Clariden sets what the campaign set and what the site recommends, each with a source', () => {
  const variables = environmentOf(sites.clariden);
  const value = (name: string): string | undefined => variables.find((each) => each.name === name)?.value;
  // Those of the published scripts.
  const campaign = {
    FI_CXI_DEFAULT_TX_SIZE: '16384',
    NCCL_NET_FORCE_FLUSH: '1',
    FI_CXI_RDZV_GET_MIN: '0',
    FI_CXI_SAFE_DEVMEM_COPY_THRESHOLD: '16777216',
    NCCL_RAS_ENABLE: '0',
    CUDA_CACHE_DISABLE: '1',
    TORCH_NCCL_AVOID_RECORD_STREAMS: '1',
    TORCH_NCCL_ASYNC_ERROR_HANDLING: '1',
    CUDA_DEVICE_MAX_CONNECTIONS: '1',
  };
  // Those of CSCS's page on NCCL.
  const recommended = {
    NCCL_NET: 'AWS Libfabric',
    NCCL_NET_GDR_LEVEL: 'PHB',
    NCCL_CROSS_NIC: '1',
    NCCL_PROTO: '^LL128',
    FI_CXI_DEFAULT_CQ_SIZE: '131072',
    FI_CXI_DISABLE_HOST_REGISTER: '1',
    FI_CXI_RX_MATCH_MODE: 'software',
    FI_MR_CACHE_MONITOR: 'userfaultfd',
  };
  for (const [name, expected] of Object.entries({ ...campaign, ...recommended })) assert.equal(value(name), expected);
  for (const { name, source } of variables) assert.match(source, /\S/, `${name} says where it is from`);
  assert.deepEqual(
    variables.map(({ name }) => name),
    variables.map(({ name }) => name).sort(),
  );
});

test('a work-around is added by name, and an unknown one is refused', () => {
  const value = (set: string[]): string | undefined =>
    environmentOf(sites.clariden, set).find(({ name }) => name === 'FI_CXI_RDZV_EAGER_SIZE')?.value;
  assert.equal(value([]), undefined);
  assert.equal(value(['nccl-hang']), '0');
  assert.throws(() => environmentOf(sites.clariden, ['magic']), /no work-around "magic"[\s\S]*nccl-hang/);
  assert.throws(() => environmentOf(sites.generic, ['toString']), UserError);
});

test('what is for what: random reads on flash, checkpoints on disks', () => {
  const names = (use: Parameters<typeof storageFor>[1]): string[] =>
    storageFor(sites.clariden, use).map(({ name }) => name);
  assert.deepEqual(names('indices'), ['iopsstor']);
  assert.deepEqual(names('checkpoints'), ['capstor']);
  assert.deepEqual(names('archive'), ['store']);
});

test('at a site of which nothing is known a partition is what the user calls it', () => {
  assert.equal(partitionOf(sites.generic).slurmName, null);
  assert.equal(partitionOf(sites.generic, 'default').slurmName, null);
  assert.equal(partitionOf(sites.generic, 'gpu').slurmName, 'gpu');
  checkJob(sites.generic, { partition: 'gpu', nodes: 10_000, timeSeconds: 1e6 });
  assert.throws(() => partitionOf(sites.clariden, 'gpu'), /no partition "gpu"/);
});

test('a job that a partition would refuse is refused before', () => {
  const check = (partition: string, nodes: number, timeSeconds: number) => () =>
    checkJob(sites.clariden, { partition, nodes, timeSeconds });
  check('normal', 1200, 12 * 3600)();
  check('large', 1024, 48 * 3600)();
  check('debug', 4, 22 * 60)();
  assert.throws(check('normal', 4, 48 * 3600), /too long[\s\S]*48:00:00[\s\S]*at most 12:00:00/);
  assert.throws(check('debug', 5, 1200), /too many nodes/);
  assert.throws(check('debug', 4, 23 * 60), /node-minutes[\s\S]*92[\s\S]*90/);
  assert.throws(check('low', 4, 600), /warned before it starts/);
  assert.throws(check('huge', 4, 600), /no partition "huge"[\s\S]*normal, debug/);
  assert.throws(check('constructor', 4, 600), UserError);
});

test("a user's file replaces single values, takes some away and adds others", () => {
  const path = file('mine.json', {
    base: 'clariden',
    slurm: { warningSeconds: 1200 },
    partitions: { large: { slurmName: 'apertus' }, xfer: null },
    defaultPartition: 'large',
    environment: { NCCL_RAS_ENABLE: null, NCCL_DEBUG: 'WARN' },
    workarounds: { mine: { A: 'b' } },
  });
  const site = loadSite(path);
  assert.equal(site.name, 'mine');
  assert.equal(site.slurm.warningSeconds, 1200);
  assert.equal(site.slurm.constraint, 'thp_never&nvidia_vboost_enabled', 'what is not named stays');
  assert.equal(partitionOf(site).slurmName, 'apertus');
  assert.equal(partitionOf(site).timeSeconds, 48 * 3600);
  assert.equal(site.partitions['xfer'], undefined);
  assert.equal(site.environment['NCCL_RAS_ENABLE'], undefined);
  assert.deepEqual(site.environment['NCCL_DEBUG'], { value: 'WARN', source: path });
  assert.deepEqual(site.workarounds['mine'], { A: { value: 'b', source: path } });
  assert.equal(sites.clariden.slurm.warningSeconds, 600, 'the shipped one is as it was');
});

test('a null that is a value stays one', () => {
  const site = loadSite(file('nulls.json', { base: 'clariden', slurm: { constraint: null } }));
  assert.equal(site.slurm.constraint, null);
});

test('files that are no profiles are refused with what is wrong', () => {
  const refused = (value: unknown, pattern: RegExp): void =>
    assert.throws(
      () => loadSite(file('bad.json', value)),
      (error) => error instanceof UserError && pattern.test(error.message),
    );
  refused('{', /not valid JSON/);
  refused([], /no JSON object/);
  refused({ base: 'summit' }, /does not ship[\s\S]*summit/);
  refused({ node: { gpus: -1 } }, /node\.gpus/);
  refused({ partition: {} }, /Unrecognized key[\s\S]*partition/);
  refused({ defaultPartition: 'none' }, /no partition "none"/);
  refused({ environment: { 'NO SPACES': 'x' } }, /environment/);
  refused({ environment: { '$(rm)': 'x' } }, /environment/);
  assert.throws(() => loadSite('claridan'), /no site profile[\s\S]*did you mean clariden/);
  assert.throws(() => loadSite('/nowhere/site.json'), /cannot read the site profile/);
});
