// What became of one document: the ledger's verdict, its place in the token files, and the training steps that saw it.
//
// Steps follow from the seed and the recipe of the pretrained model (corpus/batches.ts), so nothing had to be written
// down while training.
//
// Does not: look into fine-tuning or side runs, which choose texts of their own.
import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { readLines } from '../base/events.ts';
import { readJson } from '../base/json.ts';
import { ledgerName, type LedgerRow, readLedger } from '../base/ledger.ts';
import { enclosingArtefact, type FamilyNode, familyTree, findManifest, type Manifest } from '../base/manifest.ts';
import { recipeSchema } from '../base/recipe.ts';
import { TokenBatches } from '../corpus/batches.ts';
import { type PackedDocument, packedDocumentsName, readPackedDocuments } from '../corpus/pack.ts';
import { stageFolders } from './run-folder.ts';

/** Folders that together tell what became of a document; those that are not there are undefined. */
interface Places {
  readonly documents: string | undefined;
  readonly tokens: string | undefined;
  readonly pretrain: string | undefined;
}

export interface DocumentTrace {
  /** The row of the ledger. */
  readonly ledger: LedgerRow;
  /** Where the document and its held-out parts (`<id>#<label>`) stand in the token files; empty when it was dropped or nothing was packed yet. */
  readonly packed: readonly PackedDocument[];
  readonly training: TrainingTrace | null;
}

export interface TrainingTrace {
  /** Steps of the whole run, and how many were taken so far. */
  readonly steps: number;
  readonly stepsTaken: number;
  /** Every time tokens of it are read, up to the last step of the run; steps count from 1. */
  readonly seen: readonly { readonly step: number; readonly row: number; readonly tokens: number }[];
}

/** Looks a document up by its id or its address. `path`: a run folder, or an artefact whose ancestors are here. */
export async function traceDocument(document: string, path: string): Promise<DocumentTrace> {
  const places = placesOf(path);
  if (places.documents === undefined) {
    throw new UserError(`${path} does not lead to a ledger of documents`, {
      expected: 'a run folder, or an artefact whose ancestors are still there',
      next: 'belay trace --document ID out/demo',
    });
  }
  const ledger = await findRow(places.documents, document);
  if (ledger === undefined) {
    throw new UserError(`no document "${document}" came into ${places.documents}`, {
      expected: `the id or the address of a row of ${join(places.documents, ledgerName)}`,
    });
  }
  const packed: PackedDocument[] = [];
  if (places.tokens !== undefined) {
    for await (const row of readPackedDocuments(places.tokens)) {
      if (row.id === ledger.id || row.id.startsWith(`${ledger.id}#`)) packed.push(row);
    }
  }
  const training = places.tokens && places.pretrain ? traceTraining(places.tokens, places.pretrain, packed) : null;
  return { ledger, packed, training };
}

async function findRow(dir: string, document: string): Promise<LedgerRow | undefined> {
  for await (const row of readLedger(dir)) {
    // A held-out part is named `<id>#<label>`.
    if (row.id === document || row.url === document || document.startsWith(`${row.id}#`)) return row;
  }
  return undefined;
}

function placesOf(path: string): Places {
  const holding = (dirs: readonly string[], name: string): string | undefined =>
    dirs.find((dir) => existsSync(join(dir, name)));
  const artefact = enclosingArtefact(path);
  const family = artefact === undefined ? [] : ancestors(familyTree(artefact));
  // The run folder around the path: the nearest one above it that has folders of stages.
  const run = runFolderAt(path);
  const dirs = [...family, ...(run === undefined ? [] : Object.values(stageFolders).map((name) => join(run, name)))];
  return {
    documents: holding(dirs, ledgerName),
    tokens: holding(dirs, packedDocumentsName),
    pretrain:
      family.find((dir) => isPretrained(findManifest(dir))) ??
      (run === undefined ? undefined : join(run, stageFolders.pretrain)),
  };
}

function ancestors(node: FamilyNode): string[] {
  return node.manifest ? [node.dir, ...node.inputs.flatMap(ancestors)] : [];
}

function runFolderAt(path: string): string | undefined {
  for (let dir = resolve(path), up = ''; dir !== up; up = dir, dir = resolve(dir, '..')) {
    if (existsSync(join(dir, 'recipe.json')) && existsSync(join(dir, stageFolders.documents))) return dir;
  }
  return undefined;
}

/** A model that was trained on token files (not the run, whose manifest has the whole recipe). */
function isPretrained(manifest: Manifest | undefined): boolean {
  const readsTokens = manifest?.inputs.some(({ name }) => name === 'tokens') ?? false;
  return manifest?.kind === 'model' && readsTokens && pretrainPart(manifest.recipe) !== undefined;
}

const partSchema = z.looseObject({ seed: z.int(), pretrain: recipeSchema.shape.pretrain.unwrap() });

function pretrainPart(recipe: unknown): z.infer<typeof partSchema> | undefined {
  const parsed = partSchema.safeParse(recipe);
  return parsed.success ? parsed.data : undefined;
}

function traceTraining(tokensDir: string, dir: string, packed: readonly PackedDocument[]): TrainingTrace | null {
  const manifest = findManifest(dir);
  const saved = join(dir, '..', 'recipe.json');
  const part = pretrainPart(manifest?.recipe ?? (existsSync(saved) ? readJson(saved, 'recipe') : undefined));
  const steps = part?.pretrain.steps;
  if (!part || steps === undefined || steps === null) return null;
  const { sequenceLength, batchSize, goldfish, documentMask, eodLossMask } = part.pretrain;
  const rows = packed.filter(({ split }) => split === 'train');
  const metrics = readLines<{ readonly step: number }>(join(dir, 'metrics.jsonl'));
  const stepsTaken = manifest ? steps : (metrics.at(-1)?.step ?? 0);
  if (rows.length === 0 || !statSync(join(tokensDir, 'train.bin'), { throwIfNoEntry: false })) {
    return { steps, stepsTaken, seen: [] };
  }
  const batches = new TokenBatches({
    path: join(tokensDir, 'train'),
    sequenceLength,
    seed: part.seed,
    samples: steps * batchSize,
    goldfish,
    documentMask,
    eodLossMask,
  });
  try {
    const seen = rows
      .flatMap(({ index }) => batches.whereIs(index))
      .map(({ sample, from, to }) => ({
        step: Math.floor(sample / batchSize) + 1,
        row: sample % batchSize,
        tokens: to - from,
      }))
      .sort((a, b) => a.step - b.step || a.row - b.row);
    return { steps, stepsTaken, seen };
  } finally {
    batches.close();
  }
}

/** The answer for people. */
export function documentTraceText({ ledger, packed, training }: DocumentTrace): string {
  const lines = [
    `document  ${ledger.id}`,
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
    const { seen, steps, stepsTaken } = training;
    const taken = seen.filter(({ step }) => step <= stepsTaken);
    lines.push(
      seen.length === 0
        ? `trained   never: none of ${steps} steps reads it`
        : `trained   seen ${taken.length} of ${seen.length} times after ${stepsTaken} of ${steps} steps`,
    );
    for (const { step, row, tokens } of seen.slice(0, 20)) {
      lines.push(
        `          step ${step}, row ${row}, ${tokens} tokens${step > stepsTaken ? ' (not reached yet)' : ''}`,
      );
    }
    if (seen.length > 20) lines.push(`          and ${seen.length - 20} more (--json lists all)`);
  }
  return `${lines.join('\n')}\n`;
}
