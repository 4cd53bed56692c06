// Starting processes on the nodes of the job that this process runs in: through srun, or on this machine alone.
//
// Does not: know what is started.
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import type { StepCommand } from './engine.ts';
import type { Scheduler } from './scheduler.ts';

export interface StepRequest {
  readonly nodes: readonly string[];
  readonly tasksPerNode: number;
  readonly command: StepCommand;
  /** File that gets everything it says. */
  readonly log: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface Running {
  readonly ended: Promise<{ readonly exit: number | null; readonly signal: string | null }>;
  /** Ends it and all its tasks, without a chance to save. */
  kill(): Promise<void>;
}

export interface Steps {
  start(request: StepRequest): Promise<Running>;
  /** Whether a node starts a process within seconds. */
  answers(node: string): Promise<boolean>;
  /** Runs a command on this host; its exit code, null where it could not be started or was killed. */
  here(argv: readonly string[], log: string): Promise<number | null>;
}

/** How long a node may take to start a process: Slurm tries a node that is gone for longer. */
const answerSeconds = 8;

/** Steps of a Slurm job. */
export function slurmSteps(scheduler: Scheduler, job: string): Steps {
  return {
    async start({ nodes, tasksPerNode, command, log, env }) {
      const tasks = nodes.length * tasksPerNode;
      const options = [
        ...[`--nodes=${nodes.length}`, `--ntasks=${tasks}`, `--ntasks-per-node=${tasksPerNode}`],
        `--nodelist=${nodes.join(',')}`,
        // One that fails ends the others, which would wait for it; their output comes with their number.
        ...['--kill-on-bad-exit=1', '--label', '--unbuffered'],
      ];
      const srun = ['srun', ...options, ...command.srun.filter((option) => !options.includes(option)), ...command.argv];
      const { ended, end } = start(srun, log, env);
      return {
        ended,
        async kill() {
          // srun waits for tasks of a node that is gone; Slurm ends those it reaches.
          await scheduler.signal(job, 'KILL').catch(() => undefined);
          end();
        },
      };
    },
    async answers(node) {
      const argv = ['srun', '--nodes=1', '--ntasks=1', `--nodelist=${node}`, '--overlap', '--quiet', 'true'];
      const { ended, end } = start(argv, '/dev/null', {});
      const timer = setTimeout(end, answerSeconds * 1000);
      const { exit } = await ended;
      clearTimeout(timer);
      return exit === 0;
    },
    here,
  };
}

/** The one node of a local job: tasks are ranks that the training starts itself. */
export function localSteps(): Steps {
  return {
    async start({ tasksPerNode, command, log, env }) {
      const ranks = tasksPerNode > 1 ? ['--ranks', `${tasksPerNode}`] : [];
      const { ended, end } = start([...command.argv, ...ranks], log, env);
      return {
        ended,
        async kill() {
          end();
        },
      };
    },
    answers: async () => true,
    here,
  };
}

async function here(argv: readonly string[], log: string): Promise<number | null> {
  return (await start(argv, log, {}).ended).exit;
}

function start(argv: readonly string[], log: string, env: Readonly<Record<string, string>>) {
  const output = openSync(log, 'a');
  const [file, ...args] = argv as [string, ...string[]];
  const child = spawn(file, args, { stdio: ['ignore', output, output], env: { ...process.env, ...env } });
  closeSync(output);
  const ended = new Promise<{ exit: number | null; signal: string | null }>((resolve) => {
    child.on('error', () => resolve({ exit: 127, signal: null }));
    child.on('close', (exit, signal) => resolve({ exit, signal }));
  });
  return { ended, end: () => void child.kill('SIGKILL') };
}
