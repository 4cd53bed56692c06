// Our chain of text filters against datatrove's, per core: Gopher's repetition and quality rules, C4's, FineWeb's, and
// personal data, on Debian's documents changed and repeated to a size.
//
// Each side is a process of its own that waits. The documents come in slices; for each slice both are asked in turn, so
// what else the machine does falls on both. Times are CPU seconds of the process in the chain alone: reading and writing
// lines is not in them. Both sides see the same words: spaCy, which datatrove would ask, is slower than the pattern that
// stands for it here, so the peer is faster than as it ships. What became of each document is compared: the step that
// dropped it, or the text before personal data, of which the two patterns differ.
//
//   npm run build && node dist/bench/data-filters.js --datatrove <folder>/src [--documents data/debian] [--megabytes 1000]
//     [--slice 20] [--save data-filters_<machine>_<date>]
//
// Languages without spaces are left out, since their words come from Intl.Segmenter, which Python lacks.
//
// Does not: run datatrove's readers, writers or executors.
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Document } from '../src/base/document.ts';
import { silentLog } from '../src/base/progress.ts';
import { Random } from '../src/base/rng.ts';
import { packageRoot } from '../src/base/version.ts';
import type { Step } from '../src/data/step.ts';
import { makeStep } from '../src/data/steps.ts';
import { changed, readDebianTexts } from './debian-texts.ts';

const chain: readonly (readonly [string, object])[] = [
  ['gopher-repetition', {}],
  ['gopher-quality', { minStopWords: null }],
  ['c4', { terminalPunctuation: false }],
  ['fineweb', {}],
  ['pii', {}],
];

const { values } = parseArgs({
  options: {
    worker: { type: 'boolean', default: false },
    datatrove: { type: 'string' },
    documents: { type: 'string', default: join(packageRoot, 'data', 'debian') },
    megabytes: { type: 'string', default: '1000' },
    slice: { type: 'string', default: '20' },
    save: { type: 'string' },
  },
});

/** Our side: a path a line on standard input, CPU seconds of the chain as the answer. */
async function work(): Promise<void> {
  const steps = (await Promise.all(
    chain.map(([name, set]) => makeStep(name, set, { log: silentLog, seed: 1 })),
  )) as Step[];
  console.log('ready');
  for await (const path of createInterface({ input: process.stdin })) {
    const documents = readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line, i): Document => {
        const { text } = JSON.parse(line) as { readonly text: string };
        return { id: `${i}`, text, language: 'und', source: 'bench', licence: 'unknown' };
      });
    const answers: { readonly dropped?: string; readonly text: string }[] = [];
    const before = process.cpuUsage();
    for (const document of documents) {
      let current = document;
      let dropped: string | undefined;
      let text = current.text;
      for (const step of steps) {
        if (step.name === 'pii') text = current.text;
        const answer = step.run(current);
        const verdict = answer instanceof Promise ? await answer : answer;
        if ('drop' in verdict) {
          dropped = step.name;
          break;
        }
        current = verdict.keep;
      }
      answers.push(dropped === undefined ? { text } : { dropped, text });
    }
    const { user, system } = process.cpuUsage(before);
    const rows = answers.map(({ dropped, text }) => dropped ?? createHash('sha256').update(text).digest('hex'));
    writeFileSync(`${path}.ours`, `${rows.join('\n')}\n`);
    console.log(JSON.stringify({ seconds: (user + system) / 1e6 }));
  }
}

/** A waiting process. */
interface Side {
  readonly ask: (path: string) => Promise<number>;
  readonly end: () => void;
}

async function start(command: string, args: readonly string[]): Promise<Side> {
  const child: ChildProcessWithoutNullStreams = spawn(command, args);
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
      return (JSON.parse(await next()) as { readonly seconds: number }).seconds;
    },
    end: () => void child.stdin.end(),
  };
}

const shown = (value: number): string => value.toPrecision(3);

async function main(): Promise<void> {
  if (values.datatrove === undefined) throw new Error('--datatrove names the src folder of huggingface/datatrove');
  const python = process.env['BELAY_PEER_PYTHON'] ?? '/usr/bin/python3';
  const texts = readDebianTexts(values.documents);
  const load = loadavg()[0] as number;
  const peer = join(packageRoot, 'bench', 'peers', 'datatrove_filters.py');
  const ours = await start(process.execPath, [fileURLToPath(import.meta.url), '--worker']);
  const theirs = await start(python, [peer, values.datatrove]);
  const dir = mkdtempSync(join(tmpdir(), 'belay-filters-'));
  const sliceBytes = Number(values.slice) * 1e6;
  const wanted = Number(values.megabytes) * 1e6;
  const total = { bytes: 0, documents: 0, ours: 0, theirs: 0, same: 0 };
  const ratios: number[] = [];
  const became = new Map<string, number>();
  const differing: string[] = [];
  try {
    let next = 0;
    for (let round = 0; total.bytes < wanted; round++) {
      const path = join(dir, `slice-${round}.jsonl`);
      const lines: string[] = [];
      let bytes = 0;
      while (bytes < Math.min(sliceBytes, wanted - total.bytes)) {
        const text = changed(texts[next % texts.length] as string, new Random(28, 'bench', next));
        next++;
        bytes += Buffer.byteLength(text);
        lines.push(JSON.stringify({ text }));
      }
      writeFileSync(path, `${lines.join('\n')}\n`);
      // In turn who is first; one after the other, since they share the machine.
      const seconds = { ours: 0, theirs: 0 };
      for (const side of round % 2 === 0 ? (['ours', 'theirs'] as const) : (['theirs', 'ours'] as const)) {
        seconds[side] = await (side === 'ours' ? ours : theirs).ask(path);
      }
      const [a, b] = ['ours', 'theirs'].map((side) =>
        readFileSync(`${path}.${side}`, 'utf8').trimEnd().split('\n'),
      ) as [string[], string[]];
      if (a.length !== lines.length || b.length !== lines.length) throw new Error(`a side lost documents of ${path}`);
      for (const [i, verdict] of a.entries()) {
        const what = verdict.length === 64 ? 'kept' : verdict;
        became.set(what, (became.get(what) ?? 0) + 1);
        if (verdict === b[i]) total.same++;
        else if (differing.length < 5) differing.push(`${verdict} | ${b[i]} | ${lines[i]?.slice(0, 200)}`);
      }
      total.bytes += bytes;
      total.documents += lines.length;
      total.ours += seconds.ours;
      total.theirs += seconds.theirs;
      ratios.push(seconds.theirs / seconds.ours);
      for (const name of [path, `${path}.ours`, `${path}.theirs`]) rmSync(name);
      process.stderr.write(`${(total.bytes / 1e6).toFixed(0)} MB, ${shown(total.theirs / total.ours)} times\n`);
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
  const median = ratios[ratios.length >> 1] as number;
  const lines = [
    '# Text filters against datatrove',
    '',
    `${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${cpus()[0]?.model} (${cpus().length} cores), node ${process.version}, ${peerVersion}, load ${load.toFixed(1)} at the start.`,
    `${MB.toFixed(0)} MB in ${total.documents} documents, ${ratios.length} slices of ${values.slice} MB, both sides in turn for each; CPU seconds of the chain alone.`,
    `Chain: ${chain.map(([name]) => name).join(', ')}. Debian's pages in languages with spaces, changed for each repetition.`,
    '',
    '| side | CPU seconds | MB/s per core |',
    '|---|--:|--:|',
    `| belay | ${total.ours.toFixed(1)} | ${shown(MB / total.ours)} |`,
    `| datatrove, words by a pattern instead of spaCy | ${total.theirs.toFixed(1)} | ${shown(MB / total.theirs)} |`,
    '',
    `**${shown(total.theirs / total.ours)} times as fast**; slices: median ${shown(median)}, from ${shown(ratios[0] as number)} to ${shown(ratios[ratios.length - 1] as number)}.`,
    `The same verdict and text on ${total.same} of ${total.documents} documents. What became of them: ${[...became]
      .sort((a, b) => b[1] - a[1])
      .map(([what, count]) => `${what} ${count}`)
      .join(', ')}.`,
    '',
  ];
  console.log(lines.join('\n'));
  for (const line of differing) console.error(`differs (ours | theirs): ${line}`);
  if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), lines.join('\n'));
}

await (values.worker ? work() : main());
