// What became of one document: the ledger's verdict, its place in the token files, the conversations made from it, and
// the steps of pretraining and fine-tuning that saw it.
//
// Steps follow from the seed and the recipe of each model (corpus/batches.ts, posttrain/packed-rows.ts), so nothing had
// to be written down while training. Which batches the guard passed over does not; metrics.jsonl tells it.
//
// Does not: look into the side runs on memorisation, which choose texts of their own.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { readLines } from '../base/events.ts';
import { readJson } from '../base/json.ts';
import { readJsonl } from '../base/jsonl.ts';
import { ledgerFiles, type LedgerRow } from '../base/ledger.ts';
import {
  baseRole,
  enclosingArtefact,
  type FamilyNode,
  familyTree,
  findManifest,
  type Manifest,
  outsidePrefix,
} from '../base/manifest.ts';
import { recipeSchema } from '../base/recipe.ts';
import { Mixture, type MixtureOptions } from '../corpus/mixture.ts';
import { type PackedDocument, packedDocumentsName, readPackedDocuments } from '../corpus/pack.ts';
import { findLedgerRow, isPartOf } from '../data/look-up.ts';
import type { Conversation } from '../posttrain/conversations.ts';
import { conversationsName } from '../posttrain/conversations-stage.ts';
import { sftData } from '../posttrain/sft.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { type Curriculum, curriculumOf, hasLength, type Phase } from '../train/curriculum.ts';
import { metricsName } from '../train/metrics-log.ts';
import { mixtureOf } from './phase-data.ts';
import { stageFolders } from './run-folder.ts';

/** Folders that together tell what became of a document; those that are not there are undefined. */
interface Places {
  readonly documents: string | undefined;
  readonly tokens: string | undefined;
  readonly pretrain: string | undefined;
  readonly tokenizer: string | undefined;
  readonly conversations: string | undefined;
  readonly sft: string | undefined;
  /** Where the weights that pretraining began with come from (`pretrain.from`); undefined where they were random. */
  readonly base: Base | undefined;
}

/** The artefact whose weights a training began with, or why it cannot be asked. */
type Base = { readonly dir: string } | { readonly untold: string };

export interface DocumentTrace {
  /** Folder of the ledger that knows it. */
  readonly documents: string;
  /** The row of the ledger. */
  readonly ledger: LedgerRow;
  /** Where the document and its held-out parts (`<id>#<label>`) stand in the token files; empty when it was dropped or nothing was packed yet. */
  readonly packed: readonly PackedDocument[];
  /** In pretraining. */
  readonly training: TrainingTrace | null;
  /** Null where no conversations were made for the run. */
  readonly fineTuning: FineTuningTrace | null;
  /** What became of it in the last training before, whose weights this one goes back to, that knows it; null where none does. */
  readonly before: DocumentTrace | null;
  /** Why trainings whose weights this one goes back to could not be asked; empty where all were. */
  readonly notAsked: readonly string[];
}

export interface TrainingTrace {
  /** Steps of the whole run, and how many were taken so far. */
  readonly steps: number;
  readonly stepsTaken: number;
  /** Every time tokens of it are read, up to the last step of the run. */
  readonly seen: readonly (ReadAt & { readonly tokens: number })[];
  /** Phases whose mixture holds it and that `seen` says nothing of, because these token files are not there. */
  readonly untold: readonly { readonly phase: string; readonly missing: readonly string[] }[];
}

/** One time that something is read. */
interface ReadAt {
  /** From 1. */
  readonly step: number;
  /** Of the step, from 0. */
  readonly row: number;
  /** Whether the guard passed over the batch; null where the step was not taken yet, or metrics.jsonl lacks it. */
  readonly skipped: boolean | null;
}

export interface FineTuningTrace {
  /** Ids of the conversations that were made from it. */
  readonly conversations: readonly string[];
  /** How many of them are in no row, because they are too long for one. */
  readonly leftOut: number;
  /** Steps of the whole run (null before they were chosen), and how many were taken so far. */
  readonly steps: number | null;
  readonly stepsTaken: number;
  /** Every time one of them is read, up to the last step of the run. */
  readonly seen: readonly (ReadAt & { readonly conversation: string })[];
}

/**
 * Looks a document up by its id or its address. `path`: a run folder, or an artefact whose ancestors are here. A model
 * that began with the weights of another has seen what that one saw, so both are asked.
 */
export async function traceDocument(document: string, path: string): Promise<DocumentTrace> {
  const ledgers: string[] = [];
  const notAsked: string[] = [];
  // From the training that was asked for back to the first.
  const found: DocumentTrace[] = [];
  const seen = new Set<string | undefined>();
  for (let at: string | undefined = path; at !== undefined; ) {
    const places: Places = placesOf(at);
    // A recipe may name what its own run had made.
    if (seen.has(places.pretrain)) break;
    seen.add(places.pretrain);
    if (places.documents === undefined) notAsked.push(`the ledger of the documents that ${at} saw is not here`);
    else {
      ledgers.push(places.documents);
      const trace = await traceIn(places, places.documents, document);
      if (trace) found.push(trace);
    }
    const { base }: Places = places;
    if (base && 'untold' in base) notAsked.push(base.untold);
    at = base && 'dir' in base ? base.dir : undefined;
  }
  if (ledgers.length === 0) {
    throw new UserError(`${path} does not lead to a ledger of documents`, {
      expected: 'a run folder, or an artefact whose ancestors are still there',
      next: 'belay trace --document ID out/demo',
    });
  }
  const trace = found.reduceRight<DocumentTrace | null>((before, one) => ({ ...one, before, notAsked }), null);
  if (trace) return trace;
  throw new UserError(`no document "${document}" came into ${ledgers.join(' or ')}`, {
    ...(notAsked.length === 0 ? {} : { found: `not asked: ${notAsked.join('; ')}` }),
    expected: `the id or the address of a row of the ledger in ${ledgers.join(' or ')}`,
  });
}

async function traceIn(places: Places, documents: string, document: string): Promise<DocumentTrace | undefined> {
  const ledger = await findLedgerRow(documents, document);
  if (ledger === undefined) return undefined;
  const packed: PackedDocument[] = [];
  if (places.tokens !== undefined) {
    for await (const row of readPackedDocuments(places.tokens)) {
      if (isPartOf(row.id, ledger.id)) packed.push(row);
    }
  }
  const training = places.tokens && places.pretrain ? traceTraining(places.tokens, places.pretrain, packed) : null;
  const fineTuning = await traceFineTuning(places, ledger.id);
  return { documents, ledger, packed, training, fineTuning, before: null, notAsked: [] };
}

function placesOf(path: string): Places {
  const holding = (dirs: readonly string[], name: string): string | undefined =>
    dirs.find((dir) => existsSync(join(dir, name)));
  const artefact = enclosingArtefact(path);
  const family = artefact === undefined ? [] : ancestors(familyTree(artefact));
  // The run folder around the path: the nearest one above it that has folders of stages.
  const run = runFolderAt(path);
  const dirs = [...family, ...(run === undefined ? [] : Object.values(stageFolders).map((name) => join(run, name)))];
  const stage = (name: keyof typeof stageFolders): string | undefined => run && join(run, stageFolders[name]);
  const ancestor = (is: (manifest: Manifest) => boolean): string | undefined =>
    family.find((dir) => {
      const manifest = findManifest(dir);
      return manifest !== undefined && is(manifest);
    });
  return {
    documents: dirs.find((dir) => ledgerFiles(dir).length > 0),
    tokens: holding(dirs, packedDocumentsName),
    pretrain: ancestor(isPretrained) ?? stage('pretrain'),
    tokenizer: ancestor(({ kind }) => kind === 'tokenizer') ?? stage('tokenizer'),
    conversations: holding(dirs, conversationsName),
    sft: ancestor(isFineTuned) ?? stage('sft'),
    base: baseOf(ancestor(isPretrained) ?? stage('pretrain')),
  };
}

/** An artefact and what it was made of, without other runs: weights or a tokenizer that it began with came from there. */
function ancestors({ dir, manifest, inputs }: FamilyNode): string[] {
  if (!manifest) return [];
  const own = inputs.filter(
    ({ name }) => !(name === baseRole && (isPretrained(manifest) || manifest.kind === 'tokenizer')),
  );
  return [dir, ...own.flatMap(ancestors)];
}

/** What the pretraining in `dir` began with. */
function baseOf(dir: string | undefined): Base | undefined {
  if (dir === undefined) return undefined;
  const manifest = findManifest(dir);
  if (!manifest) {
    // While it trains the recipe says it.
    const from = pretrainPart(recipeOf(dir))?.pretrain.from ?? null;
    if (from === null) return undefined;
    const artefact = enclosingArtefact(from);
    return artefact === undefined ? { untold: `the weights in ${from} are part of no artefact` } : { dir: artefact };
  }
  const base = manifest.inputs.find(({ name }) => name === baseRole);
  if (base) {
    const place = resolve(dir, base.path);
    const found = findManifest(place)?.id;
    if (found === base.id) return { dir: place };
    const now = found === undefined ? 'is not there' : `was replaced by ${found.slice(0, 12)}`;
    return { untold: `the artefact ${base.id.slice(0, 12)}, whose weights ${dir} began with, ${now}: ${place}` };
  }
  const isFromOutside = Object.keys(manifest.recipe as object).some((key) => key.startsWith(outsidePrefix));
  return isFromOutside
    ? { untold: `${dir} began with weights from outside, of which only hashes are known` }
    : undefined;
}

function runFolderAt(path: string): string | undefined {
  for (let dir = resolve(path), up = ''; dir !== up; up = dir, dir = resolve(dir, '..')) {
    if (existsSync(join(dir, 'recipe.json')) && existsSync(join(dir, stageFolders.documents))) return dir;
  }
  return undefined;
}

/** A model that was trained on token files (not the run, whose manifest has the whole recipe). */
function isPretrained({ kind, inputs, recipe }: Manifest): boolean {
  return kind === 'model' && inputs.some(({ name }) => name === 'tokens') && pretrainPart(recipe) !== undefined;
}

function isFineTuned({ kind, inputs }: Manifest): boolean {
  return kind === 'model' && inputs.some(({ name }) => name === 'conversations');
}

const pretrainSchema = z.looseObject({ seed: z.int(), pretrain: recipeSchema.shape.pretrain.unwrap() });
const sftSchema = z.looseObject({ seed: z.int(), sft: recipeSchema.shape.sft.unwrap() });

function pretrainPart(recipe: unknown): z.infer<typeof pretrainSchema> | undefined {
  return pretrainSchema.safeParse(recipe).data;
}

/** The recipe that the folder of a trained model follows: its manifest's, else, while it trains, the run's. */
function recipeOf(dir: string): unknown {
  const saved = join(dir, '..', 'recipe.json');
  return findManifest(dir)?.recipe ?? (existsSync(saved) ? readJson(saved, 'recipe') : undefined);
}

/** What a training did so far. */
interface Progress {
  readonly stepsTaken: number;
  readonly skipped: (step: number) => boolean | null;
}

function progressIn(dir: string, steps: number): Progress {
  const lines = readLines<{ readonly step: number; readonly clip?: number }>(join(dir, metricsName));
  const stepsTaken = findManifest(dir) ? steps : (lines.at(-1)?.step ?? 0);
  // A step that was passed over has a line, and no update in it.
  const skipped = new Map(lines.map(({ step, clip }) => [step, clip === undefined]));
  return { stepsTaken, skipped: (step) => skipped.get(step) ?? null };
}

/** The steps of the pretraining in `dir` that read these documents. */
export function traceTraining(tokensDir: string, dir: string, packed: readonly PackedDocument[]): TrainingTrace | null {
  const part = pretrainPart(recipeOf(dir));
  if (!part || !hasLength(part.pretrain)) return null;
  const curriculum = curriculumOf(part.pretrain, part.seed);
  const rows = packed.filter(({ split }) => split === 'train');
  const { stepsTaken, skipped } = progressIn(dir, curriculum.steps);
  const seen: TrainingTrace['seen'][number][] = [];
  const untold: TrainingTrace['untold'][number][] = [];
  for (const phase of curriculum.phases) {
    const mixture = mixtureOf(tokensDir, part.pretrain, phase);
    const places = placesIn(mixture, tokensDir, rows);
    if (places.length === 0) continue;
    const files = mixture.datasets.flatMap(({ path }) => [`${path}.bin`, `${path}.idx`]);
    const missing = files.filter((file) => !existsSync(file));
    if (missing.length > 0) untold.push({ phase: phase.name, missing });
    else
      for (const at of seenInPhase(mixture, curriculum, phase, places)) seen.push({ ...at, skipped: skipped(at.step) });
  }
  return { steps: curriculum.steps, stepsTaken, seen: seen.sort(inOrder), untold };
}

function inOrder(a: ReadAt, b: ReadAt): number {
  return a.step - b.step || a.row - b.row;
}

/** A document of a data set of a mixture. */
interface DocumentPlace {
  readonly dataset: number;
  readonly index: number;
}

/** Where a mixture holds some documents. */
function placesIn(
  { datasets }: MixtureOptions,
  tokensDir: string,
  rows: readonly Pick<PackedDocument, 'group' | 'index'>[],
): DocumentPlace[] {
  return rows.flatMap(({ group, index }) => {
    const file = resolve(tokensDir, group ?? 'train');
    return datasets.flatMap(({ path }, dataset) => (resolve(path) === file ? [{ dataset, index }] : []));
  });
}

/** Where a phase reads some documents. */
function seenInPhase(
  options: MixtureOptions,
  curriculum: Curriculum,
  phase: Phase,
  places: readonly DocumentPlace[],
): { readonly step: number; readonly row: number; readonly tokens: number }[] {
  const mixture = new Mixture(options);
  try {
    return places
      .flatMap(({ dataset, index }) => mixture.whereIs(dataset, index))
      .flatMap(({ sample, from, to }) => {
        const place = curriculum.stepOf(phase, sample - phase.dataStart);
        return place ? [{ step: place.step + 1, row: place.row, tokens: to - from }] : [];
      });
  } finally {
    mixture.close();
  }
}

/** The conversations of a document, and where the rows of fine-tuning hold them. */
async function traceFineTuning(places: Places, document: string): Promise<FineTuningTrace | null> {
  const { conversations: dir, tokenizer, sft } = places;
  if (dir === undefined) return null;
  const conversations: string[] = [];
  for await (const conversation of readJsonl<Conversation>(join(dir, conversationsName))) {
    if (conversation.document === document) conversations.push(conversation.id);
  }
  const part = sft === undefined ? undefined : sftSchema.safeParse(recipeOf(sft)).data;
  const steps = part?.sft.steps ?? null;
  const { stepsTaken, skipped } =
    sft === undefined || steps === null ? { stepsTaken: 0, skipped: () => null } : progressIn(sft, steps);
  const unseen = { conversations, leftOut: 0, steps, stepsTaken, seen: [] };
  if (conversations.length === 0 || !part || steps === null || tokenizer === undefined) return unseen;
  const { sequenceLength, batchSize } = part.sft;
  const data = await sftData({
    dir,
    tokenizer: Tokenizer.load(tokenizer),
    sequenceLength,
    seed: part.seed,
  });
  const packed = conversations.filter((id) => data.ids.includes(id));
  const seen = packed
    .flatMap((conversation) =>
      data
        .whereIs(data.ids.indexOf(conversation), steps * batchSize)
        .map((at) => ({ step: Math.floor(at / batchSize) + 1, row: at % batchSize, conversation })),
    )
    .map((at) => ({ ...at, skipped: skipped(at.step) }))
    .sort(inOrder);
  return { conversations, leftOut: conversations.length - packed.length, steps, stepsTaken, seen };
}

/** The answer for people. */
export function documentTraceText(trace: DocumentTrace): string {
  const { documents, ledger, packed, training, fineTuning, before, notAsked } = trace;
  const lines = [
    `document  ${ledger.id}`,
    `corpus    ${documents}`,
    ...(ledger.url === undefined ? [] : [`address   ${ledger.url}`]),
    `from      ${ledger.source}, language ${ledger.language}, licence ${ledger.licence}, ${ledger.bytesIn} bytes`,
    ledger.verdict === 'kept'
      ? `verdict   kept, ${ledger.bytesOut} bytes`
      : `verdict   dropped by the step "${ledger.step}", rule "${ledger.reason}"${ledger.detail === undefined ? '' : `: ${ledger.detail}`}`,
  ];
  if (ledger.notes) lines.push(`notes     ${JSON.stringify(ledger.notes)}`);
  for (const { id, split, index, tokens } of packed) {
    lines.push(`packed    ${split} document ${index}, ${tokens} tokens${id === ledger.id ? '' : ` (${id})`}`);
  }
  if (ledger.verdict === 'kept' && packed.length === 0) lines.push('packed    not yet');
  if (training) {
    const { seen, steps, untold } = training;
    const never = untold.length === 0 ? `never: none of ${steps} steps reads it` : 'not in the phases that can be told';
    lines.push(`pretrain  ${seen.length === 0 ? never : seenText(training, steps)}`);
    lines.push(...seenLines(training, ({ tokens }) => `${tokens} tokens`));
    for (const { phase, missing } of untold) {
      lines.push(`          phase ${phase} cannot be told without ${missing.join(', ')}`);
    }
  }
  if (fineTuning) {
    const { conversations, leftOut, steps, seen } = fineTuning;
    const made = `${conversations.length} conversation${conversations.length === 1 ? ' was' : 's were'} made from it`;
    const tooLong = leftOut === 0 ? '' : `, ${leftOut} too long for a row`;
    if (conversations.length === 0) lines.push('sft       never: no conversation was made from it');
    else if (steps === null) lines.push(`sft       ${made}; how many steps will read them is not chosen yet`);
    else
      lines.push(
        `sft       ${made}${tooLong}; ${seen.length === 0 ? `none of ${steps} steps reads one` : seenText(fineTuning, steps)}`,
      );
    lines.push(...seenLines(fineTuning, ({ conversation }) => conversation));
  }
  const whole = `${lines.join('\n')}\n`;
  if (before !== null) {
    return `${whole}\nbefore that, in the training whose weights this one began with:\n${documentTraceText(before)}`;
  }
  return whole + notAsked.map((why) => `not asked ${why}\n`).join('');
}

interface Seen<T> {
  readonly stepsTaken: number;
  readonly seen: readonly (T & ReadAt)[];
}

function seenText({ seen, stepsTaken }: Seen<object>, steps: number): string {
  const taken = seen.filter(({ step }) => step <= stepsTaken);
  const skipped = taken.filter((at) => at.skipped).length;
  const notes = skipped === 0 ? '' : `; the guard passed over ${skipped} more`;
  const unknown = taken.filter((at) => at.skipped === null).length;
  const gaps = unknown === 0 ? '' : `; whether the guard passed over ${unknown} of them is in no ${metricsName}`;
  return `seen ${taken.length - skipped} of ${seen.length} times after ${stepsTaken} of ${steps} steps${notes}${gaps}`;
}

/** The first steps that read it, a line each. */
function seenLines<T>({ seen, stepsTaken }: Seen<T>, what: (place: T) => string): string[] {
  const lines = seen.slice(0, 20).map((at) => {
    const note = at.step > stepsTaken ? ' (not reached yet)' : at.skipped ? ' (passed over by the guard)' : '';
    return `          step ${at.step}, row ${at.row}, ${what(at)}${note}`;
  });
  return seen.length > 20 ? [...lines, `          and ${seen.length - 20} more (--json lists all)`] : lines;
}
