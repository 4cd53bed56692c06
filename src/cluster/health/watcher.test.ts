// The watcher on beats and steps that a test writes; test/health.test.ts has processes.
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readLines } from '../../base/events.ts';
import { beatName, type Heartbeat, replaceFile, requestName, answerName } from './heartbeat.ts';
import { parseThreadState, threadState, threadStateCommand } from './process-state.ts';
import { type Alert, Watcher, type WatcherOptions } from './watcher.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-watcher-'));
after(() => rmSync(scratch, { recursive: true }));

/** A campaign whose clock a test turns. */
class Stage {
  readonly dir: string;
  readonly health: string;
  readonly watcher: Watcher;
  now = 100;
  private beats = 0;

  constructor(name: string, more: Partial<WatcherOptions> = {}, before?: (stage: Stage) => void) {
    this.dir = join(scratch, name);
    this.health = join(this.dir, 'campaign', 'health');
    mkdirSync(this.health, { recursive: true });
    before?.(this);
    this.watcher = new Watcher({ dir: this.dir, link: '0002', clock: () => this.now, ...more });
  }

  beat(rank: number, more: Partial<Heartbeat> = {}): void {
    replaceFile(join(this.health, beatName(rank)), {
      ...{ rank, world: 3, host: `n${rank + 1}`, pid: 10 + rank, attempt: 1, beat: ++this.beats, time: 0, stepTime: 0 },
      ...{ step: 0, stepSeconds: 0.1, place: 'gradients', placeTime: 0, steps: 0, busySeconds: 0, shards: 0 },
      ...more,
    });
  }

  /** Steps that all ranks took, and how long each rank computes a shard. */
  took(steps: number, secondsPerShard: readonly number[], more: Partial<Heartbeat> = {}): void {
    secondsPerShard.forEach((seconds, rank) => {
      this.busy[rank] = (this.busy[rank] ?? 0) + (steps - this.last) * 2 * seconds;
      this.beat(rank, { steps, step: steps, shards: 2 * steps, busySeconds: this.busy[rank] as number, ...more });
    });
    this.last = steps;
  }
  private last = 0;
  private readonly busy: number[] = [];

  step(line: object): void {
    mkdirSync(join(this.dir, 'pretrain', 'attempts', '0001'), { recursive: true });
    appendFileSync(join(this.dir, 'pretrain', 'attempts', '0001', 'steps.jsonl'), `${JSON.stringify(line)}\n`);
  }

  look(seconds = 1): readonly Alert[] {
    this.now += seconds;
    return this.watcher.tick();
  }
}

test('scores are by shard, beside the others and beside the past; a hiccup is no straggler', () => {
  const stage = new Stage('scores');
  let steps = 0;
  for (let i = 0; i < 20; i++) {
    stage.took((steps += 10), [0.1, 0.1, 0.1]);
    assert.deepEqual(stage.look(), []);
  }
  stage.took((steps += 10), [0.1, 0.1, 0.4]);
  assert.deepEqual(stage.look(), [], 'one slow look');
  for (let i = 0; i < 3; i++) {
    stage.took((steps += 10), [0.1, 0.1, 0.1]);
    assert.deepEqual(stage.look(), []);
  }
  let alert: Alert | undefined;
  for (let i = 0; i < 3 && !alert; i++) {
    stage.took((steps += 10), [0.1, 0.1, 0.2]);
    [alert] = stage.look();
  }
  assert.deepEqual(
    [alert?.kind, alert?.rank, alert?.node, alert?.score, alert?.individual],
    ['straggler', 2, 'n3', 0.5, 0.5],
  );
  stage.took((steps += 10), [0.1, 0.1, 0.2]);
  assert.deepEqual(stage.look(), [], 'it is told once');
  const scores = stage.watcher.rankScores.map(({ rank, relative }) => [rank, Number(relative.toFixed(3))]);
  assert.deepEqual(scores, [
    [0, 1],
    [1, 1],
    [2, 0.5],
  ]);
  // All of them slow: nobody is a straggler, but each is slower than it was.
  for (let i = 0; i < 4; i++) {
    stage.took((steps += 10), [0.3, 0.3, 0.3]);
    stage.look();
  }
  assert.ok(stage.watcher.rankScores.every(({ relative, individual }) => relative > 0.99 && individual < 0.34));
  const kinds = readLines<{ event: string; state: string }>(join(stage.dir, 'campaign', 'alerts.jsonl'));
  assert.deepEqual(
    kinds.map(({ event, state }) => `${event} ${state}`),
    ['straggler firing', 'straggler resolved'],
  );
  const logged = readLines<{ slow: { rank: number }[] }>(join(stage.health, 'scores.jsonl'));
  assert.ok(logged.some(({ slow }) => slow.length === 1 && slow[0]?.rank === 2));
});

test('of two ranks the slow one is named, and one alone is not compared with itself', () => {
  const two = new Stage('two');
  let named: readonly Alert[] = [];
  for (let steps = 10; steps <= 60; steps += 10) {
    two.took(steps, [0.1, 0.25]);
    named = [...named, ...two.look()];
  }
  assert.deepEqual(
    named.map(({ rank, score }) => [rank, score]),
    [[1, 0.4]],
  );
  const one = new Stage('one');
  for (let steps = 10; steps <= 60; steps += 10) {
    one.took(steps, [steps > 30 ? 1 : 0.1]);
    assert.deepEqual(one.look(), []);
  }
});

test('no step for many times the usual time is a hang; saving and starting may take longer; steps end it', () => {
  const stage = new Stage('hang', { settings: { hangSeconds: 20, hangFactor: 10, hangSecondsElsewhere: 300 } });
  for (const rank of [0, 1, 2]) stage.beat(rank, { place: 'starting' });
  const beatAll = (place: (rank: number) => string, steps: number): void => {
    for (const rank of [0, 1, 2]) stage.beat(rank, { steps, step: steps, stepSeconds: 5, place: place(rank) });
  };
  for (let i = 0; i < 20; i++) {
    beatAll(() => 'starting', 0);
    assert.deepEqual(stage.look(10), []);
  }
  beatAll(() => 'exchange', 7);
  assert.deepEqual(stage.look(), []);
  const waits = (rank: number): string => (rank === 1 ? 'gradients' : 'exchange');
  for (let i = 0; i < 4; i++) {
    beatAll(waits, 7);
    assert.deepEqual(stage.look(10), [], 'not yet: a step usually takes 5 s');
  }
  beatAll(waits, 7);
  assert.deepEqual(stage.look(11), [], 'stacks are asked for');
  const { id } = JSON.parse(readFileSync(join(stage.health, requestName), 'utf8'));
  const answer = { id, host: 'n2', pid: 11 };
  replaceFile(join(stage.health, answerName(1)), {
    ...answer,
    rank: 1,
    place: 'gradients',
    stack: ['spin (x.js:1:1)', 'step'],
  });
  replaceFile(join(stage.health, answerName(0)), { ...answer, rank: 0, place: 'exchange' });
  beatAll(waits, 7);
  assert.deepEqual(stage.look(), [], 'rank 2 has not answered');
  beatAll(waits, 7);
  const [alert] = stage.look(5);
  assert.deepEqual([alert?.kind, alert?.rank, alert?.node, alert?.ranks, alert?.step], ['hang', 1, 'n2', [1], 7]);
  assert.match(alert?.text ?? '', /no step for \d+ s after step 7: rank 1 on n2 is in spin \(x\.js:1:1\)/);
  beatAll(waits, 7);
  assert.deepEqual(stage.look(100), [], 'it is told once');
  beatAll(() => 'gradients', 8);
  assert.deepEqual(
    stage.look().map(({ kind, state }) => `${kind} ${state}`),
    ['hang resolved'],
  );
});

test('a silent rank is enough for an alarm before its time; its node is asked, and may not answer', async () => {
  const settings = { hangSeconds: 1000, silentSeconds: 15, collectSeconds: 3 };
  const stage = new Stage('silent', { settings, probe: async () => await Promise.reject(new Error('no route')) });
  stage.took(5, [0.1, 0.1, 0.1]);
  stage.look();
  stage.took(8, [0.1, 0.1, 0.1]);
  stage.look();
  for (const rank of [0, 2]) stage.beat(rank, { steps: 8, step: 8, place: 'exchange' });
  assert.deepEqual(stage.look(14), []);
  for (const rank of [0, 2]) stage.beat(rank, { steps: 8, step: 8, place: 'exchange' });
  assert.deepEqual(stage.look(2), []);
  await new Promise(setImmediate);
  const [alert] = stage.look(4);
  assert.deepEqual([alert?.kind, alert?.ranks], ['hang', [1]]);
  assert.match(alert?.text ?? '', /rank 1 on n2 is silent for 2\d\.?\d* s, its node does not answer/);
  assert.deepEqual(
    (await stage.watcher.close()).map(({ state }) => state),
    ['resolved'],
  );
});

test('a rank that never comes is named when starting takes too long', () => {
  const stage = new Stage('absent', { settings: { hangSecondsElsewhere: 100 } });
  let told: readonly Alert[] = [];
  for (let i = 0; i < 13; i++) {
    for (const rank of [0, 2]) stage.beat(rank, { attempt: 0, place: 'between steps' });
    told = [...told, ...stage.look(10)];
  }
  assert.deepEqual(
    told.map(({ kind, ranks }) => [kind, ranks]),
    [['hang', [1]]],
  );
  assert.match(told[0]?.text ?? '', /of all ranks 1 never came, the first of them 1/);
});

test('looking takes a tenth of the time at most, however many ranks there are', () => {
  let now = 0;
  const stage = new Stage('many', { clock: () => (now += 0.2), settings: { lookSeconds: 0.5 } });
  let looks = 0;
  for (let i = 0; i < 100; i++) {
    stage.beat(0, { steps: i });
    const before = now;
    stage.watcher.tick();
    // A tick that looks asks its clock more than once.
    if (now - before > 0.3) looks++;
  }
  assert.ok(looks >= 3 && looks <= 12, `${looks} looks in ${now.toFixed(0)} s`);
});

test('what earlier launches left is no sign of life, and no reason for an alarm', () => {
  const stage = new Stage('old', {}, (before) => {
    before.beat(0, { attempt: 3, steps: 9 });
    before.beat(1, { attempt: 0 });
  });
  for (let i = 0; i < 5; i++) assert.deepEqual(stage.look(1000), []);
  // A zombie of the old attempt beats on.
  stage.beat(0, { attempt: 3, steps: 10 });
  assert.deepEqual(stage.look(1000), []);
  assert.deepEqual(stage.watcher.rankScores, []);
});

test('a loss that is no number, one that jumps and steps that became slow are told, and when it is over', () => {
  const settings = { lossWindow: 20, throughputWindow: 10 };
  const stage = new Stage('steps', { settings });
  const told: string[] = [];
  let step = 0;
  const take = (count: number, fields: (step: number) => object): void => {
    for (let i = 0; i < count; i++) {
      step++;
      stage.step({ step, time: step, seconds: 1, tokens: 1000, loss: 5 + 0.1 * Math.sin(step), ...fields(step) });
      stage.beat(0, { steps: step, step });
      told.push(...stage.look().map(({ kind, state, step: at }) => `${kind} ${state} ${at}`));
    }
  };
  take(60, () => ({}));
  assert.equal(told.length, 0);
  take(1, () => ({ loss: undefined }));
  take(1, () => ({ seconds: 0, tokens: undefined, loss: undefined }));
  take(1, () => ({}));
  assert.deepEqual(told.splice(0), ['not-finite firing 61', 'not-finite resolved 63']);
  take(2, () => ({ loss: 7 }));
  take(1, () => ({}));
  assert.deepEqual(told.splice(0), ['loss-spike firing 64', 'loss-spike resolved 66']);
  take(24, () => ({ seconds: 2 }));
  take(20, () => ({ seconds: 1 }));
  assert.deepEqual(
    told.map((line) => line.split(' ').slice(0, 2).join(' ')),
    ['throughput firing', 'throughput resolved'],
  );
});

test('the state of a thread is read here and from what a command says there', async () => {
  const here = threadState(process.pid);
  assert.match(here?.state ?? '', /^R \(running\)/);
  assert.equal(threadState(2 ** 30), undefined);
  const [file = '', ...args] = threadStateCommand(process.pid);
  const { execFileSync } = await import('node:child_process');
  const there = parseThreadState(execFileSync(file, args, { encoding: 'utf8' }));
  assert.match(there?.state ?? '', /^[RSD] \(/);
  const stopped = parseThreadState(
    '=== status\nName:\tnode\nState:\tT (stopped)\n=== wchan\ndo_signal_stop\n=== syscall\n202 0x1 0x2\n=== stack\n[<0>] do_signal_stop+0x10/0x20\n[<0>] get_signal+0x1\n',
  );
  assert.deepEqual(stopped, {
    state: 'T (stopped)',
    waitsIn: 'do_signal_stop',
    call: '202',
    kernelStack: ['do_signal_stop+0x10/0x20', 'get_signal+0x1'],
  });
  assert.equal(parseThreadState('srun: error: whatever'), undefined);
});
