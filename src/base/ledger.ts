// The ledger: for every document that came in, what became of it and why; and the funnel that adds it up.
//
// One row per document in `ledger.jsonl.gz`, in the order of reading; `funnel.json` counts documents and bytes in
// and out of every step, by reason and by language. The rows are the evidence, the funnel is derived from the same
// calls and must agree with them.
//
// Does not: judge documents; the steps of data/ do. Never holds what a filter found, only how much.
import { join } from 'node:path';
import { writeJsonAtomic } from './atomic.ts';
import type { Document } from './document.ts';
import type { Json } from './json.ts';
import { JsonlWriter, readJsonl } from './jsonl.ts';

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
  /** What steps noted (counts, verdicts), by step. */
  readonly notes?: { readonly [step: string]: Json };
}

export interface FunnelCount {
  documents: number;
  bytes: number;
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
  readonly languages: Record<string, FunnelFlow>;
}

export interface Funnel {
  readonly steps: readonly FunnelStep[];
}

export const ledgerName = 'ledger.jsonl.gz';
export const funnelName = 'funnel.json';

/** Collects rows and counts; `close` writes the funnel. */
export class Ledger {
  private readonly dir: string;
  private readonly writer: JsonlWriter;
  private readonly steps: FunnelStep[];

  constructor(dir: string, stepNames: readonly string[]) {
    this.dir = dir;
    this.writer = new JsonlWriter(join(dir, ledgerName));
    this.steps = stepNames.map((step) => ({ step, ...noFlow(), languages: {} }));
  }

  /** A document passed step `index` (bytes before and after it). */
  passed(index: number, language: string, bytesBefore: number, bytesAfter: number): void {
    for (const flow of this.enter(index, language, bytesBefore)) count(flow.out, bytesAfter);
  }

  /** Step `index` held a document out whole. */
  moved(index: number, language: string, bytesBefore: number): void {
    for (const flow of this.enter(index, language, bytesBefore)) count(flow.moved, bytesBefore);
  }

  /** A document was dropped by step `index`. */
  dropped(index: number, language: string, bytesBefore: number, reason: string): void {
    for (const { dropped } of this.enter(index, language, bytesBefore)) {
      dropped[reason] ??= zero();
      count(dropped[reason], bytesBefore);
    }
  }

  async record(row: LedgerRow): Promise<void> {
    await this.writer.write(row);
  }

  async close(): Promise<Funnel> {
    await this.writer.close();
    const funnel = { steps: this.steps };
    writeJsonAtomic(join(this.dir, funnelName), funnel);
    return funnel;
  }

  /** Counts a document into a step; returns the flows it belongs to, that of all documents and that of its language. */
  private enter(index: number, language: string, bytes: number): readonly FunnelFlow[] {
    const step = this.steps[index];
    if (!step) throw new Error(`Ledger: no step ${index}`);
    step.languages[language] ??= noFlow();
    const flows = [step, step.languages[language]];
    for (const flow of flows) count(flow.in, bytes);
    return flows;
  }
}

/** The rows of a ledger folder. */
export function readLedger(dir: string): AsyncGenerator<LedgerRow> {
  return readJsonl<LedgerRow>(join(dir, ledgerName));
}

/** UTF-8 size of a document's text. */
export function textBytes(document: Document): number {
  return Buffer.byteLength(document.text, 'utf8');
}

function zero(): FunnelCount {
  return { documents: 0, bytes: 0 };
}

function count(into: FunnelCount, bytes: number): void {
  into.documents++;
  into.bytes += bytes;
}

function noFlow(): FunnelFlow {
  return { in: zero(), out: zero(), moved: zero(), dropped: {} };
}
