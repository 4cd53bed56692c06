// Campaigns on a test cluster: run folders with everything up to the token files, submission, waiting, what they left.
//
// Does not: start clusters; cluster.ts does.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { readLines } from '../../src/base/events.ts';
import { hashFile } from '../../src/base/hashing.ts';
import { packageRoot } from '../../src/base/version.ts';
import type { LaunchEndFile, LaunchFile, LinkBeginFile, LinkEndFile } from '../../src/cluster/campaign-folder.ts';
import { CampaignFolder } from '../../src/cluster/campaign-folder.ts';
import type { CampaignSpecInput } from '../../src/cluster/campaign-spec.ts';
import type { CampaignStatus } from '../../src/cluster/campaign-status.ts';
import type { Cluster } from './cluster.ts';

const isSource = import.meta.url.endsWith('.ts');
/** belay as a command line. */
export const belay = [
  process.execPath,
  ...(isSource ? ['--import', import.meta.resolve('tsx')] : []),
  join(packageRoot, isSource ? 'src/cli.ts' : 'dist/src/cli.js'),
];

const shape = ['pretrain.batchSize=12', 'pretrain.shards=12', 'pretrain.sequenceLength=32'];

async function alone(command: readonly string[]): Promise<void> {
  const [file, ...args] = command;
  const child = spawn(file as string, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (stderr += text));
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(code, 0, stderr);
}

/** The undisturbed run, and folders to disturb. */
export class Runs {
  readonly scratch: string;
  private readonly base: string;
  private readonly known = new Map<string, readonly string[]>();

  constructor(scratch: string) {
    this.scratch = scratch;
    this.base = join(scratch, 'base');
  }

  /** Everything up to the token files, once. */
  async prepare(): Promise<void> {
    mkdirSync(this.base, { recursive: true });
    await this.pretrain(this.base, ['pretrain.steps=1']);
    for (const name of readdirSync(this.base)) {
      if (/^(pretrain|plan|recipe|events)/.test(name)) rmSync(join(this.base, name), { recursive: true });
    }
  }

  private async pretrain(dir: string, set: readonly string[]): Promise<void> {
    const all = [...shape, ...set].flatMap((one) => ['--set', one]);
    await alone([...belay, 'pretrain', '--out', dir, '--recipe', 'demo-tiny', ...all]);
  }

  folder(name: string): string {
    const dir = join(this.scratch, name);
    cpSync(this.base, dir, { recursive: true });
    return dir;
  }

  /** What training without a disturbance leaves. */
  async undisturbed(set: readonly string[]): Promise<readonly string[]> {
    const key = set.join(' ');
    let known = this.known.get(key);
    if (!known) {
      const dir = this.folder(`undisturbed-${this.known.size}`);
      await this.pretrain(dir, set);
      this.known.set(key, (known = result(dir)));
    }
    return known;
  }

  spec(name: string, set: readonly string[], more: Partial<CampaignSpecInput> = {}): CampaignSpecInput {
    return {
      ...{ name, recipe: 'demo-tiny', set: [...shape, ...set], nodes: { min: 1, max: 3 }, time: '10:00' },
      ...{ heartbeatSeconds: 2, silenceSeconds: 5, vet: null, warningSeconds: 20, environment: fault() },
      // One node is left to what must not be disturbed.
      sbatch: ['--exclude=n5'],
      ...more,
    };
  }
}

/** Environment of a campaign that has time to be disturbed, and whose rank 0 breaks at a step. */
export function fault(kind?: string, step = 0, once?: string): Record<string, string> {
  const load = `--import=${join(packageRoot, 'test', 'slurm', 'fault.mjs')}`;
  return {
    ...{ NODE_OPTIONS: load, SLOW_MS: '60' },
    ...(kind === undefined ? {} : { FAULT: kind, FAULT_STEP: `${step}` }),
    ...(once === undefined ? {} : { FAULT_ONCE: once }),
  };
}

/** What two runs must have in common: the model's bytes, and the loss of each step. */
export const result = (dir: string): string[] => [
  hashFile(join(dir, 'pretrain', 'model', 'model.safetensors')).sha256,
  ...readLines<{ step: number; loss: number }>(join(dir, 'pretrain', 'metrics.jsonl')).map(
    ({ step, loss }) => `${step} ${loss}`,
  ),
];

/** A campaign on a cluster. */
export class Campaign {
  readonly cluster: Cluster;
  readonly dir: string;
  readonly folder: CampaignFolder;

  private constructor(cluster: Cluster, dir: string) {
    this.cluster = cluster;
    this.dir = dir;
    this.folder = new CampaignFolder(dir);
  }

  static async submit(cluster: Cluster, dir: string, spec: CampaignSpecInput): Promise<Campaign> {
    const { nodes } = spec;
    await new Campaign(cluster, dir).untilIdle(typeof nodes === 'number' ? nodes : nodes.max);
    return await Campaign.submitBeside(cluster, dir, spec);
  }

  /** Without waiting for idle nodes: where campaigns share them. */
  static async submitBeside(cluster: Cluster, dir: string, spec: CampaignSpecInput): Promise<Campaign> {
    const campaign = new Campaign(cluster, dir);
    const path = `${dir}.campaign.json`;
    writeFileSync(path, JSON.stringify(spec));
    await campaign.verb('submit', '--spec', path);
    return campaign;
  }

  async verb(name: string, ...args: readonly string[]): Promise<string> {
    return await this.cluster.run(...belay, 'campaign', name, '--out', this.dir, ...args);
  }

  async status(): Promise<CampaignStatus> {
    const said = await this.verb('status', '--json');
    return JSON.parse(said.slice(said.indexOf('{'))) as CampaignStatus;
  }

  /** Nodes that were disturbed take a while to come back; with fewer than it may have a campaign would begin at once. */
  async untilIdle(count: number): Promise<void> {
    // The word alone: IDLE+COMPLETING is not free yet, IDLE* is silent.
    let states = '';
    const isEnough = async (): Promise<boolean> => {
      const lines = (await this.cluster.run('scontrol', 'show', 'node', 'n[1-4]', '-o')).split('\n');
      const words = lines.map((line) => / State=(\S+)/.exec(line)?.[1] ?? '');
      states = words.join(', ');
      // Slurm drains a node whose tasks it could not kill in time, such as a frozen one; an administrator puts it back.
      for (const [i, word] of words.entries()) {
        if (/^(IDLE|DOWN)\+DRAIN$/.test(word))
          await this.cluster.run('scontrol', 'update', `NodeName=n${i + 1}`, 'State=RESUME');
      }
      return words.filter((word) => word === 'IDLE').length >= count;
    };
    await this.until(`${count} idle nodes`, isEnough, 90).catch(async (error: unknown) => {
      throw new Error(`${states}\n${await this.cluster.run('squeue')}\n${String(error)}`);
    });
  }

  get steps(): number {
    return readLines(join(this.dir, 'pretrain', 'metrics.jsonl')).length;
  }

  /** Everything that links said, for messages of failures. */
  get said(): string {
    const logs = join(this.folder.campaign, 'logs');
    const texts = existsSync(logs)
      ? readdirSync(logs).map((name) => `== ${name}\n${readFileSync(join(logs, name), 'utf8')}`)
      : [];
    const launches = this.folder.links().flatMap((link) =>
      this.folder.launches(link).map((launch) => {
        const path = this.folder.link(link, 'steps', launch, 'log.txt');
        return `== ${link}/${launch}\n${existsSync(path) ? readFileSync(path, 'utf8').slice(-3000) : ''}`;
      }),
    );
    return [...texts, ...launches].join('\n');
  }

  /** Waits for what a disturbance must lead to, and takes it back whether that comes or not: others need the nodes. */
  async untilThenMend(what: string, done: () => boolean, mend: () => Promise<void>): Promise<void> {
    try {
      await this.until(what, done);
    } finally {
      await mend();
    }
  }

  async until(what: string, done: () => boolean | Promise<boolean>, seconds = 100): Promise<void> {
    const deadline = performance.now() + seconds * 1000;
    while (!(await done())) {
      if (performance.now() > deadline) {
        const asked = [
          this.cluster.run('squeue', '-o', '%i %j %T %M %N %R %E'),
          this.cluster.run('sinfo', '-N', '-o', '%N %T %E'),
        ];
        const answers = await Promise.allSettled(asked);
        const told = answers.map((answer) => (answer.status === 'fulfilled' ? answer.value : String(answer.reason)));
        assert.fail([`waited in vain for ${what}`, ...told, this.said].join('\n'));
      }
      await wait(50);
    }
  }

  async untilSteps(count: number): Promise<void> {
    await this.until(`${count} steps`, () => this.steps >= count);
  }

  async untilStopped(seconds = 200): Promise<void> {
    await this.until('the end of the chain', () => this.folder.stopped() !== undefined, seconds);
    const name = CampaignFolder.jobName(this.folder.read());
    let left = '';
    const isEmpty = async (): Promise<boolean> => {
      left = await this.cluster.run('squeue', '-h', '-n', name, '-o', '%i %T %N %R');
      return left === '';
    };
    await this.until('the end of its jobs', isEmpty, 60).catch((error: unknown) => {
      throw new Error(`${left}\n${String(error)}`);
    });
  }

  begins(): LinkBeginFile[] {
    return this.folder.links().flatMap((name) => this.folder.record<LinkBeginFile>(name, 'begin.json') ?? []);
  }

  /** The link that trains: one before it may have left at once, for more nodes. */
  training(): LinkBeginFile & { readonly link: string } {
    const link = this.folder.links().findLast((name) => this.folder.record(name, 'begin.json'));
    assert.ok(link, 'no link has begun');
    return { ...(this.folder.record<LinkBeginFile>(link, 'begin.json') as LinkBeginFile), link };
  }

  ends(): LinkEndFile[] {
    return this.folder.links().flatMap((name) => this.folder.record<LinkEndFile>(name, 'end.json') ?? []);
  }

  launches(): (LaunchFile & { readonly end: LaunchEndFile | undefined })[] {
    return this.folder.links().flatMap((name) =>
      this.folder.launches(name).map((launch) => ({
        ...(this.folder.record<LaunchFile>(name, 'steps', launch, 'step.json') as LaunchFile),
        end: this.folder.record<LaunchEndFile>(name, 'steps', launch, 'end.json'),
      })),
    );
  }
}
