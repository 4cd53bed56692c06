import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { CampaignWriter, eventfulCampaign, plannedLoss, range } from '../../test/campaign-files.ts';
import { historyOf } from '../cluster/history.ts';
import { readCampaignFiles } from '../cluster/history-files.ts';
import { nodeHistories } from '../cluster/node-history.ts';
import { campaignReportPage, writeCampaignReport } from './campaign-report.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-campaign-report-'));
after(() => rmSync(scratch, { recursive: true }));

function told(name: string): CampaignWriter {
  const campaign = eventfulCampaign(join(scratch, name));
  const alert = { time: '2026-01-01T00:00:00.000Z', event: 'straggler', link: '0002', rank: 1, node: 'n2' };
  campaign.line('campaign/alerts.jsonl', {
    ...alert,
    state: 'firing',
    step: 45,
    score: 0.52,
    text: 'rank 1 is <slow>',
  });
  campaign.line('campaign/alerts.jsonl', { ...alert, state: 'resolved', step: 58, score: 0.52, text: 'it keeps up' });
  return campaign;
}

test('nodes: who was slow, from when to when; who failed; once each', () => {
  const campaign = told('nodes');
  const entry = { time: '2026-01-01T00:00:00.000Z', why: '', suspicions: [] };
  campaign.line('campaign/nodes.jsonl', { ...entry, node: 'n9', verdict: 'sick' });
  campaign.line('campaign/nodes.jsonl', { ...entry, node: 'n3', verdict: 'clean' });
  const files = readCampaignFiles(campaign.dir);
  const nodes = nodeHistories(files, historyOf(files, { now: 1200 }));
  assert.deepEqual(
    nodes.map(({ node, isMarked, failures, links, vetting }) => [node, isMarked, failures, links.length, vetting]),
    [
      ['n2', true, 0, 3, undefined],
      ['n4', true, 1, 1, undefined],
      ['n1', false, 0, 3, undefined],
      ['n3', false, 0, 3, 'clean'],
    ],
  );
  assert.deepEqual(nodes[0]?.slow, [{ link: '0002', rank: 1, fromStep: 45, toStep: 58, score: 0.52 }]);
  assert.deepEqual(nodes[0]?.allocatedSeconds, 90 + 60 + 30);
});

test('the page marks the slowed node, has the numbers of the history, and nothing of it is markup of others', () => {
  const { dir } = told('page');
  const page = readFileSync(writeCampaignReport(dir, { now: 1200, wattsPerNode: 500 }), 'utf8');
  const marked = [...page.matchAll(/<tr class="marked"><td>([^<]+)<\/td><td>([^<]*)<\/td><td>([^<]*)</g)];
  assert.deepEqual(
    marked.map(([, node, mark]) => [node, mark]),
    [
      ['n2', 'slowed'],
      ['n4', 'failed'],
    ],
  );
  assert.match(marked[0]?.[3] ?? '', /rank 1 at 52 % of its peers.*from step 45 to 58 \(link 0002\)/);
  assert.match(page, /Of 4 nodes 2 stand out: n2, n4\./);
  assert.match(page, /<b>44\.4 %<\/b><span>goodput/);
  assert.match(page, /rank 1 is &#60;slow/);
  assert.equal(page.match(/<svg/g)?.length, 3);
  assert.doesNotMatch(page, /<script|<slow>|NaN|undefined|Infinity/);
  const parts = [...page.matchAll(/class="part-(useful|lost|else)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"/g)];
  assert.ok(parts.length > 6 && parts.every(([, , x, width]) => Number(x) + Number(width) <= 745));
});

test('an empty folder, a campaign that waits and one with a hundred thousand steps each have a page', () => {
  const empty = readFileSync(writeCampaignReport(join(scratch, 'empty'), { now: 1 }), 'utf8');
  assert.doesNotMatch(empty, /NaN|undefined|Infinity/);
  const waiting = new CampaignWriter(join(scratch, 'waiting'));
  waiting.link('0001', { job: { job: '1', submitted: 5 } });
  const page = readFileSync(writeCampaignReport(waiting.dir, { now: 1 }), 'utf8');
  assert.match(page, /waiting/);
  assert.doesNotMatch(page, /NaN|undefined|Infinity/);
  const files = readCampaignFiles(waiting.dir);
  const metrics = range(1, 200_000).map((step) => ({ step, loss: plannedLoss(step), secondsPerStep: 1 }));
  const long = { ...files, metrics };
  const history = historyOf(long, { now: 1 });
  assert.ok(campaignReportPage(long, history).length < 100_000);
});
