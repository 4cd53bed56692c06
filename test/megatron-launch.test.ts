// Launches of Megatron: what the published scripts do, found in what is rendered; and whole trainings of several phases
// through it on this machine, with A STAND-IN for pretrain_gpt.py (test/slurm/megatron-stand-in), disturbed in every way.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { UserError } from '../src/base/errors.ts';
import { loadRecipe, parseRecipe } from '../src/base/recipe.ts';
import { CampaignFolder, campaignFormat } from '../src/cluster/campaign-folder.ts';
import { linkRequest } from '../src/cluster/campaign-script.ts';
import { parseCampaignSpec } from '../src/cluster/campaign-spec.ts';
import type { Engine, StepCommand, StepVerdict } from '../src/cluster/engine.ts';
import { nodeCountsOf } from '../src/cluster/engine-megatron.ts';
import { engineOf } from '../src/cluster/engines.ts';
import type { MegatronPlan } from '../src/cluster/megatron-launch.ts';
import { batchScript } from '../src/cluster/scheduler.ts';
import type { Site } from '../src/cluster/site.ts';
import { sites } from '../src/cluster/sites.ts';
import { isTriggered, pullTriggers } from '../src/cluster/triggers.ts';
import {
  absoluteSettings,
  type MegatronSettingsInput,
  megatronSettingsSchema,
} from '../src/cluster/megatron-settings.ts';
import { checkMegatronNodes, checkMegatronPlan, megatronPlan } from '../src/commands/megatron-plan.ts';
import { curves, losses, makeTokens, standIn, tinyRecipe } from './slurm/megatron-tiny.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-megatron-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const place = { tasksPerNode: 4, folder: '/run/step', job: '77', index: 0 };
const nodeNames = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `nid${String(index + 1).padStart(6, '0')}`);

const settingsOf = (input: MegatronSettingsInput): ReturnType<typeof absoluteSettings> =>
  absoluteSettings(megatronSettingsSchema.parse(input), scratch);

async function published(name: string, more: Partial<MegatronSettingsInput> = {}): Promise<MegatronPlan> {
  const settings = settingsOf({
    code: '/code/Megatron-LM',
    edf: '/envs/apertus.toml',
    dataRoot: '/data',
    cache: '/iopsstor/scratch/cscs/me/cache',
    wandbProject: 'main-runs',
    copyCode: true,
    ...more,
  });
  const run = join(scratch, name, 'pretrain');
  return megatronPlan(await loadRecipe(name), sites.clariden, { name: 'apertus', run, settings });
}

const textOf = (command: StepCommand, name: string): string =>
  command.files.find((file) => file.name === name)?.text ?? '';

test('what the published launcher does (spec, pretrain-code), and where it is here', async () => {
  for (const [recipe, nodes] of [
    // Its first batches, of 1,024 sequences, are too small for the 256 nodes that it ended on.
    ['apertus-8b', 128],
    ['apertus-70b', 1024],
  ] as const) {
    const plan = await published(recipe);
    const engine = engineOf({ engine: 'megatron', plan, site: sites.clariden });
    const at = { ...place, nodes: nodeNames(nodes) };
    const command = engine.step(at);
    const scriptWith = (spares: number): string => {
      const spec = parseCampaignSpec(
        {
          ...{ name: 'apertus', recipe, engine: 'megatron', site: 'clariden', partition: 'large' },
          ...{ nodes, spares, megatron: { code: '/code/Megatron-LM' } },
        },
        'test',
      );
      const facts = {
        format: campaignFormat,
        name: 'apertus',
        id: 'a1',
        created: '',
        specHash: '',
        version: '',
      } as const;
      const file = { ...facts, spec, scheduler: 'slurm', belay: ['belay'] };
      return batchScript(linkRequest(file, sites.clariden, new CampaignFolder(join(scratch, recipe))));
    };
    const places = {
      script: scriptWith(0),
      'script with spares': scriptWith(8),
      srun: command.srun.join(' '),
      'task.sh': textOf(command, 'task.sh'),
      'provenance.sh': textOf(command, 'provenance.sh'),
      'wandb.sh': textOf(command, 'wandb.sh'),
      'copy-code.sh': textOf(command, 'copy-code.sh'),
    };
    const run = plan.run;
    const table: [behaviour: string, where: keyof typeof places, pattern: RegExp | string][] = [
      ['48 hours', 'script', '--time=2-00:00:00'],
      ['nodes', 'script', `--nodes=${nodes}\n`],
      ['spares to take the place of others', 'script with spares', `--nodes=${nodes}-${nodes + 8}\n`],
      ['which the job needs to outlive a node', 'script with spares', '--no-kill'],
      ['one task per GPU', 'script', '--ntasks-per-node=4'],
      ['4 GPUs a node', 'script', '--gpus-per-node=4'],
      ['36 cores a task', 'script', '--cpus-per-task=36'],
      ['460,000 MB', 'script', '--mem=460000'],
      ['the warning', 'script', /--signal=(SIG)?USR2@600/],
      ['never put back into the queue', 'script', '--no-requeue'],
      ['huge pages off, clocks up', 'script', /--constraint='?thp_never&nvidia_vboost_enabled/],
      ['the successor waits', 'script', '--dependency=singleton'],
      ['logs have names', 'script', '/campaign/logs/%j.log'],
      ['core dumps off', 'task.sh', 'ulimit -c 0'],
      ['cores again for srun, which does not inherit them', 'srun', '--cpus-per-task=36'],
      ['container', 'srun', '--environment=/envs/apertus.toml'],
      ['labelled, unbuffered output', 'srun', '--label --unbuffered'],
      ['address of the first node that trains', 'task.sh', 'MASTER_ADDR=nid000001 MASTER_PORT=32100'],
      ['ranks', 'task.sh', `RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=${nodes * 4}`],
      ['threads', 'task.sh', 'OMP_NUM_THREADS=$' + '{SLURM_CPUS_PER_TASK:-1}'],
      ['memory of the CPUs alone', 'task.sh', `numactl --membind=0-3 python3 ${run}/code/pretrain_gpt.py`],
      ['path of the code', 'task.sh', `export PYTHONPATH=${run}/code`],
      ['NCCL and libfabric', 'task.sh', 'export FI_CXI_SAFE_DEVMEM_COPY_THRESHOLD=16777216'],
      ['fail without the plugin', 'task.sh', "export NCCL_NET='AWS Libfabric'"],
      [
        'caches of a rank',
        'task.sh',
        'belay_cache=/workspace/belay-jit/apertus/77.0/belay-cache-"$SLURM_JOB_ID"/"$SLURM_PROCID"',
      ],
      ['Inductor', 'task.sh', 'export TORCHINDUCTOR_CACHE_DIR="$belay_cache"/'],
      ['Triton', 'task.sh', 'export TRITON_HOME="$belay_cache"/'],
      ['Python bytecode', 'task.sh', 'export PYTHONPYCACHEPREFIX="$belay_cache"/'],
      ['removed after', 'task.sh', /rm -rf "\$belay_cache"\n.*\nexit \$code/],
      ['triggers', 'task.sh', `--trigger-path ${run}/triggers`],
      ['saves on the warning', 'task.sh', '--exit-signal-handler'],
      ['checkpoints', 'task.sh', `--save ${run}/checkpoints`],
      ['goes on from them', 'task.sh', `--load ${run}/checkpoints`],
      ['indices on flash', 'task.sh', '--data-cache-path /iopsstor/scratch/cscs/me/cache'],
      ['data of the phase', 'task.sh', /--data-path (\S+ \/data\/\S+ ?)+/],
      ['W&B: name of the job', 'task.sh', '--wandb-exp-name apertus-77'],
      ['W&B: project', 'task.sh', '--wandb-project main-runs'],
      ['W&B: offline', 'task.sh', 'WANDB_MODE=offline'],
      ['W&B: the run before is sent', 'wandb.sh', `wandb sync ${run}/logging/wandb/latest-run`],
      ['W&B: only with a key', 'wandb.sh', '[ -n "$WANDB_API_KEY" ] ||'],
      ['copy of the code', 'copy-code.sh', `cp -a /code/Megatron-LM ${run}/code.partial`],
      ['commit', 'provenance.sh', 'rev-parse --verify HEAD'],
      ['script', 'provenance.sh', 'scontrol write batch_script 77'],
      ['command', 'provenance.sh', 'cp task.sh provenance/task.sh'],
      ['EDF', 'provenance.sh', 'cp /envs/apertus.toml provenance/environment.toml'],
      ['nodes', 'provenance.sh', /printf '%s\\n' nid000001 .*> provenance\/nodes.txt/],
      ['packages and driver', 'provenance.sh', 'python3 -m pip list; nvidia-smi'],
      ['memory of every device', 'provenance.sh', `srun -N${nodes} --ntasks-per-node=1`],
      ['environment', 'provenance.sh', 'compgen -e'],
      ['secrets left out', 'provenance.sh', '*KEY*|*TOKEN*|*SECRET*'],
    ];
    for (const [behaviour, where, pattern] of table) {
      const found = typeof pattern === 'string' ? places[where].includes(pattern) : pattern.test(places[where]);
      assert.ok(found, `${recipe}: ${behaviour}: no ${pattern} in ${where}:\n${places[where].slice(0, 4000)}`);
    }
    assert.deepEqual(
      command.before.map(({ argv }) => argv),
      [
        ['bash', '/run/step/copy-code.sh'],
        ['bash', '/run/step/provenance.sh'],
        ['bash', '/run/step/wandb.sh'],
      ],
    );
    // Scripts are scripts.
    for (const { text } of command.files) execFileSync('bash', ['-n'], { input: text, stdio: 'pipe' });
    assert.doesNotMatch(Object.values(places).join('\n'), /undefined|\[object|NaN/);
  }
});

test('the same plan gives the same bytes', async () => {
  const [first, second] = await Promise.all([published('apertus-70b'), published('apertus-70b')]);
  const files = (plan: MegatronPlan): unknown =>
    engineOf({ engine: 'megatron', plan, site: sites.clariden }).step({ ...place, nodes: nodeNames(1024) });
  assert.deepEqual(files(first), files(second));
  // It is plain data: what the campaign's spec keeps renders as before.
  assert.deepEqual(files(JSON.parse(JSON.stringify(first)) as MegatronPlan), files(second));
});

test('phases follow each other as the published iterations say', async () => {
  const large = await published('apertus-70b');
  assert.deepEqual(
    large.phases.map(({ name, from, to }) => [name, from, to]),
    [
      ['stage-1', 0, 569_654],
      ['stage-2', 569_654, 789_000],
      ['stage-3', 789_000, 989_500],
      ['stage-4', 989_500, 1_062_327],
      ['stage-5', 1_062_327, 1_155_828],
    ],
  );
  assert.deepEqual(
    large.phases.map(({ batchSizes }) => batchSizes),
    [[2048, 4096], [4096], [4096], [4096], [4096]],
  );
  const small = await published('apertus-8b');
  assert.deepEqual(
    small.phases.map(({ name, to, batchSizes }) => [name, to, batchSizes]),
    [
      ['stage-1', 1_678_000, [1024]],
      ['stage-3', 2_269_525, [2048]],
      ['stage-4', 2_429_920, [2048]],
      ['stage-5', 2_627_139, [2048]],
    ],
  );
});

test('long-context phases begin with the weights of the one before, in runs of their own', async () => {
  await assert.rejects(published('apertus-8b-long-context'), /phase 8k[\s\S]*"start": DIR/);
  const plan = await published('apertus-8b-long-context', { start: '/store/8b/checkpoints' });
  const values = (list: MegatronPlan['phases'][number]['begin'], flag: string): readonly string[] | undefined =>
    list?.find((argument) => argument.flag === flag)?.values;
  const rows = plan.phases.map((phase) => [
    phase.name,
    values(phase.begin, '--load')?.[0],
    values(phase.begin, '--finetune')?.length,
    values(phase.arguments, '--load')?.[0],
    values(phase.arguments, '--finetune'),
    values(phase.arguments, '--trigger-path')?.[0],
  ]);
  const triggers = join(plan.run, 'triggers');
  const own = (name: string): string => join(plan.run, name, 'checkpoints');
  assert.deepEqual(rows, [
    ['8k', '/store/8b/checkpoints', 0, own('8k'), undefined, triggers],
    ['16k', own('8k'), 0, own('16k'), undefined, triggers],
    ['32k', own('16k'), 0, own('32k'), undefined, triggers],
    ['64k', own('32k'), 0, own('64k'), undefined, triggers],
  ]);
});

test('node counts are whole replicas that share out every batch', async () => {
  const { phases } = await published('apertus-70b');
  const [stage1] = phases;
  assert.ok(stage1);
  assert.deepEqual(nodeCountsOf(stage1, 4, 1024), [1024, 512, 256, 128, 64, 32, 16, 8]);
  // One node fewer halves the training: what spares are for.
  assert.equal(nodeCountsOf(stage1, 4, 1023)[0], 512);
  const plan = await published('apertus-70b');
  const engine = engineOf({ engine: 'megatron', plan, site: sites.clariden });
  assert.throws(() => engine.step({ ...place, nodes: nodeNames(1023) }), /on 1023 nodes[\s\S]*expected: 512, 256, 128/);
  assert.deepEqual(nodeCountsOf({ replica: 2, microBatchSize: 4, batchSizes: [24] }, 4, 8), [3, 1]);
  assert.deepEqual(nodeCountsOf({ replica: 32, microBatchSize: 1, batchSizes: [64] }, 4, 7), []);
  checkMegatronNodes(plan, { min: 512, max: 1024 });
  assert.throws(() => checkMegatronNodes(plan, { min: 600, max: 1000 }), /on 600 to 1000 nodes[\s\S]*2048, 1024, 512/);
});

test('files that are missing are named before anything is submitted', async () => {
  const plan = await published('apertus-8b');
  assert.throws(
    () => checkMegatronPlan(plan),
    (error) =>
      error instanceof UserError &&
      /megatron code: \/code\/Megatron-LM\/pretrain_gpt.py/.test(error.message) &&
      /EDF: \/envs/.test(error.message) &&
      /mixture of phase stage-1: \/data\/.*\.bin/.test(error.message) &&
      /and \d+ more/.test(error.message),
  );
  assert.doesNotThrow(() => checkMegatronPlan(tiny('whole').plan));
});

// ---- whole trainings with the stand-in ----

/** Any cluster, but with scratch of this test and a port that is free. */
function siteHere(port = 29_500): Site {
  const { generic } = sites;
  return {
    ...generic,
    container: { ...generic.container, scratch: join(scratch, 'node') },
    environment: { NCCL_DEBUG: { value: "it's quoted", source: 'test' } },
    rendezvousPort: port,
  };
}

function tiny(
  name: string,
  more: Partial<MegatronSettingsInput> = {},
  port?: number,
): { plan: MegatronPlan; site: Site } {
  const dir = join(scratch, name);
  makeTokens(dir);
  const site = siteHere(port);
  const settings = settingsOf({ code: standIn, ...more });
  const environment = { FROM_SPEC: 'yes', NCCL_DEBUG: 'over the site' };
  const plan = megatronPlan(parseRecipe(tinyRecipe, 'tiny'), site, {
    name,
    run: join(dir, 'pretrain'),
    settings,
    environment,
  });
  return { plan, site };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  // Room for the starts of a training, each of which has the next one.
  return port < 65_000 ? port : 29_600;
}

interface Started {
  readonly tasks: readonly ChildProcess[];
  readonly ended: Promise<StepVerdict>;
  readonly said: () => string;
}

/** What a controller and srun do: clean, write the files, run the commands before, start the tasks, ask for the verdict. */
function start(engine: Engine, folder: string, index: number, ranks: number, env: Record<string, string>): Started {
  const before = engine.progress();
  mkdirSync(folder, { recursive: true });
  const nodes = Array.from({ length: ranks }, () => '127.0.0.1');
  const command = engine.step({ nodes, tasksPerNode: 1, folder, job: '1', index });
  for (const { name, text } of command.files) writeFileSync(join(folder, name), text);
  for (const { argv } of command.before) execFileSync(argv[0] as string, argv.slice(1), { stdio: 'pipe' });
  let said = '';
  const tasks = nodes.map((_, rank) => {
    const place = { SLURM_PROCID: `${rank}`, SLURM_LOCALID: `${rank}` };
    const child = spawn(command.argv[0] as string, command.argv.slice(1), {
      env: { ...process.env, ...env, ...place },
      // A group of its own, so that it can be killed with its children, as Slurm does.
      detached: true,
    });
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text));
    return child;
  });
  const codes = tasks.map(
    (child) => new Promise<number>((resolve) => child.on('close', (code) => resolve(code ?? 137))),
  );
  const ended = Promise.all(codes).then((all) => engine.verdict({ exit: Math.max(...all), signal: null, before }));
  return { tasks, ended, said: () => said };
}

async function until(what: string, done: () => boolean, said: () => string): Promise<void> {
  for (let left = 3000; !done(); left--) {
    assert.ok(left > 0, `waited in vain for ${what}:\n${said()}`);
    await wait(10);
  }
}

const needsPython = {
  skip: spawnSync('python3', ['--version']).status !== 0 && 'there is no python3 for the stand-in',
  timeout: 240_000,
};

let undisturbed: unknown;

test('a training of three phases and two runs goes through by itself', needsPython, async () => {
  const { plan, site } = tiny('straight', {}, await freePort());
  const engine = engineOf({ engine: 'megatron', plan, site });
  assert.deepEqual(engine.progress(), { step: 0, total: 40, phase: 'one', isFinished: false });
  const seen: unknown[] = [];
  for (let index = 0; index < 3; index++) {
    engine.prepare();
    const started = start(engine, join(scratch, 'straight', `step-${index}`), index, 2, {});
    const { outcome } = await started.ended;
    if (outcome === 'failed') assert.fail(started.said());
    seen.push([outcome, engine.progress().step, engine.progress().phase, isTriggered(plan.run, 'exit')]);
    if (index === 0) assert.match(started.said(), /begins at iteration 0 .* world size 2/);
  }
  assert.deepEqual(seen, [
    ['next-phase', 12, 'two', false],
    ['next-phase', 30, 'long', false],
    ['finished', 40, null, false],
  ]);
  assert.deepEqual(engine.prepare(), { stopAsked: false, unfinished: [] });
  assert.deepEqual(engine.nodeCounts(4), []);
  undisturbed = curves(plan.run);
  assert.equal(losses(plan.run).size, 30);
  assert.equal(losses(join(plan.run, 'long')).size, 10);
  const environment = readFileSync(join(scratch, 'straight', 'step-0', 'provenance', 'environment.txt'), 'utf8');
  assert.match(environment, /^PATH=/m);
  assert.deepEqual(readdirSync(join(scratch, 'node', 'belay-jit', 'straight', '1.2')), [], 'caches are gone');
  assert.deepEqual(readdirSync(join(scratch, 'node', 'belay-jit', 'straight')), ['1.2'], 'and those of older starts');
});

test('killed in a save, warned, asked to save, stopped, failing to set up: the same curve', needsPython, async () => {
  const { plan, site } = tiny('disturbed', {}, await freePort());
  const engine = engineOf({ engine: 'megatron', plan, site });
  const checkpoints = join(plan.run, 'checkpoints');
  let index = 0;
  const begin = (ranks: number, env: Record<string, string> = {}): Started =>
    start(engine, join(scratch, 'disturbed', `step-${index}`), index++, ranks, { STAND_IN_SECONDS: '0.05', ...env });

  // Killed while it writes its first checkpoint.
  let started = begin(2, { STAND_IN_SAVE_SECONDS: '30' });
  await until('the save', () => existsSync(join(checkpoints, 'iter_0000005', '__1_0.distcp')), started.said);
  for (const { pid } of started.tasks) process.kill(-(pid as number), 'SIGKILL');
  assert.equal((await started.ended).outcome, 'failed');
  assert.equal(engine.progress().step, 0);
  assert.deepEqual(engine.prepare(), { stopAsked: false, unfinished: ['iter_0000005'] });
  assert.deepEqual(readdirSync(checkpoints), []);

  // Warned after the first checkpoint, on another number of ranks; killed in a later save.
  started = begin(4);
  await until('step 6', () => losses(plan.run).size > 5, started.said);
  for (const { pid } of started.tasks) process.kill(pid as number, 'SIGUSR2');
  const paused = await started.ended;
  assert.equal(paused.outcome, 'paused', started.said());
  assert.equal(engine.progress().step, losses(plan.run).size, 'it saved what it had done');
  engine.prepare();

  // A teammate asks for a save, then to stop; the trigger exit alone would not save.
  started = begin(1);
  await until('a step', () => losses(plan.run).size > engine.progress().step, started.said);
  engine.ask('save');
  await until('the save', () => !isTriggered(plan.run, 'save'), started.said);
  const saved = engine.progress().step;
  assert.ok(saved > 5);
  engine.ask('stop');
  const { outcome } = await started.ended;
  assert.ok(['stopped', 'next-phase'].includes(outcome), outcome);
  assert.ok(engine.progress().step > saved);
  assert.equal(isTriggered(plan.run, 'exit'), false);
  engine.prepare();

  // It cannot be set up: the chain must end, and does so once.
  started = begin(1, { STAND_IN_ASSERT: '1' });
  const mistake = await started.ended;
  assert.equal(mistake.outcome, 'mistake', mistake.why);
  assert.equal(isTriggered(plan.run, 'exit'), false);

  // Asked to stop while nothing ran.
  pullTriggers(plan.run, ['exit', 'save']);
  assert.deepEqual(engine.prepare(), { stopAsked: true, unfinished: [] });
  assert.deepEqual(engine.prepare(), { stopAsked: false, unfinished: [] });

  // The rest, killed once in the run of its own before that has a checkpoint.
  let hasKilled = false;
  while (!engine.progress().isFinished) {
    const isLong = engine.progress().phase === 'long';
    started = begin(2, isLong && !hasKilled ? { STAND_IN_SAVE_SECONDS: '30' } : {});
    if (isLong && !hasKilled) {
      hasKilled = true;
      await until('the save', () => existsSync(join(plan.run, 'long', 'checkpoints', 'iter_0000005')), started.said);
      for (const { pid } of started.tasks) process.kill(-(pid as number), 'SIGKILL');
      assert.equal((await started.ended).outcome, 'failed');
      assert.equal(engine.progress().step, 30, 'the run before it is done');
      assert.deepEqual(engine.prepare().unfinished, ['iter_0000005']);
    } else {
      assert.notEqual((await started.ended).outcome, 'failed', started.said());
      engine.prepare();
    }
  }
  assert.ok(hasKilled);
  assert.deepEqual(curves(plan.run), undisturbed, 'every iteration has the value of the undisturbed training');
});

test('one rank is killed: the others end, and it is no pause', needsPython, async () => {
  const { plan, site } = tiny('peer', {}, await freePort());
  const engine = engineOf({ engine: 'megatron', plan, site });
  const started = start(engine, join(scratch, 'peer', 'step-0'), 0, 4, { STAND_IN_SECONDS: '0.05' });
  await until('a step', () => losses(plan.run).size > 2, started.said);
  process.kill(-(started.tasks[2]?.pid as number), 'SIGKILL');
  const { outcome, why } = await started.ended;
  assert.deepEqual([outcome, why], ['failed', 'exit code 137 (signal 9)']);
  assert.match(started.said(), /a rank is gone/);
});

test('variables of the campaign go over those of the site', () => {
  const { plan, site } = tiny('variables');
  const at = { ...place, nodes: ['n1'], tasksPerNode: 1 };
  const task = textOf(engineOf({ engine: 'megatron', plan, site }).step(at), 'task.sh');
  assert.match(task, /^export NCCL_DEBUG='over the site'$/m);
  assert.match(task, /^export FROM_SPEC=yes$/m);
  assert.doesNotMatch(task, /it's quoted/);
  const bare = textOf(engineOf({ engine: 'megatron', plan: { ...plan, environment: {} }, site }).step(at), 'task.sh');
  assert.match(bare, /^export NCCL_DEBUG='it'\\''s quoted'$/m);
});

test('secrets of the environment are not written down', () => {
  const { plan, site } = tiny('secrets', { wandbProject: 'p' });
  const folder = join(scratch, 'secrets', 'step');
  mkdirSync(folder, { recursive: true });
  const command = engineOf({ engine: 'megatron', plan, site }).step({
    ...place,
    nodes: ['n1'],
    tasksPerNode: 1,
    folder,
  });
  for (const { name, text } of command.files) writeFileSync(join(folder, name), text);
  const secrets = {
    WANDB_API_KEY: 'xyzzy-1',
    hf_token: 'xyzzy-2',
    MY_PASSWORD_FILE: 'xyzzy-3',
    SLURM_JWT: 'xyzzy-4',
    PROXY: 'http://user:xyzzy-5@host:80',
    GITHUB_PAT: 'xyzzy-6',
  };
  execFileSync('bash', [join(folder, 'provenance.sh')], {
    env: { PATH: process.env['PATH'], ...secrets, PLAIN: 'two words\nand a line', EQUALS: 'a=b', 'NOT-A-NAME': 'x' },
  });
  const written = readdirSync(join(folder, 'provenance'), { withFileTypes: true })
    .map(({ name }) => readFileSync(join(folder, 'provenance', name), 'utf8'))
    .join('\n');
  assert.doesNotMatch(written, /xyzzy/);
  for (const name of Object.keys(secrets)) assert.match(written, new RegExp(`^${name}=\\(left out\\)$`, 'm'));
  assert.match(written, /^PLAIN=\$'two words\\nand a line'$/m);
  assert.match(written, /^EQUALS=a=b$/m);
});

test('the copy of the code is made once and whole', () => {
  const source = join(scratch, 'code');
  mkdirSync(join(source, '__pycache__'), { recursive: true });
  writeFileSync(join(source, 'pretrain_gpt.py'), 'print(1)\n');
  writeFileSync(join(source, '__pycache__', 'x.pyc'), '');
  const git = (...args: string[]): string =>
    execFileSync('git', ['-C', source, '-c', 'user.name=x', '-c', 'user.email=x@x', ...args], { encoding: 'utf8' });
  git('init', '-q');
  git('add', 'pretrain_gpt.py');
  git('commit', '-qm', 'x');
  writeFileSync(join(source, 'pretrain_gpt.py'), 'print(2)\n');
  const { plan, site } = tiny('copied', { code: source, copyCode: true });
  const { files } = engineOf({ engine: 'megatron', plan, site }).step({ ...place, nodes: ['n1'], tasksPerNode: 1 });
  const script = files.find(({ name }) => name === 'copy-code.sh')?.text ?? '';
  mkdirSync(join(plan.run, 'code.partial'), { recursive: true });
  for (let time = 0; time < 2; time++) {
    execFileSync('bash', ['-c', script]);
    writeFileSync(join(source, 'pretrain_gpt.py'), 'print(3)\n');
  }
  const copy = join(plan.run, 'code');
  assert.deepEqual(readdirSync(copy).sort(), ['CHANGES.diff', 'COMMIT', 'pretrain_gpt.py']);
  assert.equal(readFileSync(join(copy, 'pretrain_gpt.py'), 'utf8'), 'print(2)\n', 'later links run what the first did');
  assert.equal(readFileSync(join(copy, 'COMMIT'), 'utf8'), git('rev-parse', 'HEAD'));
  assert.match(readFileSync(join(copy, 'CHANGES.diff'), 'utf8'), /\+print\(2\)/);
  assert.ok(!existsSync(join(plan.run, 'code.partial')));
});
