// Training of text classifiers beside the original fastText (Debian's package fasttext), each on one thread.
//
// The lines are those of belay data train-languages, a tenth held out. Both sides read the same lines from a file and write
// a model; CPU seconds are of the whole process, start and reading included. The original scores both models.
//
//   npm run build && node dist/bench/data-classifier.js [--fasttext fasttext] [--rounds 3] [--save data-classifier_<machine>_<date>]
//
// Does not: compare several threads; the original's results change with them.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Random } from '../src/base/rng.ts';
import { packageRoot } from '../src/base/version.ts';
import { declarationLines } from '../src/data/language-lines.ts';

const { values } = parseArgs({
  options: {
    fasttext: { type: 'string', default: 'fasttext' },
    rounds: { type: 'string', default: '3' },
    save: { type: 'string' },
  },
});

interface Task {
  readonly title: string;
  /** A line of this label is used. */
  readonly uses: (label: string) => boolean;
  readonly settings: Readonly<Record<string, number>>;
}

const few = new Set('deu eng fra ita spa por nld swe dan pol ces hun fin tur vie ind swh tgl ron cat'.split(' '));
const tasks: readonly Task[] = [
  {
    title: 'characters, 445 languages',
    uses: () => true,
    settings: { dim: 16, epoch: 2, lr: 1, minn: 1, maxn: 4, bucket: 100_000 },
  },
  {
    title: 'words and pairs, 20 languages',
    uses: (label) => few.has(label),
    settings: { dim: 100, epoch: 5, lr: 0.5, wordNgrams: 2, bucket: 200_000 },
  },
];

/** User and system seconds of a command, by the shell that waits for it. */
function seconds(command: readonly string[]): number {
  const quoted = command.map((word) => `'${word}'`).join(' ');
  const out = execFileSync('bash', ['-c', `${quoted} >/dev/null 2>&1 || exit 1; times`], { encoding: 'utf8' });
  const [user, system] = (out.split('\n')[1] as string).split(' ').map((part) => {
    const [minutes, rest] = part.split('m') as [string, string];
    return 60 * Number(minutes) + Number(rest.replace('s', ''));
  }) as [number, number];
  return user + system;
}

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const median = (all: readonly number[]): number => [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)] as number;

const dir = mkdtempSync(join(tmpdir(), 'belay-classifier-'));
const load = loadavg()[0] as number;
const rows: string[] = [];
try {
  const all = await declarationLines(28);
  for (const { title, uses, settings } of tasks) {
    const lines = all.filter(({ label }) => uses(label));
    const training = lines.filter((_, i) => i % 10 !== 0);
    const plain = (of: typeof lines): string => of.map(({ text, label }) => `__label__${label} ${text}\n`).join('');
    // The original takes lines as they come, so they are shuffled for both.
    const mixed = new Random(28, 'bench').shuffle([...training]);
    writeFileSync(join(dir, 'train.jsonl'), mixed.map((line) => `${JSON.stringify(line)}\n`).join(''));
    writeFileSync(join(dir, 'train.txt'), plain(mixed));
    writeFileSync(join(dir, 'test.txt'), plain(lines.filter((_, i) => i % 10 === 0)));
    const options = Object.entries(settings);
    const ours = [
      process.execPath,
      join(packageRoot, 'bin', 'belay.js'),
      'data',
      'train-classifier',
      '--hold-out',
      '0',
    ];
    ours.push('--out', join(dir, 'ours.bin'), ...options.flatMap(([name, value]) => [`--${kebab(name)}`, `${value}`]));
    ours.push(join(dir, 'train.jsonl'));
    const theirs = [values.fasttext, 'supervised', '-input', join(dir, 'train.txt'), '-output', join(dir, 'theirs')];
    theirs.push('-thread', '1', ...options.flatMap(([name, value]) => [`-${name}`, `${value}`]));
    const times = { ours: [] as number[], theirs: [] as number[] };
    for (let round = 0; round < Number(values.rounds); round++) {
      times.ours.push(seconds(ours));
      times.theirs.push(seconds(theirs));
    }
    const score = (model: string): string => {
      const out = execFileSync(values.fasttext, ['test', join(dir, model), join(dir, 'test.txt')], {
        encoding: 'utf8',
      });
      return /P@1\s+([\d.]+)/.exec(out)?.[1] as string;
    };
    const shown = (of: readonly number[]): string =>
      `${median(of).toFixed(1)} (${Math.min(...of).toFixed(1)} to ${Math.max(...of).toFixed(1)})`;
    const what = `${title}: ${training.length} lines; ${options.map(([name, value]) => `${name} ${value}`).join(', ')}`;
    rows.push(
      `| ${what} | ${shown(times.ours)} | ${shown(times.theirs)} | ${score('ours.bin')} | ${score('theirs.bin')} |`,
    );
    process.stderr.write(`${rows.at(-1)}\n`);
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: packageRoot, encoding: 'utf8' }).trim();
const report = `# Training of text classifiers

${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${cpus()[0]?.model} (${cpus().length} cores), node ${process.version}, load ${load.toFixed(1)} at the start.
CPU seconds of the whole process, median and range of ${values.rounds} rounds in turn; share of held-out lines that are answered right, both scored by the original.

| task | belay, s | fastText, s | belay, right | fastText, right |
|---|--:|--:|--:|--:|
${rows.join('\n')}
`;
console.log(report);
if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), report);
