// Exact duplicates: documents with the same text after NFC and with white space collapsed; the first one read stays.
//
// Keys are SHA-256, so equal keys are equal texts for every practical purpose. Memory: about 150 bytes a document.
//
// Does not: find near duplicates.
import { createHash } from 'node:crypto';
import type { Step } from './step.ts';

/** The text as it is compared. */
export function normalise(text: string): string {
  return text.normalize('NFC').replace(/\s+/g, ' ').trim();
}

/** The step of the pipeline; `detail` is the id of the document that stays. */
export function exactDedupStep(): Step {
  const first = new Map<string, string>();
  return {
    name: 'exact-dedup',
    run(document) {
      const key = createHash('sha256').update(normalise(document.text)).digest('base64');
      const original = first.get(key);
      if (original !== undefined) return { drop: { reason: 'duplicate', detail: original } };
      first.set(key, document.id);
      return { keep: document };
    },
  };
}
