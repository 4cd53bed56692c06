// Runs the command line as a process of its own, from sources and from compiled code alike.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface CliResult {
  /** Exit code, or null where a signal ended it (a shell then says 128 + its number). */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

const isSource = import.meta.url.endsWith('.ts');
const cli = fileURLToPath(new URL(`../src/cli.${isSource ? 'ts' : 'js'}`, import.meta.url));

export interface CliOptions {
  readonly input?: string;
  readonly cwd?: string;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Sends SIGINT once this says so; asked every few milliseconds. */
  readonly interruptWhen?: () => boolean;
  /** Sends SIGKILL after so many milliseconds. */
  readonly killAfterMs?: number;
}

/** `belay ...args`, with standard input `input`. */
export function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const loader = isSource ? ['--import', import.meta.resolve('tsx')] : [];
  const child = spawn(process.execPath, [...loader, cli, ...args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => void (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (stderr += text));
  child.stdin.on('error', () => {});
  child.stdin.end(options.input ?? '');
  const { interruptWhen, killAfterMs } = options;
  const killer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  const timer = interruptWhen && setInterval(() => void (interruptWhen() && child.kill('SIGINT')), 5);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearInterval(timer);
      clearTimeout(killer);
      resolve({ code, signal, stdout, stderr });
    });
  });
}
