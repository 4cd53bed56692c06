// What a release says about itself, read from the artefacts that measured it: manifests, evaluation, funnel, ledger.
//
// A card may only quote what stands here, so nothing in it can be older than the weights or made up.
//
// Does not: format; model-card.ts and data-summary.ts do.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { schemaProblems } from '../base/schema.ts';
import { UserError } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { type Funnel, funnelName, readLedger } from '../base/ledger.ts';
import { type Manifest, readManifest } from '../base/manifest.ts';
import type { Recipe } from '../base/recipe.ts';
import { beginningOf } from './beginning.ts';
import { ContentCounter, sorted, type Tally, type TrainingContent } from './training-content.ts';

const lossSchema = z.object({
  documents: z.number(),
  tokens: z.number(),
  bytes: z.number(),
  natsPerToken: z.number(),
  bitsPerByte: z.number(),
  unigramNatsPerToken: z.number(),
  unigramBitsPerByte: z.number(),
});
const validationSchema = z.object({ overall: lossSchema, languages: z.record(z.string(), lossSchema) });
/** evaluation.json, as evaluate/ writes it: what a card quotes of it. */
const evaluationSchema = z.object({
  format: z.literal('belay-evaluation-1'),
  validation: z.object({ base: validationSchema, chat: validationSchema.optional() }),
  languageQuestion: z
    .object({
      questions: z.number(),
      correct: z.number(),
      accuracy: z.number(),
      standardError: z.number(),
      languages: z.number(),
      chance: z.number(),
      majority: z.number(),
    })
    .optional(),
  languageNames: z.record(z.string(), z.string()),
});
export type EvaluationEvidence = z.infer<typeof evaluationSchema>;

/** What the manifest of the documents says of the cleaning line. */
const lineSchema = z.object({
  steps: z.array(z.object({ step: z.string(), settings: z.record(z.string(), z.json()) })).default([]),
});

const spreadSchema = z.object({ mean: z.number(), min: z.number(), max: z.number(), sd: z.number() });
const bucketSchema = z.object({
  repetitions: z.number(),
  probes: z.number(),
  rougeL: spreadSchema,
  lccs: spreadSchema,
  exact: spreadSchema,
  suffixLogprob: spreadSchema,
});
/** memorisation.json of the side runs. */
const memorisationSchema = z.object({
  steps: z.number(),
  rule: z.object({ k: z.number(), h: z.number() }),
  seeds: z.array(z.number()),
  goldfish: z.array(bucketSchema),
  standard: z.array(bucketSchema),
});
export type MemorisationEvidence = z.infer<typeof memorisationSchema>;

export interface Evidence {
  readonly recipe: Recipe;
  /** The released model was fine-tuned on conversations. */
  readonly chats: boolean;
  /** Manifest of the released model's stage. */
  readonly model: Manifest;
  /** The model whose weights it began with; undefined where they were random. */
  readonly beginning: string | undefined;
  readonly funnel: Funnel;
  /** From the ledger, each in alphabetical order. */
  readonly sources: ReadonlyMap<string, Tally>;
  readonly licences: ReadonlyMap<string, Tally>;
  readonly languages: ReadonlyMap<string, Tally>;
  readonly total: Tally;
  /** What the data summary says. */
  readonly content: TrainingContent;
  /** Distinct pieces of personal data that were replaced in kept documents, by kind, and the documents they were in. */
  readonly personalData: { readonly documents: number; readonly kinds: ReadonlyMap<string, number> };
  readonly evaluation: EvaluationEvidence | undefined;
  readonly memorisation: MemorisationEvidence | undefined;
}

export interface EvidenceInputs {
  readonly documents: string;
  readonly base: string;
  readonly chat?: string;
  readonly evaluation?: string;
  readonly memorisation?: string;
}

export async function gatherEvidence(recipe: Recipe, inputs: EvidenceInputs): Promise<Evidence> {
  const beginning = beginningOf(inputs.base);
  const name = recipe.release?.modelName ?? recipe.name;
  const { counter, content, funnel } = await readContent(inputs.documents, recipe, name, beginning);
  const { sources, licences, languages, total, personalData } = counter;
  return {
    recipe,
    chats: inputs.chat !== undefined,
    model: readManifest(inputs.chat ?? inputs.base),
    beginning,
    content,
    funnel,
    sources: sorted(sources),
    licences: sorted(licences),
    languages: sorted(languages),
    total,
    personalData: { documents: personalData.documents, kinds: sorted(personalData.kinds) },
    evaluation: readEvidence(inputs.evaluation, 'evaluation.json', evaluationSchema),
    memorisation: readEvidence(inputs.memorisation, 'memorisation.json', memorisationSchema),
  };
}

/** What a folder of cleaned documents holds, by its ledger. `beginning`: of the model that was trained on it. */
export async function readContent(
  documents: string,
  recipe: Pick<Recipe, 'summary'>,
  name: string,
  beginning?: string,
): Promise<{ readonly counter: ContentCounter; readonly content: TrainingContent; readonly funnel: Funnel }> {
  const counter = new ContentCounter();
  for await (const row of readLedger(documents)) counter.add(row);
  const funnel = readJson(join(documents, funnelName), 'funnel') as unknown as Funnel;
  const { steps } = lineSchema.parse(readManifest(documents).recipe);
  return { counter, content: counter.content({ name, recipe, steps, funnel, beginning }), funnel };
}

function readEvidence<T>(dir: string | undefined, name: string, schema: z.ZodType<T>): T | undefined {
  if (dir === undefined) return undefined;
  const path = join(dir, name);
  if (!existsSync(path)) throw new UserError(`${dir} holds no ${name}`, { next: 'run its stage again' });
  const parsed = schema.safeParse(readJson(path));
  if (!parsed.success) throw new UserError(`${path} cannot be quoted`, { found: schemaProblems(parsed.error) });
  return parsed.data;
}
