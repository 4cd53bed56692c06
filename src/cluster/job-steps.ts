// Starting processes on the nodes of the job that this process runs in: through srun, or on this machine alone.
//
// Does not: know what is started.
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import type { StepCommand } from './engine.ts';

export interface StepRequest {
  readonly nodes: readonly string[];
  readonly tasksPerNode: number;
  readonly command: StepCommand;
  /** File that gets everything it says. */
  readonly log: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface Running {
  /** Sends all its tasks the signal at which they save and leave. */
  pause(signal: string): void;
  readonly ended: Promise<{ readonly exit: number | null; readonly signal: string | null }>;
  /** Ends it and all its tasks, without a chance to save. */
  kill(): Promise<void>;
}

export interface Steps {
  start(request: StepRequest): Promise<Running>;
  /** Whether a node starts a process within seconds. */
  answers(node: string): Promise<boolean>;
  /** Starts one process on another node; it lives as long as the job, also without this process. */
  background(node: string, argv: readonly string[], log: string): { readonly ended: Promise<unknown> } | undefined;
  /** Ends what others started in this job, except what `background` did. */
  endOthers(): Promise<void>;
  /** Runs a command on this host; its exit code, null where it could not be started or was killed. */
  here(argv: readonly string[], log: string): Promise<number | null>;
}

/** How long a node may take to start a process: Slurm tries a node that is gone for longer. */
const answerSeconds = 8;
/** What srun gets to end tasks before it is ended itself. */
const killPatienceMs = 2000;

/** Name of steps that outlive who started them. */
const backgroundName = 'belay-background';

/** Steps of the Slurm job that this process runs in. */
export function slurmSteps(): Steps {
  return {
    async start({ nodes, tasksPerNode, command, log, env }) {
      const tasks = nodes.length * tasksPerNode;
      const options = [
        ...[`--nodes=${nodes.length}`, `--ntasks=${tasks}`, `--ntasks-per-node=${tasksPerNode}`],
        `--nodelist=${nodes.join(',')}`,
        // The step before it may stay in Slurm's books as long as a node that is gone does not answer.
        '--overlap',
        // Their output comes with the number of the task.
        '--label',
        '--unbuffered',
      ];
      const srun = ['srun', ...options, ...command.srun.filter((option) => !options.includes(option)), ...command.argv];
      const { child, ended } = start(srun, log, env);
      return {
        ended,
        pause(signal) {
          // srun hands it to its tasks.
          child.kill(`SIG${signal}` as NodeJS.Signals);
        },
        async kill() {
          // It ends the tasks that it reaches, and waits for those of a node that is gone. `scancel --signal=KILL` would end the
          // whole job, this process with it.
          child.kill('SIGTERM');
          await Promise.race([ended, wait(killPatienceMs, undefined, { ref: false })]);
          child.kill('SIGKILL');
        },
      };
    },
    async answers(node) {
      const argv = ['srun', '--nodes=1', '--ntasks=1', `--nodelist=${node}`, '--overlap', '--quiet', 'true'];
      const { child, ended } = start(argv, '/dev/null', {});
      const timer = setTimeout(() => child.kill('SIGKILL'), answerSeconds * 1000);
      const { exit } = await ended;
      clearTimeout(timer);
      return exit === 0;
    },
    background(node, argv, log) {
      const options = [
        ...['--nodes=1', '--ntasks=1', `--nodelist=${node}`, '--overlap', '--quiet'],
        `--job-name=${backgroundName}`,
      ];
      const { child, ended } = start(['srun', ...options, ...argv], log, {});
      // Where its node is gone srun waits for it; that must not keep the job alive.
      child.unref();
      return { ended };
    },
    async endOthers() {
      const { SLURM_JOB_ID: job = '' } = process.env;
      const squeue = spawnSync('squeue', ['--steps', '--noheader', `--jobs=${job}`, '--format=%i %j'], {
        encoding: 'utf8',
        timeout: answerSeconds * 1000,
      });
      const others = (squeue.stdout ?? '').split('\n').flatMap((line) => {
        const [, id, name] = /^(\d+\.\d+) (.*)$/.exec(line.trim()) ?? [];
        return id === undefined || name === backgroundName ? [] : [id];
      });
      if (others.length > 0) spawnSync('scancel', others, { timeout: answerSeconds * 1000 });
    },
    here,
  };
}

/** On this machine alone: its nodes are pretended, and tasks are ranks that the training starts itself. */
export function localSteps(): Steps {
  return {
    async start({ nodes, tasksPerNode, command, log, env }) {
      const world = nodes.length * tasksPerNode;
      const ranks = world > 1 ? ['--ranks', `${world}`] : [];
      const { child, ended } = start([...command.argv, ...ranks], log, env);
      return {
        ended,
        pause(signal) {
          child.kill(`SIG${signal}` as NodeJS.Signals);
        },
        async kill() {
          child.kill('SIGKILL');
        },
      };
    },
    answers: async () => true,
    background: () => undefined,
    endOthers: async () => undefined,
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
  return { child, ended };
}
