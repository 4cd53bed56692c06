// A training under a real Slurm that is watched: a slowed rank, a stopped one and a frozen node are named; and the history
// of a job whose training died and went on, beside what Slurm's accounts say of it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { readLines } from '../src/base/events.ts';
import { readEventFiles } from '../src/base/tensorboard.ts';
import { packageRoot } from '../src/base/version.ts';
import { recordAccounting } from '../src/cluster/accounting.ts';
import { askThroughSlurm } from '../src/cluster/health/ask-node.ts';
import { type Alert, type StuckRank, Watcher } from '../src/cluster/health/watcher.ts';
import { historyOf } from '../src/cluster/history.ts';
import { exportTensorBoard, metricRows } from '../src/cluster/history-exports.ts';
import { readCampaignFiles } from '../src/cluster/history-files.ts';
import { slurmCli } from '../src/cluster/schedulers/slurm-cli.ts';
import { writeCampaignReport } from '../src/commands/campaign-report.ts';
import { metricGroups, metricTags } from '../src/train/metrics-log.ts';
import { range } from './campaign-files.ts';
import { type Client, Cluster, whyNoNamespaces, whyNoSlurm, whyNot } from './slurm/cluster.ts';

const required = process.env['BELAY_REQUIRE_SLURM'] === '1';
const missing = whyNoSlurm();
const notApart = missing === undefined ? whyNoNamespaces() : undefined;
const skip =
  (required ? false : (missing ?? false)) ||
  (notApart !== undefined && `no network namespaces here, so all nodes are on 127.0.0.1: ${notApart}`);
const needsNodes = { skip, timeout: 240_000 };
const hasAccounts = whyNot({ accounts: true }) === undefined;

const scratch = mkdtempSync(join(tmpdir(), 'belay-slurm-health-'));
const base = join(scratch, 'base');
const isSource = import.meta.url.endsWith('.ts');
const belay = [
  process.execPath,
  ...(isSource ? ['--import', import.meta.resolve('tsx')] : []),
  join(packageRoot, isSource ? 'src/cli.ts' : 'dist/src/cli.js'),
];
let cluster: Cluster;

/** The command line of a pretraining whose steps take some 50 ms. */
function pretrain(dir: string, set: readonly string[], flags: readonly string[] = []): string[] {
  const all = ['pretrain.batchSize=48', 'pretrain.shards=12', 'pretrain.validateEverySteps=0', ...set];
  const settings = all.flatMap((one) => ['--set', one]);
  return [...belay, 'pretrain', '--out', dir, '--recipe', 'demo-tiny', ...settings, ...flags];
}

before(async () => {
  if (skip !== false) return;
  assert.equal(missing, undefined);
  chmodSync(scratch, 0o755);
  mkdirSync(base);
  const preparing = new Promise<void>((resolve, reject) => {
    const [file, ...args] = pretrain(base, ['pretrain.steps=1']);
    const child = spawn(file as string, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => void (said += text));
    child.on('close', (code) => (code === 0 ? resolve() : reject(new Error(said))));
  });
  [cluster] = await Promise.all([Cluster.start(join(scratch, 'slurm'), 3, true, { accounts: hasAccounts }), preparing]);
  for (const name of readdirSync(base)) {
    if (/^(pretrain|plan|recipe|events)/.test(name)) rmSync(join(base, name), { recursive: true });
  }
});
after(async () => {
  await cluster?.close();
  rmSync(scratch, { recursive: true, force: true });
});

/** A campaign folder with everything up to the token files. */
function prepared(name: string): string {
  const dir = join(scratch, name);
  cpSync(base, dir, { recursive: true });
  mkdirSync(join(dir, 'campaign', 'links', '0001'), { recursive: true });
  const campaign = { format: 'belay-campaign-1', name, id: name };
  writeFileSync(join(dir, 'campaign', 'campaign.json'), JSON.stringify(campaign));
  return dir;
}

const stepsIn = (dir: string): number => readLines(join(dir, 'pretrain', 'metrics.jsonl')).length;

async function until(what: string, said: () => string, done: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 90_000;
  while (!(await done())) {
    assert.ok(performance.now() < deadline, `waited in vain for ${what}\n${said()}`);
    await wait(100);
  }
}

async function jobOf(name: string, client: Client): Promise<string> {
  let job = '';
  await until(
    `the job ${name}`,
    () => client.said,
    async () => (job = await cluster.run('squeue', '-h', '-n', name, '-o', '%i')) !== '',
  );
  return job;
}

/** The process out here of the rank of a job on a node. */
function processOn(job: string, node: string): number {
  const found = readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      if (!readFileSync(`/proc/${name}/cmdline`, 'utf8').startsWith(`${process.execPath}\0`)) return false;
      const env = readFileSync(`/proc/${name}/environ`, 'utf8').split('\0');
      return env.includes(`SLURM_JOB_ID=${job}`) && env.includes(`SLURMD_NODENAME=${node}`);
    } catch {
      return false;
    }
  });
  assert.ok(found.length > 0, `a process on ${node}`);
  // A child that it is just starting looks like it for a moment.
  return Math.min(...found.map(Number));
}

test(
  'a slowed rank, a stopped one and a frozen node are named, each with what is known of it',
  needsNodes,
  async (t) => {
    const dir = prepared('watched');
    const layout = ['-N2', '-n2', '-w', 'n2,n3', '--ntasks-per-node=1', '-J', 'watched'];
    const told: Alert[] = [];
    // A beat a second is some six steps.
    const training = pretrain(dir, ['pretrain.steps=4000', 'pretrain.batchSize=144'], ['--heartbeat', '60']);
    let probe: ReturnType<typeof askThroughSlurm> | undefined;
    const watcher = new Watcher({
      dir,
      link: '0001',
      settings: { hangSeconds: 20, silentSeconds: 3, collectSeconds: 6 },
      probe: async (beat) => await probe?.(beat),
    });
    // With a core for each of them one does not become faster by the other's being stopped.
    const client = cluster.client(['srun', ...layout, ...training], { BELAY_THREADS: '1' });
    const said = (): string => `${client.said}\n${JSON.stringify(told)}`;
    const see = async (what: string, isSo: () => boolean): Promise<void> =>
      await until(what, said, () => {
        told.push(...watcher.tick());
        return isSo();
      });
    const isTold = (kind: string, state: string): boolean =>
      told.some((one) => one.kind === kind && one.state === state);
    const job = await jobOf('watched', client);
    probe = askThroughSlurm(job, { prefix: cluster.prefix, env: cluster.env });
    await see('forty steps', () => stepsIn(dir) >= 40);

    const slowed = processOn(job, 'n3');
    let isSlowed = true;
    const slowing = (async () => {
      while (isSlowed) {
        process.kill(slowed, 'SIGSTOP');
        await wait(100);
        process.kill(slowed, 'SIGCONT');
        await wait(100);
      }
    })();
    const began = stepsIn(dir);
    await see('the straggler', () => isTold('straggler', 'firing'));
    const took = stepsIn(dir) - began;
    isSlowed = false;
    await slowing;
    const straggler = told.find(({ kind }) => kind === 'straggler');
    assert.deepEqual([straggler?.rank, straggler?.node], [1, 'n3'], said());
    assert.ok((straggler?.score ?? 1) < 0.7 && took <= 50, `${straggler?.score} after ${took} steps`);
    t.diagnostic(`the slowed rank was named after ${took} steps with a score of ${straggler?.score}`);
    await see('its recovery', () => isTold('straggler', 'resolved'));

    process.kill(slowed, 'SIGSTOP');
    await see('the hang', () => isTold('hang', 'firing'));
    const hang = told.find(({ kind }) => kind === 'hang') as Alert;
    assert.deepEqual(hang.ranks, [1], hang.text);
    const ranks: StuckRank[] = JSON.parse(readFileSync(join(dir, 'campaign', hang.file as string), 'utf8')).ranks;
    assert.match(ranks[1]?.thread?.state ?? hang.text, /T \(stopped\)/);
    assert.equal(ranks.filter(({ isCulprit }) => isCulprit).length, 1);
    process.kill(slowed, 'SIGCONT');
    await see('the end of the hang', () => isTold('hang', 'resolved'));

    told.length = 0;
    await cluster.freeze('n3');
    await see('the second hang', () => isTold('hang', 'firing'));
    const state = await cluster.run('sinfo', '-h', '-n', 'n3', '-o', '%T');
    const frozen = told.find(({ kind, state: is }) => kind === 'hang' && is === 'firing') as Alert;
    assert.deepEqual([frozen.rank, frozen.node, frozen.ranks], [1, 'n3', [1]], said());
    assert.match(frozen.text, /rank 1 on n3 is silent for [\d.]+ s, its node does not answer/);
    t.diagnostic(`Slurm held the frozen node for ${state} when it was named`);
    await cluster.thaw('n3');
    await cluster.run('scancel', job);
    await client.ended;
    await watcher.close();
    const page = readFileSync(writeCampaignReport(dir, { now: Date.now() / 1000 }), 'utf8');
    const marked = [...page.matchAll(/<tr class="marked"><td>([^<]+)<\/td><td>([^<]*)</g)].map(([, node, mark]) => [
      node,
      mark,
    ]);
    assert.deepEqual(marked, [['n3', 'slowed, hung']]);
  },
);

test('the history of a job whose training died and went on agrees with Slurm to the second', needsNodes, async (t) => {
  const dir = prepared('told');
  const steps = 45;
  const log = join(scratch, 'told.log');
  const script = join(scratch, 'told.sh');
  const command = (launch: string): string => {
    const words = pretrain(dir, [`pretrain.steps=${steps}`, 'pretrain.checkpointEverySteps=10']);
    return `BELAY_STARTED_BY='link 0001 step ${launch}' srun ${words.map((word) => `'${word}'`).join(' ')}`;
  };
  const begin = join(dir, 'campaign', 'links', '0001', 'begin.json');
  writeFileSync(
    script,
    `#!/bin/sh\necho "{\\"time\\": $(date +%s.%N), \\"job\\": \\"$SLURM_JOB_ID\\", \\"nodes\\": [\\"n1\\", \\"n2\\"]}" > '${begin}'\n${command('00')}\n${command('01')}\n`,
  );
  writeFileSync(log, '');
  const submit = cluster.client([
    'sbatch',
    '--parsable',
    '-N2',
    '--ntasks-per-node=1',
    '-w',
    'n1,n2',
    '-J',
    'told',
    '-o',
    log,
    script,
  ]);
  assert.equal(await submit.ended, 0, submit.said);
  const job = submit.said.trim();
  writeFileSync(
    join(dir, 'campaign', 'links', '0001', 'job.json'),
    JSON.stringify({ job, submitted: Date.now() / 1000 }),
  );
  const said = (): string => readFileSync(log, 'utf8');
  await until('steps after a checkpoint', said, () => stepsIn(dir) >= 24);
  process.kill(processOn(job, 'n2'), 'SIGKILL');
  const scheduler = slurmCli({ prefix: cluster.prefix, env: cluster.env });
  await until(
    'the end',
    said,
    async () => (await cluster.run('squeue', '-h', '-j', job, '-o', '%T').catch(() => '')) === '',
  );
  assert.equal(stepsIn(dir), steps, said());
  await until('the accounts', said, async () => {
    recordAccounting(readCampaignFiles(dir), await scheduler.history({ ids: [job] }));
    return readCampaignFiles(dir).links[0]?.accounting !== undefined;
  });
  const files = readCampaignFiles(dir);
  const history = historyOf(files, { now: Date.now() / 1000 });
  const { summary, attempts, problems } = history;
  assert.deepEqual(problems, []);
  assert.deepEqual(
    attempts.map(({ link, launch, ranks }) => [link, launch, ranks]),
    [
      ['0001', '00', 2],
      ['0001', '01', 2],
    ],
  );
  const [first, second] = attempts;
  assert.equal(first?.lostSteps, (first?.lastStep ?? 0) - (second?.resumedFrom ?? 0));
  assert.ok(summary.lostSteps > 0, 'steps after the checkpoint were lost');
  assert.deepEqual([summary.lastStep, summary.steps, summary.differingSteps], [steps, steps, []]);
  const link = history.links[0];
  assert.equal(link?.clock, 'scheduler');
  const { allocated, ...parts } = link?.seconds ?? { allocated: 0 };
  assert.ok(Math.abs(allocated - Object.values(parts).reduce((sum, part) => sum + part, 0)) < 1e-6);
  assert.ok(
    Object.values(parts).every((part) => part >= -1),
    JSON.stringify(parts),
  );
  assert.ok(
    Math.abs(link?.beganLater ?? 99) <= 2,
    `the link says ${link?.beganLater} s later than Slurm that it began`,
  );
  assert.ok((summary.goodput ?? 0) > 0 && (summary.goodput ?? 1) < 1);
  if (hasAccounts) {
    const elapsed = Number(await cluster.run('sacct', '-X', '-n', '-P', '-j', job, '-o', 'ElapsedRaw'));
    assert.ok(Math.abs(elapsed - allocated) <= 1, `${elapsed} s by sacct, ${allocated} s here`);
    t.diagnostic(`${elapsed} s by sacct, ${allocated} s here`);
  } else t.diagnostic(`slurmdbd is not here: compared with the file of completed jobs`);
  const board = join(scratch, 'board');
  exportTensorBoard(board, metricRows(files, history, { tags: metricTags, groups: metricGroups }));
  const drawn = readEventFiles(board).filter(({ tag }) => tag === 'lm loss');
  assert.deepEqual(
    drawn.map(({ step }) => step),
    range(1, steps),
  );
  t.diagnostic(`goodput ${summary.goodput?.toFixed(3)}, ${summary.lostSteps} steps lost`);
});
