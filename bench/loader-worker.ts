// The measured process of loader.ts: writes shards, reads them through a Mixture and a Prefetcher, prints one JSON object.
//
//   node dist/bench/loader-worker.js FOLDER GIGABYTES < "go"
//
// Does not: limit its memory; loader.ts does.
import { closeSync, ftruncateSync, mkdirSync, openSync, readdirSync, readSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '../src/base/rng.ts';
import { TokenBatches } from '../src/corpus/batches.ts';
import { MegatronWriter } from '../src/corpus/megatron.ts';
import { longestSequence, writeIndex } from '../src/corpus/megatron-index.ts';
import { Mixture, type MixtureOptions } from '../src/corpus/mixture.ts';
import { Prefetcher } from '../src/corpus/prefetch.ts';
import type { Batch } from '../src/corpus/sample-rows.ts';

/** Waiting per step, in seconds; `share` is of the whole loop. */
export interface Waits {
  /** Length of the simulated step as it was slept. */
  readonly step: number;
  readonly median: number;
  readonly mean: number;
  readonly p99: number;
  readonly max: number;
  readonly share: number;
}

export interface LoaderMeasurements {
  readonly batch: { readonly B: number; readonly T: number };
  readonly written: {
    readonly bytes: number;
    readonly pairs: number;
    readonly documents: number;
    readonly type: string;
    readonly seconds: number;
  };
  readonly opened: {
    readonly samples: number;
    readonly indexBytes: number;
    readonly buildSeconds: number;
    readonly openSeconds: number;
  };
  readonly random: {
    readonly count: number;
    readonly perSecond: number;
    readonly median: number;
    readonly p99: number;
  };
  readonly sparse: {
    readonly bytes: number;
    readonly samples: number;
    readonly buildSeconds: number;
    readonly perSecond: number;
    readonly median: number;
    readonly p99: number;
  };
  readonly stalls: {
    readonly steps: number;
    readonly lookAhead: number;
    readonly ahead: Waits;
    readonly asked: Waits;
  };
  /** Most resident memory of this process, all threads. */
  readonly peakBytes: number;
}

const B = 8;
const T = 4096;
const pairs = 5;
const stepSeconds = 0.02;
const steps = 500;
/** Batches asked for ahead: a third of a second of these steps, so that what else the machine does is not waited for. */
const lookAhead = 16;
const masks = { goldfish: { k: 50, h: 50 }, documentMask: true, eodLossMask: true } as const;
/** `<s>` and `</s>`. */
const [bos, eos] = [1, 2];
/** Ids of text: each is the one before it plus `stride`, round a circle, so that a row can be checked. */
const [firstText, texts, stride] = [16, 60_000, 31];

const seconds = (): number => performance.now() / 1000;
/** The value below which a share of the sorted values lies. */
const quantile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))] as number;

function writeShards(dir: string, gigabytes: number): LoaderMeasurements['written'] {
  const random = new Random(1, 'loader');
  const tokensPerPair = Math.floor((gigabytes * 1e9) / 2 / pairs);
  const circle = new Uint16Array(3 * texts).map((_, i) => firstText + ((i * stride) % texts));
  let documents = 0;
  let tokens = 0;
  const start = seconds();
  for (let pair = 0; pair < pairs; pair++) {
    const writer = new MegatronWriter(join(dir, `shard-${pair}`), 'uint16');
    while (writer.tokens < tokensPerPair) {
      // Lengths of web pages: mostly hundreds of tokens, some tens of thousands.
      const length = Math.min(2 * texts, 3 + Math.floor(Math.exp(6.2 + 1.2 * random.normal())));
      const from = random.integer(texts);
      const ids = circle.slice(from, from + length);
      ids[0] = bos;
      ids[length - 1] = eos;
      writer.addDocument(ids);
    }
    writer.close();
    documents += writer.documents;
    tokens += writer.tokens;
  }
  return { bytes: 2 * tokens, pairs, documents, type: 'uint16', seconds: seconds() - start };
}

/** Throws where a row is not what was written. */
function checkRows({ tokens, labels, lossMask, lo, positions }: Batch): void {
  for (let r = 0; r < tokens.length; r++) {
    const id = tokens[r] as number;
    const next = labels[r] as number;
    const right =
      id === eos
        ? next === bos && lossMask[r] === 0
        : id === bos || next === eos || next === firstText + ((id - firstText + stride) % texts);
    const start = (lo[r] as number) === r - (positions[r] as number);
    if (!right || !start || (r % T > 0 && tokens[r] !== labels[r - 1]))
      throw new Error(`row ${r} is not what was written`);
  }
}

/** Latencies of reading samples one by one. */
function readSamples(count: number, read: (i: number) => Batch, total: number, check: boolean) {
  const random = new Random(2, 'loader');
  for (let i = 0; i < 50; i++) read(random.integer(total));
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const sample = random.integer(total);
    const start = seconds();
    const batch = read(sample);
    times.push(seconds() - start);
    if (check) checkRows(batch);
  }
  const sum = times.reduce((a, b) => a + b, 0);
  return { count, perSecond: count / sum, median: quantile(times, 0.5), p99: quantile(times, 0.99) };
}

async function waitsOf(batch: (step: number) => Batch | Promise<Batch>): Promise<Waits> {
  const clock = new Int32Array(new SharedArrayBuffer(4));
  const waited: number[] = [];
  const slept: number[] = [];
  // The first steps start the thread and fill the files' pages.
  for (let step = 0; step < steps + 20; step++) {
    const start = seconds();
    const { lossMask } = await batch(step);
    if (lossMask.length !== B * T) throw new Error('not a batch');
    const ready = seconds();
    Atomics.wait(clock, 0, 0, 1000 * stepSeconds);
    if (step < 20) continue;
    waited.push(ready - start);
    slept.push(seconds() - ready);
  }
  const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  return {
    step: total(slept) / steps,
    median: quantile(waited, 0.5),
    mean: total(waited) / steps,
    p99: quantile(waited, 0.99),
    max: Math.max(...waited),
    share: total(waited) / (total(waited) + total(slept)),
  };
}

function readSparse(dir: string): LoaderMeasurements['sparse'] {
  const bytes = 100e9;
  const tokens = bytes / 2;
  const path = join(dir, 'sparse');
  const handle = openSync(`${path}.bin`, 'w');
  ftruncateSync(handle, bytes);
  closeSync(handle);
  const lengths = Array<number>(Math.ceil(tokens / longestSequence)).fill(longestSequence);
  lengths[lengths.length - 1] = tokens - longestSequence * (lengths.length - 1);
  writeIndex(`${path}.idx`, {
    type: 'uint16',
    sequences: lengths.length,
    documents: lengths.length,
    lengths: () => lengths,
    documentEnds: () => lengths.map((_, d) => d + 1),
  });
  const start = seconds();
  const options = { path, sequenceLength: T, seed: 1, samples: null, ...masks, cacheDir: join(dir, 'sparse-cache') };
  const batches = new TokenBatches(options);
  const buildSeconds = seconds() - start;
  const { samples } = batches;
  const { perSecond, median, p99 } = readSamples(2000, (i) => batches.batch(i, 1), samples, false);
  batches.close();
  return { bytes, samples, buildSeconds, perSecond, median, p99 };
}

async function main(dir: string, gigabytes: number): Promise<LoaderMeasurements> {
  const written = writeShards(dir, gigabytes);
  const cacheDir = join(dir, 'cache');
  mkdirSync(cacheDir);
  const options: MixtureOptions = {
    datasets: Array.from({ length: pairs }, (_, pair) => ({ path: join(dir, `shard-${pair}`), weight: pair + 1 })),
    sequenceLength: T,
    seed: 1,
    // Some of the shards are read more than once, others not whole.
    samples: Math.floor(written.bytes / 2 / T),
    ...masks,
    cacheDir,
  };
  let start = seconds();
  new Mixture(options).close();
  const buildSeconds = seconds() - start;
  const indexBytes = readdirSync(cacheDir).reduce((sum, name) => sum + statSync(join(cacheDir, name)).size, 0);
  start = seconds();
  const mixture = new Mixture(options);
  const openSeconds = seconds() - start;
  const { samples } = mixture;
  const random = readSamples(5000, (i) => mixture.batch(i, 1), samples, true);

  const prefetcher = new Prefetcher({ ...options, ahead: lookAhead });
  await prefetcher.samples();
  const ahead = await waitsOf((step) => {
    const rows = prefetcher.rows(step * B, B);
    for (let next = step + 1; next <= step + lookAhead; next++) prefetcher.prefetch(next * B, B);
    return rows;
  });
  await prefetcher.close();
  const later = (steps + 20) * B;
  const asked = await waitsOf((step) => mixture.batch(later + step * B, B));
  mixture.close();
  for (const name of readdirSync(dir)) if (name.startsWith('shard')) rmSync(join(dir, name));
  const sparse = readSparse(dir);
  return {
    batch: { B, T },
    written,
    opened: { samples, indexBytes, buildSeconds, openSeconds },
    random,
    sparse,
    stalls: { steps, lookAhead, ahead, asked },
    peakBytes: process.resourceUsage().maxRSS * 1024,
  };
}

// The parent writes when this process is under the limit.
readSync(0, Buffer.alloc(1));
console.log(JSON.stringify(await main(process.argv[2] as string, Number(process.argv[3]))));
