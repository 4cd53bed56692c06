// Finds one document in a cleaned corpus: its ledger row and what of it is in training and validation.
//
// Does not: keep an index; the files are read from the start, which takes seconds on corpora of this size.
import { join } from 'node:path';
import type { Document } from '../base/document.ts';
import { readJsonl } from '../base/jsonl.ts';
import { type LedgerRow, readLedger } from '../base/ledger.ts';
import { trainName, validationName } from './clean.ts';

export interface DocumentTrace {
  readonly row: LedgerRow;
  /** The document as it is trained on; undefined when dropped or held out whole. */
  readonly train: Document | undefined;
  /** Its held-out parts. */
  readonly validation: readonly Document[];
}

/** Looks up a document by id (the id of a held-out part, `<id>#<label>`, finds its document); undefined if unknown. */
export async function lookUpDocument(dir: string, id: string): Promise<DocumentTrace | undefined> {
  let row: LedgerRow | undefined;
  let wholeId = id;
  for await (const candidate of readLedger(dir)) {
    if (candidate.id !== id && !id.startsWith(`${candidate.id}#`)) continue;
    row = candidate;
    wholeId = candidate.id;
    break;
  }
  if (!row) return undefined;
  if (row.verdict === 'dropped') return { row, train: undefined, validation: [] };
  let train: Document | undefined;
  for await (const document of readJsonl<Document>(join(dir, trainName))) {
    if (document.id !== wholeId) continue;
    train = document;
    break;
  }
  const validation: Document[] = [];
  for await (const document of readJsonl<Document>(join(dir, validationName))) {
    if (document.id === wholeId || document.id.startsWith(`${wholeId}#`)) validation.push(document);
  }
  return { row, train, validation };
}
