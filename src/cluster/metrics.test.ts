import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { CampaignWriter, eventfulCampaign } from '../../test/campaign-files.ts';
import { UserError } from '../base/errors.ts';
import { packageRoot } from '../base/version.ts';
import { historyOf } from './history.ts';
import { readCampaignFiles } from './history-files.ts';
import { metricFamilies, type MetricsSource, metricsText, serveMetrics, writeMetricsFile } from './metrics.ts';
import { grafanaDashboard, prometheusRules } from './monitoring.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-metrics-'));
after(() => rmSync(scratch, { recursive: true }));

const promtool = spawnSync('promtool', ['--version']).status === 0;
const needsPromtool = { skip: !promtool && 'promtool is not installed (apt-get install prometheus)' };

function source(dir: string): MetricsSource {
  const files = readCampaignFiles(dir);
  const nodes = new Map([['idle', 3] as const, ['down', 1] as const]);
  return { files, history: historyOf(files, { now: 1200, wattsPerNode: 500 }), nodes };
}

const eventful = eventfulCampaign(join(scratch, 'eventful'));
eventful.line('pretrain/events.jsonl', { time: 1185, event: 'checkpoint', step: 65, seconds: 1 });
for (const [state, rank] of [
  ['firing', 2],
  ['firing', 3],
  ['resolved', 2],
] as const) {
  eventful.line('campaign/alerts.jsonl', { time: 1180, event: 'straggler', state, rank, node: `n${rank}` });
}

/** Samples by their text before the value; throws where a line is not of the format. */
function parse(text: string): Map<string, number> {
  assert.ok(text.endsWith('\n'));
  const samples = new Map<string, number>();
  let family = '';
  const seen = new Set<string>();
  for (const line of text.split('\n').slice(0, -1)) {
    const comment = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line);
    if (comment) {
      const [, what, name = '', rest] = comment;
      if (what === 'HELP') assert.ok(!seen.has(name), `${name} comes once, in one piece`);
      else assert.match(rest as string, /^(gauge|counter)$/);
      seen.add(name);
      family = name;
      continue;
    }
    const [, name, labels = '', value] =
      /^([a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"(?:,|(?=\})))*)\} (\S+)$/.exec(line) ?? [];
    assert.equal(name, family, line);
    assert.match(value as string, /^-?(\d[\d.e+-]*|[+-]Inf)$/, line);
    samples.set(`${name}{${labels}}`, Number(value));
  }
  return samples;
}

test('the metrics of a campaign are those of its history, in the format of Prometheus', () => {
  const samples = parse(metricsText([source(eventful.dir)]));
  const expected = {
    'belay_campaign_running{campaign="test"}': 1,
    'belay_campaign_step{campaign="test"}': 70,
    'belay_campaign_loss{campaign="test"}': 10 / 71,
    'belay_campaign_tokens_per_second{campaign="test"}': 1000,
    'belay_campaign_last_step_timestamp_seconds{campaign="test"}': 1190,
    'belay_campaign_last_checkpoint_timestamp_seconds{campaign="test"}': 1185,
    'belay_campaign_last_checkpoint_step{campaign="test"}': 65,
    'belay_campaign_goodput_ratio{campaign="test"}': 280 / 630,
    'belay_campaign_links_total{campaign="test"}': 3,
    'belay_campaign_attempts_total{campaign="test"}': 4,
    'belay_campaign_failures_total{campaign="test"}': 2,
    'belay_campaign_lost_steps_total{campaign="test"}': 15,
    'belay_campaign_nodes{campaign="test",state="idle"}': 3,
    'belay_campaign_nodes{campaign="test",state="down"}': 1,
    'belay_campaign_alerts_total{campaign="test",kind="straggler"}': 2,
    'belay_campaign_alert_firing{campaign="test",kind="straggler",rank="3",node="n3"}': 1,
    'belay_campaign_energy_joules_total{campaign="test",estimate="true"}': 500 * 450 + 9000,
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(samples.get(name), value, name);
  assert.equal([...samples.keys()].filter((name) => name.startsWith('belay_campaign_alert_firing')).length, 1);
});

test('several campaigns and odd names keep the format; what is not known is left out', () => {
  const odd = new CampaignWriter(join(scratch, 'odd'), { name: 'a "b"\\c\nd', id: 'x' });
  const text = metricsText([source(eventful.dir), source(odd.dir)]);
  const samples = parse(text);
  const label = 'campaign="a \\"b\\"\\\\c\\nd"';
  assert.equal(samples.get(`belay_campaign_step{${label}}`), 0);
  assert.equal(samples.has(`belay_campaign_loss{${label}}`), false);
  assert.equal(samples.has(`belay_campaign_goodput_ratio{${label}}`), false);
  assert.equal(text.match(/^# TYPE belay_campaign_step /gm)?.length, 1);
});

test('names follow the conventions: counters end in _total, and nothing else does; the page lists them all', () => {
  const page = readFileSync(join(packageRoot, 'docs', 'cluster.md'), 'utf8');
  for (const [name, { type, help }] of Object.entries(metricFamilies)) {
    assert.match(name, /^belay_campaign_[a-z_]+$/);
    assert.equal(type === 'counter', name.endsWith('_total'), name);
    assert.ok(help.endsWith('.'), name);
    assert.ok(page.includes(`| \`${name}\` | ${type} | ${help.slice(0, -1)} |`), name);
  }
});

test('the file for the textfile collector comes in one piece, and only under a name that is read', () => {
  const path = join(scratch, 'collector', 'belay.prom');
  writeMetricsFile(path, [source(eventful.dir)]);
  writeMetricsFile(path, [source(eventful.dir)]);
  assert.deepEqual(readdirSync(join(scratch, 'collector')), ['belay.prom']);
  assert.equal(readFileSync(path, 'utf8'), metricsText([source(eventful.dir)]));
  assert.throws(() => writeMetricsFile(join(scratch, 'belay.txt'), []), /ends in \.prom/);
});

test('campaigns of one name are told apart, or Prometheus would refuse all of them', () => {
  const twin = eventfulCampaign(join(scratch, 'twin'));
  const path = join(twin.dir, 'campaign', 'campaign.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace(/"id": ?"[^"]*"/, '"id":"zzz"'));
  const text = metricsText([source(eventful.dir), source(twin.dir)]);
  const names = text.split('\n').flatMap((line) => (line.startsWith('#') ? [] : [line.replace(/ \S+$/, '')]));
  assert.equal(new Set(names).size, names.length);
  assert.match(text, /^belay_campaign_step\{campaign="test \(zzz\)"\} 70$/m);
});

test('a file that cannot be written there is a mistake of the user', () => {
  const file = join(scratch, 'file');
  writeFileSync(file, '');
  assert.throws(() => writeMetricsFile(join(file, 'belay.prom'), []), UserError);
});

test('an alert of a link that is over does not fire for ever', () => {
  const died = eventfulCampaign(join(scratch, 'died'));
  const alert = { time: 1180, event: 'hang', state: 'firing', node: 'n1' };
  const firing = (): string[] => metricsText([source(died.dir)]).match(/^belay_campaign_alert_firing.*$/gm) ?? [];
  died.line('campaign/alerts.jsonl', { ...alert, link: '0002' });
  assert.deepEqual(firing(), []);
  died.line('campaign/alerts.jsonl', { ...alert, link: '0003' });
  assert.equal(firing().length, 1);
});

test('the endpoint answers at /metrics on this host only, and lives on when reading fails', async () => {
  let broken = false;
  const server = await serveMetrics(0, async () => {
    if (broken) throw new Error('no');
    return [source(eventful.dir)];
  });
  const { port, address } = server.address() as AddressInfo;
  assert.equal(address, '127.0.0.1');
  const ask = async (path: string, method = 'GET'): Promise<[number, string, string]> =>
    await new Promise((resolve, reject) => {
      const asking = request({ host: '127.0.0.1', port, path, method, agent: false }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (part: string) => void (body += part));
        response.on('end', () => resolve([response.statusCode ?? 0, response.headers['content-type'] ?? '', body]));
      });
      asking.on('error', reject).end();
    });
  const [status, type, body] = await ask('/metrics?x=1');
  assert.deepEqual([status, type], [200, 'text/plain; version=0.0.4; charset=utf-8']);
  assert.equal(parse(body).get('belay_campaign_step{campaign="test"}'), 70);
  assert.deepEqual((await ask('/'))[0], 404);
  assert.deepEqual((await ask('//'))[0], 404, 'what is no address is not found, and ends nothing');
  assert.deepEqual((await ask('/metrics', 'POST'))[0], 405);
  broken = true;
  assert.deepEqual((await ask('/metrics'))[0], 500);
  broken = false;
  assert.deepEqual((await ask('/metrics', 'HEAD'))[0], 200);
  await assert.rejects(
    serveMetrics(port, async () => []),
    /cannot be served[\s\S]*EADDRINUSE/,
  );
  await new Promise((resolve) => server.close(resolve));
});

const named = (text: string): string[] => [...new Set(text.match(/belay_campaign_[a-z_]+/g))];

test('rules and dashboard use metrics that exist, and the panels of the dashboard do not overlap', () => {
  const rules = prometheusRules({ noStepSeconds: 600 });
  assert.match(rules, /timestamp_seconds > 600 and on \(campaign\)/);
  assert.ok(named(rules).length >= 6);
  const dashboard = grafanaDashboard() as {
    readonly panels: { id: number; gridPos: { x: number; y: number; w: number; h: number } }[];
  };
  const known = Object.keys(metricFamilies);
  for (const name of [...named(rules), ...named(JSON.stringify(dashboard))]) assert.ok(known.includes(name), name);
  const cells = new Set<string>();
  for (const { gridPos } of dashboard.panels) {
    assert.ok(gridPos.x + gridPos.w <= 24);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        assert.ok(!cells.has(`${x} ${y}`), `two panels at ${x}, ${y}`);
        cells.add(`${x} ${y}`);
      }
    }
  }
  assert.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length);
});

function run(args: readonly string[], input = ''): string {
  const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8', input });
  assert.equal(status, 0, stdout + stderr);
  return stdout + stderr;
}

test('promtool finds no fault with the metrics and the rules', needsPromtool, () => {
  const said = run(['check', 'metrics'], metricsText([source(eventful.dir)]));
  assert.equal(said.trim(), '');
  const path = join(scratch, 'rules.yml');
  writeFileSync(path, prometheusRules());
  assert.match(run(['check', 'rules', path]), /7 rules found/);
});

test('the rules fire when they should, and only then', needsPromtool, () => {
  const path = join(scratch, 'rules-test.yml');
  writeFileSync(join(scratch, 'rules.yml'), prometheusRules());
  const series = (name: string, values: string, labels = ''): string =>
    `      - series: '${name}{campaign="c"${labels}}'\n        values: '${values}'`;
  const healthy = [
    series('belay_campaign_running', '1x300'),
    series('belay_campaign_last_step_timestamp_seconds', '0+60x300'),
    series('belay_campaign_last_checkpoint_timestamp_seconds', '0+60x300'),
    series('belay_campaign_goodput_ratio', '0.95x300'),
    series('belay_campaign_attempts_total', '1x300'),
    series('belay_campaign_step', '0+5x300'),
    series('belay_campaign_differing_steps_total', '0x300'),
  ];
  const sick = [
    series('belay_campaign_running', '1x300'),
    series('belay_campaign_last_step_timestamp_seconds', '0x300'),
    series('belay_campaign_last_checkpoint_timestamp_seconds', '0x300'),
    series('belay_campaign_goodput_ratio', '0.5x300'),
    series('belay_campaign_attempts_total', '1+1x300'),
    series('belay_campaign_step', '7x300'),
    series('belay_campaign_alert_firing', '1x300', ',kind="hang",rank="1",node="n2"'),
  ];
  const names = ['BelayNoStep', 'BelayCheckpointOld', 'BelayCrashLoop', 'BelayGoodputLow', 'BelayHang'];
  const expected = (name: string, fires: boolean): string => {
    const labels =
      name === 'BelayHang' ? '\n              kind: hang\n              rank: "1"\n              node: n2' : '';
    const severity = ['BelayCheckpointOld', 'BelayGoodputLow'].includes(name) ? 'warning' : 'critical';
    const alert = `\n          - exp_labels:\n              severity: ${severity}\n              campaign: c${labels}`;
    return `      - eval_time: 4h\n        alertname: ${name}\n        exp_alerts:${fires ? alert : ' []'}`;
  };
  const group = (input: readonly string[], fires: boolean): string =>
    `  - interval: 1m\n    input_series:\n${input.join('\n')}\n    alert_rule_test:\n${names.map((name) => expected(name, fires)).join('\n')}`;
  // promtool compares annotations too: they are taken away here.
  const bare = readFileSync(join(scratch, 'rules.yml'), 'utf8').replace(/ +annotations:\n.*\n/g, '');
  writeFileSync(join(scratch, 'bare.yml'), bare);
  writeFileSync(
    path,
    `rule_files: [bare.yml]\nevaluation_interval: 1m\ntests:\n${group(healthy, false)}\n${group(sick, true)}\n`,
  );
  assert.match(run(['test', 'rules', path]), /SUCCESS/);
});
