// Campaigns under a real Slurm of a few nodes: chains, and what can be pulled out of them while they train.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CampaignFolder } from '../src/cluster/campaign-folder.ts';
import { Campaign, fault, result, Runs } from './slurm/campaigns.ts';
import { Cluster, whyNoNamespaces, whyNoSlurm } from './slurm/cluster.ts';

const required = process.env['BELAY_REQUIRE_SLURM'] === '1';
const missing = whyNoSlurm();
const notApart = missing === undefined ? whyNoNamespaces() : undefined;
const skip = required ? false : (missing ?? notApart ?? false);
const needsNodes = { skip, timeout: 400_000 };

const runs = new Runs(mkdtempSync(join(tmpdir(), 'belay-campaign-')));
let cluster: Cluster;

before(async () => {
  if (skip) return;
  [cluster] = await Promise.all([Cluster.start(join(runs.scratch, 'slurm'), 5, true), runs.prepare()]);
});
after(async () => {
  await cluster?.close();
  rmSync(runs.scratch, { recursive: true, force: true });
});

const steps = ['pretrain.steps=120', 'pretrain.checkpointEverySteps=5'];

// Slurm counts a job's time in minutes and may warn a minute early, so this takes minutes: it trains beside the others.
let chain: Campaign | undefined;
const chainSteps = ['pretrain.steps=150', 'pretrain.checkpointEverySteps=1000'];

test('links of two minutes that are warned a minute before: submitted', needsNodes, async () => {
  const environment = { ...fault(), SLOW_MS: '1000' };
  const spec = { nodes: 1, time: '2:00', warningSeconds: 59, environment, sbatch: ['--nodelist=n5'] };
  chain = await Campaign.submit(cluster, runs.folder('chain'), runs.spec('chain', chainSteps, spec));
});

test('a node dies: the job goes on with the healthy ones, with the same bits', needsNodes, async (t) => {
  const campaign = await Campaign.submit(cluster, runs.folder('node'), runs.spec('node', steps));
  await campaign.untilSteps(12);
  const first = campaign.training();
  assert.equal(first.nodes.length, 3);
  const victim = first.nodes[2] as string;
  await cluster.kill(victim);
  t.after(() => cluster.boot(victim));
  const at = performance.now();
  await campaign.until('the second start', () => campaign.launches().length > 1);
  const count = campaign.steps;
  await campaign.until('a step of it', () => campaign.steps !== count);
  t.diagnostic(`trains again after ${((performance.now() - at) / 1000).toFixed(1)} s`);
  await campaign.untilStopped();
  const [killed, second] = campaign.launches();
  assert.equal(killed?.end?.verdict?.domain, 'infrastructure', JSON.stringify(killed?.end));
  assert.equal(killed?.end?.verdict?.node, victim);
  assert.deepEqual(second?.nodes, first.nodes.slice(0, 2));
  assert.equal(campaign.folder.stopped()?.by, 'finished', campaign.said);
  assert.deepEqual(result(campaign.dir), await runs.undisturbed(steps));
});

test(
  'the node of the controller dies: another takes over in the same job, with the same bits',
  needsNodes,
  async (t) => {
    const campaign = await Campaign.submit(cluster, runs.folder('batch-host'), runs.spec('batch-host', steps));
    await campaign.untilSteps(12);
    const first = campaign.training();
    const links = campaign.begins().length;
    await cluster.kill(first.host);
    t.after(() => cluster.boot(first.host));
    const at = performance.now();
    await campaign.until('the second start', () => campaign.launches().length > 1);
    const count = campaign.steps;
    await campaign.until('a step of it', () => campaign.steps !== count);
    t.diagnostic(`trains again after ${((performance.now() - at) / 1000).toFixed(1)} s`);
    await campaign.untilStopped();
    assert.equal(campaign.folder.stopped()?.by, 'finished', campaign.said);
    const launches = campaign.launches();
    const dead = launches.findIndex(
      ({ end }) => end?.verdict?.cause === 'node-failure' && end.verdict.node === first.host,
    );
    assert.ok(dead >= 0, campaign.said);
    const after = launches.slice(dead + 1);
    assert.ok(after.length > 0 && after.every(({ nodes }) => !nodes.includes(first.host)), campaign.said);
    assert.deepEqual(
      campaign.folder.takeovers(first.link).map(({ from, host }) => [from, first.nodes.includes(host)]),
      [[first.host, true]],
    );
    assert.equal(campaign.begins().length, links, 'in the same job');
    assert.match(await campaign.verb('logs'), /link \d+: \S+ takes over: the controller on \S+ was silent/);
    assert.deepEqual(result(campaign.dir), await runs.undisturbed(steps));
  },
);

test('the controller freezes, another takes over, and the first wakes up: the same bits', needsNodes, async () => {
  const campaign = await Campaign.submit(cluster, runs.folder('asleep'), runs.spec('asleep', steps));
  await campaign.untilSteps(12);
  const { host, link } = campaign.training();
  await cluster.freeze(host);
  const isBack = (): boolean => campaign.launches().length > 1;
  await campaign.untilThenMend('the second start', isBack, () => cluster.thaw(host));
  await campaign.untilStopped();
  assert.equal(campaign.folder.stopped()?.by, 'finished', campaign.said);
  assert.ok(campaign.folder.takeovers(link).length > 0, campaign.said);
  assert.deepEqual(result(campaign.dir), await runs.undisturbed(steps));
});

test('a network cable is cut: the rank behind it is a zombie that changes nothing', needsNodes, async () => {
  const campaign = await Campaign.submit(cluster, runs.folder('cut'), runs.spec('cut', steps));
  await campaign.untilSteps(12);
  const victim = campaign.training().nodes[1] as string;
  await cluster.cut(victim);
  const isBack = (): boolean => campaign.launches().length > 1;
  await campaign.untilThenMend('the second start', isBack, () => cluster.mend(victim));
  await campaign.untilStopped();
  assert.equal(campaign.folder.stopped()?.by, 'finished', campaign.said);
  assert.deepEqual(result(campaign.dir), await runs.undisturbed(steps));
});

test('a node freezes, wakes up later, and trains again in the same job', needsNodes, async () => {
  const dir = runs.folder('freeze');
  const environment = { ...fault(), SLOW_MS: '500', SLOW_UNTIL: `${dir}.fast` };
  const campaign = await Campaign.submit(cluster, dir, runs.spec('freeze', steps, { environment }));
  await campaign.untilSteps(12);
  const victim = campaign.training().nodes[1] as string;
  await cluster.freeze(victim);
  const isBack = (): boolean => campaign.launches().length > 1;
  await campaign.untilThenMend('the second start', isBack, () => cluster.thaw(victim));
  await campaign.until('the third start', () => campaign.launches().length > 2);
  writeFileSync(`${dir}.fast`, '');
  await campaign.untilStopped();
  const [frozen, , again] = campaign.launches();
  assert.equal(again?.nodes.length, 3, campaign.said);
  assert.deepEqual(
    [frozen?.end?.verdict?.domain, frozen?.end?.verdict?.node],
    ['infrastructure', victim],
    campaign.said,
  );
  assert.equal(campaign.folder.stopped()?.by, 'finished', campaign.said);
  assert.deepEqual(result(campaign.dir), await runs.undisturbed(steps));
});

test(
  '4 nodes, 3 after one dies, 4 again once it is back; status and the scheduler agree on all of it',
  needsNodes,
  async () => {
    const set = ['pretrain.steps=300', 'pretrain.checkpointEverySteps=5'];
    const dir = runs.folder('grow');
    // So slow that the rest is worth a start on more nodes, however long that takes here; fast again after it.
    const environment = { ...fault(), SLOW_MS: '1000', SLOW_UNTIL: `${dir}.fast` };
    const campaign = await Campaign.submit(
      ...([cluster, dir, runs.spec('grow', set, { nodes: { min: 2, max: 4 }, environment })] as const),
    );
    await campaign.untilSteps(6);
    const running = await campaign.status();
    const [job] = running.jobs.filter(({ state }) => state === 'running');
    const waiting = running.jobs.filter(({ state }) => state === 'pending').map(({ id }) => `${id} PENDING`);
    assert.equal(waiting.length, 2);
    const queue = await cluster.run('squeue', '-h', '-n', `belay-grow-${running.id}`, '-o', '%i %T', '-S', 'i');
    assert.deepEqual(queue.split('\n'), [`${job?.id} RUNNING`, ...waiting], 'its successors are there');
    const victim = campaign.training().nodes.at(-1) as string;
    await cluster.kill(victim);
    await campaign.until('the start on three', () => campaign.launches().length > 1);
    // Late: Slurm has taken it from the job, and it is there for the next one.
    const state = async (): Promise<string> => await cluster.run('sinfo', '-h', '-n', victim, '-o', '%T');
    await campaign.until('the state down', async () => (await state()).startsWith('down'));
    await cluster.boot(victim);
    await campaign.until('the start on four', () => campaign.launches().length > 2, 200);
    writeFileSync(`${dir}.fast`, '');
    await campaign.untilStopped();
    assert.equal(campaign.folder.stopped()?.by, 'finished', campaign.said);
    assert.deepEqual(
      campaign.launches().map(({ nodes, end }) => [nodes.length, end?.verdict?.domain ?? end?.outcome]),
      [
        [4, 'infrastructure'],
        [3, 'paused'],
        [4, 'finished'],
      ],
      campaign.said,
    );
    assert.deepEqual(result(campaign.dir), await runs.undisturbed(set));
    const { history } = await campaign.status();
    assert.deepEqual([history.lastStep, history.attempts, history.failures], [300, 3, 1]);
    assert.ok(campaign.ends().some(({ growth }) => growth?.from === 3 && growth.to === 4));
  },
);

test(
  'the node dies as soon as a job has it, before anything runs there: the next job trains',
  needsNodes,
  async (t) => {
    const campaign = await Campaign.submit(cluster, runs.folder('early'), runs.spec('early', steps, { nodes: 1 }));
    const node = async (): Promise<string> =>
      await cluster.run(
        'squeue',
        '-h',
        '-t',
        'RUNNING',
        '-n',
        CampaignFolder.jobName(campaign.folder.read()),
        '-o',
        '%N',
      );
    let victim = '';
    await campaign.until('a node', async () => (victim = await node()) !== '');
    await cluster.kill(victim);
    t.after(() => cluster.boot(victim));
    t.diagnostic(`links that had begun: ${campaign.begins().length}`);
    await campaign.untilStopped();
    assert.equal(campaign.folder.stopped()?.by, 'finished', campaign.said);
    assert.deepEqual(result(campaign.dir), await runs.undisturbed(steps));
  },
);

test('daemons that are away for a while disturb nothing', needsNodes, async () => {
  const campaign = await Campaign.submit(cluster, runs.folder('daemons'), runs.spec('daemons', steps));
  await campaign.untilSteps(5);
  const node = campaign.training().nodes[1] as string;
  await cluster.stopSlurmd(node);
  await cluster.stopController();
  await campaign.untilSteps(30);
  await cluster.startSlurmd(node);
  await cluster.startController();
  await campaign.untilStopped();
  assert.equal(campaign.folder.stopped()?.by, 'finished', campaign.said);
  assert.equal(campaign.launches().length, 1, campaign.said);
  assert.deepEqual(result(campaign.dir), await runs.undisturbed(steps));
});

test('a bug stops the chain with the line that caused it, and nothing is left in the queue', needsNodes, async () => {
  const campaign = await Campaign.submit(
    ...([cluster, runs.folder('bug')] as const),
    runs.spec('bug', steps, { environment: fault('exception', 37) }),
  );
  await campaign.untilStopped();
  const stopped = campaign.folder.stopped();
  assert.equal(stopped?.by, 'policy');
  assert.match(stopped.why, /no progress/);
  assert.match(stopped.why, /workload, exception: Error: injected: the loss has the wrong shape/);
  assert.equal(campaign.launches().length, 2);
  const status = await campaign.status();
  assert.deepEqual([status.state, status.step, status.jobs.length], ['stopped', 35, 0]);
});

test('each way to fail has its label, and one that passes does not stop the chain', needsNodes, async () => {
  const expected = {
    'disk-full': ['infrastructure', 'disk-full'],
    segfault: ['workload', 'segfault'],
    killed: ['unknown', 'killed'],
  } as const;
  for (const [kind, label] of Object.entries(expected)) {
    const dir = runs.folder(kind);
    const few = ['pretrain.steps=20', 'pretrain.checkpointEverySteps=5'];
    const environment = fault(kind, 12, `${dir}.once`);
    const campaign = await Campaign.submit(
      cluster,
      dir,
      runs.spec(kind, few, { environment, nodes: { min: 1, max: 2 } }),
    );
    await campaign.untilStopped();
    const [failed, passed] = campaign.launches();
    assert.deepEqual([failed?.end?.verdict?.domain, failed?.end?.verdict?.cause], label, campaign.said);
    assert.equal(passed?.end?.outcome, 'finished', campaign.said);
    assert.deepEqual(result(dir), await runs.undisturbed(few));
  }
});

test('two campaigns side by side; one is stopped and goes on, one saves when it is asked', needsNodes, async () => {
  const many = ['pretrain.steps=300', 'pretrain.checkpointEverySteps=5'];
  const two = { nodes: { min: 1, max: 1 } };
  const [left, right] = (await Promise.all(
    ['left', 'right'].map((name) => Campaign.submit(cluster, runs.folder(name), runs.spec(name, many, two))),
  )) as [Campaign, Campaign];
  await Promise.all([left.untilSteps(7), right.untilSteps(7)]);
  await Promise.all([left.verb('stop'), right.verb('save')]);
  await left.untilStopped();
  assert.equal(left.folder.stopped()?.by, 'user');
  assert.ok(left.steps < 300);
  const status = await left.status();
  assert.deepEqual(
    [status.state, status.step, status.jobs.length],
    ['stopped', left.steps, 0],
    'it saved the step it was in',
  );
  await left.verb('submit');
  await Promise.all([left.untilStopped(), right.untilStopped()]);
  const whole = await runs.undisturbed(many);
  for (const campaign of [left, right]) {
    assert.equal(campaign.folder.stopped()?.by, 'finished', campaign.said);
    assert.deepEqual(result(campaign.dir), whole);
  }
});

test('the script of --dry-run is the one that Slurm keeps, byte for byte', needsNodes, async () => {
  const dir = runs.folder('script');
  const campaign = await Campaign.submit(
    cluster,
    dir,
    runs.spec('script', ['pretrain.steps=1000'], { environment: { ...fault(), QUOTED: "it's $HOME" } }),
  );
  const shown = await campaign.verb('submit', '--dry-run');
  const [first] = campaign.folder.links();
  const job = campaign.folder.record<{ readonly job: string }>(first as string, 'job.json')?.job as string;
  const kept = await cluster.run('scontrol', 'write', 'batch_script', job, '-');
  assert.equal(kept.trimEnd(), shown.trimEnd());
  await campaign.untilSteps(1);
  await campaign.verb('cancel');
  await campaign.untilStopped();
  const stopped = campaign.folder.stopped();
  assert.deepEqual([stopped?.by, stopped?.why], ['user', 'a user cancelled it']);
});

test(
  'links of two minutes that are warned a minute before: each saved, left, and the next went on',
  needsNodes,
  async (t) => {
    assert.ok(chain);
    await chain.untilStopped(280);
    assert.equal(chain.folder.stopped()?.by, 'finished', chain.said);
    const launches = chain.launches();
    t.diagnostic(`${launches.length} links`);
    assert.ok(launches.length >= 3, chain.said);
    // Each began where the one before had saved: no step was computed twice.
    for (const [i, { from, end }] of launches.entries()) {
      assert.equal(from, i === 0 ? 0 : launches[i - 1]?.end?.to);
      assert.equal(end?.outcome, i === launches.length - 1 ? 'finished' : 'paused');
    }
    assert.deepEqual(result(chain.dir), await runs.undisturbed(chainSteps));
  },
);
