// Who is to blame for the end of a training: the workload, the infrastructure, or nobody can say.
//
// The causes are looked for in the order in which one explains another: a node that died explains lost peers, and an
// exception on one rank explains that the others lost it. What a rank wrote last counts for more than how it exited,
// since srun tells one exit for all. Signals alone prove little: a segfault may be a bug or bad memory, so its domain is the
// workload's only where nothing else speaks; recurrence decides (restart-policy.ts).
//
// Does not: decide what follows.
import { exitCodes } from '../base/errors.ts';
import type { Outcome } from './scheduler.ts';
import type { Verdict } from './history-files.ts';

/** What is known of an end. */
export interface Evidence {
  /** srun's exit code and signal. */
  readonly exit: number | null;
  readonly signal: string | null;
  /** What the ranks and srun wrote, the end of it. */
  readonly log: string;
  /** Names of the trainer's events since the start. */
  readonly events?: readonly string[];
  /** How the scheduler says that the job ended, where it did. */
  readonly outcome?: Outcome;
  /** Nodes of the start that the scheduler calls down, or that do not answer. */
  readonly deadNodes?: readonly string[];
  /** A hang that the watcher reported: who, and where. */
  readonly hang?: { readonly node?: string; readonly line: string };
  /** What the clock says of a job that was ended from outside, before the scheduler says it: for where no line tells. */
  readonly ending?: 'time-limit' | 'cancelled';
}

type Finder = (evidence: Evidence, lines: readonly string[]) => Verdict | undefined;

/** The verdict on an end that is not a success. */
export function attribute(evidence: Evidence): Verdict {
  const lines = evidence.log.split('\n').map(unlabelled);
  for (const find of finders) {
    const found = find(evidence, lines);
    if (found) return found;
  }
  const line = lines.findLast((each) => each.trim() !== '')?.trim();
  return { domain: 'unknown', cause: causeOf(evidence), ...(line === undefined ? {} : { line: shorten(line) }) };
}

/** srun --label puts the task's number before each line. What follows in a line of kilobytes names no cause. */
const unlabelled = (line: string): string => line.slice(0, 2000).replace(/^\s*\d+: /, '');
const shorten = (line: string): string => (line.length > 300 ? `${line.slice(0, 299)}…` : line);

function causeOf({ exit, signal, outcome }: Evidence): string {
  if (signal !== null) return `signal ${signal}`;
  if (exit === null) return outcome ?? 'unknown';
  if (exit === 137) return 'killed';
  if (exit === exitCodes.paused) return 'signal SIGTERM';
  return exit !== null && exit > 128 ? `signal ${exit - 128}` : `exit code ${exit}`;
}

function verdictOf(domain: Verdict['domain'], cause: string, line?: string, node?: string): Verdict {
  return {
    ...{ domain, cause },
    ...(line === undefined ? {} : { line: shorten(line.trim()) }),
    ...(node === undefined ? {} : { node }),
  };
}

/** The first line that matches, as a verdict. */
function byLine(pattern: RegExp, domain: Verdict['domain'], cause: string): Finder {
  return (_, lines) => {
    for (const line of lines) {
      const match = pattern.exec(line);
      if (match) return verdictOf(domain, cause, line, match.groups?.['node']);
    }
    return undefined;
  };
}

const cancelled = /\b(?:JOB|STEP) [\d.]+ ON \S+ CANCELLED\b/;

const finders: readonly Finder[] = [
  ({ outcome }) => (outcome === 'cancelled' ? verdictOf('unknown', 'cancelled') : undefined),
  ({ outcome }) => (outcome === 'preempted' ? verdictOf('infrastructure', 'preempted') : undefined),
  ({ outcome }) => (outcome === 'boot-failure' ? verdictOf('infrastructure', 'boot-failure') : undefined),
  // What a rank says of itself.
  byLine(/\b(?:no space left on device|disk quota exceeded|ENOSPC|EDQUOT)\b/i, 'infrastructure', 'disk-full'),
  byLine(
    // With spaces only: a folder may be called out-of-memory.
    /\b(?:out of memory(?!\?)|oom[-_ ]kill event|Detected \d+ oom|JavaScript heap out of memory|CUDA out of memory|std::bad_alloc|Cannot allocate memory)\b/i,
    'workload',
    'out-of-memory',
  ),
  ({ outcome }) => (outcome === 'out-of-memory' ? verdictOf('workload', 'out-of-memory') : undefined),
  // The ranks that did start are killed for it, and may complain first.
  byLine(/\bTask launch for \S+ failed on node (?<node>[\w.-]+)/, 'infrastructure', 'node-failure'),
  notFinite,
  exception,
  mistake,
  // What others say of a rank that is gone.
  ({ deadNodes = [] }) => {
    const [node] = deadNodes;
    return node === undefined ? undefined : verdictOf('infrastructure', 'node-failure', undefined, node);
  },
  byLine(/\bnode failure\b.*?\b(?:on )?(?<node>[a-z][\w.-]*\d)\b/i, 'infrastructure', 'node-failure'),
  byLine(
    /\b(?:NCCL (?:WARN|error)|uncorrectable ECC|Xid \d+|CUDA error: (?:uncorrectable|hardware))/i,
    'infrastructure',
    'device',
  ),
  ({ outcome }) => (outcome === 'node-failure' ? verdictOf('infrastructure', 'node-failure') : undefined),
  segfault,
  ({ hang }) =>
    hang ? verdictOf(hang.node === undefined ? 'unknown' : 'infrastructure', 'hang', hang.line, hang.node) : undefined,
  // The end of the whole job explains ranks that were killed or lost with it.
  ({ outcome }) => (outcome === 'time-limit' ? verdictOf('infrastructure', 'time-limit') : undefined),
  byLine(/\bDUE TO TIME LIMIT\b/, 'infrastructure', 'time-limit'),
  byLine(/\bDUE TO PREEMPTION\b/, 'infrastructure', 'preempted'),
  ({ ending }, lines) => {
    if (ending === undefined) return undefined;
    const line = lines.find((each) => cancelled.test(each));
    return verdictOf(ending === 'time-limit' ? 'infrastructure' : 'unknown', ending, line);
  },
  // Somebody killed a rank: that is why the others lost it.
  byLine(/\btasks? [\d,-]+: Killed\b/, 'unknown', 'killed'),
  lostPeer,
  byLine(cancelled, 'unknown', 'cancelled'),
];

function notFinite({ events = [] }: Evidence, lines: readonly string[]): Verdict | undefined {
  const line = lines.find((each) =>
    /\b(?:loss|gradient|grad norm)\b.*\b(?:NaN|infinite|not finite|non-finite)\b/i.test(each),
  );
  if (!events.includes('gave-up')) return line === undefined ? undefined : verdictOf('workload', 'not-finite', line);
  const stopped = lines.find((each) => /\btraining stopped at step \d+\b/.test(each)) ?? line;
  // The guard gives up on jumps as well, of numbers that are all finite.
  const isJump = stopped !== undefined && !/not finite/.test(stopped);
  return verdictOf('workload', isJump ? 'loss-spike' : 'not-finite', stopped ?? 'the guard gave up on the loss');
}

/** What libraries say of a peer that is gone. */
const lostWords =
  /\b(?:DistBackendError|ProcessGroup|NCCL|Gloo|Connection (?:closed|reset|refused|timed out)|Broken pipe|EPIPE|ECONNRESET|socket|store->get|TCPStore|heartbeat)\b/i;

/**
 * An error with a stack: the line that names it, and where it was thrown if the program says. Where a node is dead, errors of
 * those that lost it are none.
 */
function exception({ deadNodes = [] }: Evidence, all: readonly string[]): Verdict | undefined {
  const lines =
    deadNodes.length === 0 ? all : all.map((line) => (lostWords.test(line) && !/^\s/.test(line) ? '' : line));
  // Python tells the error last, behind the stack.
  const traceback = lines.findIndex((line) => /^Traceback \(most recent call last\):/.test(line));
  if (traceback >= 0) {
    const error = lines
      .slice(traceback + 1)
      .find((line) => /^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b/.test(line));
    if (error !== undefined) return verdictOf('workload', 'exception', error);
  }
  // Ours, and Node's: the message, then the stack.
  for (const [i, line] of lines.entries()) {
    const next = lines[i + 1] ?? '';
    const isMessage = /^(?:Uncaught )?[A-Z][A-Za-z]*(?:Error)?(?: \[\w+\])?: |^Error\b/.test(line);
    if (isMessage && /^\s+at .*:\d+/.test(next))
      return verdictOf('workload', 'exception', `${line.trim()} ${next.trim()}`);
    if (/^(?:terminate called|.*: Assertion .* failed\.)/.test(line)) return verdictOf('workload', 'exception', line);
  }
  return undefined;
}

/** Two lines of belay's own words for a mistake (base/errors.ts), unless they tell of another rank. */
function mistake({ exit }: Evidence, lines: readonly string[]): Verdict | undefined {
  const line = lines.find((each) => /^belay: /.test(each));
  if (exit !== 2 || line === undefined || /\bwas lost\b|has taken over\b/.test(line)) return undefined;
  return verdictOf('workload', 'mistake', line);
}

const crashes: Readonly<Record<number, string>> = {
  4: 'SIGILL',
  6: 'SIGABRT',
  7: 'SIGBUS',
  8: 'SIGFPE',
  11: 'SIGSEGV',
};

function segfault({ exit, signal }: Evidence, lines: readonly string[]): Verdict | undefined {
  const line = lines.find((each) => /\b(?:Segmentation fault|Bus error|Illegal instruction)\b/.test(each));
  const number = exit !== null && exit > 128 ? exit - 128 : undefined;
  const name = signal ?? (number === undefined ? undefined : crashes[number]);
  if (line === undefined && (name === undefined || !Object.values(crashes).includes(name))) return undefined;
  return verdictOf('workload', 'segfault', line ?? `a rank was ended by ${name}`);
}

/** Ranks that are gone without a word: their node, or the way to it. */
function lostPeer(_: Evidence, lines: readonly string[]): Verdict | undefined {
  const line = lines.find((each) => /\brank \d+(?: on \S+)? was lost\b/.test(each));
  if (line === undefined) return undefined;
  const [, node] = /\brank \d+ on (\S+) was lost\b/.exec(line) ?? [];
  return verdictOf('infrastructure', 'lost-peer', line, node);
}
