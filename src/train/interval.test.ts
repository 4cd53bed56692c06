// Tests of when to save.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meanSecondsBetweenFailures, SaveInterval, youngDaly } from './interval.ts';

/**
 * Expected wall time per second of work in Daly's model: failures are a Poisson process of mean M, work comes in pieces of
 * `tau` followed by a save of `d`, and a failure repeats the piece. (M / tau) (e^((tau + d) / M) - 1).
 */
function slowdown(tau: number, d: number, M: number): number {
  return (M / tau) * Math.expm1((tau + d) / M);
}

/** The best tau by ternary search; the slowdown has one minimum. */
function best(d: number, M: number): number {
  let [low, high] = [1e-6 * M, 20 * M];
  for (let n = 0; n < 300; n++) {
    const [a, b] = [low + (high - low) / 3, high - (high - low) / 3];
    if (slowdown(a, d, M) < slowdown(b, d, M)) high = b;
    else low = a;
  }
  return (low + high) / 2;
}

test('the interval is within one per cent of the best one, and costs less than Young would', () => {
  const M = 24 * 3600;
  for (const share of [1e-6, 1e-4, 1e-3, 1e-2, 0.1, 0.3]) {
    const d = share * M;
    const optimum = best(d, M);
    const daly = youngDaly(d, M);
    assert.ok(Math.abs(daly / optimum - 1) < 0.01, `d/M ${share}: ${daly}, best ${optimum}`);
    const young = Math.sqrt(2 * d * M);
    assert.ok(slowdown(daly, d, M) <= slowdown(young, d, M) * (1 + 1e-12), `d/M ${share}`);
  }
});

test('the examples of the paper: 5 minutes a save, 24 h, 6 h and 15 minutes between failures', () => {
  const minutes = [24 * 60, 6 * 60, 15].map((M) => youngDaly(5 * 60, M * 60) / 60);
  assert.deepEqual(
    minutes.map((each) => Number(each.toPrecision(each < 100 ? 2 : 3))),
    [117, 57, 9.1],
  );
});

test('a save that takes twice the time between failures: as often as failures come', () => {
  assert.equal(youngDaly(200, 100), 100);
  assert.equal(youngDaly(1e9, 100), 100);
  // The formula meets that bound nearly: 2M (1 + 1/3 + 1/9) - 2M = 8/9 M just below it.
  assert.ok(Math.abs(youngDaly(199.999999, 100) - (100 * 8) / 9) < 0.01);
  assert.equal(youngDaly(0, 100), 0);
  assert.throws(() => youngDaly(-1, 100), /got -1 and 100/);
  assert.throws(() => youngDaly(1, 0), /expected seconds/);
});

test('the rate of one device becomes that of the run', () => {
  // Llama 3: 419 interruptions in 54 days of 16,384 GPUs are one in about three hours.
  const rate = 419 / (54 * 24 * 16_384);
  assert.ok(Math.abs(meanSecondsBetweenFailures(rate, 16_384) / 3600 - 3.093) < 0.01);
});

test('every so many steps', () => {
  const interval = new SaveInterval({ everySteps: 50, meanSecondsBetweenFailures: 3600 });
  const due = Array.from({ length: 151 }, (_, step) => step).filter((step) => interval.isDue(step));
  assert.deepEqual(due, [50, 100, 150]);
});

test('by measured times: first as if a save cost one step, then by what saves take', () => {
  const interval = new SaveInterval({ everySteps: null, meanSecondsBetweenFailures: 3600 });
  assert.equal(interval.seconds, undefined);
  assert.equal(interval.isDue(0), false);
  const stepsToNext = (): number => {
    interval.saveBegan();
    let steps = 0;
    while (!interval.isDue(steps)) {
      interval.stepTaken(2);
      steps++;
    }
    return steps;
  };
  assert.equal(stepsToNext(), Math.round(youngDaly(2, 3600) / 2));
  interval.saved(30);
  assert.equal(stepsToNext(), Math.round(youngDaly(30, 3600) / 2));
  // Never sooner than the save before can be through.
  interval.saved(10_000);
  assert.equal(interval.seconds, 10_000);
});
