import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { Ranks } from '../../test/ranks.ts';
import { nativeLibrary } from '../base/native.ts';

const library = nativeLibrary();
const whyNot = ((): string | undefined => {
  if ('why' in library) return library.why;
  const { stdout, error } = spawnSync('mpirun', ['--version'], { encoding: 'utf8' });
  if (error || !stdout.includes('Open MPI'))
    return 'no mpirun of Open MPI here (apt-get install openmpi-bin libopenmpi3)';
  return undefined;
})();
const required = process.env['BELAY_REQUIRE_MPI'] === '1';
const needsMpi = { skip: required ? false : (whyNot ?? false), timeout: 60_000 };

test('MPI is here where it is required', { skip: !required && 'BELAY_REQUIRE_MPI is not 1' }, () => {
  assert.equal(whyNot, undefined);
});

function ranksOf(t: TestContext): Ranks {
  const ranks = new Ranks();
  t.after(() => ranks.end());
  return ranks;
}

test('messages, gathered lengths and sums over MPI; MPI_Allreduce agrees with our sums', needsMpi, async (t) => {
  const all = ranksOf(t).startMpi(3, 'traffic,gather,sum,oracle', { seed: 11 });
  const { code } = await all.ended;
  assert.equal(code, 0, all.stderr);
  for (const field of ['messages', 'gathered', 'sums', 'compared', 'closed']) {
    const lines = all.lines.filter((line) => field in line);
    assert.deepEqual(lines.map(({ by }) => by).sort(), [0, 1, 2], JSON.stringify(all.lines));
    assert.ok(
      lines.every((line) => (line.wrong ?? 0) === 0),
      JSON.stringify(lines),
    );
  }
});

for (const world of [2, 5]) {
  test(`our sums against MPI_Allreduce: ${world} ranks`, needsMpi, async (t) => {
    const all = ranksOf(t).startMpi(world, 'oracle', { seed: 20 + world });
    const { code } = await all.ended;
    assert.equal(code, 0, all.stderr);
    const lines = all.lines.filter((line) => 'compared' in line);
    assert.equal(lines.length, world);
    for (const line of lines) assert.equal(line.wrong, 0, JSON.stringify(line));
  });
}

test(
  '16 MiB both ways, both sending first, over MPI; busy ranks are not lost; any order of leaving',
  needsMpi,
  async (t) => {
    const options = { bytes: 1 << 24, milliseconds: 1300, group: { heartbeatSeconds: 1 } };
    const all = ranksOf(t).startMpi(2, 'big,busy,closeInOrder', options);
    const { code } = await all.ended;
    assert.equal(code, 0, `${all.stderr}${JSON.stringify(all.lines)}`);
    assert.equal(all.lines.filter((line) => line.closed).length, 2);
    assert.deepEqual(
      all.lines.filter((line) => 'error' in line || (line.wrong ?? 0) !== 0),
      [],
    );
  },
);

test('who leaves in good order is missed only where something still waits for it, over MPI', needsMpi, async (t) => {
  const all = ranksOf(t).startMpi(3, 'leave');
  for (const by of [1, 2]) {
    const line = await all.line('first', by);
    assert.deepEqual([line.error, line.rank, line.how], ['LostPeer', 0, 'left'], JSON.stringify(line));
    await all.line('among', by);
  }
  assert.equal((await all.ended).code, 0, all.stderr);
});

test('a process that stands still is lost after the heartbeat time, over MPI', needsMpi, async (t) => {
  const all = ranksOf(t).startMpi(3, 'lose', { group: { heartbeatSeconds: 1 } });
  const pid = (await all.line('ready', 2))['pid'] as number;
  await Promise.all([0, 1].map((by) => all.line('ready', by)));
  const began = performance.now();
  process.kill(pid, 'SIGSTOP');
  t.after(() => {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {}
  });
  const [first] = await Promise.race([0, 1].map(async (by) => [await all.line('first', by)]));
  const seconds = (performance.now() - began) / 1000;
  assert.ok(seconds > 0.7 && seconds < 3, `${seconds} s`);
  assert.deepEqual([first?.error, first?.rank, first?.how], ['LostPeer', 2, 'silent'], JSON.stringify(first));
  // Who ends without the end of MPI makes mpirun end all.
  assert.notEqual((await all.ended).code, 0);
});

test('ranks that disagree say so, over MPI', needsMpi, async (t) => {
  const all = ranksOf(t).startMpi(2, 'gather', { disagree: true });
  const line = await all.line('error');
  assert.match(line.message ?? '', /target: "rank 1" on rank 1 \(\S+\), "rank 0" on rank 0/);
  assert.equal((await all.ended).code, 0, all.stderr);
});

const needsLibrary = { skip: 'why' in library ? library.why : false, timeout: 30_000 };

test('without Open MPI, or not started by it, the error says what to do', needsLibrary, async (t) => {
  const ranks = ranksOf(t);
  const group = ranks.options(0, 2, { transport: 'mpi' });
  const alone = { OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '2' };
  const none = { ...alone, BELAY_MPI_LIBRARY: '/nowhere/libmpi.so' };
  const missing = await ranks.add({ scenario: 'gather', group }, none).line('error');
  assert.match(missing.message ?? '', /^Open MPI could not be started\n.*nowhere.*apt-get install openmpi-bin/s);
  const other = await ranks
    .add({ scenario: 'gather', group }, { ...alone, BELAY_MPI_LIBRARY: 'libm.so.6' })
    .line('error');
  assert.match(other.message ?? '', /has no MPI_Init_thread; it is not Open MPI/);
  const started = await ranks.add({ scenario: 'gather', group }).line('error');
  assert.match(started.message ?? '', /was not started by MPI\n.*mpirun -n 2/s);
  for (const line of [missing, other, started]) assert.equal(line.error, 'UserError');
});
