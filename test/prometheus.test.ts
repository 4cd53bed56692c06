// Debian's Prometheus scrapes `belay campaign metrics --port` with the rules that the verb wrote: an alert fires when the
// training starts again and again without a step, another when a rank hangs, and both are over when it goes on.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { CampaignWriter, range } from './campaign-files.ts';
import { belay } from './slurm/campaigns.ts';

const isHere = spawnSync('prometheus', ['--version']).status === 0;
const scratch = mkdtempSync(join(tmpdir(), 'belay-prometheus-'));
const children: ChildProcess[] = [];
after(async () => {
  for (const child of children) {
    child.kill('SIGTERM');
    if (child.exitCode === null && child.signalCode === null)
      await new Promise((resolve) => child.on('close', resolve));
  }
  rmSync(scratch, { recursive: true });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function start(command: readonly string[]): { readonly said: () => string } {
  const [file, ...args] = command;
  const child = spawn(file as string, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => void (said += text));
  children.push(child);
  return { said: () => said };
}

test('Prometheus scrapes a campaign; alerts fire on a crash loop and on a hang, and resolve', {
  skip: !isHere && 'prometheus is not installed (apt-get install prometheus)',
  timeout: 120_000,
}, async () => {
  const campaign = new CampaignWriter(join(scratch, 'run'), {
    spec: { name: 'test', recipe: 'demo-tiny', nodes: 2, time: '10:00' },
    scheduler: 'local',
  });
  const now = Date.now() / 1000;
  const nodes = ['n1', 'n2'];
  campaign.link('0001', {
    job: { job: '11', submitted: now - 40 },
    begin: { time: now - 30, job: '11', nodes, host: 'n1' },
  });
  campaign.attempt({ from: 0, steps: range(1, 10), began: now - 25, seconds: 1 });

  const rules = join(scratch, 'belay.rules.yml');
  const made = spawnSync(belay[0] as string, [
    ...belay.slice(1),
    ...['campaign', 'metrics', '--out', campaign.dir, '--rules', rules],
  ]);
  assert.equal(made.status, 0, String(made.stderr));
  const [port, webPort] = await Promise.all([freePort(), freePort()]);
  const endpoint = start([...belay, 'campaign', 'metrics', '--out', campaign.dir, '--port', `${port}`]);
  const configuration = {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [rules],
    scrape_configs: [{ job_name: 'belay', static_configs: [{ targets: [`127.0.0.1:${port}`] }] }],
  };
  mkdirSync(join(scratch, 'tsdb'));
  // YAML reads JSON.
  writeFileSync(join(scratch, 'prometheus.yml'), JSON.stringify(configuration));
  const server = start([
    ...['prometheus', `--config.file=${join(scratch, 'prometheus.yml')}`, '--log.level=warn'],
    ...[`--storage.tsdb.path=${join(scratch, 'tsdb')}`, `--web.listen-address=127.0.0.1:${webPort}`],
  ]);

  const ask = async (path: string): Promise<unknown> => {
    try {
      const response = await fetch(`http://127.0.0.1:${webPort}/api/v1/${path}`);
      return response.ok ? ((await response.json()) as { readonly data: unknown }).data : undefined;
    } catch {
      // It is not up yet.
      return undefined;
    }
  };
  const until = async (what: string, done: () => Promise<boolean>): Promise<void> => {
    const deadline = performance.now() + 30_000;
    while (!(await done())) {
      assert.ok(performance.now() < deadline, `waited in vain for ${what}\n${server.said()}\n${endpoint.said()}`);
      await wait(100);
    }
  };
  const sampleOf = async (name: string): Promise<number | undefined> => {
    const data = (await ask(`query?query=${name}`)) as { readonly result: readonly { value: [number, string] }[] };
    const [sample] = data?.result ?? [];
    return sample && Number(sample.value[1]);
  };
  const firing = async (): Promise<string[] | undefined> => {
    const data = (await ask('alerts')) as {
      readonly alerts: readonly { state: string; labels: Record<string, string>; annotations: { summary: string } }[];
    };
    return data?.alerts.filter(({ state }) => state === 'firing').map(({ annotations }) => annotations.summary);
  };
  const fires = async (pattern: RegExp): Promise<boolean> =>
    ((await firing()) ?? []).some((each) => pattern.test(each));

  await until('the step', async () => (await sampleOf('belay_campaign_step')) === 10);
  assert.equal(await sampleOf('up'), 1);
  // Two more scrapes, for a rise is told from what was before.
  await wait(2000);
  assert.deepEqual(await firing(), []);

  for (let i = 0; i < 4; i++) campaign.attempt({ from: 10, steps: [], began: now + i, seconds: 1 });
  await until(
    'the crash loop',
    async () => await fires(/^Campaign test started \S+ times in an hour and came no further$/),
  );
  const hang = { time: now, event: 'hang', rank: 1, node: 'n2' };
  campaign.line('campaign/alerts.jsonl', { ...hang, state: 'firing' });
  await until('the hang', async () => await fires(/^Campaign test hangs at rank 1 on n2$/));

  campaign.line('campaign/alerts.jsonl', { ...hang, state: 'resolved' });
  campaign.attempt({ from: 10, steps: range(11, 20), began: now + 5, seconds: 0.1 });
  await until('the end of the alerts', async () => (await firing())?.length === 0);
  assert.equal(await sampleOf('belay_campaign_step'), 20);
});
