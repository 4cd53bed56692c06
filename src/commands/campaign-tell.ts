// `belay campaign report`, `metrics` and `export`: what a campaign tells people and other programs.
//
// Does not: count; cluster/history.ts does.
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { buildCommand } from '@stricli/core';
import { writeFileAtomic, writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import type { Json } from '../base/json.ts';
import { terminalLog } from '../base/progress.ts';
import { loadRecipe } from '../base/recipe.ts';
import { presentOf } from '../cluster/campaign-present.ts';
import { type History, type HistoryOptions, historyOf } from '../cluster/history.ts';
import { exportTensorBoard, exportWandb, metricRows } from '../cluster/history-exports.ts';
import type { CampaignFiles } from '../cluster/history-files.ts';
import { writeHistoryIndex } from '../cluster/history-index.ts';
import { type MetricsSource, metricsText, serveMetrics, writeMetricsFile } from '../cluster/metrics.ts';
import { grafanaDashboard, prometheusRules } from '../cluster/monitoring.ts';
import type { NodeState } from '../cluster/scheduler.ts';
import { metricGroups, metricTags } from '../train/metrics-log.ts';
import { campaignRecipe, type OpenCampaign, looking, openCampaign } from './campaign-parts.ts';
import { writeCampaignReport } from './campaign-report.ts';
import { wholeNumber } from './flags.ts';

/** What histories of a campaign need to know of its site. */
export function historyOptions({ site }: OpenCampaign): HistoryOptions {
  const watts = site.node.wattsPerModuleMean;
  const now = Date.now() / 1000;
  return { now, ...(watts === null ? {} : { wattsPerNode: watts * Math.max(1, site.node.gpus) }) };
}

async function historyOfCampaign(
  open: OpenCampaign,
): Promise<{ readonly files: CampaignFiles; readonly history: History }> {
  const { files, accountsAway } = await presentOf(open.folder, open.campaign, open.scheduler);
  if (accountsAway !== undefined) terminalLog().line(`the scheduler's accounts cannot be asked: ${accountsAway}`);
  return { files, history: historyOf(files, historyOptions(open)) };
}

const outFlag = { kind: 'parsed', parse: String, brief: 'the campaign, a run folder' } as const;

export const report = buildCommand<{ readonly out: string; readonly json: boolean }>({
  docs: {
    brief: 'a campaign on one page',
    fullDescription: `Writes campaign-report.html into the folder: its curve over all links, where the time went, its nodes and alerts. With
--json the whole history is printed instead.

EXAMPLE
  belay campaign report --out /scratch/me/run1`,
  },
  parameters: {
    flags: { out: outFlag, json: { kind: 'boolean', brief: 'print the history as JSON', default: false } },
  },
  async func({ out, json }) {
    const open = openCampaign(out, looking);
    const { files, history } = await historyOfCampaign(open);
    if (json) process.stdout.write(`${JSON.stringify(history, null, 2)}\n`);
    else terminalLog().line(writeCampaignReport(open.folder.dir, historyOptions(open), files));
  },
});

async function metricsSource(open: OpenCampaign): Promise<MetricsSource> {
  const { files, schedulerAway } = await presentOf(open.folder, open.campaign, open.scheduler);
  const history = historyOf(files, historyOptions(open));
  if (schedulerAway !== undefined) return { files, history };
  try {
    const nodes = new Map<NodeState, number>();
    for (const { state } of await open.scheduler.nodes()) nodes.set(state, (nodes.get(state) ?? 0) + 1);
    return { files, history, nodes };
  } catch {
    // What is not known is left out.
    return { files, history };
  }
}

interface MetricsFlags {
  readonly out: readonly string[];
  readonly file?: string;
  readonly port?: number;
  readonly rules?: string;
  readonly dashboard?: string;
}

export const metrics = buildCommand<MetricsFlags>({
  docs: {
    brief: 'numbers of campaigns for Prometheus, with rules and a dashboard',
    fullDescription: `Prints metrics in the text format of Prometheus; --file writes them for the textfile collector, --port serves them on this
host until it is ended. --rules and --dashboard write the files that Prometheus and Grafana load.

EXAMPLE
  belay campaign metrics --out /scratch/me/run1
  belay campaign metrics --out /scratch/me/run1 --out /scratch/me/run2 --port 9400
  belay campaign metrics --out /scratch/me/run1 --rules belay.rules.yml --dashboard belay.dashboard.json`,
  },
  parameters: {
    flags: {
      out: { ...outFlag, variadic: true },
      file: { kind: 'parsed', parse: String, brief: 'file to replace, NAME.prom', optional: true },
      port: { kind: 'parsed', parse: wholeNumber(0, 65_535), brief: 'serve on 127.0.0.1', optional: true },
      rules: { kind: 'parsed', parse: String, brief: 'write rules for Prometheus', optional: true },
      dashboard: { kind: 'parsed', parse: String, brief: 'write a dashboard for Grafana', optional: true },
    },
  },
  async func({ out, file, port, rules, dashboard }) {
    const open = out.map((dir) => openCampaign(dir, looking));
    const read = async (): Promise<MetricsSource[]> => await Promise.all(open.map(metricsSource));
    const log = terminalLog();
    if (rules !== undefined) writeFileAtomic(rules, prometheusRules());
    if (dashboard !== undefined) writeJsonAtomic(dashboard, grafanaDashboard());
    if (file !== undefined) writeMetricsFile(file, await read());
    if (port !== undefined) {
      const server = await serveMetrics(port, read);
      const address = server.address();
      log.line(`http://127.0.0.1:${typeof address === 'object' ? address?.port : port}/metrics`);
      return;
    }
    if (rules === undefined && dashboard === undefined && file === undefined)
      process.stdout.write(metricsText(await read()));
  },
});

interface ExportFlags {
  readonly out: readonly string[];
  readonly tensorboard?: string;
  readonly wandb?: string;
  readonly project: string;
  readonly index?: string;
}

export const exportVerb = buildCommand<ExportFlags>({
  docs: {
    brief: 'the history of campaigns for TensorBoard, W&B and DuckDB',
    fullDescription: `Every step is there once, whatever happened to the jobs. --index makes a DuckDB file of one campaign or many; it is made anew
each time.

EXAMPLE
  belay campaign export --out /scratch/me/run1 --tensorboard tb --wandb wandb
  belay campaign export --out /scratch/me/run1 --out /scratch/me/run2 --index campaigns.duckdb`,
  },
  parameters: {
    flags: {
      out: { ...outFlag, variadic: true },
      tensorboard: { kind: 'parsed', parse: String, brief: 'folder for an event file', optional: true },
      wandb: { kind: 'parsed', parse: String, brief: 'folder for an offline run of W&B', optional: true },
      project: { kind: 'parsed', parse: String, brief: 'project of W&B', default: 'belay' },
      index: { kind: 'parsed', parse: String, brief: 'DuckDB file', optional: true },
    },
  },
  async func({ out, tensorboard, wandb, project, index }) {
    if (tensorboard === undefined && wandb === undefined && index === undefined) {
      throw new UserError('export to what?', { expected: '--tensorboard DIR, --wandb DIR or --index FILE' });
    }
    for (const folder of [tensorboard, wandb]) {
      if (folder === undefined || !existsSync(folder) || statSync(folder).isDirectory()) continue;
      throw new UserError(`${folder} is no folder`, { found: 'a file', next: 'name a folder to write into' });
    }
    const campaigns = await Promise.all(
      out.map(async (dir) => {
        const open = openCampaign(dir, looking);
        return { open, ...(await historyOfCampaign(open)) };
      }),
    );
    const log = terminalLog();
    for (const { open, files, history } of campaigns) {
      const rows = metricRows(files, history, { tags: metricTags, groups: metricGroups });
      const into = (folder: string): string => (campaigns.length === 1 ? folder : join(folder, history.id));
      if (tensorboard !== undefined) log.line(exportTensorBoard(into(tensorboard), rows));
      if (wandb !== undefined) {
        const config = { ...((await loadRecipe(campaignRecipe(open.folder))) as unknown as Record<string, Json>) };
        log.line(exportWandb(into(wandb), history, rows, { project, config }));
      }
    }
    if (index !== undefined) {
      await writeHistoryIndex(index, campaigns);
      log.line(index);
    }
  },
});
