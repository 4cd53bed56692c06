import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { goldenPath } from '../../test/golden.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import { Engine } from '../tensor/tensor.ts';
import { loadHfFolder, saveHfFolder } from './hf-folder.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-hf-'));
after(() => rmSync(scratch, { recursive: true }));

test('a weight that two shards hold is refused', () => {
  const model = loadHfFolder(goldenPath('model', 'hf'), new Engine(jsBackend()));
  saveHfFolder(scratch, model, { dtype: 'float32', eosTokenId: 2, shardBytes: 1 << 12 });
  const shards = readdirSync(scratch).filter((name) => name.endsWith('.safetensors'));
  assert.ok(shards.length > 1);
  assert.deepEqual(loadHfFolder(scratch, model.engine).parameters.values, model.parameters.values);
  copyFileSync(join(scratch, shards[0] as string), join(scratch, 'again.safetensors'));
  const path = join(scratch, 'model.safetensors.index.json');
  const index = JSON.parse(readFileSync(path, 'utf8')) as { weight_map: Record<string, string> };
  writeFileSync(path, JSON.stringify({ ...index, weight_map: { ...index.weight_map, extra: 'again.safetensors' } }));
  assert.throws(() => loadHfFolder(scratch, model.engine), /holds .* twice[\s\S]*again\.safetensors/);
});
