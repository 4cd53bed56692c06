// What FirecREST v2 answers, read: jobs and nodes. Tolerant as slurm-parse.ts is, and for the same reasons.
//
// From 2.2 on a job has `status: {state, stateReason, exitCode, interruptSignal}`; before, `state: {current, reason}` and
// `exitCode: {returnCode, signal}` beside each other. Both are read.
//
// Does not: ask servers; firecrest.ts does.
import type { ClusterNode, Job } from '../scheduler.ts';
import { SchedulerError } from '../scheduler.ts';
import { definedJob, expandNodes, jobStateOf, nodeStateOf, numberOf, reasonOf, timeOf } from './slurm-parse.ts';

type Fields = Readonly<Record<string, unknown>>;

/** An answer's fields. */
export function readAnswer(text: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new SchedulerError('malformed', `FirecREST answered no JSON: ${text.slice(0, 200)}`);
  }
  return fieldsOf(value) ?? fail('an answer', value);
}

/** Jobs of an answer; no jobs are told as null. */
export function parseFirecrestJobs(text: string): Job[] {
  return listIn(text, 'jobs').map((item): Job => {
    const fields = fieldsOf(item) ?? fail('a job', item);
    const status = fieldsOf(fields['status']) ?? {};
    const before = fieldsOf(fields['state']) ?? {};
    const exit = fieldsOf(fields['exitCode']) ?? {};
    const signals = fieldsOf(exit['signal']) ?? {};
    const id = fields['jobId'];
    const words = wordsOf(status['state'] ?? before['current']);
    if ((typeof id !== 'string' && typeof id !== 'number') || `${id}` === '') fail('a job without an id', item);
    if (words.length === 0) fail('a job without a state', item);
    const { state, outcome } = jobStateOf(words);
    const isOver = state === 'ended';
    const time = fieldsOf(fields['time']) ?? {};
    const began = state === 'pending' ? undefined : timeOf(time['start']);
    return definedJob({
      id: `${id}`,
      name: textOf(fields['name']),
      user: textOf(fields['user']),
      state,
      outcome,
      raw: words.join('+'),
      reason: reasonOf(textOf(status['stateReason'] ?? before['reason'])),
      nodes: expandNodes(textOf(fields['nodes'])),
      submitted: timeOf(time['submission']),
      began,
      ends: state === 'running' ? timeOf(time['end']) : undefined,
      ended: isOver ? timeOf(time['end']) : undefined,
      exitCode: isOver ? (numberOf(status['exitCode']) ?? numberOf(exit['returnCode'])) : undefined,
      signal: isOver ? (numberOf(status['interruptSignal']) ?? numberOf(signals['id'])) : undefined,
    });
  });
}

/** Nodes of an answer. Memory, generic resources and reasons are not told. */
export function parseFirecrestNodes(text: string): ClusterNode[] {
  return listIn(text, 'nodes').map((item): ClusterNode => {
    const fields = fieldsOf(item) ?? fail('a node', item);
    const name = textOf(fields['name']);
    const words = wordsOf(fields['state']);
    if (name === '') fail('a node without a name', item);
    if (words.length === 0) fail('a node without a state', item);
    return {
      name,
      state: nodeStateOf(words),
      raw: words.join('+'),
      reason: '',
      cpus: numberOf(fields['cpus']) ?? 0,
      memoryBytes: 0,
      features: namesOf(fields['features']),
      gres: '',
      partitions: namesOf(fields['partitions']),
    };
  });
}

function listIn(text: string, key: string): readonly unknown[] {
  const list = readAnswer(text)[key] ?? [];
  return Array.isArray(list) ? list : fail(`a list of ${key}`, list);
}

function fieldsOf(value: unknown): Fields | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Fields) : undefined;
}

function fail(what: string, found: unknown): never {
  throw new SchedulerError('malformed', `FirecREST, ${what}: ${(JSON.stringify(found) ?? '').slice(0, 200)}`);
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** `CANCELLED by 1000` is one word for us. */
function wordsOf(value: unknown): string[] {
  return [value].flat().flatMap((word) => {
    const [first = ''] = textOf(word).toUpperCase().split(' ');
    return first === '' ? [] : [first];
  });
}

function namesOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.filter((name): name is string => typeof name === 'string');
  return textOf(value) === '' ? [] : textOf(value).split(',');
}
