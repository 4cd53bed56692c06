// Exact duplicates: documents with the same text after NFC and with white space collapsed; the first one stays.
//
// Keys are the first 128 bits of SHA-256 (for 10^11 documents a wrong pair has a probability of 10^-17). A part of the
// comparison takes a range of keys, sorts them with the places of their documents and leaves pairs of the first
// document and each later one.
//
// Does not: find near duplicates.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { inMarkOrder } from '../../tokenizer/mark-order.ts';
import { type CorpusStep, defineStep } from '../step.ts';
import { corpusSettings, dropJudged, forEachSign, judgePairs, mergePairs, pairWords } from './corpus-files.ts';
import { RecordSorter } from './record-sorter.ts';

const name = 'exact-dedup';
const keyBytes = 16;
const keyWords = keyBytes / 4;

/** White space of JavaScript's `\s` beyond Latin-1, by code unit. */
const isWideSpace = new Uint8Array(65536);
for (let unit = 128; unit < 65536; unit++) if (/\s/.test(String.fromCharCode(unit))) isWideSpace[unit] = 1;

let scratch = new Uint8Array(1 << 16);

/** The key of a text: equal for texts that are equal after NFC and with white space collapsed. */
export function exactKey(text: string): Uint8Array {
  return createHash('sha256').update(normalBytes(text)).digest().subarray(0, keyBytes);
}

/** The text as it is compared. */
export function normalise(text: string): string {
  return Buffer.from(normalBytes(text)).toString('utf8');
}

/** UTF-8 of the text as it is compared, valid until the next call. */
function normalBytes(text: string): Uint8Array {
  // Long runs of marks in any order take String.normalize the square of their length.
  const normal = inMarkOrder(text, 'NFD').normalize('NFC');
  if (normal.length * 3 > scratch.length) scratch = new Uint8Array(normal.length * 4);
  return scratch.subarray(0, writeCollapsed(normal, scratch));
}

/** Writes UTF-8 with each run of white space as one space and none at the ends; answers the number of bytes. */
function writeCollapsed(text: string, out: Uint8Array): number {
  let at = 0;
  let pendingSpace = false;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit <= 32 ? unit === 32 || (unit >= 9 && unit <= 13) : unit >= 128 && isWideSpace[unit] === 1) {
      pendingSpace = at > 0;
      continue;
    }
    if (pendingSpace) {
      out[at++] = 32;
      pendingSpace = false;
    }
    if (unit < 0x80) {
      out[at++] = unit;
    } else if (unit < 0x800) {
      out[at++] = 0xc0 | (unit >> 6);
      out[at++] = 0x80 | (unit & 63);
    } else {
      let point = unit;
      if (unit >= 0xd800 && unit < 0xe000) {
        const low = unit < 0xdc00 && i + 1 < text.length ? text.charCodeAt(i + 1) : 0;
        if (low >= 0xdc00 && low < 0xe000) {
          point = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
          i++;
        } else point = 0xfffd;
      }
      if (point >= 0x10000) {
        out[at++] = 0xf0 | (point >> 18);
        out[at++] = 0x80 | ((point >> 12) & 63);
      } else out[at++] = 0xe0 | (point >> 12);
      out[at++] = 0x80 | ((point >> 6) & 63);
      out[at++] = 0x80 | (point & 63);
    }
  }
  return at;
}

const settings = z.strictObject(corpusSettings);

/** The step over a corpus; `detail` is the id of the document that stays. */
export function exactDedup({ parts, memory }: z.output<typeof settings>): CorpusStep {
  const memoryBytes = memory * 2 ** 20;
  return {
    name,
    sign: ({ text }) => exactKey(text),
    parts,
    async match(part, shards, out) {
      const keys = new RecordSorter(keyWords + 2, memoryBytes / 2, `${out}.keys`);
      const pairs = new RecordSorter(pairWords, memoryBytes / 2, `${out}.pairs`);
      try {
        const row = new Uint32Array(keyWords + 2);
        for (const [number, shard] of shards.entries()) {
          forEachSign(shard, keyBytes, (view, at, index) => {
            const top = view.getUint32(at);
            if (Math.floor((top * parts) / 2 ** 32) !== part) return;
            row[0] = top;
            for (let i = 1; i < keyWords; i++) row[i] = view.getUint32(at + 4 * i);
            row[keyWords] = number;
            row[keyWords + 1] = index;
            keys.add(row);
          });
        }
        const first = new Uint32Array(keyWords + 2);
        let any = false;
        for (const key of keys.sorted()) {
          let same = any;
          for (let i = 0; i < keyWords && same; i++) same = key[i] === first[i];
          if (same) pairs.add([first[keyWords], first[keyWords + 1], key[keyWords], key[keyWords + 1]] as number[]);
          else first.set(key);
          any = true;
        }
        pairs.writeTo(out);
      } finally {
        keys.close();
        pairs.close();
      }
    },
    judge: (files, shards, out) => judgePairs(mergePairs(files), shards, out, memoryBytes),
    apply: (judgement) => dropJudged(name, 'duplicate', judgement),
  };
}

export const definition = defineStep({
  name,
  brief: 'of documents with the same text the first stays',
  settings,
  make: (chosen) => exactDedup(chosen),
});
