import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Verdict } from './history-files.ts';
import { type Decision, decide, type Failure, restartSettingsSchema } from './restart-policy.ts';

const settings = restartSettingsSchema.parse({});
const bug: Verdict = { domain: 'workload', cause: 'exception', line: 'Error: wrong shape' };
const node: Verdict = { domain: 'infrastructure', cause: 'node-failure', node: 'n3' };
const unclear: Verdict = { domain: 'unknown', cause: 'killed' };

const failed = (verdict: Verdict, from: number, to: number, lastStep?: number): Failure => ({
  ...{ verdict, from, to },
  ...(lastStep === undefined ? {} : { lastStep }),
});
const goesOn = (failures: readonly Failure[]): boolean => decide(failures, settings).restart;
const why = (decision: Decision): string => ('why' in decision ? decision.why : 'goes on');

test('the same line at the same step twice is a bug, although the first start got further', () => {
  const failures = [failed(bug, 0, 35, 36), failed(bug, 35, 35, 36)];
  assert.ok(goesOn(failures.slice(0, 1)));
  assert.match(
    why(decide(failures, settings)),
    /same failure after step 36, no progress: workload, exception: Error: wrong shape/,
  );
  // At another step it may be the data.
  assert.ok(goesOn([failed(bug, 0, 35, 36), failed(bug, 35, 70, 74)]));
});

test('broken nodes do not stop what gets further; without progress each domain has its budget', () => {
  assert.ok(goesOn(Array.from({ length: 200 }, (_, i) => failed(node, 5 * i, 5 * i + 5))));
  for (const [verdict, most] of [
    [bug, 2],
    [unclear, 3],
    [node, 10],
  ] as const) {
    const stuck = Array.from({ length: most }, (_, i) => failed({ ...verdict, line: `line ${i}` }, 10, 10));
    assert.ok(goesOn(stuck.slice(1)), verdict.domain);
    assert.match(why(decide(stuck, settings)), /no progress beyond step 10/, verdict.domain);
    assert.ok(goesOn([...stuck.slice(1), failed(verdict, 10, 15, 16), failed(verdict, 15, 15, 17)].slice(0, -1)));
  }
});

test('a mixture without progress ends too, and a mistake at once', () => {
  const mixed = Array.from({ length: 10 }, (_, i) => failed(i % 3 === 0 ? node : i % 3 === 1 ? unclear : node, 0, 0));
  assert.equal(goesOn(mixed), false);
  assert.match(
    why(decide([failed({ domain: 'workload', cause: 'mistake', line: 'belay: no' }, 0, 50)], settings)),
    /a mistake/,
  );
  assert.ok(goesOn([]));
});
