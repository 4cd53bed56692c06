// Repeated substrings, after Lee et al. (2022, "Deduplicating training data makes language models better"): a window of
// N characters that occurs earlier in the corpus is cut, wherever else it stands; the first occurrence stays. N is 200
// UTF-16 units by default, for their 50 tokens at four characters each, so that no tokenizer decides about data.
//
// A window is repeated if the same N characters stand in an earlier document, or in the same one and end before the
// window begins. What is cut is the union of repeated windows; a character of two units is never cut in half.
//
// Instead of a suffix array (5 to 8 bytes a character, sorted as one piece; ours here half a byte): in every window of N
// the k-gram with the least hash is a sample (winnowing, Schleimer et al., 2003; w = N / 2, k = N - w + 1), so equal
// windows have the same sample at the same place, and 2 / (w + 1) of all positions are samples. A record is the hash of a sample and that of its
// context, the w - 1 characters on both sides: where both agree with an earlier sample, all windows over it are
// repeated. Only where a sample comes back in another context (the edges of a repetition) the other windows are hashed,
// with 128 bits, in `judge`, which reads the documents with such places. Equal 128 bits are taken for equal text.
//
// Does not: find what differs by a single character, or mend words that a cut divides.
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { z } from 'zod';
import { type Document, type Edit, editText, withNote } from '../../base/document.ts';
import { readJsonl } from '../../base/jsonl.ts';
import { type CorpusStep, defineStep, type SignedShard, type Step } from '../step.ts';
import { corpusSettings, documentsAt, inGroups } from './corpus-files.ts';
import { mergeRecords, RecordSorter } from './record-sorter.ts';
import { sampleWords, Sampler, unitsOf } from './substrings.ts';
import { hashRanges } from './xxhash.ts';

const name = 'substring-dedup';

const settings = z.strictObject({
  /** UTF-16 units of the shortest repetition; Lee et al.: 50 tokens. */
  characters: z.int().min(2).max(100_000).default(200),
  /** Cut repetitions out, or drop documents that consist of them. */
  mode: z.enum(['cut', 'drop']).default('cut'),
  /** In mode `drop`: a document goes if more than this share of it is repeated; others stay as they are. */
  share: z.number().min(0).max(1).default(0.5),
  ...corpusSettings,
});
type Settings = z.output<typeof settings>;

/** Sample, context, reach, then shard, document and position. */
const rowWords = 8;
/** Shard, document, what, start, end. */
const placeWords = 5;
const isRepeated = 0;
const isOpen = 1;

/** The step over a corpus. */
export function substringDedup(chosen: Settings): CorpusStep {
  const length = chosen.characters;
  const memory = chosen.memory * 2 ** 20;
  const sampler = new Sampler(length);
  return {
    name,
    readsDocuments: true,
    sign: ({ text }) => sampler.sign(text),
    parts: chosen.parts,
    match: async (part, shards, out) => matchSamples(part, shards, out, sampler, chosen),
    async judge(files, shards, out) {
      if (shards.length === 0) return;
      const scratch = `${out(0)}.repeated`;
      const windows = new RecordSorter(7, memory / 2, `${scratch}.windows`);
      const cuts = new RecordSorter(4, memory / 2, `${scratch}.cuts`);
      try {
        await hashOpenWindows(files, shards, length, windows, cuts);
        addRepeatedWindows(windows, length, cuts);
        windows.close();
        await writeCuts(cuts, shards, out);
      } finally {
        windows.close();
        cuts.close();
      }
    },
    apply: (judgement) => cutStep(judgement, chosen),
  };
}

/** Leaves, sorted, the places that are repeated and those whose windows must be looked at, for the samples of a part. */
function matchSamples(
  part: number,
  shards: readonly SignedShard[],
  out: string,
  sampler: Sampler,
  chosen: Settings,
): void {
  const { parts } = chosen;
  const memory = chosen.memory * 2 ** 20;
  const rows = new RecordSorter(rowWords, memory / 2, `${out}.samples`);
  const places = new RecordSorter(placeWords, memory / 2, `${out}.places`);
  try {
    const row = new Uint32Array(rowWords);
    for (const [number, shard] of shards.entries()) {
      forEachSample(shard, (words, at, index) => {
        const top = words[at] as number;
        if (Math.floor((top * parts) / 2 ** 32) !== part) return;
        for (let i = 0; i < 5; i++) row[i] = words[at + i] as number;
        row[5] = number;
        row[6] = index;
        row[7] = words[at + 5] as number;
        rows.add(row);
      });
    }
    const place = (of: Uint32Array, what: number): void => {
      const reach = of[4] as number;
      const at = of[7] as number;
      places.add([of[5], of[6], what, at - (reach >>> 16), at + sampler.k + (reach & 0xffff)] as number[]);
    };
    // Rows with the same sample are together, within them those with the same context, these in the order of the
    // corpus. `first` is the first of a context; it is open if the sample has other contexts too, or follows itself.
    const first = new Uint32Array(rowWords);
    let any = false;
    let firstIsOpen = false;
    for (const current of rows.sorted()) {
      const sameSample = any && current[0] === first[0] && current[1] === first[1];
      if (sameSample && current[2] === first[2] && current[3] === first[3] && current[4] === first[4]) {
        const apart = current[5] !== first[5] || current[6] !== first[6];
        if (apart || (current[7] as number) - (first[7] as number) >= sampler.length) place(current, isRepeated);
        else {
          if (!firstIsOpen) place(first, isOpen);
          firstIsOpen = true;
          place(current, isOpen);
        }
        continue;
      }
      if (sameSample) {
        if (!firstIsOpen) place(first, isOpen);
        place(current, isOpen);
      }
      first.set(current);
      firstIsOpen = sameSample;
      any = true;
    }
    places.writeTo(out);
  } finally {
    rows.close();
    places.close();
  }
}

/** Calls `visit` with each sample of a shard. */
function forEachSample(shard: SignedShard, visit: (words: Uint32Array, at: number, index: number) => void): void {
  const file = openSync(shard.signs, 'r');
  const words = new Uint32Array(1 << 16);
  try {
    let index = 0;
    /** Words of the current document that are still to come. */
    let open = 0;
    let kept = 0;
    for (;;) {
      const bytes = new Uint8Array(words.buffer, kept * 4);
      let filled = 0;
      for (let read = -1; read !== 0 && filled < bytes.length; filled += read) {
        read = readSync(file, bytes, filled, bytes.length - filled, null);
      }
      const end = kept + filled / 4;
      let at = 0;
      for (;;) {
        if (open === 0) {
          if (at === end) break;
          open = (words[at++] as number) * sampleWords;
          index++;
        }
        for (; open > 0 && at + sampleWords <= end; at += sampleWords, open -= sampleWords) visit(words, at, index - 1);
        if (open > 0) break;
      }
      if (filled < bytes.length) {
        if (open > 0 || at !== end || index !== shard.count) {
          throw new Error(`${shard.signs} has ${index} records for ${shard.count} documents`);
        }
        return;
      }
      kept = end - at;
      words.copyWithin(0, at, end);
    }
  } finally {
    closeSync(file);
  }
}

/** Hashes the windows in the open places, and hands the repeated places on. */
async function hashOpenWindows(
  files: readonly string[],
  shards: readonly SignedShard[],
  length: number,
  windows: RecordSorter,
  cuts: RecordSorter,
): Promise<void> {
  await inGroups(joinedPlaces(mergeRecords(files, placeWords), length), async (number, places) => {
    const documents = new Map<number, { readonly repeated: Place[]; readonly open: Place[] }>();
    for (const [, index = 0, what, start = 0, end = 0] of places) {
      let found = documents.get(index);
      if (!found) documents.set(index, (found = { repeated: [], open: [] }));
      if (what === isOpen) found.open.push({ start, end });
      else {
        found.repeated.push({ start, end });
        cuts.add([number, index, start, end]);
      }
    }
    const wanted = [...documents].flatMap(([index, { open }]) => (open.length > 0 ? [index] : []));
    for await (const { index, document } of documentsAt(shards[number] as SignedShard, wanted)) {
      const bytes = unitsOf(document.text);
      const { repeated, open } = documents.get(index) as { readonly repeated: Place[]; readonly open: Place[] };
      for (const { start, end } of undecided(open, repeated, length)) {
        addWindows(bytes, start, end, length, number, index, windows);
      }
    }
  });
}

/**
 * Places whose windows go over into those of the next as one: a text of one character, or of a short period, has a sample
 * at every position.
 */
export function* joinedPlaces(places: Iterable<Uint32Array>, length: number): Generator<Uint32Array> {
  const row = new Uint32Array(placeWords);
  let any = false;
  for (const next of places) {
    const same = any && next[0] === row[0] && next[1] === row[1] && next[2] === row[2];
    if (same && (next[3] as number) <= (row[4] as number) - length + 1) {
      row[4] = Math.max(row[4] as number, next[4] as number);
      continue;
    }
    if (any) yield row;
    row.set(next);
    any = true;
  }
  if (any) yield row;
}

interface Place {
  readonly start: number;
  readonly end: number;
}

/**
 * First windows (from `start` until before `end`) of the open places that lie in no repeated one: such a window is cut
 * anyway, and stands earlier, so that no other needs it. Both lists ascend.
 */
function* undecided(open: readonly Place[], repeated: readonly Place[], length: number): Generator<Place> {
  let next = 0;
  // The farthest end of the repeated places that begin up to here.
  let reach = 0;
  let at = 0;
  for (const place of open) {
    const end = place.end - length + 1;
    for (at = Math.max(at, place.start); at < end; ) {
      for (; next < repeated.length && (repeated[next] as Place).start <= at; next++) {
        reach = Math.max(reach, (repeated[next] as Place).end);
      }
      if (reach >= at + length) {
        at = reach - length + 1;
        continue;
      }
      const stop = Math.min(end, repeated[next]?.start ?? end);
      yield { start: at, end: stop };
      at = stop;
    }
  }
}

/** Windows that begin from `start` until before `end`. */
function addWindows(
  bytes: Uint8Array,
  start: number,
  end: number,
  length: number,
  shard: number,
  index: number,
  windows: RecordSorter,
): void {
  // A long range in pieces, so that memory does not follow the longest document.
  const most = 1 << 14;
  for (let from = start; from < end; from += most) {
    const count = Math.min(most, end - from);
    const starts = Int32Array.from({ length: count }, (_, i) => 2 * (from + i));
    const ends = starts.map((at) => at + 2 * length);
    const [one, other] = [2, 3].map((seed) => {
      const hashes = new BigUint64Array(count);
      hashRanges(bytes, starts, ends, seed, hashes);
      return new Uint32Array(hashes.buffer);
    }) as [Uint32Array, Uint32Array];
    const row = new Uint32Array(7);
    row[4] = shard;
    row[5] = index;
    for (let i = 0; i < count; i++) {
      row[0] = one[2 * i] as number;
      row[1] = one[2 * i + 1] as number;
      row[2] = other[2 * i] as number;
      row[3] = other[2 * i + 1] as number;
      row[6] = from + i;
      windows.add(row);
    }
  }
}

/** Hands on the windows that occur earlier. */
function addRepeatedWindows(windows: RecordSorter, length: number, cuts: RecordSorter): void {
  const first = new Uint32Array(7);
  let any = false;
  for (const row of windows.sorted()) {
    const same = any && row[0] === first[0] && row[1] === first[1] && row[2] === first[2] && row[3] === first[3];
    const [, , , , shard = 0, index = 0, at = 0] = row;
    if (!same) first.set(row);
    else if (shard !== first[4] || index !== first[5] || at - (first[6] as number) >= length) {
      cuts.add([shard, index, at, at + length]);
    }
    any = true;
  }
}

/** One file for each shard: lines `[number of the document, start, end, start, end, ...]`. */
async function writeCuts(
  cuts: RecordSorter,
  shards: readonly SignedShard[],
  out: (shard: number) => string,
): Promise<void> {
  let shard = -1;
  let file: number | undefined;
  let line: number[] = [];
  const endLine = (): void => {
    if (line.length > 0) writeSync(file as number, `${JSON.stringify(line)}\n`);
    line = [];
  };
  const openShard = (): void => {
    if (file !== undefined) closeSync(file);
    file = openSync(out(++shard), 'w');
  };
  try {
    for (const [number = 0, index = 0, start = 0, end = 0] of cuts.sorted()) {
      if (number !== shard || index !== line[0]) endLine();
      while (shard < number) openShard();
      if (line.length === 0) line.push(index, start, end);
      else if (start > (line.at(-1) as number)) line.push(start, end);
      else line[line.length - 1] = Math.max(line.at(-1) as number, end);
    }
    endLine();
    while (shard < shards.length - 1) openShard();
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** The step for one shard. */
async function cutStep(judgement: string, { mode, share }: Settings): Promise<Step> {
  const cuts = new Map<number, readonly number[]>();
  for await (const [index, ...ranges] of readJsonl<[number, ...number[]]>(judgement)) cuts.set(index, ranges);
  let number = 0;
  return {
    name,
    run(document) {
      const ranges = cuts.get(number++);
      if (!ranges) return { keep: document };
      const edits = editsOf(document, ranges);
      const characters = edits.reduce((sum, { start, end }) => sum + end - start, 0);
      if (mode === 'drop') {
        const repeated = characters / document.text.length;
        if (repeated <= share) return { keep: document };
        return { drop: { reason: 'repeated-substrings', detail: `${repeated.toFixed(2)} of it` } };
      }
      const left = editText(document, edits);
      if (left.text.trim() === '') return { drop: { reason: 'nothing-left' } };
      return { keep: withNote(left, name, { characters, places: edits.length }) };
    },
  };
}

/** The ranges without halves of characters. */
function editsOf({ text }: Document, ranges: readonly number[]): Edit[] {
  const inside = (at: number): boolean => {
    const [before, after] = [text.charCodeAt(at - 1), text.charCodeAt(at)];
    return before >= 0xd800 && before < 0xdc00 && after >= 0xdc00 && after < 0xe000;
  };
  const edits: Edit[] = [];
  for (let i = 0; i < ranges.length; i += 2) {
    let [start, end] = [ranges[i] as number, ranges[i + 1] as number];
    if (inside(start)) start++;
    if (inside(end)) end--;
    if (start < end) edits.push({ start, end, text: '' });
  }
  return edits;
}

export const definition = defineStep({
  name,
  brief: 'text that was there before is cut out',
  settings,
  make: (chosen) => substringDedup(chosen),
});
