// In which order training reads a token file: Megatron's document, sample and shuffle indices, number for number.
//
// Documents are repeated for as many epochs as the samples need and shuffled; the stream of their tokens is cut into
// windows of L + 1 tokens that overlap by one; the windows are shuffled. One MT19937 makes both shuffles.
// Source: NVIDIA/Megatron-LM, megatron/core/datasets/gpt_dataset.py and helpers.cpp.
//
// Does not: read tokens; batches.ts does.
import { Mt19937 } from '../base/rng.ts';

export interface SampleIndices {
  readonly epochs: number;
  /** The last epoch was shuffled apart, because less than 80 % of it is used. */
  readonly separateFinalEpoch: boolean;
  /** Samples there are: at least as many as requested. */
  readonly samples: number;
  /** [epochs * documents] which document is read at each place. */
  readonly documentIndex: Int32Array;
  /** [(samples + 1) * 2] rows of (place in documentIndex, token offset); sample k reads from row k to row k+1. */
  readonly sampleIndex: Int32Array;
  /** [samples] the window that is read as the i-th sample. */
  readonly shuffleIndex: Uint32Array;
}

export interface SampleIndicesOptions {
  /** [number of documents] tokens of each. */
  readonly lengths: Int32Array;
  /** Which documents to use, as indices into `lengths`; default: all. */
  readonly documents?: Int32Array;
  /** L: inputs per sample. */
  readonly sequenceLength: number;
  readonly seed: number;
  /** Samples needed; null: one epoch. */
  readonly samples: number | null;
  /** Keep a last window that is not full (Megatron's validation). */
  readonly keepPartialSample?: boolean;
}

/** Share of an epoch below which the last one is shuffled apart (Megatron's 0.80). */
const separateBelow = 0.8;

export function buildSampleIndices(options: SampleIndicesOptions): SampleIndices {
  const { lengths, sequenceLength, seed, samples: requested, keepPartialSample = false } = options;
  const documents = options.documents ?? Int32Array.from(lengths.keys());
  let tokens = 0;
  for (const document of documents) tokens += lengths[document] as number;
  let epochs = 1;
  if (requested !== null && tokens > 0) {
    epochs = Math.max(1, Math.ceil((requested * sequenceLength + 1) / tokens));
  }
  let separateFinalEpoch = false;
  const samplesBeforeFinal = epochs > 1 ? Math.floor(((epochs - 1) * tokens - 1) / sequenceLength) : 0;
  if (epochs > 1 && requested !== null) {
    const fromFinal = requested - samplesBeforeFinal;
    const perEpoch = Math.floor((tokens - 1) / sequenceLength);
    separateFinalEpoch = fromFinal < Math.floor(separateBelow * perEpoch);
  }

  const random = new Mt19937(seed);
  const documentIndex = new Int32Array(epochs * documents.length);
  for (let epoch = 0; epoch < epochs; epoch++) documentIndex.set(documents, epoch * documents.length);
  const shuffleRange = (items: Int32Array | Uint32Array, from: number, to: number): void =>
    random.shuffle(items.subarray(from, to));
  const firstPart = separateFinalEpoch ? (epochs - 1) * documents.length : documentIndex.length;
  shuffleRange(documentIndex, 0, firstPart);
  if (separateFinalEpoch) shuffleRange(documentIndex, firstPart, documentIndex.length);

  const whole = (epochs * tokens - 1) / sequenceLength;
  const samples = Math.max(0, keepPartialSample ? Math.ceil(whole) : Math.floor(whole));
  const sampleIndex = buildSampleIndex(lengths, documentIndex, sequenceLength, samples);

  const shuffleIndex = new Uint32Array(samples);
  for (let i = 0; i < samples; i++) shuffleIndex[i] = i;
  const firstSamples = separateFinalEpoch ? samplesBeforeFinal : samples;
  shuffleRange(shuffleIndex, 0, firstSamples);
  if (separateFinalEpoch) shuffleRange(shuffleIndex, firstSamples, samples);
  return { epochs, separateFinalEpoch, samples, documentIndex, sampleIndex, shuffleIndex };
}

function buildSampleIndex(
  lengths: Int32Array,
  documentIndex: Int32Array,
  sequenceLength: number,
  samples: number,
): Int32Array {
  const sampleIndex = new Int32Array((samples + 1) * 2);
  let place = 0;
  let offset = 0;
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
    sampleIndex[2 * sample] = place;
    sampleIndex[2 * sample + 1] = offset;
  }
  return sampleIndex;
}
