// What Prometheus and Grafana need to watch campaigns: a file of alerting rules and a dashboard, both over the metrics of
// metrics.ts.
//
// Does not: install or talk to either.
import type { Json } from '../base/json.ts';
import type { metricFamilies } from './metrics.ts';

export type MetricName = keyof typeof metricFamilies;

/** A metric by its name, which the compiler checks. */
const m = (name: MetricName): MetricName => name;

export interface RuleOptions {
  /** Without a step for so long a running campaign is reported. */
  readonly noStepSeconds?: number;
  readonly checkpointSeconds?: number;
  readonly goodputBelow?: number;
  /** Starts within an hour without a step of progress that make a crash loop. */
  readonly crashLoopStarts?: number;
}

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly severity: 'critical' | 'warning';
  readonly summary: string;
}

function rulesOf(options: RuleOptions): Rule[] {
  const { noStepSeconds = 900, checkpointSeconds = 7200, goodputBelow = 0.8, crashLoopStarts = 3 } = options;
  const running = `${m('belay_campaign_running')} == 1`;
  return [
    {
      alert: 'BelayNoStep',
      expr: `time() - ${m('belay_campaign_last_step_timestamp_seconds')} > ${noStepSeconds} and on (campaign) ${running}`,
      for: '1m',
      severity: 'critical',
      summary: 'Campaign {{ $labels.campaign }} runs and took no step for {{ $value | humanizeDuration }}',
    },
    {
      alert: 'BelayCheckpointOld',
      expr: `time() - ${m('belay_campaign_last_checkpoint_timestamp_seconds')} > ${checkpointSeconds} and on (campaign) ${running}`,
      for: '5m',
      severity: 'warning',
      summary: 'The last checkpoint of campaign {{ $labels.campaign }} is {{ $value | humanizeDuration }} old',
    },
    {
      alert: 'BelayCrashLoop',
      expr: `increase(${m('belay_campaign_attempts_total')}[1h]) >= ${crashLoopStarts} and on (campaign) delta(${m('belay_campaign_step')}[1h]) <= 0`,
      for: '0m',
      severity: 'critical',
      summary: 'Campaign {{ $labels.campaign }} started {{ $value | humanize }} times in an hour and came no further',
    },
    {
      alert: 'BelayGoodputLow',
      expr: `${m('belay_campaign_goodput_ratio')} < ${goodputBelow} and on (campaign) ${running}`,
      for: '1h',
      severity: 'warning',
      summary: 'Goodput of campaign {{ $labels.campaign }} is {{ $value | humanizePercentage }}',
    },
    {
      alert: 'BelayHang',
      expr: `${m('belay_campaign_alert_firing')}{kind="hang"} > 0`,
      for: '0m',
      severity: 'critical',
      summary: 'Campaign {{ $labels.campaign }} hangs at rank {{ $labels.rank }} on {{ $labels.node }}',
    },
    {
      alert: 'BelayStraggler',
      expr: `${m('belay_campaign_alert_firing')}{kind="straggler"} > 0`,
      for: '10m',
      severity: 'warning',
      summary: 'Rank {{ $labels.rank }} of campaign {{ $labels.campaign }} on {{ $labels.node }} slows all others',
    },
    {
      alert: 'BelayUnsoundHardware',
      expr: `increase(${m('belay_campaign_differing_steps_total')}[1d]) > 0`,
      for: '0m',
      severity: 'critical',
      summary: 'A step of campaign {{ $labels.campaign }} gave another loss when it was taken again',
    },
  ];
}

/** A rules file. Every string is quoted as JSON, which YAML reads. */
export function prometheusRules(options: RuleOptions = {}): string {
  const rules = rulesOf(options).map(({ alert, expr, for: lasting, severity, summary }) =>
    [
      `      - alert: ${alert}`,
      `        expr: ${JSON.stringify(expr)}`,
      `        for: ${lasting}`,
      `        labels:`,
      `          severity: ${severity}`,
      `        annotations:`,
      `          summary: ${JSON.stringify(summary)}`,
    ].join('\n'),
  );
  return `groups:\n  - name: belay\n    rules:\n${rules.join('\n')}\n`;
}

interface Panel {
  readonly title: string;
  readonly kind: 'stat' | 'timeseries' | 'table';
  readonly expr: string;
  readonly legend?: string;
  readonly unit?: string;
  /** Columns of 24. */
  readonly width: number;
}

const selected = '{campaign=~"$campaign"}';
const panels: readonly Panel[] = [
  { title: 'Step', kind: 'stat', expr: `${m('belay_campaign_step')}${selected}`, width: 4 },
  { title: 'Loss', kind: 'stat', expr: `${m('belay_campaign_loss')}${selected}`, width: 4 },
  {
    title: 'Goodput',
    kind: 'stat',
    unit: 'percentunit',
    expr: `${m('belay_campaign_goodput_ratio')}${selected}`,
    width: 4,
  },
  {
    title: 'Since the last step',
    kind: 'stat',
    unit: 's',
    expr: `time() - ${m('belay_campaign_last_step_timestamp_seconds')}${selected}`,
    width: 4,
  },
  {
    title: 'Since the last checkpoint',
    kind: 'stat',
    unit: 's',
    expr: `time() - ${m('belay_campaign_last_checkpoint_timestamp_seconds')}${selected}`,
    width: 4,
  },
  { title: 'Failures', kind: 'stat', expr: `${m('belay_campaign_failures_total')}${selected}`, width: 4 },
  { title: 'Loss', kind: 'timeseries', expr: `${m('belay_campaign_loss')}${selected}`, width: 12 },
  {
    title: 'Tokens per second',
    kind: 'timeseries',
    expr: `${m('belay_campaign_tokens_per_second')}${selected}`,
    width: 12,
  },
  { title: 'Step', kind: 'timeseries', expr: `${m('belay_campaign_step')}${selected}`, width: 12 },
  {
    title: 'Goodput',
    kind: 'timeseries',
    unit: 'percentunit',
    expr: `${m('belay_campaign_goodput_ratio')}${selected}`,
    width: 12,
  },
  {
    title: 'Nodes by state',
    kind: 'timeseries',
    expr: `${m('belay_campaign_nodes')}${selected}`,
    legend: '{{campaign}} {{state}}',
    width: 12,
  },
  {
    title: 'Lost steps and starts',
    kind: 'timeseries',
    expr: `${m('belay_campaign_lost_steps_total')}${selected} or ${m('belay_campaign_attempts_total')}${selected}`,
    legend: '{{__name__}} {{campaign}}',
    width: 12,
  },
  { title: 'Alerts', kind: 'table', expr: `${m('belay_campaign_alert_firing')}${selected}`, width: 24 },
];

/** A dashboard for Grafana 9 and later, to be imported; the data source is asked for. */
export function grafanaDashboard(): Json {
  const input = 'DS_PROMETHEUS';
  const datasource = { type: 'prometheus', uid: `\${${input}}` };
  let x = 0;
  let y = 0;
  const height = ({ kind }: Panel): number => (kind === 'stat' ? 4 : 8);
  const drawn = panels.map((panel, i) => {
    const before = panels[i - 1];
    if (before && x + panel.width > 24) {
      x = 0;
      y += height(before);
    }
    const gridPos = { x, y, w: panel.width, h: height(panel) };
    x += panel.width;
    const { title, kind, expr, legend = '{{campaign}}', unit = 'short' } = panel;
    return {
      id: i + 1,
      title,
      type: kind,
      gridPos,
      datasource,
      fieldConfig: { defaults: { unit }, overrides: [] },
      targets: [
        {
          refId: 'A',
          datasource,
          expr,
          legendFormat: legend,
          ...(kind === 'timeseries' ? {} : { instant: true }),
          ...(kind === 'table' ? { format: 'table' } : {}),
        },
      ],
    };
  });
  return {
    __inputs: [{ name: input, label: 'Prometheus', type: 'datasource', pluginId: 'prometheus' }],
    uid: 'belay-campaigns',
    title: 'belay campaigns',
    schemaVersion: 38,
    refresh: '30s',
    time: { from: 'now-24h', to: 'now' },
    templating: {
      list: [
        {
          name: 'campaign',
          type: 'query',
          datasource,
          query: { query: `label_values(${m('belay_campaign_step')}, campaign)`, refId: 'campaign' },
          includeAll: true,
          multi: true,
          refresh: 2,
          current: {},
        },
      ],
    },
    panels: drawn,
  };
}
