// Rendered arguments against the published launches, and against the tables of docs/megatron.md.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runCli } from '../../test/run-cli.ts';
import { loadRecipe, parseRecipe, type Recipe, type RecipeInput } from '../base/recipe.ts';
import { packageRoot } from '../base/version.ts';
import type { MegatronArgument } from '../cluster/megatron.ts';
import { type RenderedMegatron, renderMegatron } from './render.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-render-'));
after(() => rmSync(scratch, { recursive: true }));

type Arguments = Readonly<Record<string, readonly string[]>>;
interface Launch {
  readonly recipe: string;
  readonly phase: string;
  readonly like?: string;
  readonly arguments: Readonly<Record<string, readonly string[] | null>>;
}
const published = JSON.parse(
  readFileSync(join(packageRoot, 'test', 'published', 'megatron-launches.json'), 'utf8'),
) as { folders: Record<string, string[]>; launches: Record<string, Launch> };
const page = readFileSync(join(packageRoot, 'docs', 'megatron.md'), 'utf8');

const publishedArguments = ({ like, arguments: own }: Launch): Arguments => {
  const base = like === undefined ? {} : published.launches[like]?.arguments;
  const all = Object.entries({ ...base, ...own }).filter(([, values]) => values !== null);
  return Object.fromEntries(all) as Arguments;
};
const asRecord = (list: readonly MegatronArgument[]): Arguments =>
  Object.fromEntries(list.map(({ flag, values }) => [flag, values]));

/** A launch as the fixture writes it: in folders <run>, <cache> and, where it begins with other weights, <start>. */
async function render(launch: Launch): Promise<RenderedMegatron> {
  const isLong = publishedArguments(launch)['--finetune'] !== undefined;
  const folders = { run: '<run>', cache: '<cache>', ...(isLong ? { start: '<start>' } : {}) };
  return renderMegatron(await loadRecipe(launch.recipe), { phase: launch.phase, ...folders });
}

/** Values in words: numbers by value, a missing argument as a dash, lists of data by their number. */
function worded(flag: string, values: readonly string[] | undefined): string {
  if (values === undefined) return '–';
  if (values.length === 0) return 'given';
  if (flag !== '--data-path') {
    return values.map((value) => (Number.isFinite(Number(value)) ? String(Number(value)) : value)).join(' ');
  }
  const weighted = values.length > 1 && Number.isFinite(Number(values[0]));
  if (weighted) return `${values.length / 2} names with weights`;
  return values.length === 1 ? '1 folder' : `${values.length} folders`;
}

/** Rows of the table below a heading, without its head; cells without backticks. */
function rowsBelow(heading: string): string[][] {
  const [, below = ''] = page.split(`\n### ${heading}\n`);
  const lines = (below.split('\n### ')[0] as string).split('\n').filter((line) => line.startsWith('|'));
  assert.ok(lines.length > 2, `no table below "${heading}"`);
  return lines.slice(2).map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim().replaceAll('`', '')),
  );
}

test('the differences to the published launches are those of the page, each with a reason', async () => {
  const rows = new Map<string, string[]>();
  assert.equal(Object.keys(published.launches).length, 10);
  for (const [name, launch] of Object.entries(published.launches)) {
    const theirs = publishedArguments(launch);
    const ours = asRecord((await render(launch)).arguments);
    assert.ok(Object.keys(theirs).length > 80 && Object.keys(ours).length > 80, name);
    for (const flag of [...new Set([...Object.keys(theirs), ...Object.keys(ours)])].sort()) {
      const [a, b] = [worded(flag, theirs[flag]), worded(flag, ours[flag])];
      const row = [flag, a, b].join(' | ');
      if (a !== b) rows.set(row, [...(rows.get(row) ?? []), name]);
    }
  }
  const long = Object.keys(published.launches).filter((name) => name.includes('-'));
  const computed = [...rows].map(
    ([row, names]) => `${names.join() === long.join() ? 'all long' : names.join(', ')} | ${row}`,
  );
  const listed = rowsBelow('Differences to the published scripts').map((cells) => {
    assert.equal(cells.length, 5, cells.join(' | '));
    assert.ok((cells[4] as string).length > 20, `a reason for ${cells[1]}`);
    return cells.slice(0, 4).join(' | ');
  });
  assert.deepEqual(listed.sort(), computed.sort());
});

test('the first stage names every folder of the published launches, once', async () => {
  for (const name of ['8b', '70b']) {
    const launch = published.launches[name] as Launch;
    const path = asRecord((await render(launch)).arguments)['--data-path'] as string[];
    const names = path.filter((_, i) => i % 2 === 1);
    const folders = names.flatMap((data) => published.folders[data] ?? [`${data}?`]);
    assert.deepEqual([...folders].sort(), [...(publishedArguments(launch)['--data-path'] as string[])].sort());
  }
});

/** A small recipe that can be rendered. */
function recipe(change: (input: RecipeInput) => RecipeInput = (input) => input): Recipe {
  const input: RecipeInput = {
    name: 'small',
    seed: 7,
    model: { layers: 4, hidden: 64, intermediate: 128, heads: 4, kvHeads: 2, headDim: 16, vocabularySize: 512 },
    tokens: { groups: [{ name: 'books', minTokens: 1000 }] },
    pretrain: { steps: 1000, batchSize: 8, peakLearningRate: 1e-3, compute: 'float32' },
    megatron: {},
  };
  return parseRecipe(change(structuredClone(input)), 'test');
}
const withPretrain = (own: Partial<NonNullable<RecipeInput['pretrain']>>): Recipe =>
  recipe((input) => ({ ...input, pretrain: { ...input.pretrain!, ...own } }));

test('the page says what every argument follows from', async () => {
  const rendered: MegatronArgument[] = [];
  for (const launch of Object.values(published.launches)) rendered.push(...(await render(launch)).arguments);
  const unusual = recipe((input) => ({
    ...input,
    model: { ...input.model!, headDim: 8, rmsNormEps: 1e-6, activation: 'swiglu' },
    pretrain: {
      ...input.pretrain!,
      initialLearningRate: 1e-5,
      optimizer: { name: 'adamw', eps: 1e-9 },
    },
  }));
  rendered.push(...renderMegatron(unusual).arguments);
  rendered.push(
    ...renderMegatron(recipe((input) => ({ ...input, model: { ...input.model!, activation: 'relu2' } }))).arguments,
  );
  const found = new Map<string, Set<string>>();
  for (const { flag, from } of rendered) found.set(from, (found.get(from) ?? new Set()).add(flag));
  found.delete('megatron.arguments');
  const computed = [...found].map(([from, flags]) => `${from}: ${[...flags].sort().join(', ')}`);
  const listed = rowsBelow('What an argument follows from').map(([from, flags]) => `${from}: ${flags}`);
  assert.deepEqual(listed.sort(), computed.sort());
  const keys = readFileSync(join(packageRoot, 'docs', 'recipes.md'), 'utf8');
  const unknown = [...found.keys()].filter(
    (key) => key !== 'always' && key !== 'launch' && !keys.includes(`\`${key}\``),
  );
  assert.deepEqual(unknown, []);
});

test('token files that belay packed are named by their folder, others as they are; weights as in the mixture', () => {
  const path = (mixture: { data: string; weight?: number }[]): string[] => {
    const phases = [{ name: 'one', steps: 10, mixture }];
    const { arguments: list } = renderMegatron(withPretrain({ steps: null, phases }), { tokens: 'out/x/tokens' });
    return [...(asRecord(list)['--data-path'] as string[])];
  };
  assert.deepEqual(path([{ data: 'train' }]), ['out/x/tokens/train']);
  assert.deepEqual(path([{ data: 'train', weight: 0.7 }, { data: 'books', weight: 0.3 }, { data: '/data/web' }]), [
    '0.7',
    'out/x/tokens/train',
    '0.3',
    'out/x/tokens/books',
    '1',
    '/data/web',
  ]);
});

test('whole steps of one batch are counted in steps, anything else in samples', () => {
  const lengths = (made: Recipe): Arguments =>
    Object.fromEntries(
      Object.entries(asRecord(renderMegatron(made).arguments)).filter(([flag]) =>
        /-(iters|samples|interval)$|rampup/.test(flag),
      ),
    );
  assert.deepEqual(lengths(recipe()), {
    '--train-iters': ['1000'],
    '--lr-warmup-iters': ['50'],
    '--lr-wsd-decay-iters': ['200'],
    '--save-interval': ['200'],
    '--log-interval': ['1'],
  });
  assert.deepEqual(lengths(withPretrain({ warmupSamples: 101 })), {
    '--train-samples': ['8000'],
    '--lr-warmup-samples': ['101'],
    '--lr-wsd-decay-samples': ['1600'],
    '--save-interval': ['200'],
    '--log-interval': ['1'],
  });
  const ramp = withPretrain({ steps: null, samples: 6000, batchRamp: { start: 4, increment: 4, samples: 2000 } });
  const ramped = lengths(ramp);
  assert.deepEqual(ramped['--rampup-batch-size'], ['4', '4', '2000']);
  assert.deepEqual(ramped['--train-samples'], ['6000']);
});

test('masks, optimizer and precision follow the recipe', () => {
  const given = (made: Recipe): Arguments => asRecord(renderMegatron(made).arguments);
  const usual = given(recipe());
  for (const flag of ['--reset-position-ids', '--reset-attention-mask', '--eod-mask-loss', '--goldfish-loss']) {
    assert.deepEqual(usual[flag], []);
  }
  assert.equal(usual['--bf16'], undefined);
  const off = given(withPretrain({ documentMask: false, eodLossMask: false, goldfish: null, compute: 'bfloat16' }));
  for (const flag of ['--reset-position-ids', '--reset-attention-mask', '--eod-mask-loss', '--goldfish-loss']) {
    assert.equal(off[flag], undefined, flag);
  }
  assert.deepEqual(off['--bf16'], []);
  const adamw = given(withPretrain({ optimizer: { name: 'adamw' } }));
  assert.deepEqual([adamw['--optimizer'], adamw['--adam-beta2']], [['adam'], ['0.95']]);
  assert.ok(!Object.keys(adamw).some((flag) => flag.includes('ademamix')));
  const warmed = given(withPretrain({ optimizer: { name: 'ademamix', warmupSteps: 'run' } }));
  assert.deepEqual(warmed['--ademamix-beta3-warmup'], ['1000']);
  const cold = given(withPretrain({ optimizer: { name: 'ademamix', warmupSteps: null } }));
  assert.equal(cold['--ademamix-alpha-warmup'], undefined, "Megatron's default is no warm-up");
});

test('phases of one schedule are one run that stops where the next begins; phases of their own are runs of their own', () => {
  const made = withPretrain({
    steps: null,
    phases: [
      { name: 'a', steps: 600 },
      { name: 'b', steps: 400, seed: 9, mixture: [{ data: 'books' }] },
      { name: 'c', steps: 50, sequenceLength: 512, learningRate: { peak: 1e-4, final: 1e-4 }, resetOptimizer: true },
    ],
  });
  const of = (phase: string): Arguments => asRecord(renderMegatron(made, { phase, run: 'r', tokens: 't' }).arguments);
  const [a, b, c] = [of('a'), of('b'), of('c')];
  assert.deepEqual([a['--exit-interval'], b['--exit-interval'], c['--exit-interval']], [['600'], undefined, undefined]);
  assert.deepEqual([a['--train-iters'], b['--train-iters'], c['--train-iters']], [['1000'], ['1000'], ['50']]);
  assert.deepEqual([a['--seed'], b['--seed'], c['--seed']], [['7'], ['9'], ['7']]);
  assert.deepEqual(
    [a['--save'], b['--save'], c['--save']],
    [['r/checkpoints'], ['r/checkpoints'], ['r/c/checkpoints']],
  );
  assert.deepEqual(b['--data-path'], ['t/books']);
  assert.deepEqual(c['--lr'], ['0.0001']);
  assert.match(renderMegatron(made, { phase: 'b' }).notes.join(), /reads on at sample 4,800/);
  assert.match(renderMegatron(made, { phase: 'c' }).notes.join(), /give --start DIR/);
  const started = asRecord(renderMegatron(made, { phase: 'c', start: 'r/checkpoints' }).arguments);
  assert.deepEqual([started['--load'], started['--finetune'], started['--no-load-rng']], [['r/checkpoints'], [], []]);
});

test('what Megatron cannot follow is refused', () => {
  const phase = (own: object): Recipe =>
    withPretrain({
      steps: null,
      phases: [
        { name: 'a', steps: 10 },
        { name: 'b', steps: 10, ...own },
      ],
    });
  assert.throws(
    () => renderMegatron(phase({ resetOptimizer: true }), { phase: 'b' }),
    /cannot follow phase b[\s\S]*begins anew/,
  );
  const rate = { learningRate: { peak: 1e-4 } };
  assert.throws(
    () => renderMegatron(phase(rate), { phase: 'b' }),
    /cannot follow phase b[\s\S]*optimizer of the phase before/,
  );
  const between = withPretrain({
    steps: null,
    phases: [
      { name: 'a', steps: 10, ...rate, resetOptimizer: true },
      { name: 'b', steps: 10 },
    ],
  });
  assert.throws(() => renderMegatron(between, { phase: 'b' }), /after phase a, which has its own/);
  assert.throws(() => renderMegatron(recipe(), { phase: 'x' }), /no phase "x"[\s\S]*expected: all/);
  assert.throws(() => renderMegatron(withPretrain({ steps: null, minutes: 3 })), /length of small is not known/);
  const megatron = (part: RecipeInput['megatron']): Recipe => recipe((input) => ({ ...input, megatron: part }));
  assert.throws(() => renderMegatron(megatron(undefined)), /does not say how Megatron cuts the model/);
  assert.throws(() => renderMegatron(megatron({ tensorParallel: 4 })), /2 on 4/);
  assert.throws(() => renderMegatron(megatron({ pipelineParallel: 3 })), /4 on 3/);
  assert.throws(() => renderMegatron(megatron({ layersPerVirtualStage: 2 })), /several pipeline ranks/);
  assert.throws(() => renderMegatron(megatron({ pipelineParallel: 2, layersPerVirtualStage: 3 })), /a divisor of 2/);
  assert.throws(
    () => renderMegatron(megatron({ phases: { b: { tensorParallel: 2 } } })),
    /megatron\.phases\.b[\s\S]*no phases/,
  );
  assert.throws(() => renderMegatron(megatron({ arguments: { seed: 3 } })), /names --seed[\s\S]*expected: seed alone/);
  assert.throws(
    () => renderMegatron(withPretrain({ checkpointEverySteps: null })),
    /number of steps between checkpoints/,
  );
  const scaled = recipe((input) => ({
    ...input,
    model: {
      ...input.model!,
      ropeScaling: { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 4096 },
    },
  }));
  assert.throws(() => renderMegatron(scaled), /RoPE scaling[\s\S]*1, 4, 4096/);
  assert.throws(
    () => megatron({ phases: { a: { tensorParalel: 2 } } } as RecipeInput['megatron']),
    /unknown key "tensorParalel" in megatron\.phases\.a; did you mean "tensorParallel"/,
  );
});

test('arguments of a phase are added to those of the recipe, and taken away with false', () => {
  const made = recipe((input) => ({
    ...input,
    pretrain: { ...input.pretrain!, steps: null, phases: [{ name: 'a', steps: 10 }] },
    megatron: { arguments: { x: true, y: 1, z: 'two words' }, phases: { a: { arguments: { x: false, y: 2 } } } },
  }));
  const list = renderMegatron(made).arguments.filter(({ from }) => from === 'megatron.arguments');
  assert.deepEqual(
    list.map(({ flag, values }) => [flag, ...values]),
    [
      ['--y', '2'],
      ['--z', 'two words'],
    ],
  );
});

test('a batch that does not fit the devices is noted', async () => {
  const { notes } = renderMegatron(await loadRecipe('apertus-8b'));
  assert.match(notes.join(), /first batch of the ramp, 1024 sequences, is no multiple of 2048: 512 replicas on 1024/);
  assert.deepEqual(renderMegatron(await loadRecipe('apertus-70b')).notes, []);
});

test('the command prints one argument a line, quotes for a shell, and writes a file', async () => {
  const file = join(scratch, 'arguments.txt');
  const { code, stdout, stderr } = await runCli(['render', 'megatron', 'apertus-70b', '--run', 'my run']);
  assert.equal(code, 0, stderr);
  const lines = stdout.trimEnd().split('\n');
  assert.ok(lines.length > 80 && lines.every((line) => line.startsWith('--')));
  assert.ok(lines.includes("--save 'my run/checkpoints'"));
  assert.ok(lines.includes('--rampup-batch-size 2048 2048 1072164864'));
  const written = await runCli(['render', 'megatron', 'apertus-8b', '--json', '--out', file, '--set', 'seed=5']);
  assert.deepEqual([written.code, written.stdout, written.stderr], [0, '', '']);
  const { arguments: list, notes, phase } = JSON.parse(readFileSync(file, 'utf8')) as RenderedMegatron;
  assert.equal(phase, 'stage-1');
  assert.deepEqual(
    list.find(({ flag }) => flag === '--seed'),
    { flag: '--seed', values: ['5'], from: 'seed' },
  );
  assert.equal(notes.length, 1);
});
