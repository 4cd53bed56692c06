// `belay data funnel DIR` and `belay data ledger DIR`: the accounts of cleaned documents as tables.
//
// Does not: count; the cleaning line does.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { buildCommand } from '@stricli/core';
import { UserError } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { type Funnel, type FunnelCount, type FunnelFlow, funnelName, type FunnelStep } from '../base/ledger.ts';
import { amount, terminalLog } from '../base/progress.ts';
import { writeLedgerParquet } from '../data/funnel-parquet.ts';
import { stageFolders } from './run-folder.ts';

/** The folder of cleaned documents at a path, which may be that of a run. */
export function documentsAt(dir: string): string {
  const found = [dir, join(dir, stageFolders.documents)].find((path) => existsSync(join(path, funnelName)));
  if (found !== undefined) return found;
  throw new UserError(`${dir} has no cleaned documents`, {
    expected: `a folder with ${funnelName}, or a run folder`,
    next: 'run: belay data clean',
  });
}

type By = 'language' | 'source';

interface FunnelFlags {
  readonly by?: By;
  readonly json: boolean;
}

/** The funnel as lines of text. */
export function funnelTable({ steps }: Funnel): string[] {
  const counted = steps[0]?.in.tokens !== undefined;
  const head = [
    'step',
    'documents in',
    'dropped',
    'held out',
    'documents out',
    'bytes out',
    ...(counted ? ['tokens out'] : []),
    'kept',
  ];
  const rows = steps.flatMap((step) => {
    const { out, moved } = step;
    const gone = droppedOf(step);
    const share = measure(step.in) === 0 ? '-' : percent(measure(out) / measure(step.in));
    const tokens = counted ? [amount(out.tokens ?? 0)] : [];
    const row = [
      step.step,
      step.in.documents,
      gone.documents,
      moved.documents,
      out.documents,
      amount(out.bytes),
      ...tokens,
      share,
    ];
    const reasons = Object.entries(step.dropped)
      .sort(([a, x], [b, y]) => y.documents - x.documents || (a < b ? -1 : 1))
      .map(([reason, { documents }]) => [`  ${reason}`, '', documents]);
    return [row, ...reasons];
  });
  const unasked = steps.find((step) => step.unasked)?.unasked;
  const notes = unasked
    ? [
        `opt-out: nobody was asked about ${unasked.noAddress} documents without an address, ${unasked.noRobots} without a robots.txt`,
      ]
    : [];
  return [...aligned([head, ...rows]), ...notes];
}

/** What became of the documents of each language or source, the largest first. */
export function funnelTableBy({ steps }: Funnel, by: By): string[] {
  const key = by === 'language' ? 'languages' : 'sources';
  const counted = steps[0]?.in.tokens !== undefined;
  const first = steps[0] as FunnelStep;
  const last = steps.at(-1) as FunnelStep;
  // A step may give a document another language, so those of all steps are shown.
  const names = new Set(steps.flatMap((step) => Object.keys(step[key])));
  const dropping = steps.filter((step) => droppedOf(step).documents > 0);
  const head = [
    by,
    'documents in',
    ...dropping.map(({ step }) => step),
    'held out',
    'documents out',
    'bytes out',
    ...(counted ? ['tokens out'] : []),
  ];
  const rows = [...names]
    .map((name) => ({ name, out: last[key][name]?.out }))
    .sort((a, b) => (b.out?.bytes ?? 0) - (a.out?.bytes ?? 0) || (a.name < b.name ? -1 : 1))
    .map(({ name, out }) => [
      name,
      first[key][name]?.in.documents ?? 0,
      ...dropping.map((step) => step[key][name]).map((flow) => (flow ? droppedOf(flow).documents : 0)),
      last[key][name]?.moved.documents ?? 0,
      out?.documents ?? 0,
      amount(out?.bytes ?? 0),
      ...(counted ? [amount(out?.tokens ?? 0)] : []),
    ]);
  return aligned([head, ...rows]);
}

function measure({ bytes, tokens }: FunnelCount): number {
  return tokens ?? bytes;
}

function droppedOf({ dropped }: FunnelFlow): FunnelCount {
  const all = Object.values(dropped);
  const sum = (key: 'documents' | 'bytes'): number => all.reduce((total, count) => total + count[key], 0);
  return { documents: sum('documents'), bytes: sum('bytes') };
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function aligned(rows: readonly (readonly (string | number)[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => String(row[i] ?? '').length)));
  return rows.map((row) =>
    row
      .map((cell, i) =>
        i === 0 ? String(cell).padEnd(widths[i] as number) : String(cell).padStart(widths[i] as number),
      )
      .join('  ')
      .trimEnd(),
  );
}

export const funnel = buildCommand<FunnelFlags, [string]>({
  docs: {
    brief: 'what every step of the cleaning line kept and dropped',
    fullDescription: `Prints the funnel of cleaned documents: per step how many came, went on, were held out and were dropped, for which
reason, in bytes and, where the recipe counts them (data.countTokens), in tokens. The folder also holds it as funnel.json,
funnel.parquet and as a picture, funnel.svg.

EXAMPLE
  belay data funnel out/demo
  belay data funnel out/demo --by language`,
  },
  parameters: {
    flags: {
      by: { kind: 'enum', values: ['language', 'source'], brief: 'a line for each of them', optional: true },
      json: { kind: 'boolean', brief: 'print funnel.json', default: false },
    },
    positional: {
      kind: 'tuple',
      parameters: [{ parse: String, brief: 'documents or run folder', placeholder: 'DIR' }],
    },
  },
  func({ by, json }, dir) {
    const found = readJson(join(documentsAt(dir), funnelName), 'funnel') as unknown as Funnel;
    const lines = json ? [JSON.stringify(found, null, 2)] : by ? funnelTableBy(found, by) : funnelTable(found);
    process.stdout.write(`${lines.join('\n')}\n`);
  },
});

interface LedgerFlags {
  readonly parquet: string;
}

export const ledger = buildCommand<LedgerFlags, [string]>({
  docs: {
    brief: 'the ledger as a Parquet file',
    fullDescription:
      'Writes the row of every document (docs/data.md has the fields) to one Parquet file.\n\nEXAMPLE\n  belay data ledger out/demo --parquet ledger.parquet',
  },
  parameters: {
    flags: { parquet: { kind: 'parsed', parse: String, brief: 'file to write' } },
    positional: {
      kind: 'tuple',
      parameters: [{ parse: String, brief: 'documents or run folder', placeholder: 'DIR' }],
    },
  },
  async func({ parquet }, dir) {
    const rows = await writeLedgerParquet(documentsAt(dir), parquet);
    terminalLog().line(`${parquet}: ${rows} rows`);
  },
});
