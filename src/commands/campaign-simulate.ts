// `belay campaign simulate`: a campaign on paper, from a set of assumptions, one or two of which may be swept.
//
// Does not: simulate; cluster/simulate.ts does. Know anything of a real campaign.
import { buildCommand } from '@stricli/core';
import { z } from 'zod';
import { writeFileAtomic } from '../base/atomic.ts';
import { closest, UserError } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { type AssumptionSet, assumptionSets } from '../cluster/assumptions.ts';
import {
  parseSimulation,
  type Simulation,
  type SimulationResult,
  simulateMean,
  simulationSchema,
} from '../cluster/simulate.ts';
import { youngDaly } from '../train/interval.ts';
import { simulationPicture } from './simulate-picture.ts';

const day = 86_400;

/** Assumptions that settings of the simulation follow from. */
const derived = ['tokens', 'tokensPerSecondPerDevice', 'devicesPerNode', 'mtbfSeconds', 'mtbfNodes'] as const;
const settingNames = Object.keys(simulationSchema.shape);
const knownNames = [...settingNames, ...derived];

const setSchema = z.strictObject({
  about: z.string(),
  settings: z.record(z.string(), z.strictObject({ value: z.union([z.number(), z.string()]), source: z.string() })),
  published: z.strictObject({ days: z.number().positive(), source: z.string() }).optional(),
});

export type AssumptionValues = Readonly<Record<string, number | string>>;

export interface Sweep {
  readonly name: string;
  readonly values: readonly (number | string)[];
}

export interface SimulateOptions {
  /** Name of a shipped set, or a JSON file. */
  readonly assume: string;
  /** In place of values of the set. */
  readonly set?: AssumptionValues;
  /** At most two: curves over the first, one for each value of the second. */
  readonly sweep?: readonly Sweep[];
  /** Simulations of each point, with seeds from 1. */
  readonly runs?: number;
}

export interface SimulatedPoint {
  readonly at: AssumptionValues;
  readonly settings: Simulation;
  readonly result: SimulationResult & { readonly runs: number; readonly goodputDeviation: number };
  readonly days: number;
}

export interface SimulatedCampaign {
  readonly assumptions: AssumptionSet;
  readonly sweep: readonly Sweep[];
  readonly points: readonly SimulatedPoint[];
}

/** A shipped set by name, or one of a file. */
export function loadAssumptions(nameOrPath: string): AssumptionSet {
  const names = Object.keys(assumptionSets);
  const shipped = Object.hasOwn(assumptionSets, nameOrPath) ? assumptionSets[nameOrPath] : undefined;
  if (shipped) return shipped;
  if (!nameOrPath.endsWith('.json')) {
    const near = closest(nameOrPath, names);
    throw new UserError(`there are no assumptions "${nameOrPath}"`, {
      expected: `${names.join(', ')}, or a .json file`,
      ...(near === undefined ? {} : { next: `did you mean ${near}?` }),
    });
  }
  const parsed = setSchema.safeParse(readJson(nameOrPath, 'file of assumptions'));
  if (!parsed.success) {
    throw new UserError(`${nameOrPath} is no set of assumptions`, {
      found: z.prettifyError(parsed.error).replaceAll('\n', '\n            '),
      next: 'belay campaign simulate --json prints one that is',
    });
  }
  const { about, settings, published } = parsed.data;
  return { about, settings, ...(published ? { published } : {}) };
}

/** Simulates every point of the sweeps. */
export function simulateCampaign(options: SimulateOptions): SimulatedCampaign {
  const { set = {}, sweep = [], runs = 20 } = options;
  const assumptions = loadAssumptions(options.assume);
  if (sweep.length > 2) {
    throw new UserError('at most two assumptions can be swept', { found: sweep.map(({ name }) => name).join(', ') });
  }
  const base = Object.fromEntries(Object.entries(assumptions.settings).map(([name, { value }]) => [name, value]));
  const [first, second] = sweep;
  const rows = (second?.values ?? [undefined]).flatMap((b) =>
    (first?.values ?? [undefined]).map(
      (a): Record<string, number | string> => ({
        ...(first && a !== undefined ? { [first.name]: a } : {}),
        ...(second && b !== undefined ? { [second.name]: b } : {}),
      }),
    ),
  );
  const points = rows.map((at): SimulatedPoint => {
    const settings = settingsOf({ ...base, ...set, ...at }, options.assume);
    const result = simulateMean(settings, runs);
    return { at, settings, result, days: result.seconds / day };
  });
  return { assumptions, sweep, points };
}

/** Settings from assumptions: times from words, work from tokens, the life of a node from that of a job. */
export function settingsOf(values: AssumptionValues, where: string): Simulation {
  for (const name of Object.keys(values)) {
    if (knownNames.includes(name)) continue;
    const near = closest(name, knownNames);
    throw new UserError(`the simulation ${where} has no assumption "${name}"`, {
      expected: knownNames.join(', '),
      ...(near === undefined ? {} : { next: `did you mean ${near}?` }),
    });
  }
  const number = (name: string): number | undefined => {
    const value = values[name];
    return value === undefined ? undefined : numberOf(value, name);
  };
  const input: Record<string, unknown> = {};
  for (const name of settingNames) {
    const value = values[name];
    if (value === undefined || value === 'young') continue;
    const isText = name === 'recovery' || name === 'shrink';
    input[name] = isText ? value : value === 'none' ? null : numberOf(value, name);
  }
  const nodes = number('nodes');
  const [tokens, rate, devices] = [number('tokens'), number('tokensPerSecondPerDevice'), number('devicesPerNode')];
  if (values['workSeconds'] === undefined && tokens && rate && devices && nodes) {
    // More nodes are taken to train as much faster.
    input['workSeconds'] = tokens / (rate * devices * nodes);
  }
  const mtbf = number('mtbfSeconds');
  if (values['nodeMtbfSeconds'] === undefined && mtbf !== undefined) {
    input['nodeMtbfSeconds'] = mtbf * (number('mtbfNodes') ?? nodes ?? 1);
  }
  if (values['intervalSeconds'] === 'young') {
    const [stall, life] = [input['stallSeconds'], input['nodeMtbfSeconds']];
    if (typeof stall === 'number' && typeof life === 'number' && nodes) {
      input['intervalSeconds'] = Math.max(youngDaly(stall, life / nodes), Number(input['writeSeconds'] ?? 0), 1e-3);
    }
  }
  return parseSimulation(input, where);
}

const units: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: day, y: 365 * day };

/** 90 -> 90, '90s' -> 90, '1.5h' -> 5400. */
function numberOf(value: number | string, name: string): number {
  if (typeof value === 'number') return value;
  const [, digits, unit] = /^(\d+(?:\.\d+)?(?:e\d+)?)([smhdy]?)$/.exec(value) ?? [];
  if (digits === undefined || (unit !== '' && !/Seconds$/.test(name))) {
    throw new UserError(`${name} is not understood`, {
      found: value,
      expected: /Seconds$/.test(name) ? 'seconds, or 90s, 15m, 3h, 2d, 5y' : 'a number',
    });
  }
  return Number(digits) * (units[unit || 's'] as number);
}

/** `name=a,b,c` */
function parseSweep(text: string): Sweep {
  const [, name, list] = /^(\w+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || list === undefined) {
    throw new UserError('a sweep is not understood', { found: text, expected: 'NAME=VALUE,VALUE,...' });
  }
  return { name, values: list.split(',') };
}

function parseSet(text: string): readonly [string, string] {
  const [, name, value] = /^(\w+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    throw new UserError('a value is not understood', { found: text, expected: 'NAME=VALUE' });
  }
  return [name, value];
}

const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;

/** The points as a table, and what became of the time. */
export function simulationText({ assumptions, sweep, points }: SimulatedCampaign): string {
  const names = sweep.map(({ name }) => name);
  const head = [
    ...names,
    'days',
    'goodput',
    '+-',
    'of node time',
    'failures',
    'links',
    'redone',
    'saving',
    'detecting',
    'starting',
    'queued',
    'waiting',
  ];
  const rows = points.map(({ at, result, days }) => [
    ...names.map((name) => String(at[name])),
    result.finished === 1 ? days.toFixed(1) : 'never',
    percent(result.goodput),
    percent(result.goodputDeviation),
    percent(result.nodeGoodput),
    result.failures.toFixed(0),
    result.links.toFixed(0),
    ...[result.lost, result.saving, result.detecting, result.starting, result.queued, result.waiting].map((part) =>
      percent(part / result.seconds),
    ),
  ]);
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => (row[i] as string).length)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => cell.padStart(widths[i] as number)).join('  ');
  const { published } = assumptions;
  return [
    assumptions.about,
    `${points[0]?.result.runs} simulations each`,
    '',
    line(head),
    ...rows.map(line),
    ...(published ? ['', `published: ${published.days} days (${published.source})`] : []),
    '',
  ].join('\n');
}

/** Goodput over the first sweep, a curve for each value of the second. */
export function simulationSvg(
  campaigns: readonly { readonly title: string; readonly campaign: SimulatedCampaign }[],
): string {
  const panels = campaigns.map(({ title, campaign: { sweep, points } }) => {
    const [first, second] = sweep;
    if (!first) {
      throw new UserError('a picture needs something that is swept', { next: '--sweep mtbfSeconds=1h,2h,4h,8h' });
    }
    const series = (second?.values ?? ['']).map((value) => ({
      name: second ? `${second.name.replace(/Seconds$/, '')} ${value}` : 'goodput',
      values: points.filter(({ at }) => !second || at[second.name] === value).map(({ result }) => 100 * result.goodput),
    }));
    const xLabel = first.name.replace(/Seconds$/, '');
    return { title, xLabel, yLabel: 'goodput, %', categories: first.values.map(String), series };
  });
  return simulationPicture(campaigns.map(({ title }) => title).join('; '), panels);
}

interface Flags {
  readonly assume: string;
  readonly set?: readonly string[];
  readonly sweep?: readonly string[];
  readonly runs: number;
  readonly picture?: string;
  readonly json: boolean;
}

export const command = buildCommand<Flags>({
  docs: {
    brief: 'a campaign on paper: failures, restarts, spares, checkpoints',
    fullDescription: `Simulates a campaign from a set of assumptions and prints how long it takes and where the time goes: days, goodput
(work over time; also over the time of all nodes held), failures, links, and the shares of what is redone, saved, detected,
started, queued and waited for. One or two assumptions can be swept. docs/scale.md explains the settings.

Sets: ${Object.entries(assumptionSets)
      .map(([name, { about }]) => `${name}: ${about}`)
      .join('\n      ')}

EXAMPLE
  belay campaign simulate
  belay campaign simulate --sweep mtbfSeconds=1h,2h,4h,8h --sweep spares=0,4,16,64 --picture goodput.svg
  belay campaign simulate --set nodes=2048 --set intervalSeconds=young --json`,
  },
  parameters: {
    flags: {
      assume: { kind: 'parsed', parse: String, brief: 'a set of assumptions, or a .json file', default: 'apertus-70b' },
      set: {
        kind: 'parsed',
        parse: String,
        brief: 'another value: NAME=VALUE, times as 90s, 15m, 3h, 2d; may be repeated',
        variadic: true,
        optional: true,
      },
      sweep: {
        kind: 'parsed',
        parse: String,
        brief: 'several values: NAME=VALUE,VALUE,...; at most two of them',
        variadic: true,
        optional: true,
      },
      runs: { kind: 'parsed', parse: Number, brief: 'simulations of each point (default: 20)', default: '20' },
      picture: {
        kind: 'parsed',
        parse: String,
        brief: 'draw goodput over the first sweep to this SVG file',
        optional: true,
      },
      json: {
        kind: 'boolean',
        brief: 'one JSON object: assumptions with their sources, and every point',
        default: false,
      },
    },
  },
  async func({ assume, set = [], sweep = [], runs, picture, json }) {
    if (!Number.isSafeInteger(runs) || runs < 1) {
      throw new UserError('--runs is not understood', { found: String(runs), expected: 'a whole number above 0' });
    }
    const values = Object.fromEntries(set.map(parseSet));
    const campaign = simulateCampaign({ assume, set: values, sweep: sweep.map(parseSweep), runs });
    if (picture !== undefined)
      writeFileAtomic(picture, simulationSvg([{ title: campaign.assumptions.about, campaign }]));
    process.stdout.write(json ? `${JSON.stringify(campaign)}\n` : simulationText(campaign));
  },
});
