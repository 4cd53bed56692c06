// The cleaning line from end to end: files of compressed JSON lines in, clean shards with a ledger out.
//
// Three questions. How fast is it per core beside datatrove as it ships, with the same filters on the same files? Which part of
// the time is decompression, the floor that no line goes below? What do more threads and all steps together cost? Every
// round runs all sides in turn, each as a command of its own from start to end, and CPU seconds are those of the command
// and its children. With --gigabytes the whole line runs over that much under a limit of 1 GiB of memory instead.
//
//   npm run build && node dist/bench/data-clean.js --datatrove <folder>/src [--documents data/debian] [--megabytes 100]
//     [--rounds 3] [--dir FOLDER] [--save data-clean_<machine>_<date>]
//   npm run build && node dist/bench/data-clean.js --gigabytes 10 [--dir FOLDER] [--save data-clean-memory_<machine>_<date>]
//
// BELAY_PEER_PYTHON is the interpreter for datatrove. The texts are Debian's pages in languages with spaces, changed for each
// repetition, in eight files.
//
// Does not: compare verdicts; data-filters.ts does, with the same words on both sides.
import { execFileSync, spawn } from 'node:child_process';
import {
  createReadStream,
  createWriteStream,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createGunzip, createGzip } from 'node:zlib';
import { Random } from '../src/base/rng.ts';
import { packageRoot } from '../src/base/version.ts';
import { changed, readDebianTexts } from './debian-texts.ts';
import { enter, makeMemoryLimit, peakOf, removeMemoryLimit } from './memory-limit.ts';

/** What datatrove has too. */
const filters = [
  { step: 'gopher-repetition' },
  { step: 'gopher-quality', minStopWords: null },
  { step: 'c4', terminalPunctuation: false },
  { step: 'fineweb' },
  { step: 'pii', mode: 'apertus' },
];
/** Everything that a corpus of web pages goes through. */
const wholeLine = [
  { step: 'opt-out' },
  { step: 'unicode' },
  { step: 'language' },
  ...filters.slice(0, 4),
  { step: 'pii' },
  { step: 'exact-dedup' },
  { step: 'minhash-dedup' },
];

const { values } = parseArgs({
  options: {
    datatrove: { type: 'string' },
    documents: { type: 'string', default: join(packageRoot, 'data', 'debian') },
    megabytes: { type: 'string', default: '100' },
    gigabytes: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    dir: { type: 'string', default: tmpdir() },
    save: { type: 'string' },
    gunzip: { type: 'string', multiple: true },
  },
});

interface Spent {
  readonly seconds: number;
  /** Of the command and its children. */
  readonly cpuSeconds: number;
}

/** Runs a command under the shell's clock; its lines are shown when it fails. */
async function timed(command: readonly string[], inGroup: (pid: number) => void = () => {}): Promise<Spent> {
  const child = spawn('bash', ['-c', 'read -r; TIMEFORMAT="%R %U %S"; time "$@" 2>&1', 'bash', ...command]);
  inGroup(child.pid as number);
  let out = '';
  let clock = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => void (out = (out + text).slice(-5000)));
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (clock += text));
  child.stdin.end('go\n');
  const code = await new Promise<string>((resolve) =>
    child.on('close', (status, signal) => resolve(`${status ?? signal}`)),
  );
  if (code !== '0') throw new Error(`${command.join(' ')} ended with ${code}: ${out}${clock}`);
  const [seconds = 0, user = 0, system = 0] = clock.trim().split(' ').map(Number);
  return { seconds, cpuSeconds: user + system };
}

/** Eight files with about `bytes` of text between them; answers how much it is. */
async function makeFiles(dir: string, texts: readonly string[], bytes: number, level: number): Promise<number> {
  let made = 0;
  for (let file = 0; file < 8; file++) {
    const until = (bytes * (file + 1)) / 8;
    function* lines(): Generator<string> {
      for (; made < until; next++) {
        const text = changed(texts[next % texts.length] as string, new Random(28, 'bench', next));
        made += Buffer.byteLength(text);
        yield `${JSON.stringify({ id: `${next}`, text, url: `https://host${next % 997}.example/${next}` })}\n`;
      }
    }
    const path = join(dir, `part-${file}.jsonl.gz`);
    await pipeline(Readable.from(lines()), createGzip({ level }), createWriteStream(path));
  }
  return made;
}
let next = 0;

/** Less than a file: every file is a task of its own. */
const shardBytes = 2 ** 20;

function recipeFile(dir: string, name: string, input: string, steps: readonly object[]): string {
  const path = join(dir, `${name}.json`);
  writeFileSync(
    path,
    JSON.stringify({ name, data: { source: { kind: 'jsonl', paths: [input] }, steps, heldOutShare: 0, shardBytes } }),
  );
  return path;
}

const belay = (recipe: string, out: string, workers: number): string[] => {
  const cli = join(packageRoot, 'dist', 'src', 'cli.js');
  return [process.execPath, cli, 'data', 'clean', '--recipe', recipe, '--out', out, '--workers', `${workers}`];
};

const median = (numbers: readonly number[]): number =>
  [...numbers].sort((a, b) => a - b)[numbers.length >> 1] as number;
const shown = (value: number): string => value.toPrecision(3);

function head(title: string, load: number): string[] {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: packageRoot, encoding: 'utf8' }).trim();
  const machine = `${cpus()[0]?.model} (${cpus().length} cores), node ${process.version}`;
  return [
    `# ${title}`,
    '',
    `${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${machine}, load ${load.toFixed(1)} at the start.`,
  ];
}

async function besides(dir: string): Promise<string[]> {
  const load = loadavg()[0] as number;
  const input = join(dir, 'in');
  mkdirSync(input);
  const bytes = await makeFiles(input, readDebianTexts(values.documents), Number(values.megabytes) * 1e6, 6);
  const files = Array.from({ length: 8 }, (_, i) => join(input, `part-${i}.jsonl.gz`));
  const same = recipeFile(dir, 'filters', input, filters);
  const all = recipeFile(dir, 'line', input, wholeLine);
  const out = join(dir, 'out');
  const python = process.env['BELAY_PEER_PYTHON'] ?? '/usr/bin/python3';
  const peer = join(packageRoot, 'bench', 'peers', 'datatrove_clean.py');
  const sides: { readonly name: string; readonly command: readonly string[]; readonly spent: Spent[] }[] = [
    {
      name: 'gunzip alone',
      command: [process.execPath, fileURLToPath(import.meta.url), ...files.flatMap((file) => ['--gunzip', file])],
    },
    { name: 'belay, the filters, 1 thread', command: belay(same, out, 1) },
    { name: 'belay, the whole line, 1 thread', command: belay(all, out, 1) },
    { name: `belay, the whole line, ${cpus().length} threads`, command: belay(all, out, cpus().length) },
    ...(values.datatrove === undefined
      ? []
      : [{ name: 'datatrove, the filters, 1 worker', command: [python, peer, values.datatrove, input, out] }]),
  ].map((side) => ({ ...side, spent: [] }));
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const { name, command, spent } of round % 2 === 0 ? sides : [...sides].reverse()) {
      rmSync(out, { recursive: true, force: true });
      mkdirSync(out);
      spent.push(await timed(command));
      process.stderr.write(`${name}: ${spent.at(-1)?.seconds} s\n`);
    }
  }
  const MB = bytes / 1e6;
  const of = (name: string, what: keyof Spent): number[] =>
    (sides.find((side) => side.name.startsWith(name)) as (typeof sides)[number]).spent.map((each) => each[what]);
  const perRound = (a: readonly number[], b: readonly number[]): string => {
    const ratios = a.map((value, i) => value / (b[i] as number));
    return `${shown(median(ratios))} (${shown(Math.min(...ratios))} to ${shown(Math.max(...ratios))})`;
  };
  const threads = `belay, the whole line, ${cpus().length}`;
  return [
    ...head('The cleaning line from end to end', load),
    `${MB.toFixed(0)} MB of text in 8 files of compressed JSON lines; ${values.rounds} rounds, all sides in turn, each a command from start to end; medians.`,
    `Filters: ${filters.map(({ step }) => step).join(', ')}. Whole line: ${wholeLine.map(({ step }) => step).join(', ')}.`,
    '',
    '| | seconds | MB/s | CPU seconds | MB per CPU second |',
    '|---|--:|--:|--:|--:|',
    ...sides.map(({ name, spent }) => {
      const seconds = median(spent.map((each) => each.seconds));
      const cpuSeconds = median(spent.map((each) => each.cpuSeconds));
      return `| ${name} | ${shown(seconds)} | ${shown(MB / seconds)} | ${shown(cpuSeconds)} | ${shown(MB / cpuSeconds)} |`;
    }),
    '',
    ...(values.datatrove === undefined
      ? ['Not run: datatrove (--datatrove).']
      : [
          `**The same filters: ${perRound(of('datatrove', 'cpuSeconds'), of('belay, the filters', 'cpuSeconds'))} times as fast as datatrove per CPU second**, ${perRound(of('datatrove', 'seconds'), of('belay, the filters', 'seconds'))} by the clock.`,
        ]),
    `Decompression is ${perRound(of('gunzip', 'cpuSeconds'), of('belay, the filters', 'cpuSeconds'))} of the CPU time of the filters, ${perRound(of('gunzip', 'cpuSeconds'), of('belay, the whole line, 1', 'cpuSeconds'))} of the whole line's.`,
    `${cpus().length} threads: ${perRound(of('belay, the whole line, 1', 'seconds'), of(threads, 'seconds'))} times as fast as one.`,
    '',
  ];
}

async function underLimit(dir: string, gigabytes: number): Promise<string[]> {
  const load = loadavg()[0] as number;
  const input = join(dir, 'in');
  mkdirSync(input);
  const bytes = await makeFiles(input, readDebianTexts(values.documents), gigabytes * 1e9, 1);
  const limit = makeMemoryLimit(`belay-clean-${process.pid}`, 2 ** 30);
  try {
    const out = join(dir, 'out');
    const spent = await timed(belay(recipeFile(dir, 'line', input, wholeLine), out, cpus().length), (pid) =>
      enter(limit, pid),
    );
    const peak = peakOf(limit);
    const manifest = JSON.parse(readFileSync(join(out, 'documents', 'manifest.json'), 'utf8')) as {
      readonly facts?: unknown;
    };
    return [
      ...head('The cleaning line under a limit of memory', load),
      `Limit: ${limit.words}. ${(bytes / 1e9).toFixed(2)} GB of text in ${next} documents, 8 files of compressed JSON lines, ${cpus().length} threads.`,
      `Steps: ${wholeLine.map(({ step }) => step).join(', ')}.`,
      '',
      `Done in ${spent.seconds.toFixed(0)} s (${shown(bytes / 1e6 / spent.seconds)} MB/s, ${spent.cpuSeconds.toFixed(0)} CPU seconds)${peak === undefined ? '' : `; the most the group held: ${(peak / 2 ** 20).toFixed(0)} MiB, files' pages included`}.`,
      '',
      '```json',
      JSON.stringify(manifest.facts ?? manifest, null, 1).slice(0, 1500),
      '```',
      '',
    ];
  } finally {
    removeMemoryLimit(limit);
  }
}

if (values.gunzip) {
  for (const path of values.gunzip) {
    for await (const _ of createReadStream(path, { highWaterMark: 1 << 18 }).pipe(
      createGunzip({ chunkSize: 1 << 18 }),
    )) {
      // Only unpacked.
    }
  }
} else {
  const dir = mkdtempSync(join(values.dir, 'belay-clean-'));
  try {
    const lines = values.gigabytes === undefined ? await besides(dir) : await underLimit(dir, Number(values.gigabytes));
    console.log(lines.join('\n'));
    if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), lines.join('\n'));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
