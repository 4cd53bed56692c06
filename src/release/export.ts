// The stage `release`: a trained model and the evidence about it -> a folder that can be given away.
//
// Hugging Face layout (weights in the recipe's dtype, tokenizer, chat template, generation settings), the model card and
// the data summary, copies of the measurements, and the manifests of everything the model was made from.
//
// Does not: publish.
import { copyFileSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic, writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import type { Json } from '../base/json.ts';
import type { Log } from '../base/progress.ts';
import { type Recipe, recipePart } from '../base/recipe.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import { parameterCount } from '../model/arithmetic.ts';
import { loadHfFolder, saveHfFolder } from '../model/hf-folder.ts';
import { defaultBackend } from '../tensor/backend-select.ts';
import { Engine } from '../tensor/tensor.ts';
import { ASSISTANT_END, BOS, EOS, PAD, TOOLS_SUFFIX } from '../tokenizer/special-tokens.ts';
import { tokenizerFilePattern } from '../tokenizer/tokenizer-files.ts';
import { dataSummary } from './data-summary.ts';
import { gatherEvidence } from './evidence.ts';
import { modelCard, recommendedSampling } from './model-card.ts';
import { writeProvenance } from './provenance.ts';

export interface ReleaseOptions {
  /** Folder to make. */
  readonly dir: string;
  readonly recipe: Recipe;
  /** Stage folders. The weights that are released are in `model/` below `chat`, or below `base` without it. */
  readonly inputs: {
    readonly documents: string;
    readonly tokenizer: string;
    readonly base: string;
    readonly chat?: string;
    readonly evaluation?: string;
    readonly memorisation?: string;
    /** Others that belong to its origin. */
    readonly [role: string]: string | undefined;
  };
  /** Default: on the backend of this process. */
  readonly engine?: Engine;
  readonly log: Log;
  readonly onStart?: (what: 'skip' | 'run' | 'resume') => void;
}

/** Files of a release that tell about it, beside the model. */
export const modelCardName = 'README.md';
export const dataSummaryName = 'DATA_SUMMARY.md';
export const dataSummaryJsonName = 'data-summary.json';

export async function releaseModel(options: ReleaseOptions): Promise<StageResult> {
  const { dir, recipe, inputs, log } = options;
  const part = recipePart(recipe, 'release');
  const roles = Object.fromEntries(Object.entries(inputs).filter((entry): entry is [string, string] => !!entry[1]));
  return runStage({
    dir,
    kind: 'release',
    version: 2,
    recipe: { release: part, name: recipe.name, summary: (recipe.summary ?? null) as unknown as Json },
    inputs: roles,
    ...(options.onStart ? { onStart: options.onStart } : {}),
    run: async (into) => {
      const evidence = await gatherEvidence(recipe, inputs);
      const chats = evidence.chats;
      const engine = options.engine ?? new Engine(defaultBackend());
      const model = loadHfFolder(join(inputs.chat ?? inputs.base, 'model'), engine, { gradients: false });
      refuseComparison(model.config.activation);
      saveHfFolder(into, model, { dtype: part.dtype, eosTokenId: chats ? ASSISTANT_END : EOS });
      writeJsonAtomic(join(into, 'generation_config.json'), generationConfig(chats));
      for (const file of readdirSync(inputs.tokenizer)) {
        if (tokenizerFilePattern.test(file)) {
          copyFileSync(join(inputs.tokenizer, file), join(into, file));
        }
      }
      for (const [dirName, file] of [
        ['evaluation', 'evaluation.json'],
        ['memorisation', 'memorisation.json'],
      ] as const) {
        const from = inputs[dirName];
        if (from === undefined || !existsSync(join(from, file))) continue;
        mkdirSync(join(into, 'evaluation'), { recursive: true });
        copyFileSync(join(from, file), join(into, 'evaluation', file));
      }
      const provenance = writeProvenance(into, roles);
      const parameters = parameterCount(model.config);
      writeFileAtomic(join(into, modelCardName), modelCard(evidence, provenance, parameters));
      writeFileAtomic(join(into, dataSummaryName), dataSummary(evidence.content));
      writeJsonAtomic(join(into, dataSummaryJsonName), evidence.content);
      log.line(`release: ${part.modelName} in ${dir}`);
      return {
        modelName: part.modelName,
        parameters,
        dtype: part.dtype,
        chat: chats,
        artefacts: provenance.artefacts.length,
      };
    },
  });
}

/** An Apertus with another activation is a comparison: no other program could load the folder. */
function refuseComparison(activation: Recipe['model']['activation']): void {
  if (activation === 'xielu') return;
  throw new UserError('a model with another activation cannot be released', {
    found: `model.activation ${activation}`,
    expected: 'xielu, as programs that load Apertus know it',
    next: 'leave the part "release" out of a recipe that compares activations',
  });
}

/** generation_config.json as transformers reads it. A chat also ends where tools would be called (spec section 4.5). */
function generationConfig(chats: boolean): object {
  return {
    bos_token_id: BOS,
    do_sample: true,
    eos_token_id: chats ? [ASSISTANT_END, EOS, TOOLS_SUFFIX] : EOS,
    pad_token_id: PAD,
    temperature: recommendedSampling.temperature,
    top_p: recommendedSampling.topP,
  };
}
