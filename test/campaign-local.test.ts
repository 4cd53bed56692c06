// A whole campaign with the scheduler of this machine: the verbs as a person uses them, without Slurm.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { loadRecipe } from '../src/base/recipe.ts';
import type { CampaignSpecInput } from '../src/cluster/campaign-spec.ts';
import type { CampaignStatus } from '../src/cluster/campaign-status.ts';
import { runCli } from './run-cli.ts';
import { result, Runs } from './slurm/campaigns.ts';

const isLinux = existsSync('/proc/self/stat');
const needsLinux = { skip: isLinux ? false : 'the scheduler of this machine needs /proc' };
const runs = new Runs(mkdtempSync(join(tmpdir(), 'belay-local-campaign-')));
const env = { BELAY_LOCAL_SCHEDULER: join(runs.scratch, 'jobs') };

before(async () => {
  if (isLinux) await runs.prepare();
});
after(() => rmSync(runs.scratch, { recursive: true, force: true, maxRetries: 5 }));

async function campaign(
  verb: string,
  ...args: readonly string[]
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return await runCli(['campaign', verb, ...args], { env });
}

function written(name: string, spec: object): string {
  const path = join(runs.scratch, `${name}.json`);
  writeFileSync(path, JSON.stringify(spec));
  return path;
}

const few = ['pretrain.steps=20', 'pretrain.checkpointEverySteps=5'];
const specOf = (more: Partial<CampaignSpecInput> = {}): CampaignSpecInput => ({
  ...runs.spec('local', few),
  ...{ nodes: 1, tasksPerNode: 2, environment: {} },
  ...more,
});

test(
  'submitted, watched to its end, and told to other programs; the bits are those of a plain run',
  needsLinux,
  async () => {
    const dir = runs.folder('whole');
    const spec = written('whole', specOf());
    const flags = ['--out', dir, '--scheduler', 'local', '--spec', spec];
    const planned = await campaign('plan', ...flags);
    assert.equal(planned.code, 0, planned.stderr);
    assert.match(planned.stdout, /nodes +1, 2 ranks on each/);
    const shown = await campaign('submit', ...flags, '--dry-run');
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(shown.stdout, /^#!\/bin\/bash\n#SBATCH --job-name=belay-local-/);
    assert.equal(existsSync(join(dir, 'campaign')), false, 'a dry run leaves nothing');
    const together = await Promise.all([0, 1, 2].map(() => campaign('submit', ...flags, '--json')));
    const [submitted, ...refused] = together.sort((a, b) => (a.code ?? 9) - (b.code ?? 9));
    assert.equal(submitted?.code, 0, submitted?.stderr);
    for (const { code, stderr } of [...refused, await campaign('submit', ...flags)]) {
      assert.equal(code, 2);
      assert.match(stderr, /is under way/);
    }

    let status: CampaignStatus | undefined;
    for (let i = 0; i < 600 && status?.state !== 'finished'; i++) {
      await wait(200);
      const asked = await campaign('status', '--out', dir, '--json');
      assert.equal(asked.code, 0, asked.stderr);
      status = JSON.parse(asked.stdout) as CampaignStatus;
      if (status.stopped && status.stopped.by !== 'finished') break;
    }
    const logs = await campaign('logs', '--out', dir);
    assert.equal(status?.state, 'finished', `${JSON.stringify(status)}\n${logs.stdout}`);
    assert.deepEqual([status.step, status.total, status.schedulerAway], [20, 20, undefined]);
    assert.match(logs.stdout, /trained to the end/);
    assert.deepEqual(result(dir), await runs.undisturbed(few));

    const text = await campaign('status', '--out', dir);
    assert.match(text.stdout, /campaign +local \(\w{8}\): finished, trained to the end/);
    const report = await campaign('report', '--out', dir);
    assert.equal(report.code, 0, report.stderr);
    assert.match(readFileSync(join(dir, 'campaign-report.html'), 'utf8'), /<h1>/);
    const metrics = await campaign('metrics', '--out', dir);
    assert.match(metrics.stdout, /^belay_campaign_step\{campaign="local"\} 20$/m);
    const [tensorboard, wandb] = [join(runs.scratch, 'tb'), join(runs.scratch, 'wandb')];
    const exported = await campaign('export', '--out', dir, '--tensorboard', tensorboard, '--wandb', wandb);
    assert.equal(exported.code, 0, exported.stderr);
    const nothing = await campaign('submit', ...flags.slice(0, 4));
    assert.equal(nothing.code, 0, nothing.stderr);
  },
);

test(
  'what is wrong with a spec is said by the name of its field, before anything is submitted',
  needsLinux,
  async () => {
    const { memorisation: _, ...tiny } = (await loadRecipe('demo-tiny')) as unknown as Record<string, object>;
    const own = { ...tiny, data: { source: { kind: 'jsonl', paths: ['/nowhere/a.jsonl'] } } };
    const wrong: readonly (readonly [object, RegExp])[] = [
      [specOf({ nodes: { min: 3, max: 2 } }), /nodes.*min must not be above max/],
      [{ ...specOf(), node: 2 }, /unknown key "node"; did you mean "nodes"\?/],
      [specOf({ recipe: 'no-such-recipe.ts' }), /no-such-recipe/],
      [specOf({ set: ['pretrain.nosuch=1'] }), /nosuch/],
      [specOf({ set: ['pretrain.batchSize=0'] }), /pretrain\.batchSize/],
      [specOf({ site: 'nowhere' }), /nowhere/],
      [specOf({ site: 'clariden', partition: 'nosuch' }), /no partition "nosuch"/],
      [specOf({ time: '0:30' }), /warned before it starts/],
      [specOf({ time: 'soon' }), /time/],
      [specOf({ site: 'clariden', partition: 'debug', time: '12:00:00' }), /too long/],
      [specOf({ recipe: written('files', own), set: [] }), /data\.source\.paths: \/nowhere\/a\.jsonl/],
    ];
    for (const [spec, message] of wrong) {
      const dir = join(runs.scratch, 'wrong');
      const { code, stderr } = await campaign(
        'submit',
        '--out',
        dir,
        '--scheduler',
        'local',
        '--spec',
        written('wrong', spec),
      );
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
      assert.equal(existsSync(dir), false, 'nothing was made');
    }
    const none = await campaign('status', '--out', runs.scratch);
    assert.equal(none.code, 2);
    assert.match(none.stderr, /has no campaign/);
  },
);
