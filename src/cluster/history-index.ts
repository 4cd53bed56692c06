// A DuckDB index of campaigns: tables of links, attempts, steps, events, nodes and alerts, to be asked in SQL.
//
// It is made from the files of campaign folders alone and holds nothing they do not: deleted and made again it is equal.
// So it may lie anywhere but on the shared file system, where databases break; it is never state.
//
// Does not: update an index; making it again takes seconds.
import { closeSync, existsSync, openSync, readSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { commitFile } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { readLines } from '../base/events.ts';
import { errorText } from '../base/json.ts';
import type { History } from './history.ts';
import type { CampaignFiles } from './history-files.ts';

type Value = string | number | boolean | null | undefined;
type Column = readonly [name: string, type: 'VARCHAR' | 'DOUBLE' | 'BIGINT' | 'BOOLEAN'];

interface Table {
  readonly columns: readonly Column[];
  readonly rows: (files: CampaignFiles, history: History) => readonly (readonly Value[])[];
}

/** The tables of the index; `campaign` is the first column of each. Times are unix seconds. */
export const indexTables = {
  links: {
    columns: [
      ['link', 'VARCHAR'],
      ['job', 'VARCHAR'],
      ['nodes', 'BIGINT'],
      ['submitted', 'DOUBLE'],
      ['began', 'DOUBLE'],
      ['ended', 'DOUBLE'],
      ['why', 'VARCHAR'],
      ['domain', 'VARCHAR'],
      ['failures', 'BIGINT'],
      ['first_step', 'BIGINT'],
      ['last_step', 'BIGINT'],
      ['lost_steps', 'BIGINT'],
      ['rolled_back_steps', 'BIGINT'],
      ['allocated_seconds', 'DOUBLE'],
      ['useful_seconds', 'DOUBLE'],
      ['lost_seconds', 'DOUBLE'],
      ['starting_seconds', 'DOUBLE'],
      ['energy_joules', 'DOUBLE'],
      ['energy_is_estimate', 'BOOLEAN'],
    ],
    rows: (_, { links }) =>
      links.map((link) => [
        link.name,
        link.job,
        link.nodes.length,
        link.submitted,
        link.began,
        link.ended,
        link.why,
        link.verdict?.domain,
        link.failures,
        link.firstStep,
        link.lastStep,
        link.lostSteps,
        link.rolledBackSteps,
        link.seconds.allocated,
        link.seconds.useful,
        link.seconds.lost,
        link.seconds.starting,
        link.energyJoules,
        link.energyIsEstimate,
      ]),
  },
  attempts: {
    columns: [
      ['attempt', 'BIGINT'],
      ['link', 'VARCHAR'],
      ['launch', 'VARCHAR'],
      ['host', 'VARCHAR'],
      ['ranks', 'BIGINT'],
      ['started', 'DOUBLE'],
      ['resumed_from', 'BIGINT'],
      ['first_step', 'BIGINT'],
      ['last_step', 'BIGINT'],
      ['lost_steps', 'BIGINT'],
      ['why', 'VARCHAR'],
    ],
    rows: (_, { attempts }) =>
      attempts.map((attempt) => [
        attempt.number,
        attempt.link,
        attempt.launch,
        attempt.host,
        attempt.ranks,
        attempt.started,
        attempt.resumedFrom,
        attempt.firstStep,
        attempt.lastStep,
        attempt.lostSteps,
        attempt.why,
      ]),
  },
  steps: {
    columns: [
      ['step', 'BIGINT'],
      ['attempt', 'BIGINT'],
      ['link', 'VARCHAR'],
      ['time', 'DOUBLE'],
      ['seconds', 'DOUBLE'],
      ['loss', 'DOUBLE'],
      ['fate', 'VARCHAR'],
    ],
    rows: (_, { steps }) =>
      steps.map(({ step, attempt, link, time, seconds, loss, fate }) => [
        step,
        attempt,
        link,
        time,
        seconds,
        loss,
        fate,
      ]),
  },
  events: {
    columns: [
      ['source', 'VARCHAR'],
      ['time', 'DOUBLE'],
      ['event', 'VARCHAR'],
      ['fields', 'VARCHAR'],
    ],
    rows: ({ dir, events, links }) => [
      ...events.map(({ time, event, ...fields }) => ['training', time, event, JSON.stringify(fields)]),
      ...links.flatMap(({ name }) =>
        readLines<Readonly<Record<string, unknown>>>(join(dir, 'campaign', 'links', name, 'events.jsonl')).map(
          ({ time, event, ...fields }) => [`link ${name}`, timeOf(time), String(event), JSON.stringify(fields)],
        ),
      ),
    ],
  },
  nodes: {
    columns: [
      ['time', 'DOUBLE'],
      ['node', 'VARCHAR'],
      ['link', 'VARCHAR'],
      ['verdict', 'VARCHAR'],
      ['fields', 'VARCHAR'],
    ],
    rows: ({ dir }) =>
      readLines<Readonly<Record<string, unknown>>>(join(dir, 'campaign', 'nodes.jsonl')).map(
        ({ time, node, link, verdict, ...fields }) => [
          timeOf(time),
          textOf(node),
          textOf(link),
          textOf(verdict),
          JSON.stringify(fields),
        ],
      ),
  },
  alerts: {
    columns: [
      ['time', 'DOUBLE'],
      ['kind', 'VARCHAR'],
      ['state', 'VARCHAR'],
      ['node', 'VARCHAR'],
      ['step', 'BIGINT'],
      ['fields', 'VARCHAR'],
    ],
    rows: ({ alerts }) =>
      alerts.map(({ time, event, state, node, step, ...fields }) => [
        timeOf(time),
        textOf(event),
        textOf(state),
        textOf(node),
        typeof step === 'number' ? step : null,
        JSON.stringify(fields),
      ]),
  },
} as const satisfies Readonly<Record<string, Table>>;

function timeOf(value: unknown): number | null {
  const time = typeof value === 'number' ? value : Date.parse(String(value)) / 1000;
  return Number.isFinite(time) ? time : null;
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : value === undefined || value === null ? null : JSON.stringify(value);
}

/** Refuses a path at which anything else than a DuckDB file would be replaced. */
function refuseOthers(path: string): void {
  const there = existsSync(path) ? statSync(path) : undefined;
  if (!there || (there.isFile() && (there.size === 0 || isDuckDb(path)))) return;
  throw new UserError(`${path} is no DuckDB file, and would be replaced`, {
    found: there.isDirectory() ? 'a folder' : 'a file of another kind',
    expected: 'a path where nothing is yet, or an index',
    next: 'name another file',
  });
}

/** DuckDB's files say so behind a check sum of 8 bytes. */
function isDuckDb(path: string): boolean {
  const head = Buffer.alloc(12);
  const file = openSync(path, 'r');
  try {
    readSync(file, head, 0, 12, 0);
  } finally {
    closeSync(file);
  }
  return head.toString('latin1', 8) === 'DUCK';
}

/** Makes the index of these campaigns at `path`, replacing one that is there in one piece. */
export async function writeHistoryIndex(
  path: string,
  campaigns: readonly { readonly files: CampaignFiles; readonly history: History }[],
): Promise<void> {
  refuseOthers(path);
  const aside = `${path}.partial`;
  for (const old of [aside, `${aside}.wal`]) rmSync(old, { force: true });
  const instance = await open(aside);
  try {
    const connection = await instance.connect();
    for (const [table, { columns, rows }] of Object.entries<Table>(indexTables)) {
      const all: readonly Column[] = [['campaign', 'VARCHAR'], ...columns];
      await connection.run(`CREATE TABLE ${table} (${all.map(([name, type]) => `${name} ${type}`).join(', ')})`);
      const appender = await connection.createAppender(table);
      for (const { files, history } of campaigns) {
        for (const row of rows(files, history)) {
          append(appender, 'VARCHAR', history.name);
          for (const [i, [, type]] of columns.entries()) append(appender, type, row[i]);
          appender.endRow();
        }
      }
      appender.closeSync();
    }
    await connection.run('CHECKPOINT');
    connection.closeSync();
  } finally {
    instance.closeSync();
  }
  commitFile(aside, path);
}

/** The rows of a query against an index. */
export async function queryHistoryIndex(path: string, sql: string): Promise<Readonly<Record<string, unknown>>[]> {
  const instance = await open(path, { access_mode: 'READ_ONLY' });
  try {
    const connection = await instance.connect();
    const reader = await connection.runAndReadAll(sql);
    connection.closeSync();
    return reader.getRowObjectsJson();
  } catch (cause) {
    throw new UserError(`the query failed`, { found: errorText(cause), cause });
  } finally {
    instance.closeSync();
  }
}

function append(appender: Appender, type: Column[1], value: Value): void {
  if (value === undefined || value === null) appender.appendNull();
  else if (type === 'VARCHAR') appender.appendVarchar(String(value));
  else if (type === 'DOUBLE') appender.appendDouble(Number(value));
  else if (type === 'BOOLEAN') appender.appendBoolean(value === true);
  else appender.appendBigInt(BigInt(Math.trunc(Number(value))));
}

// What is used of DuckDB.

interface Appender {
  appendNull(): void;
  appendVarchar(value: string): void;
  appendDouble(value: number): void;
  appendBigInt(value: bigint): void;
  appendBoolean(value: boolean): void;
  endRow(): void;
  closeSync(): void;
}

interface Connection {
  run(sql: string): Promise<unknown>;
  runAndReadAll(sql: string): Promise<{ getRowObjectsJson(): Readonly<Record<string, unknown>>[] }>;
  createAppender(table: string): Promise<Appender>;
  closeSync(): void;
}

interface Instance {
  connect(): Promise<Connection>;
  closeSync(): void;
}

interface DuckDb {
  readonly DuckDBInstance: {
    create(path: string, options?: Readonly<Record<string, string>>): Promise<Instance>;
  };
}

/** Loaded when it is asked for: its library is of 70 MB, and platforms without it do everything else. */
const library: string = '@duckdb/node-api';

async function open(path: string, options?: Readonly<Record<string, string>>): Promise<Instance> {
  let duckdb: DuckDb;
  try {
    duckdb = (await import(library)) as DuckDb;
  } catch (cause) {
    throw new UserError('the index needs DuckDB, which does not load here', {
      found: errorText(cause),
      next: `npm install ${library}`,
      cause,
    });
  }
  try {
    return await duckdb.DuckDBInstance.create(path, options);
  } catch (cause) {
    throw new UserError(`${path} cannot be opened as an index`, { found: errorText(cause), cause });
  }
}
