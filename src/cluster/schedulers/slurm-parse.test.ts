// What Slurm says in the forms of several releases, and what nobody says: garbage never throws anything but `malformed`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SchedulerError } from '../scheduler.ts';
import {
  accountDelimiter,
  accountFields,
  expandNodes,
  isAsked,
  jobStateOf,
  nodeStateOf,
  parseAccounts,
  parseCompletions,
  parseJobs,
  parseNodeLines,
  parseNodesJson,
  parseSubmitted,
} from './slurm-parse.ts';

test('lists of nodes with ranges', () => {
  const lists: Readonly<Record<string, readonly string[]>> = {
    'nid[000001-000004,000007]': ['nid000001', 'nid000002', 'nid000003', 'nid000004', 'nid000007'],
    'n[8-11],login1': ['n8', 'n9', 'n10', 'n11', 'login1'],
    'r[0-1]n[1,3]-ib': ['r0n1-ib', 'r0n3-ib', 'r1n1-ib', 'r1n3-ib'],
    'n[098-101]': ['n098', 'n099', 'n100', 'n101'],
    nid000001: ['nid000001'],
    '(null)': [],
    'None assigned': [],
    '': [],
  };
  for (const [list, nodes] of Object.entries(lists)) assert.deepEqual(expandNodes(list), nodes, list);
  for (const list of ['n[1-', 'n[]', 'n[3-1]', 'n[a-b]', 'a,,b', 'a,', 'n[1-999999999999]', 'n[1-9999]x[1-9999]'])
    malformed(() => expandNodes(list));
});

/** A job as squeue 22.05 tells it. */
const old = {
  job_id: 12,
  array_job_id: 0,
  array_task_id: null,
  array_task_string: '',
  name: 'apertus',
  user_name: 'alps',
  job_state: 'FAILED',
  state_reason: 'NonZeroExitCode',
  nodes: 'nid[000001-000002]',
  submit_time: 100,
  start_time: 110,
  end_time: 170,
  exit_code: 3 << 8,
  comment: '',
  restart_cnt: 0,
};
const number = (value: number): object => ({ set: true, infinite: false, number: value });
const unset = { set: false, infinite: false, number: 0 };
/** The same as Slurm 23.11 and later tell it. */
const recent = {
  ...old,
  array_job_id: number(0),
  array_task_id: unset,
  job_state: ['FAILED'],
  submit_time: number(100),
  start_time: number(110),
  end_time: number(170),
  exit_code: { status: ['ERROR'], return_code: number(3), signal: { id: unset, name: '' } },
};
const jobsIn = (...jobs: unknown[]): ReturnType<typeof parseJobs> => parseJobs(JSON.stringify({ jobs, errors: [] }));

test('a job in the JSON of old and of recent releases is the same', () => {
  const expected = {
    id: '12',
    name: 'apertus',
    user: 'alps',
    state: 'ended',
    outcome: 'failed',
    raw: 'FAILED',
    reason: 'NonZeroExitCode',
    nodes: ['nid000001', 'nid000002'],
    submitted: 100,
    began: 110,
    ended: 170,
    exitCode: 3,
    restarts: 0,
  };
  assert.deepEqual(jobsIn(old), [expected]);
  assert.deepEqual(jobsIn(recent), [expected]);
  // 23.02 is between the two.
  const between = { ...old, exit_code: { status: 'SIGNALED', return_code: 0, signal: { signal_id: 9, name: 'KILL' } } };
  assert.deepEqual(jobsIn(between), [{ ...expected, exitCode: 0, signal: 9 }]);
  assert.deepEqual(jobsIn({ ...old, exit_code: 9 }), [{ ...expected, exitCode: 0, signal: 9 }]);
});

test('times: of a pending job a start is a guess, and the end of a running one is its limit', () => {
  const [pending] = jobsIn({ ...recent, job_state: ['PENDING'], state_reason: 'Priority', nodes: '' });
  assert.deepEqual(
    [pending?.state, pending?.reason, pending?.began, pending?.ends, pending?.ended, pending?.exitCode],
    ['pending', 'Priority', undefined, undefined, undefined, undefined],
  );
  const [running] = jobsIn({ ...recent, job_state: ['RUNNING'], state_reason: 'None' });
  assert.deepEqual(
    [running?.state, running?.reason, running?.began, running?.ends, running?.ended, running?.outcome],
    ['running', '', 110, 170, undefined, undefined],
  );
});

test('ids of arrays', () => {
  const array = (fields: object): string | undefined => jobsIn({ ...old, array_job_id: 12, ...fields })[0]?.id;
  assert.equal(array({ job_id: 14, array_task_id: 1 }), '12_1');
  assert.equal(array({ job_id: 12, array_task_id: number(0), array_job_id: number(12) }), '12_0');
  assert.equal(array({ array_task_string: '2-9%2' }), '12_[2-9%2]');
  const [job] = jobsIn({ ...old, array_job_id: 12, array_task_id: 1 });
  assert.ok(job && isAsked(job, { ids: ['12'] }) && isAsked(job, { ids: ['12_1'] }) && !isAsked(job, { ids: ['1'] }));
});

test('states of jobs: what completes still runs, and a word nobody knows is no end', () => {
  const states: Readonly<Record<string, readonly unknown[]>> = {
    PENDING: ['pending', undefined],
    REQUEUE_HOLD: ['pending', undefined],
    RUNNING: ['running', undefined],
    CONFIGURING: ['running', undefined],
    COMPLETING: ['running', undefined],
    'CANCELLED COMPLETING': ['running', undefined],
    'NODE_FAIL REQUEUED': ['pending', undefined],
    SUSPENDED: ['suspended', undefined],
    COMPLETED: ['ended', 'completed'],
    FAILED: ['ended', 'failed'],
    CANCELLED: ['ended', 'cancelled'],
    TIMEOUT: ['ended', 'time-limit'],
    DEADLINE: ['ended', 'time-limit'],
    NODE_FAIL: ['ended', 'node-failure'],
    OUT_OF_MEMORY: ['ended', 'out-of-memory'],
    PREEMPTED: ['ended', 'preempted'],
    BOOT_FAIL: ['ended', 'boot-failure'],
    TELEPORTING: ['running', undefined],
    CONSTRUCTOR: ['running', undefined],
  };
  for (const [words, [state, outcome]] of Object.entries(states)) {
    const found = jobStateOf(words.split(' '));
    assert.deepEqual([found.state, found.outcome], [state, outcome], words);
  }
});

test('states of nodes, with and without the signs of sinfo', () => {
  const states = {
    IDLE: 'idle',
    'IDLE*': 'down',
    'IDLE NOT_RESPONDING': 'down',
    'IDLE DRAIN': 'drained',
    'MIXED DRAIN': 'draining',
    'ALLOCATED DRAIN': 'draining',
    'ALLOCATED*': 'allocated',
    'MIXED+': 'mixed',
    'DOWN*': 'down',
    'DOWN DRAIN': 'down',
    'IDLE RESERVED': 'reserved',
    'IDLE MAINT': 'reserved',
    'IDLE PLANNED': 'idle',
    'IDLE COMPLETING': 'allocated',
    UNKNOWN: 'unknown',
    FUTURE: 'unknown',
  };
  for (const [words, state] of Object.entries(states)) assert.equal(nodeStateOf(words.split(' ')), state, words);
});

const nodeLine =
  'NodeName=n2 Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUEfctv=4 CPUTot=4 CPULoad=5.27 AvailableFeatures=gh200,big ' +
  'ActiveFeatures=gh200 Gres=gpu:gh200:4 NodeAddr=10.77.0.12 OS=Linux 6.18.44 #1 SMP PREEMPT_DYNAMIC @0  RealMemory=1000 ' +
  'State=IDLE+DRAIN ThreadsPerCore=1 Partitions=all,low  BootTime=2026-11-22T16:27:17 CfgTRES=cpu=4,mem=1000M,billing=4 ' +
  'Reason=slow State=IDLE [or so] [root@2026-11-23T06:01:11]';

test('nodes in lines of scontrol and in JSON', () => {
  const node = {
    name: 'n2',
    state: 'drained',
    raw: 'IDLE+DRAIN',
    cpus: 4,
    memoryBytes: 1000 * 2 ** 20,
    features: ['gh200', 'big'],
    gres: 'gpu:gh200:4',
    partitions: ['all', 'low'],
  };
  // Where a user writes fields into a reason, those of Slurm count.
  assert.deepEqual(parseNodeLines(`${nodeLine}\n\n`), [{ ...node, reason: 'slow' }]);
  const common = { name: 'n2', cpus: 4, reason: 'slow', gres: 'gpu:gh200:4' };
  const older = { ...common, real_memory: 1000, features: 'gh200,big', partitions: ['all', 'low'] };
  const json = (fields: object): unknown => parseNodesJson(JSON.stringify({ nodes: [fields] }));
  const reason = 'slow';
  assert.deepEqual(json({ ...older, state: 'idle', state_flags: ['DRAIN'] }), [{ ...node, reason }]);
  const newer = { ...older, state: ['IDLE', 'DRAIN'], real_memory: number(1000), features: ['gh200', 'big'] };
  assert.deepEqual(json(newer), [{ ...node, reason }]);
});

test('lines of sacct', () => {
  const line = (...parts: string[]): string => parts.join(accountDelimiter);
  const text = [
    line(
      '12',
      'a | b',
      'alps',
      'CANCELLED by 1000',
      '0:15',
      '100',
      '110',
      '170',
      'nid[000001-000002]',
      'None',
      'x',
      '5000',
    ),
    line('13_4', 'array', 'alps', 'RUNNING', '0:0', '2026-11-23T05:47:56', '1795000000', 'Unknown', 'n1', '', '', ''),
    '',
  ].join('\n');
  assert.deepEqual(parseAccounts(text), [
    {
      id: '12',
      name: 'a | b',
      user: 'alps',
      state: 'ended',
      outcome: 'cancelled',
      raw: 'CANCELLED by 1000',
      reason: '',
      nodes: ['nid000001', 'nid000002'],
      submitted: 100,
      began: 110,
      ended: 170,
      exitCode: 0,
      signal: 15,
      comment: 'x',
      energyJoules: 5000,
    },
    {
      id: '13_4',
      name: 'array',
      user: 'alps',
      state: 'running',
      raw: 'RUNNING',
      reason: '',
      nodes: ['n1'],
      submitted: Date.parse('2026-11-23T05:47:56') / 1000,
      began: 1_795_000_000,
    },
  ]);
  const taken = parseAccounts(
    line('12', 'a', 'b', 'CANCELLED by 0', '0:0', '1', '9', '9', 'None assigned', '', '', ''),
  );
  assert.deepEqual([taken[0]?.began, taken[0]?.ended], [undefined, 9], 'it never began');
  // Where nothing is measured nobody must read that it was nothing.
  for (const said of ['', '0', '18446744073709551614', '9223372036854775807']) {
    const [job] = parseAccounts(line('12', 'a', 'alps', 'COMPLETED', '0:0', '1', '2', '3', 'n1', '', '', said));
    assert.ok(job && !('energyJoules' in job), said);
  }
  malformed(() => parseAccounts('12|a|b'));
  malformed(() => parseAccounts(line(...accountFields)));
});

test('lines of the file of completed jobs', () => {
  const text =
    'JobId=2 UserId=root(0) GroupId=root(0) Name=a b JobState=NODE_FAIL Partition=all TimeLimit=10 ' +
    'StartTime=2026-11-23T05:47:56 EndTime=2026-11-23T05:47:58 NodeList=n[2-3] NodeCnt=2 ProcCnt=2 WorkDir=/ ' +
    'SubmitTime=2026-11-23T05:47:55 DerivedExitCode=0:0 ExitCode=1:0 \n';
  const at = Date.parse('2026-11-23T05:47:55') / 1000;
  assert.deepEqual(parseCompletions(text), [
    {
      id: '2',
      name: 'a b',
      user: 'root',
      state: 'ended',
      outcome: 'node-failure',
      raw: 'NODE_FAIL',
      reason: '',
      nodes: ['n2', 'n3'],
      submitted: at,
      began: at + 1,
      ended: at + 3,
      exitCode: 1,
    },
  ]);
});

test('the id that sbatch says', () => {
  assert.equal(parseSubmitted('12\n'), '12');
  assert.equal(parseSubmitted('12;alps\n'), '12');
  for (const text of ['', 'Submitted batch job 12', '12 13', '-1']) malformed(() => parseSubmitted(text));
});

test('JSON that tells of an error is an error, although the command succeeds and the list is empty', () => {
  const says = (error_number: unknown): string =>
    JSON.stringify({ errors: [{ error_number, error: 'Unspecified error', source: 'slurm_load_jobs' }], jobs: [] });
  const kindOf = (text: string): string | undefined => {
    try {
      parseJobs(text);
      return undefined;
    } catch (error) {
      assert.ok(error instanceof SchedulerError);
      return error.kind;
    }
  };
  assert.equal(kindOf(says(-1)), 'unreachable');
  assert.equal(kindOf(says(1001)), 'unreachable');
  assert.equal(kindOf(says(5004)), 'unreachable');
  assert.equal(kindOf(says('odd')), 'unreachable');
  assert.equal(kindOf(says(2002)), 'refused');
  assert.deepEqual(parseJobs(says(2017)), [], 'no such job');
});

fc.configureGlobal({ numRuns: 500 });
const parsers = {
  expandNodes,
  parseSubmitted,
  parseJobs,
  parseNodesJson,
  parseNodeLines,
  parseAccounts,
  parseCompletions,
} as const;
const templates = {
  jobs: JSON.stringify({ errors: [], jobs: [old, recent] }),
  nodes: JSON.stringify({ nodes: [{ name: 'n1', state: ['IDLE'], real_memory: number(1), partitions: ['all'] }] }),
  line: `${nodeLine}\n`,
  account: ['1', 'a', 'b', 'FAILED', '1:0', '1', '2', '3', 'n[1-2]', '', ''].join(accountDelimiter),
};

/** Nothing, or a SchedulerError that says the text cannot be read or tells of an error. */
function survives(parse: (text: string) => unknown, text: string): void {
  try {
    parse(text);
  } catch (error) {
    assert.ok(error instanceof SchedulerError, `${error} of ${text}`);
    assert.ok(error.kind === 'malformed' || text.includes('error'), error.kind);
  }
}

for (const [name, parse] of Object.entries(parsers)) {
  test(`${name}: garbage and truncated, changed and mistyped answers`, () => {
    fc.assert(fc.property(fc.string(), (text) => survives(parse, text)));
    fc.assert(fc.property(fc.json(), (text) => survives(parse, text)));
    fc.assert(
      fc.property(
        fc.constantFrom(...Object.values(templates)),
        fc.nat(),
        fc.nat(9),
        fc.string(),
        (text, at, cut, by) => {
          const from = at % text.length;
          survives(parse, text.slice(0, from));
          survives(parse, text.slice(0, from) + by + text.slice(from + cut));
        },
      ),
    );
    const field = fc.constantFrom(
      ...Object.keys(old),
      'state',
      'state_flags',
      'real_memory',
      'partitions',
      'jobs',
      'errors',
    );
    fc.assert(
      fc.property(field, fc.jsonValue(), (key, value) => {
        const item = { ...old, state: 'idle', [key]: value };
        survives(parse, JSON.stringify({ jobs: [item], nodes: [item], [key]: value }));
        survives(parse, JSON.stringify({ jobs: [item], nodes: [item] }));
      }),
    );
  });
}

test('long answers are read in time that grows with their length', () => {
  const began = process.cpuUsage().user;
  const many = Array.from({ length: 20_000 }, (_, i) => ({ ...recent, job_id: i + 1 }));
  assert.equal(jobsIn(...many).length, 20_000);
  for (const text of ['a'.repeat(1e6), 'a='.repeat(3e5), ' a'.repeat(3e5), '['.repeat(1e5), 'n['.repeat(1e5)]) {
    for (const parse of Object.values(parsers)) survives(parse, text);
  }
  assert.ok(process.cpuUsage().user - began < 20e6, 'seconds of CPU time');
});

function malformed(call: () => unknown): void {
  assert.throws(call, (error) => error instanceof SchedulerError && error.kind === 'malformed');
}
