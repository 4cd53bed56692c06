// `belay data optout`: somebody said no after the fact. What holds their documents, and the corpus without them.
//
// The verdicts of the new settings are asked of the addresses in the ledger; then the line runs again, and because its
// tasks know what they read, only the shards that hold such documents, or a copy that now counts, are made again.
//
// Does not: change tokens, checkpoints or models; it names those that hold what is gone, and they are made again by
// running the line.
import { buildCommand } from '@stricli/core';
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { UserError } from '../base/errors.ts';
import type { Json } from '../base/json.ts';
import { type LedgerRow, readLedger } from '../base/ledger.ts';
import { findManifest } from '../base/manifest.ts';
import { loadRecipe, type Recipe, recipePart } from '../base/recipe.ts';
import { type PackedDocument, readPackedDocuments } from '../corpus/pack.ts';
import { optOutName } from '../data/line/line.ts';
import { isPartOf } from '../data/look-up.ts';
import { RobotsSnapshot } from '../data/robots-snapshot.ts';
import { isCorpusStep, type Step } from '../data/step.ts';
import { domainOf } from '../data/steps/opt-out.ts';
import { makeStep } from '../data/steps.ts';
import { checkpointFolders, stepOf } from '../train/checkpoint-folder.ts';
import { runLine } from './line.ts';
import { openRun, type Run } from './run-folder.ts';
import { runOptions, type StageFlags, stageFlags } from './stage-verb.ts';
import { traceTraining } from './trace-document.ts';

interface Flags extends StageFlags {
  readonly domain?: readonly string[];
  readonly snapshot?: string;
  readonly dryRun: boolean;
}

interface Held {
  readonly name: string;
  readonly documents: number;
  /** UTF-8 bytes of text, or tokens. */
  readonly size: number;
}

/** What holds the documents of an opt-out. */
export interface OptOutReport {
  readonly documents: number;
  readonly bytes: number;
  /** By what was said: the domain, or the agents that robots.txt refuses. */
  readonly reasons: Readonly<Record<string, number>>;
  /** Shards of the clean documents; sizes are bytes. */
  readonly shards: readonly Held[];
  /** Token files; sizes are tokens. */
  readonly tokens: readonly Held[];
  /** The first step of pretraining that read one of them; null where none has been, or nothing was trained. */
  readonly firstStep: number | null;
  /** Checkpoints, and models, that were trained on them. */
  readonly checkpoints: readonly string[];
}

/** The settings of a step list with the opt-out added. */
function stepsWith(recipe: Recipe, domains: readonly string[], snapshot: string | undefined) {
  const { steps } = recipePart(recipe, 'data');
  const [first] = steps;
  // Nobody was asked before: only what is said now counts.
  const old = first?.step === optOutName ? first : { step: optOutName, agents: [] };
  const known = (old['domains'] ?? []) as readonly string[];
  const added = domains.map(domainOf).filter((domain) => !known.includes(domain));
  const step = {
    ...old,
    ...(known.length + added.length > 0 ? { domains: [...known, ...added] } : {}),
    ...(snapshot === undefined ? {} : { snapshot }),
  };
  return { step, steps: [step, ...(first?.step === optOutName ? steps.slice(1) : steps)] };
}

/** Kept documents of a ledger that the step drops, with the shard each is in. */
async function affected(dir: string, step: Step): Promise<{ row: LedgerRow; shard: number; why: string }[]> {
  const found: { row: LedgerRow; shard: number; why: string }[] = [];
  for await (const { row, shard } of rowsByShard(dir)) {
    if (row.verdict !== 'kept' || row.url === undefined) continue;
    const { id, url, language, source, licence } = row;
    const verdict = await step.run({ id, url, language, source, licence, text: '' });
    if ('drop' in verdict) found.push({ row, shard, why: verdict.drop.detail ?? verdict.drop.reason });
  }
  return found;
}

async function* rowsByShard(dir: string): AsyncGenerator<{ readonly row: LedgerRow; readonly shard: number }> {
  const names = findManifest(dir)?.files.map(({ path }) => path) ?? [];
  const shards = names.filter((name) => /^ledger-\d+\.jsonl\.gz$/.test(name)).length;
  for (let shard = 0; shard < shards; shard++) {
    for await (const row of readLedger(dir, shard)) yield { row, shard };
  }
}

/** Asks who holds documents of an opt-out. */
export async function optOutReport(run: Run, step: Step): Promise<OptOutReport> {
  const documents = run.folder('documents');
  const found = await affected(documents, step);
  const reasons: Record<string, number> = {};
  for (const { why } of found) reasons[why] = (reasons[why] ?? 0) + 1;
  const shards = tally(found, ({ shard, row }) => [`shard ${String(shard).padStart(5, '0')}`, row.bytesOut]);

  const tokensDir = run.folder('tokens');
  const ids = new Set(found.map(({ row }) => row.id));
  const packed: PackedDocument[] = [];
  if (existsSync(tokensDir)) {
    for await (const one of readPackedDocuments(tokensDir)) {
      const own = one.id.includes('#') ? one.id.slice(0, one.id.lastIndexOf('#')) : one.id;
      if (ids.has(one.id) || (ids.has(own) && isPartOf(one.id, own))) packed.push(one);
    }
  }
  const tokens = tally(packed, ({ split, group, tokens: count }) => [group ?? split, count]);
  const pretrain = run.folder('pretrain');
  const trace = packed.length > 0 && existsSync(pretrain) ? traceTraining(tokensDir, pretrain, packed) : null;
  const first = trace?.seen.find(({ step: at, skipped }) => at < trace.stepsTaken && skipped !== true)?.step ?? null;
  const checkpoints =
    first === null ? [] : checkpointFolders(join(pretrain, 'checkpoints')).filter((path) => stepOf(path) > first);
  const models = first === null || !existsSync(join(pretrain, 'model')) ? [] : [join(pretrain, 'model')];
  return {
    documents: found.length,
    bytes: found.reduce((sum, { row }) => sum + row.bytesOut, 0),
    reasons,
    shards,
    tokens,
    firstStep: first,
    checkpoints: [
      ...checkpoints.map((path) => join('pretrain', 'checkpoints', basename(path))),
      ...models.map(() => 'pretrain/model'),
    ],
  };
}

function tally<T>(items: readonly T[], of: (item: T) => readonly [string, number]): Held[] {
  const held = new Map<string, { documents: number; size: number }>();
  for (const item of items) {
    const [name, size] = of(item);
    const one = held.get(name) ?? { documents: 0, size: 0 };
    held.set(name, { documents: one.documents + 1, size: one.size + size });
  }
  return [...held].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, sizes]) => ({ name, ...sizes }));
}

/** The report for people. */
export function optOutText(report: OptOutReport): string {
  const whole = (value: number): string => value.toLocaleString('en');
  const list = (held: readonly Held[], unit: string): string[] =>
    held.map(({ name, documents, size }) => `  ${name}: ${whole(documents)} documents, ${whole(size)} ${unit}`);
  const lines = [
    `documents   ${whole(report.documents)}, ${whole(report.bytes)} bytes`,
    ...Object.entries(report.reasons).map(([reason, count]) => `  ${reason}: ${whole(count)}`),
    `shards      ${report.shards.length}`,
    ...list(report.shards, 'bytes'),
    `tokens      ${whole(report.tokens.reduce((sum, { size }) => sum + size, 0))}`,
    ...list(report.tokens, 'tokens'),
    report.firstStep === null
      ? 'training    none of them was read'
      : `training    first read in step ${report.firstStep + 1}; trained on them:`,
    ...report.checkpoints.map((path) => `  ${path}`),
  ];
  return `${lines.join('\n')}\n`;
}

export const command = buildCommand<Flags>({
  docs: {
    brief: 'take documents out of a corpus after the fact',
    fullDescription: `Names the shards, tokens and checkpoints that hold the documents of a domain, or those that a newer snapshot of
robots.txt files refuses, and makes the shards again that hold them. The recipe of the run keeps the opt-out; the rebuilt
corpus is that of a whole run. Tokens and models are made again by the verbs that made them.

EXAMPLE
  belay data optout --out out/mine --domain example.org
  belay data optout --out out/mine --snapshot robots-store --dry-run`,
  },
  parameters: {
    flags: {
      ...stageFlags,
      domain: {
        kind: 'parsed',
        parse: String,
        brief: 'domain, with all hosts below it (again for more)',
        variadic: true,
        optional: true,
      },
      snapshot: { kind: 'parsed', parse: String, brief: 'robots store or snapshot (docs/robots.md)', optional: true },
      dryRun: { kind: 'boolean', brief: 'name what holds them, change nothing', default: false },
    },
  },
  async func(flags) {
    const { domain = [], snapshot, dryRun } = flags;
    if (domain.length === 0 && snapshot === undefined) {
      throw new UserError('whose documents are to go?', { expected: '--domain NAME or --snapshot STORE' });
    }
    const recipePath = join(flags.out, 'recipe.json');
    if (!existsSync(recipePath)) throw new UserError(`${flags.out} is no run folder`, { expected: recipePath });
    const recipe = await loadRecipe(flags.recipe ?? recipePath);
    const { step: settings, steps } = stepsWith(recipe, domain, snapshot);
    // As it is first: the report is about what is there.
    const options = runOptions(flags);
    const log = options.log;
    const { step: _, ...given } = settings;
    const robots = snapshot === undefined ? { robots: new RobotsSnapshot() } : {};
    const step = await makeStep(optOutName, given, { log, seed: recipe.seed, ...robots });
    if (isCorpusStep(step)) throw new Error('opt-out judges addresses one by one');
    const change = `data.steps=${JSON.stringify(steps)}`;
    const run = await openRun(dryRun ? options : { ...options, set: [...(flags.set ?? []), change] });
    const report = await optOutReport(run, step);
    process.stdout.write(flags.json ? `${JSON.stringify(report as unknown as Json, null, 2)}\n` : optOutText(report));
    if (dryRun) return;
    const results = await runLine(run, 'documents');
    log.line(`documents: ${results.get('documents')?.dir} without them`);
  },
});
