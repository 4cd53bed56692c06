// A Slurm of a few nodes for tests (cluster.sh), seen from the test: client commands, what is pulled out or killed.
//
// Does not: install Slurm; .ci/run does.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/base/version.ts';

/** Scripts are not compiled: they lie beside the sources of this file. */
export const slurmScripts = join(packageRoot, 'test', 'slurm');

/** Why no cluster can be started here, undefined where one can. */
export function whyNoSlurm(): string | undefined {
  const missing = ['slurmctld', 'slurmd', 'srun', 'munged'].filter(
    (program) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0,
  );
  if (missing.length === 0) return undefined;
  return (
    `no ${missing.join(', ')} here ` +
    '(apt-get install --no-install-recommends slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge iproute2)'
  );
}

/** Why nodes cannot have a network of their own, undefined where they can. */
export function whyNoNamespaces(): string | undefined {
  const { status, stderr, error } = spawnSync(
    'unshare',
    ['--net', '--uts', '--mount', '--ipc', '--pid', '--fork', 'ip', 'link', 'add', 'try', 'type', 'bridge'],
    { encoding: 'utf8' },
  );
  return status === 0 ? undefined : (error?.message ?? stderr).trim();
}

/** A client command that runs, with what it said so far on both outputs. */
export class Client {
  said = '';
  readonly ended: Promise<number | null>;
  readonly #listeners: (() => void)[] = [];

  constructor(child: ChildProcess) {
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.said += text;
        for (const listener of this.#listeners) listener();
      });
    }
    this.ended = new Promise((resolve) => child.on('close', resolve));
  }

  /** Milliseconds until it has said this; undefined where it ended without. */
  async saying(pattern: RegExp): Promise<number | undefined> {
    const at = performance.now();
    return await new Promise((resolve) => {
      const look = (): void => {
        if (pattern.test(this.said)) resolve(performance.now() - at);
      };
      this.#listeners.push(look);
      void this.ended.then(() => resolve(pattern.test(this.said) ? performance.now() - at : undefined));
      look();
    });
  }
}

export class Cluster {
  /** Whether nodes have networks and processes of their own; else they are all on 127.0.0.1. */
  readonly hasNodes: boolean;
  readonly #dir: string;
  readonly #script: ChildProcess;

  private constructor(dir: string, hasNodes: boolean, script: ChildProcess) {
    this.#dir = dir;
    this.hasNodes = hasNodes;
    this.#script = script;
  }

  /** Starts nodes n1, n2, ... with their state in `dir`. */
  static async start(dir: string, nodes: number, hasNodes: boolean): Promise<Cluster> {
    mkdirSync(dir, { recursive: true });
    const script = spawn('bash', [join(slurmScripts, 'cluster.sh'), hasNodes ? 'nodes' : 'loopback', dir, `${nodes}`], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const client = new Client(script);
    if ((await client.saying(/^ready$/m)) === undefined) throw new Error(`no cluster came up:\n${client.said}`);
    return new Cluster(dir, hasNodes, script);
  }

  /** Starts a command on the controller's host. */
  client(command: readonly string[], env: Readonly<Record<string, string>> = {}): Client {
    const [file, ...args] = this.hasNodes ? this.#inside('ctl', command) : command;
    return new Client(
      spawn(file as string, args, {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, ...env, SLURM_CONF: join(this.#dir, 'slurm.conf') },
      }),
    );
  }

  /** Runs a command there and returns what it said. */
  async run(...command: readonly string[]): Promise<string> {
    const client = this.client(command);
    const code = await client.ended;
    if (code !== 0) throw new Error(`${command.join(' ')}: exit code ${code}\n${client.said}`);
    return client.said.trim();
  }

  /** Pulls the network cable of a node. */
  async cut(node: string): Promise<void> {
    await this.run('nsenter', '-t', this.#firstOf(node), '-n', 'ip', 'link', 'set', 'eth0', 'down');
  }

  /** Switches a node off. */
  async kill(node: string): Promise<void> {
    await this.run('kill', '-KILL', this.#firstOf(node));
  }

  /** Ends everything. */
  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#script.on('close', resolve));
    if (this.#script.exitCode !== null) return;
    this.#script.stdin?.end();
    await ended;
  }

  #firstOf(host: string): string {
    return readFileSync(join(this.#dir, `${host}.pid`), 'utf8').trim();
  }

  #inside(host: string, command: readonly string[]): string[] {
    return ['nsenter', '-t', this.#firstOf(host), '-n', '-u', '-m', '-i', '-p', '--', ...command];
  }
}
