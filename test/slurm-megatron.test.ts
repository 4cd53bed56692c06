// The chain of campaigns with Megatron as its engine, under a real Slurm of a few nodes. What trains is A STAND-IN for
// pretrain_gpt.py (slurm/megatron-stand-in): it keeps Megatron's files, triggers, signals and exit codes.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { CampaignSpecInput } from '../src/cluster/campaign-spec.ts';
import { Campaign } from './slurm/campaigns.ts';
import { Cluster, whyNoNamespaces, whyNoSlurm } from './slurm/cluster.ts';
import { curves, losses, makeTokens, standIn, tinyRecipe } from './slurm/megatron-tiny.ts';

const required = process.env['BELAY_REQUIRE_SLURM'] === '1';
const missing = whyNoSlurm();
const notApart = missing === undefined ? whyNoNamespaces() : undefined;
const python = spawnSync('python3', ['--version']).status === 0 ? undefined : 'there is no python3 for the stand-in';
const skip = required ? false : (missing ?? notApart ?? python ?? false);
const needsNodes = { skip, timeout: 300_000 };

const scratch = mkdtempSync(join(tmpdir(), 'belay-slurm-megatron-'));
let cluster: Cluster;

before(async () => {
  if (skip) return;
  cluster = await Cluster.start(join(scratch, 'slurm'), 4, true);
});
after(async () => {
  await cluster?.close();
  rmSync(scratch, { recursive: true, force: true });
});

async function submit(name: string, more: Partial<CampaignSpecInput> = {}): Promise<Campaign> {
  const dir = join(scratch, name);
  makeTokens(dir);
  const recipe = join(scratch, 'recipe.json');
  writeFileSync(recipe, JSON.stringify(tinyRecipe));
  return await Campaign.submit(cluster, dir, {
    ...{ name, recipe, engine: 'megatron', megatron: { code: standIn } },
    ...{ nodes: { min: 1, max: 2 }, spares: 1, time: '10:00', warningSeconds: 20 },
    ...{ vet: null, silenceSeconds: 5, environment: { STAND_IN_SECONDS: '0.1' } },
    ...more,
  });
}

const runOf = ({ dir }: Campaign): string => join(dir, 'pretrain');
const outcomes = (campaign: Campaign): (string | undefined)[] => campaign.launches().map(({ end }) => end?.outcome);

let undisturbed: unknown;

test('three phases and two runs go through in one job, nothing edited by hand', needsNodes, async () => {
  const campaign = await submit('calm', { environment: {} });
  await campaign.untilStopped();
  assert.equal(campaign.folder.stopped()?.by, 'finished', campaign.said);
  assert.deepEqual(outcomes(campaign), ['next-phase', 'next-phase', 'finished'], campaign.said);
  undisturbed = curves(runOf(campaign));
  const [first, second] = curves(runOf(campaign));
  assert.deepEqual([first.size, second.size], [30, 10]);
  const [link] = campaign.folder.links();
  const place = campaign.folder.link(link as string, 'steps', '00');
  const provenance = join(place, 'provenance');
  for (const file of ['nodes.txt', 'environment.txt', 'batch-script.sh', 'task.sh'])
    assert.notEqual(readFileSync(join(provenance, file), 'utf8'), '', file);
  assert.match(readFileSync(join(provenance, 'environment.txt'), 'utf8'), /^SLURM_JOB_ID=/m);
  assert.match(readFileSync(join(provenance, 'batch-script.sh'), 'utf8'), /^#SBATCH --signal=USR2@20$/m);
  assert.equal(
    readFileSync(join(provenance, 'nodes.txt'), 'utf8').trim().split('\n').length,
    2,
    'the spare is no rank',
  );
  const { state, step } = await campaign.status();
  assert.deepEqual([state, step], ['finished', 40]);
});

test(
  'a node that trains dies while a checkpoint is written: a spare takes its place, the same curve',
  needsNodes,
  async (t) => {
    const campaign = await submit('node', { environment: { STAND_IN_SECONDS: '0.1', STAND_IN_SAVE_SECONDS: '1' } });
    const unfinished = join(runOf(campaign), 'checkpoints', 'iter_0000010');
    await campaign.until('the second checkpoint', () => existsSync(join(unfinished, '__1_0.distcp')));
    const [first] = campaign.launches();
    assert.equal(first?.nodes.length, 2);
    const victim = first.nodes[1] as string;
    await cluster.kill(victim);
    const at = performance.now();
    await campaign.until('the second start', () => campaign.launches().length > 1);
    const { size } = losses(runOf(campaign));
    await campaign.until('a step of it', () => losses(runOf(campaign)).size > size);
    t.diagnostic(`trains again after ${((performance.now() - at) / 1000).toFixed(1)} s`);
    await campaign.untilStopped();
    assert.equal(campaign.folder.stopped()?.by, 'finished', campaign.said);
    const [failed, second] = campaign.launches();
    assert.equal(failed?.end?.outcome, 'failed', JSON.stringify(failed?.end));
    assert.equal(second?.nodes.length, 2, 'the spare trains');
    assert.ok(!second.nodes.includes(victim));
    assert.equal(second.from, 5);
    assert.equal(campaign.begins().length, 1, 'the job went on, its successors had nothing to do');
    assert.deepEqual(curves(runOf(campaign)), undisturbed);
    await cluster.boot(victim);
  },
);

test('warned by Slurm, asked to save, stopped, and gone on with: the same curve', needsNodes, async () => {
  const campaign = await submit('asked', { environment: { STAND_IN_SECONDS: '0.3' } });
  await campaign.until('six steps', () => losses(runOf(campaign)).size > 5);
  const [first] = campaign.folder.links();
  const { job } = campaign.folder.record<{ job: string }>(first as string, 'job.json') as { job: string };
  // What --signal=USR2@20 does when the time comes.
  await cluster.run('scancel', '--signal=USR2', job);
  await campaign.until('the second link', () => campaign.launches()[1]?.from !== undefined);
  const [warned] = campaign.launches();
  assert.equal(warned?.end?.outcome, 'paused', campaign.said);
  const saved = campaign.launches()[1]?.from;
  assert.ok(saved !== undefined && saved > 5, `it saved the step it was in: ${saved}\n${campaign.said}`);
  await campaign.verb('save');
  const checkpoints = join(runOf(campaign), 'checkpoints');
  await campaign.until('a checkpoint of it', () => readdirSync(checkpoints).length > 3);
  await campaign.verb('stop');
  await campaign.untilStopped();
  assert.equal(campaign.folder.stopped()?.by, 'user', campaign.said);
  assert.notEqual((await campaign.status()).state, 'finished');
  await campaign.verb('submit');
  await campaign.untilStopped();
  assert.equal(campaign.folder.stopped()?.by, 'finished', campaign.said);
  assert.deepEqual(curves(runOf(campaign)), undisturbed);
});

test('a training that cannot be set up ends the chain', needsNodes, async () => {
  const campaign = await submit('assertion', { environment: { STAND_IN_ASSERT: '1' } });
  await campaign.untilStopped();
  assert.ok(
    outcomes(campaign).every((outcome) => outcome === 'mistake'),
    campaign.said,
  );
  assert.equal(campaign.folder.stopped()?.by, 'policy');
  assert.match(campaign.folder.stopped()?.why ?? '', /the stand-in was told to fail/);
});

test('what Megatron could not start is refused before sbatch', needsNodes, async () => {
  mkdirSync(join(scratch, 'refused'));
  await assert.rejects(
    submit('refused', { megatron: { code: '/nowhere' } }),
    /megatron code: \/nowhere\/pretrain_gpt.py/,
  );
  await assert.rejects(submit('refused', { megatron: null }), /does not say where Megatron is/);
  await assert.rejects(submit('refused', { nodes: { min: 3, max: 3 } }), /on 3 to 3 nodes/);
  assert.equal(await cluster.run('squeue', '-h', '-o', '%i'), '');
});
