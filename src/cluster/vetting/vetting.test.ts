// Vetting judged on made-up measurements: who is convicted, who is not, and what is remembered.
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { Random } from '../../base/rng.ts';
import { exclude } from './exclusion.ts';
import { appendHistory, entriesOf, type HistoryEntry, readHistory, standings } from './history.ts';
import { judge, type NodeVerdict } from './judge.ts';
import { type NodeReport, type Pass, readReports, reportFile, reportFormat } from './measurements.ts';
import { pairingRounds } from './pairing.ts';
import { type VetSettingsInput, vetSettingsSchema } from './settings.ts';
import { modesOf, quantile, spreadOf } from './statistics.ts';
import { whoIsSlow } from './suspects.ts';

const settingsOf = (input: VetSettingsInput = {}) => vetSettingsSchema.parse(input);
const settings = settingsOf();

test('quantiles are samples, and of two middle ones the smaller', () => {
  assert.equal(quantile([4, 1, 3, 2], 0.5), 2);
  assert.equal(quantile([3, 1, 2], 0.5), 2);
  assert.equal(quantile([7], 0.9), 7);
  assert.deepEqual(
    [spreadOf([1, 2, 3, 6]).mean, spreadOf([1, 2, 3, 6]).std, spreadOf([1, 2, 3, 6]).min],
    [3, Math.sqrt(14 / 3), 1],
  );
});

test('two bands of samples are told from one', () => {
  const random = new Random(1, 'modes');
  const band = (at: number, count: number): number[] =>
    Array.from({ length: count }, () => at * (1 + 0.01 * random.normal()));
  const two = modesOf([...band(60, 10), ...band(93, 10)]);
  assert.ok(two && Math.abs(two.low - 60) < 2 && Math.abs(two.high - 93) < 2 && two.share === 0.5, JSON.stringify(two));
  for (let i = 0; i < 200; i++) assert.equal(modesOf(band(91, 20)), null);
});

test('rounds of pairs are disjoint, and nobody meets the same node twice', () => {
  for (let count = 2; count <= 41; count++) {
    const rounds = pairingRounds(count);
    assert.equal(rounds.length, Math.min(3, count % 2 ? count : count - 1));
    const met = new Set<string>();
    for (const round of rounds) {
      const busy = round.flat();
      assert.equal(new Set(busy).size, busy.length, `${count} nodes: a round uses a node twice`);
      assert.equal(round.length, Math.floor(count / 2));
      for (const [a, b] of round) {
        assert.ok(a < b && b < count && !met.has(`${a} ${b}`));
        met.add(`${a} ${b}`);
      }
    }
  }
  assert.deepEqual(pairingRounds(1), []);
});

const slowPairs = (count: number, sick: ReadonlySet<number>) =>
  pairingRounds(count).flatMap((round) =>
    round.map(([a, b]) => ({ nodes: [`n${a}`, `n${b}`] as [string, string], slow: sick.has(a) || sick.has(b) })),
  );

test('a slow node is found among any number of nodes, and its partners are not blamed', () => {
  fc.assert(
    fc.property(fc.integer({ min: 3, max: 60 }), fc.nat(), (count, at) => {
      const { guilty, unexplained } = whoIsSlow(slowPairs(count, new Set([at % count])));
      assert.deepEqual([...guilty], [`n${at % count}`]);
      assert.deepEqual(unexplained, []);
    }),
  );
});

test('two slow nodes are both found from four nodes on, and nobody else ever', () => {
  for (let count = 4; count <= 24; count++) {
    for (let a = 0; a < count; a++) {
      for (let b = a + 1; b < count; b++) {
        const { guilty } = whoIsSlow(slowPairs(count, new Set([a, b])));
        for (const node of guilty) assert.ok([`n${a}`, `n${b}`].includes(node), `${count}: ${node} is healthy`);
        if (count % 2 === 0) assert.equal(guilty.size, 2, `${count} nodes, sick ${a} and ${b}: ${[...guilty]}`);
      }
    }
  }
});

test('a pair that was slow once blames nobody', () => {
  const pairs = slowPairs(6, new Set()).map((pair, i) => ({ ...pair, slow: i === 0 }));
  const { guilty, unexplained } = whoIsSlow(pairs);
  assert.deepEqual([[...guilty], unexplained.length], [[], 1]);
});

interface Fault {
  readonly node: number;
  /** Passes in which it shows; all by default. */
  readonly passes?: readonly number[];
  readonly delay?: number;
  readonly gemm?: number;
  /** Of 20 samples of matrix products, so many collapse. */
  readonly collapsed?: number;
  readonly load?: number;
  readonly clock?: number;
}

/** What `count` nodes would say; noise of a shared machine grows with `noise`. */
function reportsOf(
  random: Random,
  count: number,
  options: { faults?: readonly Fault[]; noise?: number; passes?: number; failing?: readonly number[] } = {},
): NodeReport[] {
  const { faults = [], noise = 0.01, passes = 2, failing = [] } = options;
  const jitter = (value: number): number =>
    value * (1 + noise * Math.abs(random.normal()) * (random.real() < 0.1 ? 30 : 1));
  const many = (value: number, n = 20): number[] => Array.from({ length: n }, () => jitter(value));
  const faultsOf = (node: number, pass: number): Fault[] =>
    faults.filter((fault) => fault.node === node && (fault.passes ?? [pass]).includes(pass));
  const sum = (list: readonly Fault[], key: 'delay' | 'load' | 'clock'): number =>
    list.reduce((total, fault) => total + (fault[key] ?? 0), 0);
  return Array.from(
    { length: count },
    (_, node): NodeReport => ({
      format: reportFormat,
      node: `n${node}`,
      rank: node,
      world: count,
      time: '2026-11-01T00:00:00.000Z',
      facts: { gpus: 4 },
      variables: {},
      passes: Array.from({ length: passes }, (_, pass): Pass => {
        const own = faultsOf(node, pass);
        const products = many(8 * (own[0]?.gemm ?? 1)).map((value, i) =>
          i < (own[0]?.collapsed ?? 0) ? value * 10 : value,
        );
        const gemm = { milliseconds: products, amount: 0.5, unit: 'GFLOP/s' };
        return {
          work: {
            ...(failing.includes(node) ? {} : { gemm }),
            memory: { milliseconds: many(12), amount: 0.1, unit: 'GB/s' },
            write: { milliseconds: many(5), amount: 4, unit: 'MB/s' },
            fsync: { milliseconds: many(2), amount: 1, unit: '1/s' },
          },
          load: { cores: 0.05 + sum(own, 'load'), most: 'stress' },
          waited: noise > 0.05 ? 0.4 : 0.01,
          pairs: pairingRounds(count).flatMap((round) =>
            round
              .filter((pair) => pair.includes(node))
              .map(([a, b]) => {
                const peer = a === node ? b : a;
                const delay = sum(own, 'delay') + sum(faultsOf(peer, pass), 'delay');
                return { peer: `n${peer}`, latency: many(0.2 + delay), transfer: many(1.5 + 2 * delay) };
              }),
          ),
          collectives: { allGather: many(0.5) },
          clock: { offsetMilliseconds: random.normal() + sum(own, 'clock'), within: 0.2 },
          failures: failing.includes(node) ? { gemm: 'no kernels here' } : {},
        };
      }),
    }),
  );
}

const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `n${i}`);
const sickOf = (verdicts: readonly NodeVerdict[]): string[] =>
  verdicts.filter(({ verdict }) => verdict === 'sick').map(({ node }) => node);

test('a clean cluster convicts and suspects nobody, on quiet machines and on busy ones', () => {
  const random = new Random(2, 'clean');
  let suspicions = 0;
  for (let i = 0; i < 300; i++) {
    const count = 2 + (i % 9);
    const { verdicts } = judge(names(count), reportsOf(random, count, { noise: i % 2 ? 0.01 : 0.2 }), settings);
    assert.deepEqual(sickOf(verdicts), []);
    suspicions += verdicts.filter((one) => one.suspicions.length > 0).length;
  }
  assert.ok(suspicions <= 15, `${suspicions} suspicions in 300 judgements`);
});

test('each fault convicts exactly its node and says why', () => {
  const random = new Random(3, 'faults');
  const cases: [Fault, RegExp][] = [
    [{ node: 2, delay: 20 }, /latency 2\d ms with n\d, n\d, n\d, elsewhere 0\.2\d ms/],
    [{ node: 0, gemm: 1.5 }, /gemm 4\d .* at best, elsewhere 6\d usually/],
    [{ node: 3, load: 2 }, /other processes want 2\.\d cores, most of all stress/],
    [{ node: 1, clock: 90_000 }, /clock is 90\.\d s off/],
    [{ node: 1, collapsed: 4 }, /gemm collapsed in 20 % of 20 samples/],
  ];
  for (const [fault, why] of cases) {
    const { verdicts } = judge(names(4), reportsOf(random, 4, { faults: [fault] }), settings);
    assert.deepEqual(sickOf(verdicts), [`n${fault.node}`]);
    assert.match(verdicts[fault.node]?.why as string, why);
  }
});

test('two delayed nodes of four are both convicted', () => {
  const faults = [0, 2].map((node) => ({ node, delay: 20 }));
  const { verdicts } = judge(names(4), reportsOf(new Random(4, 'two'), 4, { faults }), settings);
  assert.deepEqual(sickOf(verdicts), ['n0', 'n2']);
});

test('a fault in one pass of two is a suspicion', () => {
  const faults = [{ node: 1, delay: 20, passes: [1] }];
  const { verdicts } = judge(names(4), reportsOf(new Random(5, 'once'), 4, { faults }), settings);
  assert.deepEqual(sickOf(verdicts), []);
  assert.deepEqual(
    verdicts.filter((one) => one.suspicions.length > 0).map(({ node, verdict }) => `${node} ${verdict}`),
    ['n1 clean'],
  );
});

test('a probe that was ended half-way convicts nobody that it measured', () => {
  const faults = [{ node: 1, delay: 20 }];
  const { verdicts } = judge(names(4), reportsOf(new Random(5, 'half'), 4, { faults, passes: 1 }), settings);
  assert.deepEqual(
    [...new Set(verdicts.map(({ verdict, why }) => `${verdict} ${why}`))],
    ['unvalidated the probe did not end'],
  );
  assert.deepEqual(
    verdicts.map(({ suspicions }) => suspicions.length > 0),
    [false, true, false, false],
  );
});

test('a probe that fails everywhere is not validated and excludes nobody; on one node it convicts that one', () => {
  const random = new Random(6, 'failing');
  const everywhere = judge(names(4), reportsOf(random, 4, { failing: [0, 1, 2, 3] }), settings);
  assert.deepEqual(
    everywhere.verdicts.map(({ verdict, why }) => [verdict, why]),
    Array(4).fill(['unvalidated', 'not validated: gemm']),
  );
  assert.deepEqual(everywhere.notes, ['gemm was not validated: it failed on most nodes: no kernels here']);
  const one = judge(names(4), reportsOf(random, 4, { failing: [2] }), settings);
  assert.deepEqual(sickOf(one.verdicts), ['n2']);
  assert.match(one.verdicts[2]?.why as string, /gemm failed: no kernels here/);
  // What nobody asks for is not missed.
  const without = judge(names(4), reportsOf(random, 4, { failing: [0, 1, 2, 3] }), settingsOf({ without: ['gemm'] }));
  assert.deepEqual(new Set(without.verdicts.map(({ verdict }) => verdict)), new Set(['clean']));
});

test('no reports at all: nobody is judged; one report missing: that node is sick', () => {
  const none = judge(names(3), [], settings);
  assert.deepEqual(new Set(none.verdicts.map(({ verdict }) => verdict)), new Set(['unvalidated']));
  const reports = reportsOf(new Random(7, 'missing'), 4).filter(({ node }) => node !== 'n1');
  assert.deepEqual(sickOf(judge(names(4), reports, settings).verdicts), ['n1']);
  assert.deepEqual(sickOf(judge(names(4), reports.slice(0, 2), settings).verdicts), []);
  // It began and hangs.
  const hung = reportsOf(new Random(7, 'missing'), 4).map((one, i) => (i === 2 ? { ...one, passes: [] } : one));
  const { verdicts } = judge(names(4), hung, settings);
  assert.deepEqual([sickOf(verdicts), /finished nothing/.test(verdicts[2]?.why ?? '')], [['n2'], true]);
});

test('an expectation that most nodes miss is the fault of who expects it', () => {
  const reports = reportsOf(new Random(8, 'environment'), 4);
  const expect = { variables: { NCCL_NET: 'AWS Libfabric' } };
  const all = judge(names(4), reports, settingsOf({ expect }));
  assert.deepEqual(sickOf(all.verdicts), []);
  assert.match(
    all.notes[0] as string,
    /environment was not validated: 4 of 4 nodes miss it, e.g. n0: NCCL_NET is not set/,
  );
  const most = reports.map((report, i) => (i === 2 ? report : { ...report, variables: expect.variables }));
  assert.deepEqual(sickOf(judge(names(4), most, settingsOf({ expect })).verdicts), ['n2']);
  const fewer = reports.map((report, i) => (i === 3 ? { ...report, facts: { gpus: 3 } } : report));
  const { verdicts } = judge(names(4), fewer, settings);
  assert.deepEqual([sickOf(verdicts), verdicts[3]?.why], [['n3'], '3 GPUs, elsewhere 4']);
});

test('one node alone: only what needs no comparison convicts', () => {
  const random = new Random(9, 'alone');
  const [verdict] = judge(['n0'], reportsOf(random, 1), settings).verdicts;
  assert.equal(verdict?.verdict, 'unvalidated');
  const busy = judge(['n0'], reportsOf(random, 1, { faults: [{ node: 0, load: 3 }] }), settings);
  assert.deepEqual(sickOf(busy.verdicts), ['n0']);
  const wrong = judge(['n0'], reportsOf(random, 1), settingsOf({ expect: { atLeast: { gpus: 8 } } }));
  assert.match(wrong.verdicts[0]?.why as string, /gpus is 4, expected at least 8/);
});

const standing = (node: string, entries: readonly HistoryEntry[], now: Date, memory = settings.memory) =>
  standings(entries, now, memory)(node);
const day = (n: number): Date => new Date(Date.UTC(2026, 10, n));
const entry = (
  n: number,
  verdict: HistoryEntry['verdict'],
  suspicions: HistoryEntry['suspicions'] = [],
): HistoryEntry => ({
  time: day(n).toISOString(),
  node: 'n1',
  verdict,
  why: verdict === 'sick' ? 'latency 20 ms' : 'nothing found',
  suspicions,
});

test('one sick judgement in four convicts; only many clean ones, time or a pardon acquit', () => {
  const { memory } = settings;
  const episodic = [entry(1, 'clean'), entry(2, 'sick'), entry(3, 'clean'), entry(4, 'clean')];
  assert.match(standing('n1', episodic, day(4), memory) as string, /^sick in 1 of 4 judgements, last on 2026-11-02/);
  assert.equal(standing('n2', episodic, day(4), memory), undefined);
  assert.equal(standing('n1', episodic, day(17), memory), undefined, 'two weeks are over');
  assert.equal(standing('n1', [...episodic, entry(5, 'pardoned')], day(5), memory), undefined);
  const clean = Array.from({ length: 8 }, (_, i) => entry(5 + i, 'clean'));
  assert.equal(standing('n1', [...episodic, ...clean.slice(0, 7)], day(13), memory)?.slice(0, 4), 'sick');
  assert.equal(standing('n1', [...episodic, ...clean], day(13), memory), undefined);
  assert.equal(standing('n1', [entry(1, 'unvalidated'), entry(2, 'clean')], day(2), memory), undefined);
});

test('suspicions add up; those of a pair count once per partner', () => {
  const { memory } = settings;
  const own = [{ probe: 'gemm', line: 'gemm slow' }];
  const withA = [{ probe: 'latency', line: 'latency slow with a only', with: 'a' }];
  const withB = [{ probe: 'latency', line: 'latency slow with b only', with: 'b' }];
  const stands = (...list: HistoryEntry[]): boolean => standing('n1', list, day(9), memory) !== undefined;
  assert.equal(stands(entry(1, 'clean', own)), false);
  assert.equal(stands(entry(1, 'clean', own), entry(2, 'clean'), entry(3, 'clean'), entry(4, 'clean', own)), true);
  const between = Array.from({ length: 7 }, () => entry(2, 'clean'));
  assert.equal(stands(entry(1, 'clean', own), ...between, entry(3, 'clean', own)), false);
  assert.equal(stands(entry(1, 'clean', withA), entry(2, 'clean', withA), entry(3, 'clean', withA)), false);
  assert.equal(stands(entry(1, 'clean', withA), entry(2, 'clean', withB)), true);
  assert.equal(stands(entry(1, 'clean', withA), entry(2, 'clean', withB), { ...entry(2, 'sick'), node: 'a' }), false);
});

test('the history survives torn and foreign lines', () => {
  const dir = mkdtempSync(join(tmpdir(), 'belay-vet-'));
  const path = join(dir, 'campaign', 'nodes.jsonl');
  const reports = reportsOf(new Random(10, 'history'), 2);
  const { verdicts } = judge(names(2), reports, settings);
  appendHistory(path, entriesOf(verdicts, reports, day(1), '0001'));
  appendFileSync(path, '{"node":"n1"}\n{"time":"2026-');
  const { entries, bad } = readHistory(path);
  assert.deepEqual([entries.map(({ node, link }) => `${node} ${link}`), bad], [['n0 0001', 'n1 0001'], 1]);
  const { gemm = 0, latency = 0, load } = entries[0]?.measured ?? {};
  assert.ok(gemm > 60 && gemm < 63 && latency > 0.19 && latency < 0.22 && load === 0.05, JSON.stringify(entries[0]));
  appendHistory(path, [entry(2, 'sick')]);
  assert.equal(readHistory(path).entries.at(-1)?.verdict, 'sick', 'a line after a torn one is whole');
  rmSync(dir, { recursive: true });
});

test('up to the cap nodes are excluded, beyond it nobody is', () => {
  const convicted = (count: number) => new Map(names(count).map((node) => [node, 'gemm slow']));
  assert.deepEqual(exclude(names(4), convicted(1), 0.1), { excluded: ['n0'] });
  const { excluded, refused } = exclude(names(4), convicted(2), 0.1);
  assert.deepEqual(excluded, []);
  assert.match(refused as string, /^2 of 4 nodes stand convicted and no more than 1 .*n0: gemm slow/);
  assert.equal(exclude(names(40), convicted(4), 0.1).excluded.length, 4);
  // Nodes of which the history speaks but which are not here use up nothing.
  assert.deepEqual(exclude(['n0', 'n9'], convicted(4), 0.5), { excluded: ['n0'] });
});

test('reports are read per node, and files that are none are named', () => {
  const dir = mkdtempSync(join(tmpdir(), 'belay-vet-'));
  const [report] = reportsOf(new Random(11, 'files'), 2);
  writeFileSync(reportFile(dir, 1), JSON.stringify({ ...report, rank: 1 }));
  writeFileSync(reportFile(dir, 0), JSON.stringify(report));
  writeFileSync(reportFile(dir, 2), JSON.stringify({ ...report, node: 'n2', rank: 2, passes: [{}] }));
  writeFileSync(reportFile(dir, 3), '{');
  const { reports, bad } = readReports(dir);
  assert.deepEqual(
    reports.map(({ node, rank }) => `${node} ${rank}`),
    ['n0 0'],
  );
  assert.equal(bad.length, 2);
  rmSync(dir, { recursive: true });
});
