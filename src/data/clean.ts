// The cleaning stage: raw documents to training and validation documents, with the ledger that says why.
//
// The work is cut into tasks by line/plan.ts and done below `<dir>.work`, by threads here or by a cluster's jobs; what
// is up to date there is not done again, so after a kill the stage goes on, and after a change of a step or of a
// robots.txt only what it touches is made again. The stage's folder is put together from the shards at the end.
//
// Does not: know what steps do.
import { copyFileSync, existsSync, linkSync, mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { writeFileAtomic, writeJsonAtomic } from '../base/atomic.ts';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import { type Json, readJson } from '../base/json.ts';
import {
  FunnelCounter,
  funnelName,
  type FunnelPart,
  type LedgerRow,
  readLedger,
  type Unasked,
} from '../base/ledger.ts';
import { type Manifest, readManifest } from '../base/manifest.ts';
import type { Log } from '../base/progress.ts';
import { type Recipe, recipePart } from '../base/recipe.ts';
import { runStage, type StageResult } from '../base/stage.ts';
import { type TaskFolder, type TaskMarker, taskName } from '../base/tasks.ts';
import { tokenizerFile } from '../tokenizer/bpe.ts';
import { type SourceFile, sourceKind, sourceListName } from './build-source.ts';
import { funnelParquet, funnelParquetName } from './funnel-parquet.ts';
import { funnelPicture, funnelPictureName } from './funnel-picture.ts';
import { loadLanguageIdentifier } from './language-id.ts';
import { ledgerPart, type ShardFacts } from './line/final-task.ts';
import { matchName } from './line/judge-tasks.ts';
import { finalLevel, type LinePlan, optOutName, type PlannedStep, probesLevel, readLevel } from './line/line.ts';
import { openLine, plannedSteps, planName, shardsOf, stepNamesOf } from './line/plan.ts';
import { runTasks } from './line/pool.ts';
import { documentsName, recordsName } from './line/records.ts';
import { type Planted, plantedName } from './planted.ts';
import { probeDocumentsName, probesKind, probesName, type ProbesFile } from './probes/build.ts';
import { reconcile, reconcileProbes } from './reconcile.ts';
import { agreementOf, type LanguageSettings, modelPaths } from './steps/language.ts';

export const documentsKind = 'documents';
export const identificationName = 'identification.json';
export const removedName = 'removed';

export interface CleanOptions {
  /** The folder to fill. */
  readonly dir: string;
  readonly recipe: Recipe;
  /** A folder made by `buildSource`. */
  readonly source: string;
  readonly log: Log;
  /** Also keep the dropped documents, in `removed/<step>-<shard>.jsonl.gz`. */
  readonly keepRemoved?: boolean;
  /** Threads; default: a core each. Decides no byte. */
  readonly workers?: number;
  /** Keep what passes hand to each other, which the next change of the recipe can start from. */
  readonly keepIntermediate?: boolean;
}

/** Cleans documents: shards for training and validation, the ledger, the funnel and `identification.json`. */
export async function cleanDocuments(options: CleanOptions): Promise<StageResult> {
  const { dir, source, log, keepIntermediate = false } = options;
  const plan = planOf(options);
  const { shards: _, exempt: __, source: from, countTokens, probes, ...rest } = plan;
  const part = {
    ...rest,
    languages: from.languages,
    maxPages: from.maxPages,
    shards: plan.shards.length,
    probes: probes?.sha256 ?? null,
    countTokens: countTokens?.sha256 ?? null,
  };
  return runStage({
    dir,
    kind: documentsKind,
    version: 4,
    recipe: part as unknown as Json,
    inputs: { source, ...(probes ? { probes: dirname(probes.path) } : {}) },
    onStart: (what) => log.line(what === 'skip' ? `documents: ${dir} is up to date` : 'documents: cleaning'),
    async run(aside) {
      const work = workFolder(dir);
      const folder = await makeShards(work, plan, options);
      const facts = await assemble(aside, folder, plan, options);
      if (!keepIntermediate) discard(folder);
      return facts;
    },
  });
}

/** Where the tasks of a stage's folder are. */
export function workFolder(dir: string): string {
  return `${resolve(dir)}.work`;
}

/** Writes the plan of a stage into its work folder, for whoever does its tasks. */
export function writePlan(options: CleanOptions): string {
  const work = workFolder(options.dir);
  mkdirSync(work, { recursive: true });
  writeJsonAtomic(join(work, planName), planOf(options));
  return work;
}

function planOf({ recipe, source, keepRemoved = false }: CleanOptions): LinePlan {
  const data = recipePart(recipe, 'data');
  const manifest = readManifest(source);
  if (manifest.kind !== sourceKind) {
    throw new UserError(`${source} is no source`, {
      found: `an artefact of kind ${manifest.kind}`,
      expected: `kind ${sourceKind}`,
    });
  }
  const plants = plantsOf(source)?.plants ?? [];
  const files = sourceFiles(source, manifest);
  return {
    seed: recipe.seed,
    source: data.source,
    heldOutSections: data.heldOutSections,
    heldOutShare: data.heldOutShare,
    steps: plannedSteps(data),
    // So many documents of a source are its first ones: the files must be read one after the other.
    shards: shardsOf(files, data.source.maxPages > 0 ? Number.POSITIVE_INFINITY : data.shardBytes),
    exempt: plants.filter(({ kind }) => kind === 'probe').map(({ id }) => id),
    keepRemoved,
    countTokens: tokenizerAt(data.countTokens),
    probes: probesAt(data.probes),
  };
}

function probesAt(path: string | null): LinePlan['probes'] {
  if (path === null) return null;
  const manifest = readManifest(path);
  if (manifest.kind !== probesKind) {
    throw new UserError(`${path} has no probes`, {
      found: `an artefact of kind ${manifest.kind}`,
      expected: `kind ${probesKind}`,
      next: 'make some with: belay data probes',
    });
  }
  const file = resolve(path, probeDocumentsName);
  return { path: file, sha256: hashFile(file).sha256 };
}

function tokenizerAt(path: string | null): LinePlan['countTokens'] {
  if (path === null) return null;
  const file = resolve(tokenizerFile(path));
  if (!existsSync(file)) {
    throw new UserError('the tokenizer that counts tokens is not there', {
      found: path,
      expected: 'a tokenizer.json, or a folder that holds one',
      next: 'set data.countTokens in the recipe, or null to count bytes alone',
    });
  }
  return { path: file, sha256: hashFile(file).sha256 };
}

function plantsOf(source: string): Planted | undefined {
  const path = join(source, plantedName);
  return existsSync(path) ? (readJson(path, 'list of plants') as unknown as Planted) : undefined;
}

/** The files of a source, in reading order. */
function sourceFiles(source: string, manifest: Manifest): SourceFile[] {
  const list = join(source, sourceListName);
  if (existsSync(list)) return readJson(list, 'list of source files') as unknown as SourceFile[];
  return manifest.files
    .filter(({ path }) => /\.warc\.gz$/.test(path))
    .map(({ path, ...file }) => ({ path: resolve(source, path), name: path, ...file }));
}

async function makeShards(
  work: string,
  plan: LinePlan,
  { log, workers, ...options }: CleanOptions,
): Promise<TaskFolder> {
  writePlan({ log, ...options });
  const { folder } = await openLine(work, log);
  folder.clean();
  let progress = log.progress('cleaning', 0, 'tasks');
  let done = 0;
  const count = await runTasks({
    dir: work,
    folder,
    workers,
    onLevel({ name, tasks }, stale) {
      done = 0;
      if (stale > 0) progress = log.progress(`cleaning: ${name}, ${stale} of ${tasks.length} tasks`, stale, 'tasks');
    },
    onTask: () => progress.update(++done),
  });
  progress.finish(`shards: ${plan.shards.length}, tasks run: ${count}`);
  return folder;
}

/** Puts the shards together: their files are linked, numbers and funnels added. */
async function assemble(
  dir: string,
  folder: TaskFolder,
  plan: LinePlan,
  { source, log }: CleanOptions,
): Promise<Record<string, Json>> {
  const shards = plan.shards.map((_, shard) => shard);
  const funnel = new FunnelCounter(stepNamesOf(plan), plan.countTokens !== null);
  const passes = [
    readLevel,
    ...folder.levels.map(({ name }) => name).filter((name) => /^(?:pass-\d+|final)$/.test(name)),
  ];
  const counting = passes.flatMap((level) => shards.map((shard) => ({ level, shard })));
  if (plan.probes) counting.push({ level: probesLevel, shard: 0 });
  let read = 0;
  for (const { level, shard } of counting) {
    const task = taskName(level, shard);
    const path = await folder.provide({ task, file: funnelName });
    funnel.add(readJson(path, 'funnel of a shard') as unknown as FunnelPart[]);
    const marker = folder.upToDate(task) as TaskMarker;
    if (level === readLevel) read += Number(marker.facts['documents']) + Number(marker.facts['rejected']);
    for (const { path: file } of marker.files) {
      const step = /^removed-(.*)\.jsonl\.gz$/.exec(file)?.[1];
      if (step !== undefined) await place(folder, task, file, join(dir, removedName, shardName(step, shard)));
    }
  }
  const facts = {
    documents: 0,
    bytes: 0,
    trainDocuments: 0,
    trainBytes: 0,
    validationDocuments: 0,
    validationBytes: 0,
    ...(plan.countTokens ? { tokens: 0, trainTokens: 0, validationTokens: 0 } : {}),
  };
  const languages = new Set<string>();
  const licences: Record<string, number> = Object.create(null);
  const finals = shards.map((shard) => taskName(finalLevel, shard));
  if (plan.probes) finals.push(taskName(probesLevel, 0));
  for (const [shard, task] of finals.entries()) {
    const of = folder.upToDate(task)?.facts as unknown as ShardFacts;
    await place(folder, task, ledgerPart, join(dir, shardName('ledger', shard)));
    for (const part of ['train', 'validation'] as const) {
      for (const { file } of of.shards[part]) {
        // train-00001.jsonl.gz of shard 3 becomes train-00003-00001.jsonl.gz.
        await place(folder, task, file, join(dir, file.replace(/-(?=\d+\.)/, `-${shardNumber(shard)}-`)));
      }
    }
    facts.documents += of.documents;
    facts.trainDocuments += of.trainDocuments;
    facts.trainBytes += of.trainBytes;
    facts.validationDocuments += of.validationDocuments;
    facts.validationBytes += of.validationBytes;
    if (of.trainTokens !== undefined && of.validationTokens !== undefined) {
      facts.trainTokens = (facts.trainTokens ?? 0) + of.trainTokens;
      facts.validationTokens = (facts.validationTokens ?? 0) + of.validationTokens;
    }
    for (const language of of.languages) languages.add(language);
    for (const [licence, count] of Object.entries(of.licences)) licences[licence] = (licences[licence] ?? 0) + count;
  }
  facts.bytes = facts.trainBytes + facts.validationBytes;
  if (plan.countTokens) facts.tokens = (facts.trainTokens ?? 0) + (facts.validationTokens ?? 0);
  const unasked = plan.steps[0]?.step === optOutName ? unaskedOf(folder, shards) : undefined;
  if (unasked) sayUnasked(unasked, robotsHosts(folder), plan, log);
  const steps = funnel.steps.map((each) => (unasked && each.step === optOutName ? { ...each, unasked } : each));
  writeJsonAtomic(join(dir, funnelName), { steps });
  writeFileAtomic(join(dir, funnelParquetName), funnelParquet(funnel.parts));
  writeFileAtomic(join(dir, funnelPictureName), funnelPicture({ steps }));
  const asked = plan.steps.find(({ step }) => step === 'language')?.settings as LanguageSettings | undefined;
  const identifier = loadLanguageIdentifier(modelPaths(asked?.model ?? 'lid.176'));
  const agreement = await agreementOf(readLedger(dir), identifier?.languages ?? new Set());
  writeJsonAtomic(join(dir, identificationName), agreement);
  const planted = plantsOf(source);
  if (planted) fail(await reconcile(planted, ledgerOf(dir, shards)));
  if (plan.probes) {
    read += await checkProbes(plan.probes, ledgerOf(dir, [shards.length]));
  }
  log.line(`documents: ${read} read, ${facts.documents} kept`);
  const dropped = steps.map(({ step, dropped: reasons }) => [
    step,
    Object.values(reasons).reduce((sum, { documents }) => sum + documents, 0),
  ]);
  return {
    ...facts,
    languages: languages.size,
    licences: Object.fromEntries(Object.entries(licences).sort(([a], [b]) => (a < b ? -1 : 1))),
    read,
    dropped: Object.fromEntries(dropped) as Record<string, number>,
    robotsHosts: robotsHosts(folder),
    reconciled: planted !== undefined || plan.probes !== null,
  };
}

/** What opt-out could ask nobody about, in all shards. */
function unaskedOf(folder: TaskFolder, shards: readonly number[]): Unasked {
  const sum = { noAddress: 0, noRobots: 0 };
  for (const shard of shards) {
    const facts = folder.upToDate(taskName(optOutName, shard))?.facts;
    for (const key of ['noAddress', 'noRobots'] as const) sum[key] += Number(facts?.[key] ?? 0);
  }
  return sum;
}

/** An opt-out that nobody could say is not the same as one that nobody said. */
function sayUnasked({ noAddress, noRobots }: Unasked, hosts: number, plan: LinePlan, log: Log): void {
  const { snapshot } = (plan.steps[0] as PlannedStep).settings as { readonly snapshot: string | null };
  if (snapshot === null && hosts === 0) {
    log.line(
      'opt-out: the source holds no robots.txt and the recipe names no snapshot, so nobody was asked (docs/robots.md)',
    );
  }
  if (noAddress + noRobots > 0) {
    log.line(
      `opt-out: kept unasked: ${noAddress} documents without an address, ${noRobots} of hosts whose robots.txt is not known`,
    );
  }
}

function robotsHosts(folder: TaskFolder): number {
  return Number(
    folder.levels.some(({ name }) => name === 'robots') ? folder.upToDate(taskName('robots', 0))?.facts['hosts'] : 0,
  );
}

function shardName(name: string, shard: number): string {
  return `${name}-${shardNumber(shard)}.jsonl.gz`;
}

function shardNumber(shard: number): string {
  return String(shard).padStart(5, '0');
}

/** The same file under another name; a copy where the file system cannot. */
async function place(folder: TaskFolder, task: string, file: string, to: string): Promise<void> {
  const from = await folder.provide({ task, file });
  mkdirSync(dirname(to), { recursive: true });
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to);
  }
}

/** The rows of some shards, in order. */
async function* ledgerOf(dir: string, shards: readonly number[]): AsyncGenerator<LedgerRow> {
  for (const shard of shards) yield* readLedger(dir, shard);
}

/** Compares the rows of the probes with what was planned; returns how many there are. */
async function checkProbes({ path }: NonNullable<LinePlan['probes']>, rows: AsyncIterable<LedgerRow>): Promise<number> {
  const planned = readJson(join(dirname(path), probesName), 'manifest of probes') as unknown as ProbesFile;
  fail(await reconcileProbes(planned.probes, rows));
  return planned.documents;
}

function fail(differences: readonly string[]): void {
  if (differences.length === 0) return;
  const shown = differences.slice(0, 10).join('\n  ');
  throw new Error(`the ledger differs from the plan in ${differences.length} places:\n  ${shown}`);
}

/** Takes away what passes handed to each other; a task that is asked for such a file makes it again. */
function discard(folder: TaskFolder): void {
  for (const { name } of folder.levels) {
    // Signs stay: they are small, and a change in one shard needs those of all.
    if (name === readLevel || name.startsWith('pass-')) folder.discard(name, [documentsName, recordsName]);
    if (name.startsWith('match-')) folder.discard(name, [matchName]);
  }
}
