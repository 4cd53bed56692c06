import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { CampaignWriter, eventfulCampaign, plannedLoss, range } from '../../test/campaign-files.ts';
import { type History, historyOf } from './history.ts';
import { readCampaignFiles } from './history-files.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-history-'));
after(() => rmSync(scratch, { recursive: true }));
let folders = 0;
const folder = (): string => join(scratch, `${++folders}`);
const history = (dir: string, now = 1200): History => historyOf(readCampaignFiles(dir), { now, wattsPerNode: 500 });

test('links, attempts and steps of a campaign with a bit of everything', () => {
  const { dir } = eventfulCampaign(folder());
  const { links, attempts, steps, summary, problems } = history(dir);
  assert.deepEqual(problems, []);
  assert.deepEqual(
    attempts.map(({ number, link, launch, resumedFrom, firstStep, lastStep, lostSteps, rolledBackSteps, why }) =>
      [number, link, launch, resumedFrom, firstStep, lastStep, lostSteps, rolledBackSteps, why].join(' '),
    ),
    [
      '1 0001 00 0 1 30 10 0 lost-peer (n4)',
      '2 0001 01 20 21 45 5 0 unknown',
      '3 0002 00 40 41 60 0 5 paused (save-and-exit)',
      '4 0003  60 61 70 0 0 unknown',
    ],
  );
  assert.deepEqual(
    links.map(({ name, job, nodes, why, failures, lostSteps }) => [name, job, nodes.length, why, failures, lostSteps]),
    [
      ['0001', '11', 4, 'node-failure', 1, 15],
      ['0002', '12', 3, 'time-limit', 1, 0],
      ['0003', '13', 3, 'running', 0, 0],
      ['0004', '14', 0, 'waiting', 0, 0],
    ],
  );
  const kept = steps.filter(({ fate }) => fate === 'kept').map(({ step }) => step);
  assert.deepEqual(kept, range(1, 70));
  assert.deepEqual([summary.steps, summary.lastStep], [70, 70]);
  assert.deepEqual([summary.lostSteps, summary.rolledBackSteps, summary.repeatedSteps], [15, 5, 15]);
  assert.deepEqual(summary.differingSteps, []);
  assert.deepEqual(summary.failures, 2);
  assert.equal(summary.links, 3, 'the fourth waits');
});

test('a link after which none came has the label that the scheduler gives it', () => {
  const campaign = new CampaignWriter(folder());
  const nodes = ['n1'];
  const labels = { cancelled: 'unknown', 'time-limit': 'infrastructure', 'node-failure': 'infrastructure' };
  for (const [outcome, domain] of Object.entries(labels)) {
    campaign.link('0001', {
      begin: { time: 1000, job: '1', nodes },
      accounting: { job: '1', outcome, nodes, began: 999, ended: 1020 },
    });
    const [link] = history(campaign.dir).links;
    assert.deepEqual([link?.verdict?.domain, link?.verdict?.cause, link?.ended], [domain, outcome, 1020]);
  }
  // One that was taken back never began, and has nothing to be blamed for.
  campaign.link('0002', {
    job: { job: '2', submitted: 1000 },
    accounting: { job: '2', outcome: 'cancelled', nodes: [], submitted: 1000, ended: 1020 },
  });
  const { links, summary } = history(campaign.dir);
  assert.deepEqual(
    [links[1]?.why, links[1]?.verdict, links[1]?.began, summary.links],
    ['cancelled', undefined, undefined, 1],
  );
});

test('a link that runs is not judged by a start of the training that failed in it', () => {
  const campaign = new CampaignWriter(folder());
  campaign.link('0001', {
    begin: { time: 1000, job: '1', nodes: ['n1', 'n2'] },
    'steps/00/step': { time: 1001, nodes: ['n1', 'n2'], world: 2 },
    'steps/00/end': { time: 1010, exit: 74, verdict: { domain: 'infrastructure', cause: 'lost-peer', node: 'n2' } },
  });
  const [link] = history(campaign.dir).links;
  assert.deepEqual([link?.why, link?.verdict, link?.failures], ['running', undefined, 1]);
});

test('the time of a link is split without a remainder, and allocated time is the accounting to the second', () => {
  const { dir } = eventfulCampaign(folder());
  const { links, summary } = history(dir);
  assert.deepEqual(links[0]?.seconds, {
    allocated: 90,
    starting: 10,
    useful: 40,
    lost: 15,
    rolledBack: 0,
    between: 10,
    ending: 15,
  });
  assert.deepEqual([links[0]?.beganLater, links[0]?.endedLater, links[1]?.endedLater], [1, undefined, -1]);
  for (const { seconds } of links) {
    const { allocated, ...parts } = seconds;
    const sum = Object.values(parts).reduce((all, part) => all + part, 0);
    assert.ok(Math.abs(allocated - sum) < 1e-6, `${allocated} s of ${sum} s`);
  }
  assert.equal(summary.allocatedNodeSeconds, 90 * 4 + 60 * 3 + 30 * 3);
  assert.equal(summary.usefulNodeSeconds, 40 * 4 + 20 * 1.5 * 3 + 10 * 3);
  assert.equal(summary.goodput, 280 / 630);
  assert.equal(summary.lostNodeSeconds, 60);
  assert.equal(summary.wallSeconds, 200);
  assert.equal(summary.availability, (65 + 37.5 + 10) / 200);
  assert.equal(summary.mtbfSeconds, 90);
  assert.equal(summary.energyJoules, 500 * 360 + 9000 + 500 * 90);
  assert.equal(summary.energyIsEstimate, true);
  const unknown = historyOf(readCampaignFiles(dir), { now: 1200 }).summary;
  assert.equal(unknown.energyJoules, undefined, 'without watts nothing is made up');
});

test('without accounts the files of the link say when it was, and the next link ends one that could not', () => {
  const campaign = new CampaignWriter(folder());
  campaign.link('0001', { begin: { time: '1970-01-01T00:16:40.000Z', nodes: ['a'] } });
  campaign.attempt({ from: 0, steps: range(1, 5), began: 1010, seconds: 2 });
  campaign.link('0002', { begin: { time: 1100, nodes: ['a'] }, end: { time: 1150, why: 'finished' } });
  campaign.attempt({ from: 4, steps: range(5, 8), began: 1110, seconds: 2, end: { event: 'finished', step: 8 } });
  const { links, attempts } = history(campaign.dir);
  assert.deepEqual(
    links.map(({ clock, began, ended, why }) => [clock, began, ended, why]),
    [
      ['link', 1000, 1020, 'unknown'],
      ['link', 1100, 1150, 'finished'],
    ],
  );
  assert.deepEqual(
    attempts.map(({ link, why }) => [link, why]),
    [
      ['0001', 'unknown'],
      ['0002', 'finished'],
    ],
  );
});

test('a step that was taken again with another loss is named', () => {
  const campaign = new CampaignWriter(folder());
  campaign.attempt({ from: 0, steps: range(1, 6), began: 10, seconds: 1 });
  campaign.attempt({
    from: 3,
    steps: range(4, 8),
    began: 30,
    seconds: 1,
    lossOf: (step) => plannedLoss(step) + (step === 5 ? 1e-9 : 0),
  });
  const { summary, attempts } = history(campaign.dir);
  assert.deepEqual(summary.differingSteps, [5]);
  assert.equal(summary.repeatedSteps, 3);
  assert.equal(attempts[0]?.link, undefined, 'it was started by hand');
});

test('torn, broken and missing files are named or left out, and nothing is thrown', () => {
  const { dir } = eventfulCampaign(folder());
  const whole = history(dir);
  writeFileSync(join(dir, 'campaign/links/0002/end.json'), '{"time": 11');
  writeFileSync(join(dir, 'campaign/links/0003/begin.json'), '[]');
  appendFileSync(join(dir, 'pretrain/attempts/0004/steps.jsonl'), '{"step": 71, "ti');
  appendFileSync(
    join(dir, 'pretrain/attempts/0002/steps.jsonl'),
    'null\n{"step": "x"}\n\u0000\n{"step":-1,"time":1,"seconds":1}\n',
  );
  appendFileSync(join(dir, 'pretrain/events.jsonl'), '7\n{"event":"resume","time":"never"}\n');
  const { problems, steps, links } = history(dir);
  assert.deepEqual(
    steps.map(({ step }) => step),
    whole.steps.map(({ step }) => step),
  );
  assert.equal(links[1]?.why, 'completed');
  assert.equal(links[2]?.began, undefined);
  // Without its beginning the third link has no steps, which then lie beyond the end of the second.
  assert.deepEqual([problems.length, /0002: ending is -30/.test(problems[2] ?? '')], [3, true]);
  assert.match(problems.join('\n'), /0002\/end\.json cannot be read[\s\S]*0003\/begin\.json holds no object/);
  assert.deepEqual(historyOf(readCampaignFiles(join(scratch, 'nothing')), { now: 1 }).summary.goodput, undefined);
});

test('however attempts die and resume, every step counts once and none is forgotten', () => {
  const plan = fc.array(
    fc.record({ back: fc.nat(12), length: fc.nat(15), rollback: fc.option(fc.nat(6), { nil: undefined }) }),
    { minLength: 1, maxLength: 8 },
  );
  fc.assert(
    fc.property(plan, (attempts) => {
      const campaign = new CampaignWriter(folder());
      let last = 0;
      let time = 1000;
      let computed = 0;
      for (const { back, length, rollback } of attempts) {
        const from = Math.max(0, last - back);
        const steps = range(from + 1, from + length);
        if (rollback !== undefined && length > 0) {
          const to = Math.max(from, from + length - rollback);
          steps.push(...range(to + 1, to + length));
        }
        campaign.attempt({ from, steps, began: time, seconds: 1 });
        time += steps.length + 5;
        computed += steps.length;
        last = steps.at(-1) ?? from;
      }
      const { steps, summary, attempts: seen } = history(campaign.dir);
      assert.equal(steps.length, computed);
      assert.equal(summary.steps + summary.lostSteps + summary.rolledBackSteps, computed);
      assert.deepEqual(
        steps.filter(({ fate }) => fate === 'kept').map(({ step }) => step),
        range(1, last),
      );
      assert.deepEqual(
        readCampaignFiles(campaign.dir).metrics.map(({ step }) => step),
        range(1, last),
      );
      assert.deepEqual(summary.differingSteps, []);
      assert.equal(
        seen.reduce((sum, { lostSteps, rolledBackSteps }) => sum + lostSteps + rolledBackSteps, 0),
        computed - last,
      );
    }),
    { numRuns: 60 },
  );
});
