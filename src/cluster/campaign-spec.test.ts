// What a campaign may say, and how what it may not is told.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCampaignSpec } from './campaign-spec.ts';

const spec = { name: 'run1', recipe: 'demo-tiny', nodes: 1, time: '10:00' };

test('what is wrong is refused by the name of its field, with what was expected', () => {
  for (const nodes of [0, -1, 2.5, '2', { min: 1 }]) {
    assert.throws(
      () => parseCampaignSpec({ ...spec, nodes }, 'here'),
      /nodes: a whole number of at least 1, or \{"min"/,
    );
  }
  assert.throws(() => parseCampaignSpec({ ...spec, nodes: { min: 3, max: 2 } }, 'here'), /min must not be above max/);
  for (const [option, why] of [
    ['--mem 0', /sbatch\.0: "--mem 0"; expected a whole option/],
    ['mem=0', /sbatch\.0: "mem=0"; expected a whole option/],
    ['-N2', /sbatch\.0: "-N2"; expected a whole option/],
    ['--job-name=mine', /sbatch\.0: --job-name is the campaign's own \(name\)/],
    ['--time=5', /sbatch\.0: --time is the campaign's own \(time\)/],
    ['--requeue', /sbatch\.0: --requeue is the campaign's own/],
  ] as const) {
    assert.throws(() => parseCampaignSpec({ ...spec, sbatch: [option] }, 'here'), why);
  }
  const further = ['--mem=0', '--exclude=n5,n6', '--exclusive', '--constructor'];
  assert.deepEqual(parseCampaignSpec({ ...spec, sbatch: further }, 'here').sbatch, further);
});
