// Which lines are held out of training, and how a classifier does on them.
//
// Does not: train.
import { Random } from '../../base/rng.ts';
import type { FastTextModel } from './model.ts';

/** Decides line by line, so that of every label the same share is held out, evenly over its lines. */
export class HoldOut {
  private readonly share: number;
  private readonly seed: number;
  private readonly sums = new Map<string, number>();

  constructor(share: number, seed: number) {
    this.share = share;
    this.seed = seed;
  }

  takes(label: string): boolean {
    const before = this.sums.get(label) ?? new Random(this.seed, 'classifier', 'hold-out', label).real();
    const sum = before + this.share;
    this.sums.set(label, sum >= 1 ? sum - 1 : sum);
    return sum >= 1;
  }
}

export interface LabelScore {
  /** Held-out texts with this label. */
  readonly texts: number;
  /** Share of the texts called so that are; null where none is called so. */
  readonly precision: number | null;
  /** Share of the texts that are called so; null where there are none. */
  readonly recall: number | null;
}

export interface Scores {
  readonly texts: number;
  readonly accuracy: number | null;
  readonly labels: Readonly<Record<string, LabelScore>>;
}

/** What the model makes of labelled texts. */
export function evaluateClassifier(
  model: FastTextModel,
  texts: readonly { readonly text: string; readonly label: string }[],
): Scores {
  const counts = new Map(model.labels.map((label) => [label, { texts: 0, called: 0, right: 0 }]));
  const of = (label: string): { texts: number; called: number; right: number } => {
    const known = counts.get(label) ?? { texts: 0, called: 0, right: 0 };
    counts.set(label, known);
    return known;
  };
  let right = 0;
  for (const { text, label } of texts) {
    const called = model.predict(text)[0]?.label;
    of(label).texts++;
    if (called !== undefined) of(called).called++;
    if (called !== label) continue;
    of(label).right++;
    right++;
  }
  const share = (part: number, whole: number): number | null => (whole === 0 ? null : part / whole);
  const labels = [...counts.entries()].map(([label, count]): [string, LabelScore] => [
    label,
    { texts: count.texts, precision: share(count.right, count.called), recall: share(count.right, count.texts) },
  ]);
  return { texts: texts.length, accuracy: share(right, texts.length), labels: Object.fromEntries(labels) };
}
