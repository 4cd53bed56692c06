// The report of a run: one HTML file with its measurements, curves, data funnel and family tree.
//
// Self-contained (no scripts, no requests; the page forbids both) and written only from what the stages left, so it can be
// made again at any time, also for an unfinished run: a section without evidence is left out.
//
// Does not: measure or run anything.
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { writeFileAtomic } from '../base/atomic.ts';
import { readLines } from '../base/events.ts';
import { readJson } from '../base/json.ts';
import { type Funnel, funnelName } from '../base/ledger.ts';
import { findManifest, type Manifest } from '../base/manifest.ts';
import { escapeMarkup } from '../base/markup.ts';
import { amount, duration } from '../base/progress.ts';
import { type Evaluation, evaluationName } from '../evaluate/evaluate-stage.ts';
import type { MemorisationBucket, MemorisationSummary } from '../evaluate/memorisation.ts';
import { memorisationName } from './memorisation-stage.ts';
import { familyGraph, lossChart, type Point, rangeChart, rankedChart } from './report-charts.ts';
import { legend, pageOf, percent, section, table } from './report-page.ts';
import { type StageName, stageFolders } from './run-folder.ts';

export const reportName = 'report.html';

/** A line of metrics.jsonl. */
interface Metrics {
  readonly step: number;
  readonly tokens: number;
  readonly loss: number;
  readonly tokensPerSecond: number;
  readonly validationLoss?: number;
}

/** Everything the page shows, read from a run folder. */
interface ReportData {
  readonly name: string;
  readonly manifests: ReadonlyMap<StageName, Manifest>;
  readonly pretrain: readonly Metrics[];
  readonly sft: readonly Metrics[];
  readonly funnel: Funnel | undefined;
  readonly evaluation: Evaluation | undefined;
  readonly memorisation: (MemorisationSummary & { readonly steps?: number }) | undefined;
  /** Seconds each stage took when it last ran, in the order of the line. */
  readonly seconds: readonly (readonly [string, number])[];
}

/** Writes `report.html` into a run folder and returns its path. */
export async function writeReport(runDir: string): Promise<string> {
  const path = join(runDir, reportName);
  writeFileAtomic(path, reportPage(readReportData(runDir)));
  return path;
}

function readReportData(runDir: string): ReportData {
  const folder = (stage: StageName): string => join(runDir, stageFolders[stage]);
  const optional = <T>(path: string): T | undefined => (existsSync(path) ? (readJson(path) as T) : undefined);
  const manifests = new Map<StageName, Manifest>();
  for (const stage of Object.keys(stageFolders) as StageName[]) {
    const manifest = findManifest(folder(stage));
    if (manifest) manifests.set(stage, manifest);
  }
  const took = new Map<string, number>();
  const events = readLines<{ event: string; stage?: string; seconds?: number }>(join(runDir, 'events.jsonl'));
  for (const { event, stage, seconds } of events) {
    if (event === 'stage' && stage !== undefined && seconds !== undefined) took.set(stage, seconds);
  }
  const recipe = optional<{ readonly name?: string }>(join(runDir, 'recipe.json'));
  return {
    name: recipe?.name ?? basename(runDir),
    manifests,
    pretrain: readLines<Metrics>(join(folder('pretrain'), 'metrics.jsonl')),
    sft: readLines<Metrics>(join(folder('sft'), 'metrics.jsonl')),
    funnel: optional<Funnel>(join(folder('documents'), funnelName)),
    evaluation: optional<Evaluation>(join(folder('evaluation'), evaluationName)),
    memorisation: optional<MemorisationSummary>(join(folder('memorisation'), memorisationName)),
    seconds: Object.keys(stageFolders).flatMap((stage) => {
      const seconds = took.get(stage);
      return seconds === undefined ? [] : [[stage, seconds] as const];
    }),
  };
}

function reportPage(data: ReportData): string {
  const title = `${data.name}: from documents to a model`;
  const sections = [
    headline(data),
    lossSection(data),
    languageSection(data),
    funnelSection(data),
    memorisationSection(data),
    familySection(data),
    timeSection(data),
  ];
  const footer =
    'Every number on this page was read from the files of the run. The recipe is in <code>recipe.json</code>; <code>belay trace</code> follows any file back to its documents.';
  return pageOf({ title, lead: lead(data), sections, footer });
}

function lead({ manifests, funnel, evaluation }: ReportData): string {
  const facts = manifests.get('pretrain')?.facts;
  const parts: string[] = [];
  const read = funnel?.steps[0]?.in.documents;
  if (read !== undefined) parts.push(`${read} documents were read`);
  if (facts)
    parts.push(
      `a model of ${amount(Number(facts['parameters']))} parameters saw ${amount(Number(facts['tokens']))} tokens`,
    );
  const question = evaluation?.languageQuestion;
  if (question) {
    parts.push(
      `it names the language of ${percent(question.accuracy)} of texts it never saw, where guessing gives ${percent(question.chance)}`,
    );
  }
  return parts.length === 0 ? '' : `<p class="lead">${escapeMarkup(sentence(parts.join('; ')))}</p>`;
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function headline({ manifests, pretrain, evaluation, seconds }: ReportData): string {
  const tiles: (readonly [string, string])[] = [];
  const overall = evaluation?.validation.base.overall;
  if (overall) {
    tiles.push(
      [
        overall.bitsPerByte.toFixed(3),
        `bits per byte on held-out documents (unigram ${overall.unigramBitsPerByte.toFixed(3)})`,
      ],
      [
        overall.natsPerToken.toFixed(3),
        `nats per token, the same documents (unigram ${overall.unigramNatsPerToken.toFixed(3)})`,
      ],
    );
  }
  const question = evaluation?.languageQuestion;
  if (question) {
    tiles.push([
      percent(question.accuracy),
      `of ${question.questions} language questions right (chance ${percent(question.chance)})`,
    ]);
  }
  const facts = manifests.get('pretrain')?.facts;
  if (facts)
    tiles.push([amount(Number(facts['parameters'])), `parameters, ${amount(Number(facts['tokens']))} training tokens`]);
  if (pretrain.length > 0) {
    const rates = pretrain.map(({ tokensPerSecond }) => tokensPerSecond).sort((a, b) => a - b);
    tiles.push([amount(rates[rates.length >> 1] as number), 'tokens per second in pretraining (median step)']);
  }
  const total = seconds.reduce((sum, [, value]) => sum + value, 0);
  if (seconds.length > 0) tiles.push([duration(total), 'for all stages together']);
  if (tiles.length === 0) return '';
  return `<ul class="tiles">${tiles.map(([value, what]) => `<li><b>${escapeMarkup(value)}</b><span>${escapeMarkup(what)}</span></li>`).join('')}</ul>`;
}

function lossSection({ pretrain, sft, evaluation }: ReportData): string {
  const points = (lines: readonly Metrics[]): Point[] => lines.map(({ step, loss }) => ({ x: step, y: loss }));
  const validation = (lines: readonly Metrics[]): Point[] =>
    lines.flatMap(({ step, validationLoss }) => (validationLoss === undefined ? [] : [{ x: step, y: validationLoss }]));
  let html = '';
  if (pretrain.length > 0) {
    const unigram = evaluation?.validation.base.overall.unigramNatsPerToken;
    html += section(
      'Pretraining',
      'How well the model predicts the next token while it learns; lower is better. The strong line is smoothed.',
      legend('training loss', ...(validation(pretrain).length > 0 ? ['loss on held-out documents'] : [])) +
        lossChart(
          'Loss in pretraining',
          points(pretrain),
          validation(pretrain),
          unigram === undefined ? undefined : { name: 'unigram on held-out documents', y: unigram },
        ),
    );
  }
  if (sft.length > 0) {
    html += `${html === '' ? '' : '\n'}${section(
      'Fine-tuning on conversations',
      'Loss on what the assistant says, and on nothing else.',
      lossChart('Loss in fine-tuning', points(sft), validation(sft)),
    )}`;
  }
  return html;
}

function languageSection({ evaluation }: ReportData): string {
  if (!evaluation) return '';
  const { base, chat } = evaluation.validation;
  const rows = Object.entries(base.languages)
    .map(([code, loss]) => ({ code, name: evaluation.languageNames[code] ?? code, loss }))
    .sort((a, b) => a.loss.bitsPerByte - b.loss.bitsPerByte);
  const question = evaluation.languageQuestion;
  const all = table(
    ['language', 'code', 'bits per byte', 'unigram', 'nats per token', ...(question ? ['questions right'] : [])],
    rows.map(({ code, name, loss }) => {
      const asked = question?.byLanguage[code];
      return [
        name,
        code,
        loss.bitsPerByte.toFixed(3),
        loss.unigramBitsPerByte.toFixed(3),
        loss.natsPerToken.toFixed(3),
        ...(question ? [asked ? `${asked.correct} of ${asked.questions}` : '-'] : []),
      ];
    }),
    [2, 3, 4, 5],
    rows.map(({ loss }) => loss.bitsPerByte),
  );
  const models = table(
    ['on held-out documents', 'nats per token', 'bits per byte'],
    [
      ['unigram of the training tokens', base.overall.unigramNatsPerToken, base.overall.unigramBitsPerByte] as const,
      ['base model', base.overall.natsPerToken, base.overall.bitsPerByte] as const,
      ...(chat ? [['chat model', chat.overall.natsPerToken, chat.overall.bitsPerByte] as const] : []),
    ].map(([name, nats, bits]) => [name, nats.toFixed(4), bits.toFixed(4)]),
    [1, 2],
  );
  const losses = section(
    'Held-out documents, language by language',
    `${base.overall.documents} documents that neither the tokenizer nor the model saw. Bits per byte compares languages badly (scripts need different numbers of bytes), but each language fairly with its own unigram.`,
    `${models}${legend('base model', 'unigram')}${rankedChart(
      'Bits per byte by language',
      'bits per byte',
      rows.map(({ name, loss }) => ({ name, value: loss.bitsPerByte, baseline: loss.unigramBitsPerByte })),
    )}<details><summary>All ${rows.length} languages</summary><div class="tall">${all}</div></details>`,
  );
  if (!question) return losses;
  const bars: (readonly [string, number])[] = [
    ['chat model', question.accuracy],
    ['always the most frequent answer', question.majority],
    [`guessing among ${question.languages}`, question.chance],
  ];
  return `${losses}\n${section(
    'Which language is this?',
    `${question.questions} texts from held-out documents, answered freely; an answer counts only when it is the name. Standard error ${percent(question.standardError)}.`,
    table(
      ['', 'right'],
      bars.map(([name, value]) => [name, percent(value, 2)]),
      [1],
      bars.map(([, value]) => value),
    ),
  )}`;
}

function funnelSection({ funnel }: ReportData): string {
  if (!funnel || funnel.steps.length === 0) return '';
  return section(
    'What became of the documents',
    'Each step passes a document on, holds it out for validation, or drops it for a reason; the ledger has a line for every one.',
    table(
      ['step', 'documents in', 'documents out', 'bytes out', 'held out whole', 'dropped'],
      funnel.steps.map(({ step, in: before, out, moved, dropped }) => [
        step,
        String(before.documents),
        String(out.documents),
        amount(out.bytes),
        String(moved.documents),
        Object.entries(dropped)
          .map(([reason, { documents }]) => `${reason} ${documents}`)
          .join(', ') || '-',
      ]),
      [1, 2, 3, 4],
      funnel.steps.map(({ out }) => out.documents),
    ),
  );
}

function memorisationSection({ memorisation }: ReportData): string {
  if (!memorisation || memorisation.standard.length === 0) return '';
  const { standard, goldfish, seeds } = memorisation;
  const name = ({ repetitions }: MemorisationBucket): string => (repetitions === 0 ? 'never' : `${repetitions} times`);
  const rows = (
    [
      ['standard', standard],
      ['Goldfish', goldfish],
    ] as const
  ).flatMap(([loss, buckets]) =>
    buckets.map((bucket) => [
      loss,
      name(bucket),
      String(bucket.probes),
      `${bucket.rougeL.mean.toFixed(3)} (${bucket.rougeL.min.toFixed(3)} to ${bucket.rougeL.max.toFixed(3)})`,
      bucket.lccs.mean.toFixed(3),
      percent(bucket.exact.mean),
      bucket.suffixLogprob.mean.toFixed(3),
    ]),
  );
  return section(
    'Memorisation of planted texts',
    `Small side models, ${seeds.length} ${seeds.length === 1 ? 'seed' : 'seeds'} per setting, are given the beginning of a text that was planted so many times. Rouge-L says how much of the rest they give back, 1 being all of it.`,
    `${legend('standard loss', 'Goldfish loss')}${rangeChart(
      'Rouge-L by number of repetitions',
      'Rouge-L',
      'times the text was in the training data',
      standard.map(name),
      [standard.map(({ rougeL }) => rougeL), goldfish.map(({ rougeL }) => rougeL)],
    )}<details><summary>Numbers</summary>${table(
      ['loss', 'planted', 'probes', 'Rouge-L (seeds)', 'longest common run', 'exact', 'log-prob per token'],
      rows,
      [2, 3, 4, 5, 6],
    )}</details>`,
  );
}

function familySection({ manifests }: ReportData): string {
  if (manifests.size === 0) return '';
  const entries = [...manifests];
  const ids = new Set(entries.map(([, { id }]) => id));
  const nodes = entries.map(([stage, { id, inputs }]) => ({
    id,
    title: stage,
    subtitle: id.slice(0, 8),
    from: [...new Set(inputs.map((input) => input.id))].filter((input) => ids.has(input)),
  }));
  const drawn = reduce(nodes);
  return section(
    'Family tree',
    'What was made from what. Every artefact is named by the hash of its content and of what it was made from; links that follow from others are not drawn, the table has all.',
    `${familyGraph('Family tree of the artefacts', drawn)}<details><summary>Artefacts</summary>${table(
      ['stage', 'id', 'made from', 'files', 'bytes'],
      entries.map(([stage, { id, inputs, files }]) => [
        stage,
        id.slice(0, 16),
        inputs.map((input) => `${input.name} ${input.id.slice(0, 8)}`).join(', ') || '-',
        String(files.length),
        amount(files.reduce((sum, file) => sum + file.bytes, 0)),
      ]),
      [3, 4],
    )}</details>`,
  );
}

/** Without the links that a longer way already makes: a graph that can be read. */
function reduce<T extends { readonly id: string; readonly from: readonly string[] }>(nodes: readonly T[]): T[] {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const reaches = (from: string, to: string): boolean =>
    from === to || (byId.get(from)?.from ?? []).some((next) => reaches(next, to));
  return nodes.map((node) => ({
    ...node,
    from: node.from.filter((id) => !node.from.some((other) => other !== id && reaches(other, id))),
  }));
}

function timeSection({ seconds }: ReportData): string {
  if (seconds.length === 0) return '';
  return section(
    'Time',
    'How long each stage took when it last ran.',
    table(
      ['stage', 'time'],
      seconds.map(([stage, value]) => [stage, duration(value)]),
      [1],
      seconds.map(([, value]) => value),
    ),
  );
}
