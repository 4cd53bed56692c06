// Levels of tasks as Slurm job arrays: each waits for the one before, and a last job puts things together.
//
// One element of an array does every n-th task of its level, so a level of a million tasks fits any MaxArraySize. Tasks
// keep their own markers: an element that is requeued after a dead node passes over what it had done.
//
// Does not: know what tasks do, or wait for jobs.
import { UserError } from '../base/errors.ts';
import { SchedulerError } from './scheduler.ts';
import { slurmCli } from './schedulers/slurm-cli.ts';

export interface ArrayJob {
  readonly name: string;
  /** Elements of the array; undefined for a job of one. */
  readonly elements?: number;
  /** Lines of the batch script; `$SLURM_ARRAY_TASK_ID` is the number of the element. */
  readonly script: string;
}

export interface SubmitOptions {
  /** Folder for the output of jobs. */
  readonly logs: string;
  /** Further arguments of sbatch: partition, account, time. */
  readonly sbatch: readonly string[];
}

/** Arguments of sbatch for a job that begins when `after` has succeeded. */
export function sbatchArguments(job: ArrayJob, after: string | undefined, { logs, sbatch }: SubmitOptions): string[] {
  const { name, elements } = job;
  return [
    `--job-name=${name}`,
    `--output=${logs}/%x-${elements === undefined ? '%j' : '%A_%a'}.log`,
    ...(elements === undefined ? [] : [`--array=0-${elements - 1}`]),
    // A level that failed must not leave the rest waiting for ever.
    ...(after === undefined ? [] : [`--dependency=afterok:${after}`, '--kill-on-invalid-dep=yes']),
    ...sbatch,
  ];
}

/** Submits the jobs one after the other; returns their ids. */
export async function submitJobs(
  jobs: readonly ArrayJob[],
  options: SubmitOptions,
): Promise<{ readonly name: string; readonly id: string }[]> {
  const slurm = slurmCli();
  const submitted: { name: string; id: string }[] = [];
  for (const job of jobs) {
    const after = submitted.at(-1)?.id;
    try {
      const id = await slurm.sbatch(job.script, sbatchArguments(job, after, options), job.name);
      submitted.push({ name: job.name, id });
    } catch (error) {
      if (!(error instanceof SchedulerError)) throw error;
      throw new UserError(`sbatch did not take the job ${job.name}`, {
        found: error.message,
        expected: 'a machine from which Slurm jobs can be submitted',
        next: after === undefined ? 'check the arguments after --' : `scancel ${after}, then try again`,
        cause: error,
      });
    }
  }
  return submitted;
}
