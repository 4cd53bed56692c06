// Verdicts on nodes from what the probe measured on all of them: sick, clean or unvalidated.
//
// Nodes are compared with each other within one pass, so nothing need be known of the machine, and what slows all nodes
// convicts none. A node is slow where its best sample is worse than the usual sample of the others: one that was only
// disturbed has some good ones. What comes and goes shows as samples that collapsed, on this node and not on others, and not
// because the probe waited for a core. A conviction needs most passes; fewer are a suspicion, which the history keeps.
//
// What fails on most nodes is no fault of theirs: the probe, the settings or the environment is wrong. Then the probe is
// not validated, and nobody is convicted by it.
//
// Does not: remember (history.ts), or exclude (exclusion.ts).
import {
  type NodeReport,
  type PairProbe,
  type Pass,
  type Probe,
  pairProbes,
  probes,
  type WorkProbe,
  workProbes,
} from './measurements.ts';
import type { VetSettings } from './settings.ts';
import { quantile, spreadOf } from './statistics.ts';
import { type JudgedPair, whoIsSlow } from './suspects.ts';

export type Verdict = 'sick' | 'clean' | 'unvalidated';

export interface Suspicion {
  readonly probe: Probe | 'report';
  readonly line: string;
  /** The other node, where either may be meant. */
  readonly with?: string;
}

export interface NodeVerdict {
  readonly node: string;
  readonly verdict: Verdict;
  /** One line. */
  readonly why: string;
  /** What spoke against it and did not convict. */
  readonly suspicions: readonly Suspicion[];
}

export interface Judgement {
  readonly verdicts: readonly NodeVerdict[];
  /** What is to be told of all nodes together: probes that were not validated, unsteady collectives. */
  readonly notes: readonly string[];
}

/** What one pass says. */
interface PassFindings {
  readonly against: Map<string, Suspicion[]>;
  /** Of two nodes that cannot be told apart. */
  readonly doubtful: Map<string, Suspicion[]>;
  /** Probe -> why it is not validated on any node. */
  readonly invalid: Map<Probe, string>;
  /** Node -> probes that said nothing there though they did on others. */
  readonly unmeasured: Map<string, Set<Probe>>;
}

/** Judges `nodes` by their reports; nodes without one count. */
export function judge(nodes: readonly string[], reports: readonly NodeReport[], settings: VetSettings): Judgement {
  const wanted = new Set(nodes);
  const started = reports.filter(({ node }) => wanted.has(node));
  const hung = new Set(started.filter((report) => report.passes.length === 0).map(({ node }) => node));
  // Who has no whole pass has nothing to be compared; on most nodes that is nobody's fault.
  const known = started.filter((report) => report.passes.length > 0);
  const measured = new Set(known.map(({ node }) => node));
  const asked = probes.filter((probe) => !settings.without.includes(probe));
  if (known.length * 2 <= nodes.length && known.length < nodes.length) {
    const why = `the probe reported from ${known.length} of ${nodes.length} nodes`;
    return {
      verdicts: nodes.map((node) => ({ node, verdict: 'unvalidated', why, suspicions: [] })),
      notes: [`${why}: nobody is judged`],
    };
  }
  const passes = known.reduce((most, report) => Math.max(most, report.passes.length), 0);
  const findings = Array.from({ length: passes }, (_, i) => judgePass(known, i, asked, settings));
  // Where the probe was ended half-way, what it found has not been repeated.
  const enough = Math.ceil((Math.max(passes, settings.passes) * 2) / 3);
  const verdicts = nodes.map((node): NodeVerdict => {
    if (!measured.has(node)) {
      const what = hung.has(node) ? 'the probe began there and finished nothing' : 'the probe never began there';
      const why = `${what}, while it did on ${known.length} of ${nodes.length} nodes`;
      return { node, verdict: 'sick', why, suspicions: [] };
    }
    return verdictOn(node, findings, enough);
  });
  // What was slow with a sick node says nothing against the other.
  const sick = new Set(verdicts.filter(({ verdict }) => verdict === 'sick').map(({ node }) => node));
  const cleared = verdicts.map((verdict): NodeVerdict => {
    const suspicions = verdict.suspicions.filter((one) => one.with === undefined || !sick.has(one.with));
    if (verdict.verdict !== 'clean') return { ...verdict, suspicions };
    return { ...verdict, suspicions, why: whyClean(suspicions) };
  });
  return { verdicts: cleared, notes: [...notesOnProbes(findings), ...notesOnCollectives(known, settings)] };
}

function verdictOn(node: string, findings: readonly PassFindings[], enough: number): NodeVerdict {
  const against = findings.map((pass) => pass.against.get(node) ?? []);
  const guilty = against.filter((lines) => lines.length > 0).length;
  const doubts = findings.flatMap((pass) => pass.doubtful.get(node) ?? []);
  if (guilty >= enough) {
    return { node, verdict: 'sick', why: linesOf(against.flat()), suspicions: doubts };
  }
  const suspicions = unique([...against.flat(), ...doubts]);
  const missing = new Map<Probe, number>();
  for (const { invalid, unmeasured } of findings) {
    for (const probe of new Set([...invalid.keys(), ...(unmeasured.get(node) ?? [])])) {
      missing.set(probe, (missing.get(probe) ?? 0) + 1);
    }
  }
  const unvalidated = [...missing].filter(([, times]) => findings.length - times < enough).map(([probe]) => probe);
  if (findings.length < enough || unvalidated.length > 0) {
    if (unvalidated.length === 0) return { node, verdict: 'unvalidated', why: 'the probe did not end', suspicions };
    return { node, verdict: 'unvalidated', why: `not validated: ${unvalidated.join(', ')}`, suspicions };
  }
  return { node, verdict: 'clean', why: whyClean(suspicions), suspicions };
}

function whyClean(suspicions: readonly Suspicion[]): string {
  return suspicions.length === 0 ? 'nothing found' : `not repeated: ${linesOf(suspicions)}`;
}

/** One line per probe: the first of each. */
function linesOf(findings: readonly Suspicion[]): string {
  const first = new Map<string, string>();
  for (const { probe, line } of findings) if (!first.has(probe)) first.set(probe, line);
  return [...first.values()].join('; ');
}

function unique(suspicions: readonly Suspicion[]): Suspicion[] {
  const seen = new Map(suspicions.map((one) => [`${one.probe} ${one.with ?? ''}`, one]));
  return [...seen.values()];
}

function judgePass(
  reports: readonly NodeReport[],
  index: number,
  asked: readonly Probe[],
  settings: VetSettings,
): PassFindings {
  const found: PassFindings = {
    against: new Map(),
    doubtful: new Map(),
    invalid: new Map(),
    unmeasured: new Map(),
  };
  const rows = reports.flatMap((report) => {
    const pass = report.passes[index];
    return pass ? [{ report, node: report.node, pass }] : [];
  });
  const court = new Court(found, rows, reports, settings);
  for (const probe of asked) court.hear(probe);
  return found;
}

interface Row {
  readonly report: NodeReport;
  readonly node: string;
  readonly pass: Pass;
}

/** One pass before the judge: a probe at a time. */
class Court {
  private readonly found: PassFindings;
  private readonly rows: readonly Row[];
  private readonly reports: readonly NodeReport[];
  private readonly settings: VetSettings;

  constructor(found: PassFindings, rows: readonly Row[], reports: readonly NodeReport[], settings: VetSettings) {
    this.found = found;
    this.rows = rows;
    this.reports = reports;
    this.settings = settings;
  }

  hear(probe: Probe): void {
    if (isWork(probe)) this.work(probe);
    else if (isPair(probe)) this.pairs(probe);
    else if (probe === 'load') this.load();
    else if (probe === 'clock') this.clock();
    else this.environment();
  }

  private work(probe: WorkProbe): void {
    const rows = this.measured(probe, ({ pass }) => pass.work[probe] !== undefined);
    if (!rows) return;
    const costs = rows.map(({ pass }) => {
      const { milliseconds, amount } = pass.work[probe] as NonNullable<Pass['work'][WorkProbe]>;
      return milliseconds.map((value) => value / amount);
    });
    const usual = quantile(
      costs.map((cost) => quantile(cost, 0.5)),
      0.5,
    );
    const limit = usual * (1 + this.settings.slower[probe]);
    const collapsed = costs.map((cost) => shareAbove(cost, usual * this.settings.collapse));
    const usuallyCollapsed = quantile(collapsed, 0.5);
    const accused = rows.flatMap(({ node, pass }, i): [string, string][] => {
      const cost = costs[i] as number[];
      const best = quantile(cost, 0);
      if (best > limit) {
        const { unit } = pass.work[probe] as NonNullable<Pass['work'][WorkProbe]>;
        return [[node, `${probe} ${rate(best)} ${unit} at best, elsewhere ${rate(usual)} usually`]];
      }
      if (!disks.includes(probe) && this.isUnsteady(collapsed[i] as number, usuallyCollapsed, cost.length, [pass])) {
        return [[node, `${probe} collapsed in ${percent(collapsed[i])} of ${cost.length} samples`]];
      }
      return [];
    });
    this.accuse(probe, accused, rows.length);
  }

  private pairs(probe: PairProbe): void {
    const rows = this.measured(probe, ({ pass }) => pass.pairs.length > 0);
    if (!rows) return;
    const passes = new Map(rows.map(({ node, pass }) => [node, pass]));
    // Each end timed what it sent: two lists of samples per pair.
    const times = new Map<string, { readonly nodes: [string, string]; readonly lists: number[][] }>();
    for (const { node, pass } of rows) {
      for (const pair of pass.pairs) {
        const nodes: [string, string] = node < pair.peer ? [node, pair.peer] : [pair.peer, node];
        const known = times.get(nodes.join(' '));
        if (known) known.lists.push(pair[probe]);
        else times.set(nodes.join(' '), { nodes, lists: [pair[probe]] });
      }
    }
    const all = [...times.values()];
    if (all.length < 2) {
      this.found.invalid.set(probe, 'one pair of nodes has nothing to be compared with');
      return;
    }
    // Two sick nodes of four are in all pairs but one: the usual is that of the quickest.
    const lists = all
      .flatMap((pair) => pair.lists.map((samples) => ({ samples, median: quantile(samples, 0.5) })))
      .sort((a, b) => a.median - b.median);
    const quickest = lists.slice(0, Math.max(2, Math.ceil(lists.length * quicker)));
    const usual = quickest.at(-1)?.median as number;
    const { slower, collapse, floorMilliseconds: floor } = this.settings;
    // Where even these vary, because cores are shared, others may be unlucky.
    const noise = quantile(
      quickest.map(({ samples }) => quantile(samples, 0.9) - quantile(samples, 0.1)),
      1,
    );
    const limit = Math.max(usual * (1 + slower[probe]), usual + floor, usual + 2 * noise);
    const collapsed = (samples: readonly number[]): number =>
      shareAbove(samples, Math.max(usual * collapse, usual + floor));
    const usuallyCollapsed = quantile(
      quickest.map(({ samples }) => collapsed(samples)),
      1,
    );
    const judged = all.map(({ nodes, lists: both }): JudgedPair => {
      const ends = nodes.flatMap((node) => passes.get(node) ?? []);
      const isSlow = (samples: readonly number[]): boolean =>
        quantile(samples, 0) > limit || this.isUnsteady(collapsed(samples), usuallyCollapsed, samples.length, ends);
      return { nodes, slow: both.some(isSlow) };
    });
    const { guilty, unexplained } = whoIsSlow(judged);
    const partners = (node: string): string =>
      judged
        .filter(({ nodes, slow }) => slow && nodes.includes(node))
        .map(({ nodes }) => (nodes[0] === node ? nodes[1] : nodes[0]))
        .join(', ');
    const accused = [...guilty].map((node): [string, string] => {
      const own = all
        .filter(({ nodes }) => nodes.includes(node))
        .flatMap(({ lists: both }) => both.map((samples) => quantile(samples, 0.5)));
      return [node, `${probe} ${ms(Math.max(...own))} with ${partners(node)}, elsewhere ${ms(usual)}`];
    });
    this.accuse(probe, accused, rows.length);
    for (const [a, b] of unexplained) {
      for (const [node, other] of [
        [a, b],
        [b, a],
      ] as const) {
        push(this.found.doubtful, node, { probe, line: `${probe} slow with ${other} only`, with: other });
      }
    }
  }

  private load(): void {
    const rows = this.measured('load', ({ pass }) => pass.load !== undefined, 1);
    if (!rows) return;
    const cores = rows.map(({ pass }) => pass.load?.cores as number);
    // A node alone has only the limit itself.
    const usual = rows.length > 1 ? quantile(cores, 0.5) : 0;
    const accused = rows.flatMap(({ node, pass }, i): [string, string][] => {
      // Where much runs on all of them, it also differs more.
      if ((cores[i] as number) <= 1.5 * usual + this.settings.busyCores) return [];
      return [[node, `other processes want ${cores[i]?.toFixed(1)} cores, most of all ${pass.load?.most}`]];
    });
    this.accuse('load', accused, rows.length);
  }

  private clock(): void {
    const rows = this.measured('clock', ({ pass }) => pass.clock !== undefined);
    if (!rows) return;
    const offsets = rows.map(({ pass }) => pass.clock?.offsetMilliseconds as number);
    const usual = quantile(offsets, 0.5);
    const accused = rows.flatMap(({ node, pass }, i): [string, string][] => {
      const off = Math.abs((offsets[i] as number) - usual);
      if (off <= this.settings.clockMilliseconds + (pass.clock?.within ?? 0)) return [];
      return [[node, `its clock is ${(off / 1000).toFixed(1)} s off`]];
    });
    this.accuse('clock', accused, rows.length);
  }

  private environment(): void {
    const { variables, facts, atLeast } = this.settings.expect;
    const gpus = this.usualGpus();
    const missed = this.rows.flatMap(({ node, report }): [string, string][] => {
      const lines = [
        ...Object.entries(variables)
          .filter(([name, value]) => report.variables[name] !== value)
          .map(([name, value]) => `${name} is ${shown(report.variables[name])}, expected ${shown(value)}`),
        ...Object.entries(facts)
          .filter(([name, value]) => report.facts[name] !== value)
          .map(([name, value]) => `${name} is ${shown(report.facts[name])}, expected ${shown(value)}`),
        ...Object.entries(atLeast)
          .filter(([name, value]) => !((report.facts[name] as number) >= value))
          .map(([name, value]) => `${name} is ${shown(report.facts[name])}, expected at least ${value}`),
        ...(gpusOf(report) < gpus ? [`${gpusOf(report)} GPUs, elsewhere ${gpus}`] : []),
      ];
      return lines.length > 0 ? [[node, lines.join(', ')]] : [];
    });
    this.accuse('environment', missed, this.rows.length);
    // Who was lost on the way, where all others agree.
    const lost = new Set(this.reports.flatMap((report) => report.lost ?? []));
    for (const node of lost) {
      const others = this.reports.filter((report) => report.node !== node);
      if (others.length < 2 || !others.every((report) => report.lost === node)) continue;
      push(this.found.against, node, { probe: 'report', line: 'was lost during the exchange, say all others' });
    }
  }

  /** As many as most nodes have; 0 where they do not agree. */
  private usualGpus(): number {
    const counts = this.rows.map((row) => gpusOf(row.report));
    const usual = counts.length === 0 ? 0 : quantile(counts, 0.5);
    return counts.filter((count) => count === usual).length * 2 > counts.length ? usual : 0;
  }

  /**
   * The nodes on which a probe measured something; undefined where that does not do to judge anybody. Nodes on which it
   * failed while it worked on most are accused.
   */
  private measured(probe: Probe, has: (row: Row) => boolean, needed = 2): readonly Row[] | undefined {
    const rows = this.rows.filter(has);
    const failed = this.rows.filter((row) => !has(row));
    const why = failed.map(({ pass }) => pass.failures[probe]).find((line) => line !== undefined);
    if (rows.length < needed || rows.length * 2 <= this.rows.length) {
      const alone = this.rows.length === 1 && needed > 1;
      this.found.invalid.set(
        probe,
        alone && why === undefined
          ? 'one node has nothing to be compared with'
          : `it failed on most nodes: ${why ?? 'nothing was measured'}`,
      );
      return undefined;
    }
    for (const { node, pass } of failed) {
      const line = pass.failures[probe];
      if (line !== undefined) push(this.found.against, node, { probe, line: `${probe} failed: ${line}` });
      else if (this.found.unmeasured.get(node)?.add(probe) === undefined) {
        this.found.unmeasured.set(node, new Set([probe]));
      }
    }
    return rows;
  }

  /** Convicts, unless it would be most of those that were measured. */
  private accuse(probe: Probe, accused: readonly (readonly [string, string])[], measured: number): void {
    if (measured > 1 && accused.length * 2 > measured) {
      const [[node, line] = ['', '']] = accused;
      this.found.invalid.set(probe, `${accused.length} of ${measured} nodes miss it, e.g. ${node}: ${line}`);
      return;
    }
    for (const [node, line] of accused) push(this.found.against, node, { probe, line });
  }

  private isUnsteady(collapsed: number, usually: number, samples: number, passes: readonly Pass[]): boolean {
    if (passes.some(({ waited }) => (waited ?? 0) > this.settings.waited)) return false;
    return (
      collapsed >= Math.max(this.settings.collapsedShare, 2 / samples) && collapsed >= 4 * (usually + 0.5 / samples)
    );
  }
}

function notesOnProbes(findings: readonly PassFindings[]): string[] {
  const notes = new Map<Probe, string>();
  for (const { invalid } of findings) for (const [probe, why] of invalid) if (!notes.has(probe)) notes.set(probe, why);
  return [...notes].map(([probe, why]) => `${probe} was not validated: ${why}`);
}

/** Exchanges of all nodes notice a fault first, but do not say whose it is. */
function notesOnCollectives(reports: readonly NodeReport[], settings: VetSettings): string[] {
  const [first] = reports;
  return (first?.passes ?? []).flatMap((pass) =>
    Object.entries(pass.collectives).flatMap(([name, samples]) => {
      const { median, modes, count } = spreadOf(samples);
      const collapsed = shareAbove(samples, median * settings.collapse + settings.floorMilliseconds);
      if ((pass.waited ?? 0) > settings.waited || (collapsed < settings.collapsedShare && modes === null)) return [];
      const how = modes ? `two modes, ${ms(modes.low)} and ${ms(modes.high)}` : `${percent(collapsed)} collapsed`;
      return [`${name} of all nodes is unsteady: ${how} in ${count} samples`];
    }),
  );
}

/** Others write to them too, also from other nodes: that they are slow now and then is not this node's fault. */
const disks: readonly Probe[] = ['write', 'fsync'];

/** The share of pairs, from the quickest on, that stand for healthy ones. */
const quicker = 1 / 8;

function gpusOf({ facts }: NodeReport): number {
  return Number(facts['gpus'] ?? 0);
}

function isWork(probe: Probe): probe is WorkProbe {
  return (workProbes as readonly Probe[]).includes(probe);
}

function isPair(probe: Probe): probe is PairProbe {
  return (pairProbes as readonly Probe[]).includes(probe);
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

function shareAbove(samples: readonly number[], limit: number): number {
  return samples.filter((value) => value > limit).length / samples.length;
}

/** Work per second from milliseconds per unit of work. */
function rate(cost: number): string {
  const value = 1000 / cost;
  return value < 10 ? value.toFixed(2) : value.toFixed(0);
}

function ms(value: number): string {
  return `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`;
}

function percent(share: number | undefined): string {
  return `${Math.round((share ?? 0) * 100)} %`;
}

function shown(value: string | number | undefined): string {
  return value === undefined ? 'not set' : `${value}`;
}
