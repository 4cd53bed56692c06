// What a campaign costs on a real Slurm of a few nodes on this machine: from nothing to the first step, from a fault to the next
// step, how much of the time is useful under a fault a minute, and what `status` costs after 10,000 jobs.
//
// Nodes are namespaces that share the machine's cores, SlurmdTimeout is 3 s; steps are made 60 ms longer so that there is
// something to disturb. Each kind of fault comes --rounds times, in turn. For a yardstick of the control plane, what squeue
// and reading the same files take is printed beside `status`.
//
//   npm run build && node dist/bench/campaign.js [--rounds 3] [--minutes 5] [--save campaign_<machine>_<date>]
//
// Needs Slurm and namespaces (root), as test/slurm-campaign.test.ts does.
//
// Does not: compare with another launcher: none of the peers runs here without a cluster of its own.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { packageRoot } from '../src/base/version.ts';
import { CampaignWriter } from '../test/campaign-files.ts';
import { Campaign, Runs } from '../test/slurm/campaigns.ts';
import { Cluster, whyNoNamespaces, whyNoSlurm } from '../test/slurm/cluster.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    minutes: { type: 'string', default: '5' },
    jobs: { type: 'string', default: '10000' },
    save: { type: 'string' },
  },
});
const why = whyNoSlurm() ?? whyNoNamespaces();
if (why !== undefined) throw new Error(why);
const load = loadavg()[0] as number;
const runs = new Runs(mkdtempSync(join(tmpdir(), 'belay-bench-campaign-')));
const seconds = (since: number): number => (performance.now() - since) / 1000;
const median = (numbers: readonly number[]): number =>
  [...numbers].sort((a, b) => a - b)[numbers.length >> 1] as number;
const spread = (numbers: readonly number[], digits = 1): string =>
  `${median(numbers).toFixed(digits)} (${Math.min(...numbers).toFixed(digits)} to ${Math.max(...numbers).toFixed(digits)})`;

/** The number of steps that any attempt has computed, which only grows. */
function computed(campaign: Campaign): number {
  const files = spawnSync('sh', ['-c', `cat ${campaign.dir}/pretrain/attempts/*/steps.jsonl 2>/dev/null | wc -l`], {
    encoding: 'utf8',
  });
  return Number(files.stdout);
}

type Fault = readonly [name: string, strike: (nodes: readonly string[]) => Promise<() => Promise<void>>];

async function main(): Promise<void> {
  const lines: string[] = [];
  try {
    await runs.prepare();
    const up = performance.now();
    const cluster = await Cluster.start(join(runs.scratch, 'slurm'), 5, true);
    try {
      const clusterSeconds = seconds(up);
      const endless = ['pretrain.steps=100000', 'pretrain.checkpointEverySteps=5'];
      const submitted = performance.now();
      const campaign = await Campaign.submit(
        cluster,
        runs.folder('faults'),
        runs.spec('faults', endless, { time: '2:00:00' }),
      );
      await campaign.until('the first step', () => computed(campaign) > 0);
      const first = seconds(submitted);
      const at =
        (place: 0 | -1, strike: (node: string) => Promise<void>, mend: (node: string) => Promise<void>) =>
        async (nodes: readonly string[]): Promise<() => Promise<void>> => {
          const node = nodes.at(place) as string;
          await strike(node);
          return () => mend(node);
        };
      const kill = (node: string): Promise<void> => cluster.kill(node);
      const boot = (node: string): Promise<void> => cluster.boot(node);
      const faults: readonly Fault[] = [
        ['a node dies', at(-1, kill, boot)],
        ["the controller's node dies", at(0, kill, boot)],
        [
          'a cable is cut',
          at(
            -1,
            (node) => cluster.cut(node),
            (node) => cluster.mend(node),
          ),
        ],
        [
          'a node freezes',
          at(
            -1,
            (node) => cluster.freeze(node),
            (node) => cluster.thaw(node),
          ),
        ],
      ];
      const strike = async ([name, disturb]: Fault): Promise<number> => {
        const nodes = campaign.launches().at(-1)?.nodes ?? [];
        const launches = campaign.launches().length;
        const struck = performance.now();
        const mend = await disturb(nodes);
        await campaign.until(`a start after: ${name}`, () => campaign.launches().length > launches, 120);
        const count = computed(campaign);
        await campaign.until(`a step after: ${name}`, () => computed(campaign) > count, 120);
        const took = seconds(struck);
        await mend();
        // A link of its own for each: with all nodes again.
        await campaign.verb('stop');
        await campaign.untilStopped();
        await campaign.untilIdle(4);
        await campaign.verb('submit');
        const before = computed(campaign);
        await campaign.until('the next link', () => computed(campaign) > before + 5, 120);
        process.stderr.write(`${name}: ${took.toFixed(1)} s\n`);
        return took;
      };
      const recoveries = new Map<string, number[]>(faults.map(([name]) => [name, []]));
      for (let round = 0; round < Number(values.rounds); round++) {
        for (const fault of faults) (recoveries.get(fault[0]) as number[]).push(await strike(fault));
      }
      await campaign.verb('stop');
      await campaign.untilStopped();

      const steady = await Campaign.submit(
        cluster,
        runs.folder('goodput'),
        runs.spec('goodput', endless, { time: '2:00:00' }),
      );
      await steady.until('the first step', () => computed(steady) > 0);
      for (let minute = 0; minute < Number(values.minutes); minute++) {
        await wait(30_000);
        const mend = await (faults[minute % faults.length] as Fault)[1](steady.launches().at(-1)?.nodes ?? []);
        await wait(15_000);
        await mend();
        await wait(15_000);
      }
      const { history } = await steady.status();
      await steady.verb('cancel');
      await steady.untilStopped();

      // A campaign of many links, as after years.
      const old = runs.folder('old');
      const spec = runs.spec('old', endless);
      const made = await Campaign.submit(cluster, old, spec);
      await made.verb('cancel');
      const writer = new CampaignWriter(
        old,
        JSON.parse(readFileSync(join(old, 'campaign', 'campaign.json'), 'utf8')) as Record<string, unknown>,
      );
      const jobs = Number(values.jobs);
      for (let i = 2; i <= jobs; i++) {
        const [began, nodes] = [1.7e9 + 1000 * i, ['n1', 'n2']];
        writer.link(String(i).padStart(4, '0'), {
          job: { job: `${i}`, submitted: began - 5, predecessor: String(i - 1).padStart(4, '0') },
          begin: { time: began, job: `${i}`, nodes, host: 'n1' },
          end: { time: began + 900, why: 'saved and left', next: 'successor' },
        });
      }
      const asked: number[] = [];
      const queue: number[] = [];
      for (let round = 0; round < Number(values.rounds); round++) {
        const at = performance.now();
        await made.status();
        asked.push(seconds(at));
        const then = performance.now();
        await cluster.run('squeue', '--json');
        queue.push(seconds(then));
      }
      const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
        cwd: packageRoot,
        encoding: 'utf8',
      }).trim();
      const percent = (share: number | undefined): string =>
        share === undefined ? '-' : `${(100 * share).toFixed(1)} %`;
      lines.push(
        '# Campaigns on a real Slurm',
        '',
        `${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${cpus()[0]?.model} (${cpus().length} cores), node ${process.version}, load ${load.toFixed(1)} at the start.`,
        `Campaigns of up to 3 of 4 nodes made of namespaces, SlurmdTimeout 3 s, heartbeat 2 s, silence of a controller 5 s; ${values.rounds} rounds, median and range in seconds.`,
        '',
        '| | seconds |',
        '|---|--:|',
        `| the cluster comes up | ${clusterSeconds.toFixed(1)} |`,
        `| from \`submit\` to the first step | ${first.toFixed(1)} |`,
        ...[...recoveries].map(([name, took]) => `| ${name}: to the next step | ${spread(took)} |`),
        `| \`status\` after ${jobs} jobs (the process included) | ${spread(asked)} |`,
        `| beside it \`squeue --json\` | ${spread(queue, 3)} |`,
        '',
        `Under a fault a minute for ${values.minutes} minutes, the four kinds in turn: goodput ${percent(history.goodput)} of the allocated node time, ` +
          `${history.lostSteps} of ${history.steps + history.lostSteps} steps lost, ${history.failures} failures in ${history.links} links; ` +
          `steps computed twice with another loss: ${history.differingSteps.length}.`,
        '',
      );
    } finally {
      await cluster.close();
    }
  } finally {
    rmSync(runs.scratch, { recursive: true, force: true, maxRetries: 5 });
  }
  process.stdout.write(lines.join('\n'));
  if (values.save) writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), lines.join('\n'));
}

await main();
