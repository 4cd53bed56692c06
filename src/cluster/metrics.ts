// A campaign in numbers for Prometheus: its text format, as a file for the textfile collector or over HTTP on this host.
//
// Names follow the conventions of Prometheus: base units, `_total` for what only grows, times as unix seconds (an age is
// `time() - x`, and stays right while nobody writes). What is not known is left out, not 0.
//
// Does not: measure, or keep anything: each time the files are read anew.
import { createServer, type Server } from 'node:http';
import { writeFileSync, renameSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { UserError } from '../base/errors.ts';
import type { History } from './history.ts';
import type { CampaignFiles } from './history-files.ts';
import type { NodeState } from './scheduler.ts';

/** What is told: the history, and what the scheduler says about the nodes the campaign may use. */
export interface MetricsSource {
  readonly files: CampaignFiles;
  readonly history: History;
  readonly nodes?: ReadonlyMap<NodeState, number>;
}

type Labels = Readonly<Record<string, string>>;

interface Sample {
  readonly value: number | undefined;
  readonly labels?: Labels;
}

interface Family {
  readonly type: 'gauge' | 'counter';
  readonly help: string;
  readonly samples: (source: MetricsSource) => readonly Sample[];
}

const one = (value: number | undefined): readonly Sample[] => [{ value }];

/** Every metric by its name. docs/cluster.md lists them. */
export const metricFamilies = {
  belay_campaign_running: {
    type: 'gauge',
    help: 'Whether a link of the campaign has begun and not ended.',
    samples: ({ history }) =>
      one(history.links.some(({ began, ended }) => began !== undefined && ended === undefined) ? 1 : 0),
  },
  belay_campaign_step: {
    type: 'gauge',
    help: 'The last step that counts.',
    samples: ({ history }) => one(history.summary.lastStep),
  },
  belay_campaign_loss: {
    type: 'gauge',
    help: 'Training loss of the last step, in nats per counted label.',
    samples: ({ files }) => one(lastOf(files, 'loss')),
  },
  belay_campaign_tokens_per_second: {
    type: 'gauge',
    help: 'Tokens that all ranks together read per second, in the last step.',
    samples: ({ files }) => one(lastOf(files, 'tokensPerSecond')),
  },
  belay_campaign_consumed_tokens: {
    type: 'gauge',
    help: 'Tokens consumed up to the last step; goes back with a resume.',
    samples: ({ files }) => one(lastOf(files, 'tokens')),
  },
  belay_campaign_last_step_timestamp_seconds: {
    type: 'gauge',
    help: 'When the last step was over.',
    samples: ({ history }) => one(history.steps.at(-1)?.time),
  },
  belay_campaign_last_checkpoint_timestamp_seconds: {
    type: 'gauge',
    help: 'When the last checkpoint was committed.',
    samples: ({ files }) => one(files.events.findLast(({ event }) => event === 'checkpoint')?.time),
  },
  belay_campaign_last_checkpoint_step: {
    type: 'gauge',
    help: 'Step of the last checkpoint.',
    samples: ({ files }) => {
      const step = files.events.findLast(({ event }) => event === 'checkpoint')?.['step'];
      return one(typeof step === 'number' ? step : undefined);
    },
  },
  belay_campaign_goodput_ratio: {
    type: 'gauge',
    help: 'Time of the steps that count, times their nodes, by allocated node time.',
    samples: ({ history }) => one(history.summary.goodput),
  },
  belay_campaign_availability_ratio: {
    type: 'gauge',
    help: 'Share of the time since the first link began that lies between the first and the last step of a link.',
    samples: ({ history }) => one(history.summary.availability),
  },
  belay_campaign_allocated_node_seconds_total: {
    type: 'counter',
    help: 'Seconds that nodes were allocated, added up.',
    samples: ({ history }) => one(history.summary.allocatedNodeSeconds),
  },
  belay_campaign_energy_joules_total: {
    type: 'counter',
    help: 'Energy of the nodes; estimate says whether some of it is watts of a site profile times seconds.',
    samples: ({ history: { summary } }) => [
      { value: summary.energyJoules, labels: { estimate: String(summary.energyIsEstimate) } },
    ],
  },
  belay_campaign_links_total: {
    type: 'counter',
    help: 'Links (jobs) that have begun.',
    samples: ({ history }) => one(history.links.filter(({ began }) => began !== undefined).length),
  },
  belay_campaign_attempts_total: {
    type: 'counter',
    help: 'Starts of the training.',
    samples: ({ history }) => one(history.summary.attempts),
  },
  belay_campaign_failures_total: {
    type: 'counter',
    help: 'Ends that the machine is to blame for.',
    samples: ({ history }) => one(history.summary.failures),
  },
  belay_campaign_lost_steps_total: {
    type: 'counter',
    help: 'Steps that were computed and lost with an attempt.',
    samples: ({ history }) => one(history.summary.lostSteps),
  },
  belay_campaign_rolled_back_steps_total: {
    type: 'counter',
    help: 'Steps that the guard took back.',
    samples: ({ history }) => one(history.summary.rolledBackSteps),
  },
  belay_campaign_differing_steps_total: {
    type: 'counter',
    help: 'Steps that were taken again with another loss: a sign of unsound hardware.',
    samples: ({ history }) => one(history.summary.differingSteps.length),
  },
  belay_campaign_nodes: {
    type: 'gauge',
    help: 'Nodes that the campaign may use, by what the scheduler says of them.',
    samples: ({ nodes }) => [...(nodes ?? [])].map(([state, value]) => ({ value, labels: { state } })),
  },
  belay_campaign_alerts_total: {
    type: 'counter',
    help: 'Alerts that were raised, by kind.',
    samples: ({ files }) => {
      const counts = new Map<string, number>();
      for (const { event, state } of files.alerts) {
        if (state === 'firing') counts.set(String(event), (counts.get(String(event)) ?? 0) + 1);
      }
      return [...counts].sort().map(([kind, value]) => ({ value, labels: { kind } }));
    },
  },
  belay_campaign_alert_firing: {
    type: 'gauge',
    help: 'Alerts that were raised and are not over.',
    samples: ({ files }) =>
      firingAlerts(files).map(({ event, node, rank }) => ({
        value: 1,
        labels: {
          kind: String(event),
          ...(rank === undefined ? {} : { rank: String(rank) }),
          ...(node === undefined ? {} : { node: String(node) }),
        },
      })),
  },
} as const satisfies Readonly<Record<string, Family>>;

function lastOf({ metrics }: CampaignFiles, field: string): number | undefined {
  const value = metrics.at(-1)?.[field];
  return typeof value === 'number' ? value : undefined;
}

/** The alerts that were raised and not taken back, one of a kind and rank. Who died with its job could take none back. */
export function firingAlerts({ alerts, links }: CampaignFiles): Readonly<Record<string, unknown>>[] {
  const open = new Map<string, Readonly<Record<string, unknown>>>();
  for (const alert of alerts) {
    const key = `${String(alert['event'])} ${String(alert['rank'])}`;
    if (alert['state'] === 'firing') open.set(key, alert);
    else if (alert['state'] === 'resolved') open.delete(key);
  }
  const last = links.findLastIndex(({ begin }) => begin);
  const over = links.filter(({ begin, end, accounting }, i) => (begin && i < last) || end || accounting?.ended);
  const ended = new Set<unknown>(over.map(({ name }) => name));
  return [...open.values()].filter(({ link }) => !ended.has(link));
}

/** Campaigns in the text format of Prometheus (version 0.0.4). */
export function metricsText(sources: readonly MetricsSource[]): string {
  const lines: string[] = [];
  const known = new Map<string, number>();
  for (const { history } of sources) known.set(history.name, (known.get(history.name) ?? 0) + 1);
  // Prometheus refuses a page with two samples of one name and labels.
  const campaignOf = ({ name, id }: History): string => ((known.get(name) ?? 0) > 1 ? `${name} (${id})` : name);
  for (const [name, { type, help, samples }] of Object.entries<Family>(metricFamilies)) {
    const all = sources.flatMap((source) =>
      samples(source).flatMap(({ value, labels }) =>
        value === undefined || Number.isNaN(value)
          ? []
          : [`${name}${labelText({ campaign: campaignOf(source.history), ...labels })} ${numberText(value)}`],
      ),
    );
    if (all.length > 0) lines.push(`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`, ...all);
  }
  return `${lines.join('\n')}\n`;
}

function labelText(labels: Labels): string {
  return `{${Object.entries(labels)
    .map(([name, value]) => `${name}="${escapeLabel(value)}"`)
    .join(',')}}`;
}

const escapeHelp = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
const escapeLabel = (text: string): string => escapeHelp(text).replaceAll('"', '\\"');

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return value > 0 ? '+Inf' : '-Inf';
}

/** Replaces a file of the textfile collector, whose name must end in `.prom`. */
export function writeMetricsFile(path: string, sources: readonly MetricsSource[]): void {
  if (!path.endsWith('.prom')) {
    throw new UserError(`${path} would not be read by the textfile collector`, {
      expected: 'a name that ends in .prom',
    });
  }
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.partial`, metricsText(sources));
    renameSync(`${path}.partial`, path);
  } catch (cause) {
    throw new UserError(`${path} cannot be written`, { found: (cause as Error).message, cause });
  }
}

/** Serves `/metrics` on this host only; every scrape reads the files anew. Port 0 takes a free one. */
export async function serveMetrics(port: number, read: () => Promise<readonly MetricsSource[]>): Promise<Server> {
  const server = createServer((request, response) => {
    const answer = (status: number, type: string, body: string): void => {
      response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
      response.end(request.method === 'HEAD' ? '' : body);
    };
    const [path] = (request.url ?? '').split('?');
    if (path !== '/metrics') return answer(404, 'text/plain', 'metrics are at /metrics\n');
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, 'text/plain', 'GET only\n');
    read()
      .then((sources) => answer(200, 'text/plain; version=0.0.4; charset=utf-8', metricsText(sources)))
      .catch(() => answer(500, 'text/plain', 'the campaign could not be read\n'));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const next = 'choose another port';
      reject(new UserError(`port ${port} cannot be served`, { found: cause.code ?? cause.message, next, cause }));
    });
    server.listen(port, '127.0.0.1', resolve);
  });
  return server;
}
