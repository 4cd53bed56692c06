import assert from 'node:assert/strict';
import { test } from 'node:test';
import { selectedBackend } from '../tensor/backend-select.ts';
import { nativeStatus } from '../tensor/backend-native.ts';
import { doctorText, examineMachine } from './doctor.ts';

test('the report names what runs, every target with its rate or its reason, and what to type', () => {
  const report = examineMachine();
  assert.equal(report.backend.target, selectedBackend().backend.target);
  assert.deepEqual(
    report.targets.map(({ name }) => name),
    nativeStatus().targets.map(({ name }) => name),
  );
  assert.equal(report.targets.filter(({ runs }) => runs).length, report.backend.name === 'cpu' ? 1 : 0);
  for (const { available, why, peakFloat32, peakBfloat16 } of report.targets) {
    assert.equal(why === null, available);
    // Any processor of this century does more than a tenth of a GFLOP/s.
    for (const peak of [peakFloat32, peakBfloat16]) assert.ok(available ? (peak as number) > 1e8 : peak === null);
  }
  for (const { state, next } of report.checks) assert.equal(next === null, state === 'ok');
  assert.equal(report.healthy, !report.checks.some(({ state }) => state === 'missing'));
  const text = doctorText(report);
  assert.match(text, /CUDA +not built/);
  for (const { name } of report.checks) assert.ok(text.includes(name));
});

test('without kernels the report says what is missing and what to type', () => {
  const report = examineMachine();
  const broken = {
    ...report,
    checks: [{ name: 'native kernels', state: 'missing' as const, found: 'not there', next: 'npm run build:native' }],
  };
  assert.match(doctorText(broken), /MISSING {3}native kernels {2}not there\n +next: npm run build:native/);
});
