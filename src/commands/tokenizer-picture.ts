// A comparison of tokenizers as an SVG file that stands alone: bars for each measure, and what each language costs.
//
// Does not: measure.
import { escapeMarkup } from '../base/markup.ts';
import type { MeasuredTokenizer, TokenizerComparison } from '../tokenizer/metrics.ts';

/** Colours that differ in lightness too; more tokenizers than colours begin again. */
const colours = [
  '#1f5fbf',
  '#c2570c',
  '#3d7a2e',
  '#7b3fa0',
  '#0f8f9c',
  '#8a6d00',
  '#b0305c',
  '#555b66',
  '#111418',
  '#d98a3d',
] as const;
const frame = { width: 880, margin: 16, panel: 200, row: 20, curve: 300 } as const;

const panels: readonly {
  readonly title: string;
  readonly value: (tokenizer: MeasuredTokenizer) => number;
  readonly text: (value: number) => string;
}[] = [
  {
    title: 'Gini of the cost (less is fairer)',
    value: ({ cost }) => cost.lines.gini,
    text: (value) => value.toFixed(3),
  },
  { title: 'tokens per word', value: ({ all }) => all.fertility.sumRatio, text: (value) => value.toFixed(2) },
  { title: 'bytes per token', value: ({ all }) => all.bytesPerToken, text: (value) => value.toFixed(2) },
  {
    title: 'vocabulary in use',
    value: ({ all }) => all.vocabularyUtilisation,
    text: (value) => `${(100 * value).toFixed(0)} %`,
  },
];

const r = (value: number): string => value.toFixed(1);
const colourOf = (i: number): string => colours[i % colours.length] as string;

/** The comparison as SVG. */
export function tokenizerPicture(comparison: TokenizerComparison): string {
  const { tokenizers, lines, languages, texts } = comparison;
  const { width, margin, row } = frame;
  const barsTop = 52;
  const barsHeight = 26 + tokenizers.length * row;
  const curveTop = barsTop + barsHeight + 26;
  const several = languages > 1;
  const height = several ? curveTop + frame.curve + margin : barsTop + barsHeight + margin;
  const step = (width - 2 * margin) / panels.length;
  const bars = panels.map((panel, p) => drawBars(panel, tokenizers, margin + p * step, barsTop, step - 14));
  const title = `${lines} lines in ${languages} ${several ? 'languages' : 'language'} of ${texts}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="11" role="img"><title>Tokenizers compared</title><desc>${escapeMarkup(title)}</desc><rect width="${width}" height="${height}" fill="#ffffff"/>
<text x="${margin}" y="26" font-size="15" font-weight="600" fill="#1c1f24">Tokenizers: ${escapeMarkup(title)}</text>
${bars.join('\n')}
${several ? drawCurves(tokenizers, curveTop) : ''}
</svg>
`;
}

function drawBars(
  { title, value, text }: (typeof panels)[number],
  tokenizers: readonly MeasuredTokenizer[],
  x: number,
  y: number,
  width: number,
): string {
  const most = Math.max(...tokenizers.map(value)) || 1;
  const rows = tokenizers.map((tokenizer, i) => {
    const top = y + 12 + i * frame.row;
    const amount = value(tokenizer);
    const label = `${escapeMarkup(tokenizer.name)} ${text(amount)}`;
    return `<rect x="${r(x)}" y="${top}" width="${r((amount / most) * width)}" height="16" fill="${colourOf(i)}" fill-opacity="0.3"><title>${label}</title></rect><text x="${r(x + 5)}" y="${top + 12}" fill="#1c1f24">${label}</text>`;
  });
  return `<text x="${r(x)}" y="${y + 4}" font-weight="600" fill="#1c1f24">${title}</text>${rows.join('')}`;
}

/** A line for each tokenizer: tokens per line of its languages, cheapest first. */
function drawCurves(tokenizers: readonly MeasuredTokenizer[], top: number): string {
  const { width, margin, curve } = frame;
  const sorted = tokenizers.map(({ cost }) => Object.entries(cost.lines.perLanguage).sort(([, a], [, b]) => a - b));
  // By doublings: languages differ by factors.
  const values = sorted.flatMap((rows) => [rows[0]?.[1] ?? 1, rows.at(-1)?.[1] ?? 1]);
  const lowest = Math.floor(Math.log2(Math.min(...values)));
  const highest = Math.max(lowest + 1, Math.ceil(Math.log2(Math.max(...values))));
  const yTicks = Array.from({ length: highest - lowest + 1 }, (_, i) => 2 ** (lowest + i));
  const [left, right, bottom] = [margin + 40, width - margin, top + curve - 30];
  const count = sorted[0]?.length ?? 1;
  const x = (i: number): number => left + (i / Math.max(1, count - 1)) * (right - left);
  const y = (value: number): number =>
    bottom - ((Math.log2(value) - lowest) / (highest - lowest)) * (bottom - top - 14);
  const grid = yTicks.map(
    (value) =>
      `<line x1="${left}" x2="${right}" y1="${r(y(value))}" y2="${r(y(value))}" stroke="#e0e1dd"/><text x="${left - 6}" y="${r(y(value))}" dy="0.32em" text-anchor="end" fill="#5b6270">${value}</text>`,
  );
  const lines = sorted.map((rows, i) => {
    const path = rows.map(([, value], k) => `${k ? 'L' : 'M'}${r(x(k))} ${r(y(value))}`).join('');
    const [dearest, most] = rows.at(-1) as [string, number];
    const label = `${tokenizers[i]?.name}: ${rows[0]?.[0]} ${rows[0]?.[1].toFixed(1)} to ${dearest} ${most.toFixed(1)}`;
    return `<path d="${path}" fill="none" stroke="${colourOf(i)}" stroke-width="1.8"><title>${escapeMarkup(label)}</title></path>`;
  });
  return `<text x="${margin}" y="${top}" font-weight="600" fill="#1c1f24">tokens per line of each language, for each tokenizer from the cheapest to the dearest</text>${grid.join('')}${lines.join('')}<text x="${(left + right) / 2}" y="${bottom + 18}" text-anchor="middle" fill="#5b6270">${count} languages</text>`;
}
