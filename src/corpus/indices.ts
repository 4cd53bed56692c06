// In which order training reads a token file: Megatron's document, sample and shuffle indices, number for number.
//
// Documents are repeated for as many epochs as the samples need and shuffled; the stream of their tokens is cut into
// windows of L + 1 tokens that overlap by one; the windows are shuffled. One MT19937 makes both shuffles. What is
// called a document here is a sequence of the file: Megatron shuffles those, also where a document has several.
// Source: NVIDIA/Megatron-LM, megatron/core/datasets/gpt_dataset.py, helpers.py and helpers.cpp.
//
// Does not: read tokens (sample-rows.ts does) or files of indices (index-cache.ts does).
import { UserError } from '../base/errors.ts';
import { Mt19937 } from '../base/rng.ts';

/** The indices by number, wherever they lie. */
export interface SampleOrder {
  /** Samples there are: at least as many as requested. */
  readonly samples: number;
  /** Entries of the document index: epochs * documents. */
  readonly places: number;
  /** Which document is read at a place, in [0, places). */
  readonly documentAt: (place: number) => number;
  /** The place where a window begins, window in [0, samples]; the last one is where the data end. */
  readonly placeOf: (window: number) => number;
  /** The token of the document at that place where it begins. */
  readonly offsetOf: (window: number) => number;
  /** The window that is read as the i-th sample, i in [0, samples). */
  readonly windowOf: (i: number) => number;
  readonly close: () => void;
}

/** What the indices will be, known before they are built. */
export interface SamplePlan {
  readonly epochs: number;
  /** The last epoch is shuffled apart, because less than 80 % of it is used. */
  readonly separateFinalEpoch: boolean;
  /** Samples of all epochs but the last. */
  readonly samplesBeforeFinal: number;
  readonly samples: number;
}

export interface SamplePlanOptions {
  /** Tokens of one epoch. */
  readonly tokens: number;
  /** L: inputs per sample. */
  readonly sequenceLength: number;
  /** Samples needed; null: one epoch. */
  readonly samples: number | null;
  /** Keep a last window that is not full (Megatron's validation). */
  readonly keepPartialSample?: boolean;
}

export interface SampleIndices extends SamplePlan {
  /** [epochs * documents] which document is read at each place. */
  readonly documentIndex: Int32Array;
  /** [(samples + 1) * 2] rows of (place in documentIndex, token offset); sample k reads from row k to row k+1. */
  readonly sampleIndex: Int32Array;
  /** [samples] the window that is read as the i-th sample. */
  readonly shuffleIndex: Uint32Array;
}

export interface SampleIndicesOptions extends Omit<SamplePlanOptions, 'tokens'> {
  /** [number of documents] tokens of each. */
  readonly lengths: Int32Array;
  /** Which documents to use, as indices into `lengths`; default: all. */
  readonly documents?: Int32Array | undefined;
  readonly seed: number;
}

/** Share of an epoch below which the last one is shuffled apart (Megatron's 0.80). */
const separateBelow = 0.8;
/** Megatron numbers windows with 32 bits below this; above, its shuffle draws 64-bit numbers, which we do not. */
const mostSamples = 2 ** 32 - 2;

export function planSamples(options: SamplePlanOptions): SamplePlan {
  const { tokens, sequenceLength: L, samples: requested, keepPartialSample = false } = options;
  const epochs = requested === null || tokens === 0 ? 1 : Math.max(1, ceilOfQuotient(requested * L + 1, tokens));
  const samplesBeforeFinal = epochs > 1 ? Math.floor(((epochs - 1) * tokens - 1) / L) : 0;
  let separateFinalEpoch = false;
  if (epochs > 1 && requested !== null) {
    const fromFinal = requested - samplesBeforeFinal;
    const perEpoch = Math.floor((tokens - 1) / L);
    separateFinalEpoch = fromFinal < Math.floor(separateBelow * perEpoch);
  }
  const predicted = epochs * tokens - 1;
  // The original counts with a partial last window in single precision.
  const samples = keepPartialSample
    ? Math.ceil(Math.fround(Math.fround(predicted) / Math.fround(L)))
    : Math.floor(predicted / L);
  if (samples >= mostSamples) {
    throw new UserError('one token file gives too many samples', {
      found: `${samples} samples in ${epochs} epochs of ${tokens} tokens`,
      expected: `fewer than ${mostSamples}`,
      next: 'split it into several files and mix them',
    });
  }
  return { epochs, separateFinalEpoch, samplesBeforeFinal, samples: Math.max(0, samples) };
}

/** All three indices in memory. */
export function buildSampleIndices(options: SampleIndicesOptions): SampleIndices {
  const { lengths } = options;
  const documents = options.documents ?? allDocuments(lengths.length);
  let tokens = 0;
  for (const document of documents) tokens += lengths[document] as number;
  const plan = planSamples({ ...options, tokens });
  const random = new Mt19937(options.seed);
  const documentIndex = buildDocumentIndex(plan, documents, random);
  const sampleIndex = new Int32Array((plan.samples + 1) * 2);
  let at = 0;
  forEachWindow(lengths, documentIndex, options.sequenceLength, plan.samples, (place, offset) => {
    sampleIndex[at++] = place;
    sampleIndex[at++] = offset;
  });
  return { ...plan, documentIndex, sampleIndex, shuffleIndex: buildShuffleIndex(plan, random) };
}

export function orderInMemory({ samples, documentIndex, sampleIndex, shuffleIndex }: SampleIndices): SampleOrder {
  return {
    samples,
    places: documentIndex.length,
    documentAt: (place) => documentIndex[place] as number,
    placeOf: (window) => sampleIndex[2 * window] as number,
    offsetOf: (window) => sampleIndex[2 * window + 1] as number,
    windowOf: (i) => shuffleIndex[i] as number,
    close: () => {},
  };
}

/** 0 to count - 1. */
export function allDocuments(count: number): Int32Array {
  const documents = new Int32Array(count);
  for (let d = 0; d < count; d++) documents[d] = d;
  return documents;
}

/** [epochs * documents]; draws the first random numbers. */
export function buildDocumentIndex(plan: SamplePlan, documents: Int32Array, random: Mt19937): Int32Array {
  const documentIndex = new Int32Array(plan.epochs * documents.length);
  for (let epoch = 0; epoch < plan.epochs; epoch++) documentIndex.set(documents, epoch * documents.length);
  shuffleParts(documentIndex, plan, (plan.epochs - 1) * documents.length, random);
  return documentIndex;
}

/** [samples]; the generator is the one that made the document index. */
export function buildShuffleIndex(plan: SamplePlan, random: Mt19937): Uint32Array {
  const shuffleIndex = new Uint32Array(plan.samples);
  for (let i = 0; i < plan.samples; i++) shuffleIndex[i] = i;
  shuffleParts(shuffleIndex, plan, plan.samplesBeforeFinal, random);
  return shuffleIndex;
}

/** Shuffles all, or what comes before the last epoch and the last epoch apart. */
function shuffleParts(items: Int32Array | Uint32Array, plan: SamplePlan, final: number, random: Mt19937): void {
  const firstPart = plan.separateFinalEpoch ? final : items.length;
  random.shuffle(items.subarray(0, firstPart));
  if (plan.separateFinalEpoch) random.shuffle(items.subarray(firstPart));
}

/** Says where each window begins (place of the document index, token offset), and where the last one ends: samples + 1 calls. */
export function forEachWindow(
  lengths: Int32Array,
  documentIndex: Int32Array,
  sequenceLength: number,
  samples: number,
  say: (place: number, offset: number) => void,
): void {
  let place = 0;
  let offset = 0;
  say(place, offset);
  for (let sample = 1; sample <= samples; sample++) {
    let remaining = sequenceLength + 1;
    while (remaining > 0) {
      const available = (lengths[documentIndex[place] as number] as number) - offset;
      if (available >= remaining) {
        // The next sample begins with this one's last label.
        offset += remaining - 1;
        remaining = 0;
      } else if (place === documentIndex.length - 1) {
        offset = (lengths[documentIndex[place] as number] as number) - 1;
        remaining = 0;
      } else {
        remaining -= available;
        place++;
        offset = 0;
      }
    }
    say(place, offset);
  }
}

/** ceil(a / b) of whole numbers below 2^53; the rounded quotient alone may miss a remainder. */
function ceilOfQuotient(a: number, b: number): number {
  const whole = Math.floor(a / b);
  return whole * b < a ? whole + 1 : whole;
}
