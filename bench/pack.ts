// Packing against the encoder it is made of: JSON lines to .bin and .idx, beside encoding of the same texts from memory,
// beside reading and parsing the same files, and beside Hugging Face tokenizers with what Megatron's preprocessing does.
//
// Every measurement is a process of its own, and rounds go through all of them in turn. Told are seconds on the clock and CPU
// seconds of the process with all its threads. Files that both sides wrote are compared byte by byte.
//
//   npm run build && node dist/bench/pack.js --tokenizer <tokenizer.json of Apertus> [--documents data/debian] [--megabytes 100]
//     [--rounds 3] [--save pack_<machine>_<date>]
//
// BELAY_PEER_PYTHON has PyPI's tokenizers and numpy; without them that row is a line "Not run".
//
// Does not: measure the choice of documents, or of groups.
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { documentFiles } from '../src/base/documents-folder.ts';
import { hashFile } from '../src/base/hashing.ts';
import { JsonlWriter, readJsonl } from '../src/base/jsonl.ts';
import { writeManifest } from '../src/base/manifest.ts';
import { silentLog } from '../src/base/progress.ts';
import { parseRecipe } from '../src/base/recipe.ts';
import { Random } from '../src/base/rng.ts';
import { packageRoot } from '../src/base/version.ts';
import { packDocuments } from '../src/corpus/pack.ts';
import { encodeTexts } from '../src/tokenizer/encode-texts.ts';
import { changed, readDebianTexts } from './debian-texts.ts';

const { values } = parseArgs({
  options: {
    tokenizer: { type: 'string' },
    documents: { type: 'string', default: 'data/debian' },
    megabytes: { type: 'string', default: '100' },
    rounds: { type: 'string', default: '3' },
    save: { type: 'string' },
    worker: { type: 'string' },
    dir: { type: 'string' },
    threads: { type: 'string', default: '1' },
  },
});

interface Answer {
  readonly clock: number;
  readonly cpu: number;
  readonly tokens: number;
}

type Task = 'pack' | 'encode' | 'read';

/** One measurement, in a process of its own. */
async function work(task: Task, dir: string, threads: number): Promise<Answer> {
  const documents = join(dir, 'documents');
  const tokenizer = join(dir, 'tokenizer');
  const files = documentFiles(documents, 'train');
  let texts: string[] = [];
  if (task === 'encode')
    for (const file of files) for await (const { text } of readJsonl<{ text: string }>(file)) texts.push(text);
  const began = performance.now();
  const before = process.cpuUsage();
  let tokens = 0;
  if (task === 'pack') {
    const recipe = parseRecipe({ name: 'pack' }, 'bench');
    const out = join(dir, `packed-${threads}`);
    rmSync(out, { recursive: true, force: true });
    const made = await packDocuments({
      ...{ dir: out, documentsDir: documents, tokenizerDir: tokenizer, recipe, workers: threads, log: silentLog },
    });
    tokens = (made.manifest.facts['train'] as { tokens: number }).tokens;
  } else if (task === 'encode') {
    for await (const { ids } of encodeTexts(tokenizer, texts, (text) => text, {
      bos: true,
      last: 2,
      workers: threads,
    })) {
      tokens += ids.length;
    }
  } else {
    for (const file of files)
      for await (const { text } of readJsonl<{ text: string }>(file)) tokens += text.length > 0 ? 1 : 0;
  }
  texts = [];
  const { user, system } = process.cpuUsage(before);
  return { clock: (performance.now() - began) / 1000, cpu: (user + system) / 1e6, tokens };
}

/** Debian's texts, changed a little each time they come again, as a documents stage of 32 MB files. */
async function makeDocuments(dir: string, bytes: number): Promise<{ readonly count: number; readonly bytes: number }> {
  const into = join(dir, 'documents');
  mkdirSync(into, { recursive: true });
  const texts = readDebianTexts(values.documents);
  const random = new Random(28, 'pack');
  let written = 0;
  let count = 0;
  let number = 0;
  const nameOf = (file: number): string => join(into, `train-${String(file).padStart(5, '0')}-00000.jsonl.gz`);
  let writer = new JsonlWriter(nameOf(number));
  let inFile = 0;
  for (let round = 0; written < bytes; round++) {
    for (const original of texts) {
      const text = round === 0 ? original : changed(original, random);
      const size = Buffer.byteLength(text);
      await writer.write({ id: `${count}`, text, language: 'und', source: 'debian', licence: 'unknown' });
      written += size;
      inFile += size;
      count++;
      if (inFile > 32e6) {
        await writer.close();
        writer = new JsonlWriter(nameOf(++number));
        inFile = 0;
      }
      if (written >= bytes) break;
    }
  }
  await writer.close();
  writeManifest(into, { kind: 'documents', version: 1, recipe: {}, inputs: {}, facts: {} });
  const tokenizer = join(dir, 'tokenizer');
  mkdirSync(tokenizer);
  copyFileSync(values.tokenizer as string, join(tokenizer, 'tokenizer.json'));
  writeManifest(tokenizer, { kind: 'tokenizer', version: 1, recipe: {}, inputs: {}, facts: {} });
  return { count, bytes: written };
}

const shown = (value: number): string => value.toPrecision(3);
const median = (numbers: readonly number[]): number =>
  [...numbers].sort((a, b) => a - b)[numbers.length >> 1] as number;
const spread = (numbers: readonly number[]): string =>
  `${shown(median(numbers))} (${shown(Math.min(...numbers))} to ${shown(Math.max(...numbers))})`;

async function main(): Promise<void> {
  if (values.tokenizer === undefined) throw new Error('--tokenizer tokenizer.json');
  const load = loadavg()[0] as number;
  const cores = availableParallelism();
  const dir = mkdtempSync(join(tmpdir(), 'belay-pack-'));
  try {
    const made = await makeDocuments(dir, Number(values.megabytes) * 1e6);
    const self = [...process.execArgv, fileURLToPath(import.meta.url), '--dir', dir, '--worker'];
    const python = process.env['BELAY_PEER_PYTHON'] ?? 'python3';
    const peer = join(packageRoot, 'bench', 'peers', 'pack.py');
    const rows: {
      readonly name: string;
      readonly command: string;
      readonly args: string[];
      readonly answers: Answer[];
    }[] = [
      { name: 'read and parse, 1 thread', command: process.execPath, args: [...self, 'read'], answers: [] },
      ...[1, cores].flatMap((threads) =>
        (['encode', 'pack'] as const).map((task) => ({
          name: `belay ${task}, ${threads} thread${threads === 1 ? '' : 's'}`,
          command: process.execPath,
          args: [...self, task, '--threads', `${threads}`],
          answers: [],
        })),
      ),
      {
        name: `Hugging Face tokenizers, as Megatron preprocesses, ${cores} threads`,
        command: python,
        args: [peer, dir],
        answers: [],
      },
    ];
    const notes: string[] = [];
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const row of rows) {
        const { status, stdout, stderr } = spawnSync(row.command, row.args, { encoding: 'utf8', maxBuffer: 1 << 26 });
        if (status !== 0) {
          if (row.command === process.execPath) throw new Error(`${row.name}: ${stderr}`);
          if (round === 0) notes.push(`Not run: ${row.name} (${stderr.trim().split('\n').at(-1)}).`);
          continue;
        }
        row.answers.push(JSON.parse(stdout) as Answer);
        process.stderr.write(`round ${round + 1}: ${row.name}: ${shown((row.answers.at(-1) as Answer).clock)} s\n`);
      }
    }
    const bin = (name: string): string => hashFile(join(dir, name, 'train.bin')).sha256;
    const equal = [`packed-${cores}`, 'peer'].filter((name) => name !== 'peer' || rows.at(-1)?.answers.length);
    for (const name of equal) {
      notes.push(
        `train.bin of ${name === 'peer' ? 'the peer' : `${cores} threads`} and of 1 thread: ${bin(name) === bin('packed-1') ? 'the same bytes' : 'DIFFERENT'}.`,
      );
    }
    const of = (name: string): Answer[] => rows.find((row) => row.name === name)?.answers ?? [];
    const table = rows
      .filter(({ answers }) => answers.length > 0)
      .map(({ name, answers }) => {
        const threads = / (\d+) threads?$/.exec(name)?.[1];
        const encoder = of(`belay encode, ${threads === '1' ? '1 thread' : `${threads} threads`}`);
        const packer = of(`belay pack, ${threads === '1' ? '1 thread' : `${threads} threads`}`);
        const share = (other: readonly Answer[], key: 'clock' | 'cpu'): string =>
          other.length === 0 ? '' : spread(answers.map((answer, i) => (other[i] as Answer)[key] / answer[key]));
        const rate = answers.map(({ clock }) => made.bytes / 1e6 / clock);
        const perCpu = answers.map(({ cpu }) => made.bytes / 1e6 / cpu);
        const isPack = name.startsWith('belay pack');
        const isPeer = name.startsWith('Hugging');
        return `| ${name} | ${spread(rate)} | ${spread(perCpu)} | ${isPack ? share(encoder, 'clock') : ''} | ${isPeer ? spread(answers.map((answer, i) => answer.clock / (packer[i] as Answer).clock)) : ''} |`;
      });
    const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: packageRoot, encoding: 'utf8' }).trim();
    const size = (name: string): number => statSync(join(dir, name)).size;
    const lines = [
      '# Packing documents into token files',
      '',
      `${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${cpus()[0]?.model} (${cores} cores), node ${process.version}, load ${load.toFixed(1)} at the start.`,
      `${made.count} documents, ${(made.bytes / 1e6).toFixed(0)} MB of text in gzipped JSON lines to train.bin (${(size('packed-1/train.bin') / 1e6).toFixed(0)} MB) with Apertus' vocabulary; ${values.rounds} rounds, a process each time, median and range.`,
      '',
      '| side | MB/s on the clock | MB per CPU second | of the speed of encoding alone | belay packs so many times as fast |',
      '|---|--:|--:|--:|--:|',
      ...table,
      '',
      ...notes,
      '',
    ];
    process.stdout.write(lines.join('\n'));
    if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), lines.join('\n'));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

if (values.worker === undefined) await main();
else
  process.stdout.write(JSON.stringify(await work(values.worker as Task, values.dir as string, Number(values.threads))));
