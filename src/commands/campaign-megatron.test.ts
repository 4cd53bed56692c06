// Campaigns with Megatron before anything is submitted: what `plan` tells, what tasks would run, what is refused.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runCli } from '../../test/run-cli.ts';
import { loadRecipe } from '../base/recipe.ts';
import type { CampaignSpecInput } from '../cluster/campaign-spec.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-campaign-megatron-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
const code = join(scratch, 'Megatron-LM');
const data = join(scratch, 'data');

/** Apertus 70B on Clariden, with files that stand for its code and its data. */
async function spec(more: Partial<CampaignSpecInput> = {}): Promise<string> {
  mkdirSync(code, { recursive: true });
  mkdirSync(data, { recursive: true });
  writeFileSync(join(code, 'pretrain_gpt.py'), '');
  const recipe = await loadRecipe('apertus-70b');
  for (const { mixture } of recipe.pretrain?.phases ?? [])
    for (const { data: name } of mixture)
      for (const extension of ['bin', 'idx']) writeFileSync(join(data, `${name}.${extension}`), '');
  const path = join(scratch, 'campaign.json');
  const campaign: CampaignSpecInput = {
    ...{ name: 'apertus', recipe: 'apertus-70b', engine: 'megatron', site: 'clariden', partition: 'large' },
    ...{ nodes: 1024, spares: 16, megatron: { code, dataRoot: data, wandbProject: 'runs' } },
    ...more,
  };
  writeFileSync(path, JSON.stringify(campaign));
  return path;
}

const plan = async (path: string, ...args: string[]): ReturnType<typeof runCli> =>
  await runCli(['campaign', 'plan', '--spec', path, '--out', join(scratch, 'run'), ...args]);

test('the phases of Apertus 70B, and the nodes they can run on', async () => {
  const { stdout, code: exit } = await plan(await spec({ nodes: { min: 512, max: 1024 } }));
  assert.equal(exit, 0);
  assert.match(stdout, /stage-1: steps 1 to 569654 .* batches of 2048 and 4096; on 1024, 512 nodes/);
  assert.match(stdout, /stage-5: steps 1062328 to 1155828 /);
});

test('the script of a task: whole, and one that bash reads', async () => {
  const { stdout, code: exit } = await plan(await spec(), '--task', 'stage-3');
  assert.equal(exit, 0);
  execFileSync('bash', ['-n'], { input: stdout, stdio: 'pipe' });
  assert.match(stdout, /WORLD_SIZE=4096$/m);
  assert.match(stdout, /MASTER_ADDR=NODE1 /);
  assert.match(stdout, /^ {2}--exit-interval 989500 \\$/m);
  assert.match(stdout, new RegExp(`--data-path \\S+ ${data}/`));
});

test('what cannot be is refused with its name', async () => {
  const refused = async (pattern: RegExp, path: string, ...args: string[]): Promise<void> => {
    const { code: exit, stderr } = await plan(path, ...args);
    assert.equal(exit, 2);
    assert.match(stderr, pattern);
  };
  await refused(/no phase "stage-9"[\s\S]*stage-1, stage-2/, await spec(), '--task', 'stage-9');
  await refused(/on 1000 to 1000 nodes[\s\S]*1024/, await spec({ nodes: 1000 }));
  await refused(/does not say where Megatron is/, await spec({ megatron: null }));
  await refused(/mixture of phase stage-1/, await spec({ megatron: { code, dataRoot: '/nowhere' } }));
  await refused(/part "megatron" and another engine/, await spec({ engine: 'belay' }));
});
