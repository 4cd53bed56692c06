// The ledger: for every document that came in, what became of it and why; and the funnel that adds it up.
//
// One row per document in `ledger-00000.jsonl.gz` and its siblings, in the order of reading; `funnel.json` counts
// documents, bytes and, where the recipe names a tokenizer, tokens in and out of every step, by reason, by language and by
// source. Rows are the evidence, the funnel is counted beside them and must agree with them. Funnels of shards are added.
//
// Does not: judge documents; the steps of data/ do. Never holds what a filter found, only how much.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Document } from './document.ts';
import type { Json } from './json.ts';
import { readJsonl } from './jsonl.ts';

export interface LedgerRow {
  readonly id: string;
  readonly verdict: 'kept' | 'dropped';
  /** The step that dropped it; absent when kept. */
  readonly step?: string;
  /** The rule within the step, e.g. `opt-out` or `duplicate`. */
  readonly reason?: string;
  /** Particulars for people: the agent that was refused, the id of the first copy. */
  readonly detail?: string;
  readonly language: string;
  readonly source: string;
  readonly licence: string;
  readonly url?: string;
  /** UTF-8 bytes of the text as it came in, and as it was kept (0 when dropped). */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** The same in tokens, where they are counted. */
  readonly tokensIn?: number;
  readonly tokensOut?: number;
  /** What steps noted (counts, verdicts), by step. */
  readonly notes?: { readonly [step: string]: Json };
}

/** How long a text is. */
export interface TextSize {
  /** UTF-8 bytes. */
  readonly bytes: number;
  /** Absent where tokens are not counted. */
  readonly tokens?: number;
}

export interface FunnelCount {
  documents: number;
  bytes: number;
  /** Absent where tokens are not counted. */
  tokens?: number;
}

/** Where the documents of a step went: those of `in` are in `out`, `moved` or `dropped`. */
export interface FunnelFlow {
  readonly in: FunnelCount;
  readonly out: FunnelCount;
  /** Kept, but held out whole: nothing of them goes on to training. */
  readonly moved: FunnelCount;
  /** By reason. */
  readonly dropped: Record<string, FunnelCount>;
}

export interface FunnelStep extends FunnelFlow {
  readonly step: string;
  /** By the language that the document had when it came to the step. */
  readonly languages: Record<string, FunnelFlow>;
  readonly sources: Record<string, FunnelFlow>;
  /** Of opt-out: documents that came to it and that nobody could be asked about. */
  readonly unasked?: Unasked;
}

/** Documents without an address, and those of hosts whose robots.txt is not known. */
export interface Unasked {
  readonly noAddress: number;
  readonly noRobots: number;
}

export interface Funnel {
  readonly steps: readonly FunnelStep[];
}

/** The flow of the documents of one language and source through one step. */
export interface FunnelPart extends FunnelFlow {
  readonly step: string;
  readonly language: string;
  readonly source: string;
}

export const funnelName = 'funnel.json';

/** What the funnel tells documents apart by. */
export type Counted = Pick<LedgerRow, 'language' | 'source'>;

/** Counts documents through steps. */
export class FunnelCounter implements Funnel {
  private readonly stepNames: readonly string[];
  private readonly countsTokens: boolean;
  /** Per step, by language, then by source. */
  private readonly flows: readonly Map<string, Map<string, FunnelFlow>>[];

  constructor(stepNames: readonly string[], countsTokens = false) {
    this.stepNames = stepNames;
    this.countsTokens = countsTokens;
    this.flows = stepNames.map(() => new Map());
  }

  /** A document passed step `index` (its size before and after it). */
  passed(index: number, of: Counted, before: TextSize, after: TextSize): void {
    const flow = this.flow(index, of);
    count(flow.in, before);
    count(flow.out, after);
  }

  /** Step `index` held a document out whole. */
  moved(index: number, of: Counted, before: TextSize): void {
    const flow = this.flow(index, of);
    count(flow.in, before);
    count(flow.moved, before);
  }

  /** A document was dropped by step `index`. */
  dropped(index: number, of: Counted, before: TextSize, reason: string): void {
    const flow = this.flow(index, of);
    count(flow.in, before);
    count((flow.dropped[reason] ??= this.zero()), before);
  }

  /** Adds the counts of another funnel. */
  add(parts: Iterable<FunnelPart>): void {
    for (const part of parts) {
      const index = this.stepNames.indexOf(part.step);
      if (index < 0) throw new Error(`FunnelCounter: no step ${part.step}`);
      this.addFlow(this.flow(index, part), part);
    }
  }

  /** Everything that was counted: by step, language and source, in that order. */
  get parts(): FunnelPart[] {
    return this.stepNames.flatMap((step, index) =>
      sorted(this.flows[index] as Map<string, Map<string, FunnelFlow>>).flatMap(([language, sources]) =>
        sorted(sources).map(([source, flow]) => ({ step, language, source, ...flow })),
      ),
    );
  }

  /** The sums of the parts. */
  get steps(): FunnelStep[] {
    // A source may have the name of something that every object has.
    const steps = this.stepNames.map(
      (step): FunnelStep => ({ step, ...this.noFlow(), languages: {}, sources: Object.create(null) }),
    );
    const byName = new Map<string, FunnelStep>(steps.map((each) => [each.step, each]));
    for (const part of this.parts) {
      const step = byName.get(part.step) as FunnelStep;
      this.addFlow(step, part);
      this.addFlow((step.languages[part.language] ??= this.noFlow()), part);
      this.addFlow((step.sources[part.source] ??= this.noFlow()), part);
    }
    return steps.map(({ sources, ...rest }) => ({
      ...rest,
      sources: Object.fromEntries(sorted(Object.entries(sources))),
    }));
  }

  private flow(index: number, { language, source }: Counted): FunnelFlow {
    const languages = this.flows[index];
    if (!languages) throw new Error(`FunnelCounter: no step ${index}`);
    let sources = languages.get(language);
    if (!sources) languages.set(language, (sources = new Map()));
    let flow = sources.get(source);
    if (!flow) sources.set(source, (flow = this.noFlow()));
    return flow;
  }

  private addFlow(into: FunnelFlow, flow: FunnelFlow): void {
    for (const key of ['in', 'out', 'moved'] as const) addCount(into[key], flow[key]);
    for (const [reason, dropped] of sorted(Object.entries(flow.dropped))) {
      addCount((into.dropped[reason] ??= this.zero()), dropped);
    }
  }

  private zero(): FunnelCount {
    return this.countsTokens ? { documents: 0, bytes: 0, tokens: 0 } : { documents: 0, bytes: 0 };
  }

  private noFlow(): FunnelFlow {
    return { in: this.zero(), out: this.zero(), moved: this.zero(), dropped: {} };
  }
}

/** The ledger files of a folder, in order. */
export function ledgerFiles(dir: string): string[] {
  if (!existsSync(dir)) return [];
  const names = readdirSync(dir).filter((name) => /^ledger(?:-\d+)?\.jsonl\.gz$/.test(name));
  return names.sort().map((name) => join(dir, name));
}

/** The rows of a ledger folder, or of one of its shards. */
export async function* readLedger(dir: string, shard?: number): AsyncGenerator<LedgerRow> {
  const files = ledgerFiles(dir);
  for (const path of shard === undefined ? files : files.slice(shard, shard + 1)) yield* readJsonl<LedgerRow>(path);
}

/** UTF-8 size of a document's text. */
export function textBytes(document: Document): number {
  return Buffer.byteLength(document.text, 'utf8');
}

function count(into: FunnelCount, { bytes, tokens }: TextSize): void {
  into.documents++;
  into.bytes += bytes;
  if (tokens !== undefined) into.tokens = (into.tokens ?? 0) + tokens;
}

function addCount(into: FunnelCount, { documents, bytes, tokens }: FunnelCount): void {
  into.documents += documents;
  into.bytes += bytes;
  if (tokens !== undefined) into.tokens = (into.tokens ?? 0) + tokens;
}

function sorted<T>(entries: Iterable<readonly [string, T]>): (readonly [string, T])[] {
  return [...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}
