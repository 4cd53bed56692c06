// Pretraining as a stage: token files in, a Hugging Face folder out.
//
// Wires corpus (batches), model, optim and train; resumes from the newest whole checkpoint in its folder.
//
// Does not: choose the number of steps; budgets.ts does.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import { baseRole, enclosingArtefact, outsidePrefix } from '../base/manifest.ts';
import { recipePart } from '../base/recipe.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import { Heart } from '../cluster/health/heartbeat.ts';
import type { Json } from '../base/json.ts';
import { Apertus } from '../model/apertus.ts';
import { parameterCount, trainingFlopsPerToken } from '../model/arithmetic.ts';
import { modelConfig } from '../model/config.ts';
import { loadHfFolder, saveHfFolder } from '../model/hf-folder.ts';
import type { Group } from '../parallel/group.ts';
import { type Curriculum, curriculumOf, type Phase } from '../train/curriculum.ts';
import { earlyFiles, runFiles, train, type TrainResult } from '../train/loop.ts';
import { type Pulse, pulsePlaces } from '../train/pulse.ts';
import type { TrainingData } from '../train/step.ts';
import type { PretrainRecipe } from '../base/recipe.ts';
import { EOS } from '../tokenizer/special-tokens.ts';
import { checkIds } from './beginnings.ts';
import { makeEngine } from './engine.ts';
import type { Run } from './run-folder.ts';
import { announce, trainingOf, whatMakesBits } from './stages.ts';
import { indexCacheName, isPrefix, mixtureOf, phaseData } from './phase-data.ts';

/** The rows of a phase of pretraining; `cacheDir` keeps their order in files instead of in memory. */
export function pretrainData(tokensDir: string, recipe: PretrainRecipe, phase: Phase, cacheDir?: string): TrainingData {
  const { shards, microBatchSize, largestBatch } = phase;
  const rowsOfShard = Math.ceil(largestBatch / shards);
  const pieces = shards * (microBatchSize === null ? 1 : Math.ceil(rowsOfShard / microBatchSize));
  // Those of the step that runs, and those of the next one.
  return phaseData(mixtureOf(tokensDir, recipe, phase, cacheDir), 2 * pieces);
}

/** What a model is measured by on the way; only rank 0 does. */
export interface OnTheWay {
  /** Asked when the stage really runs, for what measures a model every `validateEverySteps` steps. */
  readonly validation: () => Promise<((model: Apertus) => number) | undefined>;
  /** When a phase is over, with the model as it is then. */
  readonly onPhaseEnd?: (model: Apertus, phase: Phase) => Promise<Readonly<Record<string, Json>>>;
}

/** Pretrains the model of the run, on the ranks there are. */
export async function pretrainStage(run: Run, onTheWay: OnTheWay): Promise<StageResult> {
  const recipe = recipePart(run.recipe, 'pretrain');
  const { model: sizes, seed } = run.recipe;
  const origin = recipe.from === null ? undefined : originOf(recipe.from);
  // Before the stage: finished work makes room when it begins.
  const unchecked = recipe.from === null ? undefined : checkIds(recipe.from, run.folder('tokenizer'));
  return await runStage({
    dir: run.folder('pretrain'),
    kind: 'model',
    version: 2,
    recipe: {
      model: sizes,
      pretrain: whatMakesBits(recipe),
      seed,
      ...origin?.hashes,
      ...outsideData(recipe),
    } as unknown as Json,
    inputs: { tokens: run.folder('tokens'), tokenizer: run.folder('tokenizer'), ...origin?.inputs },
    resumable: true,
    exclude: [...runFiles, indexCacheName],
    early: earlyFiles,
    onStart: announce(run, 'pretrain'),
    run: async (dir) => {
      if (unchecked !== undefined) {
        run.log.line(
          `pretrain: that ids of pretrain.from mean the same as those of the run is not checked: ${unchecked}`,
        );
      }
      const { model, result, curriculum } = await trainTogether(run, await run.ranks.begin(run), onTheWay);
      run.ranks.trained();
      saveHfFolder(join(dir, 'model'), model, { dtype: 'float32', eosTokenId: EOS });
      const flops = curriculum.phases.reduce(
        (sum, phase) => sum + trainingFlopsPerToken(sizes, phase.sequenceLength) * phase.samples * phase.sequenceLength,
        0,
      );
      return {
        parameters: parameterCount(sizes),
        steps: result.steps,
        tokens: result.tokens,
        loss: result.loss,
        flops,
        target: result.target,
        compute: result.compute,
      };
    },
  });
}

/** The weights that training begins with. */
function begin(model: Apertus, from: string | null, seed: number): void {
  if (from === null) {
    model.initialise(seed);
    return;
  }
  const start = loadHfFolder(from, model.engine, { gradients: false });
  const shapes = ({ parameters }: Apertus): string =>
    parameters.slices.map(({ name, shape }) => `${name} [${shape.join(', ')}]`).join('\n');
  if (shapes(start) !== shapes(model)) {
    const sizes = ({ config: c }: Apertus): string =>
      `${c.layers} layers, hidden ${c.hidden}, intermediate ${c.intermediate}, ${c.heads}/${c.kvHeads} heads of ${c.headDim}, vocabulary ${c.vocabularySize}, ${c.activation}`;
    throw new UserError(`the weights of pretrain.from do not fit the model of the recipe`, {
      found: `${sizes(start)} in ${from}`,
      expected: sizes(model),
      next: 'change model in the recipe, or begin from another folder',
    });
  }
  model.parameters.values.set(start.parameters.values);
}

/** Where weights of `pretrain.from` come from: the artefact they are part of, or else what their files hold. */
function originOf(from: string): { readonly inputs: Record<string, string>; readonly hashes: Record<string, string> } {
  const artefact = enclosingArtefact(from);
  if (artefact !== undefined) return { inputs: { [baseRole]: artefact }, hashes: {} };
  const files = readdirSync(from).filter((name) => name.endsWith('.safetensors') || name === 'config.json');
  const hashes = files.sort().map((name) => [`${outsidePrefix}${name}`, hashFile(join(from, name)).sha256]);
  return { inputs: {}, hashes: Object.fromEntries(hashes) as Record<string, string> };
}

/** What token files outside of the run hold, as far as that can be told without reading them: lengths and offsets of all documents. */
function outsideData(recipe: PretrainRecipe): Record<string, string> {
  const prefixes = recipe.phases.flatMap(({ mixture }) => mixture.map(({ data }) => data)).filter(isPrefix);
  return Object.fromEntries(prefixes.map((prefix) => [`data:${prefix}`, hashFile(`${prefix}.idx`).sha256]));
}

interface Trained {
  readonly model: Apertus;
  readonly result: TrainResult;
  readonly curriculum: Curriculum;
}

/** The part of pretraining that every rank does. In a campaign its heart beats meanwhile. */
export async function trainTogether(run: Run, group: Group, onTheWay?: OnTheWay): Promise<Trained> {
  const campaign = join(run.dir, 'campaign');
  if (!existsSync(campaign)) return await trainHere(run, group, onTheWay);
  const { rank, world } = group;
  const heart = new Heart({ dir: join(campaign, 'health'), rank, world, places: pulsePlaces });
  try {
    return await trainHere(run, group, onTheWay, heart);
  } finally {
    await heart.end();
  }
}

async function trainHere(run: Run, group: Group, onTheWay?: OnTheWay, pulse?: Pulse): Promise<Trained> {
  const recipe = recipePart(run.recipe, 'pretrain');
  const { model: sizes, seed } = run.recipe;
  const curriculum = curriculumOf(recipe, seed);
  const model = new Apertus(makeEngine(recipe.compute, run.log), modelConfig(sizes));
  const restart = (): void => begin(model, recipe.from, seed);
  restart();
  const validate = await onTheWay?.validation();
  const onPhaseEnd = onTheWay?.onPhaseEnd;
  const { shards } = curriculum.at(0).phase;
  if (group.rank === 0 && group.world > shards) {
    run.log.line(
      `pretrain: a step is cut into ${shards} shards (pretrain.shards), so ${group.world - shards} of ${group.world} ranks compute no gradients`,
    );
  }
  const dir = run.folder('pretrain');
  const result = await train({
    dir,
    model,
    group,
    openData: (phase) => pretrainData(run.folder('tokens'), recipe, phase, join(dir, indexCacheName)),
    ...trainingOf(run, recipe, curriculum),
    saving: {
      everySteps: recipe.checkpointEverySteps,
      meanSecondsBetweenFailures: recipe.meanHoursBetweenFailures * 3600,
      retention: {
        keepLast: recipe.keepCheckpoints,
        keepEverySteps: recipe.keepEverySteps,
        keepPhaseEnds: recipe.keepPhaseEnds,
      },
    },
    guard: recipe.guard,
    restart,
    normsEverySteps: recipe.normsEverySteps,
    label: 'pretrain',
    validateEverySteps: recipe.validateEverySteps,
    ...(validate ? { validate: () => validate(model) } : {}),
    ...(onPhaseEnd ? { onPhaseEnd: (phase: Phase) => onPhaseEnd(model, phase) } : {}),
    ...(pulse ? { pulse } : {}),
  });
  return { model, result, curriculum };
}
