// A classifier head: one hidden layer over the vector of an embedder, and the folder that holds one for each language.
//
//   softmax (toxicity): vector -> hidden, ReLU -> 2 logits; the score is the probability of class 1
//   sigmoid (quality):  vector -> hidden, ReLU -> 1 logit; the score is its sigmoid
//
// Scores are computed here in float64, a vector at a time, so that every machine and every number of workers gets the same
// bits; the encoder before it costs a thousand times as much. Sources: section 3.1 of the Apertus report and
// swiss-ai/pretrain-data (toxicity), epfml/fineweb2-hq (quality), whose names the tensors have.
//
// Does not: train (train.ts), or make vectors (embedder/).
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { schemaProblems } from '../../base/schema.ts';
import { UserError } from '../../base/errors.ts';
import { hashFile } from '../../base/hashing.ts';
import { readJson } from '../../base/json.ts';
import { jsBackend } from '../../tensor/backend-js.ts';
import { SafetensorsFile } from '../../tensor/safetensors.ts';

export const headKinds = ['toxicity', 'quality'] as const;
export type HeadKind = (typeof headKinds)[number];

/** Logits of each kind. */
export const outputsOf: Readonly<Record<HeadKind, 1 | 2>> = { toxicity: 2, quality: 1 };

/** Tensors of a head, as a PyTorch `Sequential` of linear, ReLU, dropout, linear names them. */
export const tensorNames = {
  hiddenWeight: 'classifier.0.weight',
  hiddenBias: 'classifier.0.bias',
  outputWeight: 'classifier.3.weight',
  outputBias: 'classifier.3.bias',
} as const;

export const headsFileName = 'heads.json';
export const headsFormat = 'belay-heads-1';
/** The head of lines without a language; it judges what has no head of its own. */
export const anyLanguage = 'und';

export interface HeadWeights {
  /** Numbers in a vector, and units of the hidden layer. */
  readonly width: number;
  readonly hidden: number;
  readonly outputs: 1 | 2;
  /** [hidden, width], [hidden], [outputs, hidden], [outputs]. */
  readonly hiddenWeight: Float32Array;
  readonly hiddenBias: Float32Array;
  readonly outputWeight: Float32Array;
  readonly outputBias: Float32Array;
}

/** The score of a vector, in [0, 1]. */
export function scoreOf(head: HeadWeights, vector: Float32Array): number {
  const { width, hidden, outputs, hiddenWeight, hiddenBias, outputWeight, outputBias } = head;
  if (vector.length !== width) throw new Error(`head: got a vector of ${vector.length} numbers, expected ${width}`);
  let first = outputBias[0] as number;
  let second = outputs === 2 ? (outputBias[1] as number) : 0;
  const even = width - (width % 4);
  for (let h = 0, at = 0; h < hidden; h++, at += width) {
    // Four sums at once; their order is part of the result.
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    let i = 0;
    for (; i < even; i += 4) {
      a += (hiddenWeight[at + i] as number) * (vector[i] as number);
      b += (hiddenWeight[at + i + 1] as number) * (vector[i + 1] as number);
      c += (hiddenWeight[at + i + 2] as number) * (vector[i + 2] as number);
      d += (hiddenWeight[at + i + 3] as number) * (vector[i + 3] as number);
    }
    for (; i < width; i++) a += (hiddenWeight[at + i] as number) * (vector[i] as number);
    const unit = a + b + (c + d) + (hiddenBias[h] as number);
    if (!(unit > 0)) continue;
    first += (outputWeight[h] as number) * unit;
    if (outputs === 2) second += (outputWeight[hidden + h] as number) * unit;
  }
  return 1 / (1 + Math.exp(outputs === 2 ? first - second : -first));
}

/** Eight digits of a score: what notes hold and thresholds are compared with. */
export function notedScore(score: number): number {
  return Number(score.toPrecision(8));
}

const languageSchema = z.looseObject({ file: z.string().regex(/^[\w-]+\.safetensors$/), sha256: z.string() });
const headsSchema = z.looseObject({
  format: z.literal(headsFormat),
  kind: z.enum(headKinds),
  embedder: z.looseObject({ sha256: z.string(), width: z.int().positive() }),
  languages: z.record(z.string(), languageSchema),
});

/** The heads of a folder. */
export interface Heads {
  readonly kind: HeadKind;
  /** SHA-256 of the embedder that they were trained on. */
  readonly embedder: string;
  readonly width: number;
  readonly languages: ReadonlyMap<string, HeadWeights>;
  /** The head that judges a language: its own, that of no language, or none. */
  of(language: string): HeadWeights | undefined;
}

function readHeadsFile(dir: string): z.output<typeof headsSchema> {
  const path = join(dir, headsFileName);
  if (!existsSync(path)) {
    throw new UserError(`there are no classifier heads in ${dir}`, {
      expected: `a folder with ${headsFileName}`,
      next: 'belay data train-head makes one',
    });
  }
  const parsed = headsSchema.safeParse(readJson(path, 'heads'));
  if (!parsed.success) throw new UserError(`${path} describes no heads`, { found: schemaProblems(parsed.error) });
  return parsed.data;
}

/** The files of a folder of heads. */
export function headFiles(dir: string): string[] {
  const { languages } = readHeadsFile(dir);
  return [join(dir, headsFileName), ...Object.values(languages).map(({ file }) => join(dir, file))];
}

/** Loads a folder of heads. */
export function loadHeads(dir: string, kind: HeadKind): Heads {
  const { kind: found, embedder, languages } = readHeadsFile(dir);
  if (found !== kind) throw new UserError(`the heads in ${dir} are of another kind`, { found, expected: kind });
  const loaded = new Map(
    Object.entries(languages).map(([language, { file, sha256 }]) => {
      const path = join(dir, file);
      if (hashFile(path).sha256 !== sha256) {
        throw new UserError(`${path} is not the file that ${headsFileName} names`, {
          found: 'another SHA-256',
          next: 'copy the folder again, or train it again',
        });
      }
      return [language, readHead(path, embedder.width, outputsOf[kind])];
    }),
  );
  const fallback = loaded.get(anyLanguage);
  return {
    kind,
    embedder: embedder.sha256,
    width: embedder.width,
    languages: loaded,
    of: (language) => loaded.get(language) ?? fallback,
  };
}

function readHead(path: string, width: number, outputs: 1 | 2): HeadWeights {
  const file = new SafetensorsFile(path);
  try {
    const hidden = file.tensors.get(tensorNames.hiddenWeight)?.shape[0] ?? 0;
    const read = (name: string, ...shape: readonly number[]): Float32Array => {
      const found = file.tensors.get(name)?.shape;
      if (!found || found.join() !== shape.join()) {
        throw new UserError(`${path} is no head for these vectors`, {
          found: found ? `${name} of [${found.join(', ')}]` : `no ${name}`,
          expected: `[${shape.join(', ')}]`,
        });
      }
      return file.read(name, jsBackend());
    };
    return {
      width,
      hidden,
      outputs,
      hiddenWeight: read(tensorNames.hiddenWeight, hidden, width),
      hiddenBias: read(tensorNames.hiddenBias, hidden),
      outputWeight: read(tensorNames.outputWeight, outputs, hidden),
      outputBias: read(tensorNames.outputBias, outputs),
    };
  } finally {
    file.close();
  }
}
