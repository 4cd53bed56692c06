// Classifiers over vectors: what tokenizer, embedders and heads cost a core, and what training a head costs beside PyTorch.
//
// Texts are versions of the Universal Declaration of Human Rights, whole and in paragraphs. The small encoder is that of the tests
// (2 layers, width 24); --encoder names another folder, for example one of XLM-R's size with random weights, whose weights
// cost the same arithmetic as trained ones. Rows are medians of rounds, in CPU seconds of this process, so that what else the
// machine does counts less; wall time stands beside it.
//
//   npm run build && node dist/bench/data-heads.js [--encoder DIR] [--rounds 5] [--save NAME]
//
// Does not: say how well anything is told apart.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { Tokenizer as Reference } from 'tokenizers';
import { Random } from '../src/base/rng.ts';
import { packageRoot } from '../src/base/version.ts';
import { openEmbedder } from '../src/data/embedder/embedder.ts';
import { findOnnxRuntime } from '../src/data/embedder/onnx-runtime.ts';
import { type HeadKind, scoreOf } from '../src/data/heads/head.ts';
import { HeadTrainer, headSettings, trainHead } from '../src/data/heads/train.ts';
import { findLanguageModel } from '../src/data/language-id.ts';
import { defaultBackend } from '../src/tensor/backend-select.ts';
import { UnigramTokenizer } from '../src/tokenizer/unigram.ts';
import { declarations } from '../test/golden-scripts/encoder-texts.ts';

const { values } = parseArgs({
  options: { encoder: { type: 'string' }, rounds: { type: 'string', default: '5' }, save: { type: 'string' } },
});
const rounds = Number(values.rounds);

interface Taken {
  readonly cpu: number;
  readonly wall: number;
}

async function taken(work: () => unknown): Promise<Taken> {
  const before = process.cpuUsage();
  const start = performance.now();
  await work();
  const { user, system } = process.cpuUsage(before);
  return { cpu: (user + system) / 1e6, wall: (performance.now() - start) / 1e3 };
}

const median = (list: readonly number[]): number => list.toSorted((a, b) => a - b)[list.length >> 1] as number;

interface Row {
  readonly what: string;
  /** How much of what a round does. */
  readonly units: Readonly<Record<string, number>>;
  work(): unknown;
}

const texts = declarations();
const paragraphs = texts.flatMap((text) => text.split('\n')).filter(({ length }) => length > 40);
const megabytes = (of: readonly string[]): number => of.reduce((sum, text) => sum + Buffer.byteLength(text), 0) / 1e6;

const dir = mkdtempSync(join(tmpdir(), 'belay-bench-heads-'));
const golden = join(packageRoot, 'test', 'golden', 'embedder');
const json = gunzipSync(readFileSync(join(golden, 'tokenizer.json.gz'))).toString('utf8');
copyFileSync(join(golden, 'model.onnx'), join(dir, 'model.onnx'));
writeFileSync(join(dir, 'tokenizer.json'), json);
const lid = findLanguageModel();
if (lid === undefined) throw new Error('fasttext.wasm.js is not installed');

const random = new Random(28, 'bench', 'heads');
const vectorsOf = (count: number, width: number): Float32Array =>
  Float32Array.from({ length: count * width }, () => random.normal());

async function rowsOf(): Promise<Row[]> {
  const ours = new UnigramTokenizer(JSON.parse(json), 'golden');
  const reference = Reference.fromString(json);
  const rows: Row[] = [
    {
      what: 'Unigram tokenizer, belay',
      units: { MB: megabytes(texts) },
      work: () => texts.map((text) => ours.encode(text).length),
    },
    {
      what: 'the same, huggingface/tokenizers',
      units: { MB: megabytes(texts) },
      work: async () => {
        for (const text of texts) await reference.encode(text);
      },
    },
  ];
  const embedded = async (what: string, path: string, of: readonly string[]): Promise<void> => {
    const embedder = await openEmbedder(path);
    let chunks = 0;
    for (const text of of) chunks += (await embedder.embed(text)).length;
    rows.push({
      what,
      units: { documents: of.length, chunks, MB: megabytes(of) },
      work: async () => {
        for (const text of of) await embedder.embed(text);
      },
    });
  };
  const { name } = findOnnxRuntime();
  await embedded(`small encoder, ${name}, whole texts`, dir, texts);
  await embedded(`small encoder, ${name}, paragraphs`, dir, paragraphs);
  await embedded('fastText (lid.176, width 16), whole texts', lid as string, texts);
  await embedded('fastText (lid.176, width 16), paragraphs', lid as string, paragraphs);
  const chunkMegabytes = megabytes(texts) / (rows[2]?.units['chunks'] as number);
  for (const kind of ['toxicity', 'quality'] as HeadKind[]) {
    const settings = headSettings[kind].parse({});
    const head = new HeadTrainer(defaultBackend(), kind, 768, settings, 1, 'bench').weights();
    const vectors = vectorsOf(500, 768);
    rows.push({
      what: `head for ${kind}, 768 to ${settings.hidden}, on vectors`,
      units: { chunks: 500, MB: 500 * chunkMegabytes },
      work: () => {
        for (let i = 0; i < 500; i++) scoreOf(head, vectors.subarray(i * 768, (i + 1) * 768));
      },
    });
  }
  if (values.encoder !== undefined) {
    const embedder = await openEmbedder(values.encoder);
    const long = texts.join('\n');
    await embedder.embed(long, 1);
    let text = 0;
    rows.push({
      what: `encoder of ${embedder.width} numbers, ${name}, chunks of 512 tokens`,
      units: { chunks: 3 },
      // Another text each time: the last one is remembered.
      work: () => embedder.embed(`${text++} ${long}`, 3),
    });
  }
  return rows;
}

/** Seconds an epoch of the toxicity head, ours and PyTorch's. */
function training(): string[] {
  const documents = 8000;
  const settings = headSettings.toxicity.parse({ epochs: rounds + 1 });
  const backend = defaultBackend();
  const labels = Uint8Array.from({ length: documents }, (_, i) => i & 1);
  const seconds: number[] = [];
  let last = performance.now();
  trainHead({
    ...{ backend, kind: 'toxicity', width: 768, settings, seed: 1, name: 'bench' },
    data: { vectors: vectorsOf(documents, 768), labels },
    onEpoch: () => {
      seconds.push((performance.now() - last) / 1e3);
      last = performance.now();
    },
  });
  const line = (what: string, list: readonly number[]): string => {
    const times = list.slice(1).toSorted((a, b) => a - b);
    return `| ${what} | ${median(times).toFixed(2)} s | ${(times[0] as number).toFixed(2)}-${(times.at(-1) as number).toFixed(2)} |`;
  };
  const python = process.env['BELAY_PEER_PYTHON'] ?? '/usr/bin/python3';
  const peer = join(packageRoot, 'bench', 'peers', 'torch_head.py');
  const args = [768, 768, documents * 0.9, rounds + 1, backend.threads].map(String);
  const { status, stdout } = spawnSync(python, [peer, ...args], { encoding: 'utf8' });
  const theirs = status === 0 ? line('PyTorch', stdout.trim().split('\n').map(Number)) : '| PyTorch | Not run | |';
  return [line(`belay, ${backend.target}, with validation`, seconds), theirs];
}

const load = loadavg()[0] as number;
const rows = await rowsOf();
const times = rows.map((): Taken[] => []);
for (let round = 0; round <= rounds; round++) {
  for (const [i, { work }] of rows.entries()) {
    const time = await taken(work);
    // The first round warms up.
    if (round > 0) times[i]?.push(time);
  }
}
const table = rows.map(({ what, units }, i) => {
  const cpu = median((times[i] as Taken[]).map((time) => time.cpu));
  const wall = median((times[i] as Taken[]).map((time) => time.wall));
  const rate = (unit: string): string => (units[unit] === undefined ? '' : (units[unit] / cpu).toPrecision(3));
  return `| ${what} | ${rate('documents')} | ${rate('chunks')} | ${rate('MB')} | ${(wall / cpu).toFixed(2)} |`;
});
const commit = spawnSync('git', ['-C', packageRoot, 'rev-parse', '--short', 'HEAD'], {
  encoding: 'utf8',
}).stdout.trim();
const text = `# Classifiers over vectors

${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${cpus()[0]?.model} (${cpus().length} cores), node ${process.version}, load ${load.toFixed(1)} at the start.
${texts.length} texts of ${((megabytes(texts) / texts.length) * 1e3).toFixed(1)} kB, ${paragraphs.length} paragraphs of ${((megabytes(paragraphs) / paragraphs.length) * 1e3).toFixed(2)} kB; medians of ${rounds} rounds in turns.
Rates are per CPU second; \`wall\` is wall seconds per CPU second. MB of heads: of the text that their vectors stand for.

| what | documents/s | chunks/s | MB/s | wall |
|---|--:|--:|--:|--:|
${table.join('\n')}

An epoch of the toxicity head (768 to 768 to 2, batches of 64) on 7,200 vectors, ${defaultBackend().threads} threads, wall time:

| what | median | range |
|---|--:|--:|
${training().join('\n')}
`;
process.stdout.write(text);
if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), text);
rmSync(dir, { recursive: true });
