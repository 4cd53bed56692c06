// The controller of a link with a scheduler, steps and an engine that are made up: what it does when two of them are alive,
// and when what it asks does not answer.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { readLines } from '../base/events.ts';
import { silentLog } from '../base/progress.ts';
import {
  type CampaignFile,
  CampaignFolder,
  campaignFormat,
  type LaunchEndFile,
  type LaunchFile,
  type LinkBeginFile,
  type LinkEndFile,
  type LinkJobFile,
  type TakeoverFile,
} from './campaign-folder.ts';
import { linkRequest } from './campaign-script.ts';
import { parseCampaignSpec } from './campaign-spec.ts';
import type { Engine, StepOutcome } from './engine.ts';
import type { Running, Steps } from './job-steps.ts';
import { runLink } from './link.ts';
import type { LinkOptions } from './link-context.ts';
import { type Job, type Scheduler, SchedulerError } from './scheduler.ts';
import { loadSite } from './sites.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-link-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

interface Parts {
  readonly nodes?: { readonly min: number; readonly max: number };
  readonly scheduler?: Partial<Scheduler>;
  readonly engine?: Partial<Engine>;
  readonly steps?: Partial<Steps>;
  /** How the training ends, start by start; the last one again and again. */
  readonly outcomes?: readonly StepOutcome[];
  readonly more?: Partial<LinkOptions>;
  readonly spec?: Readonly<Record<string, unknown>>;
}

/** A link of a campaign of one's own, as the first job of it. */
function linkOf(name: string, parts: Parts = {}): { readonly folder: CampaignFolder; readonly options: LinkOptions } {
  const folder = new CampaignFolder(join(scratch, name));
  const spec = parseCampaignSpec(
    { name, recipe: 'demo-tiny', nodes: parts.nodes ?? { min: 1, max: 2 }, time: '10:00', vet: null, ...parts.spec },
    'test',
  );
  const campaign: CampaignFile = {
    format: campaignFormat,
    ...{ name, id: 'abc', created: '', spec, specHash: '', scheduler: 'slurm', belay: ['belay'], version: '0' },
  };
  folder.create(campaign);
  const first = folder.newLink();
  folder.write(first, 'job.json', { job: '1', submitted: 1, predecessor: null });
  const own = {
    ...{ id: '1', name, user: 'me', state: 'running', raw: 'RUNNING', reason: '', nodes: ['a', 'b'] },
    ...{ ends: Date.now() / 1000 + 36_000 },
  } as const satisfies Job;
  let submitted = 1;
  const scheduler = {
    name: 'fake',
    lacks: new Set(),
    submit: async () => `${++submitted}`,
    jobs: async ({ ids }: { readonly ids?: readonly string[] }) => (ids?.includes('1') ? [own] : []),
    nodes: async () => [],
    cancel: async () => undefined,
    update: async () => undefined,
    history: async () => [],
    ...parts.scheduler,
  } as unknown as Scheduler;
  const outcomes = [...(parts.outcomes ?? ['finished'])];
  const engine: Engine = {
    name: 'belay',
    progress: () => ({ step: 0, total: 10, phase: null, isFinished: false }),
    nodeCounts: (most) => Array.from({ length: most }, (_, index) => most - index),
    ask: () => undefined,
    prepare: () => ({ stopAsked: false, unfinished: [] }),
    step: () => ({ files: [], before: [], srun: [], argv: ['train'] }),
    verdict: () => ({
      outcome: (outcomes.length > 1 ? outcomes.shift() : outcomes[0]) as StepOutcome,
      why: 'as the test has it',
    }),
    ...parts.engine,
  };
  const steps: Steps = {
    start: async () => running(0),
    answers: async () => true,
    background: () => undefined,
    endOthers: async () => undefined,
    here: async () => 0,
    ...parts.steps,
  };
  const options: LinkOptions = {
    ...{ folder, campaign, site: loadSite('generic'), engine, scheduler, steps, job: '1', log: silentLog },
    ...parts.more,
  };
  return { folder, options };
}

function running(exit: number): Running {
  return { pause: () => undefined, ended: Promise.resolve({ exit, signal: null }), kill: async () => undefined };
}

test('a controller that slept while it judged a start, and wakes up, changes nothing of who took over', async () => {
  const judged: LaunchEndFile = { time: 5, exit: null, outcome: 'failed', why: 'settled', from: 0, to: 0 };
  const { folder, options } = linkOf('woken', {
    outcomes: ['mistake'],
    steps: {
      async answers() {
        assert.ok(folder.takeOver('0001', { time: 4, host: 'b', from: 'a', why: 'silent' }));
        folder.write('0001', 'steps/00/end.json', judged);
        setTimeout(() => folder.write('0001', 'end.json', { time: 6, why: 'by b', next: 'successor' }), 300);
        return true;
      },
    },
    nodes: { min: 1, max: 1 },
  });
  assert.equal((await runLink(options)).why, 'by b');
  assert.deepEqual(folder.record('0001', 'steps', '00', 'end.json'), judged);
  assert.equal(folder.stopped(), undefined, 'the other one trains on');
});

test('a controller that stands by goes on where who took over from it falls silent, too', async () => {
  const watched: string[] = [];
  const { folder, options } = linkOf('again', {
    outcomes: ['failed', 'finished'],
    spec: { silenceSeconds: 2 },
    steps: {
      async answers() {
        if (folder.takeovers('0001').length === 0)
          assert.ok(folder.takeOver('0001', { time: 4, host: 'b', from: 'a', why: 'silent' }));
        return true;
      },
      background(node) {
        watched.push(node);
        return undefined;
      },
    },
    more: { host: 'a' },
  });
  assert.equal((await runLink(options)).why, 'trained to the end');
  assert.deepEqual(
    folder.takeovers('0001').map(({ host, from }) => [host, from]),
    [
      ['b', 'a'],
      ['a', 'b'],
    ],
  );
  assert.deepEqual(folder.record<LinkEndFile>('0001', 'end.json')?.why, 'trained to the end');
  assert.deepEqual(watched, ['b'], 'b is left out from then on');
});

test('a controller that wakes up after a later link began starts nothing, and takes no trigger away', async () => {
  const did: string[] = [];
  const { folder, options } = linkOf('late', {
    outcomes: ['failed'],
    engine: {
      prepare() {
        did.push('prepare');
        return { stopAsked: false, unfinished: [] };
      },
    },
    steps: {
      async start() {
        did.push('start');
        return running(1);
      },
      async answers() {
        if (folder.links().length < 4) {
          const later = folder.newLink();
          folder.write(later, 'begin.json', { time: 9, job: '3', nodes: ['c'], host: 'c' });
        }
        return true;
      },
    },
  });
  assert.equal((await runLink(options)).why, 'a later link has taken over');
  assert.deepEqual(did, ['prepare', 'start']);
});

test('what cannot be read in the moment of a look ends neither the training nor its controller', async () => {
  let isTraining = false;
  let looks = 0;
  const { folder, options } = linkOf('unread', {
    engine: {
      // As a tracker of Megatron's is, while it is written.
      progress() {
        if (isTraining && looks++ < 3) throw new Error('the tracker does not name a checkpoint');
        return { step: 0, total: 10, phase: null, isFinished: false };
      },
    },
    steps: {
      async start() {
        isTraining = true;
        return { ...running(0), ended: wait(2600, { exit: 0, signal: null }) };
      },
    },
  });
  assert.equal((await runLink(options)).why, 'trained to the end');
  const told = readLines<{ readonly event: string }>(folder.link('0001', 'events.jsonl'));
  assert.equal(told.filter(({ event }) => event === 'look-failed').length, 1, 'the same trouble is told once');
});

test('a scheduler that has no room for the successor for a while leaves no empty links behind', async () => {
  let asked = 0;
  const { folder, options } = linkOf('full-queue', {
    scheduler: {
      async submit() {
        if (asked++ < 2) throw new SchedulerError('refused', 'job queue full', { retryable: true });
        return `${asked}`;
      },
    },
  });
  await runLink(options);
  assert.deepEqual(folder.links(), ['0001', '0002', '0003']);
  const jobs = ['0002', '0003'].map((name) => folder.record<LinkJobFile>(name, 'job.json')?.job);
  assert.deepEqual(jobs, ['3', '4']);
});

test('links that are too short for a step do not follow each other for ever', async () => {
  const { folder, options } = linkOf('short', { outcomes: ['paused'] });
  const pause = (link: string, to: number): void => {
    const end: LaunchEndFile = { time: 2, exit: 75, outcome: 'paused', why: 'warned', from: 0, to };
    folder.write(link, 'steps/00/step.json', { time: 1, nodes: ['a'], world: 1, from: 0 });
    folder.write(link, 'steps/00/end.json', end);
  };
  for (let job = 2; job <= 11; job++) {
    const link = folder.newLink();
    folder.write(link, 'job.json', { job: `${job}`, submitted: job, predecessor: null });
    pause(link, 0);
  }
  const last = folder.newLink();
  folder.write(last, 'job.json', { job: '12', submitted: 12, predecessor: null });
  assert.match((await runLink({ ...options, job: '12' })).why, /10 failures in a row.*infrastructure, too-little-time/);
  assert.equal(folder.stopped()?.by, 'policy');
  // One of them took a step.
  folder.goOn();
  pause('0004', 1);
  const next = folder.newLink();
  folder.write(next, 'job.json', { job: '13', submitted: 13, predecessor: null });
  await runLink({ ...options, job: '13' });
  assert.equal(folder.stopped(), undefined);
});

test('a percent sign in the name of the folder is no field of sbatch', () => {
  const { options } = linkOf('percent');
  const { output } = linkRequest(options.campaign, options.site, new CampaignFolder('/scratch/100%j'));
  assert.equal(output, '/scratch/100%%j/campaign/logs/%j.log');
});

test('a controller that fails leaves a word', async () => {
  const torn = (): never => {
    throw new Error('the tracker names no checkpoint');
  };
  const { folder, options } = linkOf('failed', { engine: { progress: torn } });
  await assert.rejects(runLink(options), /names no checkpoint/);
  const { why, next, verdict } = folder.record<LinkEndFile>('0001', 'end.json') as LinkEndFile;
  assert.equal(why, 'its controller failed: the tracker names no checkpoint');
  assert.deepEqual([next, verdict?.domain, verdict?.cause], ['successor', 'unknown', 'controller']);
});

test('two jobs wait behind a link; where a user may queue but one, that is enough', async () => {
  const queue: Pick<Job, 'id' | 'state'>[] = [{ id: '9', state: 'pending' }];
  let room = 1;
  const { folder, options } = linkOf('reserve', {
    scheduler: {
      jobs: async () => queue as Job[],
      async submit() {
        if (room-- <= 0) throw new SchedulerError('refused', 'QOSMaxSubmitJobPerUserLimit', { retryable: true });
        queue.push({ id: '10', state: 'pending' });
        return '10';
      },
    },
  });
  await runLink(options);
  assert.equal(folder.record<LinkJobFile>('0002', 'job.json')?.job, '10', 'one was there');
  queue.splice(0);
  room = 1;
  const { folder: small, options: few } = linkOf('one', { scheduler: options.scheduler });
  await runLink(few);
  const told = readLines<{ readonly event: string }>(small.link('0001', 'events.jsonl')).map(({ event }) => event);
  assert.deepEqual(told.slice(0, 2), ['successor', 'no-reserve']);
});

test('a chain does not end because Slurm, or the disk, was away when a link began', async () => {
  const late = async (name: string, seconds: number, outcome: StepOutcome, trouble: 'slurm' | 'disk') => {
    let asked = 0;
    const { folder, options } = linkOf(name, {
      outcomes: [outcome],
      scheduler: {
        async submit() {
          if (asked++ === 0 && trouble === 'slurm')
            throw new SchedulerError('timeout', 'it may have been taken', { retryable: false });
          return `${asked}`;
        },
      },
      steps: { start: async () => ({ ...running(0), ended: wait(1000 * seconds, { exit: 0, signal: null }) }) },
    });
    if (trouble === 'disk') {
      folder.writeScript = () => {
        folder.writeScript = CampaignFolder.prototype.writeScript;
        throw new Error('ENOSPC: no space left on device, write');
      };
    }
    await runLink(options);
    assert.deepEqual(folder.links(), ['0001', '0002', '0003'], name);
    return ['0002', '0003'].map((link) => folder.record<LinkJobFile>(link, 'job.json')?.job);
  };
  const jobs = [late('late-slurm', 7, 'finished', 'slurm'), late('late-disk', 0, 'paused', 'disk')];
  assert.deepEqual(await Promise.all(jobs), [
    ['2', '3'],
    ['1', '2'],
  ]);
});

const away = async (): Promise<never> => {
  throw new SchedulerError('unreachable', 'nobody answers');
};

test('a scheduler that is away does not make a link forget when its time is up', async () => {
  const { folder, options } = linkOf('away-late', {
    scheduler: { jobs: away, nodes: away, history: away },
    more: { takeover: { time: 2, host: 'b', from: 'a', why: 'silent' }, signal: AbortSignal.abort() },
  });
  folder.write('0001', 'begin.json', { time: Date.now() / 1000 - 590, job: '1', nodes: ['a', 'b'], host: 'a' });
  assert.ok(folder.takeOver('0001', options.takeover as TakeoverFile));
  assert.match((await runLink(options)).why, /too little time is left/);
});

test('a scheduler that is away when a link begins does not take its nodes', async () => {
  const { folder, options } = linkOf('away', {
    scheduler: { jobs: away, nodes: away, history: away },
    more: { allocated: ['a', 'b'], signal: AbortSignal.abort() },
  });
  await runLink(options);
  assert.deepEqual(folder.record<LinkBeginFile>('0001', 'begin.json')?.nodes, ['a', 'b']);
  assert.deepEqual(folder.record<LaunchFile>('0001', 'steps', '00', 'step.json')?.nodes, ['a', 'b']);
});

test('no node is called dead where nothing starts on that of the controller, also after it took over', async () => {
  let asked = 0;
  const { folder, options } = linkOf('taken', {
    outcomes: ['failed', 'finished'],
    steps: { answers: async () => asked++ > 1 },
    more: { takeover: { time: 2, host: 'b', from: 'a', why: 'silent' } },
    nodes: { min: 1, max: 3 },
  });
  folder.write('0001', 'begin.json', { time: 1, job: '1', nodes: ['a', 'b', 'c'], host: 'a' });
  assert.ok(folder.takeOver('0001', options.takeover as TakeoverFile));
  assert.equal((await runLink(options)).why, 'trained to the end');
  const launches = folder.launches('0001').map((name) => folder.record<LaunchFile>('0001', 'steps', name, 'step.json'));
  assert.deepEqual(
    launches.map((launch) => launch?.nodes),
    [
      ['b', 'c'],
      ['b', 'c'],
    ],
  );
});

test('a disk that is full when a link begins does not end the chain', async () => {
  const full = new Error('ENOSPC: no space left on device, write');
  let written = 0;
  const { folder, options } = linkOf('full-disk', {
    steps: {
      background() {
        throw full;
      },
    },
  });
  folder.write = (...parts) => {
    if (written++ < 2) throw full;
    CampaignFolder.prototype.write.apply(folder, parts);
  };
  assert.equal((await runLink(options)).why, 'trained to the end');
  assert.equal(folder.record<LinkBeginFile>('0001', 'begin.json')?.job, '1');
  assert.equal(folder.record<LinkJobFile>('0002', 'job.json')?.job, '2');
});
