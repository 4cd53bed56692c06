import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { attribute, type Evidence } from './attribution.ts';

const base: Evidence = { exit: 1, signal: null, log: '' };

/** What is known -> domain, cause, and what line or node must show. */
const cases: readonly (readonly [string, Partial<Evidence>, string, string, RegExp?])[] = [
  [
    'an exception of ours on one rank explains lost peers',
    {
      log: '1: belay: rank 0 on n1 was lost\n0: belay 0.1.0: this is a bug, please report it\n0: TypeError: x is not a function\n0:     at step (file:///a/step.js:3:9)\n',
    },
    'workload',
    'exception',
    /TypeError: x is not a function at step/,
  ],
  [
    'a traceback of Python names its last line',
    {
      log: '3: Traceback (most recent call last):\n3:   File "pretrain.py", line 4, in <module>\n3: ValueError: bad shape\n',
    },
    'workload',
    'exception',
    /^ValueError: bad shape$/,
  ],
  [
    'a failed assertion',
    { exit: 134, log: "python: alloc.c:12: main: Assertion `n > 0' failed.\n" },
    'workload',
    'exception',
    /alloc\.c:12/,
  ],
  [
    'memory, by Slurm',
    { log: 'slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.\n' },
    'workload',
    'out-of-memory',
  ],
  [
    'memory, by CUDA',
    { log: 'torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n' },
    'workload',
    'out-of-memory',
  ],
  [
    'memory, by the words that Slurm 22.05 has for it',
    { exit: 137, log: 'source: /scratch/out-of-memory/source is up to date\nsrun: error: n1: task 0: Out Of Memory\n' },
    'workload',
    'out-of-memory',
    /task 0/,
  ],
  ['memory, by the job', { outcome: 'out-of-memory' }, 'workload', 'out-of-memory'],
  [
    'the hint of a lost rank is no proof of memory',
    {
      exit: 74,
      log: '1: belay: rank 2 on n3 was lost\n1:   next:     see what ended that process (its log, out of memory?), then\n',
    },
    'infrastructure',
    'lost-peer',
    /rank 2 on n3/,
  ],
  [
    'a full disk before its exception',
    { log: 'Error: ENOSPC: no space left on device, write\n    at writeSync (node:fs:9:1)\n' },
    'infrastructure',
    'disk-full',
  ],
  [
    'a node that died explains lost peers',
    { exit: 74, log: 'belay: rank 2 on n3 was lost\n', deadNodes: ['n3'] },
    'infrastructure',
    'node-failure',
    /n3/,
  ],
  [
    'a node that died, by srun',
    { log: 'srun: error: Node failure on nid000007\n' },
    'infrastructure',
    'node-failure',
    /nid000007/,
  ],
  [
    'a node that could not be reached when ranks were started explains that the others were killed',
    {
      exit: 233,
      log: [
        'srun: error: Task launch for StepId=5.4 failed on node n2: Communication connection failure',
        'srun: error: Application launch failed: Communication connection failure',
        'Error: connect ECONNREFUSED\n    at TCPConnectWrap.afterConnect (node:net:1:2)',
        'srun: error: n1: task 0: Killed',
      ].join('\n'),
    },
    'infrastructure',
    'node-failure',
    /failed on node n2/,
  ],
  ['a node that died, by the job', { exit: null, outcome: 'node-failure' }, 'infrastructure', 'node-failure'],
  ['a segfault by its exit', { exit: 139 }, 'workload', 'segfault', /SIGSEGV/],
  [
    'a segfault by srun',
    { exit: 139, log: 'srun: error: n1: task 0: Segmentation fault (core dumped)\n' },
    'workload',
    'segfault',
    /task 0/,
  ],
  [
    'a loss that is not finite',
    { log: 'training gave up\n', events: ['not-finite', 'gave-up'] },
    'workload',
    'not-finite',
  ],
  [
    'numbers that are all finite, and a guard that gave up',
    {
      exit: 2,
      log: 'belay: training stopped at step 9: the loss jumped to 20, usual are 3; going back 2 times did not help\n',
      events: ['loss-spike', 'gave-up'],
    },
    'workload',
    'loss-spike',
    /jumped to 20/,
  ],
  [
    'a loss that is not finite, by Megatron',
    { log: 'found NaN in local forward loss calculation: loss is NaN\n' },
    'workload',
    'not-finite',
  ],
  ['a device', { log: 'n1: NCCL WARN NET/OFI Request completed with error\n' }, 'infrastructure', 'device'],
  [
    'a hang on a node',
    { exit: null, signal: 'SIGKILL', hang: { node: 'n2', line: 'rank 1 stands in exchange' } },
    'infrastructure',
    'hang',
    /n2/,
  ],
  [
    'a mistake of the user',
    { exit: 2, log: '0: belay: the recipe x is not valid\n0:   found: y\n' },
    'workload',
    'mistake',
    /recipe x/,
  ],
  ['scancel', { exit: null, outcome: 'cancelled' }, 'unknown', 'cancelled'],
  [
    'scancel of the step',
    { exit: 143, log: 'slurmstepd: error: *** STEP 12.0 ON n1 CANCELLED AT 2026-11-23T06:05:36 ***\n' },
    'unknown',
    'cancelled',
  ],
  ['the time limit', { exit: null, outcome: 'time-limit' }, 'infrastructure', 'time-limit'],
  [
    'the time limit, by the step',
    { log: 'slurmstepd: error: *** STEP 12.0 ON n1 CANCELLED AT 2026-11-23T06:05:36 DUE TO TIME LIMIT ***\n' },
    'infrastructure',
    'time-limit',
  ],
  [
    'the time limit explains ranks that were lost with the job',
    {
      exit: 137,
      log: 'srun: error: n1: task 0: Killed\n1: belay: rank 0 on n1 was lost\nslurmstepd: error: *** STEP 12.0 ON n1 CANCELLED AT 2026-11-23T06:05:36 DUE TO TIME LIMIT ***\n',
    },
    'infrastructure',
    'time-limit',
    /TIME LIMIT/,
  ],
  ['a job that is ended, by the clock', { exit: 75, ending: 'time-limit' }, 'infrastructure', 'time-limit'],
  [
    'a job that is ended, and no limit is near',
    { exit: 75, ending: 'cancelled', log: '*** STEP 12.0 ON n1 CANCELLED AT 2026-11-23T06:05:36 ***\n' },
    'unknown',
    'cancelled',
    /STEP 12/,
  ],
  ['a rank that somebody told to end', { exit: 75 }, 'unknown', 'signal SIGTERM'],
  ['a job that failed without a word', { exit: null, outcome: 'failed' }, 'unknown', 'failed'],
  ['preemption', { exit: null, outcome: 'preempted' }, 'infrastructure', 'preempted'],
  [
    'a dead node explains the exception of a survivor',
    {
      log: '1: Traceback (most recent call last):\n1:   File "a.py", line 4\n1: torch.distributed.DistBackendError: NCCL error: remote process exited\n',
      deadNodes: ['n3'],
    },
    'infrastructure',
    'node-failure',
    /n3/,
  ],
  [
    'but not one of its own',
    {
      log: '1: Traceback (most recent call last):\n1:   File "a.py", line 4\n1: ValueError: bad shape\n',
      deadNodes: ['n3'],
    },
    'workload',
    'exception',
    /bad shape/,
  ],
  [
    'a kill by nobody knows whom',
    { exit: 137, log: 'srun: error: n2: task 1: Killed\n' },
    'unknown',
    'killed',
    /task 1: Killed/,
  ],
  [
    'a kill, although srun ended by its own signal',
    { exit: 143, log: 'srun: error: n1: task 0: Killed\nsrun: error: n3: task 1: Terminated\n' },
    'unknown',
    'killed',
    /task 0/,
  ],
  [
    'a kill explains that the others lost the rank',
    { exit: 137, log: 'srun: error: n2: task 0: Killed\n1: belay: rank 0 on n2 was lost\n' },
    'unknown',
    'killed',
  ],
  ['an end without a word', { exit: 3 }, 'unknown', 'exit code 3'],
];

for (const [name, evidence, domain, cause, shows] of cases) {
  test(name, () => {
    const verdict = attribute({ ...base, ...evidence });
    assert.deepEqual([verdict.domain, verdict.cause], [domain, cause], JSON.stringify(verdict));
    if (shows) assert.match(`${verdict.line ?? ''}${verdict.node ?? ''}`, shows);
  });
}

test('any log has a verdict, and its line is short', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 2000 }),
      fc.option(fc.integer({ min: 0, max: 255 })),
      (log, exit) => {
        const verdict = attribute({ exit, signal: null, log });
        assert.ok((verdict.line ?? '').length <= 300);
      },
    ),
  );
  // With a pattern that looks back from every word this would not end.
  attribute({ ...base, log: `${'rank 1 on '.repeat(200_000)}\n${'loss '.repeat(300_000)}` });
});
