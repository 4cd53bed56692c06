// Conversion against state dicts that are built here, from Megatron's documented layout and nothing of ours.
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { goldenJson, goldenPath } from '../../test/golden.ts';
import { jsBackend } from '../tensor/backend-js.ts';
import { SafetensorsFile, SafetensorsWriter, writeSafetensors } from '../tensor/safetensors.ts';
import { Engine } from '../tensor/tensor.ts';
import { modelConfig, toHfConfig } from './config.ts';
import { loadHfFolder } from './hf-folder.ts';
import { type ConvertOptions, convertWeights } from './megatron-convert.ts';
import { globalLayer, type MegatronSplit, megatronTensors, paddedVocabulary } from './megatron-layout.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-megatron-'));
after(() => rmSync(scratch, { recursive: true }));
let folders = 0;
const folder = (): string => join(scratch, String(folders++));
const backend = jsBackend();

interface Sizes {
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabularySize: number;
  readonly activation?: 'xielu' | 'swiglu' | 'relu2';
}
const model = (sizes: Sizes): ReturnType<typeof modelConfig> =>
  modelConfig({
    activation: 'xielu',
    ...sizes,
    maxPositions: 64,
    ropeTheta: 10_000,
    ropeScaling: null,
    rmsNormEps: 1e-5,
    initStd: 0.02,
  });

const kinds = [
  'embed',
  'head',
  'q',
  'k',
  'v',
  'o',
  'up',
  'down',
  'attnNorm',
  'mlpNorm',
  'qNorm',
  'kNorm',
  'aP',
  'aN',
  'norm',
  'gate',
];
/** A number that says what an element is: no two elements of a model share one, and float32 holds it exactly. */
function code(kind: string, layer: number, head: number, row: number, col: number): number {
  const digits: [number, number][] = [
    [kinds.indexOf(kind), 16],
    [layer, 8],
    [head, 8],
    [row, 100],
    [col, 100],
  ];
  return digits.reduce((sum, [digit, base]) => {
    assert.ok(digit >= 0 && digit < base, `${kind} ${layer} ${head} ${row} ${col}`);
    return sum * base + digit;
  }, 0);
}
const matrix = (rows: number, cols: number, at: (row: number, col: number) => number): number[][] =>
  Array.from({ length: rows }, (_, row) => Array.from({ length: cols }, (_, col) => at(row, col)));

/** What Hugging Face expects: name -> shape and elements. */
function hfTensors(sizes: Sizes): Map<string, { shape: number[]; values: Float32Array }> {
  const { layers, hidden: D, intermediate: F, heads: H, kvHeads: K, headDim: hd, vocabularySize: V } = sizes;
  const tensors = new Map<string, { shape: number[]; values: Float32Array }>();
  const put = (name: string, shape: number[], at: (row: number, col: number) => number): void => {
    const [rows, cols] = shape.length === 2 ? shape : [1, shape[0]];
    const values = Float32Array.from(matrix(rows as number, cols as number, at).flat());
    tensors.set(name, { shape, values });
  };
  put('model.embed_tokens.weight', [V, D], (row, col) => code('embed', 0, 0, row, col));
  put('lm_head.weight', [V, D], (row, col) => code('head', 0, 0, row, col));
  put('model.norm.weight', [D], (_, col) => code('norm', 0, 0, 0, col));
  for (let i = 0; i < layers; i++) {
    const at = `model.layers.${i}`;
    for (const [kind, count] of [
      ['q', H],
      ['k', K],
      ['v', K],
    ] as const) {
      const element = (row: number, col: number): number => code(kind, i, Math.floor(row / hd), row % hd, col);
      put(`${at}.self_attn.${kind}_proj.weight`, [count * hd, D], element);
    }
    put(`${at}.self_attn.o_proj.weight`, [D, H * hd], (row, col) => code('o', i, Math.floor(col / hd), row, col % hd));
    put(`${at}.mlp.up_proj.weight`, [F, D], (row, col) => code('up', i, 0, row, col));
    put(`${at}.mlp.down_proj.weight`, [D, F], (row, col) => code('down', i, 0, row, col));
    put(`${at}.attention_layernorm.weight`, [D], (_, col) => code('attnNorm', i, 0, 0, col));
    put(`${at}.feedforward_layernorm.weight`, [D], (_, col) => code('mlpNorm', i, 0, 0, col));
    put(`${at}.self_attn.q_norm.weight`, [hd], (_, col) => code('qNorm', i, 0, 0, col));
    put(`${at}.self_attn.k_norm.weight`, [hd], (_, col) => code('kNorm', i, 0, 0, col));
    if (sizes.activation === 'swiglu') {
      put(`${at}.mlp.gate_proj.weight`, [F, D], (row, col) => code('gate', i, 0, row, col));
    }
    if ((sizes.activation ?? 'xielu') !== 'xielu') continue;
    put(`${at}.mlp.act_fn.alpha_p`, [1], () => code('aP', i, 0, 0, 0));
    put(`${at}.mlp.act_fn.alpha_n`, [1], () => code('aN', i, 0, 0, 0));
  }
  return tensors;
}

/**
 * The state dicts of all ranks, from the documentation: full matrices are made head by head and row by row, then cut.
 * Layers are dealt in order: to every pipeline rank its first virtual stage, then to every rank its second, ...
 */
function megatronFiles(
  sizes: Sizes,
  split: MegatronSplit,
  vocabularyRows: number,
): Map<string, Map<string, number[][] | number[]>> {
  const { layers, hidden: D, intermediate: F, heads: H, kvHeads: K, headDim: hd, vocabularySize: V } = sizes;
  const { tensorParallel: tp, pipelineParallel: pp } = split;
  const perStage = split.layersPerVirtualStage ?? layers / pp;
  const stages = layers / pp / perStage;
  const files = new Map<string, Map<string, number[][] | number[]>>();
  const two = (n: number): string => String(n).padStart(2, '0');
  const rank = (t: number, p: number): Map<string, number[][] | number[]> => {
    const name = pp === 1 ? `mp_rank_${two(t)}.safetensors` : `mp_rank_${two(t)}_0${two(p)}.safetensors`;
    const tensors = files.get(name) ?? new Map<string, number[][] | number[]>();
    files.set(name, tensors);
    return tensors;
  };
  const rowsOf = (full: number[][], t: number): number[][] =>
    full.slice((t * full.length) / tp, ((t + 1) * full.length) / tp);
  const colsOf = (full: number[][], t: number): number[][] =>
    full.map((row) => row.slice((t * row.length) / tp, ((t + 1) * row.length) / tp));
  const vocabulary = (kind: string): number[][] =>
    matrix(vocabularyRows, D, (row, col) => code(kind, 0, 0, Math.min(row, V - 1), col));
  let layer = 0;
  for (let stage = 0; stage < stages; stage++) {
    const prefix = stages === 1 ? '' : `model${stage}.`;
    for (let p = 0; p < pp; p++) {
      for (let local = 0; local < perStage; local++, layer++) {
        const i = layer;
        // [group][its queries, its key, its value] x head dimension rows.
        const fused: number[][] = [];
        for (let group = 0; group < K; group++) {
          for (let q = 0; q < H / K; q++) {
            fused.push(...matrix(hd, D, (row, col) => code('q', i, group * (H / K) + q, row, col)));
          }
          fused.push(...matrix(hd, D, (row, col) => code('k', i, group, row, col)));
          fused.push(...matrix(hd, D, (row, col) => code('v', i, group, row, col)));
        }
        const projection = matrix(D, H * hd, (row, col) => code('o', i, Math.floor(col / hd), row, col % hd));
        for (let t = 0; t < tp; t++) {
          const at = `${prefix}decoder.layers.${local}`;
          const put = (name: string, values: number[][] | number[]): void =>
            void rank(t, p).set(`${at}.${name}`, values);
          const vector = (kind: string, size: number): number[] =>
            matrix(1, size, (_, col) => code(kind, i, 0, 0, col)).flat();
          put('self_attention.linear_qkv.weight', rowsOf(fused, t));
          put('self_attention.linear_qkv.layer_norm_weight', vector('attnNorm', D));
          put('self_attention.q_layernorm.weight', vector('qNorm', hd));
          put('self_attention.k_layernorm.weight', vector('kNorm', hd));
          put('self_attention.linear_proj.weight', colsOf(projection, t));
          // With a gate, a rank has its rows of the gate, then the rows they multiply.
          const mlp = (kind: string): number[][] =>
            rowsOf(
              matrix(F, D, (row, col) => code(kind, i, 0, row, col)),
              t,
            );
          put('mlp.linear_fc1.weight', sizes.activation === 'swiglu' ? [...mlp('gate'), ...mlp('up')] : mlp('up'));
          put('mlp.linear_fc1.layer_norm_weight', vector('mlpNorm', D));
          put(
            'mlp.linear_fc2.weight',
            colsOf(
              matrix(D, F, (row, col) => code('down', i, 0, row, col)),
              t,
            ),
          );
          if ((sizes.activation ?? 'xielu') !== 'xielu') continue;
          put('mlp.activation_func.alpha_p', vector('aP', 1));
          put('mlp.activation_func.alpha_n', vector('aN', 1));
        }
      }
    }
  }
  for (let t = 0; t < tp; t++) {
    const first = stages === 1 ? '' : 'model0.';
    const last = stages === 1 ? '' : `model${stages - 1}.`;
    rank(t, 0).set(`${first}embedding.word_embeddings.weight`, rowsOf(vocabulary('embed'), t));
    rank(t, pp - 1).set(`${last}output_layer.weight`, rowsOf(vocabulary('head'), t));
    rank(t, pp - 1).set(
      `${last}decoder.final_layernorm.weight`,
      matrix(1, D, (_, col) => code('norm', 0, 0, 0, col)).flat(),
    );
  }
  return files;
}

function writeMegatron(dir: string, files: ReturnType<typeof megatronFiles>, sizes: Sizes): void {
  mkdirSync(dir);
  for (const [file, tensors] of files) {
    const list = [...tensors].map(([name, values]) => {
      const rows = Array.isArray(values[0]) ? (values as number[][]) : undefined;
      const shape = rows ? [rows.length, (rows[0] as number[]).length] : [values.length];
      return { name, shape, values: Float32Array.from(values.flat()) };
    });
    writeSafetensors(join(dir, file), list, 'F32', backend);
  }
  writeConfig(dir, sizes);
}

function writeConfig(dir: string, sizes: Sizes): void {
  writeFileSync(
    join(dir, 'config.json'),
    JSON.stringify(toHfConfig(model(sizes), { dtype: 'float32', eosTokenId: 2 })),
  );
}

/** All safetensors of a folder: name -> shape, dtype and stored bytes (names of Megatron files with the file in front). */
function stored(dir: string, byFile = false): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of readdirSync(dir).filter((file) => file.endsWith('.safetensors'))) {
    const file = new SafetensorsFile(join(dir, name));
    for (const [tensor, { dtype, shape, data_offsets }] of file.tensors) {
      const bytes = new Uint8Array(data_offsets[1] - data_offsets[0]);
      file.readStored(tensor, 0, bytes);
      found.set(byFile ? `${name} ${tensor}` : tensor, `${dtype} [${shape}] ${Buffer.from(bytes).toString('base64')}`);
    }
    file.close();
  }
  return found;
}

/** Shapes small enough for the codes, with a split that fits them. */
const cases = fc
  .record({
    kvHeads: fc.constantFrom(1, 2, 4),
    perGroup: fc.integer({ min: 1, max: 2 }),
    headDim: fc.constantFrom(2, 4),
    hidden: fc.integer({ min: 1, max: 12 }),
    rowsPerRank: fc.integer({ min: 1, max: 5 }),
    tensorParallel: fc.constantFrom(1, 2, 4),
    pipelineParallel: fc.constantFrom(1, 2, 3),
    layersPerStage: fc.integer({ min: 1, max: 2 }),
    stages: fc.constantFrom(1, 2),
    vocabularySize: fc.integer({ min: 1, max: 40 }),
    multiple: fc.constantFrom(1, 3, 8),
    activation: fc.constantFrom('xielu', 'xielu', 'swiglu', 'relu2'),
  })
  .map((raw) => {
    const tensorParallel = Math.min(raw.tensorParallel, raw.kvHeads);
    const stages = raw.pipelineParallel === 1 ? 1 : raw.stages;
    const layersPerStage = stages * raw.pipelineParallel > 3 ? 1 : raw.layersPerStage;
    const sizes: Sizes = {
      layers: stages * layersPerStage * raw.pipelineParallel,
      hidden: raw.hidden,
      intermediate: raw.rowsPerRank * tensorParallel,
      heads: raw.kvHeads * raw.perGroup,
      kvHeads: raw.kvHeads,
      headDim: raw.headDim,
      vocabularySize: raw.vocabularySize,
      activation: raw.activation,
    };
    const split: MegatronSplit = {
      tensorParallel,
      pipelineParallel: raw.pipelineParallel,
      layersPerVirtualStage: stages === 1 ? null : layersPerStage,
    };
    return { sizes, split, multiple: raw.multiple };
  });

test('index-coded state dicts of any split land where Hugging Face expects each element, and go back bit for bit', () => {
  fc.assert(
    fc.property(cases, ({ sizes, split, multiple }) => {
      const rows =
        Math.ceil(sizes.vocabularySize / (multiple * split.tensorParallel)) * multiple * split.tensorParallel;
      const [original, asHf, back, again] = [folder(), folder(), folder(), folder()];
      writeMegatron(original, megatronFiles(sizes, split, rows), sizes);
      const result = convertWeights(original, asHf, { from: 'megatron', to: 'hf', shardBytes: 700 });
      assert.deepEqual(result.split, split);
      assert.equal(result.vocabularyRows, rows);
      assert.deepEqual(result.replicasThatDiffer, []);
      const { where, close } = openAll(asHf);
      for (const [name, { shape, values }] of hfTensors(sizes)) {
        const file = where.get(name);
        assert.ok(file, name);
        assert.deepEqual(file.tensors.get(name)?.shape, shape, name);
        assert.deepEqual(file.read(name, backend), values, name);
      }
      const constants = sizes.activation === 'xielu' ? 2 * sizes.layers : 0;
      assert.equal(where.size, hfTensors(sizes).size + constants, 'beta and eps of each layer, and nothing else');
      close();
      convertWeights(asHf, back, { from: 'hf', to: 'megatron', split, vocabularyMultiple: multiple });
      assert.deepEqual(stored(back, true), stored(original, true));
      convertWeights(back, again, { from: 'megatron', to: 'hf' });
      assert.deepEqual(stored(again), stored(asHf));
      for (const dir of [original, asHf, back, again]) rmSync(dir, { recursive: true });
    }),
    { numRuns: 40, seed: 28 },
  );
});

function openAll(dir: string): { where: Map<string, SafetensorsFile>; close: () => void } {
  const files = readdirSync(dir)
    .filter((name) => name.endsWith('.safetensors'))
    .map((name) => new SafetensorsFile(join(dir, name)));
  const where = new Map(files.flatMap((file) => [...file.tensors.keys()].map((name) => [name, file] as const)));
  return { where, close: () => files.map((file) => file.close()) };
}

test('one split becomes another as if it had been cut so at first', () => {
  const sizes: Sizes = { layers: 6, hidden: 4, intermediate: 8, heads: 8, kvHeads: 4, headDim: 2, vocabularySize: 21 };
  const one: MegatronSplit = { tensorParallel: 4, pipelineParallel: 1, layersPerVirtualStage: null };
  const other: MegatronSplit = { tensorParallel: 2, pipelineParallel: 3, layersPerVirtualStage: 1 };
  const [from, to, expected] = [folder(), folder(), folder()];
  writeMegatron(from, megatronFiles(sizes, one, 24), sizes);
  writeMegatron(expected, megatronFiles(sizes, other, 32), sizes);
  convertWeights(from, to, { from: 'megatron', to: 'megatron', split: other, vocabularyMultiple: 16 });
  assert.deepEqual(stored(to, true), stored(expected, true));
});

test('layers of virtual stages are numbered as Megatron documents it', () => {
  // Its own examples: 8 layers on 2 ranks in 4 stages of 1, and in 2 stages of 2.
  const layersOf = (rank: number, layersPerVirtualStage: number): number[][] => {
    const split = { tensorParallel: 1, pipelineParallel: 2, layersPerVirtualStage };
    return Array.from({ length: 4 / layersPerVirtualStage }, (_, stage) =>
      Array.from({ length: layersPerVirtualStage }, (_, local) => globalLayer(8, split, rank, stage, local)),
    );
  };
  assert.deepEqual(layersOf(0, 1), [[0], [2], [4], [6]]);
  assert.deepEqual(layersOf(1, 1), [[1], [3], [5], [7]]);
  assert.deepEqual(layersOf(0, 2), [
    [0, 1],
    [4, 5],
  ]);
  assert.deepEqual(layersOf(1, 2), [
    [2, 3],
    [6, 7],
  ]);
  // The 70B run: 80 layers, 8 ranks, 2 layers a stage. Rank 3's second stage begins with layer 22.
  const split = { tensorParallel: 4, pipelineParallel: 8, layersPerVirtualStage: 2 };
  assert.equal(globalLayer(80, split, 3, 1, 0), 22);
});

test('shapes of the published models: no padding of 131,072 tokens, heads and rows of a rank', () => {
  assert.equal(paddedVocabulary(131_072, 128, 4), 131_072);
  assert.equal(paddedVocabulary(50_257, 128, 8), 51_200);
  const large = model({
    layers: 80,
    hidden: 8192,
    intermediate: 43008,
    heads: 64,
    kvHeads: 8,
    headDim: 128,
    vocabularySize: 131_072,
  });
  const tensors = megatronTensors(large, { tensorParallel: 4, pipelineParallel: 8, layersPerVirtualStage: 2 }, 131_072);
  const shape = (name: string): string => `${tensors.find((tensor) => tensor.name === name)?.shape}`;
  assert.equal(shape('model0.decoder.layers.0.self_attention.linear_qkv.weight'), '2560,8192');
  assert.equal(shape('model0.decoder.layers.0.self_attention.linear_proj.weight'), '8192,2048');
  assert.equal(shape('model0.decoder.layers.0.mlp.linear_fc2.weight'), '8192,10752');
  assert.equal(shape('model0.embedding.word_embeddings.weight'), '32768,8192');
  const elements = tensors.reduce(
    (sum, { shape: s, tensorRank }) => sum + (s.length === 2 || tensorRank === 0 ? s.reduce((a, b) => a * b, 1) : 0),
    0,
  );
  assert.equal(elements, 70_599_864_480);
});

for (const name of ['hf', 'hf-bf16']) {
  test(`${name}: to Megatron and back is the original file, tensor by tensor, and the loss is the same`, () => {
    const [middle, end] = [folder(), folder()];
    const input = goldenPath('model', name);
    const split = { tensorParallel: 2, pipelineParallel: 2, layersPerVirtualStage: null };
    convertWeights(input, middle, { from: 'hf', to: 'megatron', split });
    assert.deepEqual(readdirSync(middle).sort(), [
      'config.json',
      'mp_rank_00_000.safetensors',
      'mp_rank_00_001.safetensors',
      'mp_rank_01_000.safetensors',
      'mp_rank_01_001.safetensors',
    ]);
    const { vocabularyRows } = convertWeights(middle, end, { from: 'megatron', to: 'hf' });
    assert.equal(vocabularyRows, 256, '128 tokens are padded to a multiple of 2 x 128');
    assert.deepEqual(stored(end), stored(input));
    assert.equal(readFileSync(join(end, 'config.json'), 'utf8'), readFileSync(join(input, 'config.json'), 'utf8'));
    const loss = (dir: string): number => {
      const batch = goldenJson<{ input_ids: number[][]; labels: number[][] }>('model', 'batch.json');
      const loaded = loadHfFolder(dir, new Engine(backend), { gradients: false });
      const T = 64;
      const range = Int32Array.from({ length: T }, (_, t) => t);
      const tokens = Int32Array.from(batch.input_ids[0] as number[]);
      const input = { B: 1, T, tokens, positions: range, lo: new Int32Array(T), hi: range.map((t) => t + 1) };
      return loaded.engine.scope(() =>
        loaded.tokenLosses(input, Int32Array.from(batch.labels[0] as number[])).data.reduce((sum, x) => sum + x, 0),
      );
    };
    const before = loss(input);
    assert.ok(before > 100 && Number.isFinite(before), `${before}`);
    assert.equal(loss(end), before);
  });
}

const small: Sizes = { layers: 2, hidden: 4, intermediate: 6, heads: 4, kvHeads: 2, headDim: 2, vocabularySize: 10 };
const halves: MegatronSplit = { tensorParallel: 2, pipelineParallel: 1, layersPerVirtualStage: null };

/** A converted folder after a change to its files. */
function broken(
  change: (files: ReturnType<typeof megatronFiles>) => void,
  options: Partial<ConvertOptions> = {},
): () => void {
  const files = megatronFiles(small, halves, 16);
  change(files);
  const dir = folder();
  writeMegatron(dir, files, small);
  const out = folder();
  return () => {
    try {
      convertWeights(dir, out, { from: 'megatron', to: 'hf', ...options });
    } finally {
      assert.ok(!existsSync(out) && !existsSync(`${out}.partial`), 'nothing is left');
    }
  };
}

test('what is wrong with a Megatron folder is said', () => {
  const rank1 = 'mp_rank_01.safetensors';
  const qkv = 'decoder.layers.1.self_attention.linear_qkv.weight';
  assert.throws(
    broken((files) => void files.get(rank1)?.delete(qkv)),
    /mp_rank_01\.safetensors lacks decoder\.layers\.1\.self_attention\.linear_qkv\.weight/,
  );
  assert.throws(
    broken(
      (files) =>
        void files.get(rank1)?.set(
          qkv,
          matrix(7, 4, () => 0),
        ),
    ),
    /linear_qkv\.weight has the wrong shape[\s\S]*\[7, 4\][\s\S]*\[8, 4\] by config.json, cut as 2 tensor ranks/,
  );
  assert.throws(
    broken((files) => void files.get(rank1)?.set('decoder.layers.0.self_attention.linear_qkv.bias', [1])),
    /holds weights that this model does not have[\s\S]*linear_qkv\.bias/,
  );
  assert.throws(
    broken((files) => {
      const last = files.get(rank1);
      files.delete(rank1);
      files.set('mp_rank_02.safetensors', last as Map<string, number[][]>);
    }),
    /lacks the rank file mp_rank_01\.safetensors/,
  );
  assert.throws(
    broken((files) => files.clear()),
    /is not a Megatron folder[\s\S]*no mp_rank_/,
  );
  assert.throws(
    broken((files) => void files.get('mp_rank_00.safetensors')?.delete('embedding.word_embeddings.weight')),
    /lacks embedding\.word_embeddings\.weight/,
  );
  const noConfig = folder();
  writeMegatron(noConfig, megatronFiles(small, halves, 16), small);
  rmSync(join(noConfig, 'config.json'));
  const options = { from: 'megatron', to: 'hf' } as const;
  assert.throws(() => convertWeights(noConfig, folder(), options), /sizes of the model[\s\S]*--config FILE/);
  const fromRecipe = folder();
  convertWeights(noConfig, fromRecipe, { ...options, model: model(small) });
  const expected = { dtype: 'float32', eosTokenId: 2 } as const;
  assert.deepEqual(
    JSON.parse(readFileSync(join(fromRecipe, 'config.json'), 'utf8')),
    JSON.parse(JSON.stringify(toHfConfig(model(small), expected))),
  );
});

test('state of FP8 beside the weights is left out', () => {
  const files = megatronFiles(small, halves, 16);
  for (const tensors of files.values()) tensors.set('decoder.layers.0.mlp.linear_fc1._extra_state', [1, 2]);
  const [dir, out] = [folder(), folder()];
  writeMegatron(dir, files, small);
  convertWeights(dir, out, { from: 'megatron', to: 'hf' });
  assert.equal(stored(out).size, hfTensors(small).size + 2 * small.layers);
});

test('copies that drifted apart are reported, and rank 0 is taken', () => {
  const files = megatronFiles(small, halves, 16);
  files
    .get('mp_rank_01.safetensors')
    ?.set('decoder.layers.1.mlp.activation_func.alpha_n', [code('aN', 1, 0, 0, 0) + 8]);
  const [dir, out] = [folder(), folder()];
  writeMegatron(dir, files, small);
  const { replicasThatDiffer } = convertWeights(dir, out, { from: 'megatron', to: 'hf' });
  assert.deepEqual(replicasThatDiffer, [{ name: 'model.layers.1.mlp.act_fn.alpha_n', largest: 8 }]);
  const { where, close } = openAll(out);
  assert.equal(
    where.get('model.layers.1.mlp.act_fn.alpha_n')?.read('model.layers.1.mlp.act_fn.alpha_n', backend)[0],
    code('aN', 1, 0, 0, 0),
  );
  close();
});

test('what cannot be cut, and a Hugging Face folder that does not fit, are refused', () => {
  const input = goldenPath('model', 'hf');
  const to = (split: Partial<MegatronSplit>, from = input): (() => void) => {
    const whole = { tensorParallel: 1, pipelineParallel: 1, layersPerVirtualStage: null, ...split };
    return () => void convertWeights(from, folder(), { from: 'hf', to: 'megatron', split: whole });
  };
  assert.throws(to({ tensorParallel: 4 }), /2 key\/value heads on 4 tensor ranks/);
  assert.throws(to({ pipelineParallel: 3 }), /2 layers on 3 pipeline ranks/);
  assert.throws(to({ layersPerVirtualStage: 1 }), /virtual stages with 1 pipeline rank/);
  assert.throws(() => convertWeights(input, folder(), { from: 'hf', to: 'hf' }), /nothing to convert/);
  const full = folder();
  mkdirSync(full);
  writeFileSync(join(full, 'x'), '');
  assert.throws(() => convertWeights(input, full, { from: 'hf', to: 'megatron' }), /is not empty/);
  const other = folder();
  cpSync(input, other, { recursive: true });
  const config = JSON.parse(readFileSync(join(other, 'config.json'), 'utf8')) as object;
  writeFileSync(join(other, 'config.json'), JSON.stringify({ ...config, num_hidden_layers: 3 }));
  assert.throws(to({}, other), /lacks model\.layers\.2\.self_attn\.q_proj\.weight/);
  writeFileSync(join(other, 'config.json'), JSON.stringify({ ...config, intermediate_size: 80 }));
  assert.throws(to({}, other), /up_proj\.weight has the wrong shape[\s\S]*\[160, 64\][\s\S]*\[80, 64\]/);
});

test("an xIELU that is not Megatron's is refused", () => {
  const input = goldenPath('model', 'hf');
  const dir = folder();
  mkdirSync(dir);
  cpSync(join(input, 'config.json'), join(dir, 'config.json'));
  const file = new SafetensorsFile(join(input, 'model.safetensors'));
  const declared = [...file.tensors].map(([name, { shape, dtype }]) => ({ name, shape, dtype }));
  const writer = new SafetensorsWriter(join(dir, 'model.safetensors'), declared);
  for (const { name } of declared) {
    const values = name.endsWith('1.mlp.act_fn.beta') ? Float32Array.of(0.6) : file.read(name, backend);
    writer.write(new Uint8Array(values.buffer));
  }
  writer.commit();
  file.close();
  assert.throws(
    () => convertWeights(dir, folder(), { from: 'hf', to: 'megatron' }),
    /an xIELU that Megatron-LM does not have[\s\S]*layers\.1\.mlp\.act_fn\.beta 0\.6/,
  );
});
