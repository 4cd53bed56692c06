// One step of the cleaning line: a document in, the same or a changed document out, or a reason why not.
//
// Does not: count or record; pipeline.ts does.
import type { Document } from '../base/document.ts';

export type Verdict =
  | { readonly keep: Document }
  /** `reason` is a fixed word for tables; `detail` is for people and never quotes personal data. */
  | { readonly drop: { readonly reason: string; readonly detail?: string } };

export interface Step {
  readonly name: string;
  run(document: Document): Verdict;
}
