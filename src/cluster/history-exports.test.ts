import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { eventfulCampaign, plannedLoss, range } from '../../test/campaign-files.ts';
import { crc32 } from '../base/gzip-members.ts';
import { fieldsOf } from '../base/protobuf.ts';
import { readEventFiles } from '../base/tensorboard.ts';
import { packageRoot } from '../base/version.ts';
import { metricGroups, metricTags } from '../train/metrics-log.ts';
import { historyOf } from './history.ts';
import { readCampaignFiles } from './history-files.ts';
import { exportTensorBoard, exportWandb, metricRows } from './history-exports.ts';
import { writeWandbRun } from './wandb.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-exports-'));
after(() => rmSync(scratch, { recursive: true }));
const names = { tags: metricTags, groups: metricGroups };

/** The records of a .wandb file; throws at the first piece that is not as the format says. */
function recordsOf(path: string): Buffer[] {
  const file = readFileSync(path);
  assert.equal(file.subarray(0, 7).toString('latin1'), ':W&B\u00e1\u00be\u0000');
  const records: Buffer[] = [];
  let parts: Buffer[] = [];
  for (let at = 7; at < file.length; ) {
    const left = 32768 - (at % 32768);
    if (left < 7) {
      assert.ok(
        file.subarray(at, at + left).every((byte) => byte === 0),
        'what is left of a block is zeros',
      );
      at += left;
      continue;
    }
    const length = file.readUInt16LE(at + 4);
    const type = file[at + 6] as number;
    assert.ok(length + 7 <= left, 'no piece leaves its block');
    assert.equal(crc32(file.subarray(at + 6, at + 7 + length), 0), file.readUInt32LE(at), `checksum at byte ${at}`);
    assert.equal(parts.length === 0, type === 1 || type === 2, `type ${type} at byte ${at}`);
    parts.push(file.subarray(at + 7, at + 7 + length));
    at += 7 + length;
    if (type === 2 || type === 3) continue;
    records.push(Buffer.concat(parts));
    parts = [];
  }
  assert.equal(parts.length, 0, 'no record ends in the middle');
  return records;
}

interface Decoded {
  readonly kind: number;
  readonly number: number;
  readonly values: Readonly<Record<string, unknown>>;
  readonly step: number | undefined;
}

/** A record: its kind is the number of the field that holds it. */
function decode(record: Buffer): Decoded {
  const fields = [...fieldsOf(record)];
  const message = fields.find(({ field, part }) => part && field !== 16 && field !== 200);
  const values: Record<string, unknown> = {};
  let step: number | undefined;
  if (message?.field === 2 || message?.field === 3) {
    for (const { field, part } of fieldsOf(message.part as Buffer)) {
      const inside = [...fieldsOf(part as Buffer)];
      if (field === 2 && message.field === 2) step = inside[0]?.number;
      if (field !== 1) continue;
      const path = inside.filter((one) => one.field === 1 || one.field === 2).map((one) => one.part?.toString());
      values[path.join('/')] = JSON.parse(inside.find((one) => one.field === 16)?.part?.toString() as string);
    }
  }
  return { kind: message?.field ?? 0, number: fields.find(({ field }) => field === 1)?.number ?? 0, values, step };
}

const histories = (records: readonly Decoded[]): Decoded[] => records.filter(({ kind }) => kind === 2);

test('a file that wandb 0.30.0 wrote is read by what reads ours', () => {
  const records = recordsOf(join(packageRoot, 'test', 'golden', 'wandb-0.30.0.wandb')).map(decode);
  assert.deepEqual([records[0]?.kind, records[1]?.kind, records.at(-1)?.kind], [21, 17, 18]);
  assert.deepEqual(
    records.map(({ number }) => number),
    range(1, 25),
  );
  assert.deepEqual(
    histories(records).map(({ step, values }) => [step, values['lm loss'], values['lr'], values['_step']]),
    range(1, 5).map((step) => [step, 5 / step, 0.1, step]),
  );
});

test('ours has the same records, across many blocks and with records larger than one', () => {
  const large = 'x'.repeat(70_000);
  const rows = range(1, 900).map((step) => ({
    step,
    time: 1000 + step,
    values: {
      'lm loss': 1 / step,
      [`${'y'.repeat(step % 97)}é`]: step,
      ...(step === 450 ? { [large]: 1 } : {}),
      no: Number.NaN,
    },
  }));
  const run = { id: 'abc', project: 'belay', name: 'a run', started: 1000.25, config: { seed: 1, nodes: ['n1'] } };
  const folder = writeWandbRun(scratch, run, rows, 0, { goodput: 0.9 });
  assert.match(folder, /offline-run-19700101_001640-abc$/);
  assert.deepEqual(readdirSync(folder), ['files', 'run-abc.wandb']);
  const records = recordsOf(join(folder, 'run-abc.wandb')).map(decode);
  assert.deepEqual(
    records.map(({ kind }) => kind),
    [21, 17, ...rows.map(() => 2), 3, 18],
  );
  assert.deepEqual(
    records.map(({ number }) => number),
    range(1, 904),
  );
  const expected = rows.map(({ step, time, values: { no, ...values } }) => ({
    ...values,
    _timestamp: time,
    _runtime: time - 1000.25,
    _step: step,
  }));
  assert.deepEqual(
    histories(records).map(({ values }) => values),
    expected,
  );
  assert.deepEqual(
    histories(records).map(({ step }) => step),
    range(1, 900),
  );
  const summary = records.find(({ kind }) => kind === 3)?.values;
  assert.deepEqual([summary?.['goodput'], summary?.['_step']], [0.9, 900]);
});

test('after crashes and rollbacks TensorBoard and W&B have each step once, with its time', () => {
  const { dir } = eventfulCampaign(join(scratch, 'campaign'));
  const files = readCampaignFiles(dir);
  const history = historyOf(files, { now: 1200 });
  const rows = metricRows(files, history, names);
  const board = join(scratch, 'tb');
  for (let again = 0; again < 2; again++) exportTensorBoard(board, rows);
  assert.equal(readdirSync(board).length, 1);
  const losses = readEventFiles(board).filter(({ tag }) => tag === 'lm loss');
  assert.deepEqual(
    losses.map(({ step }) => step),
    range(1, 70),
  );
  assert.deepEqual(
    losses.map(({ value }) => value),
    range(1, 70).map((step) => Math.fround(plannedLoss(step))),
  );
  assert.ok(
    losses.every(({ wallTime }, i) => i === 0 || wallTime > (losses[i - 1]?.wallTime ?? 0)),
    'time goes on',
  );
  assert.equal(losses[69]?.wallTime, 1190);
  const folder = exportWandb(scratch, history, rows, { project: 'belay', config: {} });
  const records = recordsOf(join(folder, 'run-abc.wandb')).map(decode);
  assert.deepEqual(
    histories(records).map(({ step }) => step),
    range(1, 70),
  );
  assert.equal(records.at(-1)?.values['campaign/lostSteps'], 15);
  assert.equal(
    records.some(({ kind }) => kind === 18),
    false,
    'it still runs',
  );
});

test('what is not an event file is never deleted for one', () => {
  const board = join(scratch, 'mine');
  mkdirSync(join(board, 'checkpoints'), { recursive: true });
  const event = 'events.out.tfevents.1.host';
  writeFileSync(join(board, event), '');
  assert.throws(() => exportTensorBoard(board, []), /holds other things[\s\S]*checkpoints/);
  assert.deepEqual(readdirSync(board), ['checkpoints', event]);
});
