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

/** What a cluster has besides its nodes. */
export interface ClusterOptions {
  /** Pretended GPUs of each node. */
  readonly gpus?: number;
  /** slurmrestd, at the socket `restSocket`. */
  readonly rest?: boolean;
  /** slurmdbd with a database, for sacct. */
  readonly accounts?: boolean;
  /** Further lines of slurm.conf. */
  readonly conf?: readonly string[];
}

/** Why a cluster cannot have these options here, undefined where it can. */
export function whyNot({ rest, accounts }: ClusterOptions): string | undefined {
  const programs = [...(rest ? ['slurmrestd'] : []), ...(accounts ? ['slurmdbd', 'mariadbd'] : [])];
  const missing = programs.filter((program) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0);
  if (missing.length === 0) return undefined;
  return `no ${missing.join(', ')} here (apt-get install slurmrestd slurm-wlm-jwt-plugin slurmdbd mariadb-server)`;
}

export class Cluster {
  /** Whether nodes have networks and processes of their own; else they are all on 127.0.0.1. */
  readonly hasNodes: boolean;
  /** What has to stand before a command so that it runs on the controller's host. */
  readonly prefix: readonly string[];
  /** What its environment needs. */
  readonly env: Readonly<Record<string, string>>;
  readonly restSocket: string;
  readonly #dir: string;
  readonly #script: ChildProcess;
  readonly #answers: Client;
  #commands = 0;

  private constructor(dir: string, hasNodes: boolean, script: ChildProcess, answers: Client) {
    this.#dir = dir;
    this.hasNodes = hasNodes;
    this.#script = script;
    this.#answers = answers;
    this.prefix = hasNodes ? ['nsenter', '-t', this.#firstOf('ctl'), '-n', '-u', '-m', '-i', '-p', '--'] : [];
    this.env = { SLURM_CONF: join(dir, 'slurm.conf') };
    this.restSocket = join(dir, 'rest', 'socket');
  }

  /** Starts nodes n1, n2, ... with their state in `dir`. */
  static async start(dir: string, nodes: number, hasNodes: boolean, options: ClusterOptions = {}): Promise<Cluster> {
    mkdirSync(dir, { recursive: true });
    const { gpus = 0, rest = false, accounts = false } = options;
    // Tests find processes by the number of their job, and groups of processes are named by it: clusters of other test files
    // on this machine must not have the same ones.
    const conf = [`FirstJobId=${1000 + (process.pid % 60_000) * 1000}`, ...(options.conf ?? [])];
    const script = spawn('bash', [join(slurmScripts, 'cluster.sh'), hasNodes ? 'nodes' : 'loopback', dir, `${nodes}`], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        ...process.env,
        GPUS: `${gpus}`,
        REST: `${Number(rest)}`,
        ACCOUNTS: `${Number(accounts)}`,
        CONF: conf.join('\n'),
      },
    });
    const answers = new Client(script);
    if ((await answers.saying(/^ready$/m)) === undefined) throw new Error(`no cluster came up:\n${answers.said}`);
    return new Cluster(dir, hasNodes, script, answers);
  }

  /** Starts a command on the controller's host. */
  client(command: readonly string[], env: Readonly<Record<string, string>> = {}): Client {
    const [file, ...args] = [...this.prefix, ...command];
    return new Client(
      spawn(file as string, args, {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, ...env, ...this.env },
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
    await this.#tell('cut', node);
  }

  /** Puts the cable back. */
  async mend(node: string): Promise<void> {
    await this.#tell('mend', node);
  }

  /** Limits the speed at which a node sends; 0 for none. */
  async throttle(node: string, kilobitsPerSecond: number): Promise<void> {
    await this.#tell('throttle', node, `${kilobitsPerSecond}`);
  }

  /** Switches a node off. */
  async kill(node: string): Promise<void> {
    await this.#tell('kill', node);
  }

  /** Starts a node that was switched off. */
  async boot(node: string): Promise<void> {
    await this.#tell('boot', node);
  }

  /** Stops every process of a node; its kernel still answers. */
  async freeze(node: string): Promise<void> {
    await this.#tell('freeze', node);
  }

  /** Lets them go on. */
  async thaw(node: string): Promise<void> {
    await this.#tell('thaw', node);
  }

  /** Stops the daemon of a node; steps live on. */
  async stopSlurmd(node: string): Promise<void> {
    await this.#tell('slurmd-stop', node);
  }

  async startSlurmd(node: string): Promise<void> {
    await this.#tell('slurmd-start', node);
  }

  /** Stops the controller's daemon; jobs live on. */
  async stopController(): Promise<void> {
    await this.#tell('ctld-stop');
  }

  async startController(): Promise<void> {
    await this.#tell('ctld-start');
  }

  /** Ends everything. */
  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#script.on('close', resolve));
    if (this.#script.exitCode !== null) return;
    this.#script.stdin?.end();
    await ended;
  }

  async #tell(...command: readonly string[]): Promise<void> {
    const number = ++this.#commands;
    this.#script.stdin?.write(`${command.join(' ')}\n`);
    await this.#answers.saying(new RegExp(`^(done|failed) ${number}$`, 'm'));
    if (new RegExp(`^done ${number}$`, 'm').test(this.#answers.said)) return;
    throw new Error(`${command.join(' ')} failed:\n${readFileSync(join(this.#dir, 'log', 'commands'), 'utf8')}`);
  }

  #firstOf(host: string): string {
    return readFileSync(join(this.#dir, `${host}.pid`), 'utf8').trim();
  }
}
