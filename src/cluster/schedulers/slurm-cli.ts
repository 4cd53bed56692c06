// Slurm through its client commands: the transport that can do everything, from any host where the commands work.
//
// Each call is a process of its own that is ended after a few seconds, because a client whose controller is away may wait
// for minutes, and it is made again where that may help. An sbatch that did not answer is not repeated: the job may have
// been taken. Options stand on the command line too, so that no SBATCH_ variable of the caller overrides the script, and
// SLURM_ variables of the job that the caller runs in do not leak into the next.
//
// Does not: read what the commands say (slurm-parse.ts), keep jobs in memory, or submit by itself.
import { spawn } from 'node:child_process';
import {
  batchScript,
  type ClusterNode,
  type HistoryFilter,
  type Job,
  type JobChanges,
  type JobFilter,
  type JobRequest,
  type Scheduler,
  SchedulerError,
  sbatchOptions,
  slurmTime,
} from '../scheduler.ts';
import { checkedSignal, checkJobId, environmentForJobs, isUnknownJob, mayBeTaken } from './caller.ts';
import { type Patience, patiently, usualPatience } from './retry.ts';
import {
  accountDelimiter,
  accountFields,
  isAsked,
  parseAccounts,
  parseCompletions,
  parseJobs,
  parseNodeLines,
  parseSubmitted,
} from './slurm-parse.ts';

export interface SlurmCliOptions extends Partial<Patience> {
  /** What stands before each command: `nsenter ... --`, for clients that live elsewhere on this machine. */
  readonly prefix?: readonly string[];
  /** Added to the environment: SLURM_CONF. */
  readonly env?: Readonly<Record<string, string>>;
}

/** What the commands can do besides the port. */
export interface SlurmCli extends Scheduler {
  /** Submits a script of any kind with options of sbatch; returns the job's id. `name` is for errors. */
  sbatch(script: string, flags: readonly string[], name: string): Promise<string>;
}

/** Of a file of completed jobs only the end is read. */
const completionBytes = 16 << 20;
/** Longer than other calls: sbatch cannot be made again when it was ended in the middle. */
const submitSeconds = 10;

/** What a command said and how it ended. */
interface Said {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
}

/** Slurm of the host's client commands. */
export function slurmCli(options: SlurmCliOptions = {}): SlurmCli {
  const { prefix = [], env = {}, timeoutSeconds, attempts } = { ...usualPatience, ...options };

  const run = async (command: readonly string[], input?: string, seconds = timeoutSeconds): Promise<Said> => {
    const [file, ...args] = [...prefix, ...command] as [string, ...string[]];
    return await new Promise((resolve, reject) => {
      // A group of its own, so that what `prefix` starts ends with it.
      const child = spawn(file, args, {
        detached: true,
        env: { ...environmentForJobs(), SLURM_TIME_FORMAT: '%s', ...env },
        stdio: 'pipe',
      });
      const said = { stdout: '', stderr: '' };
      child.stdout.setEncoding('utf8').on('data', (text: string) => void (said.stdout += text));
      child.stderr.setEncoding('utf8').on('data', (text: string) => void (said.stderr += text));
      child.stdin.on('error', () => {
        // It ended without reading; its exit code tells.
      });
      let isLate = false;
      const timer = setTimeout(() => {
        isLate = true;
        endGroup(child.pid);
      }, seconds * 1000);
      child.on('error', (cause) => {
        clearTimeout(timer);
        const isMissing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
        const message = isMissing
          ? `there is no ${command[0]} here: install Slurm's commands, or name another scheduler (--scheduler local needs none)`
          : `${command[0]} cannot be started: ${cause.message}`;
        reject(new SchedulerError('unreachable', message, { retryable: false, cause }));
      });
      child.on('close', (code) => {
        clearTimeout(timer);
        if (isLate) reject(new SchedulerError('timeout', `${command[0]} did not answer within ${seconds} s`));
        else resolve({ ...said, code });
      });
      child.stdin.end(input);
    });
  };

  /** What `read` makes of a successful command's output; what it says on stderr is the error otherwise. */
  const ask = async <T>(command: readonly string[], read: (text: string) => T): Promise<T> =>
    await patiently(attempts, async () => {
      const said = await run(command);
      // What is read may tell of an error too, and is asked for again as well.
      if (said.code === 0) return read(said.stdout);
      throw refusal(command, said);
    });
  const tell = async (command: readonly string[]): Promise<void> => {
    await ask(command, () => undefined);
  };

  const completions = async (): Promise<Job[] | undefined> => {
    const config = await ask(['scontrol', 'show', 'config'], String);
    const value = (key: string): string => new RegExp(`^${key}\\s*= (.*)$`, 'm').exec(config)?.[1]?.trim() ?? '';
    if (value('JobCompType') !== 'jobcomp/filetxt') return undefined;
    const { stdout, code } = await run(['tail', '-c', `${completionBytes}`, value('JobCompLoc')]);
    if (code !== 0) return undefined;
    // The first line may be cut by what was left out, the last one by its writer.
    const from = Buffer.byteLength(stdout) < completionBytes ? 0 : stdout.indexOf('\n') + 1;
    return parseCompletions(stdout.slice(from, stdout.lastIndexOf('\n') + 1));
  };

  const scheduler: SlurmCli = {
    name: 'slurm',
    lacks: new Set(),

    async submit(request: JobRequest): Promise<string> {
      const script = batchScript(request);
      const flags = sbatchOptions(request).map(([name, value]) =>
        value === undefined ? `--${name}` : `--${name}=${value}`,
      );
      return await scheduler.sbatch(script, flags, request.name);
    },

    async sbatch(script: string, flags: readonly string[], name: string): Promise<string> {
      return await patiently(attempts, async () => {
        let said: Said;
        try {
          said = await run(['sbatch', '--parsable', ...flags], script, submitSeconds);
        } catch (error) {
          if (!(error instanceof SchedulerError && error.kind === 'timeout')) throw error;
          throw mayBeTaken(name, error.message);
        }
        if (said.code === 0) return parseSubmitted(said.stdout);
        const error = refusal(['sbatch'], said);
        // Where no connection came about, nothing was sent.
        if (!error.retryable || error.kind === 'refused' || /connect failure/.test(error.message)) throw error;
        throw mayBeTaken(name, error.message);
      });
    },

    async jobs(filter: JobFilter = {}): Promise<readonly Job[]> {
      const { ids, name, user } = filter;
      if (ids?.length === 0) return [];
      const command = [
        ...['squeue', '--json', '--states=all'],
        ...(ids ? [`--jobs=${ids.join(',')}`] : []),
        ...(name === undefined ? [] : [`--name=${name}`]),
        ...(user === undefined ? [] : [`--user=${user}`]),
      ];
      try {
        // Slurm before 23.02 leaves all these conditions out of its JSON.
        return (await ask(command, parseJobs)).filter((job) => isAsked(job, filter));
      } catch (error) {
        if (isUnknownJob(error)) return [];
        throw error;
      }
    },

    async nodes(): Promise<readonly ClusterNode[]> {
      return await ask(['scontrol', 'show', '-o', 'node'], parseNodeLines);
    },

    async cancel(id: string): Promise<void> {
      checkJobId(id);
      try {
        await tell(['scancel', id]);
      } catch (error) {
        // Ended and forgotten.
        if (!isUnknownJob(error)) throw error;
      }
    },

    async signal(id: string, signal: string, step?: string): Promise<void> {
      checkJobId(id);
      const name = checkedSignal(signal);
      if (step !== undefined && !/^\w+$/.test(step)) throw new SchedulerError('refused', `no step of a job: ${step}`);
      await tell(['scancel', `--signal=${name}`, step === undefined ? id : `${id}.${step}`]);
    },

    async update(id: string, { nodes, timeSeconds, exclude, held, beginSeconds }: JobChanges): Promise<void> {
      checkJobId(id);
      const changes = [
        // A single number would change the lower bound alone.
        ...(nodes ? [`NumNodes=${nodes.min}-${nodes.max}`] : []),
        ...(timeSeconds === undefined ? [] : [`TimeLimit=${slurmTime(timeSeconds)}`]),
        ...(exclude ? [`ExcNodeList=${exclude.join(',')}`] : []),
        ...(beginSeconds === undefined ? [] : [`StartTime=now+${Math.ceil(beginSeconds)}`]),
      ];
      if (changes.length > 0) await tell(['scontrol', 'update', `JobId=${id}`, ...changes]);
      if (held !== undefined) await tell(['scontrol', held ? 'hold' : 'release', id]);
    },

    async requeue(id: string): Promise<void> {
      checkJobId(id);
      await tell(['scontrol', 'requeue', id]);
    },

    async drain(node: string, reason: string): Promise<void> {
      await tell(['scontrol', 'update', `NodeName=${node}`, 'State=DRAIN', `Reason=${reason}`]);
    },

    async resume(node: string): Promise<void> {
      await tell(['scontrol', 'update', `NodeName=${node}`, 'State=RESUME']);
    },

    async history(filter: HistoryFilter): Promise<readonly Job[]> {
      const { ids, name, since } = filter;
      if (ids?.length === 0) return [];
      const isWanted = (job: Job): boolean => job.state === 'ended' && isAsked(job, filter);
      try {
        const command = [
          ...['sacct', '--parsable2', '--noheader', '--allocations', '--allusers', `--delimiter=${accountDelimiter}`],
          `--format=${accountFields.join(',')}`,
          ...(ids ? [`--jobs=${ids.join(',')}`] : []),
          `--starttime=${since === undefined ? '1970-01-02' : `uts${startOf(since)}`}`,
          ...(name === undefined ? [] : [`--name=${name}`]),
        ];
        return (await ask(command, parseAccounts)).filter(isWanted);
      } catch (error) {
        if (!(error instanceof SchedulerError && /accounting storage is disabled/i.test(error.message))) throw error;
      }
      return ((await completions()) ?? (await scheduler.jobs())).filter(isWanted);
    },

    async script(id: string): Promise<string> {
      checkJobId(id);
      return await ask(['scontrol', 'write', 'batch_script', id, '-'], String);
    },
  };
  return scheduler;
}

/** Where sacct begins to look: it refuses a start that by its clock is not over, and without one tells of today. */
function startOf(since: number): number {
  return Math.floor(Math.min(since, Date.now() / 1000 - 300));
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended in this moment.
  }
}

/** The error that a command's words and exit code are. */
function refusal(command: readonly string[], { stdout, stderr, code }: Said): SchedulerError {
  const words = (stderr.trim() || stdout.trim()).split('\n').slice(-4).join('; ');
  const message = `${command.slice(0, 2).join(' ')}: ${words || `exit code ${code}`}`;
  if (/timed out/i.test(words)) return new SchedulerError('timeout', message);
  if (/Unable to contact|connect failure|Connection refused|Zero Bytes were transmitted|standby mode/i.test(words)) {
    return new SchedulerError('unreachable', message);
  }
  if (
    /fatal: Could not establish a configuration source|munge|command not found|No such file or directory/i.test(words)
  ) {
    return new SchedulerError('unreachable', message, { retryable: false });
  }
  const isBusy = /temporarily (unable|unavailable)|try again|job queue full/i.test(words);
  return new SchedulerError('refused', message, { retryable: isBusy });
}
