// Measurements in few numbers: rows for people and programs, and a headline per node for the history.
//
// Does not: judge.
import type { NodeReport, Pass, Work } from './measurements.ts';
import { quantile, type Spread, spreadOf } from './statistics.ts';

/** Milliseconds of one probe in one pass. */
export interface SummaryRow extends Spread {
  readonly node: string;
  /** From 0. */
  readonly pass: number;
  /** A probe, or an exchange of all. */
  readonly probe: string;
  /** The other node. */
  readonly peer?: string;
  /** What the best sample means, and in what. */
  readonly best?: number;
  readonly unit?: string;
}

export function summaryRows(reports: readonly NodeReport[]): SummaryRow[] {
  return reports.flatMap(({ node, passes }) =>
    passes.flatMap((pass, index): SummaryRow[] => {
      const row = (probe: string, samples: readonly number[], more: Partial<SummaryRow> = {}): SummaryRow => ({
        node,
        pass: index,
        probe,
        ...more,
        ...spreadOf(samples),
      });
      return [
        ...worksOf(pass).map(([probe, work]) =>
          row(probe, work.milliseconds, { best: bestRate(work), unit: work.unit }),
        ),
        ...Object.entries(pass.collectives).map(([name, samples]) => row(name, samples)),
        ...pass.pairs.flatMap(({ peer, latency, transfer }) => [
          row('latency', latency, { peer }),
          row('transfer', transfer, { peer }),
        ]),
      ];
    }),
  );
}

function worksOf(pass: Pass): [string, Work][] {
  return Object.entries(pass.work);
}

function bestRate({ milliseconds, amount }: Work): number {
  return (1000 * amount) / quantile(milliseconds, 0);
}

/**
 * A node in a line: best rates over all passes in their units, the usual milliseconds of exchanges, the cores that others
 * want, the clock's offset in milliseconds. What was not measured is not there.
 */
export function headline({ passes }: NodeReport): Record<string, number> {
  const numbers: Record<string, number> = {};
  const set = (name: string, values: readonly (number | undefined)[], of: (known: number[]) => number): void => {
    const known = values.filter((value) => value !== undefined);
    if (known.length > 0) numbers[name] = Number(of(known).toPrecision(4));
  };
  const most = (values: number[]): number => Math.max(...values);
  for (const probe of ['gemm', 'memory', 'write', 'fsync'] as const) {
    const works = passes.map(({ work }) => work[probe]);
    set(
      probe,
      works.map((work) => work && bestRate(work)),
      most,
    );
  }
  for (const probe of ['latency', 'transfer'] as const) {
    const medians = passes.flatMap(({ pairs }) => pairs.map((pair) => quantile(pair[probe], 0.5)));
    set(probe, medians, (values) => quantile(values, 0.5));
  }
  set(
    'load',
    passes.map(({ load }) => load?.cores),
    most,
  );
  set(
    'clock',
    passes.map(({ clock }) => clock?.offsetMilliseconds),
    (values) => quantile(values, 0.5),
  );
  return numbers;
}
