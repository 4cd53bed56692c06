// What Megatron writes about a set of indices, and the names it gives their files: the text of description.txt, whose
// MD5 begins every file name. With the same text Megatron finds indices that we built, and we find Megatron's.
//
// Source: NVIDIA/Megatron-LM, megatron/core/datasets/megatron_dataset.py, blended_dataset.py, gpt_dataset.py, and
// Python's json module (indent 4).
//
// Does not: build indices; index-cache.ts does.
import { createHash } from 'node:crypto';
import type { Json } from '../base/json.ts';

/** What a run of Megatron would say about itself; only its text matters, and only to Megatron. */
export interface MegatronIdentity {
  /** `--split`; null where train and validation files are named apart (`--train-data-path`). Default "100,0,0". */
  readonly split?: string | null;
  /** The identifiers of its tokenizer (class, tokenizer_path and options), as its description.txt have them. Default null. */
  readonly tokenizer?: Json;
}

/** A text to be written to description.txt, and the names that follow from it. */
export interface Description {
  readonly text: string;
  /** `<md5>-GPTDataset-train` or `<md5>-BlendedDataset-train`. */
  readonly base: string;
}

export interface DatasetDescriptionOptions {
  /** The prefix as it is given to Megatron. */
  readonly path: string;
  readonly samples: number | null;
  readonly seed: number;
  readonly sequenceLength: number;
  /** Indices with a partial last sample are those of Megatron's validation. */
  readonly keepPartialSample: boolean;
  readonly identity: MegatronIdentity;
  /** Names a choice of documents that no `--split` makes; Megatron knows no such key. */
  readonly documents?: string;
}

/** A number that Python would print with a point. */
class PythonFloat {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}
type PythonValue = Json | PythonFloat | readonly PythonValue[] | { readonly [key: string]: PythonValue };

/** Identifiers of one data set, in Megatron's order of keys. */
function datasetIdentifiers(options: DatasetDescriptionOptions): Record<string, PythonValue> {
  const { split = '100,0,0', tokenizer = null } = options.identity;
  return {
    class: 'GPTDataset',
    dataset_path: options.path,
    num_samples: options.samples,
    index_split: options.keepPartialSample ? 'valid' : 'train',
    random_seed: options.seed,
    sequence_length: options.sequenceLength,
    split,
    split_matrix: split === null ? null : splitMatrix(split),
    tokenizer,
    ...(options.documents === undefined ? {} : { documents: options.documents }),
  };
}

export function describeDataset(options: DatasetDescriptionOptions): Description {
  return describe(datasetIdentifiers(options));
}

/** `size` null: weights are sizes, and all samples are used. */
export function describeBlend(
  datasets: readonly DatasetDescriptionOptions[],
  weights: readonly number[],
  size: number | null,
): Description {
  return describe({
    class: 'BlendedDataset',
    datasets: datasets.map(datasetIdentifiers),
    split: 'train',
    weights: size === null ? weights : weights.map((weight) => new PythonFloat(weight)),
    size,
  });
}

function describe(identifiers: Record<string, PythonValue>): Description {
  const text = pythonJson(identifiers);
  const hash = createHash('md5').update(text, 'utf8').digest('hex');
  const split = identifiers['index_split'] ?? identifiers['split'];
  return { text, base: `${hash}-${String(identifiers['class'])}-${String(split)}` };
}

/** "99,1,0" -> the ends of each split as shares of a file; null for one that is empty. */
function splitMatrix(split: string): PythonValue {
  const parts = [...split.matchAll(/[.0-9]+/g)].map(([part]) => Number(part));
  const shares = [0, 1, 2].map((i) => parts[i] ?? 0);
  const sum = shares.reduce((total, share) => total + share, 0);
  // The first bound is the integer 0 in Megatron, all others are floats.
  let begin = 0;
  return shares.map((share, i) => {
    const end = begin + share / sum;
    const ends = end <= begin ? null : [i === 0 ? 0 : new PythonFloat(begin), new PythonFloat(end)];
    begin = end;
    return ends;
  });
}

/** json.dumps(value, indent=4). */
function pythonJson(value: PythonValue, indent = '\n'): string {
  const inner = `${indent}    `;
  if (value instanceof PythonFloat) return pythonFloat(value.value);
  if (Array.isArray(value)) {
    return value.length === 0
      ? '[]'
      : `[${inner}${value.map((item) => pythonJson(item, inner)).join(`,${inner}`)}${indent}]`;
  }
  if (value !== null && typeof value === 'object') {
    const fields = Object.entries(value).map(([key, field]) => `${ascii(key)}: ${pythonJson(field, inner)}`);
    return fields.length === 0 ? '{}' : `{${inner}${fields.join(`,${inner}`)}${indent}}`;
  }
  if (typeof value === 'number' && !Number.isInteger(value)) return pythonFloat(value);
  return typeof value === 'string' ? ascii(value) : String(value);
}

/** A JSON string with everything outside of ASCII escaped, as Python does. */
function ascii(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** repr(float): the digits are those of JavaScript, the exponent begins elsewhere. */
function pythonFloat(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) {
    const [digits = '', exponent = ''] = value.toExponential().split('e');
    const sign = exponent.startsWith('-') ? '-' : '+';
    return `${digits}e${sign}${exponent.slice(1).padStart(2, '0')}`;
  }
  return Number.isInteger(value) ? `${value}.0` : String(value);
}
