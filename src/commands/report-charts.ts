// Charts of the report as inline SVG: curves over steps, ranges over repetitions, ranked languages, the family graph.
//
// Colours come from the page's style sheet, so the same drawing works on light and dark. Every chart has a title and a
// description for those who do not see it; numbers are also in tables beside it.
//
// Does not: read files or choose what is drawn.
import { escapeMarkup } from '../base/markup.ts';

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** The frame of a chart: where numbers lie on the drawing, in its own units. */
interface Frame {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}
const frame: Frame = { width: 760, height: 300, left: 52, right: 16, top: 14, bottom: 40 };

/** Round numbers from at most `low` to at least `high`, about `count` of them. */
export function ticks(low: number, high: number, count: number): number[] {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) as number;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: Math.max(1, last - first) + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function svg(label: string, description: string, height: number, content: string): string {
  return `<svg viewBox="0 0 ${frame.width} ${height}" role="img" aria-label="${escapeMarkup(label)}"><title>${escapeMarkup(label)}</title><desc>${escapeMarkup(description)}</desc>${content}</svg>`;
}

const round = (value: number): string => value.toFixed(1);

interface Scales {
  readonly x: (value: number) => number;
  readonly y: (value: number) => number;
  readonly axes: string;
}

/** Linear scales with grid lines and labels. `xTicks` may be empty where the x axis is drawn by the caller. */
function scales(options: {
  readonly x: readonly [number, number];
  readonly xTicks: readonly number[];
  readonly yTicks: readonly number[];
  readonly xLabel: string;
  readonly yLabel: string;
}): Scales {
  const { width, height, left, right, top, bottom } = frame;
  const [x0, x1] = options.x;
  const y0 = options.yTicks[0] as number;
  const y1 = options.yTicks.at(-1) as number;
  const x = (value: number): number => left + ((value - x0) / (x1 - x0 || 1)) * (width - left - right);
  const y = (value: number): number => height - bottom - ((value - y0) / (y1 - y0 || 1)) * (height - top - bottom);
  const grid = options.yTicks
    .map((value) => {
      const at = round(y(value));
      return `<line class="grid" x1="${left}" x2="${width - right}" y1="${at}" y2="${at}"/><text class="tick" x="${left - 8}" y="${at}" dy="0.32em" text-anchor="end">${value}</text>`;
    })
    .join('');
  const below = options.xTicks
    .filter((value) => value >= x0 && value <= x1)
    .map(
      (value) =>
        `<text class="tick" x="${round(x(value))}" y="${height - bottom + 16}" text-anchor="middle">${short(value)}</text>`,
    )
    .join('');
  const labels = `<text class="label" x="${(left + width - right) / 2}" y="${height - 4}" text-anchor="middle">${escapeMarkup(options.xLabel)}</text><text class="label" transform="rotate(-90)" x="${-(top + height - bottom) / 2}" y="12" text-anchor="middle">${escapeMarkup(options.yLabel)}</text>`;
  return { x, y, axes: grid + below + labels };
}

/** 12000 -> 12k */
function short(value: number): string {
  if (Math.abs(value) >= 1e6) return `${value / 1e6}M`;
  return Math.abs(value) >= 10_000 ? `${value / 1e3}k` : String(value);
}

function path(points: readonly Point[], { x, y }: Pick<Scales, 'x' | 'y'>): string {
  return points.map((point, i) => `${i ? 'L' : 'M'}${round(x(point.x))} ${round(y(point.y))}`).join('');
}

/** Means of neighbouring points, so that long runs stay small on the page. */
export function thin(points: readonly Point[], most: number): Point[] {
  if (points.length <= most) return [...points];
  const size = points.length / most;
  return Array.from({ length: most }, (_, i) => {
    const group = points.slice(Math.floor(i * size), Math.max(Math.floor(i * size) + 1, Math.floor((i + 1) * size)));
    const sum = group.reduce((total, { x, y }) => ({ x: total.x + x, y: total.y + y }), { x: 0, y: 0 });
    return { x: sum.x / group.length, y: sum.y / group.length };
  });
}

/** A training loss, step by step and smoothed, with validation losses as dots. */
export function lossChart(
  label: string,
  training: readonly Point[],
  validation: readonly Point[],
  reference?: { readonly name: string; readonly y: number },
): string {
  const points = thin(training, 360);
  let smooth = points[0]?.y ?? 0;
  const smoothed = points.map(({ x, y }) => {
    smooth += (y - smooth) * 0.12;
    return { x, y: smooth };
  });
  const values = [...points, ...validation].map(({ y }) => y).concat(reference ? [reference.y] : []);
  const last = Math.max(1, ...training.map(({ x }) => x));
  const at = scales({
    x: [0, last],
    xTicks: ticks(0, last, 6),
    yTicks: ticks(Math.min(...values), Math.max(...values), 6),
    xLabel: 'step',
    yLabel: 'nats per token',
  });
  const dots = validation
    .map(
      ({ x, y }) =>
        `<circle class="mark-2" cx="${round(at.x(x))}" cy="${round(at.y(y))}" r="4"><title>step ${x}: ${y.toFixed(4)}</title></circle>`,
    )
    .join('');
  const line = reference
    ? `<line class="reference" x1="${frame.left}" x2="${frame.width - frame.right}" y1="${round(at.y(reference.y))}" y2="${round(at.y(reference.y))}"/><text class="note" x="${frame.left + 6}" y="${round(at.y(reference.y) - 6)}">${escapeMarkup(reference.name)}</text>`
    : '';
  const end = points.at(-1);
  return svg(
    label,
    `Training loss over ${training.length} steps, from ${training[0]?.y.toFixed(3) ?? '?'} to ${training.at(-1)?.y.toFixed(3) ?? '?'} nats per token${end && validation.length > 0 ? `; last validation loss ${validation.at(-1)?.y.toFixed(3)}` : ''}.`,
    frame.height,
    `${at.axes}${line}<path class="faint-1" d="${path(points, at)}"/><path class="line-1" d="${path(smoothed, at)}"/>${dots}`,
  );
}

/** A value with its lowest and highest over seeds. */
export interface Range {
  readonly mean: number;
  readonly min: number;
  readonly max: number;
}

/** Two series of ranges over ordered categories. */
export function rangeChart(
  label: string,
  yLabel: string,
  xLabel: string,
  categories: readonly string[],
  series: readonly (readonly Range[])[],
): string {
  const all = series.flat();
  const at = scales({
    x: [-0.5, categories.length - 0.5],
    xTicks: [],
    yTicks: ticks(Math.min(0, ...all.map(({ min }) => min)), Math.max(0.1, ...all.map(({ max }) => max)), 5),
    xLabel,
    yLabel,
  });
  const names = categories
    .map(
      (name, i) =>
        `<text class="tick" x="${round(at.x(i))}" y="${frame.height - frame.bottom + 16}" text-anchor="middle">${escapeMarkup(name)}</text>`,
    )
    .join('');
  const drawn = series.map((ranges, s) => {
    const shift = (s - (series.length - 1) / 2) * 0.12;
    const marks = ranges
      .map(({ mean, min, max }, i) => {
        const x = round(at.x(i + shift));
        return `<line class="whisker-${s + 1}" x1="${x}" x2="${x}" y1="${round(at.y(min))}" y2="${round(at.y(max))}"/><circle class="mark-${s + 1}" cx="${x}" cy="${round(at.y(mean))}" r="5"><title>${escapeMarkup(categories[i] ?? '')}: ${mean.toFixed(4)} (${min.toFixed(4)} to ${max.toFixed(4)})</title></circle>`;
      })
      .join('');
    return `<path class="line-${s + 1}" d="${path(
      ranges.map(({ mean }, i) => ({ x: i + shift, y: mean })),
      at,
    )}"/>${marks}`;
  });
  return svg(
    label,
    `${yLabel} for ${categories.join(', ')}; lines are means, bars reach from the lowest to the highest seed.`,
    frame.height,
    at.axes + names + drawn.join(''),
  );
}

/** Values of many languages in ascending order, as thin columns, with a baseline value each. */
export function rankedChart(
  label: string,
  yLabel: string,
  rows: readonly { readonly name: string; readonly value: number; readonly baseline: number }[],
): string {
  const at = scales({
    x: [0, rows.length],
    xTicks: [],
    yTicks: ticks(0, Math.max(...rows.map(({ value, baseline }) => Math.max(value, baseline))), 5),
    xLabel: `${rows.length} languages, from the lowest to the highest`,
    yLabel,
  });
  const width = (frame.width - frame.left - frame.right) / rows.length;
  const columns = rows
    .map(({ name, value, baseline }, i) => {
      const x = at.x(i);
      const top = at.y(value);
      return `<rect class="column-1" x="${round(x)}" y="${round(top)}" width="${Math.max(0.6, width * 0.8).toFixed(2)}" height="${round(at.y(0) - top)}"><title>${escapeMarkup(name)}: ${value.toFixed(3)}, unigram ${baseline.toFixed(3)}</title></rect>`;
    })
    .join('');
  const dots = rows
    .map(
      ({ baseline }, i) =>
        `<circle class="mark-2" cx="${round(at.x(i) + width * 0.4)}" cy="${round(at.y(baseline))}" r="${rows.length > 60 ? 1.6 : 3.5}"/>`,
    )
    .join('');
  return svg(
    label,
    `${yLabel} of ${rows.length} languages: columns are the model, dots the unigram.`,
    frame.height,
    at.axes + columns + dots,
  );
}

export interface GraphNode {
  readonly id: string;
  readonly title: string;
  readonly subtitle: string;
  /** Ids of the nodes it was made from. */
  readonly from: readonly string[];
}

/** Artefacts as boxes in columns, each to the right of everything it was made from. */
export function familyGraph(label: string, nodes: readonly GraphNode[]): string {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const depths = new Map<string, number>();
  const depthOf = (id: string): number => {
    const known = depths.get(id);
    if (known !== undefined) return known;
    depths.set(id, 0);
    const depth = Math.max(-1, ...(byId.get(id)?.from ?? []).filter((other) => byId.has(other)).map(depthOf)) + 1;
    depths.set(id, depth);
    return depth;
  };
  const columns: GraphNode[][] = [];
  for (const node of nodes) (columns[depthOf(node.id)] ??= []).push(node);
  const rows = Math.max(1, ...columns.map((column) => column.length));
  const gap = 12;
  const box = { width: (frame.width - gap * (columns.length - 1)) / columns.length, height: 46 };
  const height = rows * (box.height + 22);
  const places = new Map<string, Point>();
  columns.forEach((column, c) => {
    column.forEach((node, r) => {
      const y = ((r + 0.5) * height) / column.length - box.height / 2;
      places.set(node.id, { x: c * (box.width + gap), y });
    });
  });
  let edges = '';
  let boxes = '';
  for (const node of nodes) {
    const to = places.get(node.id) as Point;
    for (const id of node.from) {
      const start = places.get(id);
      if (!start) continue;
      const [x1, y1, x2, y2] = [start.x + box.width, start.y + box.height / 2, to.x, to.y + box.height / 2];
      // A direct neighbour is reached straight; others swing below the boxes between.
      const bend = x2 - x1 > gap + 1 ? box.height * 0.75 : 0;
      const middle = (x2 - x1) / 2;
      edges += `<path class="edge" d="M${round(x1)} ${round(y1)}C${round(x1 + middle)} ${round(y1 + bend)} ${round(x2 - middle)} ${round(y2 + bend)} ${round(x2)} ${round(y2)}"/>`;
    }
    const center = round(to.x + box.width / 2);
    boxes += `<g><title>${escapeMarkup(`${node.title} ${node.id}`)}</title><rect class="box" x="${round(to.x)}" y="${round(to.y)}" width="${round(box.width)}" height="${box.height}" rx="7"/><text class="box-title" x="${center}" y="${round(to.y + 20)}" text-anchor="middle">${escapeMarkup(node.title)}</text><text class="box-note" x="${center}" y="${round(to.y + 36)}" text-anchor="middle">${escapeMarkup(node.subtitle)}</text></g>`;
  }
  const description = nodes
    .map(({ title, from }) => {
      const names = from.map((id) => byId.get(id)?.title).filter((name) => name !== undefined);
      return `${title} from ${names.join(', ') || 'outside'}`;
    })
    .join('; ');
  return svg(label, description, height, edges + boxes);
}

/** One line over steps. */
export function lineChart(label: string, yLabel: string, values: readonly Point[]): string {
  const points = thin(values, 360);
  const [first, last] = [values[0]?.x ?? 0, values.at(-1)?.x ?? 1];
  const at = scales({
    x: [first, Math.max(first + 1, last)],
    xTicks: ticks(first, Math.max(first + 1, last), 6),
    yTicks: ticks(0, Math.max(...points.map(({ y }) => y)), 5),
    xLabel: 'step',
    yLabel,
  });
  const most = values.reduce((max, { y }) => Math.max(max, y), 0);
  return svg(
    label,
    `${yLabel} over ${values.length} steps, at most ${most.toPrecision(3)}.`,
    frame.height,
    `${at.axes}<path class="line-1" d="${path(points, at)}"/>`,
  );
}

/** A stretch of time with what it went into, one after the other. */
export interface TimeBar {
  readonly name: string;
  /** In the unit of the axis, from its zero. */
  readonly from: number;
  readonly parts: readonly {
    readonly kind: 'useful' | 'lost' | 'else';
    readonly length: number;
    readonly title: string;
  }[];
}

/** Stretches of time below each other, on one axis. */
export function timeChart(label: string, xLabel: string, bars: readonly TimeBar[]): string {
  const { width, left, right, top, bottom } = frame;
  const rowHeight = Math.max(5, Math.min(26, 420 / Math.max(1, bars.length)));
  const height = top + bars.length * rowHeight + bottom;
  const end = Math.max(
    ...bars.map(({ from, parts }) => from + parts.reduce((sum, { length }) => sum + length, 0)),
    1e-9,
  );
  const x = (value: number): number => left + (value / end) * (width - left - right);
  const axis = ticks(0, end, 6)
    .filter((value) => value <= end)
    .map(
      (value) =>
        `<line class="grid" x1="${round(x(value))}" x2="${round(x(value))}" y1="${top}" y2="${round(height - bottom)}"/><text class="tick" x="${round(x(value))}" y="${round(height - bottom + 16)}" text-anchor="middle">${short(value)}</text>`,
    )
    .join('');
  const rows = bars.map(({ name, from, parts }, i) => {
    const y = top + i * rowHeight;
    let at = from;
    const drawn = parts.map(({ kind, length, title }) => {
      const start = at;
      at += length;
      if (length <= 0) return '';
      return `<rect class="part-${kind}" x="${round(x(start))}" y="${round(y + rowHeight * 0.15)}" width="${Math.max(0.5, x(at) - x(start)).toFixed(1)}" height="${round(rowHeight * 0.7)}"><title>${escapeMarkup(`${name}: ${title}`)}</title></rect>`;
    });
    const text =
      rowHeight < 11
        ? ''
        : `<text class="tick" x="${left - 8}" y="${round(y + rowHeight / 2)}" dy="0.32em" text-anchor="end">${escapeMarkup(name)}</text>`;
    return drawn.join('') + text;
  });
  return svg(
    label,
    `${bars.length} stretches of time over ${end.toPrecision(3)} ${xLabel}.`,
    height,
    `${axis}${rows.join('')}<text class="label" x="${(left + width - right) / 2}" y="${round(height - 4)}" text-anchor="middle">${escapeMarkup(xLabel)}</text>`,
  );
}
