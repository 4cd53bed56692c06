// The main line: its stages in order, what each needs, and how to run up to one of them.
//
// Every verb of a stage runs what comes before it as well; what is up to date is skipped, so this costs a glance. A
// stage whose part is missing from the recipe is left out (a recipe without `sft` releases the base model).
//
// Does not: do a stage's work; each lives in its own room or file.
import { readdirSync } from 'node:fs';
import type { Recipe, SftRecipe } from '../base/recipe.ts';
import type { StageResult } from '../base/stage.ts';
import { writeManifest } from '../base/manifest.ts';
import type { Json } from '../base/json.ts';
import { packDocuments } from '../corpus/pack.ts';
import { buildSource } from '../data/build-source.ts';
import { cleanDocuments } from '../data/clean.ts';
import { evaluateModels, readValidationDocuments, trainingUnigram } from '../evaluate/evaluate-stage.ts';
import { evaluatedModel } from '../evaluate/evaluated-model.ts';
import { type ValidationDocument, validationLoss } from '../evaluate/validation.ts';
import type { Apertus } from '../model/apertus.ts';
import { loadHfFolder } from '../model/hf-folder.ts';
import { makeConversations } from '../posttrain/conversations-stage.ts';
import { releaseModel } from '../release/export.ts';
import { curriculumOf } from '../train/curriculum.ts';
import { takeTokenizer } from '../tokenizer/taken-stage.ts';
import { trainTokenizer } from '../tokenizer/train-stage.ts';
import { checkTokenizer, checkWeights, takenTokenizer } from './beginnings.ts';
import { chooseSteps } from './budgets.ts';
import { makeEngine } from './engine.ts';
import { memorisationStage } from './memorisation-stage.ts';
import { phaseMeasurer } from './phase-losses.ts';
import { pretrainData, pretrainStage } from './pretrain-stage.ts';
import { writeReport } from './report.ts';
import { isRendezvous } from './ranks.ts';
import { lockName, planName, type Run, type StageName, stageFolders, submitLockName } from './run-folder.ts';
import { readSftData, sftCurriculum, sftStage } from './sft-stage.ts';
import { announce, timed } from './stages.ts';

interface LineStage {
  /** Stages whose folders it reads. */
  readonly needs: readonly StageName[];
  /** Whether the recipe asks for it. */
  readonly isIn: (recipe: Recipe) => boolean;
  /** Refuses what the stage could not use, before any stage runs: those before it may take days. */
  readonly check?: (recipe: Recipe, runDir: string) => void;
  readonly run: (run: Run) => Promise<StageResult>;
}

const stages: { readonly [name in StageName]: LineStage } = {
  source: {
    needs: [],
    isIn: (recipe) => recipe.data !== undefined,
    run: (run) => buildSource({ dir: run.folder('source'), recipe: run.recipe, log: run.log }),
  },
  documents: {
    needs: ['source'],
    isIn: (recipe) => recipe.data !== undefined,
    run: (run) =>
      cleanDocuments({
        dir: run.folder('documents'),
        source: run.folder('source'),
        recipe: run.recipe,
        log: run.log,
        ...run.cleaning,
      }),
  },
  tokenizer: {
    needs: ['documents'],
    isIn: (recipe) => recipe.tokenizer !== undefined,
    check: checkTokenizer,
    run: (run) => {
      const { recipe, log } = run;
      const dir = run.folder('tokenizer');
      const from = takenTokenizer(recipe, run.dir);
      if (from !== undefined) return takeTokenizer({ dir, from, recipe, log });
      return trainTokenizer({ dir, documentsDir: run.folder('documents'), recipe, log });
    },
  },
  tokens: {
    needs: ['documents', 'tokenizer'],
    isIn: (recipe) => recipe.tokenizer !== undefined,
    run: (run) =>
      packDocuments({
        dir: run.folder('tokens'),
        documentsDir: run.folder('documents'),
        tokenizerDir: run.folder('tokenizer'),
        recipe: run.recipe,
        log: run.log,
      }),
  },
  pretrain: {
    needs: ['tokenizer', 'tokens'],
    isIn: (recipe) => recipe.pretrain !== undefined,
    check: checkWeights,
    run: async (run) => {
      const { pretrain, seed } = run.recipe;
      if (pretrain) {
        await chooseSteps(run, 'pretrain', (steps) => {
          const curriculum = curriculumOf(pretrain, seed, steps);
          return { curriculum, data: pretrainData(run.folder('tokens'), pretrain, curriculum.at(0).phase) };
        });
      }
      const onPhaseEnd = phaseMeasurer(run);
      return await pretrainStage(run, {
        validation: () => quickValidation(run),
        ...(onPhaseEnd ? { onPhaseEnd } : {}),
      });
    },
  },
  conversations: {
    needs: ['documents', 'tokenizer'],
    isIn: (recipe) => recipe.sft !== undefined,
    run: (run) =>
      makeConversations({
        dir: run.folder('conversations'),
        documentsDir: run.folder('documents'),
        tokenizerDir: run.folder('tokenizer'),
        recipe: run.recipe,
        log: run.log,
        onStart: announce(run, 'conversations'),
      }),
  },
  sft: {
    needs: ['pretrain', 'conversations'],
    isIn: (recipe) => recipe.sft !== undefined,
    run: async (run) => {
      if (run.recipe.sft?.steps !== null) return await sftStage(run);
      const rows = await readSftData(run);
      const { sft, seed } = run.recipe;
      await chooseSteps(run, 'sft', (steps) => ({
        curriculum: sftCurriculum(sft as SftRecipe, seed, steps),
        data: rows,
      }));
      return await sftStage(run, rows);
    },
  },
  memorisation: {
    needs: ['source', 'documents', 'tokenizer'],
    isIn: (recipe) => recipe.memorisation !== undefined,
    run: memorisationStage,
  },
  evaluation: {
    needs: ['documents', 'tokenizer', 'tokens', 'pretrain', 'sft'],
    isIn: (recipe) => recipe.evaluate !== undefined,
    run: (run) =>
      evaluateModels({
        dir: run.folder('evaluation'),
        recipe: run.recipe,
        inputs: {
          documents: run.folder('documents'),
          tokenizer: run.folder('tokenizer'),
          tokens: run.folder('tokens'),
          base: run.folder('pretrain'),
          ...(run.recipe.sft ? { chat: run.folder('sft') } : {}),
        },
        loadModel: (dir) => loadHfFolder(dir, makeEngine('float32', run.log), { gradients: false }),
        log: run.log,
        onStart: announce(run, 'evaluation'),
      }),
  },
  release: {
    needs: ['documents', 'tokenizer', 'tokens', 'pretrain', 'sft', 'evaluation', 'memorisation'],
    isIn: (recipe) => recipe.release !== undefined,
    run: (run) =>
      releaseModel({
        dir: run.folder('release'),
        recipe: run.recipe,
        inputs: {
          source: run.folder('source'),
          documents: run.folder('documents'),
          tokenizer: run.folder('tokenizer'),
          tokens: run.folder('tokens'),
          base: run.folder('pretrain'),
          ...(run.recipe.sft ? { chat: run.folder('sft') } : {}),
          ...(run.recipe.evaluate ? { evaluation: run.folder('evaluation') } : {}),
          ...(run.recipe.memorisation ? { memorisation: run.folder('memorisation') } : {}),
        },
        log: run.log,
        onStart: announce(run, 'release'),
      }),
  },
};

/** The targets and the stages they need, in the order of the line; without a target every stage of the recipe. */
export function stagesUpTo(recipe: Recipe, ...targets: readonly StageName[]): StageName[] {
  const wanted = new Set<StageName>();
  const want = (name: StageName): void => {
    if (wanted.has(name) || !stages[name].isIn(recipe)) return;
    wanted.add(name);
    for (const need of stages[name].needs) want(need);
  };
  const all = Object.keys(stageFolders) as StageName[];
  for (const name of targets.length > 0 ? targets : all) want(name);
  return all.filter((name) => wanted.has(name));
}

/** Runs the line up to the targets, or whole. */
export async function runLine(run: Run, ...targets: readonly StageName[]): Promise<Map<StageName, StageResult>> {
  const results = new Map<StageName, StageResult>();
  const wanted = stagesUpTo(run.recipe, ...targets);
  for (const name of wanted) stages[name].check?.(run.recipe, run.dir);
  for (const name of wanted) {
    results.set(name, await timed(run, name, () => stages[name].run(run)));
  }
  return results;
}

/** The end of a whole line: the report, and the manifest of the run folder that names all stages as its inputs. */
export async function finishRun(run: Run): Promise<void> {
  await writeReport(run.dir);
  const inputs = Object.fromEntries(stagesUpTo(run.recipe).map((name) => [name, run.folder(name)]));
  writeManifest(run.dir, {
    kind: 'run',
    version: 1,
    recipe: run.recipe as unknown as Json,
    inputs,
    facts: {},
    exclude: [
      ...Object.values(stageFolders),
      ...['events.jsonl', planName, lockName, submitLockName, 'report.html'],
      ...readdirSync(run.dir).filter(isRendezvous),
    ],
  });
}

/** Documents whose loss is shown while pretraining: a fixed few, one for each of as many languages. */
const quickValidationDocuments = 32;

async function quickValidation(run: Run): Promise<((model: Apertus) => number) | undefined> {
  const { pretrain } = run.recipe;
  if (!pretrain?.validateEverySteps) return undefined;
  const all = await readValidationDocuments(run.folder('tokens'));
  const byLanguage = new Map<string, ValidationDocument>();
  for (const document of all) if (!byLanguage.has(document.language)) byLanguage.set(document.language, document);
  const languages = [...byLanguage.keys()].sort();
  const every = Math.max(1, Math.floor(languages.length / quickValidationDocuments));
  const documents = languages
    .filter((_, i) => i % every === 0)
    .map((language) => byLanguage.get(language) as ValidationDocument);
  if (documents.length === 0) return undefined;
  const unigram = trainingUnigram(run.folder('tokens'), run.recipe.model.vocabularySize);
  return (model) =>
    validationLoss({ model: evaluatedModel(model), documents, unigram, window: pretrain.sequenceLength }).overall
      .natsPerToken;
}
