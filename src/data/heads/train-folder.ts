// From labelled texts to a folder of heads: lines are embedded (their first chunk), grouped by language, and each language gets
// a head of its own.
//
// The folder has a safetensors file for each language and heads.json, which names the embedder by its hash, the data, the
// settings and what was measured on held-out lines. Lines without a language train the head `und`, which judges documents
// whose language has no head.
//
// Does not: ship data or weights. Apertus: PleIAs ToxicCommons (a text is toxic if any of its five axes is above 0) and SWSR
// SexComments for Chinese; FineWeb2-HQ: instructions, question and answer texts and books as good, web texts as the rest.
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { schemaProblems } from '../../base/schema.ts';
import { beginFolder, commitFolder, writeJsonAtomic } from '../../base/atomic.ts';
import { UserError } from '../../base/errors.ts';
import { hashFile } from '../../base/hashing.ts';
import { readJsonl } from '../../base/jsonl.ts';
import type { Log } from '../../base/progress.ts';
import { defaultBackend } from '../../tensor/backend-select.ts';
import { writeSafetensors } from '../../tensor/safetensors.ts';
import { openEmbedder } from '../embedder/embedder.ts';
import { anyLanguage, type HeadKind, type HeadWeights, headsFileName, headsFormat, tensorNames } from './head.ts';
import { type HeadEpoch, type HeadSettings, headSettings, trainHead } from './train.ts';

/** Documents of the smaller class that a language must have. */
const fewest = 10;

export interface TrainHeadsOptions {
  readonly kind: HeadKind;
  /** JSON-lines files: `text`, `label` (0, 1, true, false), perhaps `language`. */
  readonly files: readonly string[];
  /** Path of the embedder. */
  readonly embedder: string;
  readonly out: string;
  readonly settings?: unknown;
  readonly seed: number;
  /** Threads of ONNX Runtime. */
  readonly threads: number;
  readonly log: Log;
}

/** What became of a language. */
export interface LanguageReport {
  readonly file: string;
  readonly sha256: string;
  /** Lines with a label, and how many of them are of class 1. */
  readonly documents: number;
  readonly positive: number;
  /** What is left of them after balancing, to train on and to validate. */
  readonly trained: number;
  readonly validated: number;
  readonly best: number;
  readonly epochs: readonly HeadEpoch[];
}

export interface HeadsFile {
  readonly format: typeof headsFormat;
  readonly kind: HeadKind;
  readonly embedder: { readonly kind: string; readonly sha256: string; readonly width: number };
  readonly settings: HeadSettings;
  readonly seed: number;
  /** Dispatch target of the engine, which decides the last bits. */
  readonly target: string;
  readonly data: readonly { readonly sha256: string; readonly bytes: number }[];
  readonly rejected: Readonly<Record<string, number>>;
  readonly languages: Readonly<Record<string, LanguageReport>>;
  /** Languages with too few documents of a class, and how many they have. */
  readonly skipped: Readonly<Record<string, readonly [number, number]>>;
}

/** Vectors of a language that grow. */
class Rows {
  labels: number[] = [];
  private vectors: Float32Array;
  private readonly width: number;

  constructor(width: number) {
    this.width = width;
    this.vectors = new Float32Array(64 * width);
  }

  add(vector: Float32Array, label: number): void {
    const at = this.labels.length * this.width;
    if (at === this.vectors.length) {
      const larger = new Float32Array(2 * at);
      larger.set(this.vectors);
      this.vectors = larger;
    }
    this.vectors.set(vector, at);
    this.labels.push(label);
  }

  get data(): { readonly vectors: Float32Array; readonly labels: Uint8Array } {
    const { labels, width } = this;
    return { vectors: this.vectors.subarray(0, labels.length * width), labels: Uint8Array.from(labels) };
  }
}

/** Trains the heads and leaves them in a folder. */
export async function trainHeads(options: TrainHeadsOptions): Promise<HeadsFile> {
  const { kind, files, out, seed, log } = options;
  const parsed = headSettings[kind].safeParse(options.settings ?? {});
  if (!parsed.success) {
    throw new UserError('the settings of the head are not right', {
      found: schemaProblems(parsed.error, headSettings[kind]),
    });
  }
  const settings = parsed.data;
  for (const path of files) if (!existsSync(path)) throw new UserError(`there is no file ${path}`);
  if (existsSync(out) && !existsSync(join(out, headsFileName)) && readdirSync(out).length > 0) {
    throw new UserError(`${out} holds something else`, { expected: `an empty folder, or one with ${headsFileName}` });
  }
  const data = files.map((path) => hashFile(path));
  const embedder = await openEmbedder(options.embedder, options.threads);
  const rejected: Record<string, number> = {};
  const languages = await embedFiles(files, embedder, rejected, log);
  const backend = defaultBackend();
  const dir = resolve(out);
  mkdirSync(resolve(dir, '..'), { recursive: true });
  const aside = beginFolder(dir);
  const reports: Record<string, LanguageReport> = {};
  const skipped: Record<string, readonly [number, number]> = {};
  for (const [language, rows] of [...languages].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const { labels } = rows;
    const positive = labels.reduce((sum, label) => sum + label, 0);
    if (Math.min(positive, labels.length - positive) < fewest) {
      skipped[language] = [labels.length - positive, positive];
      log.line(`${language}: ${labels.length - positive} and ${positive} lines of the classes, too few for a head`);
      continue;
    }
    const progress = log.progress(`train ${language}`, settings.epochs, 'epochs');
    const { weights, ...made } = trainHead({
      ...{ backend, kind, width: embedder.width, settings, seed, name: language, data: rows.data },
      onEpoch: (number, { trainLoss, loss }) =>
        progress.update(number, `loss ${trainLoss.toFixed(4)}, validation ${loss.toFixed(4)}`),
    });
    const file = `${language}.safetensors`;
    writeHead(join(aside, file), weights);
    reports[language] = {
      ...{ file, sha256: hashFile(join(aside, file)).sha256, documents: labels.length, positive },
      ...made,
    };
    const { accuracy, f1, auc } = made.epochs[made.best - 1] as HeadEpoch;
    const share = (value: number | null): string => (value === null ? '-' : value.toFixed(4));
    progress.finish(
      `${made.trained} lines, epoch ${made.best}: accuracy ${share(accuracy)}, F1 ${share(f1)}, AUC ${share(auc)} on ${made.validated}`,
    );
  }
  if (Object.keys(reports).length === 0) {
    rmSync(aside, { recursive: true });
    throw new UserError('no language has enough lines of both classes', {
      found: JSON.stringify({ ...skipped, rejected }),
      expected: `at least ${fewest} lines with label 0 (or false) and ${fewest} with label 1 (or true)`,
    });
  }
  const made: HeadsFile = {
    format: headsFormat,
    kind,
    embedder: { kind: embedder.kind, sha256: embedder.sha256, width: embedder.width },
    settings,
    seed,
    target: backend.target,
    data,
    rejected,
    languages: reports,
    skipped,
  };
  writeJsonAtomic(join(aside, headsFileName), made);
  commitFolder(dir);
  return made;
}

async function embedFiles(
  files: readonly string[],
  embedder: { readonly width: number; embed(text: string, most?: number): Promise<readonly Float32Array[]> },
  rejected: Record<string, number>,
  log: Log,
): Promise<Map<string, Rows>> {
  const languages = new Map<string, Rows>();
  const reject = (reason: string): void => {
    rejected[reason] = (rejected[reason] ?? 0) + 1;
  };
  const progress = log.progress('embed', 0, 'texts');
  let done = 0;
  for (const path of files) {
    for await (const line of readJsonl<unknown>(path, () => reject('unreadable'))) {
      const found = labelledText(line);
      if (typeof found === 'string') {
        reject(found);
        continue;
      }
      const { text, label, language } = found;
      let rows = languages.get(language);
      if (!rows) languages.set(language, (rows = new Rows(embedder.width)));
      const [vector] = await embedder.embed(text, 1);
      rows.add(vector as Float32Array, label);
      progress.update(++done);
    }
  }
  const bad = Object.entries(rejected).map(([reason, count]) => `${count} ${reason}`);
  progress.finish(`${done} texts${bad.length > 0 ? `; rejected: ${bad.join(', ')}` : ''}`);
  return languages;
}

/** Text, class and language of a line, or why it has none. */
function labelledText(
  line: unknown,
): { readonly text: string; readonly label: 0 | 1; readonly language: string } | string {
  if (line === null || typeof line !== 'object') return 'unreadable';
  const { text, label, language = anyLanguage } = line as Record<string, unknown>;
  if (typeof text !== 'string' || text.trim() === '') return 'no-text';
  // Names of files come from it.
  if (typeof language !== 'string' || !/^[\w-]{1,64}$/.test(language)) return 'bad-language';
  if (label !== 0 && label !== 1 && typeof label !== 'boolean') return 'bad-label';
  return { text, label: label === true || label === 1 ? 1 : 0, language };
}

function writeHead(path: string, head: HeadWeights): void {
  const { width, hidden, outputs } = head;
  const tensors = [
    { name: tensorNames.hiddenWeight, shape: [hidden, width], values: head.hiddenWeight },
    { name: tensorNames.hiddenBias, shape: [hidden], values: head.hiddenBias },
    { name: tensorNames.outputWeight, shape: [outputs, hidden], values: head.outputWeight },
    { name: tensorNames.outputBias, shape: [outputs], values: head.outputBias },
  ];
  writeSafetensors(path, tensors, 'F32', defaultBackend());
}
