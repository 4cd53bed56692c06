// Asks the node of a rank about it, by a command that Slurm starts there beside the training.
//
// Does not: wait long: a node that is frozen does not answer.
import { execFile } from 'node:child_process';
import { parseThreadState, threadStateCommand } from './process-state.ts';
import type { Probe } from './watcher.ts';

/** Through a step that shares the nodes of a job. */
export function askThroughSlurm(job: string, timeoutSeconds = 4): Probe {
  const shared = ['--overlap', '--jobid', job, '--nodes', '1', '--ntasks', '1', '--immediate'];
  return async ({ host, pid }) => {
    const args = [...shared, '--nodelist', host, '--quiet', ...threadStateCommand(pid)];
    const said = await new Promise<string>((resolve, reject) => {
      const options = { timeout: timeoutSeconds * 1000, killSignal: 'SIGKILL' } as const;
      execFile('srun', args, options, (error, stdout) => (error && stdout === '' ? reject(error) : resolve(stdout)));
    });
    return parseThreadState(said);
  };
}
