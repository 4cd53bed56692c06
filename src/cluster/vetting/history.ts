// What is remembered of every node: one line per judgement, and how a node stands by all of them.
//
// Faults come and go: a node may measure clean for half an hour and still be sick. So one clean judgement acquits nobody, and
// suspicions of single passes add up. Of two nodes that could not be told apart, the healthy one is cleared by
// meeting others: such suspicions count once per partner.
//
// Does not: judge measurements (judge.ts). The file has one writer, the controller of a campaign.
import { appendFileSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { endsInMidLine, readLines } from '../../base/events.ts';
import type { NodeVerdict } from './judge.ts';
import type { NodeReport } from './measurements.ts';
import type { VetSettings } from './settings.ts';
import { headline } from './summary.ts';

const entrySchema = z.object({
  time: z.iso.datetime(),
  node: z.string(),
  /** Of the campaign; absent where a person vetted. */
  link: z.string().optional(),
  /** `pardoned`: a person says that it is well again, and what came before counts no more. */
  verdict: z.enum(['sick', 'clean', 'unvalidated', 'pardoned']),
  why: z.string(),
  suspicions: z.array(z.object({ probe: z.string(), line: z.string(), with: z.string().optional() })),
  /** What was measured, in few numbers. */
  measured: z.record(z.string(), z.number()).optional(),
});

/** A line of the history. */
export type HistoryEntry = z.infer<typeof entrySchema>;

/** Lines of the file, oldest first; lines that are none of ours are left out and counted. */
export function readHistory(path: string): { readonly entries: HistoryEntry[]; readonly bad: number } {
  const lines = readLines<unknown>(path);
  const entries = lines.flatMap((line) => {
    const parsed = entrySchema.safeParse(line);
    return parsed.success ? [parsed.data] : [];
  });
  return { entries, bad: lines.length - entries.length };
}

export function appendHistory(path: string, entries: readonly HistoryEntry[]): void {
  mkdirSync(dirname(path), { recursive: true });
  // In one write, so that a kill tears at most the last line, and readers pass over that one.
  const end = endsInMidLine(path) ? '\n' : '';
  appendFileSync(path, end + entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
}

/** The lines that a judgement adds. */
export function entriesOf(
  verdicts: readonly NodeVerdict[],
  reports: readonly NodeReport[],
  time: Date,
  link?: string,
): HistoryEntry[] {
  const byNode = new Map(reports.map((report) => [report.node, report]));
  return verdicts.map(({ node, verdict, why, suspicions }) => {
    const report = byNode.get(node);
    return {
      time: time.toISOString(),
      node,
      ...(link === undefined ? {} : { link }),
      verdict,
      why,
      suspicions: suspicions.map((one) => ({ ...one })),
      ...(report ? { measured: headline(report) } : {}),
    };
  });
}

/**
 * How nodes stand by the history, the newest judgement included: a function of a node that says why it stands convicted,
 * or undefined where it does not.
 */
export function standings(
  entries: readonly HistoryEntry[],
  now: Date,
  memory: VetSettings['memory'],
): (node: string) => string | undefined {
  const since = now.getTime() - memory.days * 86_400_000;
  const byNode = new Map<string, HistoryEntry[]>();
  // A node that was slow with one that is sick has nothing against it.
  const sick = new Set<string>();
  for (const entry of entries) {
    if (Date.parse(entry.time) < since) continue;
    if (entry.verdict === 'sick') sick.add(entry.node);
    // What came before a pardon counts no more.
    if (entry.verdict === 'pardoned' || !byNode.has(entry.node)) byNode.set(entry.node, []);
    if (entry.verdict !== 'pardoned') byNode.get(entry.node)?.push(entry);
  }
  return (node) => standingOf(byNode.get(node) ?? [], sick, memory);
}

function standingOf(
  own: readonly HistoryEntry[],
  sick: ReadonlySet<string>,
  memory: VetSettings['memory'],
): string | undefined {
  const speaksAgainst = (entry: HistoryEntry): boolean => entry.verdict === 'sick' || grounds(entry, sick).length > 0;
  // Judgements that could not tell count neither way, unless something was suspected in them.
  const told = own.filter((entry) => entry.verdict !== 'unvalidated' || speaksAgainst(entry));
  const clean = told.length - 1 - told.findLastIndex(speaksAgainst);
  if (clean >= memory.acquittedBy || clean === told.length) return undefined;
  const convictions = told.filter(({ verdict }) => verdict === 'sick');
  const last = convictions.at(-1);
  if (last) return `sick in ${convictions.length} of ${told.length} judgements, last on ${last.time}: ${last.why}`;
  // Sooner or later everything is suspected of something: only what comes back soon counts.
  const recent = told.slice(-memory.among);
  const suspected = recent.filter(speaksAgainst);
  const different = new Set(suspected.flatMap((entry) => grounds(entry, sick)));
  if (different.size < memory.suspicions) return undefined;
  const { time, suspicions } = suspected.at(-1) as HistoryEntry;
  return `suspected in ${suspected.length} of ${recent.length} judgements, last on ${time}: ${suspicions[0]?.line}`;
}

/** What the suspicions of an entry count for: the entry itself, or the partners that may have been meant instead. */
function grounds(entry: HistoryEntry, sick: ReadonlySet<string>): string[] {
  const own = entry.suspicions.some((one) => one.with === undefined);
  if (own) return [entry.time];
  const partners = entry.suspicions.flatMap((one) => one.with ?? []).filter((partner) => !sick.has(partner));
  return partners.map((partner) => `with ${partner}`);
}
