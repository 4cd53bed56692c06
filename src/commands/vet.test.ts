// `belay vet` without a scheduler: processes that stand for nodes by addresses of this machine, and the verb's own checks.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { packageRoot } from '../base/version.ts';
import { readHistory } from '../cluster/vetting/history.ts';
import { judge } from '../cluster/vetting/judge.ts';
import { readReports } from '../cluster/vetting/measurements.ts';
import { vetSettingsSchema } from '../cluster/vetting/settings.ts';
import type { SummaryRow } from '../cluster/vetting/summary.ts';
import type { VetResult } from '../cluster/vetting/vet-nodes.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-vet-'));
after(() => rmSync(scratch, { recursive: true }));
const isSource = import.meta.url.endsWith('.ts');
const belay = [
  ...(isSource ? ['--import', import.meta.resolve('tsx')] : []),
  join(packageRoot, isSource ? 'src/cli.ts' : 'dist/src/cli.js'),
];

interface Said {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function vet(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Said> {
  const child = spawn(process.execPath, [...belay, 'vet', ...args], { cwd: scratch, env: { ...process.env, ...env } });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => void (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (stderr += text));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, stdout, stderr };
}

/** Nodes are addresses of the loopback network. */
const nodeOf = (rank: number): string => `127.0.0.${rank + 1}`;

async function vetAll(world: number, started: number, args: readonly string[]): Promise<Said[]> {
  const token = `test-${process.pid}-${world}-${started}`;
  return await Promise.all(
    Array.from({ length: started }, (_, rank) =>
      vet(args, {
        BELAY_RANK: `${rank}`,
        BELAY_WORLD: `${world}`,
        BELAY_RENDEZVOUS: token,
        BELAY_HOST: nodeOf(rank),
      }),
    ),
  );
}

function settingsFile(name: string, value: unknown): string {
  const path = join(scratch, name);
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
  return path;
}

test('four nodes: everything is measured everywhere, judged by the first, and remembered', async () => {
  const history = join(scratch, 'nodes.jsonl');
  const all = await vetAll(4, 4, ['--judge', history, '--json']);
  const [first] = all;
  assert.deepEqual(
    all.slice(1).map(({ stdout }) => stdout),
    ['', '', ''],
    'one talks',
  );
  const result = JSON.parse(first?.stdout as string) as VetResult & { readonly summary: SummaryRow[] };
  assert.deepEqual(
    result.notes.filter((note) => /not validated/.test(note)),
    [],
  );
  assert.deepEqual(
    result.verdicts.map(({ node }) => node),
    [0, 1, 2, 3].map(nodeOf),
  );
  const anySick = result.verdicts.some(({ verdict }) => verdict === 'sick');
  assert.deepEqual(
    all.map(({ code }) => code),
    [anySick ? 6 : 0, 0, 0, 0],
    first?.stderr,
  );

  for (const node of [0, 1, 2, 3].map(nodeOf)) {
    for (const pass of [0, 1]) {
      const rows = result.summary.filter((row) => row.node === node && row.pass === pass);
      const counts = Object.fromEntries(rows.map(({ probe, peer = '', count }) => [`${probe} ${peer}`.trim(), count]));
      const others = [0, 1, 2, 3].map(nodeOf).filter((other) => other !== node);
      const pairs = others.flatMap((peer) => [`latency ${peer}`, `transfer ${peer}`]);
      const expected = { gemm: 20, memory: 12, write: 6, fsync: 12, allGather: 20, allReduce: 20 };
      assert.deepEqual(counts, { ...expected, ...Object.fromEntries(pairs.map((name) => [name, 20])) });
      for (const { min, mean, std } of rows) assert.ok(min > 0 && mean >= min && std >= 0);
    }
  }
  const { entries, bad } = readHistory(history);
  assert.deepEqual([entries.length, bad], [4, 0]);
  assert.deepEqual(Object.keys(entries[3]?.measured ?? {}), [
    ...['gemm', 'memory', 'write', 'fsync', 'latency', 'transfer', 'load', 'clock'],
  ]);
  assert.deepEqual(
    readdirSync(scratch).filter((name) => name.startsWith('.belay-vet')),
    [],
    'the meeting place is gone',
  );
});

test('a node that does not come: the others leave what they measured, and it is the one convicted', async () => {
  const out = join(scratch, 'reports');
  const settings = settingsFile('impatient.json', { passes: 1, patienceSeconds: 2 });
  const all = await vetAll(4, 3, ['--out', out, '--settings', settings]);
  assert.deepEqual(
    all.map(({ code }) => code),
    [0, 0, 0],
    all[0]?.stderr,
  );
  const { reports, bad } = readReports(out);
  assert.deepEqual([reports.length, bad], [3, []]);
  for (const { passes } of reports) {
    assert.deepEqual(Object.keys(passes[0]?.work ?? {}), ['gemm', 'memory', 'write', 'fsync']);
    assert.deepEqual(Object.keys(passes[0]?.failures ?? {}), ['latency', 'transfer', 'clock']);
  }
  const { verdicts, notes } = judge([0, 1, 2, 3].map(nodeOf), reports, vetSettingsSchema.parse({}));
  assert.deepEqual([verdicts[3]?.verdict, verdicts[3]?.why.slice(0, 27)], ['sick', 'the probe never began there']);
  assert.match(notes.join('\n'), /latency was not validated: it failed on most nodes/);
});

test('alone: what was found, for people; nothing to compare with', async () => {
  const { code, stdout } = await vet([
    '--judge',
    join(scratch, 'alone.jsonl'),
    '--settings',
    settingsFile('p.json', { passes: 1, busyCores: 1e6 }),
  ]);
  assert.equal(code, 0, stdout);
  assert.match(stdout, /^note: gemm was not validated: one node has nothing to be compared with$/m);
  assert.match(stdout, /^unvalidated \S+ {2}not validated: gemm, memory/m);
  assert.match(stdout, /^exclude: nobody$/m);
});

test('as a prolog: one line; only a sick node has another exit code than 0', async () => {
  const quiet = { busyCores: 1e6 };
  const well = await vet(['--prolog', '--settings', settingsFile('quiet.json', quiet)]);
  assert.deepEqual(
    [well.code, well.stdout.replace(/vet: \S+/, 'vet: NODE')],
    [0, 'belay vet: NODE is clean: nothing found\n'],
  );
  const expect = { atLeast: { gpus: 1000 }, variables: { NO_SUCH_VARIABLE: '1' } };
  const sick = await vet(['--prolog', '--settings', settingsFile('expect.json', { ...quiet, expect })]);
  assert.equal(sick.code, 6);
  assert.match(
    sick.stdout,
    /^belay vet: \S+ is sick: NO_SUCH_VARIABLE is not set, expected 1, gpus is \d+, expected at least 1000\n$/,
  );
  for (const broken of [
    settingsFile('broken.json', '{'),
    settingsFile('unknown.json', { passs: 1 }),
    '/no/such/file',
  ]) {
    const { code, stdout } = await vet(['--prolog', '--settings', broken]);
    assert.deepEqual([code, stdout.split('\n').length], [0, 2], stdout);
    assert.match(stdout, /^belay vet: nothing was checked: /);
  }
});

test('mistakes in flags and settings are named', async () => {
  const unknown = await vet(['--settings', settingsFile('unknown.json', { passs: 1 })]);
  assert.deepEqual([unknown.code, /passs/.test(unknown.stderr)], [2, true], unknown.stderr);
  const pardon = await vet(['--pardon', 'n1']);
  assert.deepEqual([pardon.code, /add --judge nodes\.jsonl/.test(pardon.stderr)], [2, true], pardon.stderr);
  const history = join(scratch, 'pardons.jsonl');
  assert.equal((await vet(['--pardon', 'n1', '--judge', history])).code, 0);
  assert.equal((JSON.parse(readFileSync(history, 'utf8')) as { verdict: string }).verdict, 'pardoned');
});
