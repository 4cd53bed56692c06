// How Megatron-LM cuts a phase of a recipe over ranks, and whether it can.
//
// Limits are those of Megatron-LM: groups of heads and layers are shared out evenly (transformer_config.py,
// transformer_block.py), the scaling of RoPE is Llama 3's with fixed frequencies (rotary_pos_embedding.py), and a batch is
// a whole number of passes of all replicas (num_microbatches_calculator.py).
//
// Does not: word arguments; megatron.ts does.
import { UserError } from '../base/errors.ts';
import type { MegatronRecipe, PretrainRecipe, Recipe } from '../base/recipe.ts';

/** A phase of the curriculum, as its steps were laid out. */
export interface MegatronPhase {
  readonly name: string;
  readonly mixture: readonly { readonly data: string; readonly weight: number }[];
  readonly seed: number;
  readonly sequenceLength: number;
  readonly ropeTheta: number;
  readonly documentMask: boolean;
  readonly microBatchSize: number | null;
  /** Sequences per step; with a ramp those it reaches. */
  readonly batchSize: number;
  readonly batchRamp: PretrainRecipe['batchRamp'];
  /** The learning rate over the samples of Megatron's run. */
  readonly schedule: {
    readonly style: PretrainRecipe['decay'];
    readonly initial: number;
    readonly peak: number;
    readonly final: number;
    readonly warmup: number;
    readonly total: number;
    readonly cooldown?: number;
    readonly cooldownShape?: PretrainRecipe['cooldownShape'];
  };
  /** Step of Megatron's run after which the next phase begins; null where the run ends with this one. */
  readonly exitStep: number | null;
  /** Steps of the whole run, over which an optimizer warm-up of `run` lasts. */
  readonly runSteps: number;
  /** Devices it runs on, where the recipe says so. */
  readonly devices: number | null;
}

/** How the phase is cut: the recipe's own values under those of the phase. */
export function phaseLayout(recipe: Recipe, phase: string): MegatronRecipe {
  const megatron = recipe.megatron;
  if (!megatron) {
    throw new UserError(`the recipe ${recipe.name} does not say how Megatron cuts the model`, {
      expected: 'a part "megatron", e.g. megatron: { tensorParallel: 2 }',
      next: 'docs/recipes.md has its keys; recipes/apertus-8b.ts has one',
    });
  }
  const known = recipe.pretrain?.phases.map(({ name }) => name) ?? [];
  for (const name of Object.keys(megatron.phases)) {
    if (!known.includes(name)) {
      throw new UserError(`the recipe ${recipe.name} has a megatron layout for a phase it does not have`, {
        found: `megatron.phases.${name}`,
        expected: known.length > 0 ? known.join(', ') : 'no phases at all, since pretrain.phases is empty',
      });
    }
  }
  const own = megatron.phases[phase] ?? {};
  // The schema leaves out what a phase does not name, so nothing is replaced by undefined.
  return { ...megatron, ...own, arguments: { ...megatron.arguments, ...own.arguments } } as MegatronRecipe;
}

/** A UserError where Megatron cannot be told so. */
export function checkLayout({ model }: Recipe, layout: MegatronRecipe): void {
  const refuse = (what: string, found: string, expected: string): never => {
    throw new UserError(`Megatron cannot run this recipe: ${what}`, { found, expected });
  };
  const { tensorParallel: tp, pipelineParallel: pp, layersPerVirtualStage: perStage } = layout;
  if (model.kvHeads % tp !== 0) {
    refuse(
      'key/value heads are shared out over tensor ranks',
      `${model.kvHeads} on ${tp}`,
      `a divisor of ${model.kvHeads}`,
    );
  }
  if (model.layers % pp !== 0) {
    refuse('layers are shared out over pipeline ranks', `${model.layers} on ${pp}`, `a divisor of ${model.layers}`);
  }
  if (perStage !== null && (pp === 1 || (model.layers / pp) % perStage !== 0)) {
    const expected = pp === 1 ? 'several pipeline ranks' : `a divisor of ${model.layers / pp}`;
    refuse('virtual stages share out the layers of a pipeline rank', `${perStage} layers each`, expected);
  }
  const scaling = model.ropeScaling;
  if (
    scaling &&
    (scaling.lowFreqFactor !== 1 || scaling.highFreqFactor !== 4 || scaling.originalMaxPositions !== 8192)
  ) {
    const { lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
    const found = `${lowFreqFactor}, ${highFreqFactor}, ${originalMaxPositions}`;
    refuse(
      'it fixes the frequencies that RoPE scaling changes',
      found,
      'lowFreqFactor 1, highFreqFactor 4, 8192 positions',
    );
  }
}

/** Batches that do not fit the devices: Megatron would refuse them, or make them smaller. */
export function notesOf(phase: MegatronPhase, layout: MegatronRecipe): string[] {
  const { devices, batchSize, batchRamp } = phase;
  if (devices === null) return [];
  const { tensorParallel: tp, pipelineParallel: pp, contextParallel: cp } = layout;
  const replica = tp * pp * cp;
  if (devices % replica !== 0) {
    return [`${devices} devices are no whole number of model replicas of ${tp} x ${pp} x ${cp}`];
  }
  const atOnce = (phase.microBatchSize ?? 1) * (devices / replica);
  const sizes: [number, string][] = [[batchSize, 'the batch']];
  if (batchRamp) sizes.unshift([batchRamp.start, 'the first batch of the ramp']);
  return sizes
    .filter(([size]) => size % atOnce !== 0)
    .map(([size, what]) => {
      const replicas = devices / replica;
      return `${what}, ${size} sequences, is no multiple of ${atOnce}: ${replicas} replicas on ${devices} devices with ${phase.microBatchSize ?? 1} each; begin on fewer`;
    });
}
