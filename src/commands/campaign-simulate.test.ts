// Campaigns on paper: the published 90 days, sweeps, assumptions of one's own, and what is refused.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { UserError } from '../base/errors.ts';
import { assumptionSets } from '../cluster/assumptions.ts';
import { simulationSchema } from '../cluster/simulate.ts';
import { loadAssumptions, settingsOf, simulateCampaign, simulationSvg, simulationText } from './campaign-simulate.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-simulate-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

test('70B on 4,096 GPUs takes the published 90 days under the assumptions as they stand', () => {
  const { points, assumptions } = simulateCampaign({ assume: 'apertus-70b', runs: 40 });
  const [point] = points;
  assert.ok(point);
  assert.equal(assumptions.published?.days, 90);
  assert.ok(Math.abs(point.days - 90) < 1.5, `${point.days} days`);
  // Without any trouble: 15T tokens at 723 a second on each of 4,096.
  assert.ok(Math.abs(point.settings.workSeconds / 86_400 - 58.62) < 0.01);
  // The report's 6 million GPU hours leave out failures and loading.
  const gpuHours = (point.settings.workSeconds / 3600) * 4096;
  assert.ok(Math.abs(gpuHours / 5.76e6 - 1) < 0.01, `${gpuHours}`);
});

test('every assumption has a source, and every one that is used is known', () => {
  for (const [name, { settings }] of Object.entries(assumptionSets)) {
    for (const { source } of Object.values(settings)) assert.match(source, /\S/);
    const values = Object.fromEntries(Object.entries(settings).map(([key, { value }]) => [key, value]));
    assert.ok(settingsOf(values, name).workSeconds > 0);
  }
});

test('sweeps give a point for each pair, in order; text and picture have them', () => {
  const campaign = simulateCampaign({
    assume: 'belay-here',
    runs: 3,
    sweep: [
      { name: 'nodeMtbfSeconds', values: ['16d', '64d', '256d'] },
      { name: 'spares', values: ['0', '4'] },
    ],
  });
  assert.deepEqual(
    campaign.points.map(({ at }) => [at['nodeMtbfSeconds'], at['spares']]),
    [
      ['16d', '0'],
      ['64d', '0'],
      ['256d', '0'],
      ['16d', '4'],
      ['64d', '4'],
      ['256d', '4'],
    ],
  );
  const goodputs = campaign.points.map(({ result }) => result.goodput);
  assert.ok((goodputs[0] as number) < (goodputs[2] as number));
  assert.ok((goodputs[0] as number) < (goodputs[3] as number));
  assert.equal(simulationText(campaign).split('\n').length, 4 + 6 + 1);
  const svg = simulationSvg([{ title: 'a <b>', campaign }]);
  assert.equal(svg.match(/<circle/g)?.length, 6 + 2);
  assert.match(svg, /a &#60;b&#62;/);
  assert.doesNotMatch(svg, /NaN|undefined/);
  assert.throws(() => simulationSvg([{ title: 'x', campaign: { ...campaign, sweep: [] } }]), UserError);
});

test('a file of assumptions', () => {
  const path = join(scratch, 'mine.json');
  writeFileSync(
    path,
    JSON.stringify({
      about: 'mine',
      settings: {
        workSeconds: { value: '2d', source: 'x' },
        nodes: { value: 4, source: 'x' },
        nodeMtbfSeconds: { value: '1y', source: 'x' },
        repairSeconds: { value: '1h', source: 'x' },
        detectionSeconds: { value: '30s', source: 'x' },
        restartSeconds: { value: 60, source: 'x' },
        startSeconds: { value: '1.5m', source: 'x' },
        intervalSeconds: { value: 'young', source: 'x' },
        stallSeconds: { value: 10, source: 'x' },
      },
    }),
  );
  const { points } = simulateCampaign({ assume: path, runs: 2, set: { spares: '1', linkSeconds: 'none' } });
  const { settings } = points[0] as (typeof points)[number];
  assert.deepEqual(
    [settings.workSeconds, settings.startSeconds, settings.spares, settings.linkSeconds],
    [172_800, 90, 1, null],
  );
  // sqrt(2 x 10 s x a quarter of a year), by Daly a little less.
  assert.ok(Math.abs(settings.intervalSeconds / Math.sqrt((20 * 365 * 86_400) / 4) - 1) < 0.01);
  writeFileSync(path, '{"about": "x", "settings": {"nodes": 4}}');
  assert.throws(() => loadAssumptions(path), /no set of assumptions[\s\S]*nodes/);
});

test('what is not understood is refused by name', () => {
  const refused = (set: Record<string, string>, pattern: RegExp): void =>
    assert.throws(
      () => simulateCampaign({ assume: 'apertus-70b', set, runs: 1 }),
      (error) => error instanceof UserError && pattern.test(error.message),
    );
  refused({ sparse: '3' }, /no assumption "sparse"[\s\S]*did you mean spares/);
  refused({ queueSeconds: 'soon' }, /queueSeconds is not understood[\s\S]*soon/);
  refused({ nodes: '4h' }, /nodes is not understood/);
  refused({ recovery: 'hope' }, /recovery/);
  refused({ linkSeconds: '1m' }, /linkSeconds/);
  assert.throws(() => simulateCampaign({ assume: 'apertus-7b' }), /did you mean apertus-70b/);
  const three = ['nodes', 'spares', 'stallSeconds'].map((name) => ({ name, values: [1] }));
  assert.throws(() => simulateCampaign({ assume: 'apertus-70b', sweep: three }), /at most two/);
  assert.ok(Object.keys(simulationSchema.shape).length > 15);
});
