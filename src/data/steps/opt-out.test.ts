import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Document } from '../../base/document.ts';
import { UserError } from '../../base/errors.ts';
import { silentLog } from '../../base/progress.ts';
import { RobotsSnapshot } from '../robots-snapshot.ts';
import { importRobots } from '../robots-store.ts';
import { isCorpusStep, type Step, type StepContext } from '../step.ts';
import { makeStep } from '../steps.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-opt-out-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const context: StepContext = { log: silentLog, seed: 28 };

async function stepOf(settings: unknown, more: Partial<StepContext> = {}): Promise<Step> {
  const step = await makeStep('opt-out', settings, { ...context, ...more });
  assert.ok(!isCorpusStep(step));
  return step;
}

function page(url: string | undefined): Document {
  return {
    id: 'x',
    text: 'text',
    ...(url === undefined ? {} : { url }),
    language: 'eng',
    source: 't',
    licence: 'unknown',
  };
}

const hosts = [
  { host: 'open.example', body: 'User-agent: *\nAllow: /\n' },
  { host: 'ai.example', body: 'User-agent: GPTBot\nUser-agent: CCBot\nDisallow: /\n' },
  { host: 'folder.example', body: 'User-agent: *\nDisallow: /private/\n' },
  { host: 'gone.example', status: 404, body: 'User-agent: *\nDisallow: /\n' },
  { host: 'down.example', status: 503 },
  { host: 'unreachable.example', status: 0 },
  // The two parsers differ: a sitemap line between agents.
  { host: 'sitemap.example', body: 'User-agent: GPTBot\nSitemap: /s\nUser-agent: *\nDisallow: /\n' },
];
const list = join(dir, 'hosts.jsonl');
writeFileSync(list, hosts.map((host) => `${JSON.stringify(host)}\n`).join(''));

async function verdict(step: Step, url: string | undefined): Promise<string> {
  const answer = await step.run(page(url));
  return 'keep' in answer ? 'keep' : `${answer.drop.reason}: ${answer.drop.detail ?? ''}`;
}

test('a page goes when its host refuses any agent, and stays where nothing is said', async () => {
  await importRobots({ store: join(dir, 'store'), date: '2025-01-31', files: [list] });
  const snapshot = new RobotsSnapshot();
  for (const { host, status = 200, body = '' } of hosts) {
    snapshot.add(`https://${host}/robots.txt`, '2025', status, Buffer.from(body));
  }
  const agents = ['GPTBot', 'CCBot', 'ClaudeBot'];
  const steps = [
    await stepOf({ agents, snapshot: join(dir, 'store') }),
    await stepOf({ agents, snapshot: list }),
    await stepOf({ agents }, { robots: snapshot }),
  ];
  for (const step of steps) {
    assert.equal(await verdict(step, 'https://open.example/a'), 'keep');
    assert.equal(await verdict(step, 'http://ai.example/a'), 'opt-out: CCBot, GPTBot');
    assert.equal(await verdict(step, 'https://folder.example/a'), 'keep');
    assert.equal(await verdict(step, 'https://folder.example/private/a'), 'opt-out: CCBot, ClaudeBot, GPTBot');
    for (const kept of ['gone', 'down', 'unreachable', 'unknown']) {
      assert.equal(await verdict(step, `https://${kept}.example/`), 'keep', kept);
    }
    assert.equal(await verdict(step, undefined), 'keep');
    assert.equal(await verdict(step, 'no address'), 'keep');
  }
});

test('the three readings', async () => {
  const ask = async (mode: string): Promise<string> =>
    verdict(await stepOf({ mode, snapshot: list, agents: ['GPTBot'] }), 'https://sitemap.example/');
  assert.equal(await ask('rfc9309'), 'opt-out: GPTBot');
  assert.equal(await ask('protego'), 'keep');
  assert.equal(await ask('strictest'), 'opt-out: GPTBot');
});

test('hosts that cannot be asked may be dropped', async () => {
  const step = await stepOf({ snapshot: list, unreachable: 'drop' });
  assert.equal(await verdict(step, 'https://down.example/'), 'robots-unreachable: ');
  assert.equal(await verdict(step, 'https://unreachable.example/'), 'robots-unreachable: ');
  assert.equal(await verdict(step, 'https://gone.example/'), 'keep');
  assert.equal(await verdict(step, 'https://unknown.example/'), 'keep');
});

test('without any robots.txt the step says what it needs', async () => {
  await assert.rejects(stepOf({}), UserError);
  await assert.rejects(stepOf({ snapshot: join(dir, 'nowhere') }), UserError);
});

test('owners who said no in another way are named as people write domains', async () => {
  const names = [
    'https://Fra.example/',
    'http://two.example:8080',
    '*.three.example',
    '.four.example',
    'bücher.example.',
  ];
  const step = await stepOf({ snapshot: list, domains: names });
  for (const host of ['fra.example', 'www.fra.example:81', 'two.example', 'a.three.example', 'four.example']) {
    assert.match(await verdict(step, `https://${host}/x`), /^opt-out-request: /, host);
  }
  assert.equal(await verdict(step, 'https://www.bücher.example/x'), 'opt-out-request: xn--bcher-kva.example');
  assert.equal(await verdict(step, 'https://www.fra.example./x'), 'opt-out-request: fra.example');
  assert.equal(await verdict(step, 'https://xfra.example/x'), 'keep');
  for (const wrong of ['https://a.example/blog', 'two words', '', 'https://', 'me@a.example', 'a.example?q']) {
    await assert.rejects(stepOf({ snapshot: list, domains: [wrong || ' '] }), /names a domain/, wrong);
  }
});

test('files forgotten for others are read again, with the same answer', async () => {
  const many = Array.from({ length: 400 }, (_, i) => ({
    host: `h${i}.example`,
    body: `User-agent: *\nDisallow: /${i}\n${'# filler filler\n'.repeat(30_000)}`.slice(0, 500_000),
  }));
  const snapshot = new RobotsSnapshot();
  for (const { host, body } of many) snapshot.add(`https://${host}/robots.txt`, '2025', 200, Buffer.from(body));
  const step = await stepOf({ agents: ['*'] }, { robots: snapshot });
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < many.length; i += 5) {
      assert.equal(await verdict(step, `https://h${i}.example/${i}`), 'opt-out: *');
      assert.equal(await verdict(step, `https://h${i}.example/x`), 'keep');
    }
  }
});
