// MinHash and its clusters against datatrove's, per core: signatures, buckets and clusters of FineWeb's settings, on
// Debian's documents with a growing share of their words changed.
//
// Each side is a process of its own that waits. The documents come in slices, each a corpus for both, asked in turn, so
// what else the machine does falls on both. Times are CPU seconds of the process from the texts in memory to the
// clusters, files in between written and read as each side does it. Both sides see the same words: spaCy, which
// datatrove would ask, is slower than the pattern that stands for it here, so the peer is faster than as it ships.
// For the first slice all pairs are compared by the exact Jaccard similarity of their sets of word 5-grams.
//
//   npm run build && node dist/bench/data-dedup.js --datatrove <folder>/src [--documents data/debian] [--megabytes 200]
//     [--slice 20] [--save data-dedup_<machine>_<date>]
//
// Does not: run datatrove's readers, executors or filters.
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Document } from '../src/base/document.ts';
import { silentLog } from '../src/base/progress.ts';
import { Random } from '../src/base/rng.ts';
import { packageRoot } from '../src/base/version.ts';
import type { CorpusStep, SignedShard } from '../src/data/step.ts';
import { makeStep } from '../src/data/steps.ts';
import { Minhasher } from '../src/data/steps/minhash.ts';
import { shingleSet } from '../src/data/steps/minhash-dedup.ts';
import { dataKernels } from '../src/data/steps/xxhash.ts';
import { readDebianTexts } from './debian-texts.ts';

const { values } = parseArgs({
  options: {
    worker: { type: 'boolean', default: false },
    datatrove: { type: 'string' },
    documents: { type: 'string', default: join(packageRoot, 'data', 'debian') },
    megabytes: { type: 'string', default: '200' },
    slice: { type: 'string', default: '20' },
    save: { type: 'string' },
  },
});

interface Answer {
  /** CPU seconds. */
  readonly sign: number;
  readonly cluster: number;
  /** Numbers of documents with the cluster each is in. */
  readonly clusters: readonly (readonly [number, number])[];
}

/** Our side: a path a line on standard input. */
async function work(): Promise<void> {
  const step = (await makeStep('minhash-dedup', { parts: 1 }, { log: silentLog, seed: 1 })) as CorpusStep;
  console.log('ready');
  for await (const path of createInterface({ input: process.stdin })) {
    const texts = readFileSync(path, 'utf8').trimEnd().split('\n');
    const documents = texts.map((line) => JSON.parse(line) as Document);
    const dir = `${path}.belay`;
    mkdirSync(dir);
    const seconds = (): number => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    };
    const start = seconds();
    const signs = join(dir, 'signs');
    const ids = join(dir, 'ids');
    writeFileSync(signs, Buffer.concat(documents.map((document) => step.sign(document))));
    writeFileSync(ids, documents.map(({ id }) => `${JSON.stringify(id)}\n`).join(''));
    const signed = seconds();
    const shards: SignedShard[] = [{ first: 0, count: documents.length, signs, ids, documents: path }];
    await step.match(0, shards, join(dir, 'part'));
    await step.judge([join(dir, 'part')], shards, () => join(dir, 'judgement'));
    const clustered = seconds();
    const lines = readFileSync(join(dir, 'judgement'), 'utf8').split('\n').filter(Boolean);
    // An id is the number of the document.
    const pairs = lines.map((line) => JSON.parse(line) as [number, string]);
    const members = new Map(pairs.map(([index, id]) => [index, Number(id)]));
    for (const [, id] of pairs) members.set(Number(id), Number(id));
    rmSync(dir, { recursive: true });
    const answer: Answer = { sign: signed - start, cluster: clustered - signed, clusters: [...members] };
    console.log(JSON.stringify(answer));
  }
}

interface Side {
  readonly ask: (path: string) => Promise<Answer>;
  readonly end: () => void;
}

async function start(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Side> {
  const child: ChildProcessWithoutNullStreams = spawn(command, args, { env });
  child.stderr.pipe(process.stderr);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${command} ended before it answered`);
    return value as string;
  };
  await next();
  return {
    ask: async (path) => {
      child.stdin.write(`${path}\n`);
      return JSON.parse(await next()) as Answer;
    },
    end: () => void child.stdin.end(),
  };
}

/** Shares of words that are changed from one repetition of a document to the next; the last makes it a new one. */
const shares = [0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.9];

/** Document number i: a text with a share of its words replaced by others of it. */
function documentText(texts: readonly string[], number: number, repeats: number): string {
  const text = (texts[Math.floor(number / repeats) % texts.length] as string).slice(0, 20_000);
  const random = new Random(28, 'bench', number);
  const share = shares[random.integer(shares.length)] as number;
  const words = text.split(/\s+/);
  return text.replace(/\S+/g, (word) => (random.real() < share ? random.pick(words) : word));
}

/** For each document the number of its cluster; its own number where it is alone. */
function clusterOf(count: number, { clusters }: Answer): number[] {
  const firstOf = new Map<number, number>();
  const of = Array.from({ length: count }, (_, i) => i);
  for (const [document, cluster] of [...clusters].sort(([a], [b]) => a - b)) {
    if (!firstOf.has(cluster)) firstOf.set(cluster, document);
    of[document] = firstOf.get(cluster) as number;
  }
  return of;
}

/** Numbers of pairs by similarity, in hundredths: all, and those in one cluster. */
function pairsBySimilarity(texts: readonly string[], cluster: readonly number[]): { all: number[]; joined: number[] } {
  const hasher = new Minhasher({ words: 5, buckets: 14, hashesPerBucket: 8, bits: 64, seed: 1 });
  const sets = texts.map((text) => shingleSet(hasher, text));
  const holders = new Map<number, number[]>();
  for (const [i, set] of sets.entries()) {
    for (const shingle of set) {
      const list = holders.get(shingle);
      if (list) list.push(i);
      else holders.set(shingle, [i]);
    }
  }
  const all = Array<number>(101).fill(0);
  const joined = Array<number>(101).fill(0);
  const both = new Uint32Array(texts.length);
  for (const [i, set] of sets.entries()) {
    both.fill(0);
    for (const shingle of set) for (const j of holders.get(shingle) as number[]) both[j] = (both[j] as number) + 1;
    for (let j = 0; j < i; j++) {
      const shared = both[j] as number;
      const either = set.length + (sets[j] as Float64Array).length - shared;
      const at = either === 0 ? 0 : Math.floor((100 * shared) / either);
      all[at] = (all[at] as number) + 1;
      if (cluster[i] === cluster[j]) joined[at] = (joined[at] as number) + 1;
    }
  }
  return { all, joined };
}

const shown = (value: number): string => value.toPrecision(3);
const sum = (list: readonly number[], from = 0): number => list.slice(from).reduce((total, value) => total + value, 0);

async function main(): Promise<void> {
  if (values.datatrove === undefined) throw new Error('--datatrove names the src folder of huggingface/datatrove');
  const kernels = dataKernels();
  const python = process.env['BELAY_PEER_PYTHON'] ?? '/usr/bin/python3';
  const texts = readDebianTexts(values.documents);
  const load = loadavg()[0] as number;
  const peer = join(packageRoot, 'bench', 'peers', 'datatrove_minhash.py');
  // One core each.
  const env = { ...process.env, BELAY_DATATROVE: values.datatrove, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' };
  const ours = await start(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), '--worker'], env);
  const theirs = await start(python, [peer, 'worker'], env);
  const dir = mkdtempSync(join(tmpdir(), 'belay-dedup-'));
  const sliceBytes = Number(values.slice) * 1e6;
  const wanted = Number(values.megabytes) * 1e6;
  const total = { bytes: 0, documents: 0, slices: 0, same: 0 };
  const seconds = { ours: { sign: 0, cluster: 0 }, theirs: { sign: 0, cluster: 0 } };
  const ratios: number[] = [];
  const quality: string[] = [];
  try {
    for (let next = 0; total.bytes < wanted; total.slices++) {
      const path = join(dir, `slice-${total.slices}.jsonl`);
      const lines: string[] = [];
      const slice: string[] = [];
      let bytes = 0;
      for (; bytes < Math.min(sliceBytes, wanted - total.bytes); next++) {
        const text = documentText(texts, next, 4);
        bytes += Buffer.byteLength(text);
        lines.push(JSON.stringify({ id: String(slice.length), text }));
        slice.push(text);
      }
      writeFileSync(path, `${lines.join('\n')}\n`);
      const answers: Partial<Record<'ours' | 'theirs', Answer>> = {};
      for (const side of total.slices % 2 === 0 ? (['ours', 'theirs'] as const) : (['theirs', 'ours'] as const)) {
        const answer = await (side === 'ours' ? ours : theirs).ask(path);
        answers[side] = answer;
        seconds[side].sign += answer.sign;
        seconds[side].cluster += answer.cluster;
      }
      const [a, b] = [answers.ours as Answer, answers.theirs as Answer];
      const [mine, other] = [clusterOf(slice.length, a), clusterOf(slice.length, b)];
      total.same += mine.filter((cluster, i) => cluster === other[i]).length;
      if (total.slices === 0) {
        for (const [name, cluster] of [
          ['belay', mine],
          ['datatrove', other],
        ] as const) {
          const { all, joined } = pairsBySimilarity(slice, cluster);
          const recall = [70, 80, 90, 95].map((from) => shown(sum(joined, from) / sum(all, from)));
          const precision = [50, 70, 80].map((from) => shown(sum(joined, from) / sum(joined)));
          quality.push(`| ${name} | ${sum(joined)} | ${[...recall, ...precision].join(' | ')} |`);
        }
      }
      total.bytes += bytes;
      total.documents += slice.length;
      ratios.push((b.sign + b.cluster) / (a.sign + a.cluster));
      rmSync(path);
      process.stderr.write(`${(total.bytes / 1e6).toFixed(0)} MB, ${shown(ratios.at(-1) as number)} times\n`);
    }
  } finally {
    ours.end();
    theirs.end();
    rmSync(dir, { recursive: true, force: true });
  }
  ratios.sort((a, b) => a - b);
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: packageRoot, encoding: 'utf8' }).trim();
  const peerVersion = execFileSync(python, ['--version'], { encoding: 'utf8' }).trim();
  const MB = total.bytes / 1e6;
  const row = (name: string, { sign, cluster }: { sign: number; cluster: number }): string =>
    `| ${name} | ${sign.toFixed(2)} | ${shown(MB / sign)} | ${cluster.toFixed(2)} | ${shown(MB / (sign + cluster))} |`;
  const of = (part: (side: { sign: number; cluster: number }) => number): string =>
    shown(part(seconds.theirs) / part(seconds.ours));
  const lines = [
    '# MinHash against datatrove',
    '',
    `${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${cpus()[0]?.model} (${cpus().length} cores), node ${process.version}, ${peerVersion}, load ${load.toFixed(1)} at the start.`,
    `Kernels: ${kernels ? kernels.dataTargets()[0] : 'none, TypeScript'}. ${MB.toFixed(0)} MB in ${total.documents} documents, ${total.slices} slices of ${values.slice} MB, both sides in turn for each; CPU seconds of one core.`,
    "14 buckets of 8 hashes of 64 bits over word 5-grams. Debian's pages in languages with spaces, a share of their words changed.",
    '',
    '| side | signatures, s | MB/s | clusters, s | MB/s of both |',
    '|---|--:|--:|--:|--:|',
    row('belay', seconds.ours),
    row('datatrove, words by a pattern instead of spaCy', seconds.theirs),
    '',
    `**${of(({ sign, cluster }) => sign + cluster)} times as fast** (signatures ${of(({ sign }) => sign)}, clusters ${of(({ cluster }) => cluster)}); slices: median ${shown(ratios[ratios.length >> 1] as number)}, from ${shown(ratios[0] as number)} to ${shown(ratios.at(-1) as number)}.`,
    `The same cluster for ${total.same} of ${total.documents} documents.`,
    '',
    'Pairs of documents in one cluster of the first slice, by their exact Jaccard similarity: how many of the pairs that are at',
    'least so similar are in one cluster (recall), and how many of those in one cluster are at least so similar (precision).',
    'Clusters join pairs over others, so a precision below 1 is no mistake of a bucket alone.',
    '',
    '| side | pairs | recall 0.7 | 0.8 | 0.9 | 0.95 | precision 0.5 | 0.7 | 0.8 |',
    '|---|--:|--:|--:|--:|--:|--:|--:|--:|',
    ...quality,
    '',
  ];
  console.log(lines.join('\n'));
  if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), lines.join('\n'));
}

await (values.worker ? work() : main());
