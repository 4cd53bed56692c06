// Vetting as a campaign does it: one task of the probe on each node, judged, remembered, and who is to be left out.
//
// The tasks leave their reports in a folder that all nodes share. What they have left counts, also where the step failed:
// a node that kept it from ending is the one without a report.
//
// Does not: measure (the probe is a verb: commands/vet.ts), or change an allocation.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { writeJsonAtomic } from '../../base/atomic.ts';
import { type Exclusion, exclude } from './exclusion.ts';
import { appendHistory, entriesOf, readHistory, standings } from './history.ts';
import { judge, type NodeVerdict } from './judge.ts';
import { type NodeReport, readReports } from './measurements.ts';
import { type VetSettings, type VetSettingsInput, vetSettingsSchema } from './settings.ts';

export interface VetNodesOptions {
  /**
   * Starts one task on each node, e.g. srun --overlap --nodes=4 --ntasks-per-node=1 --wait=30. Without --wait a task that
   * hangs costs the whole patience.
   */
  readonly srun: readonly string[];
  /** How belay is started on a node. */
  readonly belay: readonly string[];
  readonly nodes: readonly string[];
  /** The history, a file of JSON lines; judgements are appended. */
  readonly history: string;
  /** Folder for reports, on a file system that all nodes share; made anew. */
  readonly out: string;
  readonly settings?: VetSettingsInput;
  /** Of the campaign, for the history. */
  readonly link?: string;
  readonly signal?: AbortSignal;
}

/** A node's verdict, the history included. */
export interface StandingVerdict extends NodeVerdict {
  /** Whether this judgement convicted, or what is remembered. */
  readonly by: 'measurement' | 'history';
}

export interface VetResult extends Exclusion {
  readonly verdicts: readonly StandingVerdict[];
  /** What is to be told of all nodes together. */
  readonly notes: readonly string[];
  readonly measurements: readonly NodeReport[];
}

/** Runs the probe on all nodes and judges them. Rejects only where no process can be started at all, or on abort. */
export async function vetNodes(options: VetNodesOptions): Promise<VetResult> {
  const settings = vetSettingsSchema.parse(options.settings ?? {});
  const out = resolve(options.out);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const settingsFile = join(out, 'settings.json');
  writeJsonAtomic(settingsFile, settings);
  const [file, ...args] = [...options.srun, ...options.belay, 'vet', '--out', out, '--settings', settingsFile];
  const end = await runToEnd(file as string, args, patience(settings), options.signal);
  const { reports, bad } = readReports(out);
  const judged = judgeAndRemember(options.nodes, reports, settings, options.history, options.link);
  const failed = end === undefined ? [] : [`the probe ended badly: ${end}`];
  return { ...judged, notes: [...failed, ...bad, ...judged.notes], measurements: reports };
}

/** Judges reports, appends the verdicts to the history, and says how the nodes stand by all of it. */
export function judgeAndRemember(
  nodes: readonly string[],
  reports: readonly NodeReport[],
  settings: VetSettings,
  history: string,
  link?: string,
): Omit<VetResult, 'measurements'> {
  const now = new Date();
  const { verdicts, notes } = judge(nodes, reports, settings);
  appendHistory(history, entriesOf(verdicts, reports, now, link));
  const { entries, bad } = readHistory(history);
  const standing = standings(entries, now, settings.memory);
  const convicted = new Map<string, string>();
  const final = verdicts.map((verdict): StandingVerdict => {
    const why = standing(verdict.node);
    if (why === undefined) return { ...verdict, by: 'measurement' };
    const measured = verdict.verdict === 'sick';
    convicted.set(verdict.node, measured ? verdict.why : why);
    return measured ? { ...verdict, by: 'measurement' } : { ...verdict, verdict: 'sick', why, by: 'history' };
  });
  return {
    verdicts: final,
    notes: bad > 0 ? [...notes, `${bad} lines of ${history} are no judgements`] : notes,
    ...exclude(nodes, convicted, settings.cap),
  };
}

/** How long the whole may take: nodes wait for each other, then measure. */
function patience({ patienceSeconds, passes }: VetSettings): number {
  return 1000 * (2 * patienceSeconds + 60 * passes);
}

/** Why a command failed, in its own words; undefined where it did not. */
async function runToEnd(
  file: string,
  args: readonly string[],
  milliseconds: number,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  signal?.throwIfAborted();
  const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (said = (said + text).slice(0, 4096)));
  const stop = (): void => endChild(child);
  const timer = setTimeout(stop, milliseconds);
  signal?.addEventListener('abort', stop);
  try {
    const end = await new Promise<string | undefined>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, by) => resolve(code === 0 ? undefined : (by ?? `exit code ${code}`)));
    });
    signal?.throwIfAborted();
    if (end === undefined) return undefined;
    const lines = said.trim().split('\n');
    // That a task ended, and how, srun says of each; why comes from the task, before that or after.
    const line = lines.find((one) => !/: tasks? [\d,-]+: /.test(one)) ?? lines[0] ?? '';
    return line === '' ? end : `${end}, ${line}`;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}

/** As srun wants it: the first signal ends the tasks; one that is deaf is killed. */
function endChild(child: ChildProcess): void {
  child.kill('SIGTERM');
  setTimeout(() => child.kill('SIGKILL'), 5000).unref();
}
