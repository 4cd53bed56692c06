// What a step of the cleaning line is: a document in, the same or a changed document out, or a reason why not.
//
// Two kinds. A `Step` judges a document by itself. A `CorpusStep` must know the other documents (duplicates, the top
// 5 % of a language): it leaves a record of each document (`sign`), looks at all records (`match` in parts, then
// `judge`), and gives a step for each shard (`apply`). Both kinds are made from settings by the definitions of
// steps.ts, so a recipe, `belay data step` and a task on a cluster run the same code.
//
// Does not: count or record (line/pass-task.ts), or put tasks in order (line/plan.ts).
import type { z } from 'zod';
import type { Document } from '../base/document.ts';
import type { Unasked } from '../base/ledger.ts';
import type { Log } from '../base/progress.ts';
import type { RobotsSource } from './robots-snapshot.ts';

export type Verdict =
  | { readonly keep: Document }
  /** `reason` is a fixed word for tables; `detail` is for people and never quotes personal data. */
  | { readonly drop: { readonly reason: string; readonly detail?: string } };

/** Judges documents one at a time; what it answers depends on the document and the settings alone. */
export interface Step {
  readonly name: string;
  run(document: Document): Verdict | Promise<Verdict>;
}

/** A shard whose documents were signed. */
export interface SignedShard {
  /** Number of its first document in the corpus, and how many it has. */
  readonly first: number;
  readonly count: number;
  /** The records of `sign`, one after the other in the order of the documents. */
  readonly signs: string;
  /** The ids of its documents as JSON lines, in the same order. */
  readonly ids: string;
  /** Its documents as JSON lines, in the same order, for a step that `readsDocuments`. */
  readonly documents: string;
}

/** Judges documents by all others. The answer does not depend on how documents are cut into shards. */
export interface CorpusStep {
  readonly name: string;
  /** What the others must know of a document; the step knows how long its own records are. */
  sign(document: Document): Uint8Array;
  /** Whether `match` or `judge` reads the documents themselves; then they stay on the disk. */
  readonly readsDocuments?: boolean;
  /** Tasks that `match` is cut into; each looks at all shards. */
  readonly parts: number;
  /** Part `part` of the comparison; leaves the file `out`. */
  match(part: number, shards: readonly SignedShard[], out: string): Promise<void>;
  /** Puts the parts together: one file per shard, whose bytes change only if a verdict in that shard does. */
  judge(parts: readonly string[], shards: readonly SignedShard[], out: (shard: number) => string): Promise<void>;
  /** The step for one shard; it must be given the documents in their order, all of them. */
  apply(judgement: string): Promise<Step>;
}

/** What a step may need beyond its settings. */
export interface StepContext {
  readonly log: Log;
  /** Seed of the recipe. */
  readonly seed: number;
  /** The robots.txt records of the crawl, where there is one. */
  readonly robots?: RobotsSource;
  /** Told of each document that opt-out keeps because nobody could be asked about it. */
  readonly onUnasked?: (why: keyof Unasked) => void;
}

/** A step by its name, its settings with their defaults, and how to make it. */
export interface StepDefinition<Settings extends z.ZodType = z.ZodType> {
  /** On the command line, in recipes, in the ledger. */
  readonly name: string;
  /** For lists: a few words. */
  readonly brief: string;
  readonly settings: Settings;
  /** Files that the settings name: a change of their contents changes what the step does. */
  files?(settings: z.output<Settings>): readonly string[];
  make(settings: z.output<Settings>, context: StepContext): StepOf | Promise<StepOf>;
}

export type StepOf = Step | CorpusStep;

/** Keeps the types of a definition's settings together. */
export function defineStep<Settings extends z.ZodType>(definition: StepDefinition<Settings>): StepDefinition<Settings> {
  return definition;
}

export function isCorpusStep(step: StepOf): step is CorpusStep {
  return 'sign' in step;
}
