// `belay data submit`: the cleaning line as Slurm arrays; `belay data tasks`: what an element of one does.
//
// Does not: cut the work into tasks (data/line/plan.ts), or write for the scheduler (cluster/job-arrays.ts).
import { buildCommand } from '@stricli/core';
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../base/errors.ts';
import { terminalLog } from '../base/progress.ts';
import { logsName } from '../base/tasks.ts';
import { packageRoot } from '../base/version.ts';
import { type ArrayJob, sbatchArguments, submitJobs } from '../cluster/job-arrays.ts';
import { writePlan } from '../data/clean.ts';
import { openLine } from '../data/line/plan.ts';
import { wholeNumber } from './flags.ts';
import { runLine } from './line.ts';
import { openRun } from './run-folder.ts';
import { runOptions, type StageFlags, stageFlags } from './stage-verb.ts';

interface TasksFlags {
  readonly work: string;
  readonly level: string;
  readonly element: number;
  readonly elements: number;
}

export const tasks = buildCommand<TasksFlags>({
  docs: {
    brief: 'do a share of the tasks of one level',
    fullDescription: `What an element of a Slurm array does: every n-th task of a level of the cleaning line, passing over those that are up
to date. \`belay data submit\` writes such jobs.

EXAMPLE
  belay data tasks --work out/mine/documents.work --level pass-1 --element 3 --elements 100`,
  },
  parameters: {
    flags: {
      work: { kind: 'parsed', parse: String, brief: 'work folder, with plan.json' },
      level: { kind: 'parsed', parse: String, brief: 'read, opt-out, pass-1, ...' },
      element: { kind: 'parsed', parse: wholeNumber(0), brief: 'which share, from 0', default: '0' },
      elements: { kind: 'parsed', parse: wholeNumber(1), brief: 'shares in all', default: '1' },
    },
  },
  async func({ work, level: name, element, elements }) {
    const log = terminalLog();
    const { folder } = await openLine(work, log);
    const level = folder.levels.find((each) => each.name === name);
    if (!level) {
      const names = folder.levels.map((each) => each.name).join(', ');
      throw new UserError(`the plan in ${work} has no level "${name}"`, { expected: names });
    }
    const own = level.tasks.filter((_, index) => index % elements === element);
    let ran = 0;
    for (const { name: task } of own) {
      if (await folder.run(task)) ran++;
    }
    log.line(`${name}: ${ran} of ${own.length} tasks were run, the others were up to date`);
  },
});

interface SubmitFlags extends StageFlags {
  readonly keepRemoved: boolean;
  readonly maxElements: number;
  readonly dryRun: boolean;
}

/** The jobs of a line: an array for each level, then the one that puts the shards together. */
async function jobsOf(work: string, out: string, flags: SubmitFlags): Promise<ArrayJob[]> {
  const { folder } = await openLine(work, terminalLog({ quiet: true }));
  const belay = [...belayCommand(), 'data'].map(quoted).join(' ');
  const jobs = folder.levels.map(({ name, tasks: all }): ArrayJob => {
    const elements = Math.min(all.length, flags.maxElements);
    const share = `--element "$SLURM_ARRAY_TASK_ID" --elements ${elements}`;
    const script = `#!/bin/sh\nexec ${belay} tasks --work ${quoted(work)} --level ${name} ${share}\n`;
    return { name: `belay-${name}`, elements, script };
  });
  const end = `clean --out ${quoted(out)}${flags.keepRemoved ? ' --keep-removed' : ''}`;
  return [...jobs, { name: 'belay-documents', script: `#!/bin/sh\nexec ${belay} ${end}\n` }];
}

/** The command that runs this program again. */
function belayCommand(): string[] {
  const isSource = import.meta.url.endsWith('.ts');
  const loader = isSource ? ['--import', fileURLToPath(import.meta.resolve('tsx'))] : [];
  return [process.execPath, ...loader, join(packageRoot, isSource ? 'src/cli.ts' : 'dist/src/cli.js')];
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

export const submit = buildCommand<SubmitFlags, string[]>({
  docs: {
    brief: 'clean documents in Slurm job arrays',
    fullDescription: `Builds the recipe's source, then submits an array of jobs for each level of the cleaning line and one job that puts the
shards together. All nodes must see the run folder. What follows -- goes to sbatch. The same command again, after
a failure, goes on where the tasks are; the bytes are those of \`belay data clean\`.

EXAMPLE
  belay data submit --out out/mine --recipe recipes/my-run.ts -- --partition=normal --time=02:00:00 --mem=4G
  belay data submit --out out/mine --dry-run`,
  },
  parameters: {
    flags: {
      ...stageFlags,
      keepRemoved: { kind: 'boolean', brief: 'keep dropped documents in removed/', default: false },
      maxElements: {
        kind: 'parsed',
        parse: wholeNumber(1),
        brief: 'elements of an array at most (MaxArraySize of the cluster)',
        default: '1000',
      },
      dryRun: { kind: 'boolean', brief: 'print the jobs, submit nothing', default: false },
    },
    positional: {
      kind: 'array',
      parameter: { parse: String, brief: 'arguments of sbatch, after --', placeholder: 'sbatch' },
    },
  },
  async func(flags, ...sbatch) {
    const run = await openRun(runOptions(flags));
    await runLine(run, 'source');
    const work = writePlan({
      dir: run.folder('documents'),
      source: run.folder('source'),
      recipe: run.recipe,
      log: run.log,
      keepRemoved: flags.keepRemoved,
    });
    const logs = join(work, logsName);
    mkdirSync(logs, { recursive: true });
    const jobs = await jobsOf(work, resolve(flags.out), flags);
    const options = { logs, sbatch };
    if (flags.dryRun) {
      for (const job of jobs) {
        process.stdout.write(`sbatch ${sbatchArguments(job, undefined, options).join(' ')}\n${job.script}\n`);
      }
      return;
    }
    const submitted = await submitJobs(jobs, options);
    if (flags.json) process.stdout.write(`${JSON.stringify(submitted)}\n`);
    else for (const { name, id } of submitted) run.log.line(`${name}: job ${id}`);
  },
});
