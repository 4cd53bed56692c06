// `belay render megatron RECIPE`: a recipe as the argument list of Megatron-LM.
//
// A Megatron run has one schedule, counted from its first sample. So phases that share the recipe's schedule are one run,
// stopped and started again with other data; a phase with an optimizer and a schedule of its own is a run of its own.
//
// Does not: word arguments; cluster/megatron.ts does.
import { join } from 'node:path';
import { buildCommand, buildRouteMap } from '@stricli/core';
import { writeFileAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { loadRecipe, type PretrainRecipe, type Recipe, recipePart, setInRecipe } from '../base/recipe.ts';
import { argumentsText, type MegatronArgument, megatronArguments } from '../cluster/megatron.ts';
import type { MegatronPhase } from '../cluster/megatron-layout.ts';
import { type Curriculum, curriculumOf, type Phase } from '../train/curriculum.ts';

export interface RenderMegatronOptions {
  /** The first one where it is not given. */
  readonly phase?: string;
  /** Folder of the run. */
  readonly run?: string;
  /** Folder of belay's stage `tokens`. */
  readonly tokens?: string;
  /** Folder of Megatron's sample indices. */
  readonly cache?: string;
  /** Checkpoint folder to begin with. */
  readonly start?: string;
}

export interface RenderedMegatron {
  readonly recipe: string;
  readonly phase: string;
  readonly arguments: readonly MegatronArgument[];
  readonly notes: readonly string[];
}

/** The arguments of one phase of a recipe. */
export function renderMegatron(recipe: Recipe, options: RenderMegatronOptions = {}): RenderedMegatron {
  const pretrain = recipePart(recipe, 'pretrain');
  if (pretrain.phases.length === 0 && pretrain.steps === null && pretrain.samples === null) {
    throw new UserError(`the length of ${recipe.name} is not known before it runs`, {
      found: `pretrain.minutes ${pretrain.minutes}`,
      expected: 'pretrain.steps, pretrain.samples or phases',
      next: 'give it with --set pretrain.steps=N',
    });
  }
  const curriculum = curriculumOf(pretrain, recipe.seed);
  const names = curriculum.phases.map(({ name }) => name);
  const phase = curriculum.phases.find(({ name }) => name === (options.phase ?? names[0]));
  if (!phase) {
    throw new UserError(`the recipe ${recipe.name} has no phase "${options.phase}"`, { expected: names.join(', ') });
  }
  const own = isOwnRun(pretrain, phase);
  const run = options.run ?? join('out', recipe.name);
  const launch = {
    run: own ? join(run, phase.name) : run,
    tokens: options.tokens ?? 'tokens',
    cache: options.cache ?? join(run, 'cache'),
    tokenizer: 'tokenizer',
    start: options.start ?? null,
  };
  const rendered = megatronArguments(recipe, phaseFacts(recipe, pretrain, curriculum, phase), launch);
  const notes = [...rendered.notes, ...notesOn(phase, own, options.start !== undefined)];
  return { recipe: recipe.name, phase: phase.name, arguments: rendered.arguments, notes };
}

/** Whether a phase is a Megatron run of its own; a UserError where Megatron has no way to follow it. */
function isOwnRun(pretrain: PretrainRecipe, phase: Phase): boolean {
  const own = pretrain.phases[phase.index]?.learningRate != null;
  if (own !== phase.resetOptimizer) {
    throw new UserError(`Megatron cannot follow phase ${phase.name}`, {
      found: own
        ? 'a learning rate of its own, and the optimizer of the phase before'
        : 'the learning rate of the run, and an optimizer that begins anew',
      expected: 'both of its own or both of the run: a Megatron run has one schedule, counted from its first sample',
    });
  }
  const before = pretrain.phases.slice(0, phase.index).find(({ learningRate }) => learningRate !== null);
  if (!own && before) {
    throw new UserError(`Megatron cannot follow phase ${phase.name}`, {
      found: `the learning rate of the run after phase ${before.name}, which has its own`,
      expected: 'phases with learning rates of their own at the end',
    });
  }
  return own;
}

function phaseFacts(recipe: Recipe, pretrain: PretrainRecipe, curriculum: Curriculum, phase: Phase): MegatronPhase {
  const worded = pretrain.phases[phase.index];
  const own = worded?.learningRate != null;
  const shared = curriculum.phases.filter(({ index }) => pretrain.phases[index]?.learningRate == null);
  const last = own || shared.at(-1) === phase;
  return {
    name: phase.name,
    mixture: phase.mixture,
    seed: phase.seed,
    sequenceLength: phase.sequenceLength,
    ropeTheta: phase.ropeTheta ?? recipe.model.ropeTheta,
    documentMask: phase.documentMask,
    microBatchSize: phase.microBatchSize,
    batchSize: worded?.batchSize ?? pretrain.batchSize,
    batchRamp: worded?.batchSize == null ? pretrain.batchRamp : null,
    schedule: curriculum.scheduleOf(phase),
    exitStep: last ? null : phase.startStep + phase.steps,
    runSteps: own ? phase.steps : shared.reduce((sum, { steps }) => sum + steps, 0),
    devices: worded?.devices ?? recipe.hardware?.devices ?? null,
  };
}

function notesOn(phase: Phase, own: boolean, hasStart: boolean): string[] {
  if (own && !hasStart) {
    return [`phase ${phase.name} begins with the weights of other training: give --start DIR for its first job`];
  }
  if (!own && phase.startSample > 0) {
    return [
      `Megatron reads on at sample ${phase.startSample.toLocaleString('en')} of the phase's data order; belay begins at ${phase.dataStart.toLocaleString('en')}`,
    ];
  }
  return [];
}

interface Flags extends RenderMegatronOptions {
  readonly set?: readonly string[];
  readonly out?: string;
  readonly json: boolean;
}

const megatron = buildCommand<Flags, [string]>({
  docs: {
    brief: 'the argument list of Megatron-LM',
    fullDescription: `Prints the arguments of pretrain_gpt.py, one a line, that train a phase of a recipe with Megatron-LM (the fork
swiss-ai/Megatron-LM, which has Apertus' activation, optimizer and masks). The recipe's part "megatron" says how the model
is cut. docs/megatron.md compares the list with the published scripts.

EXAMPLE
  belay render megatron apertus-70b
  belay render megatron apertus-8b-long-context --phase 16k --start /checkpoints/8k --json`,
  },
  parameters: {
    flags: {
      phase: { kind: 'parsed', parse: String, brief: 'name of a phase (default: the first)', optional: true },
      run: { kind: 'parsed', parse: String, brief: 'folder of the run (default: out/NAME)', optional: true },
      tokens: {
        kind: 'parsed',
        parse: String,
        brief: 'folder of the token files that belay packed (default: tokens)',
        optional: true,
      },
      cache: {
        kind: 'parsed',
        parse: String,
        brief: "folder of Megatron's sample indices (default: cache in the run)",
        optional: true,
      },
      start: {
        kind: 'parsed',
        parse: String,
        brief: 'begin with the weights of this checkpoint folder, without its optimizer',
        optional: true,
      },
      set: {
        kind: 'parsed',
        parse: String,
        brief: 'change a value of the recipe: path=value; may be repeated',
        variadic: true,
        optional: true,
      },
      out: { kind: 'parsed', parse: String, brief: 'write to this file instead', optional: true },
      json: { kind: 'boolean', brief: 'one JSON object: what each argument follows from, and notes', default: false },
    },
    positional: {
      kind: 'tuple',
      parameters: [
        { parse: String, brief: 'a recipe: .ts, .js or .json, or the name of a shipped one', placeholder: 'RECIPE' },
      ],
    },
  },
  async func({ set, out, json, ...options }, path) {
    const loaded = await loadRecipe(path);
    const rendered = renderMegatron(set ? setInRecipe(loaded, set) : loaded, options);
    const text = json ? `${JSON.stringify(rendered)}\n` : argumentsText(rendered.arguments);
    if (!json) for (const note of rendered.notes) process.stderr.write(`note: ${note}\n`);
    if (out === undefined) process.stdout.write(text);
    else writeFileAtomic(out, text);
  },
});

export const command = buildRouteMap({
  routes: { megatron },
  docs: {
    brief: "a recipe in another program's words: the argument list of Megatron-LM",
    fullDescription: 'EXAMPLE\n  belay render megatron apertus-70b',
  },
});
