// The top share of each language by scores that earlier steps noted: dropped (the 5 % that are most toxic) or all that is kept
// (the 33 or 10 % of best quality).
//
// The threshold of a language is the (1 - share) quantile of its scores as numpy computes it (linear interpolation); the top
// is what is strictly greater. Source: swiss-ai/pretrain-data and epfml/fineweb2-hq (estimate_classifier_threshold), which
// take the quantile of 1,000,000 documents, the first ones of each file. Here it is that of all documents, or, with `sample`,
// of those whose ids have the smallest hashes, so that it never depends on how documents are cut into files.
//
// A record is 16 bytes a document, language and hash of the id, and 8 for each rule's score. Each part takes the languages
// that fall to it and sorts their scores in bounded memory.
//
// Does not: score. A document without the score stays.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import type { Document } from '../../base/document.ts';
import type { Json } from '../../base/json.ts';
import type { Log } from '../../base/progress.ts';
import { type CorpusStep, defineStep } from '../step.ts';
import { corpusSettings, forEachSign } from './corpus-files.ts';
import { RecordSorter } from './record-sorter.ts';

const name = 'top-share';
/** Places in a record: language, hash of the id, scores. */
const idAt = 8;
const scoresAt = 16;

const share = z.number().min(0).max(1);

const ruleSchema = z.strictObject({
  /** Where the score is among the notes. */
  note: z.string().default('toxicity.score'),
  /** What becomes of the top share; the rest has the other fate. */
  top: z.enum(['drop', 'keep']).default('drop'),
  /** Apertus: 0.05 for toxicity (drop), 0.33 or 0.1 for quality (keep). */
  share: share.default(0.05),
  /** By the label of the document: another share. */
  byLanguage: z.record(z.string(), z.strictObject({ share })).default({}),
});

export const settings = z.strictObject({
  /** Every rule looks at all documents; the first that a document falls to drops it. */
  rules: z.array(ruleSchema).min(1).max(256).prefault([{}]),
  /** Documents of a language that thresholds are taken from; null: all. pretrain-data: 1000000. */
  sample: z.int().min(1).nullable().default(null),
  ...corpusSettings,
});

/** The number at a path of names in the notes; undefined where there is none. */
export function notedNumber(document: Document, path: readonly string[]): number | undefined {
  let at: Json | undefined = document.notes as Json | undefined;
  for (const key of path) {
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

/** What a part leaves of a language and a rule. */
interface Threshold {
  readonly rule: number;
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

/** Documents of one language with a score for one rule. */
interface Group {
  readonly rule: number;
  readonly language: string;
  scored: number;
}

export function topShare(options: z.output<typeof settings>, log: Log): CorpusStep {
  const { rules, parts, sample } = options;
  const signBytes = scoresAt + 8 * rules.length;
  const memory = options.memory * 2 ** 20;
  const paths = rules.map(({ note }) => note.split('.'));
  const languages = new Map<string, Buffer>();
  const bytesOf = (language: string): Buffer => {
    let bytes = languages.get(language);
    if (!bytes) languages.set(language, (bytes = languageBytes(language)));
    return bytes;
  };
  const shares = rules.map(
    ({ byLanguage }) =>
      new Map(
        Object.entries(byLanguage).map(([language, changed]) => [
          languageBytes(language).toString('hex'),
          changed.share,
        ]),
      ),
  );

  return {
    name,
    parts,
    sign(document) {
      const bytes = new Uint8Array(signBytes);
      const view = new DataView(bytes.buffer);
      bytes.set(bytesOf(document.language));
      if (sample !== null) bytes.set(createHash('sha256').update(document.id).digest().subarray(0, 8), idAt);
      let at = scoresAt;
      for (const path of paths) {
        const score = notedNumber(document, path);
        const [high, low] = score === undefined ? [noScore, noScore] : orderedWords(score);
        view.setUint32(at, high);
        view.setUint32(at + 4, low);
        at += 8;
      }
      return bytes;
    },
    async match(part, shards, out) {
      const groups: Group[] = [];
      const numberOf = new Map<string, number>();
      // Group and score, or, for a sample, group, hash of the id and score: the smallest hashes come first.
      const first = new RecordSorter(sample === null ? 3 : 5, sample === null ? memory : memory / 2, `${out}.scores`);
      const chosen = new RecordSorter(3, memory / 2, `${out}.sample`);
      try {
        const row = new Uint32Array(sample === null ? 3 : 5);
        for (const shard of shards) {
          forEachSign(shard, signBytes, (view, at) => {
            const high = view.getUint32(at);
            const low = view.getUint32(at + 4);
            if (partOf(high, low, parts) !== part) return;
            const language = hexOf(high, low);
            for (let rule = 0, place = at + scoresAt; rule < rules.length; rule++, place += 8) {
              const score = view.getUint32(place);
              if (score === noScore) continue;
              const key = `${rule} ${language}`;
              let number = numberOf.get(key);
              if (number === undefined) {
                number = groups.length;
                numberOf.set(key, number);
                groups.push({ rule, language, scored: 0 });
              }
              (groups[number] as Group).scored++;
              row[0] = number;
              if (sample !== null) {
                row[1] = view.getUint32(at + idAt);
                row[2] = view.getUint32(at + idAt + 4);
              }
              row[row.length - 2] = score;
              row[row.length - 1] = view.getUint32(place + 4);
              first.add(row);
            }
          });
        }
        if (sample !== null) {
          for (const { rank, row } of ranked(first.sorted())) {
            if (rank < sample) chosen.add([row[0], row[3], row[4]] as number[]);
          }
        }
        const found: Threshold[] = [];
        // The values at the two ranks around the quantile.
        const ends = [0, 0];
        for (const { rank, row } of ranked((sample === null ? first : chosen).sorted())) {
          const { rule, language, scored } = groups[row[0] as number] as Group;
          const used = sample === null ? scored : Math.min(scored, sample);
          const q = 1 - (shares[rule]?.get(language) ?? (rules[rule]?.share as number));
          const below = Math.floor(q * (used - 1));
          if (rank === below) ends[0] = orderedNumber(row[1] as number, row[2] as number);
          if (rank === Math.min(below + 1, used - 1)) {
            ends[1] = orderedNumber(row[1] as number, row[2] as number);
            const threshold = quantile(used, q, (wanted) => ends[wanted - below] as number);
            found.push({ rule, language, threshold, scored, used });
          }
        }
        writeFileSync(out, JSON.stringify(found));
      } finally {
        first.close();
        chosen.close();
      }
    },
    async judge(files, shards, out) {
      const all = files.flatMap((path) => JSON.parse(readFileSync(path, 'utf8')) as Threshold[]);
      all.sort((a, b) => a.rule - b.rule || (a.language < b.language ? -1 : 1));
      const thresholds = rules.map(() => new Map<string, number>());
      for (const { rule, language, threshold, scored, used } of all) {
        thresholds[rule]?.set(language, threshold);
        const from = used === scored ? '' : ` (${used} of them)`;
        const where = `${name}: ${languageText(language)}: ${rules[rule]?.note}`;
        log.line(`${where} > ${threshold} of ${scored} documents${from}`);
      }
      for (const [rule, { note }] of rules.entries()) {
        if (thresholds[rule]?.size === 0)
          log.line(`${name}: no document has the score ${note}: nothing falls to this rule`);
      }
      for (const [number, shard] of shards.entries()) {
        const words: number[] = [];
        forEachSign(shard, signBytes, (view, at, index) => {
          const rule = rules.findIndex(({ top }, one) => {
            const high = view.getUint32(at + scoresAt + 8 * one);
            if (high === noScore) return false;
            const language = hexOf(view.getUint32(at), view.getUint32(at + 4));
            const score = orderedNumber(high, view.getUint32(at + scoresAt + 8 * one + 4));
            return score > (thresholds[one]?.get(language) as number) === (top === 'drop');
          });
          if (rule >= 0) words.push(index, rule);
        });
        writeFileSync(out(number), new Uint8Array(Uint32Array.from(words).buffer));
      }
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
          const { note, top } = rules[bytes.readUInt32LE(at + 4)] as (typeof rules)[0];
          at += 8;
          return { drop: { reason: top === 'drop' ? 'in-top-share' : 'below-top-share', detail: note } };
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

/** Rows in order, each with its rank among those with the same first word. */
function* ranked(rows: Iterable<Uint32Array>): Generator<{ readonly rank: number; readonly row: Uint32Array }> {
  let group = -1;
  let rank = 0;
  for (const row of rows) {
    if (row[0] !== group) {
      rank = 0;
      group = row[0] as number;
    }
    yield { rank: rank++, row };
  }
}

export const definition = defineStep({
  name,
  brief: 'the top share of a language by a score goes, or is all that stays',
  settings,
  make: (given, { log }) => topShare(given, log),
});
