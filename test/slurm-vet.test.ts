// Vetting under a real Slurm: a late wire, a runaway process, a missing probe, what is remembered, and healthy nodes.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { packageRoot } from '../src/base/version.ts';
import { judge } from '../src/cluster/vetting/judge.ts';
import { type VetSettingsInput, vetSettingsSchema } from '../src/cluster/vetting/settings.ts';
import { type VetResult, vetNodes } from '../src/cluster/vetting/vet-nodes.ts';
import { type Client, Cluster, slurmScripts, whyNoNamespaces, whyNoSlurm } from './slurm/cluster.ts';

const required = process.env['BELAY_REQUIRE_SLURM'] === '1';
const missing = whyNoSlurm();
const skip = required ? false : (missing ?? false);
const notApart = missing === undefined ? whyNoNamespaces() : undefined;
const needsNodes = {
  skip: skip || (notApart !== undefined && `no namespaces here, so no node can be told from another: ${notApart}`),
  timeout: 180_000,
};

/** What the late wire is made of (test/slurm/late.py). */
const noWire =
  spawnSync('python3', ['--version']).status !== 0
    ? 'no python3 here'
    : existsSync('/dev/net/tun')
      ? false
      : 'no /dev/net/tun here, so a wire cannot be made late';
const needsWire = { ...needsNodes, skip: needsNodes.skip || noWire };

const scratch = mkdtempSync(join(tmpdir(), 'belay-slurm-vet-'));
const folder = join(scratch, 'slurm');
const history = join(scratch, 'nodes.jsonl');
const isSource = import.meta.url.endsWith('.ts');
const belay = [
  process.execPath,
  ...(isSource ? ['--import', import.meta.resolve('tsx')] : []),
  join(packageRoot, isSource ? 'src/cli.ts' : 'dist/src/cli.js'),
];
const nodes = ['n1', 'n2', 'n3', 'n4'];
/** Who is through does not wait long for a task that hangs. */
const layout = ['-N4', '-n4', '--oversubscribe', '--wait=5'];
let cluster: Cluster;
let hog: Client | undefined;
/** Each judgement has a history of its own, unless it says which. */
let judged = 0;

before(async () => {
  if (needsNodes.skip) return;
  cluster = await Cluster.start(folder, nodes.length, true);
  process.env['SLURM_CONF'] = join(folder, 'slurm.conf');
});
after(async () => {
  await cluster?.close();
  rmSync(scratch, { recursive: true, force: true });
});

/** As a campaign's controller does it. */
async function vet(
  settings: VetSettingsInput = {},
  options: { belay?: readonly string[]; history?: string } = {},
): Promise<VetResult> {
  const controller = readFileSync(join(folder, 'ctl.pid'), 'utf8').trim();
  return await vetNodes({
    srun: ['nsenter', '-t', controller, '-n', '-u', '-m', '-i', '-p', '--', 'srun', ...layout],
    belay,
    nodes,
    history: join(scratch, `history-${++judged}.jsonl`),
    out: join(scratch, 'reports'),
    settings,
    ...options,
  });
}

const said = ({ verdicts, notes }: VetResult): string =>
  [...verdicts.map(({ node, verdict, why }) => `${node} ${verdict}: ${why}`), ...notes].join('\n');
const sickOf = (result: Pick<VetResult, 'verdicts'>): string[] =>
  result.verdicts.filter(({ verdict }) => verdict === 'sick').map(({ node }) => node);

test('Slurm is here where it is required', { skip: !required && 'BELAY_REQUIRE_SLURM is not 1' }, () => {
  assert.equal(missing, undefined);
});

test('a probe that is missing everywhere: unvalidated, and nobody is excluded', needsNodes, async () => {
  const result = await vet({}, { belay: ['/no/such/belay'] });
  assert.deepEqual(
    result.verdicts.map(({ verdict }) => verdict),
    nodes.map(() => 'unvalidated'),
    said(result),
  );
  assert.deepEqual(result.excluded, []);
  assert.equal(result.refused, undefined);
  assert.match(result.notes.join('\n'), /the probe ended badly: exit code 2, .*no\/such\/belay/);
});

// BELAY_VET_JUDGEMENTS=20 takes minutes.
const wanted = Number(process.env['BELAY_VET_JUDGEMENTS'] ?? 6);

test(`healthy nodes: no conviction in ${wanted} judgements`, { ...needsNodes, timeout: 400_000 }, async (t) => {
  const settings = vetSettingsSchema.parse({});
  let judgements = 0;
  const suspicions: string[] = [];
  for (let run = 0; run < 2; run++) {
    const passes = (wanted / 2) * settings.passes;
    const whole = await vet({ passes });
    assert.deepEqual([sickOf(whole), whole.excluded, whole.measurements.length], [[], [], 4], said(whole));
    for (let from = 0; from < passes; from += settings.passes) {
      const part = whole.measurements.map((report) => ({
        ...report,
        passes: report.passes.slice(from, from + settings.passes),
      }));
      const { verdicts, notes } = judge(nodes, part, settings);
      assert.deepEqual(
        verdicts.map(({ verdict }) => verdict),
        nodes.map(() => 'clean'),
        JSON.stringify({ verdicts, notes }),
      );
      judgements++;
      suspicions.push(...verdicts.filter((one) => one.suspicions.length > 0).map(({ node, why }) => `${node}: ${why}`));
    }
  }
  assert.equal(judgements, wanted);
  t.diagnostic(
    [`${suspicions.length} suspicions of ${judgements * nodes.length} nodes judged`, ...suspicions].join('; '),
  );
});

test(
  'a node on which nothing comes up is convicted, and does not keep the others from being measured',
  needsNodes,
  async () => {
    const stuck = ['sh', '-c', '[ "$SLURMD_NODENAME" != n4 ] || exec sleep 120; exec "$@"', 'sh', ...belay];
    const result = await vet({ patienceSeconds: 4 }, { belay: stuck });
    assert.deepEqual([sickOf(result), result.excluded], [['n4'], ['n4']], said(result));
    assert.match(result.verdicts[3]?.why as string, /never began there, while it did on 3 of 4 nodes/);
    for (const { passes } of result.measurements) {
      assert.equal(passes.length, 2);
      assert.ok(passes.every(({ work }) => Object.keys(work).length === 4));
    }
  },
);

test(
  '20 ms on the wire of one node in one of four judgements: it is convicted, alone, and stays so',
  needsWire,
  async () => {
    const before = await vet({}, { history });
    assert.deepEqual([sickOf(before), before.excluded], [[], []], said(before));

    const late = join(scratch, 'late');
    writeFileSync(late, '20');
    const wire = cluster.client(['python3', join(slurmScripts, 'late.py'), 'to-n2', late]);
    assert.notEqual(await wire.saying(/^late$/m), undefined, wire.said);
    const during = await vet({}, { history });
    rmSync(late);
    assert.equal(await wire.ended, 0, wire.said);
    assert.deepEqual([sickOf(during), during.excluded], [['n2'], ['n2']], said(during));
    assert.match(during.verdicts[1]?.why as string, /latency 2\d ms with n\d, n\d, n\d, elsewhere/);

    for (let i = 0; i < 2; i++) {
      const later = await vet({}, { history });
      assert.deepEqual([sickOf(later), later.excluded], [['n2'], ['n2']], said(later));
      assert.match(later.verdicts[1]?.why as string, /^sick in 1 of \d judgements/);
      assert.equal(later.verdicts[1]?.by, 'history');
    }
  },
);

test('a process that runs away on one node convicts that node', needsNodes, async () => {
  hog = cluster.client(['srun', '-J', 'hog', '-w', 'n3', '-n1', '--oversubscribe', 'sh', '-c', 'while :; do :; done']);
  await wait(500);
  const result = await vet();
  assert.deepEqual([sickOf(result), result.excluded], [['n3'], ['n3']], said(result));
  assert.match(result.verdicts[2]?.why as string, /other processes want \d\.\d cores, most of all sh/);
});

test('with the node that is remembered they are more than may be excluded: refused', needsWire, async () => {
  const client = cluster.client(['srun', ...layout, ...belay, 'vet', '--judge', history]);
  assert.equal(await client.ended, 6, client.said);
  assert.match(client.said, /^refused: 2 of 4 nodes stand convicted and no more than 1 may be excluded/m);
  await cluster.run(...belay, 'vet', '--pardon', 'n2', '--judge', history);
  const pardoned = await vet({}, { history });
  assert.deepEqual(pardoned.excluded, ['n3'], said(pardoned));
});

test('as a prolog of slurmd: the sick node is drained before the job starts there', needsNodes, async () => {
  const line = (node: string): Client =>
    cluster.client(['srun', '-w', node, '-n1', '--oversubscribe', ...belay, 'vet', '--prolog']);
  const well = line('n1');
  assert.equal(await well.ended, 0, well.said);
  assert.match(well.said, /^belay vet: n1 is clean: nothing found$/m);
  const sick = line('n3');
  assert.equal(await sick.ended, 6, sick.said);
  assert.match(sick.said, /^belay vet: n3 is sick: other processes want/m);

  const prolog = join(scratch, 'prolog.sh');
  const words = belay.map((word) => `'${word}'`).join(' ');
  writeFileSync(prolog, `#!/bin/sh\nexec ${words} vet --prolog >> ${scratch}/prolog.log 2>&1\n`, { mode: 0o755 });
  appendFileSync(join(folder, 'slurm.conf'), `Prolog=${prolog}\nPrologFlags=Alloc\n`);
  await cluster.run('scontrol', 'reconfigure');
  const job = cluster.client(['srun', '-w', 'n3', '-n1', '--oversubscribe', 'hostname']);
  const end = performance.now() + 60_000;
  let state = '';
  while (!/^drain.*Prolog error/.test(state)) {
    assert.ok(performance.now() < end, `${state}\n${job.said}`);
    await wait(200);
    state = await cluster.run('sinfo', '-h', '-n', 'n3', '-o', '%T %E');
  }
  assert.match(readFileSync(join(scratch, 'prolog.log'), 'utf8'), /n3 is sick/);
  await cluster.run('scancel', '-u', userInfo().username);
  await hog?.ended;
});
