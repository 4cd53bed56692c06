// FirecREST v2 against answers of its shape and against our small server over the local scheduler: what every transport
// promises, tokens that expire and are withdrawn, a service that is away.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { client, type FirecrestServer, startFirecrest } from '../../../test/firecrest-server.ts';
import { rejects, schedulerContract, waitFor } from '../../../test/scheduler-contract.ts';
import { SchedulerError } from '../scheduler.ts';
import { type Firecrest, firecrest, type FirecrestOptions } from './firecrest.ts';
import { parseFirecrestJobs, parseFirecrestNodes, readAnswer } from './firecrest-parse.ts';
import { localScheduler } from './local.ts';

const skip = existsSync('/proc/self/stat') ? false : 'no /proc here';
const scratch = mkdtempSync(join(tmpdir(), 'belay-firecrest-'));
const local = (): ReturnType<typeof localScheduler> => localScheduler({ folder: join(scratch, 'queue'), slots: 3 });
let server: FirecrestServer;
const over = (options: Partial<FirecrestOptions> = {}): Firecrest =>
  firecrest({ url: server.url, tokenUrl: server.tokenUrl, system: 'local', ...client, ...options });

before(async () => {
  if (!skip) server = await startFirecrest(local());
});
after(async () => {
  if (skip) return;
  await server.close();
  for (const { id } of await local().jobs()) await local().cancel(id);
  await waitFor(async () => (existsSync(join(scratch, 'queue', 'daemon.lock')) ? undefined : true));
  rmSync(scratch, { recursive: true, force: true });
});

schedulerContract(
  'firecrest',
  () => ({
    scheduler: over(),
    directory: join(scratch, 'jobs'),
    step: '',
    refused: { nodes: { min: 4, max: 4 } },
    tellsMemory: false,
    hasArrays: false,
  }),
  { skip },
);

test('one token serves many calls; it is renewed before it expires and after it was withdrawn', { skip }, async () => {
  const scheduler = over();
  const before = server.tokens;
  await Promise.all([scheduler.nodes(), scheduler.jobs()]);
  await Promise.all([scheduler.nodes(), scheduler.jobs()]);
  assert.equal(server.tokens, before + 1);
  server.withdraw();
  assert.ok((await scheduler.nodes()).length > 0);
  assert.equal(server.tokens, before + 2);
  await rejects(over({ clientSecret: 'wrong' }).nodes(), 'refused');
  // One that is valid for less than what is left of it in any call is got anew for each.
  const hasty = await startFirecrest(local(), 5);
  const another = firecrest({ url: hasty.url, tokenUrl: hasty.tokenUrl, system: 'local', ...client });
  await another.nodes();
  await another.nodes();
  await hasty.close();
  assert.equal(hasty.tokens, 2);
});

test('a service that is away for a moment is asked again; a submission that got no clear answer is not', {
  skip,
}, async () => {
  const scheduler = over();
  await scheduler.nodes();
  server.away = 2;
  assert.ok((await scheduler.nodes()).length > 0);
  server.away = 1;
  const work = { nodes: { min: 1, max: 1 }, timeSeconds: 60, output: '/dev/null', directory: scratch };
  await assert.rejects(scheduler.submit({ ...work, name: 'doubtful', body: 'true' }), /may have been taken/);
  server.away = 0;
  await rejects(over({ url: 'http://127.0.0.1:9', attempts: 2 }).nodes(), 'unreachable');
  await rejects(over({ system: 'nowhere' }).nodes(), 'refused');
});

test('health of the system, and ends of files on it', { skip }, async () => {
  const scheduler = over();
  assert.deepEqual(await scheduler.health(), { healthy: false, message: 'filesystem: no such folder' });
  await rejects(over({ system: 'nowhere' }).health(), 'refused');
  const path = join(scratch, 'a log & more.txt');
  writeFileSync(path, 'first\nlast\n');
  assert.equal(await scheduler.tail(path, 5), 'last\n');
  await rejects(scheduler.tail(join(scratch, 'missing'), 5), 'refused');
});

const recent = {
  jobId: '4711',
  name: 'apertus',
  status: { state: 'FAILED', stateReason: 'None', exitCode: 8, interruptSignal: 0 },
  tasks: [],
  time: { elapsed: 60, start: 1_730_968_675, end: 1_730_968_735, suspended: 0, limit: 43_200 },
  allocationNodes: 2,
  cluster: 'clariden',
  nodes: 'nid[006504-006505]',
  partition: 'normal',
  user: 'alps',
  workingDirectory: '/users/alps',
};
const { status: _, ...rest } = recent;
const older = {
  ...rest,
  jobId: 4711,
  state: { current: ['FAILED'], reason: 'None' },
  exitCode: { status: ['ERROR'], returnCode: 8 },
  time: { ...recent.time, submission: 1_730_968_600 },
};
const expected = {
  id: '4711',
  name: 'apertus',
  user: 'alps',
  state: 'ended',
  outcome: 'failed',
  raw: 'FAILED',
  reason: '',
  nodes: ['nid006504', 'nid006505'],
  began: 1_730_968_675,
  ended: 1_730_968_735,
  exitCode: 8,
};
const jobs = (...list: unknown[]): unknown => parseFirecrestJobs(JSON.stringify({ jobs: list }));

test('jobs of 2.5 and of the first release', () => {
  assert.deepEqual(jobs(recent), [expected]);
  assert.deepEqual(jobs(older), [{ ...expected, submitted: 1_730_968_600 }]);
  const running = { ...recent, status: { state: 'RUNNING' }, time: { start: 5, end: null } };
  const [job] = parseFirecrestJobs(JSON.stringify({ jobs: [running] }));
  assert.deepEqual([job?.state, job?.began, job?.ended, job?.exitCode], ['running', 5, undefined, undefined]);
  assert.deepEqual(parseFirecrestJobs('{"jobs": null}'), []);
});

test('nodes: states are a list', () => {
  const node = {
    name: 'nid006504',
    cpus: 288,
    state: ['MIXED', 'DRAIN'],
    partitions: ['normal'],
    features: 'gpu,gh200',
  };
  const [found] = parseFirecrestNodes(JSON.stringify({ nodes: [node] }));
  assert.deepEqual(
    [found?.name, found?.state, found?.cpus, found?.features],
    ['nid006504', 'draining', 288, ['gpu', 'gh200']],
  );
});

test('garbage, truncated and mistyped answers are malformed and nothing else', () => {
  const survives = (text: string): void => {
    for (const parse of [parseFirecrestJobs, parseFirecrestNodes, readAnswer]) {
      try {
        parse(text);
      } catch (error) {
        assert.ok(error instanceof SchedulerError && error.kind === 'malformed', `${error} of ${text}`);
      }
    }
  };
  fc.assert(fc.property(fc.string(), survives));
  fc.assert(fc.property(fc.json(), survives));
  const text = JSON.stringify({ jobs: [recent, older], nodes: [{ name: 'n', state: ['IDLE'] }] });
  fc.assert(fc.property(fc.nat(text.length), (at) => survives(text.slice(0, at))));
  const keys = fc.constantFrom(...Object.keys(recent), 'state', 'exitCode', 'features', 'partitions', 'cpus');
  fc.assert(
    fc.property(keys, fc.jsonValue(), (key, value) => {
      for (const job of [recent, older]) {
        const item = { ...job, [key]: value };
        survives(JSON.stringify({ jobs: [item], nodes: [item] }));
        survives(JSON.stringify({ jobs: item, nodes: value }));
      }
    }),
    { numRuns: 500 },
  );
});
