// What Slurm says, read: lists of nodes, JSON of squeue and slurmrestd, lines of scontrol, sacct and the file of completed jobs.
//
// Slurm renames with every release. Up to 23.02 a state is a word and a number a number; from 23.11 on states are lists of
// words and numbers are {set, infinite, number}. Both are read, and what is missing or of another type is taken as not
// said, except for what a job or node cannot be without: id and state. What cannot be read is a SchedulerError
// `malformed`. JSON that tells of errors is one too, because squeue 22.05 succeeds with an empty list when its controller is
// away: nobody must take jobs for gone by that.
//
// Does not: run commands or ask servers; slurm-cli.ts and slurmrestd.ts do.
import type { ClusterNode, HistoryFilter, Job, JobFilter, JobState, NodeState, Outcome } from '../scheduler.ts';
import { SchedulerError } from '../scheduler.ts';

/** Above what any cluster has: a broken range must not fill the memory. */
const mostNodes = 1_000_000;

type Fields = Readonly<Record<string, unknown>>;

function malformed(what: string, text: unknown): SchedulerError {
  const shown = typeof text === 'string' ? text : (JSON.stringify(text) ?? `${text}`);
  return new SchedulerError('malformed', `${what}: ${shown.length > 200 ? `${shown.slice(0, 200)}...` : shown}`);
}

/** `nid[000001-000003,7],login1` as single names; none for what Slurm writes where there are no nodes. */
export function expandNodes(list: string): string[] {
  if (['', '(null)', 'None', 'None assigned', 'N/A'].includes(list)) return [];
  const nodes: string[] = [];
  let at = 0;
  while (at <= list.length) {
    // One item: names and brackets, each bracket multiplying what stands so far.
    let names = [''];
    let from = at;
    while (at < list.length && list[at] !== ',') {
      if (list[at] !== '[') {
        at++;
        continue;
      }
      const close = list.indexOf(']', at);
      if (close < 0) throw malformed('a list of nodes whose bracket is not closed', list);
      const before = list.slice(from, at);
      const numbers = expandNumbers(list.slice(at + 1, close), list);
      if (names.length * numbers.length > mostNodes) throw malformed('a list of too many nodes', list);
      names = names.flatMap((name) => numbers.map((number) => name + before + number));
      at = close + 1;
      from = at;
    }
    const rest = list.slice(from, at);
    if (names.length === 1 && names[0] === '' && rest === '') throw malformed('an empty name in a list of nodes', list);
    if (nodes.length + names.length > mostNodes) throw malformed('a list of too many nodes', list);
    for (const name of names) nodes.push(name + rest);
    at++;
  }
  return nodes;
}

/** `000001-000003,7` as numbers with their leading zeros. */
function expandNumbers(text: string, list: string): string[] {
  return text.split(',').flatMap((part) => {
    const [, first, last] = /^(\d{1,15})(?:-(\d{1,15}))?$/.exec(part) ?? [];
    if (first === undefined) throw malformed('a range of nodes that is none', list);
    if (last === undefined) return [first];
    const from = Number(first);
    const count = Number(last) - from + 1;
    if (count < 1 || count > mostNodes) throw malformed('a range of nodes that is none', list);
    return Array.from({ length: count }, (_, i) => `${from + i}`.padStart(first.length, '0'));
  });
}

/** The id that `sbatch --parsable` says: `12` or, with several clusters, `12;alps`. */
export function parseSubmitted(text: string): string {
  const [, id] = /^(\d+)(;[^\n]*)?$/.exec(text.trim()) ?? [];
  if (id === undefined) throw malformed('sbatch answered something else than the id of a job', text);
  return id;
}

const outcomes: Readonly<Record<string, Outcome>> = {
  COMPLETED: 'completed',
  FAILED: 'failed',
  LAUNCH_FAILED: 'failed',
  CANCELLED: 'cancelled',
  REVOKED: 'cancelled',
  TIMEOUT: 'time-limit',
  DEADLINE: 'time-limit',
  NODE_FAIL: 'node-failure',
  OUT_OF_MEMORY: 'out-of-memory',
  PREEMPTED: 'preempted',
  BOOT_FAIL: 'boot-failure',
};
const waiting = ['PENDING', 'REQUEUED', 'REQUEUE_HOLD', 'REQUEUE_FED', 'SPECIAL_EXIT'];

/** State and outcome of Slurm's words. Only a word for an end is an end: one that is not known counts as running. */
export function jobStateOf(words: readonly string[]): { readonly state: JobState; readonly outcome?: Outcome } {
  if (words.includes('COMPLETING') || words.includes('STAGE_OUT')) return { state: 'running' };
  if (words.some((word) => waiting.includes(word))) return { state: 'pending' };
  if (words.includes('SUSPENDED') || words.includes('STOPPED')) return { state: 'suspended' };
  const end = words.find((word) => Object.hasOwn(outcomes, word));
  return end === undefined ? { state: 'running' } : { state: 'ended', outcome: outcomes[end] as Outcome };
}

/** Jobs in the answer of `squeue --json` or of slurmrestd. */
export function parseJobs(text: string): Job[] {
  return listIn(text, 'jobs').map((item): Job => {
    const fields = fieldsOf(item, 'a job');
    const number = numberOf(fields['job_id']);
    const words = wordsOf(fields['job_state']);
    if (number === undefined || !Number.isSafeInteger(number)) throw malformed('a job without an id', item);
    if (words.length === 0) throw malformed('a job without a state', item);
    const { state, outcome } = jobStateOf(words);
    const nodes = textOf(fields['nodes']);
    const isOver = state === 'ended';
    const exit = isOver ? exitOf(fields['exit_code']) : undefined;
    const [began, end] = [timeOf(fields['start_time']), timeOf(fields['end_time'])];
    return definedJob({
      id: idOf(number, fields),
      name: textOf(fields['name']),
      user: textOf(fields['user_name']),
      state,
      outcome,
      raw: words.join('+'),
      reason: reasonOf(textOf(fields['state_reason'])),
      nodes: expandNodes(nodes),
      submitted: timeOf(fields['submit_time']),
      // Of a pending job it is a guess of the scheduler.
      began: state === 'pending' ? undefined : began,
      ends: state === 'running' || state === 'suspended' ? end : undefined,
      ended: isOver ? end : undefined,
      exitCode: exit?.code,
      signal: exit?.signal,
      comment: textOf(fields['comment']) || undefined,
      restarts: numberOf(fields['restart_cnt']),
    });
  });
}

/** `12`, `12_3` for the element of an array, `12_[4-9%2]` for those that wait together. */
function idOf(number: number, fields: Fields): string {
  const array = numberOf(fields['array_job_id']);
  if (array === undefined || array === 0) return `${number}`;
  const element = numberOf(fields['array_task_id']);
  const waiting = textOf(fields['array_task_string']);
  if (waiting !== '') return `${array}_[${waiting}]`;
  return element === undefined ? `${number}` : `${array}_${element}`;
}

/** Nodes in the answer of slurmrestd or of `scontrol show nodes --json`. */
export function parseNodesJson(text: string): ClusterNode[] {
  return listIn(text, 'nodes').map((item): ClusterNode => {
    const fields = fieldsOf(item, 'a node');
    const name = textOf(fields['name']);
    const words = [...wordsOf(fields['state']), ...wordsOf(fields['state_flags'])];
    if (name === '') throw malformed('a node without a name', item);
    if (words.length === 0) throw malformed('a node without a state', item);
    return {
      name,
      state: nodeStateOf(words),
      raw: words.join('+'),
      reason: textOf(fields['reason']),
      cpus: numberOf(fields['cpus']) ?? 0,
      memoryBytes: (numberOf(fields['real_memory']) ?? 0) * 2 ** 20,
      features: namesOf(fields['features']),
      gres: textOf(fields['gres']),
      partitions: namesOf(fields['partitions']),
    };
  });
}

/** Nodes in the lines of `scontrol show -o node`. */
export function parseNodeLines(text: string): ClusterNode[] {
  return linesOf(text).map((line): ClusterNode => {
    const fields = lineFields(line);
    const name = said(fields.get('NodeName'));
    const raw = said(fields.get('State'));
    if (name === '' || raw === '') throw malformed('a line of scontrol without the name or state of a node', line);
    // scontrol adds who wrote it, and when.
    const reason = said(fields.get('Reason')).replace(/ \[[^\]]*\]$/, '');
    return {
      name,
      state: nodeStateOf(wordsOf(raw.split('+'))),
      raw,
      reason,
      cpus: numberOf(fields.get('CPUTot')) ?? 0,
      memoryBytes: (numberOf(fields.get('RealMemory')) ?? 0) * 2 ** 20,
      features: namesOf(said(fields.get('AvailableFeatures'))),
      gres: said(fields.get('Gres')),
      partitions: namesOf(said(fields.get('Partitions'))),
    };
  });
}

/** State of a node from Slurm's words, with or without the signs that sinfo hangs on them. */
export function nodeStateOf(words: readonly string[]): NodeState {
  const all = words.map((word) => word.toUpperCase());
  const plain = all.map((word) => word.replace(/[*~#!%$@^+-]+$/, ''));
  const has = (...some: string[]): boolean => some.some((word) => plain.includes(word));
  const isSilent = has('NOT_RESPONDING') || all.some((word) => word.includes('*'));
  const isBusy = has('ALLOCATED', 'ALLOC', 'MIXED', 'MIX', 'COMPLETING', 'COMP', 'DRAINING', 'FAILING');
  if (has('DOWN', 'ERROR', 'OFFLINE')) return 'down';
  if (has('DRAIN', 'DRAINED', 'DRAINING', 'FAIL', 'FAILING')) return isBusy ? 'draining' : 'drained';
  if (has('ALLOCATED', 'ALLOC', 'COMPLETING', 'COMP')) return 'allocated';
  if (has('MIXED', 'MIX')) return 'mixed';
  // Slurm gives no job to a node that is silent, although it does not call it down yet.
  if (has('IDLE') && isSilent) return 'down';
  if (has('RESERVED', 'RESV', 'MAINT', 'BLOCKED')) return 'reserved';
  return has('IDLE', 'PLANNED') ? 'idle' : 'unknown';
}

/** Fields that are asked of sacct, in the order in which `parseAccounts` takes them. */
export const accountFields = [
  'JobID',
  'JobName',
  'User',
  'State',
  'ExitCode',
  'Submit',
  'Start',
  'End',
  'NodeList',
  'Reason',
  'Comment',
  'ConsumedEnergyRaw',
] as const;
/** Stands between them: a name may hold any sign that can be typed. */
export const accountDelimiter = '\u001f';

/** Jobs in what sacct says when asked for `accountFields`, parted by `accountDelimiter`, without a headline and without steps. */
export function parseAccounts(text: string): Job[] {
  return linesOf(text).map((line): Job => {
    const parts = line.split(accountDelimiter);
    if (parts.length !== accountFields.length)
      throw malformed('a line of sacct with other fields than asked for', line);
    const field = (name: (typeof accountFields)[number]): string => parts[accountFields.indexOf(name)] as string;
    const id = field('JobID');
    // `CANCELLED by 1000`
    const words = wordsOf(field('State').split(' ')[0]);
    if (!/^\d+/.test(id)) throw malformed('a line of sacct without the id of a job', line);
    if (words.length === 0) throw malformed('a line of sacct without a state', line);
    const { state, outcome } = jobStateOf(words);
    const isOver = state === 'ended';
    const nodes = expandNodes(field('NodeList'));
    return definedJob({
      id,
      name: field('JobName'),
      user: field('User'),
      state,
      outcome,
      raw: field('State'),
      reason: reasonOf(field('Reason')),
      nodes,
      submitted: momentOf(field('Submit')),
      began: startOf(nodes, field('Start')),
      ended: isOver ? momentOf(field('End')) : undefined,
      ...(isOver ? exitPair(field('ExitCode')) : {}),
      comment: field('Comment') || undefined,
      energyJoules: isOver ? joulesOf(field('ConsumedEnergyRaw')) : undefined,
    });
  });
}

/** Jobs in the file that Slurm's plugin jobcomp/filetxt writes: the whole past where no accounts are kept. */
export function parseCompletions(text: string): Job[] {
  return linesOf(text).map((line): Job => {
    const fields = lineFields(line);
    const id = said(fields.get('JobId'));
    const words = wordsOf(said(fields.get('JobState')));
    if (!/^\d+$/.test(id) || words.length === 0) throw malformed('a line of completed jobs without id or state', line);
    const { outcome = 'unknown' } = jobStateOf(words);
    const array = said(fields.get('ArrayJobId'));
    const nodes = expandNodes(said(fields.get('NodeList')));
    return definedJob({
      id: array === '' ? id : `${array}_${said(fields.get('ArrayTaskId'))}`,
      name: said(fields.get('Name')),
      user: said(fields.get('UserId')).replace(/\(\d+\)$/, ''),
      state: 'ended',
      outcome,
      raw: words.join('+'),
      reason: '',
      nodes,
      submitted: momentOf(said(fields.get('SubmitTime'))),
      began: startOf(nodes, said(fields.get('StartTime'))),
      ended: momentOf(said(fields.get('EndTime'))),
      ...exitPair(said(fields.get('ExitCode'))),
    });
  });
}

/** Whether a job is among those that were asked for. An array's id stands for all its elements. */
export function isAsked(job: Job, { ids, name, user, since }: JobFilter & HistoryFilter): boolean {
  if (ids !== undefined && !ids.some((id) => job.id === id || job.id.startsWith(`${id}_`))) return false;
  if (name !== undefined && job.name !== name) return false;
  if (user !== undefined && job.user !== user) return false;
  return since === undefined || (job.ended ?? 0) >= since;
}

/** The wait status of a batch script, or its parts, in any of the forms that Slurm has had. */
function exitOf(value: unknown): { readonly code?: number; readonly signal?: number } | undefined {
  if (value === null || typeof value !== 'object') {
    const status = numberOf(value);
    if (status === undefined) return undefined;
    return { code: (status >> 8) & 255, signal: status & 127 };
  }
  const fields = value as Fields;
  if ('number' in fields && !('return_code' in fields)) return exitOf(numberOf(value));
  const code = numberOf(fields['return_code']);
  const signals = fields['signal'] !== null && typeof fields['signal'] === 'object' ? (fields['signal'] as Fields) : {};
  const signal = numberOf(signals['id']) ?? numberOf(signals['signal_id']);
  return { ...(code === undefined ? {} : { code }), ...(signal === undefined ? {} : { signal }) };
}

/** `3:0` of sacct: exit code and signal. */
function exitPair(text: string): { readonly exitCode?: number; readonly signal?: number } {
  const [, code, signal] = /^(\d{1,9}):(\d{1,9})$/.exec(text) ?? [];
  return code === undefined ? {} : { exitCode: Number(code), signal: Number(signal) };
}

/** A job without the fields that were not said; a signal of 0 is none. */
export function definedJob(job: { readonly [K in keyof Job]: Job[K] | undefined }): Job {
  const entries = Object.entries(job).filter(
    ([key, value]) => value !== undefined && !(key === 'signal' && value === 0),
  );
  return Object.fromEntries(entries) as unknown as Job;
}

function listIn(text: string, key: string): readonly unknown[] {
  const answer = answerOf(text);
  const list = answer[key];
  const { number, error } = errorOf(answer) ?? {};
  if (number === invalidJob) return [];
  if (error) throw error;
  if (!Array.isArray(list)) throw malformed(`an answer without a list of ${key}`, text);
  return list;
}

/** The error that an answer in JSON tells of, if any. */
export function errorIn(text: string): SchedulerError | undefined {
  return errorOf(answerOf(text))?.error;
}

/** A number that an answer in JSON holds. */
export function numberIn(text: string, key: string): number | undefined {
  return numberOf(answerOf(text)[key]);
}

function answerOf(text: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed('an answer that is not JSON', text);
  }
  return fieldsOf(value, 'an answer');
}

/** ESLURM_INVALID_JOB_ID */
const invalidJob = 2017;
/** ESLURM_REST_FAIL_PARSING */
const unparsed = 9001;

/** What the `errors` of an answer say. */
function errorOf({ errors }: Fields): { readonly number: number; readonly error: SchedulerError } | undefined {
  if (!Array.isArray(errors) || errors.length === 0) return undefined;
  const all = errors.map((one) => fieldsOf(one, 'an error'));
  const numbers = all.map((fields) => numberOf(fields['error_number']) ?? numberOf(fields['error_code']) ?? -1);
  const number = numbers[0] as number;
  const texts = all.flatMap((fields) => ['source', 'description', 'error'].map((key) => textOf(fields[key])));
  const message = `${texts.filter((text) => text !== '').join(': ')} (${number})`;
  // -1 is whatever happened on the way; from 1000 on those of communication and from 5000 on those of sockets.
  const isOnTheWay = number < 0 || (number >= 1000 && number < 2000) || (number >= 5000 && number < 6000);
  const kind = isOnTheWay && !numbers.includes(unparsed) ? 'unreachable' : 'refused';
  const what = kind === 'unreachable' ? `Slurm's controller does not answer: ${message}` : message;
  return { number, error: new SchedulerError(kind, what) };
}

function fieldsOf(value: unknown, what: string): Fields {
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw malformed(`${what} that is none`, value);
  return value as Fields;
}

/** A number, however it is wrapped; undefined where it is not set, endless or no number. */
export function numberOf(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined;
  if (typeof value === 'string') return /^-?\d{1,15}(\.\d+)?$/.test(value) ? Number(value) : undefined;
  if (value === null || typeof value !== 'object') return undefined;
  const { set, infinite, number } = value as Fields;
  return set === false || infinite === true || typeof number !== 'number' ? undefined : numberOf(number);
}

/** Unix seconds; Slurm writes 0 for never. */
export function timeOf(value: unknown): number | undefined {
  const time = numberOf(value);
  return time === undefined || time <= 0 ? undefined : time;
}

/** Unix seconds from digits, or from a local time as Slurm writes it unless told otherwise. */
/** A job that was cancelled while it waited has a start in Slurm's books, the moment of its end, but never had nodes. */
function startOf(nodes: readonly string[], text: string): number | undefined {
  return nodes.length === 0 ? undefined : momentOf(text);
}

/** Slurm says 0, or nothing, where it does not measure; in some versions 2^63 and thereabouts stand for that. */
function joulesOf(text: string): number | undefined {
  const joules = Number(text);
  return joules > 0 && joules < 2 ** 62 ? joules : undefined;
}

function momentOf(text: string): number | undefined {
  if (/^\d{1,11}$/.test(text)) return timeOf(text);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/.test(text)) return undefined;
  const time = Date.parse(text);
  return Number.isNaN(time) ? undefined : time / 1000;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? said(value) : '';
}

/** What Slurm writes for nothing is nothing. */
function said(value: string | undefined): string {
  return value === undefined || value === '(null)' || value === 'N/A' ? '' : value;
}

export function reasonOf(text: string): string {
  return text === 'None' ? '' : text;
}

/** One word or a list of them, as upper case. */
function wordsOf(value: unknown): string[] {
  const words = Array.isArray(value) ? value : [value];
  return words.flatMap((word) => (typeof word === 'string' && word !== '' ? [word.toUpperCase()] : []));
}

/** Names in a list or between commas. */
function namesOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.filter((name): name is string => typeof name === 'string');
  return textOf(value) === '' ? [] : textOf(value).split(',');
}

function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line.trim() !== '');
}

/**
 * `Key=value` of a line whose values may hold spaces: a value goes on until the next ` Key=`. The first of equal keys
 * counts, since what users wrote (reasons, comments) stands after what Slurm says itself.
 */
function lineFields(line: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  const keys = [...line.matchAll(/(?:^| )([A-Za-z][\w:/]*)=/g)];
  for (const [i, match] of keys.entries()) {
    const key = match[1] as string;
    const end = keys[i + 1]?.index ?? line.length;
    if (!fields.has(key)) fields.set(key, line.slice(match.index + match[0].length, end).trim());
  }
  return fields;
}
