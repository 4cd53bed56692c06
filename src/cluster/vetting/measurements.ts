// What the probe says of a node: a file per rank, which the controller reads and the judge compares.
//
// Everything that takes time is told as milliseconds of a fixed piece of work, many times over: less is better, and
// samples of all nodes compare whatever was measured. A probe that could not measure says why instead.
//
// Does not: measure (commands/vet-local.ts and vet-network.ts do), or judge (judge.ts).
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { errorText, readJson } from '../../base/json.ts';

export const reportFormat = 'belay-vet-1';

/** Probes that time a piece of work on the node alone. */
export const workProbes = ['gemm', 'memory', 'write', 'fsync'] as const;
/** Probes that time an exchange of two nodes. */
export const pairProbes = ['latency', 'transfer'] as const;
/** All that a judgement looks at. */
export const probes = [...workProbes, ...pairProbes, 'load', 'clock', 'environment'] as const;

export type WorkProbe = (typeof workProbes)[number];
export type PairProbe = (typeof pairProbes)[number];
export type Probe = (typeof probes)[number];

const finite = z.number().min(0);
const samples = z.array(finite).min(1);
const failures = z.partialRecord(z.enum(probes), z.string());

const work = z.object({
  milliseconds: samples,
  /** How much of `unit` one sample does: what milliseconds mean to people. */
  amount: z.number().positive(),
  unit: z.string(),
});

const pair = z.object({ peer: z.string(), latency: samples, transfer: samples });

const pass = z.object({
  work: z.partialRecord(z.enum(workProbes), work),
  /** Cores that other processes of the node wanted meanwhile. */
  load: z.object({ cores: finite, most: z.string() }).optional(),
  /** Share of its own time that the probe waited for a core. */
  waited: z.number().min(0).max(1).optional(),
  pairs: z.array(pair),
  /** Milliseconds of an exchange of all; equal on all nodes but for their own waiting. */
  collectives: z.partialRecord(z.enum(['allGather', 'allReduce']), samples),
  /** Of this node's clock against that of the first node, and how far off it may be. */
  clock: z.object({ offsetMilliseconds: z.number(), within: finite }).optional(),
  failures,
});

const reportSchema = z.object({
  format: z.literal(reportFormat),
  node: z.string().min(1),
  rank: z.int().min(0),
  world: z.int().min(1),
  time: z.string(),
  /** Kernel, huge pages, limits, room, GPUs, ... */
  facts: z.record(z.string(), z.union([z.string(), z.number()])),
  variables: z.record(z.string(), z.string()),
  passes: z.array(pass),
  /** A node that was lost on the way, as this one saw it. */
  lost: z.string().optional(),
});

export type Work = z.infer<typeof work>;
export type PairTimes = z.infer<typeof pair>;
export type Pass = z.infer<typeof pass>;
/** What one node said. */
export type NodeReport = z.infer<typeof reportSchema>;

export function reportFile(dir: string, rank: number): string {
  return join(dir, `rank-${String(rank).padStart(5, '0')}.json`);
}

/** The reports in a folder, one per node: of several ranks of a node the first one measures. Files that are none are named. */
export function readReports(dir: string): { readonly reports: NodeReport[]; readonly bad: string[] } {
  const bad: string[] = [];
  const found = readdirSync(dir)
    .filter((name) => /^rank-\d+\.json$/.test(name))
    .flatMap((name) => {
      try {
        return [reportSchema.parse(readJson(join(dir, name), 'report of a probe'))];
      } catch (error) {
        bad.push(error instanceof z.ZodError ? `${name}: ${z.prettifyError(error)}` : errorText(error));
        return [];
      }
    })
    .sort((a, b) => a.rank - b.rank);
  const seen = new Set<string>();
  const reports = found.filter(({ node }) => !seen.has(node) && seen.add(node));
  return { reports, bad };
}
