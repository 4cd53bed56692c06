// The one record that flows through the data rooms: a document, its origin and its structure.
//
// Everything a filter may ask about a document is in it, so that steps compose without adapters. Text edits go
// through `editText`, which keeps the sections in place.
//
// Does not: read or write files; jsonl.ts does.
import type { Json } from './json.ts';

/** A named part of the text, e.g. one article: characters [start, end) of `text` (UTF-16 units). */
export interface Section {
  readonly label: string;
  readonly start: number;
  readonly end: number;
}

export interface Document {
  /** Unique in its corpus and stable over runs. */
  readonly id: string;
  readonly text: string;
  /** Address it was fetched from, if any. */
  readonly url?: string | undefined;
  /** ISO 639-3 code of the label that came with the document, or `und`. */
  readonly language: string;
  /** Name of the collection it came from. */
  readonly source: string;
  /** SPDX expression or the licence as the source states it; `unknown` where it says nothing. */
  readonly licence: string;
  readonly sections?: readonly Section[] | undefined;
  /** What steps noted about it (scores, verdicts, counts), by step name. */
  readonly notes?: { readonly [step: string]: Json } | undefined;
}

/** Replace characters [start, end) by `text`. */
export interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** A copy with the edits made (ascending, not overlapping) and the sections moved along. */
export function editText(document: Document, edits: readonly Edit[]): Document {
  if (edits.length === 0) return document;
  let text = '';
  let at = 0;
  for (const edit of edits) {
    if (edit.start < at || edit.end < edit.start || edit.end > document.text.length) {
      throw new Error(`editText: edits of ${document.id} overlap or leave the text at ${edit.start}`);
    }
    text += document.text.slice(at, edit.start) + edit.text;
    at = edit.end;
  }
  text += document.text.slice(at);
  const move = (position: number): number => {
    let shift = 0;
    for (const edit of edits) {
      if (edit.end <= position) shift += edit.text.length - (edit.end - edit.start);
      else if (edit.start < position) return edit.start + shift + edit.text.length;
      else break;
    }
    return position + shift;
  };
  const sections = document.sections?.map(({ label, start, end }) => ({ label, start: move(start), end: move(end) }));
  return { ...document, text, ...(sections ? { sections } : {}) };
}

/** A copy with one more note. */
export function withNote(document: Document, step: string, note: Json): Document {
  return { ...document, notes: { ...document.notes, [step]: note } };
}
