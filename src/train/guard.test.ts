import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Random } from '../base/rng.ts';
import { guardDefaults, type GuardEvent, type GuardRecipe, LossGuard, type Verdict } from './guard.ts';

/**
 * Loss and gradient norm of a run as they really look: log of the vocabulary at the start, a steep fall while the rate
 * warms up, then a slow power law; noise that is a share of the loss, partly shared by neighbouring steps, and here and
 * there a batch that is much harder. A function of step and data alone, as training is.
 */
class Curve {
  private readonly seed: number;
  private readonly noise: number;
  private readonly hard: number;
  private slow = 0;

  constructor(seed: number, noise: number, hard = 0.003) {
    this.seed = seed;
    this.noise = noise;
    this.hard = hard;
  }

  at(step: number): { step: number; loss: number; gradientNorm: number } {
    const random = new Random(this.seed, 'loss', step);
    const base = 1.8 + 7.5 * Math.exp(-step / 60) + 2.2 * (1 + step / 50) ** -0.4;
    this.slow = 0.9 * this.slow + 0.3 * random.normal();
    let factor = 1 + this.noise * (0.9 * random.normal() + 0.3 * this.slow);
    if (random.real() < this.hard) factor += 0.2 + 0.4 * random.real();
    const gradientNorm = (0.4 + 3 * Math.exp(-step / 80)) * Math.exp(0.2 * random.normal());
    return { step, loss: base * factor, gradientNorm };
  }
}

const recipe = (more: Partial<GuardRecipe> = {}): GuardRecipe => ({ ...guardDefaults, ...more });

/** Asks once more where it wants to see the step again, as the loop does with a computer that makes no mistakes. */
function decide(guard: LossGuard, judged: { step: number; loss: number; gradientNorm: number }): Verdict {
  let verdict = guard.judge(judged);
  for (let tries = 0; verdict.kind === 'retry'; tries++) {
    assert.ok(tries < 3);
    verdict = guard.judge(judged);
  }
  return verdict;
}

const names = (events: readonly GuardEvent[]): string[] => events.map(({ name }) => name);

test('curves of a healthy run are left alone: noise of 2 to 5 %, hard batches, the steep beginning', () => {
  let steps = 0;
  let reported = 0;
  for (const noise of [0.02, 0.035, 0.05]) {
    for (let seed = 0; seed < 15; seed++) {
      const curve = new Curve(seed, noise);
      const guard = new LossGuard(guardDefaults);
      for (let step = 1; step <= 1200; step++) {
        const { kind, events } = decide(guard, curve.at(step));
        assert.equal(kind, 'apply', `noise ${noise}, seed ${seed}, step ${step}`);
        steps++;
        reported += events.length;
      }
    }
  }
  // The 0.3 % hard batches, one event each: no decisions.
  assert.ok(reported / steps < 0.004, `${reported} events in ${steps} steps`);
});

test('a jump that stays is found within its patience, from before it began', () => {
  for (const [noise, height] of [
    [0.02, 0.3],
    [0.035, 0.5],
    [0.05, 0.7],
  ] as const) {
    for (let seed = 0; seed < 25; seed++) {
      const curve = new Curve(1000 + seed, noise);
      const guard = new LossGuard(guardDefaults);
      const start = 300 + 20 * seed;
      let verdict: Verdict | undefined;
      for (let step = 1; step <= start + 40 && verdict?.kind !== 'rollback'; step++) {
        const judged = curve.at(step);
        // Up within three steps, then slowly down again: what a spike looks like.
        const rise = step < start ? 0 : height * Math.min(1, (step - start + 1) / 3) * Math.exp(-(step - start) / 150);
        verdict = decide(guard, { ...judged, loss: judged.loss * (1 + rise) });
      }
      assert.ok(verdict?.kind === 'rollback', `noise ${noise}, seed ${seed}`);
      const { toStep, skipFromStep, skipToStep } = verdict;
      assert.ok(skipFromStep <= start && skipFromStep >= start - 60, `${skipFromStep} for a jump at ${start}`);
      assert.ok(skipToStep > start + 96 && skipToStep <= start + 96 + 40);
      assert.equal(toStep, skipFromStep - 1);
    }
  }
});

test('a jump that passes by itself is reported and nothing more', () => {
  const guard = new LossGuard(guardDefaults);
  const curve = new Curve(5, 0.02, 0);
  const seen: string[] = [];
  for (let step = 1; step <= 600; step++) {
    const judged = curve.at(step);
    const { kind, events } = decide(guard, step >= 300 && step < 306 ? { ...judged, loss: judged.loss * 2 } : judged);
    assert.equal(kind, 'apply');
    seen.push(...names(events));
  }
  assert.deepEqual(
    seen.filter((name) => name === 'loss-spike'),
    ['loss-spike'],
  );
});

test('a gradient norm that jumps is reported when it begins, and applied: clipping bounds it', () => {
  const guard = new LossGuard(guardDefaults);
  const curve = new Curve(11, 0.03, 0);
  const seen: string[] = [];
  for (let step = 1; step <= 400; step++) {
    const judged = curve.at(step);
    const gradientNorm = step >= 300 && step < 310 ? judged.gradientNorm * 50 : judged.gradientNorm;
    const { kind, events } = decide(guard, { ...judged, gradientNorm });
    assert.equal(kind, 'apply');
    seen.push(...events.map(({ name, fields }) => `${name} ${fields['step']}`));
  }
  assert.deepEqual(seen, ['gradient-spike 300']);
});

test('what hardware did once is computed again and reported', () => {
  const guard = new LossGuard(guardDefaults);
  const curve = new Curve(6, 0.03, 0);
  for (let step = 1; step <= 200; step++) assert.equal(decide(guard, curve.at(step)).kind, 'apply');
  const good = curve.at(201);
  // Not finite, far too large a loss, far too large a norm: three ways a flipped bit can look.
  for (const bad of [
    { ...good, loss: Number.NaN },
    { ...good, loss: good.loss * 1e4 },
    { ...good, gradientNorm: good.gradientNorm * 1e20 },
  ]) {
    const one = new LossGuard(guardDefaults, guard.state());
    const other = new LossGuard(guardDefaults, guard.state());
    assert.equal(one.judge(bad).kind, 'retry');
    const verdict = one.judge(good);
    assert.equal(verdict.kind, 'apply');
    assert.deepEqual(names(verdict.events), ['transient']);
    // Nothing of the wrong numbers stays.
    assert.equal(other.judge(good).kind, 'apply');
    assert.deepEqual(one.state(), other.state());
  }
});

test('not finite again: passed over, then back to before the first of several, then the end', () => {
  const guard = new LossGuard(recipe({ maxSkips: 2, maxRollbacks: 2, skipBefore: 8, skipAfter: 4 }));
  const curve = new Curve(7, 0.03, 0);
  for (let step = 1; step <= 200; step++) decide(guard, curve.at(step));
  const bad = (step: number): Verdict => {
    const judged = { step, loss: Number.POSITIVE_INFINITY, gradientNorm: Number.NaN };
    const first = guard.judge(judged);
    assert.equal(first.kind, 'retry');
    assert.deepEqual(names(first.events), ['not-finite']);
    assert.deepEqual(first.events[0]?.fields, { step, loss: 'Infinity', gradientNorm: 'NaN', try: 1 });
    return guard.judge(judged);
  };
  assert.equal(bad(201).kind, 'skip');
  assert.equal(decide(guard, curve.at(202)).kind, 'apply');
  assert.equal(bad(203).kind, 'skip');
  assert.deepEqual(
    [201, 202, 203].map((step) => guard.skips(step)),
    [true, false, true],
  );
  const back = bad(204);
  assert.ok(back.kind === 'rollback');
  assert.deepEqual([back.toStep, back.skipFromStep, back.skipToStep], [192, 193, 208]);
  assert.deepEqual(
    [192, 193, 208, 209].map((step) => guard.skips(step)),
    [false, true, true, false],
  );
  assert.deepEqual(names(back.events), ['not-finite', 'rollback']);
  // The replay is not judged again, and ends with the same window.
  const { losses } = guard.state() as { losses: unknown };
  for (let step = 180; step <= 192; step++) assert.equal(guard.judge(curve.at(step)).kind, 'apply');
  assert.deepEqual((guard.state() as { losses: unknown }).losses, losses);
  // The same at once in another place: from further back. What was passed over stays so, and is one place.
  assert.deepEqual(
    [bad(209), bad(210)].map(({ kind }) => kind),
    ['skip', 'skip'],
  );
  const further = bad(211);
  assert.ok(further.kind === 'rollback');
  assert.deepEqual([further.toStep, further.skipFromStep, further.skipToStep], [192, 193, 215]);
  assert.deepEqual(
    [bad(216), bad(217)].map(({ kind }) => kind),
    ['skip', 'skip'],
  );
  const end = bad(218);
  assert.equal(end.kind, 'stop');
  assert.match(end.why, /going back 2 times did not help/);
  assert.equal(end.events.at(-1)?.name, 'gave-up');
});

test('going back is counted anew after ten quiet windows', () => {
  const guard = new LossGuard(recipe({ window: 40, maxRollbacks: 1, skipBefore: 5, skipAfter: 5 }));
  const curve = new Curve(8, 0.02, 0);
  const jump = (from: number): Verdict => {
    for (let step = from; ; step++) {
      const judged = curve.at(step);
      const verdict = decide(guard, { ...judged, loss: judged.loss * 3 });
      if (verdict.kind !== 'apply') return verdict;
    }
  };
  for (let step = 1; step <= 100; step++) decide(guard, curve.at(step));
  const first = jump(101);
  assert.ok(first.kind === 'rollback');
  let step = first.skipToStep + 1;
  for (; step <= first.skipToStep + 200; step++) assert.equal(decide(guard, curve.at(step)).kind, 'apply');
  const early = new LossGuard(
    guard.state() === null ? guardDefaults : recipe({ window: 40, maxRollbacks: 1 }),
    guard.state(),
  );
  let verdict: Verdict = { kind: 'apply', why: '', events: [] };
  for (let at = step; verdict.kind === 'apply'; at++) verdict = decide(early, { ...curve.at(at), loss: 30 });
  assert.equal(verdict.kind, 'stop');
  for (; step <= first.skipToStep + 500; step++) assert.equal(decide(guard, curve.at(step)).kind, 'apply');
  assert.equal(jump(step).kind, 'rollback');
});

test('a whole run with a bad place in its data ends past it, however often it is stopped', () => {
  // Weights are a number here: what was learned; a bad batch breaks it until it is loaded from a checkpoint.
  const last = 700;
  const every = 50;
  const run = (stops: readonly number[]): { trained: number[]; verdicts: string[] } => {
    const curve = new Curve(9, 0.03);
    let trained: number[] = [];
    let broken = false;
    let guard = new LossGuard(recipe({ skipBefore: 10, skipAfter: 30 }));
    let step = 0;
    const checkpoints = new Map([[0, JSON.stringify({ trained, broken, guard: guard.state() })]]);
    const load = (at: number): void => {
      const saved = JSON.parse(checkpoints.get(at) as string);
      ({ trained, broken } = saved);
      step = at;
    };
    const verdicts: string[] = [];
    const left = [...stops];
    while (step < last) {
      if (left[0] !== undefined && step >= left[0]) {
        left.shift();
        const newest = Math.max(...checkpoints.keys());
        guard = new LossGuard(
          recipe({ skipBefore: 10, skipAfter: 30 }),
          JSON.parse(checkpoints.get(newest) as string).guard,
        );
        load(newest);
      }
      step++;
      if (!guard.skips(step)) {
        if (step === 333) broken = true;
        const judged = curve.at(step);
        // The loss follows from weights and data alone.
        const random = new Random(9, 'again', step);
        const loss = (broken ? 4 : 2) + 3 * Math.exp(-trained.length / 60) + 0.05 * random.normal();
        const verdict = decide(guard, { ...judged, loss, gradientNorm: 1 });
        if (verdict.kind === 'rollback') {
          verdicts.push(`${step} -> ${verdict.toStep}`);
          for (const at of checkpoints.keys()) if (at > verdict.toStep) checkpoints.delete(at);
          load(Math.max(...checkpoints.keys()));
          continue;
        }
        assert.equal(verdict.kind, 'apply');
        trained = [...trained, step];
      }
      if (step % every === 0) checkpoints.set(step, JSON.stringify({ trained, broken, guard: guard.state() }));
    }
    return { trained, verdicts };
  };
  const straight = run([]);
  assert.deepEqual(straight.verdicts, ['342 -> 322']);
  assert.deepEqual(
    straight.trained.filter((step) => step > 315 && step < 380),
    [...Array.from({ length: 7 }, (_, i) => 316 + i), ...Array.from({ length: 7 }, (_, i) => 373 + i)],
  );
  for (const stops of [[335], [100, 341, 345], [310, 360], [320, 338, 339, 500, 501]]) {
    assert.deepEqual(run(stops).trained, straight.trained, `stopped after ${stops}`);
  }
});

test('a guard from a saved state decides as the first one would have', () => {
  const loss = fc.oneof(
    { weight: 20, arbitrary: fc.double({ min: 2, max: 2.2, noNaN: true }) },
    { weight: 4, arbitrary: fc.double({ min: 3, max: 30, noNaN: true }) },
    { weight: 2, arbitrary: fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY) },
  );
  fc.assert(
    fc.property(fc.array(loss, { minLength: 60, maxLength: 200 }), fc.integer({ min: 1, max: 59 }), (losses, cut) => {
      const settings = recipe({ window: 24, patience: 3, skipBefore: 4, skipAfter: 2 });
      const guard = new LossGuard(settings);
      let restored: LossGuard | undefined;
      losses.forEach((value, i) => {
        const judged = { step: i + 1, loss: value, gradientNorm: 1 };
        if (i === cut) restored = new LossGuard(settings, JSON.parse(JSON.stringify(guard.state())));
        const verdict = decide(guard, judged);
        if (restored) assert.deepEqual(decide(restored, judged), verdict);
      });
      assert.deepEqual(restored?.state(), guard.state());
    }),
    { numRuns: 60 },
  );
});

test('a new phase is not compared with the one before', () => {
  const curve = new Curve(10, 0.02, 0);
  const guard = new LossGuard(guardDefaults);
  for (let step = 1; step <= 300; step++) decide(guard, curve.at(step));
  guard.newPhase(300);
  for (let step = 301; step <= 500; step++) {
    const judged = curve.at(step);
    const { kind, events } = decide(guard, { ...judged, loss: judged.loss * 1.8 });
    assert.equal(kind, 'apply');
    assert.ok(!names(events).includes('loss-spike'));
  }
});

test('without a spike factor only what is not finite counts', () => {
  const guard = new LossGuard(recipe({ spikeFactor: null }));
  for (let step = 1; step <= 300; step++) {
    const verdict = guard.judge({ step, loss: step > 200 ? 100 : 2, gradientNorm: step > 200 ? 1e6 : 1 });
    assert.deepEqual(verdict, { kind: 'apply', why: '', events: [] });
  }
  assert.equal(decide(guard, { step: 301, loss: Number.NaN, gradientNorm: 1 }).kind, 'skip');
});
