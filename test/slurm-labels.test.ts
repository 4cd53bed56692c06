// How each end of a campaign's job is labelled, and that its numbers are those of sacct: real jobs of a real Slurm with
// accounts, side by side on one cluster.
//
// An exception, a full disk, SIGSEGV and SIGKILL of a rank are in slurm-campaign.test.ts as well.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readLines } from '../src/base/events.ts';
import type { CampaignSpecInput } from '../src/cluster/campaign-spec.ts';
import type { History, LinkHistory } from '../src/cluster/history.ts';
import { range } from './campaign-files.ts';
import { Campaign, fault, Runs } from './slurm/campaigns.ts';
import { Cluster, whyNoNamespaces, whyNoSlurm, whyNot } from './slurm/cluster.ts';

const required = process.env['BELAY_REQUIRE_SLURM'] === '1';
const missing = whyNoSlurm() ?? whyNot({ accounts: true });
const notApart = missing === undefined ? whyNoNamespaces() : undefined;
const skip = required ? false : (missing ?? notApart ?? false);
const needsNodes = { skip, timeout: 300_000 };

/** Where Slurm limits the memory of jobs: the kernel's memory cgroups of the first version. */
const memoryGroups = '/sys/fs/cgroup/memory';
const noMemoryGroups = ((): string | undefined => {
  const group = join(memoryGroups, `belay-labels-${process.pid}`);
  try {
    mkdirSync(group);
  } catch {
    return `no memory cgroup of the first version can be made at ${memoryGroups}: nothing ends a process for its memory here`;
  }
  try {
    writeFileSync(join(group, 'memory.limit_in_bytes'), `${200 * 2 ** 20}`);
    const greedy = 'for (const taken = []; taken.length < 256; ) taken.push(Buffer.alloc(1 << 22, 1))';
    const enter = 'echo $$ >"$1" && exec "$2" -e "$3"';
    const { signal, status } = spawnSync('sh', [
      ...['-c', enter, 'sh', join(group, 'cgroup.procs'), process.execPath, greedy],
    ]);
    if (signal === 'SIGKILL') return undefined;
    return `a process with more memory than its group ${group} may have ended with ${signal ?? status}: nothing limits memory here`;
  } finally {
    rmdirSync(group);
  }
})();

const runs = new Runs(mkdtempSync(join(tmpdir(), 'belay-labels-')));
let cluster: Cluster;

before(async () => {
  if (skip) return;
  assert.equal(missing, undefined);
  // The database runs as another user.
  chmodSync(runs.scratch, 0o755);
  const dir = join(runs.scratch, 'slurm');
  mkdirSync(dir);
  // What a loaded machine holds up for a moment must not be taken for a dead node.
  const conf = ['SlurmdTimeout=10'];
  if (noMemoryGroups === undefined) {
    conf.push('TaskPlugin=task/cgroup', 'SelectTypeParameters=CR_Core_Memory', 'DefMemPerNode=480');
    const lines = ['CgroupPlugin=cgroup/v1', 'CgroupMountpoint=/sys/fs/cgroup', 'ConstrainRAMSpace=yes'];
    writeFileSync(join(dir, 'cgroup.conf'), `${lines.join('\n')}\n`);
  }
  [cluster] = await Promise.all([Cluster.start(dir, 6, true, { accounts: true, conf }), runs.prepare()]);
});
after(async () => {
  await cluster?.close();
  if (noMemoryGroups === undefined)
    for (const name of readdirSync(memoryGroups)) if (/^slurm_n\d$/.test(name)) removeGroups(join(memoryGroups, name));
  rmSync(runs.scratch, { recursive: true, force: true });
});

/** Removes groups that nothing runs in; others stay. */
function removeGroups(dir: string): void {
  for (const entry of readdirSync(dir, { withFileTypes: true }))
    if (entry.isDirectory()) removeGroups(join(dir, entry.name));
  try {
    rmdirSync(dir);
  } catch {
    // In use by another cluster.
  }
}

// A row that is disturbed from outside has more of them, so that its end does not come first on a loaded machine.
const few = ['pretrain.steps=20', 'pretrain.checkpointEverySteps=5'];

interface Row {
  readonly set?: readonly string[];
  readonly spec?: Partial<CampaignSpecInput>;
  /** Environment that breaks it, given the folder. */
  readonly fault?: (dir: string) => Record<string, string>;
  /** What a test does to it from outside. */
  readonly disturb?: (campaign: Campaign) => Promise<void>;
  /** Domain and cause of each start and of each link that failed, and what their line or node shows. */
  readonly starts: readonly (string | undefined)[];
  readonly links: readonly (string | undefined)[];
  /** Sacct's words for the job of each link that ran; those that waited behind it were taken back. */
  readonly jobs: readonly RegExp[];
  readonly stopped: RegExp;
  readonly by: 'finished' | 'user' | 'policy';
}

/** Successors that waited when the chain stopped. */
const takenBack = /^CANCELLED by 0$/;

const table: Readonly<Record<string, Row>> = {
  // Deaf to the warning and to SIGTERM. A link is not given as little as a minute, so its limit is lowered, as by an operator.
  'time-limit': {
    spec: { time: '2:00', warningSeconds: 5 },
    fault: (dir) => fault('deaf', 7, `${dir}.once`),
    async disturb(campaign) {
      await campaign.until('its beginning', () => campaign.begins().length > 0);
      await cluster.run('scontrol', 'update', `JobId=${campaign.begins()[0]?.job}`, 'TimeLimit=1');
    },
    starts: ['infrastructure, time-limit', undefined],
    links: ['infrastructure, time-limit', undefined],
    jobs: [/^TIMEOUT$/, /^COMPLETED$/],
    ...{ stopped: /^trained to the end$/, by: 'finished' },
  },
  'node-failure': {
    set: ['pretrain.steps=150'],
    spec: { sbatch: ['--exclude=n1,n2,n3,n4'] },
    async disturb(campaign) {
      await campaign.untilSteps(7);
      await cluster.kill(campaign.training().host);
    },
    starts: ['infrastructure, node-failure', undefined],
    links: ['infrastructure, node-failure', undefined],
    jobs: [/^NODE_FAIL$/, /^COMPLETED$/],
    ...{ stopped: /^trained to the end$/, by: 'finished' },
  },
  // The kernel ends the rank, since Slurm gave the job's memory cgroup this limit; slurmstepd sees it and says so.
  ...(noMemoryGroups === undefined
    ? {
        'out-of-memory': {
          spec: { sbatch: ['--exclude=n5,n6', '--mem=480'] },
          fault: (dir) => fault('memory', 7, `${dir}.once`),
          starts: ['workload, out-of-memory', undefined],
          links: [undefined],
          // The link went on after it.
          jobs: [/^(COMPLETED|OUT_OF_MEMORY)$/],
          ...{ stopped: /^trained to the end$/, by: 'finished' },
        } satisfies Row,
      }
    : {}),
  // Weights that are far beyond float32 after a step: what the guard sees is really not a number.
  'not-finite': {
    set: ['pretrain.peakLearningRate=1e30', 'pretrain.guard.maxSkips=0', 'pretrain.guard.maxRollbacks=0'],
    starts: ['workload, not-finite', 'workload, not-finite'],
    links: ['workload, not-finite'],
    jobs: [/^COMPLETED$/],
    stopped:
      /^2 times the same failure after step 2, no progress: workload, not-finite: belay: training stopped at step 3: .*loss NaN/,
    by: 'policy',
  },
  exception: {
    set: ['pretrain.steps=60'],
    fault: () => fault('exception', 37),
    starts: ['workload, exception', 'workload, exception'],
    links: ['workload, exception'],
    jobs: [/^COMPLETED$/],
    stopped:
      /^2 times the same failure after step 36, no progress: workload, exception: Error: injected: the loss has the wrong shape at .*fault\.mjs:\d+/,
    by: 'policy',
  },
  scancel: {
    set: ['pretrain.steps=150'],
    async disturb(campaign) {
      await campaign.untilSteps(7);
      await cluster.run('scancel', campaign.training().job);
      await agreesWithQueue(campaign);
      await campaign.until('the second link', () => campaign.begins().length > 1);
      await agreesWithQueue(campaign);
    },
    starts: ['unknown, cancelled', undefined],
    links: ['unknown, cancelled', undefined],
    jobs: [/^CANCELLED by 0$/, /^COMPLETED$/],
    ...{ stopped: /^trained to the end$/, by: 'finished' },
  },
  cancel: {
    set: ['pretrain.steps=1000'],
    async disturb(campaign) {
      await campaign.untilSteps(7);
      await agreesWithQueue(campaign);
      await campaign.verb('cancel');
      await agreesWithQueue(campaign);
    },
    starts: ['unknown, cancelled'],
    links: ['unknown, cancelled'],
    jobs: [/^CANCELLED by 0$/],
    ...{ stopped: /^a user cancelled it$/, by: 'user' },
  },
};

const label = (verdict: LinkHistory['verdict']): string | undefined => verdict && `${verdict.domain}, ${verdict.cause}`;
const campaigns = new Map<string, Campaign>();
const histories = new Map<string, History>();

/** What status says of jobs, and when the one that runs began, is what the queue says at the same moment. */
async function agreesWithQueue(campaign: Campaign): Promise<void> {
  const name = `belay-${campaign.folder.read().name}-${campaign.folder.read().id}`;
  const queue = async (): Promise<string> =>
    await cluster.run(...['env', 'SLURM_TIME_FORMAT=%s', 'squeue', '-h', '-S', 'i', '-n', name, '-o', '%i %T %N %S']);
  for (;;) {
    const before = await queue();
    const { jobs, links } = await campaign.status();
    // Things change while they are asked.
    if (before !== (await queue())) continue;
    const rows = before.split('\n').filter((line) => line !== '');
    assert.deepEqual(
      jobs.map(({ id, state, nodes }) => `${id} ${state} ${nodes.join(',')}`).sort(),
      rows.map((row) => {
        const [id, state, node] = row.split(' ');
        return state === 'PENDING' ? `${id} pending ` : `${id} running ${node}`;
      }),
    );
    for (const row of rows) {
      const [id, state, , began] = row.split(' ');
      const link = links.find(({ job }) => job === id);
      const expected = state === 'PENDING' ? undefined : Number(began);
      assert.equal(link?.began, expected, `job ${id}, ${row}`);
    }
    return;
  }
}

/** What `report --json` says, once sacct has heard of all ends: its database is told in bundles. */
async function reported(campaign: Campaign): Promise<History> {
  let history: History | undefined;
  await campaign.until('the accounts', async () => {
    history = JSON.parse(await campaign.verb('report', '--json')) as History;
    return campaign.folder.links().every((name) => campaign.folder.record(name, 'accounting.json') !== undefined);
  });
  return history as History;
}

test('ends of all kinds, side by side: labels in history, status and report', needsNodes, async (t) => {
  if (noMemoryGroups !== undefined) t.diagnostic(`left out, out-of-memory: ${noMemoryGroups}`);
  const submit = async ([name, { set = [], spec, fault: broken }]: [string, Row]): Promise<void> => {
    const dir = runs.folder(name);
    const shape = { nodes: 1, sbatch: ['--exclude=n5,n6'], silenceSeconds: 15, environment: broken?.(dir) ?? fault() };
    const campaign = await Campaign.submitBeside(
      cluster,
      dir,
      runs.spec(name, [...few, ...set], { ...shape, ...spec }),
    );
    campaigns.set(name, campaign);
  };
  await Promise.all(Object.entries(table).map(submit));
  const check = async ([name, row]: [string, Row]): Promise<void> => {
    const campaign = campaigns.get(name) as Campaign;
    await row.disturb?.(campaign);
    await campaign.untilStopped(200);
    const stopped = campaign.folder.stopped();
    assert.equal(stopped?.by, row.by, `${name}\n${campaign.said}`);
    assert.match(stopped?.why ?? '', row.stopped);
    const starts = campaign.launches().map(({ end }) => label(end?.verdict));
    assert.deepEqual(starts, row.starts, `${name}\n${campaign.said}`);
    const history = await reported(campaign);
    histories.set(name, history);
    const began = history.links.filter((link) => link.began !== undefined);
    assert.deepEqual(
      began.map(({ verdict }) => label(verdict)),
      row.links,
      `${name}\n${JSON.stringify(history.links)}`,
    );
    assert.equal(history.summary.links, row.links.length, 'a successor that never began is no link yet');
    const status = await campaign.status();
    assert.deepEqual(
      status.links.map(({ verdict }) => label(verdict)),
      history.links.map(({ verdict }) => label(verdict)),
    );
    assert.deepEqual([status.state, status.jobs], [row.by === 'finished' ? 'finished' : 'stopped', []]);
    await campaign.verb('report');
    const page = readFileSync(join(campaign.dir, 'campaign-report.html'), 'utf8');
    for (const one of row.links)
      if (one !== undefined) assert.ok(page.includes(one), `${name}: ${one} is in the report`);
  };
  const results = await Promise.allSettled(Object.entries(table).map(check));
  // All of them, since a run takes long.
  const failed = results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : []));
  assert.deepEqual(failed, []);
  // A link keeps the accounts of those before it, as far as the database has heard of them by then.
  const events = [...campaigns.values()].flatMap(({ folder }) =>
    folder.links().flatMap((link) => readLines<{ readonly event: string }>(folder.link(link, 'events.jsonl'))),
  );
  const count = (name: string): number => events.filter(({ event }) => event === name).length;
  t.diagnostic(`accounts kept by ${count('accounted')} of 3 links that came after another one`);
  assert.deepEqual([count('accounted') > 0, count('no-accounts')], [true, 0]);
});

test('links, nodes, seconds, goodput and lost steps are those of sacct and of the logs', needsNodes, async (t) => {
  for (const [name, { jobs, by }] of Object.entries(table)) {
    const campaign = campaigns.get(name) as Campaign;
    const history = histories.get(name) as History;
    const ids = history.links.map(({ job }) => job).join(',');
    // Without a start sacct leaves out what never could run.
    const format = ['-X', '-n', '-P', '-S', '1970-01-02', '-o', 'JobIDRaw,State,ElapsedRaw,NNodes,NodeList'];
    const rows = (await cluster.run('sacct', `--jobs=${ids}`, ...format)).split('\n').map((line) => line.split('|'));
    assert.deepEqual(
      history.links.map(({ job }) => job),
      rows.map(([id]) => id),
    );
    assert.ok(rows.length > jobs.length, `${name}: ${rows.join(' ')}`);
    let nodeSeconds = 0;
    for (const [i, [id, state = '', elapsed, count, nodes]] of rows.entries()) {
      const link = history.links[i] as LinkHistory;
      assert.match(state, jobs[i] ?? takenBack, `${name}: job ${id}`);
      assert.ok(
        Math.abs(link.seconds.allocated - Number(elapsed)) <= 1,
        `${name}: job ${id}, ${elapsed} s by sacct, ${link.seconds.allocated} s here`,
      );
      const ran = link.began !== undefined;
      assert.deepEqual(link.nodes, ran ? [nodes] : [], `${name}: job ${id}`);
      if (ran) nodeSeconds += Number(elapsed) * Number(count);
      const { allocated, ...parts } = link.seconds;
      assert.ok(Math.abs(allocated - Object.values(parts).reduce((sum, part) => sum + part, 0)) < 1e-6);
    }
    const { summary } = history;
    assert.ok(
      Math.abs(summary.allocatedNodeSeconds - nodeSeconds) <= summary.links,
      `${name}: ${nodeSeconds} s by sacct`,
    );
    assert.equal(summary.links, rows.filter(([, , elapsed]) => Number(elapsed) > 0).length);
    // Counted again, by the logs of the attempts alone: what the last of them stands on, and the rest.
    const attempts = history.attempts.map(({ number }) =>
      readLines<{ step: number; seconds: number }>(
        join(campaign.dir, 'pretrain', 'attempts', String(number).padStart(4, '0'), 'steps.jsonl'),
      ),
    );
    const kept = new Map(attempts.flat().map(({ step, seconds }) => [step, seconds]));
    const last = attempts.at(-1)?.at(-1)?.step ?? 0;
    assert.deepEqual(
      [...kept.keys()].sort((a, b) => a - b),
      range(1, last),
    );
    assert.deepEqual(
      [summary.steps, summary.lastStep, summary.lostSteps],
      [last, last, attempts.flat().length - last],
      name,
    );
    const useful = [...kept.values()].reduce((sum, seconds) => sum + seconds, 0);
    assert.ok(
      Math.abs((summary.goodput ?? 0) - useful / nodeSeconds) <=
        ((useful / nodeSeconds) * (2 * summary.links)) / nodeSeconds,
      name,
    );
    const { history: told } = await campaign.status();
    assert.deepEqual(told, summary, 'status and report say the same');
    if (by === 'finished') assert.deepEqual(summary.differingSteps, []);
    t.diagnostic(
      `${name}: ${rows.map(([, state, elapsed]) => `${state} ${elapsed} s`).join(', ')}; ${summary.lostSteps} steps lost, goodput ${summary.goodput?.toFixed(2)}`,
    );
  }
});

test('where Slurm measures no energy none is told, and it is said', needsNodes, async () => {
  const { summary } = histories.get('scancel') as History;
  const campaign = campaigns.get('scancel') as Campaign;
  assert.deepEqual([summary.energyJoules, summary.energyMeasuredLinks], [undefined, 0]);
  const page = readFileSync(join(campaign.dir, 'campaign-report.html'), 'utf8');
  assert.match(page, /not known<\/b><span>energy: the scheduler measured none, the site names no watts of a node/);
});
