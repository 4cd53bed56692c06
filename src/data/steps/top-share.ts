// The top share of each language by a score that an earlier step noted: dropped (the 5 % that are most toxic) or all that is
// kept (the 33 or 10 % of best quality).
//
// The threshold of a language is the (1 - share) quantile of its scores as numpy computes it (linear interpolation); the top
// is what is strictly greater. Source: swiss-ai/pretrain-data and epfml/fineweb2-hq (estimate_classifier_threshold), which
// take the quantile of 1,000,000 documents, the first ones of each file. Here it is that of all documents, or, with `sample`,
// of those whose ids have the smallest hashes, so that it never depends on how documents are cut into files.
//
// A record is 24 bytes a document: language, score, hash of the id. Each part takes the languages that fall to it and sorts
// their scores in bounded memory.
//
// Does not: score. A document without the score stays.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import type { Document } from '../../base/document.ts';
import type { Json } from '../../base/json.ts';
import type { Log } from '../../base/progress.ts';
import { type CorpusStep, defineStep, type SignedShard } from '../step.ts';
import { corpusSettings, forEachSign } from './corpus-files.ts';
import { RecordSorter } from './record-sorter.ts';

const name = 'top-share';
const signBytes = 24;
/** Words of language, score and hash of the id in a record. */
const languageAt = 0;
const scoreAt = 2;
const idAt = 4;

const share = z.number().min(0).max(1);

export const settings = z.strictObject({
  /** Where the score is among the notes. */
  note: z.string().default('toxicity.score'),
  /** What becomes of the top share; the rest has the other fate. */
  top: z.enum(['drop', 'keep']).default('drop'),
  /** Apertus: 0.05 for toxicity (drop), 0.33 or 0.1 for quality (keep). */
  share: share.default(0.05),
  /** By the label of the document: another share. */
  byLanguage: z.record(z.string(), z.strictObject({ share })).default({}),
  /** Documents of a language that the threshold is taken from; null: all. pretrain-data: 1000000. */
  sample: z.int().min(1).nullable().default(null),
  ...corpusSettings,
});

/** The number at a path of names in the notes, joined by dots; undefined where there is none. */
export function notedNumber(document: Document, path: string): number | undefined {
  let at: Json | undefined = document.notes as Json | undefined;
  for (const key of path.split('.')) {
    if (at === null || typeof at !== 'object' || Array.isArray(at) || !Object.hasOwn(at, key)) return undefined;
    at = (at as { readonly [key: string]: Json })[key];
  }
  return typeof at === 'number' && Number.isFinite(at) ? at : undefined;
}

const scratch = new DataView(new ArrayBuffer(8));

/** Two words whose order is that of numbers. */
function orderedWords(value: number): readonly [number, number] {
  // Adding zero makes one zero of two.
  scratch.setFloat64(0, value + 0);
  const high = scratch.getUint32(0);
  const low = scratch.getUint32(4);
  return high >>> 31 ? [~high >>> 0, ~low >>> 0] : [(high | 0x80000000) >>> 0, low];
}

function orderedNumber(high: number, low: number): number {
  const positive = high >>> 31 === 1;
  scratch.setUint32(0, positive ? high & 0x7fffffff : ~high);
  scratch.setUint32(4, positive ? low : ~low);
  return scratch.getFloat64(0);
}

/** Words of a score that is not there: above those of any number. */
const noScore = 0xffffffff;

/**
 * numpy's quantile (linear): between the values at the ranks around q (n - 1), interpolated from the nearer one.
 * `at` gives the value of a rank.
 */
export function quantile(count: number, q: number, at: (rank: number) => number): number {
  const place = q * (count - 1);
  const rank = Math.floor(place);
  const below = at(rank);
  if (rank + 1 >= count) return below;
  const above = at(rank + 1);
  const t = place - rank;
  const difference = above - below;
  return t >= 0.5 ? above - difference * (1 - t) : below + difference * t;
}

/** What a part leaves of a language. */
interface Threshold {
  /** Its 8 bytes, in hexadecimal. */
  readonly language: string;
  readonly threshold: number;
  /** Documents with a score, and how many of them the threshold was taken from. */
  readonly scored: number;
  readonly used: number;
}

/** A label in 8 bytes: itself with zeros behind it, or, where it is longer, a byte that no text has and a hash. */
function languageBytes(language: string): Buffer {
  const bytes = Buffer.alloc(8);
  const text = Buffer.from(language, 'utf8');
  if (text.length <= 8) text.copy(bytes);
  else createHash('sha256').update(text).digest().copy(bytes, 0, 0, 8);
  if (text.length > 8) bytes[0] = 0xff;
  return bytes;
}

/** For people: the label, or the hash of a long one. */
function languageText(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  const end = bytes.indexOf(0);
  return bytes[0] === 0xff ? hex : bytes.toString('utf8', 0, end < 0 ? 8 : end);
}

function hexOf(high: number, low: number): string {
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
}

export function topShare(options: z.output<typeof settings>, log: Log): CorpusStep {
  const { note, top, parts, sample } = options;
  const memory = options.memory * 2 ** 20;
  const languages = new Map<string, Buffer>();
  const bytesOf = (language: string): Buffer => {
    let bytes = languages.get(language);
    if (!bytes) languages.set(language, (bytes = languageBytes(language)));
    return bytes;
  };
  const shares = new Map(
    Object.entries(options.byLanguage).map(([language, changed]) => [
      languageBytes(language).toString('hex'),
      changed.share,
    ]),
  );

  return {
    name,
    parts,
    sign(document) {
      const { language, id } = document;
      const score = notedNumber(document, note);
      const bytes = new Uint8Array(signBytes);
      const view = new DataView(bytes.buffer);
      bytes.set(bytesOf(language), languageAt * 4);
      const [high, low] = score === undefined ? [noScore, noScore] : orderedWords(score);
      view.setUint32(scoreAt * 4, high);
      view.setUint32(scoreAt * 4 + 4, low);
      if (sample !== null) bytes.set(createHash('sha256').update(id).digest().subarray(0, 8), idAt * 4);
      return bytes;
    },
    async match(part, shards, out) {
      const scored = new Map<string, number>();
      // Language and score, or, for a sample, language, hash of the id and score: the smallest hashes come first.
      const first = new RecordSorter(sample === null ? 4 : 6, sample === null ? memory : memory / 2, `${out}.scores`);
      const chosen = new RecordSorter(4, memory / 2, `${out}.sample`);
      try {
        for (const shard of shards) {
          forEachSign(shard, signBytes, (view, at) => {
            const high = view.getUint32(at);
            const word = (index: number): number => view.getUint32(at + index * 4);
            if (partOf(high, word(1), parts) !== part || word(scoreAt) === noScore) return;
            const language = hexOf(high, word(1));
            scored.set(language, (scored.get(language) ?? 0) + 1);
            const id = sample === null ? [] : [word(idAt), word(idAt + 1)];
            first.add([high, word(1), ...id, word(scoreAt), word(scoreAt + 1)]);
          });
        }
        if (sample !== null) {
          for (const { rank, row } of ranked(first.sorted())) {
            if (rank < sample) chosen.add([row[0], row[1], row[4], row[5]] as number[]);
          }
        }
        const found: Threshold[] = [];
        // The values at the two ranks around the quantile.
        const ends = [0, 0];
        for (const { rank, row } of ranked((sample === null ? first : chosen).sorted())) {
          const language = hexOf(row[0] as number, row[1] as number);
          const all = scored.get(language) as number;
          const used = sample === null ? all : Math.min(all, sample);
          const q = 1 - (shares.get(language) ?? options.share);
          const below = Math.floor(q * (used - 1));
          const score = orderedNumber(row[2] as number, row[3] as number);
          if (rank === below) ends[0] = score;
          if (rank === Math.min(below + 1, used - 1)) {
            ends[1] = score;
            const threshold = quantile(used, q, (wanted) => ends[wanted - below] as number);
            found.push({ language, threshold, scored: all, used });
          }
        }
        writeFileSync(out, JSON.stringify(found));
      } finally {
        first.close();
        chosen.close();
      }
    },
    async judge(files, shards, out) {
      const thresholds = new Map<string, Threshold>();
      for (const path of files) {
        for (const one of JSON.parse(readFileSync(path, 'utf8')) as Threshold[]) thresholds.set(one.language, one);
      }
      for (const { language, threshold, scored, used } of thresholds.values()) {
        const from = used === scored ? '' : ` (${used} of them)`;
        log.line(`${name}: ${languageText(language)}: ${note} > ${threshold} of ${scored} documents${from}`);
      }
      for (const [number, shard] of shards.entries()) writeFileSync(out(number), dropped(shard, thresholds, top));
    },
    async apply(judgement) {
      const bytes = readFileSync(judgement);
      let at = 0;
      let index = 0;
      return {
        name,
        run(document) {
          const isDropped = at < bytes.length && bytes.readUInt32LE(at) === index;
          index++;
          if (!isDropped) return { keep: document };
          at += 4;
          return { drop: { reason: top === 'drop' ? 'in-top-share' : 'below-top-share' } };
        },
      };
    },
  };
}

/** The part that a language falls to. */
function partOf(high: number, low: number, parts: number): number {
  const mixed = Math.imul(high ^ Math.imul(low, 0x9e3779b1), 0x85ebca6b);
  return ((mixed ^ (mixed >>> 15)) >>> 0) % parts;
}

/** Rows in order, each with its rank among those of its language. */
function* ranked(rows: Iterable<Uint32Array>): Generator<{ readonly rank: number; readonly row: Uint32Array }> {
  let high = -1;
  let low = -1;
  let rank = 0;
  for (const row of rows) {
    if (row[0] !== high || row[1] !== low) {
      rank = 0;
      high = row[0] as number;
      low = row[1] as number;
    }
    yield { rank: rank++, row };
  }
}

/** Numbers of the documents of a shard that go, 4 bytes each. */
function dropped(shard: SignedShard, thresholds: ReadonlyMap<string, Threshold>, top: 'drop' | 'keep'): Buffer {
  const numbers: number[] = [];
  forEachSign(shard, signBytes, (view, at, index) => {
    const high = view.getUint32(at + scoreAt * 4);
    if (high === noScore) return;
    const language = hexOf(view.getUint32(at), view.getUint32(at + 4));
    const { threshold } = thresholds.get(language) as Threshold;
    const isTop = orderedNumber(high, view.getUint32(at + scoreAt * 4 + 4)) > threshold;
    if (isTop === (top === 'drop')) numbers.push(index);
  });
  const bytes = Buffer.alloc(numbers.length * 4);
  for (const [i, number] of numbers.entries()) bytes.writeUInt32LE(number, i * 4);
  return bytes;
}

export const definition = defineStep({
  name,
  brief: 'the top share of a language by a score goes, or stays',
  settings,
  make: (given, { log }) => topShare(given, log),
});
