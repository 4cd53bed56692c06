// The whole line, timed: `belay demo` in a new folder (or a finished one, named by --out), the time each stage took,
// peak memory and what came of it.
//
// A measurement, not a comparison: nobody else ships this line. The table goes to bench/results/ with --save.
//
//   npm run build && node dist/bench/demo.js [--out DIR] [--save NAME]
import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../src/base/version.ts';
import type { DemoResult } from '../src/commands/demo.ts';

const { values } = parseArgs({ options: { out: { type: 'string' }, save: { type: 'string' } } });
const out = values.out ?? mkdtempSync(join(tmpdir(), 'belay-bench-demo-'));
const cli = join(packageRoot, 'dist', 'src', 'cli.js');
const run = spawnSync(process.execPath, [cli, 'demo', '--out', out, '--json'], {
  encoding: 'utf8',
  maxBuffer: 1 << 28,
});
if (run.status !== 0) throw new Error(`belay demo ended with ${run.status}\n${run.stderr}`);
const { seconds, peakMemoryBytes, facts } = JSON.parse(run.stdout) as DemoResult;
const git = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: packageRoot, encoding: 'utf8' }).stdout.trim();
const fact = (stage: string, name: string, digits: number): string => Number(facts[stage]?.[name]).toFixed(digits);
const lines = [
  '# The demo, end to end',
  '',
  `${new Date().toISOString().slice(0, 10)}, commit ${git}, ${cpus()[0]?.model} (${cpus().length} cores), node ${process.version}.`,
  '',
  '| stage | seconds |',
  '|---|--:|',
  ...Object.entries(seconds).map(([stage, took]) => `| ${stage} | ${took.toFixed(1)} |`),
  `| **all stages** | **${Object.values(seconds)
    .reduce((sum, took) => sum + took, 0)
    .toFixed(0)}** |`,
  '',
  `Peak memory ${(peakMemoryBytes / 1e9).toFixed(2)} GB. ${fact('pretrain', 'steps', 0)} steps, ${fact('pretrain', 'tokens', 0)} tokens, ${fact('pretrain', 'parameters', 0)} parameters (${String(facts['pretrain']?.['target'])}, ${String(facts['pretrain']?.['compute'])}).`,
  `Held-out loss ${fact('evaluation', 'natsPerToken', 3)} nats per token, ${fact('evaluation', 'bitsPerByte', 3)} bits per byte; add-one unigram of the same tokens ${fact('evaluation', 'unigramNatsPerToken', 3)} and ${fact('evaluation', 'unigramBitsPerByte', 3)}.`,
  `Language question: ${(100 * Number(facts['evaluation']?.['languageAccuracy'])).toFixed(1)} % of ${fact('evaluation', 'questions', 0)} right, chance ${(100 * Number(facts['evaluation']?.['languageChance'])).toFixed(2)} %.`,
  '',
];
process.stdout.write(lines.join('\n'));
if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), lines.join('\n'));
