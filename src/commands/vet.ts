// `belay vet`: measures the node it runs on, or under srun all nodes and the network between them, and judges them.
//
// Alone it says what it found. Under srun every task measures its node, all measure the network, and the first one says
// what was found; with --judge it compares the nodes and keeps a history of verdicts. A campaign runs it with --out,
// which only leaves reports: its controller judges them (cluster/vetting/vet-nodes.ts). --prolog is for slurmd.
//
// Does not: judge; cluster/vetting does.
import { mkdirSync, rmSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { buildCommand } from '@stricli/core';
import { writeFileAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { errorText, readJson } from '../base/json.ts';
import { version } from '../base/version.ts';
import { appendHistory } from '../cluster/vetting/history.ts';
import { judge } from '../cluster/vetting/judge.ts';
import { type NodeReport, type Pass, reportFile, reportFormat } from '../cluster/vetting/measurements.ts';
import { type VetSettings, vetSettingsSchema } from '../cluster/vetting/settings.ts';
import { summaryRows } from '../cluster/vetting/summary.ts';
import { judgeAndRemember, type VetResult } from '../cluster/vetting/vet-nodes.ts';
import { connectGroup, type Group, LostPeer, soloGroup } from '../parallel/group.ts';
import { type RankPlace, ranksFromEnvironment } from '../parallel/local-group.ts';
import { measureAlone, nodeFacts, ownTimes } from './vet-local.ts';
import { measureNetwork } from './vet-network.ts';

/** Exit code of `--judge` and `--prolog` where a node is sick. */
const sickCode = 6;

interface Flags {
  readonly out?: string;
  readonly scratch: string;
  readonly settings?: string;
  readonly judge?: string;
  readonly pardon?: string;
  readonly prolog: boolean;
  readonly json: boolean;
}

/** Settings of a file, or the usual ones. */
export function loadVetSettings(path: string | undefined): VetSettings {
  const parsed = vetSettingsSchema.safeParse(path === undefined ? {} : readJson(path, 'settings of vetting'));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new UserError(`the settings of vetting ${path} are not valid`, {
    found: `${issue?.path.join('.') || 'the file'}: ${issue?.message}`,
    expected: 'the keys of docs/cluster.md',
  });
}

export interface ProbeOptions {
  /** Folder in which ranks meet. */
  readonly meeting: string;
  /** Whether each leaves its report there. */
  readonly leaveReports: boolean;
  /** Whether the first rank wants what all of them measured. */
  readonly gather: boolean;
  readonly scratch: string;
  readonly settings: VetSettings;
  readonly place: RankPlace | undefined;
}

/** Measures; under srun, with all other ranks. Returns what each node said, on the first rank, elsewhere its own. */
export async function probeNodes(options: ProbeOptions): Promise<NodeReport[]> {
  const { meeting, leaveReports, gather, scratch, settings, place } = options;
  const node = place?.host ?? process.env['SLURMD_NODENAME'] ?? hostname();
  const { rank, world } = place ?? { rank: 0, world: 1 };
  // Further tasks of a node would measure each other.
  const isFirstHere = (process.env['SLURM_LOCALID'] ?? '0') === '0';
  const report: NodeReport = {
    format: reportFormat,
    node,
    rank,
    world,
    time: new Date().toISOString(),
    facts: nodeFacts(),
    variables: wantedVariables(settings),
    passes: [],
  };
  mkdirSync(meeting, { recursive: true });
  // What is known so far lies there whatever comes: a node that hangs, and one that never began, are told apart.
  const save = (): void => {
    if (leaveReports) writeFileAtomic(reportFile(meeting, rank), `${JSON.stringify(report)}\n`);
  };
  save();
  let group: Group | undefined;
  let failure: string | undefined;
  let nodes: string[] = [];
  let all = [report];
  try {
    for (let index = 0; index < settings.passes; index++) {
      const before = ownTimes();
      const local = isFirstHere && (await measureAlone({ scratch, without: settings.without, quick: false }));
      const pass: Pass = { ...(local || { work: {}, failures: {} }), pairs: [], collectives: {} };
      report.passes.push(pass);
      const wait = (): void => {
        const after = ownTimes();
        if (before && after) pass.waited = shareOf(after.waited - before.waited, after.run - before.run);
      };
      wait();
      save();
      try {
        if (failure === undefined) {
          group ??= await connect(meeting, settings, place);
          if (nodes.length === 0)
            nodes = group.allGather(Buffer.from(node)).map((name) => Buffer.from(name).toString());
          group.barrier();
          const seed = place?.rendezvous ?? '';
          Object.assign(pass, measureNetwork(group, { nodes, seed, pass: index, without: settings.without }));
        }
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        failure = errorText(error).split('\n').slice(0, 2).join(':').replaceAll(/\s+/g, ' ');
        if (error instanceof LostPeer) report.lost = nodes[error.rank] ?? error.host;
      }
      for (const probe of ['latency', 'transfer', 'clock'] as const) {
        if (failure !== undefined && !settings.without.includes(probe)) pass.failures[probe] = failure;
      }
      wait();
    }
    save();
    if (group && gather && failure === undefined) all = gatherReports(group, report);
  } finally {
    group?.close();
  }
  return rank === 0 ? all : [report];
}

/** On the first rank the reports of all nodes, elsewhere its own: ten thousand of them are nothing for every rank to have. */
function gatherReports(group: Group, report: NodeReport): NodeReport[] {
  const tag = 4;
  const mine = Buffer.from(JSON.stringify(report));
  const lengths = group.allGather(new Uint8Array(Uint32Array.of(mine.length).buffer));
  if (group.rank > 0) {
    group.wait([group.send(0, tag, mine)]);
    return [report];
  }
  const seen = new Map([[report.node, report]]);
  for (let rank = 1; rank < group.world; rank++) {
    const [length = 0] = new Uint32Array((lengths[rank] as Uint8Array).slice().buffer);
    const theirs = Buffer.alloc(length);
    group.wait([group.receive(rank, tag, theirs)]);
    const one = JSON.parse(theirs.toString()) as NodeReport;
    // Of several ranks of a node the first one measured.
    if (!seen.has(one.node)) seen.set(one.node, one);
  }
  return [...seen.values()];
}

function shareOf(part: number, rest: number): number {
  return part + rest > 0 ? Math.min(1, part / (part + rest)) : 0;
}

/** Those that are asked for; the rest of the environment is nobody's business and may hold secrets. */
function wantedVariables({ expect }: VetSettings): Record<string, string> {
  return Object.fromEntries(
    Object.keys(expect.variables).flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

async function connect(meeting: string, settings: VetSettings, place: RankPlace | undefined): Promise<Group> {
  if (!place) return soloGroup();
  const { rank, world, rendezvous, host } = place;
  return await connectGroup({
    rank,
    world,
    transport: 'tcp',
    rendezvous: { file: join(meeting, `.vet-${rendezvous}.json`) },
    token: rendezvous,
    hello: { version },
    timeoutSeconds: settings.patienceSeconds,
    // The network is what is measured, also where processes could read each other's memory.
    sameHost: false,
    ...(host === undefined ? {} : { host }),
  });
}

/** The quick check of one node before a job: what needs no other node. Never sick for a fault of the check itself. */
export async function vetProlog(settings: VetSettings): Promise<{ readonly sick: boolean; readonly line: string }> {
  const node = process.env['SLURMD_NODENAME'] ?? hostname();
  try {
    const local = await measureAlone({ scratch: tmpdir(), without: settings.without, quick: true });
    const report: NodeReport = {
      format: reportFormat,
      node,
      rank: 0,
      world: 1,
      time: new Date().toISOString(),
      facts: nodeFacts(),
      variables: wantedVariables(settings),
      passes: [{ ...local, pairs: [], collectives: {} }],
    };
    const compared = ['gemm', 'memory', 'write', 'fsync', 'latency', 'transfer', 'clock'] as const;
    const quick = { ...settings, passes: 1, without: [...settings.without, ...compared] };
    const { verdicts, notes } = judge([node], [report], quick);
    const [verdict] = verdicts;
    const sick = verdict?.verdict === 'sick';
    const why = sick || notes.length === 0 ? verdict?.why : notes.join('; ');
    return { sick, line: `belay vet: ${node} is ${verdict?.verdict}: ${why}` };
  } catch (error) {
    return { sick: false, line: `belay vet: ${node} is unvalidated: ${errorText(error).replaceAll(/\s+/g, ' ')}` };
  }
}

/** What was measured, for people. */
export function vetText(reports: readonly NodeReport[]): string {
  return reports.map(reportText).join('\n');
}

function reportText(report: NodeReport): string {
  const { node, facts, passes } = report;
  const told = Object.entries(facts).map(([name, value]) => `${name} ${value}`);
  const lines = [`${node}: ${told.join(', ')}`];
  const rows = summaryRows([report]);
  passes.forEach((pass, index) => {
    lines.push(`  pass ${index + 1}${'min'.padStart(28)}${'mean'.padStart(10)}${'std'.padStart(10)}  milliseconds`);
    for (const row of rows.filter((one) => one.pass === index)) {
      const { probe, peer = '', min, mean, std, count, best, unit, modes } = row;
      const numbers = [min, mean, std].map((value) => value.toFixed(2).padStart(10)).join('');
      const means = best === undefined ? '' : `, ${best.toPrecision(3)} ${unit} at best`;
      const two = modes === null ? '' : `, two modes: ${modes.low.toFixed(2)} and ${modes.high.toFixed(2)}`;
      lines.push(`    ${`${probe} ${peer}`.padEnd(24)}${numbers}  of ${count}${means}${two}`);
    }
    if (pass.load) lines.push(`    others want ${pass.load.cores.toFixed(2)} cores, most of all ${pass.load.most}`);
    if (pass.clock) {
      const { offsetMilliseconds, within } = pass.clock;
      lines.push(`    clock ${offsetMilliseconds.toFixed(1)} ms from the first node's, within ${within.toFixed(1)} ms`);
    }
    for (const [probe, why] of Object.entries(pass.failures)) lines.push(`    ${probe} failed: ${why}`);
  });
  return `${lines.join('\n')}\n`;
}

/** Verdicts, for people; the last lines are those that scripts may look for. */
export function verdictText({ verdicts, notes, excluded, refused }: Omit<VetResult, 'measurements'>): string {
  const lines = notes.map((note) => `note: ${note}`);
  for (const { node, verdict, why, by } of verdicts) {
    lines.push(`${verdict.padEnd(11)} ${node}  ${why}${by === 'history' ? ' (from its history)' : ''}`);
  }
  lines.push(refused === undefined ? `exclude: ${excluded.join(',') || 'nobody'}` : `refused: ${refused}`);
  return `${lines.join('\n')}\n`;
}

function pardon(node: string, history: string): void {
  const why = 'pardoned by hand';
  appendHistory(history, [{ time: new Date().toISOString(), node, verdict: 'pardoned', why, suspicions: [] }]);
  process.stdout.write(`${node}: what ${history} says of it until now counts no more\n`);
}

export const command = buildCommand<Flags>({
  docs: {
    brief: 'Measure and judge the nodes of a job',
    fullDescription: `Measures this node; under srun, with one task on each node, all nodes and the network between them. --judge
compares the nodes and keeps a history of verdicts: exit code 6 where a node stands convicted, and the last line says whom
to exclude. --prolog does what takes half a second, for slurmd: exit code 6 and one line where this node is sick.

EXAMPLE
  belay vet
  srun --nodes=4 --ntasks-per-node=1 belay vet --judge nodes.jsonl
  belay vet --pardon nid006539 --judge nodes.jsonl`,
  },
  parameters: {
    flags: {
      out: { kind: 'parsed', parse: String, brief: 'leave a report per task in this folder', optional: true },
      scratch: { kind: 'parsed', parse: String, brief: 'folder on the disk to measure', default: tmpdir() },
      settings: { kind: 'parsed', parse: String, brief: 'JSON file: what is asked for', optional: true },
      judge: { kind: 'parsed', parse: String, brief: 'judge, with this file as history', optional: true },
      pardon: { kind: 'parsed', parse: String, brief: 'forget what --judge remembers of a node', optional: true },
      prolog: { kind: 'boolean', brief: 'a quick check, as a prolog of slurmd', default: false },
      json: { kind: 'boolean', brief: 'one JSON object', default: false },
    },
  },
  async func(flags) {
    if (flags.prolog) {
      const { sick, line } = await vetPrologOf(flags.settings);
      process.stdout.write(`${line}\n`);
      process.exitCode = sick ? sickCode : 0;
      return;
    }
    if (flags.pardon !== undefined) {
      if (flags.judge === undefined) {
        throw new UserError('--pardon needs the history it is written to', { next: 'add --judge nodes.jsonl' });
      }
      pardon(flags.pardon, flags.judge);
      return;
    }
    const settings = loadVetSettings(flags.settings);
    const place = ranksFromEnvironment(process.env);
    // A campaign reads the reports.
    const gather = flags.out === undefined || flags.json || flags.judge !== undefined;
    // Without --out ranks still have to meet somewhere.
    const meeting = resolve(flags.out ?? `.belay-vet-${place?.rendezvous ?? process.pid}`);
    try {
      const measurements = await probeNodes({
        meeting,
        leaveReports: flags.out !== undefined,
        gather,
        scratch: flags.scratch,
        settings,
        place,
      });
      if ((place?.rank ?? 0) > 0 || !gather) return;
      report(measurements, settings, flags);
    } finally {
      if (flags.out === undefined && (place?.rank ?? 0) === 0) rmSync(meeting, { recursive: true, force: true });
    }
  },
});

/** Settings that are not valid say nothing about the node either. */
async function vetPrologOf(path: string | undefined): Promise<{ readonly sick: boolean; readonly line: string }> {
  try {
    return await vetProlog(loadVetSettings(path));
  } catch (error) {
    return { sick: false, line: `belay vet: nothing was checked: ${errorText(error).replaceAll(/\s+/g, ' ')}` };
  }
}

function report(measurements: readonly NodeReport[], settings: VetSettings, { judge: history, json }: Flags): void {
  const nodes = measurements.map(({ node }) => node);
  const judged = history === undefined ? undefined : judgeAndRemember(nodes, measurements, settings, history);
  if (json)
    process.stdout.write(`${JSON.stringify({ ...judged, summary: summaryRows(measurements), measurements })}\n`);
  else process.stdout.write(judged ? verdictText(judged) : vetText(measurements));
  if (judged?.verdicts.some(({ verdict }) => verdict === 'sick')) process.exitCode = sickCode;
}
