// Asks the node of a rank about it, by a command that Slurm starts there beside the training.
//
// Does not: wait long: a node that is frozen does not answer.
import { execFile } from 'node:child_process';
import { parseThreadState, threadStateCommand } from './process-state.ts';
import type { Probe } from './watcher.ts';

export interface AskOptions {
  readonly timeoutSeconds?: number;
  /** What has to stand before `srun`, and what its environment needs, where it does not run on this host as it is. */
  readonly prefix?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Through a step that shares the nodes of a job. */
export function askThroughSlurm(job: string, { timeoutSeconds = 4, prefix = [], env = {} }: AskOptions = {}): Probe {
  const shared = ['--overlap', '--jobid', job, '--nodes', '1', '--ntasks', '1', '--quiet'];
  return async ({ host, pid }) => {
    const [file = '', ...args] = [...prefix, 'srun', ...shared, '--nodelist', host, ...threadStateCommand(pid)];
    const said = await new Promise<string>((resolve, reject) => {
      const options = {
        timeout: timeoutSeconds * 1000,
        killSignal: 'SIGKILL',
        env: { ...process.env, ...env },
      } as const;
      execFile(file, args, options, (error, stdout) => (error && stdout === '' ? reject(error) : resolve(stdout)));
    });
    return parseThreadState(said);
  };
}
