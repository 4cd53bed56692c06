// A campaign whose nodes, network and scheduler are disturbed five times, in an order drawn by a seed: BELAY_SOAK_SEED, or 1.
// Each seed is another story; run it with many before a change of the link, the sentinels or the restart policy is done.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { Random } from '../src/base/rng.ts';
import { Campaign, result, Runs } from './slurm/campaigns.ts';
import { Cluster, whyNoNamespaces, whyNoSlurm } from './slurm/cluster.ts';

const required = process.env['BELAY_REQUIRE_SLURM'] === '1';
const missing = whyNoSlurm();
const notApart = missing === undefined ? whyNoNamespaces() : undefined;
const skip = required ? false : (missing ?? notApart ?? false);
const seed = Number(process.env['BELAY_SOAK_SEED'] ?? 1);

const runs = new Runs(mkdtempSync(join(tmpdir(), 'belay-soak-')));
let cluster: Cluster;

before(async () => {
  if (skip) return;
  [cluster] = await Promise.all([Cluster.start(join(runs.scratch, 'slurm'), 4, true), runs.prepare()]);
});
after(async () => {
  await cluster?.close();
  rmSync(runs.scratch, { recursive: true, force: true });
});

type Mend = () => Promise<void>;

/** What is done to the first node, where the controller is, or to the last one of those that train; returns what mends it. */
const toNodes: Readonly<Record<string, (victim: string) => Promise<Mend>>> = {
  async 'switched off'(victim) {
    await cluster.kill(victim);
    return () => cluster.boot(victim);
  },
  async 'cut off'(victim) {
    await cluster.cut(victim);
    return () => cluster.mend(victim);
  },
  async frozen(victim) {
    await cluster.freeze(victim);
    return () => cluster.thaw(victim);
  },
  async 'without slurmd'(victim) {
    await cluster.stopSlurmd(victim);
    return () => cluster.startSlurmd(victim);
  },
};

test('five disturbances drawn by a seed: it finishes, and what was computed twice had the same bits', {
  skip,
  timeout: 500_000,
}, async (t) => {
  const random = new Random(seed, 'campaign-soak');
  const set = ['pretrain.steps=400', 'pretrain.checkpointEverySteps=5'];
  const campaign = await Campaign.submit(cluster, runs.folder('soak'), runs.spec('soak', set, { sbatch: [] }));
  await campaign.untilSteps(10);
  const kinds = Object.keys(toNodes);
  const disturb = async (nodes: readonly string[]): Promise<[told: string, mend: Mend]> => {
    const drawn = random.integer(2 * kinds.length + 1);
    if (drawn === 2 * kinds.length) {
      await cluster.stopController();
      return ['no controller of Slurm', () => cluster.startController()];
    }
    const kind = kinds[drawn >> 1] as string;
    const victim = (drawn % 2 === 0 ? nodes[0] : nodes.at(-1)) as string;
    return [`${victim} ${kind}`, await (toNodes[kind] as (typeof toNodes)[string])(victim)];
  };
  const isOver = (): boolean => campaign.folder.stopped() !== undefined;
  const worlds: number[] = [];
  for (let i = 0; i < 5 && !isOver(); i++) {
    const { nodes = [], world = 0 } = campaign.launches().at(-1) ?? {};
    worlds.push(world);
    const step = campaign.steps;
    const [told, mend] = await disturb(nodes);
    const milliseconds = 2000 + random.integer(8000);
    t.diagnostic(`step ${step}, ${nodes.join(', ')}: ${told} for ${milliseconds / 1000} s`);
    await wait(milliseconds);
    await mend();
    const before = campaign.steps;
    await campaign.until('a further step', () => campaign.steps > before || isOver(), 120);
  }
  await campaign.untilStopped();
  assert.equal(campaign.folder.stopped()?.by, 'finished', campaign.said);
  t.diagnostic(
    `ranks: ${worlds.join(', ')}; ${campaign.launches().length} starts in ${campaign.begins().length} links`,
  );
  const { history } = await campaign.status();
  assert.deepEqual(history.differingSteps, []);
  assert.deepEqual(result(campaign.dir), await runs.undisturbed(set));
});
