// Starts the ranks of a test as processes of their own (rank-program.ts) and reads what they say, from sources and from
// compiled code alike.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { GroupOptions } from '../src/parallel/group.ts';
import type { Rank } from './rank-program.ts';

const isSource = import.meta.url.endsWith('.ts');
const program = fileURLToPath(new URL(`./rank-program.${isSource ? 'ts' : 'js'}`, import.meta.url));
/** Command that runs the program of a rank; its one argument follows. */
export const rankCommand: readonly [string, ...string[]] = [
  process.execPath,
  ...(isSource ? ['--import', import.meta.resolve('tsx')] : []),
  program,
];

/** A line that a rank said. */
export interface Line {
  readonly ready?: boolean;
  readonly closed?: boolean;
  readonly error?: string;
  readonly message?: string;
  readonly user?: boolean;
  readonly rank?: number;
  readonly host?: string;
  readonly how?: string;
  readonly wrong?: number | string;
  readonly by?: number;
  readonly [key: string]: unknown;
}

export class RankProcess {
  readonly process: ChildProcess;
  readonly lines: Line[] = [];
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  stderr = '';
  #waiting: { readonly matches: (line: Line) => boolean; readonly tell: (line: Line | undefined) => void }[] = [];

  constructor(command: readonly [string, ...string[]], rank: Rank, env: Readonly<Record<string, string>> = {}) {
    const [file, ...args] = command;
    this.process = spawn(file, [...args, JSON.stringify(rank)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.process.stderr?.setEncoding('utf8').on('data', (text: string) => void (this.stderr += text));
    createInterface({ input: this.process.stdout as NodeJS.ReadableStream }).on('line', (text) => {
      // mpirun says something of its own now and then.
      if (!text.startsWith('{')) return;
      const line = JSON.parse(text) as Line;
      this.lines.push(line);
      this.#waiting = this.#waiting.filter(({ matches, tell }) => !matches(line) || void tell(line));
    });
    this.ended = new Promise((resolve) => {
      this.process.on('close', (code, signal) => {
        for (const { tell } of this.#waiting) tell(undefined);
        this.#waiting = [];
        resolve({ code, signal });
      });
    });
  }

  /** The first line, said or to come, that has this field (of this rank); throws where the process ends without it. */
  async line(field: string, by?: number): Promise<Line> {
    const matches = (line: Line): boolean => field in line && (by === undefined || line.by === by);
    const said = this.lines.find(matches);
    if (said) return said;
    const line = await new Promise<Line | undefined>((tell) => this.#waiting.push({ matches, tell }));
    if (line) return line;
    throw new Error(`a rank ended without ${field}: ${JSON.stringify(this.lines)} ${this.stderr}`);
  }
}

/** The ranks of one test; `end` leaves none of them behind. */
export class Ranks {
  readonly all: RankProcess[] = [];
  readonly folder = mkdtempSync(join(tmpdir(), 'belay-ranks-'));
  readonly token = randomBytes(8).toString('hex');

  options(rank: number, world: number, more: Partial<GroupOptions> = {}): GroupOptions {
    return {
      rank,
      world,
      rendezvous: { file: join(this.folder, `rendezvous-${this.token}.json`) },
      transport: 'tcp',
      token: this.token,
      hello: { version: '1', target: 'test' },
      timeoutSeconds: 20,
      ...more,
    };
  }

  /** Starts `world` ranks of a scenario. */
  start(
    world: number,
    scenario: string,
    more: Partial<Omit<Rank, 'group'>> & { readonly group?: Partial<GroupOptions> } = {},
    env: Readonly<Record<string, string>> = {},
  ): RankProcess[] {
    const { group, ...rest } = more;
    return Array.from({ length: world }, (_, rank) =>
      this.add({ scenario, group: this.options(rank, world, group), ...rest }, env),
    );
  }

  /** Has mpirun start `world` ranks of a scenario: one process of ours, whose lines say by which rank (`by`). */
  startMpi(
    world: number,
    scenario: string,
    more: Partial<Omit<Rank, 'group'>> & { readonly group?: Partial<GroupOptions> } = {},
    env: Readonly<Record<string, string>> = {},
  ): RankProcess {
    const { group, ...rest } = more;
    const options = this.options(0, world, { transport: 'mpi', ...group });
    // Containers run tests as root, on fewer cores than ranks.
    const asRoot = { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' };
    const command = ['mpirun', '--oversubscribe', '-n', `${world}`, ...rankCommand] as const;
    const started = new RankProcess(command, { scenario, group: options, ...rest }, { ...asRoot, ...env });
    this.all.push(started);
    return started;
  }

  /** Starts one rank; `before` is a command that runs the rest of its arguments. */
  add(rank: Rank, env: Readonly<Record<string, string>> = {}, before: readonly string[] = []): RankProcess {
    const started = new RankProcess([...before, ...rankCommand] as unknown as [string], rank, env);
    this.all.push(started);
    return started;
  }

  async end(): Promise<void> {
    for (const { process } of this.all) if (process.exitCode === null) process.kill('SIGKILL');
    await Promise.all(this.all.map(({ ended }) => ended));
    rmSync(this.folder, { recursive: true, force: true });
  }
}
