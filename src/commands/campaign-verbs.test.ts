// The verbs of `belay campaign` as programs use them, without a terminal: what each of them says and exits with for
// campaigns that are finished, stopped, missing, half written, or whose scheduler does not answer. Nothing is trained.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import { runCli } from '../../test/run-cli.ts';
import { writeJsonAtomic } from '../base/atomic.ts';
import { appendEvent } from '../base/events.ts';
import { loadRecipe } from '../base/recipe.ts';
import { CampaignFolder, type StoppedFile } from '../cluster/campaign-folder.ts';
import { type CampaignSpec, parseCampaignSpec } from '../cluster/campaign-spec.ts';
import type { CampaignStatus } from '../cluster/campaign-status.ts';
import { SchedulerError } from '../cluster/scheduler.ts';
import { loadSite } from '../cluster/sites.ts';
import { clearTriggers, pullTriggers } from '../cluster/triggers.ts';
import { withAbsolutePaths } from './campaign-megatron.ts';
import { campaignRecipe, lastComputedStep, openCampaign, recipeOfSpec } from './campaign-parts.ts';
import { campaignFile, submitCampaign } from './campaign-submit.ts';

const isLinux = existsSync('/proc/self/stat');
const needsLinux = { skip: isLinux ? false : 'the scheduler of this machine needs /proc' };
const scratch = mkdtempSync(join(tmpdir(), 'belay-campaign-verbs-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const verb = async (name: string, dir: string, ...args: string[]): ReturnType<typeof runCli> =>
  await runCli(['campaign', name, '--out', dir, ...args], {
    // Slurm's commands are not found, where there are any.
    env: { BELAY_LOCAL_SCHEDULER: join(scratch, 'jobs'), PATH: scratch },
  });

/** A campaign of one link that is over. */
async function campaign(
  name: string,
  stopped?: Omit<StoppedFile, 'time'>,
  scheduler = 'local',
): Promise<CampaignFolder> {
  const folder = new CampaignFolder(join(scratch, name));
  const recipe = await loadRecipe('demo-tiny');
  const spec = parseCampaignSpec({ name, recipe: 'demo-tiny', nodes: 1, time: '10:00', vet: null }, 'test');
  folder.create(campaignFile(folder, spec, recipe, scheduler));
  writeJsonAtomic(campaignRecipe(folder), recipe);
  const link = folder.newLink();
  folder.write(link, 'job.json', { job: '900001', submitted: 1000, predecessor: null });
  folder.write(link, 'begin.json', { time: 1001, job: '900001', nodes: ['n1'], host: 'n1' });
  if (stopped) {
    folder.write(link, 'end.json', { time: 1100, why: stopped.why, next: 'stop' });
    folder.stop({ time: 1100, ...stopped });
  }
  mkdirSync(join(folder.dir, 'pretrain'), { recursive: true });
  appendEvent(join(folder.dir, 'pretrain', 'events.jsonl'), 'start');
  return folder;
}

const all = ['status', 'logs', 'save', 'stop', 'cancel', 'report', 'metrics', 'plan'] as const;
/** Exit codes of verbs that are asked side by side; none may call what it met a bug of ours. */
async function codes(dir: string, names: readonly string[] = all): Promise<Record<string, number | null>> {
  const said = await Promise.all(names.map(async (name) => [name, await verb(name, dir)] as const));
  for (const [name, { stderr, code }] of said) {
    assert.doesNotMatch(stderr, /this is a bug/, name);
    if (code !== 0) assert.match(stderr, /^belay: /, name);
  }
  return Object.fromEntries(said.map(([name, { code }]) => [name, code]));
}

const every = (code: number, names: readonly string[] = all): Record<string, number> =>
  Object.fromEntries(names.map((name) => [name, code]));

test('a finished campaign: read as often as one likes, and submitted no more', needsLinux, async () => {
  const folder = await campaign('finished', { why: 'trained to the end', by: 'finished' });
  writeFileSync(join(folder.dir, 'pretrain', 'manifest.json'), '{}');
  const asking = ['status', 'save', 'stop', 'cancel'];
  assert.deepEqual(await codes(folder.dir, asking), { ...every(0, asking), save: 2 }, 'nothing runs that could save');
  const submitted = await verb('submit', folder.dir, '--json');
  assert.deepEqual([submitted.code, JSON.parse(submitted.stdout).job], [0, null]);
  assert.deepEqual(folder.links(), ['0001']);
  assert.equal(folder.stopped()?.why, 'trained to the end', 'stop and cancel came too late to be the reason');
});

test('a run folder that cannot be made is named, to whoever begins a run or a campaign', needsLinux, async () => {
  const file = join(scratch, 'no-folder');
  writeFileSync(file, '');
  const spec = join(scratch, 'spec.json');
  writeJsonAtomic(spec, { name: 'x', recipe: 'demo-tiny', nodes: 1, time: '10:00', vet: null });
  for (const dir of [file, join(file, 'run')]) {
    for (const { code, stderr } of [
      await verb('submit', dir, '--scheduler', 'local', '--spec', spec),
      await runCli(['data', '--out', dir, '--recipe', 'demo-tiny']),
    ]) {
      assert.equal(code, 2, stderr);
      assert.match(stderr, /^belay: cannot write .*no-folder/);
    }
  }
});

test('what a campaign begins with must be there, and its jobs find it from their own folder', async () => {
  const spec = (change: string) => {
    const fields = { name: 'x', recipe: 'demo-tiny', nodes: 1, time: '10:00', vet: null, set: [change] };
    return parseCampaignSpec(fields, 'test');
  };
  const out = join(scratch, 'begins');
  const paths = ['pretrain.from', 'tokenizer.from'].map((name) => spec(`${name}=nowhere`));
  await assert.rejects(recipeOfSpec(paths[0] as CampaignSpec, out), /no config\.json in \/.*nowhere/);
  const none = { ...(paths[1] as CampaignSpec), set: ['tokenizer.from=nowhere', 'tokenizer.vocabularySize=null'] };
  await assert.rejects(recipeOfSpec(none, out), /nothing at \/.*nowhere/);
  const { data } = await recipeOfSpec(spec('data.source.paths=["src"]'), out);
  assert.deepEqual(data?.source.paths, [resolve('src')]);
});

test('what an export would write over is named', needsLinux, async () => {
  const folder = await campaign('exported', { why: 'trained to the end', by: 'finished' });
  const mine = join(scratch, 'mine.json');
  writeFileSync(mine, '{}');
  for (const flag of ['--tensorboard', '--wandb', '--index']) {
    const { code, stderr } = await verb('export', folder.dir, flag, mine);
    assert.equal(code, 2, stderr);
    assert.match(stderr, /mine\.json is no [\s\S]*found: +a file/);
    assert.equal(readFileSync(mine, 'utf8'), '{}');
  }
});

test(
  'a campaign that the policy stopped: its reason is told, and a request that nobody hears is refused',
  needsLinux,
  async () => {
    const why = '2 times the same failure after step 36, no progress: workload, exception: Error: x';
    const folder = await campaign('stopped', { why, by: 'policy' });
    assert.deepEqual(await codes(folder.dir), { ...every(0), save: 2 });
    assert.equal(folder.isRequested('save'), false);
    const status = JSON.parse((await verb('status', folder.dir, '--json')).stdout) as CampaignStatus;
    assert.deepEqual([status.state, status.stopped?.why, status.jobs, status.history.links], ['stopped', why, [], 1]);
  },
);

test('a link whose job is gone without a word does not run for ever', needsLinux, async () => {
  const folder = await campaign('gone');
  writeFileSync(folder.link('0001', 'alive'), '7');
  const waiting = folder.newLink();
  folder.write(waiting, 'job.json', { job: '900002', submitted: 1001, predecessor: '0001' });
  const status = JSON.parse((await verb('status', folder.dir, '--json')).stdout) as CampaignStatus;
  assert.equal(status.state, 'idle');
  assert.deepEqual(
    status.links.map(({ why }) => why),
    ['its job is gone', 'its job is gone'],
  );
  assert.ok((status.links[0]?.ended ?? 0) > 1001, 'its last sign of life');
  assert.match((await verb('metrics', folder.dir)).stdout, /^belay_campaign_running\{campaign="gone"\} 0$/m);
  assert.equal(existsSync(folder.link('0001', 'end.json')), false, 'whoever looks writes no end');
});

test('no campaign, and one that is half written', needsLinux, async () => {
  assert.deepEqual(await codes(join(scratch, 'nowhere')), every(2));
  const torn = await campaign('torn', { why: 'x', by: 'policy' });
  truncateSync(join(torn.campaign, 'campaign.json'), 40);
  const few = ['status', 'cancel', 'report'];
  assert.deepEqual(await codes(torn.dir, few), every(2, few));
  const noRecipe = await campaign('no-recipe', { why: 'x', by: 'policy' });
  rmSync(campaignRecipe(noRecipe));
  assert.deepEqual(await codes(noRecipe.dir, few), { ...every(0, few), status: 2 });
  // Who submitted it died in the middle: a link without a job, and files cut off.
  const half = await campaign('half', { why: 'x', by: 'policy' });
  half.newLink();
  for (const name of ['job.json', 'begin.json', 'end.json']) truncateSync(half.link('0001', name), 5);
  assert.deepEqual(await codes(half.dir), { ...every(0), save: 2 });
  const { stdout } = await verb('status', half.dir);
  assert.match(stdout, /problem .*0001\/begin\.json cannot be read/);
});

test('a scheduler that does not answer: what the files say is told, and requests reach who runs', async () => {
  const folder = await campaign('away', undefined, 'slurm');
  const found = await codes(folder.dir);
  assert.deepEqual(found, { ...every(0), stop: 2, cancel: 2 });
  assert.deepEqual([folder.isRequested('save'), folder.isRequested('stop')], [true, true]);
  const { code, stderr } = await verb('submit', folder.dir);
  assert.equal(code, 2);
  assert.match(stderr, /^belay: \w+/);
  const status = JSON.parse((await verb('status', folder.dir, '--json')).stdout) as CampaignStatus;
  assert.equal(typeof status.schedulerAway, 'string');
  assert.deepEqual([status.links[0]?.why, status.jobs], ['running', []]);
  assert.match(readFileSync(join(folder.dir, 'campaign-report.html'), 'utf8'), /<h1>/);
});

test(
  'who submits a campaign again means it: a trigger that nobody heard before does not end it',
  needsLinux,
  async () => {
    const folder = await campaign('triggered', { why: 'a user cancelled it', by: 'user' });
    pullTriggers(join(folder.dir, 'pretrain'), ['save', 'exit']);
    const open = openCampaign(folder.dir);
    const scheduler = { ...open.scheduler, jobs: async () => [], submit: async () => '7' };
    await submitCampaign(folder, open.campaign, await loadRecipe('demo-tiny'), open.site, scheduler);
    assert.deepEqual(clearTriggers(join(folder.dir, 'pretrain')), []);
  },
);

test('a campaign that nobody could submit stands as it stood', needsLinux, async () => {
  const folder = await campaign('refused', { why: 'a user cancelled it', by: 'user' });
  const open = openCampaign(folder.dir);
  const submit = async (): Promise<never> => {
    throw new SchedulerError('refused', 'no such account');
  };
  const scheduler = { ...open.scheduler, jobs: async () => [], submit };
  const submitting = submitCampaign(folder, open.campaign, await loadRecipe('demo-tiny'), open.site, scheduler);
  await assert.rejects(submitting, /no such account/);
  assert.equal(folder.stopped()?.why, 'a user cancelled it');
});

test('a new campaign that the scheduler refuses leaves nothing: its spec may be mended', needsLinux, async () => {
  const out = join(scratch, 'mended');
  const path = join(scratch, 'mended.json');
  const spec = { name: 'mended', recipe: 'demo-tiny', nodes: 3, time: '10:00', vet: null };
  writeFileSync(path, JSON.stringify(spec));
  const submit = (): ReturnType<typeof runCli> => verb('submit', out, '--scheduler', 'local', '--spec', path);
  const { code, stderr } = await submit();
  assert.equal(code, 2);
  assert.match(stderr, /^belay: at least 3 nodes are asked for, and this machine pretends 1/);
  assert.equal(new CampaignFolder(out).exists, false);
  writeFileSync(path, JSON.stringify({ ...spec, nodes: 1, set: ['pretrain.steps=1'] }));
  const mended = await submit();
  assert.equal(mended.code, 0, mended.stderr);
  assert.equal((await verb('cancel', out)).code, 0);
});

test('the last step is found whatever the metrics of a long training are like', async () => {
  const folder = await campaign('long');
  const attempt = join(folder.dir, 'pretrain', 'attempts', '0002');
  mkdirSync(attempt, { recursive: true });
  writeFileSync(join(attempt, 'steps.jsonl'), '{"step":6,"time":1,"seconds":1}\n{"step":7,"time":2,"seconds":1}\n');
  // Nothing that could be read in one piece.
  mkdirSync(join(folder.dir, 'pretrain', 'metrics.jsonl'));
  assert.equal(lastComputedStep(folder), 7);
});

test('a site profile and a recipe are those of the folder in which they were named', needsLinux, async () => {
  const there = join(scratch, 'elsewhere');
  mkdirSync(there);
  writeFileSync(join(there, 'site.json'), '{ "base": "generic" }');
  const cwd = process.cwd();
  process.chdir(there);
  const spec = withAbsolutePaths(
    parseCampaignSpec({ name: 'x', recipe: 'demo-tiny', site: './site.json', nodes: 1, time: '10:00' }, 'test'),
  );
  process.chdir(cwd);
  assert.equal(loadSite(spec.site).name, 'site');
  assert.equal(spec.recipe, 'demo-tiny');
});
