// Ranks as processes of this machine whose hearts beat, and a watcher: a slowed one is named, one that is stuck or frozen too.
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readLines } from '../src/base/events.ts';
import { type Heartbeat, readHeartbeats } from '../src/cluster/health/heartbeat.ts';
import { threadState } from '../src/cluster/health/process-state.ts';
import { type Alert, type StuckRank, Watcher, type WatchSettings } from '../src/cluster/health/watcher.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-health-'));
const isSource = import.meta.url.endsWith('.ts');
const program = fileURLToPath(new URL(`./health-rank.${isSource ? 'ts' : 'js'}`, import.meta.url));
const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(scratch, { recursive: true });
});

/** Ranks that take steps together: nobody begins one before all have ended the last. */
class Team {
  readonly dir: string;
  readonly ranks: ChildProcess[];
  readonly watcher: Watcher;
  readonly told: Alert[] = [];
  steps = 0;
  private done = 0;
  private isStopping = false;

  constructor(name: string, world: number, settings: Partial<WatchSettings>) {
    this.dir = join(scratch, name);
    const probe = async ({ pid }: Heartbeat) => threadState(pid);
    this.watcher = new Watcher({ dir: this.dir, link: '0001', settings: { lookSeconds: 0.1, ...settings }, probe });
    const health = join(this.dir, 'campaign', 'health');
    this.ranks = Array.from({ length: world }, (_, rank) => {
      const child = fork(program, [health, `${rank}`, `${world}`], {
        execArgv: isSource ? ['--import', import.meta.resolve('tsx')] : [],
      });
      children.push(child);
      child.on('message', (said: { ready?: true; done?: number }) => this.hear(said));
      return child;
    });
  }

  private hear(said: { readonly ready?: true; readonly done?: number }): void {
    if (++this.done < this.ranks.length) return;
    this.done = 0;
    if (said.done !== undefined) this.steps++;
    if (!this.isStopping) this.send('go');
  }

  send(word: string): void {
    for (const rank of this.ranks) if (rank.connected) rank.send(word);
  }

  /** All leave, as after the last step. */
  async leave(): Promise<unknown[]> {
    this.isStopping = true;
    const closed = this.ranks.map(async (rank) => await new Promise((resolve) => rank.on('exit', resolve)));
    this.send('end');
    return await Promise.all(closed);
  }

  /** Looks ten times a second until it is so. */
  async until(what: string, isSo: () => boolean): Promise<void> {
    const deadline = performance.now() + 60_000;
    while (!isSo()) {
      assert.ok(performance.now() < deadline, `waited in vain for ${what}: ${JSON.stringify(this.told)}`);
      await wait(100);
      this.told.push(...this.watcher.tick());
    }
  }

  firing(kind: string): Alert | undefined {
    return this.told.find((alert) => alert.kind === kind && alert.state === 'firing');
  }

  /** What was collected about a hang. */
  collected({ file = '' }: Alert): StuckRank[] {
    return JSON.parse(readFileSync(join(this.dir, 'campaign', file), 'utf8')).ranks;
  }

  async end(): Promise<void> {
    this.isStopping = true;
    await this.watcher.close();
    for (const rank of this.ranks) rank.kill('SIGKILL');
  }
}

test('a rank that runs half of the time is named within 50 steps, with its score, and taken back when it recovers', async (t) => {
  const team = new Team('slow', 3, { hangSeconds: 30 });
  await team.until('thirty sound steps', () => team.steps >= 30);
  const { pid } = team.ranks[1] as ChildProcess;
  let isSlowed = true;
  const slowing = (async () => {
    while (isSlowed) {
      process.kill(pid as number, 'SIGSTOP');
      await wait(25);
      process.kill(pid as number, 'SIGCONT');
      await wait(25);
    }
  })();
  const began = team.steps;
  await team.until('the straggler', () => team.firing('straggler') !== undefined);
  const alert = team.firing('straggler') as Alert;
  const took = team.steps - began;
  isSlowed = false;
  await slowing;
  assert.equal(alert.rank, 1, JSON.stringify(alert));
  assert.ok((alert.score as number) > 0.2 && (alert.score as number) < 0.7, `score ${alert.score}`);
  assert.ok(took <= 50, `after ${took} steps`);
  t.diagnostic(`named after ${took} steps with a score of ${alert.score}`);
  await team.until('its recovery', () =>
    team.told.some(({ kind, state }) => kind === 'straggler' && state === 'resolved'),
  );
  await team.end();
  const lines = readLines<{ event: string; state: string; rank: number }>(join(team.dir, 'campaign', 'alerts.jsonl'));
  assert.deepEqual(
    lines
      .filter(({ rank }) => rank === 1)
      .map(({ event, state }) => [event, state])
      .slice(0, 2),
    [
      ['straggler', 'firing'],
      ['straggler', 'resolved'],
    ],
  );
  assert.ok(existsSync(join(team.dir, 'campaign', 'health', 'scores.jsonl')));
});

test('a rank in an endless loop is found by its JavaScript stack, one in a call by its place and the kernel', async () => {
  for (const [word, place, pattern] of [
    ['loop', 'gradients', /^stuckInALoop \(.*health-rank/],
    ['call', 'update', undefined],
  ] as const) {
    const team = new Team(word, 2, { hangSeconds: 1, silentSeconds: 10 });
    await team.until('sound steps', () => team.steps >= 10);
    team.ranks[1]?.send(word);
    await team.until('the hang', () => team.firing('hang') !== undefined);
    const alert = team.firing('hang') as Alert;
    assert.deepEqual(alert.ranks, [1], alert.text);
    const [other, stuck] = team.collected(alert);
    assert.equal(other?.isCulprit, false);
    assert.equal(other?.place, 'exchange');
    assert.equal(stuck?.place, place);
    assert.ok((stuck?.silentSeconds ?? 99) < 5, 'its heart beats');
    if (pattern) {
      assert.match(stuck?.stack?.[0] ?? '', pattern);
      assert.match(stuck?.stack?.join('\n') ?? '', /stuckInALoop/);
    } else {
      assert.equal(stuck?.stack, undefined);
      assert.match(stuck?.thread?.state ?? '', /sleeping/);
    }
    await team.end();
  }
});

test('a frozen rank is silent: the kernel says that it is stopped, and when it goes on the alarm is over', async () => {
  const team = new Team('frozen', 2, { hangSeconds: 30, silentSeconds: 1 });
  await team.until('sound steps', () => team.steps >= 10);
  const { pid } = team.ranks[1] as ChildProcess;
  process.kill(pid as number, 'SIGSTOP');
  await team.until('the hang', () => team.firing('hang') !== undefined);
  const alert = team.firing('hang') as Alert;
  assert.deepEqual(alert.ranks, [1]);
  assert.match(alert.text, /rank 1 on \S+ \(\w+\) is T \(stopped\)/);
  const stuck = team.collected(alert)[1];
  assert.match(stuck?.thread?.state ?? '', /stopped/);
  assert.equal(stuck?.stack, undefined);
  process.kill(pid as number, 'SIGCONT');
  await team.until('its end', () => team.told.some(({ kind, state }) => kind === 'hang' && state === 'resolved'));
  await team.end();
});

test('ranks that end say so, and raise no alarm', async () => {
  const team = new Team('ended', 2, { hangSeconds: 0.5, silentSeconds: 0.5 });
  await team.until('sound steps', () => team.steps >= 5);
  assert.deepEqual(await team.leave(), [0, 0]);
  const health = join(team.dir, 'campaign', 'health');
  assert.deepEqual(
    readHeartbeats(health).map(({ place }) => place),
    ['ended', 'ended'],
  );
  await wait(1500);
  assert.deepEqual(team.watcher.tick(), []);
  assert.deepEqual(
    readdirSync(health).filter((name) => name.startsWith('hang')),
    [],
  );
});
