// Who computes and who owns what: logical shards of a step, ranges of the flat parameter buffer.
//
// A step is cut into logical shards whatever the number of ranks; a rank computes a run of neighbouring shards and owns
// a run of neighbouring units of the parameters: it keeps the optimizer's moments of those and updates them.
//
// Does not: move data.

/** Elements between possible bounds of owned ranges. Sums over the buffer go unit by unit, so that they too are the same for every number of ranks. */
export const unitElements = 16_384;

/** [from, to) */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** The part `index` of `count` nearly equal parts of [0, total). */
export function share(total: number, index: number, count: number): Range {
  return { from: Math.floor((index * total) / count), to: Math.floor(((index + 1) * total) / count) };
}

/** Elements of a buffer of `size` that rank `rank` of `world` owns; ranks beyond the number of units own nothing. */
export function ownedRange(size: number, rank: number, world: number): Range {
  const { from, to } = share(Math.ceil(size / unitElements), rank, world);
  return { from: Math.min(size, from * unitElements), to: Math.min(size, to * unitElements) };
}

/** What two ranges have in common, or undefined. */
export function overlap(a: Range, b: Range): Range | undefined {
  const from = Math.max(a.from, b.from);
  const to = Math.min(a.to, b.to);
  return from < to ? { from, to } : undefined;
}
