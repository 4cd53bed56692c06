// Simulated campaigns: against the closed form, against a clock that ticks second by second, and what must hold anyway.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { UserError } from '../base/errors.ts';
import {
  type Chances,
  expectedSeconds,
  gamma,
  parseSimulation,
  type Simulation,
  type SimulationInput,
  type SimulationResult,
  simulate,
  simulateMean,
} from './simulate.ts';

const hour = 3600;
const day = 24 * hour;

const base: SimulationInput = {
  workSeconds: 10 * day,
  nodes: 100,
  nodeMtbfSeconds: 100 * 5 * hour,
  repairSeconds: 0,
  detectionSeconds: 0,
  restartSeconds: 0,
  startSeconds: 0,
  intervalSeconds: hour,
  stallSeconds: 60,
};
const settings = (changes: Partial<SimulationInput> = {}): Simulation =>
  parseSimulation({ ...base, ...changes }, 'test');

const total = (result: SimulationResult): number => {
  const { kept, lost, saving, detecting, starting, queued, waiting } = result;
  return kept + lost + saving + detecting + starting + queued + waiting;
};

test('without failures it is arithmetic', () => {
  const never = settings({ nodeMtbfSeconds: 1e15, startSeconds: 100 });
  const result = simulate(never, 1);
  // 240 hours of work, a save after each, one start.
  assert.ok(Math.abs(result.seconds - (10 * day + 240 * 60 + 100)) < 1e-6);
  assert.deepEqual([result.failures, result.links, result.lost], [0, 1, 0]);
  const links = simulate({ ...never, linkSeconds: day, warningSeconds: 600, queueSeconds: 0 }, 1);
  assert.equal(links.links, 11, 'a day less warning and start, ten times, is not ten days');
  assert.equal(links.lost, 0);
  assert.ok(Math.abs(total(links) - links.seconds) < 1e-6);
});

test('exponential lives: the mean over seeds is the closed form, within its own error', () => {
  const cases: Partial<SimulationInput>[] = [
    {},
    { restartSeconds: 600 },
    { restartSeconds: 1200, detectionSeconds: 900 },
    { intervalSeconds: 2.5 * hour, stallSeconds: 300, restartSeconds: 300 },
    // Failures come faster than saves.
    { workSeconds: day, nodeMtbfSeconds: 100 * 0.8 * hour, restartSeconds: 120 },
  ];
  for (const changes of cases) {
    // Nodes are back at once, and a new job starts at once.
    const s = settings({ ...changes, recovery: 'new-job', startSeconds: changes.restartSeconds ?? 0 });
    const runs = 400;
    const times = Array.from({ length: runs }, (_, seed) => simulate(s, seed).seconds);
    const mean = times.reduce((sum, time) => sum + time, 0) / runs;
    const error = Math.sqrt(times.reduce((sum, time) => sum + (time - mean) ** 2, 0) / (runs - 1) / runs);
    const mtbf = s.nodeMtbfSeconds / s.nodes;
    // The formula begins with the training running; the simulation with its first start.
    const first = (mtbf + s.detectionSeconds) * Math.expm1(s.startSeconds / mtbf);
    const expected = first + expectedSeconds({ ...s, mtbf });
    assert.ok(
      Math.abs(mean - expected) < 4 * error,
      `${JSON.stringify(changes)}: ${mean.toFixed(0)} ± ${error.toFixed(0)}, expected ${expected.toFixed(0)}`,
    );
    assert.ok(error < 0.02 * expected, 'the error is small enough to tell');
  }
});

test("the best interval is Young's, and both sides of it are worse", () => {
  const stallSeconds = 60;
  const mtbf = 5 * hour;
  const young = Math.sqrt(2 * stallSeconds * mtbf);
  const goodput = (factor: number): number =>
    simulateMean(settings({ workSeconds: 100 * day, intervalSeconds: young * factor }), 40).goodput;
  const [shorter, at, longer] = [goodput(0.4), goodput(1), goodput(2.5)];
  assert.ok(at > shorter && at > longer, `${shorter} ${at} ${longer}`);
  assert.ok(Math.abs(1 - at - Math.sqrt((2 * stallSeconds) / mtbf)) < 0.01, 'and costs sqrt(2C/M)');
});

test('Weibull lives of any shape: as many failures as the mean life says, from the first day on', () => {
  for (const weibullShape of [0.5, 0.7, 1, 1.5, 3]) {
    // Nodes are back at once, and 100 of them over 50 days of 2-day lives fail 2,500 times.
    const s = settings({
      weibullShape,
      nodeMtbfSeconds: 2 * day,
      workSeconds: day,
      stallSeconds: 1,
      intervalSeconds: 60,
    });
    let [failures, time] = [0, 0];
    for (let seed = 0; seed < 30; seed++) {
      const result = simulate(s, seed);
      failures += result.failures;
      time += result.seconds;
    }
    const expected = (time * 100) / (2 * day);
    assert.ok(Math.abs(failures / expected - 1) < 0.12, `shape ${weibullShape}: ${failures}, expected ${expected}`);
  }
  assert.ok(Math.abs(gamma(5) - 24) < 1e-11);
  assert.ok(Math.abs(gamma(0.5) - Math.sqrt(Math.PI)) < 1e-13);
  assert.ok(Math.abs(gamma(1.5) - Math.sqrt(Math.PI) / 2) < 1e-13);
});

test('the same seed gives the same campaign, another one another', () => {
  const s = settings({ spares: 4, repairSeconds: day, linkSeconds: day, warningSeconds: 600, queueSeconds: 900 });
  assert.deepEqual(simulate(s, 7), simulate(s, 7));
  assert.notDeepEqual(simulate(s, 7), simulate(s, 8));
});

test('spares, detection and MTBF change goodput in the direction they must', () => {
  const s = {
    repairSeconds: 4 * hour,
    detectionSeconds: 300,
    restartSeconds: 300,
    startSeconds: 900,
    queueSeconds: 1800,
  };
  const goodput = (changes: Partial<SimulationInput>): number =>
    simulateMean(settings({ ...s, spares: 8, linkSeconds: day, warningSeconds: 600, ...changes }), 20).goodput;
  assert.ok(goodput({ spares: 0 }) < goodput({ spares: 4 }));
  assert.ok(goodput({ spares: 4 }) < goodput({ spares: 16 }));
  assert.ok(goodput({ detectionSeconds: 1800 }) < goodput({ detectionSeconds: 30 }));
  assert.ok(goodput({ nodeMtbfSeconds: 300 * hour }) < goodput({ nodeMtbfSeconds: 1000 * hour }));
  assert.ok(goodput({ recovery: 'new-job' }) < goodput({ recovery: 'in-job' }));
  assert.ok(
    goodput({ spares: 0, repairSeconds: 12 * hour }) < goodput({ spares: 0, repairSeconds: 12 * hour, shrink: 'any' }),
  );
});

test('settings that cannot be are refused', () => {
  const refused = (changes: Record<string, unknown>, pattern: RegExp): void =>
    assert.throws(
      () => parseSimulation({ ...base, ...changes }, 'x'),
      (error) => error instanceof UserError && pattern.test(error.message),
    );
  refused({ nodes: 0 }, /nodes/);
  refused({ nodeMtbfSeconds: Number.NaN }, /nodeMtbfSeconds/);
  refused({ linkSeconds: 100, startSeconds: 100 }, /ends before it trains/);
  refused({ linkSeconds: day, warningSeconds: 10 }, /shorter than a save/);
  refused({ mtbf: 1 }, /Unrecognized key/);
});

test('a campaign that hardly gets on is given up, and says so', () => {
  const { finished, goodput, waiting, seconds } = simulate(
    settings({ nodeMtbfSeconds: 100 * hour, repairSeconds: 10 * day }),
    1,
  );
  assert.equal(finished, 0);
  assert.ok(goodput < 0.01);
  assert.ok(waiting > 0.9 * seconds);
  assert.equal(simulate(settings(), 1).finished, 1);
});

// ---- brute force ----

interface Schedule {
  /** For every node: seconds of life, of repair, of life, ... */
  readonly lives: readonly (readonly number[])[];
  readonly faults: readonly number[];
  readonly queues: readonly number[];
}

const never = 1e9;

function scheduled({ lives, faults, queues }: Schedule): Chances {
  const at = lives.map(() => 0);
  let [fault, queue] = [0, 0];
  const next = (node: number): number => {
    const index = at[node] as number;
    at[node] = index + 1;
    return lives[node]?.[index] ?? never;
  };
  return {
    firstLife: next,
    life: next,
    repair: next,
    queue: () => queues[queue++] ?? 0,
    fault: () => faults[fault++] ?? never,
  };
}

/**
 * The same campaign by a clock that ticks: written from the description of the settings, with no arithmetic over stretches.
 * All times are whole seconds. In a second, first what was to be done by then counts, then nodes change, then training does.
 */
function ticking(
  s: Simulation,
  schedule: Schedule,
): { seconds: number; failures: number; links: number; kept: number } {
  const chances = scheduled(schedule);
  const count = s.nodes + s.spares;
  const healthy = Array<boolean>(count).fill(true);
  const change = Array.from({ length: count }, (_, node) => chances.firstLife(node));
  let fault = s.jobMtbfSeconds === null ? never : chances.fault();
  /** Nodes of the job: whether each trains. */
  let job = new Map<number, boolean>();
  let [t, work, failures, links, kept] = [0, 0, 0, 0, 0];
  const size = (most: number): number => {
    if (most >= s.nodes) return s.nodes;
    if (s.shrink === 'none') return 0;
    if (s.shrink === 'any') return most;
    for (let n = s.nodes; n >= 1; n /= 2) {
      if (!Number.isInteger(n)) return 0;
      if (n <= most) return n;
    }
    return 0;
  };
  /** What happens at second t; whether it stops a job. */
  const happen = (): boolean => {
    const stops = false;
    for (;;) {
      const due = change.findIndex((time) => time === Math.min(...change) && time <= t);
      const nodeTime = due === -1 ? never : (change[due] as number);
      if (fault <= t && fault <= nodeTime) {
        fault = t + chances.fault();
        return true;
      }
      if (due === -1) return stops;
      if (healthy[due]) {
        healthy[due] = false;
        const trained = job.get(due);
        job.delete(due);
        change[due] = t + chances.repair(due);
        if (trained) return true;
      } else {
        healthy[due] = true;
        change[due] = t + chances.life(due);
      }
    }
  };
  const settleAt = (until: number): void => {
    while (t < until) {
      while (Math.min(...change, fault) <= t) happen();
      t++;
    }
    while (Math.min(...change, fault) <= t) happen();
  };
  const choose = (n: number): void => {
    const members = [...job.keys()].sort((a, b) => a - b);
    const trains = members.filter((node) => job.get(node));
    for (const node of members) if (trains.length < n && !trains.includes(node)) trains.push(node);
    const kept = new Set(trains.sort((a, b) => a - b).slice(0, n));
    for (const node of members) job.set(node, kept.has(node));
  };
  while (work < s.workSeconds) {
    if (links > 0) settleAt(t + chances.queue());
    links++;
    for (;;) {
      const available = healthy.flatMap((is, node) => (is ? [node] : []));
      const taken = available.slice(0, s.recovery === 'in-job' ? s.nodes + s.spares : s.nodes);
      const n = size(Math.min(taken.length, s.nodes));
      if (n > 0) {
        job = new Map(taken.map((node) => [node, false]));
        choose(n);
        break;
      }
      // The next node that changes, then look again.
      settleAt(Math.min(...change));
    }
    const stop = s.linkSeconds === null ? never : t + s.linkSeconds - s.warningSeconds;
    let startLeft = s.startSeconds;
    let over = false;
    while (!over) {
      let failed = false;
      // Start.
      const startEnd = Math.min(t + startLeft, stop);
      while (t < startEnd && !failed) {
        if (Math.min(...change, fault) <= t) failed = happen();
        if (!failed) t++;
      }
      if (!failed && t < stop) {
        const rate = [...job.values()].filter(Boolean).length / s.nodes;
        let [sinceSave, stall, done] = [0, 0, work];
        /** Work that will count at a second. */
        const pending: { work: number; at: number }[] = [];
        let committed = work;
        let last: number | undefined;
        for (;;) {
          while (pending[0] && pending[0].at <= t) committed = (pending.shift() as { work: number }).work;
          if (last === undefined && (done >= s.workSeconds - 1e-9 || t >= stop))
            last = t + s.stallSeconds + s.writeSeconds;
          if (last !== undefined && t >= last) {
            committed = done;
            over = true;
            break;
          }
          // Nothing happens in the second that ends a stretch before the last save begins.
          if (Math.min(...change, fault) <= t && happen()) {
            failed = true;
            break;
          }
          t++;
          if (last !== undefined) continue;
          if (stall > 0) {
            stall--;
            if (stall === 0) pending.push({ work: done, at: t + s.writeSeconds });
            continue;
          }
          done += rate;
          sinceSave += rate;
          if (sinceSave >= s.intervalSeconds - 1e-9 && done < s.workSeconds - 1e-9) {
            sinceSave = 0;
            stall = s.stallSeconds;
            if (stall === 0) pending.push({ work: done, at: t + s.writeSeconds });
          }
        }
        kept += (committed - work) / rate;
        work = committed;
        if (work >= s.workSeconds - 1e-9) work = s.workSeconds;
      } else if (!failed) over = true;
      if (!failed) continue;
      failures++;
      settleAt(Math.min(t + s.detectionSeconds, Math.max(stop, t)));
      const n = size(Math.min(job.size, s.nodes));
      if (s.recovery === 'new-job' || t >= stop || n === 0 || t + s.restartSeconds >= stop) over = true;
      else {
        choose(n);
        startLeft = s.restartSeconds;
      }
    }
    job = new Map();
  }
  return { seconds: t, failures, links, kept };
}

test('small campaigns: equal to a clock that ticks second by second', () => {
  const small = fc.record({
    workSeconds: fc.integer({ min: 20, max: 120 }).map((half) => 2 * half),
    nodes: fc.constantFrom(1, 2, 4),
    spares: fc.integer({ min: 0, max: 2 }),
    recovery: fc.constantFrom('in-job' as const, 'new-job' as const),
    shrink: fc.constantFrom('none' as const, 'halves' as const),
    detectionSeconds: fc.integer({ min: 0, max: 9 }),
    restartSeconds: fc.integer({ min: 0, max: 9 }),
    startSeconds: fc.integer({ min: 0, max: 9 }),
    intervalSeconds: fc.integer({ min: 4, max: 30 }),
    stallSeconds: fc.integer({ min: 0, max: 3 }),
    writeSeconds: fc.integer({ min: 0, max: 3 }),
    linkSeconds: fc.option(fc.integer({ min: 40, max: 90 }), { nil: null }),
    jobMtbfSeconds: fc.constantFrom(null, 50),
  });
  // Changes of nodes fall on seconds of their own, so that no order of what happens at once is tested.
  const schedule = fc.record({
    lives: fc.array(fc.array(fc.integer({ min: 1, max: 150 }), { minLength: 0, maxLength: 8 }), {
      minLength: 6,
      maxLength: 6,
    }),
    faults: fc.array(fc.integer({ min: 5, max: 120 }), { maxLength: 4 }),
    queues: fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 20 }),
  });
  let [withFailures, withLinks] = [0, 0];
  fc.assert(
    fc.property(small, schedule, (input, chance) => {
      // What a warning cuts off at half the speed is half a second of work, which a clock of seconds cannot show.
      const linkSeconds = input.shrink === 'none' ? input.linkSeconds : null;
      const s = parseSimulation(
        { ...input, linkSeconds, warningSeconds: 10, nodeMtbfSeconds: 1, repairSeconds: 1, queueSeconds: 0 },
        'small',
      );
      // A repair after every life, so that nodes come back.
      const lives = chance.lives.map((list) => (list.length % 2 === 1 ? [...list, 7] : list));
      const times = new Set<number>();
      for (const list of lives) {
        let at = 0;
        for (const life of list) {
          at += life;
          fc.pre(!times.has(at));
          times.add(at);
        }
      }
      const fixed = { ...chance, lives };
      const result = simulate(s, 0, scheduled(fixed));
      const clock = ticking(s, fixed);
      assert.ok(Math.abs(total(result) - result.seconds) < 1e-6, 'all time is accounted for');
      assert.deepEqual(
        [Math.round(result.seconds * 1e6) / 1e6, result.failures, result.links, Math.round(result.kept * 1e6) / 1e6],
        [clock.seconds, clock.failures, clock.links, Math.round(clock.kept * 1e6) / 1e6],
      );
      withFailures += result.failures > 0 ? 1 : 0;
      withLinks += result.links > 1 ? 1 : 0;
    }),
    { numRuns: 400, seed: 5 },
  );
  assert.ok(withFailures > 100 && withLinks > 100, `${withFailures} with failures, ${withLinks} with several links`);
});

test('ten thousand nodes over months take less than a few seconds', () => {
  const s = settings({
    workSeconds: 90 * day,
    nodes: 10_000,
    spares: 200,
    nodeMtbfSeconds: 5 * 365 * day,
    repairSeconds: 2 * day,
    detectionSeconds: 120,
    restartSeconds: 600,
    startSeconds: 900,
    linkSeconds: 2 * day,
    warningSeconds: 600,
    intervalSeconds: 1200,
    stallSeconds: 10,
    writeSeconds: 60,
  });
  const before = process.cpuUsage();
  const result = simulate(s, 1);
  const { user, system } = process.cpuUsage(before);
  assert.ok(result.failures > 400);
  assert.ok((user + system) / 1e6 < 3, `${(user + system) / 1e6} s of CPU`);
});
