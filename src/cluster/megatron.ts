// The argument list of Megatron-LM for one phase of a recipe: `pretrain_gpt.py` with them trains what the recipe says.
//
// Every argument says what it follows from: a key of the recipe, the launch (folders), or nothing, where Apertus and this
// house leave no choice. Arguments are those of swiss-ai/Megatron-LM (megatron/training/arguments.py): xIELU, AdEMAMix,
// Goldfish, 1-sqrt cooldowns and triggers are the fork's. docs/megatron.md compares the list with the published scripts.
//
// Does not: start anything; lay out phases (train/curriculum.ts does); know of Slurm, containers or environments.
import { join } from 'node:path/posix';
import { UserError } from '../base/errors.ts';
import type { MegatronRecipe, PretrainRecipe, Recipe } from '../base/recipe.ts';
import { checkLayout, type MegatronPhase, notesOf, phaseLayout } from './megatron-layout.ts';

export interface MegatronArgument {
  /** With its dashes. */
  readonly flag: string;
  readonly values: readonly string[];
  /** The key of the recipe it follows from, `launch`, or `always`. */
  readonly from: string;
}

/** Folders of a launch. */
export interface MegatronLaunch {
  /** Checkpoints, triggers and logs go here. */
  readonly run: string;
  /** Token files of the recipe's own groups (the folder of belay's stage `tokens`). */
  readonly tokens: string;
  /** Where Megatron keeps its sample indices; on a file system that all nodes share. */
  readonly cache: string;
  /** Tokenizer where the recipe names none. */
  readonly tokenizer: string;
  /** A checkpoint of other training to begin with, without its optimizer and random states; null: go on in `run`. */
  readonly start: string | null;
}

export interface MegatronRun {
  readonly arguments: readonly MegatronArgument[];
  /** What a person should know before starting it. */
  readonly notes: readonly string[];
}

/** The arguments of a phase. A UserError where the recipe asks for what Megatron cannot do. */
export function megatronArguments(recipe: Recipe, phase: MegatronPhase, launch: MegatronLaunch): MegatronRun {
  const { pretrain } = recipe;
  if (!pretrain) throw new UserError(`the recipe ${recipe.name} has no part "pretrain"`, { next: 'add one' });
  const layout = phaseLayout(recipe, phase.name);
  checkLayout(recipe, layout);
  const list: MegatronArgument[] = [
    ...modelArguments(recipe, phase, layout),
    ...optimizerArguments(pretrain, phase.runSteps),
    ...batchArguments(phase),
    ...scheduleArguments(phase),
    ...dataArguments(recipe, pretrain, phase, layout, launch),
    ...parallelArguments(pretrain, layout),
    ...runArguments(pretrain, phase, layout, launch),
  ];
  const given = new Map(list.map(({ flag, from }) => [flag, from]));
  for (const [name, value] of Object.entries(layout.arguments)) {
    const flag = `--${name}`;
    const from = given.get(flag);
    if (from !== undefined) {
      throw new UserError(`megatron.arguments names ${flag}, which is already said`, {
        found: `${name}: ${value}`,
        expected:
          from === 'always' || from === 'launch' ? 'one of the arguments that are not set here' : `${from} alone`,
      });
    }
    if (value !== false) list.push({ flag, values: value === true ? [] : [String(value)], from: 'megatron.arguments' });
  }
  return { arguments: list, notes: notesOf(phase, layout) };
}

function modelArguments({ model }: Recipe, phase: MegatronPhase, layout: MegatronRecipe): MegatronArgument[] {
  const from = (key: string): string => `model.${key}`;
  const activation = { xielu: 'xielu', swiglu: 'swiglu', relu2: 'squared-relu' }[model.activation];
  const list = [
    argument('num-layers', model.layers, from('layers')),
    argument('hidden-size', model.hidden, from('hidden')),
    argument('ffn-hidden-size', model.intermediate, from('intermediate')),
    argument(activation, true, from('activation')),
    argument('num-attention-heads', model.heads, from('heads')),
    argument('group-query-attention', true, from('kvHeads')),
    argument('num-query-groups', model.kvHeads, from('kvHeads')),
    argument('max-position-embeddings', model.maxPositions, from('maxPositions')),
    argument('position-embedding-type', 'rope', 'always'),
    argument('rotary-base', phase.ropeTheta, from('ropeTheta')),
    argument('normalization', 'RMSNorm', 'always'),
    argument('qk-layernorm', true, 'always'),
    // Transformer Engine's norm of heads harms convergence in old versions (gpt_layer_specs.py); Apertus took apex's.
    argument('qknorm-impl', 'apex', 'always'),
    argument('untie-embeddings-and-output-weights', true, 'always'),
    argument('disable-bias-linear', true, 'always'),
    argument('attention-dropout', 0, 'always'),
    argument('hidden-dropout', 0, 'always'),
    argument('init-method-std', model.initStd, from('initStd')),
    argument('make-vocab-size-divisible-by', layout.vocabularyMultiple, 'megatron.vocabularyMultiple'),
  ];
  // Megatron's defaults: heads share the hidden size, and 1e-5.
  if (model.headDim * model.heads !== model.hidden) list.push(argument('kv-channels', model.headDim, from('headDim')));
  if (model.rmsNormEps !== 1e-5) list.push(argument('norm-epsilon', model.rmsNormEps, from('rmsNormEps')));
  if (model.ropeScaling) {
    list.push(argument('use-rope-scaling', true, from('ropeScaling')));
    list.push(argument('rope-scaling-factor', model.ropeScaling.factor, from('ropeScaling.factor')));
  }
  return list;
}

function optimizerArguments({ optimizer, gradientClip }: PretrainRecipe, runSteps: number): MegatronArgument[] {
  const from = (key: string): string => `optimizer.${key}`;
  const list = [
    argument('optimizer', optimizer.name === 'ademamix' ? 'ademamix' : 'adam', from('name')),
    argument('adam-beta1', optimizer.beta1, from('beta1')),
    argument('adam-beta2', optimizer.beta2, from('beta2')),
    argument('weight-decay', optimizer.weightDecay, from('weightDecay')),
    argument('clip-grad', gradientClip, 'pretrain.gradientClip'),
  ];
  if (optimizer.eps !== 1e-8) list.push(argument('adam-eps', optimizer.eps, from('eps')));
  if (optimizer.name === 'ademamix') {
    const { warmupSteps } = optimizer;
    list.push(argument('ademamix-alpha', optimizer.alpha, from('alpha')));
    list.push(argument('ademamix-beta3', optimizer.beta3, from('beta3')));
    if (warmupSteps !== null) {
      const steps = warmupSteps === 'run' ? runSteps : warmupSteps;
      list.push(argument('ademamix-alpha-warmup', steps, from('warmupSteps')));
      list.push(argument('ademamix-beta3-warmup', steps, from('warmupSteps')));
    }
  }
  return list;
}

function batchArguments({ microBatchSize, batchSize, batchRamp }: MegatronPhase): MegatronArgument[] {
  const list = [
    argument('micro-batch-size', microBatchSize ?? 1, 'pretrain.microBatchSize'),
    argument('global-batch-size', batchSize, 'pretrain.batchSize'),
  ];
  if (batchRamp) {
    const { start, increment, samples } = batchRamp;
    list.push({
      flag: '--rampup-batch-size',
      values: [start, increment, samples].map(String),
      from: 'pretrain.batchRamp',
    });
  }
  return list;
}

/** Length and learning rate: in steps where all of it is whole steps of one batch, else in samples. */
function scheduleArguments({ batchSize, batchRamp, schedule }: MegatronPhase): MegatronArgument[] {
  const { style, initial, peak, final, warmup, total, cooldown = 0, cooldownShape = '1-sqrt' } = schedule;
  const inSteps = !batchRamp && [warmup, total, cooldown].every((samples) => samples % batchSize === 0);
  const unit = inSteps ? 'iters' : 'samples';
  const length = (samples: number): number => (inSteps ? samples / batchSize : samples);
  const list = [
    argument(`train-${unit}`, length(total), 'pretrain.samples'),
    argument('lr', peak, 'pretrain.peakLearningRate'),
    argument('min-lr', final, 'pretrain.finalLearningRate'),
    argument(`lr-warmup-${unit}`, length(warmup), 'pretrain.warmupSamples'),
    argument('lr-decay-style', style, 'pretrain.decay'),
  ];
  if (initial !== 0) list.push(argument('lr-warmup-init', initial, 'pretrain.initialLearningRate'));
  if (style === 'WSD') {
    list.push(argument(`lr-wsd-decay-${unit}`, length(cooldown), 'pretrain.cooldownSamples'));
    list.push(argument('lr-wsd-decay-style', cooldownShape, 'pretrain.cooldownShape'));
  }
  return list;
}

function dataArguments(
  recipe: Recipe,
  { eodLossMask, goldfish }: PretrainRecipe,
  phase: MegatronPhase,
  layout: MegatronRecipe,
  launch: MegatronLaunch,
): MegatronArgument[] {
  const groups = new Set(['train', ...(recipe.tokens?.groups ?? []).map(({ name }) => name)]);
  const prefix = (data: string): string => (groups.has(data) ? join(launch.tokens, data) : data);
  const blend = phase.mixture.flatMap(({ data, weight }) => [String(weight), prefix(data)]);
  const list = [
    {
      flag: '--data-path',
      values: phase.mixture.length === 1 ? blend.slice(1) : blend,
      from: 'pretrain.phases.mixture',
    },
    argument('data-cache-path', launch.cache, 'launch'),
    // All of the tokens are for training; belay's validation documents have a token file of their own.
    argument('split', '100,0,0', 'always'),
    argument('seq-length', phase.sequenceLength, 'pretrain.sequenceLength'),
    argument('seed', phase.seed, 'seed'),
    argument('dataloader-type', 'single', 'always'),
    argument('num-workers', layout.dataWorkers, 'megatron.dataWorkers'),
    argument('tokenizer-type', 'HuggingFaceTokenizer', 'always'),
    argument('tokenizer-model', layout.tokenizer ?? launch.tokenizer, 'megatron.tokenizer'),
  ];
  if (phase.documentMask) {
    list.push(argument('reset-position-ids', true, 'pretrain.documentMask'));
    list.push(argument('reset-attention-mask', true, 'pretrain.documentMask'));
  }
  if (eodLossMask) list.push(argument('eod-mask-loss', true, 'pretrain.eodLossMask'));
  if (goldfish) {
    list.push(argument('goldfish-loss', true, 'pretrain.goldfish'));
    list.push(argument('goldfish-k', goldfish.k, 'pretrain.goldfish.k'));
    list.push(argument('goldfish-h', goldfish.h, 'pretrain.goldfish.h'));
  }
  return list;
}

function parallelArguments({ compute }: PretrainRecipe, layout: MegatronRecipe): MegatronArgument[] {
  const from = (key: string): string => `megatron.${key}`;
  const list = [
    argument('tensor-model-parallel-size', layout.tensorParallel, from('tensorParallel')),
    argument('pipeline-model-parallel-size', layout.pipelineParallel, from('pipelineParallel')),
    argument('context-parallel-size', layout.contextParallel, from('contextParallel')),
    argument('use-distributed-optimizer', true, 'always'),
    argument('overlap-grad-reduce', true, 'always'),
    argument('overlap-param-gather', true, 'always'),
    argument('cross-entropy-loss-fusion', true, 'always'),
  ];
  if (layout.layersPerVirtualStage !== null) {
    const layers = layout.layersPerVirtualStage;
    list.push(argument('num-layers-per-virtual-pipeline-stage', layers, from('layersPerVirtualStage')));
  }
  if (layout.sequenceParallel) list.push(argument('sequence-parallel', true, from('sequenceParallel')));
  if (compute !== 'float32') list.push(argument('bf16', true, 'pretrain.compute'));
  list.push(argument('main-grads-dtype', 'fp32', 'always'));
  return list;
}

function runArguments(
  pretrain: PretrainRecipe,
  phase: MegatronPhase,
  layout: MegatronRecipe,
  launch: MegatronLaunch,
): MegatronArgument[] {
  const checkpoints = join(launch.run, 'checkpoints');
  const everySteps = layout.checkpointEverySteps ?? pretrain.checkpointEverySteps;
  if (everySteps === null) {
    throw new UserError('Megatron needs a number of steps between checkpoints', {
      found: 'pretrain.checkpointEverySteps null',
      expected: 'a number there, or in megatron.checkpointEverySteps',
    });
  }
  const list = [
    argument('save', checkpoints, 'launch'),
    argument('load', launch.start ?? checkpoints, 'launch'),
    argument('save-interval', everySteps, 'pretrain.checkpointEverySteps'),
    argument('ckpt-format', 'torch_dist', 'always'),
    argument('async-save', true, 'always'),
    argument('ckpt-fully-parallel-load', true, 'always'),
    // The schedule is what the recipe says now, not what a checkpoint remembers.
    argument('override-opt_param-scheduler', true, 'always'),
    argument('exit-signal-handler', true, 'always'),
    argument('trigger-path', join(launch.run, 'triggers'), 'launch'),
    argument('log-interval', 1, 'always'),
    argument('log-throughput', true, 'always'),
    argument('tensorboard-dir', join(launch.run, 'logging', 'tensorboard'), 'launch'),
  ];
  if (launch.start !== null) {
    list.push(argument('finetune', true, 'launch'));
    list.push(argument('no-load-rng', true, 'launch'));
  }
  if (phase.exitStep !== null) list.push(argument('exit-interval', phase.exitStep, 'pretrain.phases'));
  return list;
}

/** `--name` with a value, or none where it is true. */
function argument(name: string, value: string | number | true, from: string): MegatronArgument {
  return { flag: `--${name}`, values: value === true ? [] : [String(value)], from };
}

/** One argument a line, quoted where a shell would take it apart. */
export function argumentsText(list: readonly MegatronArgument[]): string {
  const quoted = (value: string): string =>
    /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
  return list.map(({ flag, values }) => `${[flag, ...values.map(quoted)].join(' ')}\n`).join('');
}
