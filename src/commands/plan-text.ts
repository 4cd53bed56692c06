// A plan as people read it: a table of totals and, where a recipe has phases, one line for each.
//
// Does not: compute; plan-recipe.ts does.
import { amount } from '../base/progress.ts';
import type { PhasePlan } from './plan-phases.ts';
import type { Plan } from './plan-recipe.ts';

/** The plan as a table for people. */
export function planText(plan: Plan): string {
  const rows: [string, string][] = [
    ['recipe', plan.recipe],
    [
      'parameters',
      `${plan.parameters.toLocaleString('en')} (${amount(plan.bodyParameters)} without embedding and head)`,
    ],
  ];
  const { pretrain, phases, cluster, thisMachine } = plan;
  // Where phases differ, what one of them has is in its line below.
  const several = phases.length > 1;
  if (pretrain) {
    const { memory } = pretrain;
    rows.push(
      ['steps', pretrain.steps === null ? 'chosen by the measured rate' : pretrain.steps.toLocaleString('en')],
      [
        'tokens',
        `${pretrain.tokens === null ? '?' : amount(pretrain.tokens)}${several ? '' : ` (${amount(pretrain.tokensPerStep)} a step)`}`,
      ],
      [
        'FLOPs per token',
        `${scientific(pretrain.flopsPerToken)} (${several ? 'mean' : `sequences of ${(phases[0] ?? pretrain).sequenceLength}`})`,
      ],
      ['FLOPs in all', pretrain.flops === null ? '?' : scientific(pretrain.flops)],
      [
        'memory, one process',
        `${byteText(memory.total)}: weights ${byteText(memory.weights)}, gradients ${byteText(memory.gradients)}, optimizer ${byteText(memory.optimizer)}, sums of shards ${byteText(memory.waiting)}, checkpoint ${byteText(memory.snapshot)}, activations ${byteText(memory.activations)} (${pretrain.microBatchSize} sequences at once)`,
      ],
      ['checkpoint', byteText(pretrain.checkpointBytes)],
    );
  }
  rows.push(['release', byteText(plan.releaseBytes)], ['cache', `${byteText(plan.cacheBytesPerToken)} per token`]);
  if (cluster) {
    const energy = cluster.energyMegawattHours;
    rows.push([
      'cluster',
      `${cluster.devices.toLocaleString('en')} devices at ${amount(cluster.tokensPerSecond)} tokens/s (${scientific(cluster.flopsPerSecondPerDevice)} FLOP/s each): ${timeText(cluster.days)}, ${amount(cluster.deviceHours)} device-hours${energy === null ? '' : `, ${amount(energy)} MWh`}`,
    ]);
  }
  if (thisMachine) {
    rows.push([
      'this machine',
      `${scientific(thisMachine.measuredFlopsPerSecond)} FLOP/s in ${thisMachine.compute} matrix products (${thisMachine.backend}, measured now)${thisMachine.days === null ? '' : `: at best ${timeText(thisMachine.days)}`}`,
    ]);
  }
  const width = Math.max(...rows.map(([name]) => name.length));
  const totals = rows.map(([name, text]) => `${name.padEnd(width)}  ${text}\n`).join('');
  return several || isNamed(phases) ? `${totals}\n${phaseTable(phases)}\n${mixtureText(phases)}` : totals;
}

/** Whether the recipe has phases, be it one: a recipe without any trains on `train` alone. */
function isNamed([phase]: readonly PhasePlan[]): boolean {
  return phase !== undefined && phase.name !== 'all';
}

/** One line for each phase. */
function phaseTable(phases: readonly PhasePlan[]): string {
  const hasCluster = phases.some(({ cluster }) => cluster !== null);
  const head = [
    'phase',
    'from step',
    'steps',
    'from token',
    'tokens',
    'context',
    'RoPE base',
    'batch',
    'learning rate',
    'FLOPs',
    ...(hasCluster ? ['devices', 'device-hours', 'days', 'MWh'] : []),
  ];
  const lines = phases.map(({ cluster, ...phase }) => [
    phase.name,
    phase.startStep.toLocaleString('en'),
    phase.steps.toLocaleString('en'),
    amount(phase.startTokens),
    amount(phase.tokens),
    `${phase.sequenceLength}${phase.documentMask ? '' : ' (no mask)'}`,
    phase.ropeTheta.toLocaleString('en'),
    range(phase.batchSize, (value) => value.toLocaleString('en')),
    `${range(phase.learningRate, rateText)}${phase.resetOptimizer ? ' (optimizer anew)' : ''}`,
    scientific(phase.flops),
    ...(hasCluster
      ? [
          cluster ? cluster.devices.toLocaleString('en') : '?',
          cluster ? amount(cluster.deviceHours) : '?',
          cluster ? cluster.days.toFixed(1) : '?',
          cluster?.energyMegawattHours == null ? '?' : amount(cluster.energyMegawattHours),
        ]
      : []),
  ]);
  const widths = head.map((name, i) => Math.max(name.length, ...lines.map((line) => (line[i] as string).length)));
  const row = (cells: readonly string[]): string =>
    `${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number))).join('  ')}\n`;
  return [head, ...lines].map(row).join('');
}

/** What each phase reads: shares of its samples and, where the recipe says how much there is, how often. */
function mixtureText(phases: readonly PhasePlan[]): string {
  const width = Math.max(...phases.map(({ name }) => name.length));
  return phases
    .map(({ name, mixture }) => {
      const sets = mixture.map(
        ({ data, share, epochs }) =>
          `${data} ${percent(share)}${epochs === null ? '' : ` (x${epochs.toPrecision(2)})`}`,
      );
      return `${name.padEnd(width)}  ${sets.join(', ')}\n`;
    })
    .join('');
}

function range([first, last]: readonly [number, number], text: (value: number) => string): string {
  return first === last ? text(first) : `${text(first)} -> ${text(last)}`;
}

function rateText(rate: number): string {
  return rate === 0 ? '0' : Number(rate.toPrecision(3)).toExponential();
}

function percent(share: number): string {
  const value = 100 * share;
  return `${value >= 9.95 ? value.toFixed(0) : value.toPrecision(2)} %`;
}

function scientific(value: number): string {
  return value.toExponential(2).replace('e+', 'e');
}

function byteText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  const power = Math.max(0, Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  return `${(bytes / 1000 ** power).toPrecision(3)} ${units[power]}`;
}

function timeText(days: number): string {
  if (days >= 730) return `${amount(days / 365.25)} years`;
  if (days >= 2) return `${days.toFixed(1)} days`;
  const minutes = days * 1440;
  return minutes >= 120
    ? `${(minutes / 60).toFixed(1)} hours`
    : minutes >= 2
      ? `${minutes.toFixed(1)} minutes`
      : `${(minutes * 60).toFixed(1)} seconds`;
}
