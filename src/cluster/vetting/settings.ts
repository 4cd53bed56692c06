// What a judgement of nodes asks for and what it takes to convict: one schema for flags, files and campaigns.
//
// Does not: judge.
import { z } from 'zod';
import { probes } from './measurements.ts';

const share = z.number().positive();

export const vetSettingsSchema = z.strictObject({
  /** Left out of a judgement: neither asked for nor missed. */
  without: z.array(z.enum(probes)).default([]),
  /** How often everything is measured; a conviction needs two thirds of them, so at least two. */
  passes: z.int().min(1).max(100).default(2),
  /** Slower than the others by so much, in its best sample, convicts. 0.25: a quarter slower. */
  slower: z
    .strictObject({
      gemm: share.default(0.25),
      memory: share.default(0.35),
      // Disks of nodes serve others too.
      write: share.default(3),
      fsync: share.default(3),
      latency: share.default(1),
      transfer: share.default(0.5),
    })
    .prefault({}),
  /** Differences of less are no news in an exchange, milliseconds. */
  floorMilliseconds: z.number().min(0).default(0.5),
  /** A sample of more than this many times the usual has collapsed. */
  collapse: z.number().min(1).default(2),
  /** Collapsed samples of a probe beyond this share convict, where the others have few. */
  collapsedShare: share.max(1).default(0.1),
  /** Where the probe waited for a core for more than this share of its time, collapsed samples say nothing. */
  waited: share.max(1).default(0.1),
  /** Cores that other processes may want, beyond what is usual on the nodes. */
  busyCores: share.default(0.5),
  clockMilliseconds: share.default(1000),
  /** What must be so on every node. */
  expect: z
    .strictObject({
      variables: z.record(z.string(), z.string()).default({}),
      facts: z.record(z.string(), z.union([z.string(), z.number()])).default({}),
      /** Facts that must be at least this. */
      atLeast: z.record(z.string(), z.number()).default({}),
    })
    .prefault({}),
  memory: z
    .strictObject({
      /** How long the history remembers. */
      days: share.default(14),
      /** A node that stands convicted is acquitted by so many clean judgements in a row. */
      acquittedBy: z.int().min(1).default(10),
      /** So many suspicions among so many judgements convict as well. */
      suspicions: z.int().min(1).default(2),
      among: z.int().min(1).default(8),
    })
    .prefault({}),
  /** No more than this share of the nodes is excluded, and one in any case. */
  cap: z.number().min(0).max(1).default(0.1),
  /** How long nodes wait for each other. */
  patienceSeconds: share.default(60),
});

export type VetSettings = z.infer<typeof vetSettingsSchema>;
export type VetSettingsInput = z.input<typeof vetSettingsSchema>;
