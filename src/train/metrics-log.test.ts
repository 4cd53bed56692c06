import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { readLines } from '../base/events.ts';
import { readEventFiles } from '../base/tensorboard.ts';
import { packageRoot } from '../base/version.ts';
import { eventFilesName, metricGroups, MetricsLog, metricsName, metricTags } from './metrics-log.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-metrics-'));
after(() => rmSync(scratch, { recursive: true }));
let folders = 0;
const folder = (): string => join(scratch, `run-${folders++}`);

const stepsIn = (dir: string): number[] => readLines<{ step: number }>(join(dir, metricsName)).map(({ step }) => step);
const stepsOf = (dir: string, tag: string): number[] =>
  readEventFiles(join(dir, eventFilesName))
    .filter((point) => point.tag === tag)
    .map(({ step }) => step);
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

test('both files hold the same numbers of the same steps', () => {
  const dir = folder();
  const log = new MetricsLog(dir);
  log.write(1, { loss: 5.5, lr: 1e-4, tokens: 12345678901, validationLoss: undefined, gradientNorm: Number.NaN });
  log.write(2, { loss: 5.25, parameterNorms: { 'a.weight': 2, 'b.weight': 0.1 }, gradientNorms: { 'a.weight': 3 } });
  log.flush();
  log.close();
  assert.deepEqual(readLines(join(dir, metricsName)), [
    { step: 1, loss: 5.5, lr: 1e-4, tokens: 12345678901 },
    { step: 2, loss: 5.25, parameterNorms: { 'a.weight': 2, 'b.weight': 0.1 }, gradientNorms: { 'a.weight': 3 } },
  ]);
  assert.deepEqual(
    readEventFiles(join(dir, eventFilesName)).map(({ step, tag, value }) => [step, tag, value]),
    [
      [1, 'lm loss', 5.5],
      [1, 'learning-rate', Math.fround(1e-4)],
      [1, 'consumed-tokens', Math.fround(12345678901)],
      [2, 'lm loss', 5.25],
      [2, 'params-norm/a.weight', 2],
      [2, 'params-norm/b.weight', Math.fround(0.1)],
      [2, 'grad-norm/a.weight', 3],
    ],
  );
});

test('names that are in no table are refused, and steps that do not grow', () => {
  const log = new MetricsLog(folder());
  log.write(3, { loss: 1 });
  assert.throws(() => log.write(3, { loss: 1 }), /got step 3 after 3/);
  assert.throws(() => log.write(4, { looss: 1 } as never), /got looss = number/);
  log.close();
});

test('a resume writes no step twice, with or without a cut before', () => {
  const dir = folder();
  const first = new MetricsLog(dir);
  for (const step of upTo(10)) first.write(step, { loss: step });
  first.close();
  appendFileSync(join(dir, metricsName), '{"step":11,"lo');
  // The loop's way: cut to the checkpoint.
  const second = new MetricsLog(dir);
  second.cut(6);
  for (let step = 7; step <= 9; step++) second.write(step, { loss: -step });
  // A rollback inside an attempt.
  second.cut(4);
  for (let step = 5; step <= 12; step++) second.write(step, { loss: 100 + step });
  second.close();
  // Without a cut: the first step written says where the attempt begins.
  const third = new MetricsLog(dir);
  third.write(11, { loss: 0 });
  third.close();
  assert.deepEqual(stepsIn(dir), upTo(11));
  assert.deepEqual(stepsOf(dir, 'lm loss'), upTo(11));
  const losses = readLines<{ loss: number }>(join(dir, metricsName)).map(({ loss }) => loss);
  assert.deepEqual(losses, [1, 2, 3, 4, 105, 106, 107, 108, 109, 110, 0]);
});

test('killed with -9 while it writes: both files are whole up to the torn tail, the next attempt goes on', async () => {
  const dir = folder();
  const compiled = import.meta.url.endsWith('.js');
  const at = (...path: string[]): string =>
    pathToFileURL(join(packageRoot, ...(compiled ? ['dist', 'src'] : ['src']), ...path)).href;
  const extension = compiled ? 'js' : 'ts';
  const program = `
    const { MetricsLog } = await import(${JSON.stringify(at('train', `metrics-log.${extension}`))});
    const log = new MetricsLog(${JSON.stringify(dir)});
    const from = Number(process.argv[1]);
    log.cut(from - 1);
    for (let step = from; ; step++) log.write(step, { loss: step, lr: 1 / step, parameterNorms: { a: 1, b: 2 } });`;
  let from = 1;
  for (let attempt = 1; attempt <= 3; attempt++) {
    const loader = compiled ? [] : ['--import', 'tsx'];
    const child = spawn(process.execPath, [...loader, '--input-type=module', '-e', program, String(from)], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const closed = new Promise((resolve) => child.on('close', resolve));
    const files = join(dir, eventFilesName);
    /** Bytes of event files; what a cut writes aside does not count, so the kill comes after it. */
    const size = (): number =>
      existsSync(files)
        ? readdirSync(files)
            .filter((name) => name.includes('tfevents'))
            .reduce((sum, name) => sum + statSync(join(files, name)).size, 0)
        : 0;
    const before = size();
    while (size() < before + 20_000 && child.exitCode === null) await wait(5);
    child.kill('SIGKILL');
    await closed;
    assert.equal(child.signalCode, 'SIGKILL', 'the child wrote until it was killed');
    const lines = stepsIn(dir);
    const points = stepsOf(dir, 'lm loss');
    assert.ok(lines.length > 50);
    assert.deepEqual(lines, upTo(lines.length), `attempt ${attempt}: every step has one line`);
    assert.deepEqual(points, upTo(points.length), `attempt ${attempt}: every step is in TensorBoard once`);
    assert.ok([0, 1].includes(lines.length - points.length), `${lines.length} lines, ${points.length} points`);
    assert.equal(readdirSync(files).length, attempt, 'a file per attempt');
    from = lines.length - 7;
  }
});

test('the page of the run folder has every name', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'run-folder.md'), 'utf8');
  for (const [field, tag] of Object.entries(metricTags)) {
    assert.match(page, new RegExp(`^\\| .*\`${field}\`.* \\|.* \`${tag}\``, 'm'), field);
  }
  for (const [field, tag] of Object.entries(metricGroups)) assert.ok(page.includes(`\`${field}\` | \`${tag}`), field);
});
