// Curves of simulated campaigns as an SVG file that stands alone.
//
// Colours differ in lightness too; every mark has a title with its numbers.
//
// Does not: simulate, or choose what is drawn.
import { escapeMarkup } from '../base/markup.ts';
import { ticks } from './report-charts.ts';

const colours = ['#1f5fbf', '#c2570c', '#3d7a2e', '#7b3fa0', '#0f8f9c', '#8a6d00', '#b0305c', '#555b66'] as const;
const frame = { width: 460, height: 320, left: 58, right: 14, top: 34, bottom: 78 } as const;

export interface Curves {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  /** Names of the places on the x axis. */
  readonly categories: readonly string[];
  readonly series: readonly { readonly name: string; readonly values: readonly number[] }[];
}

const r = (value: number): string => value.toFixed(1);

/** Panels side by side. */
export function simulationPicture(description: string, panels: readonly Curves[]): string {
  const width = frame.width * panels.length;
  const drawn = panels.map((panel, i) => `<g transform="translate(${i * frame.width} 0)">${drawPanel(panel)}</g>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${frame.height}" width="${width}" height="${frame.height}" font-family="system-ui, sans-serif" font-size="11" role="img"><title>${escapeMarkup(description)}</title><rect width="${width}" height="${frame.height}" fill="#ffffff"/>\n${drawn.join('\n')}\n</svg>\n`;
}

function drawPanel({ title, xLabel, yLabel, categories, series }: Curves): string {
  const { width, height, left, right, top, bottom } = frame;
  const all = series.flatMap(({ values }) => values);
  const yTicks = ticks(Math.min(...all), Math.max(...all), 5);
  const [y0, y1] = [yTicks[0] as number, yTicks.at(-1) as number];
  const y = (value: number): number => height - bottom - ((value - y0) / (y1 - y0 || 1)) * (height - top - bottom);
  const x = (at: number): number => left + ((at + 0.5) / categories.length) * (width - left - right);
  const grid = yTicks.map(
    (value) =>
      `<line x1="${left}" x2="${width - right}" y1="${r(y(value))}" y2="${r(y(value))}" stroke="#e0e1dd"/><text x="${left - 6}" y="${r(y(value))}" dy="0.32em" text-anchor="end" fill="#5b6270">${value}</text>`,
  );
  const names = categories.map(
    (name, i) =>
      `<text x="${r(x(i))}" y="${height - bottom + 16}" text-anchor="middle" fill="#5b6270">${escapeMarkup(name)}</text>`,
  );
  const labels = `<text x="${left}" y="18" font-size="13" font-weight="600" fill="#1c1f24">${escapeMarkup(title)}</text><text transform="rotate(-90)" x="${-(top + height - bottom) / 2}" y="12" text-anchor="middle" fill="#5b6270">${escapeMarkup(yLabel)}</text><text x="${r((left + width - right) / 2)}" y="${height - bottom + 32}" text-anchor="middle" fill="#5b6270">${escapeMarkup(xLabel)}</text>`;
  // About six units a letter.
  const cell = 24 + 6 * Math.max(...series.map(({ name }) => name.length));
  const columns = Math.max(1, Math.floor((width - left) / cell));
  const curves = series.map(({ name, values }, i) => {
    const colour = colours[i % colours.length] as string;
    const path = values.map((value, k) => `${k ? 'L' : 'M'}${r(x(k))} ${r(y(value))}`).join('');
    const marks = values.map(
      (value, k) =>
        `<circle cx="${r(x(k))}" cy="${r(y(value))}" r="3.5" fill="${colour}"><title>${escapeMarkup(`${name}, ${categories[k]}: ${value.toPrecision(4)}`)}</title></circle>`,
    );
    const [column, row] = [i % columns, Math.floor(i / columns)];
    const [legendX, legendY] = [left + column * cell, height - bottom + 50 + row * 16];
    const legend = `<circle cx="${legendX + 4}" cy="${legendY}" r="4" fill="${colour}"/><text x="${legendX + 12}" y="${legendY + 4}" fill="#1c1f24">${escapeMarkup(name)}</text>`;
    return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="1.8"/>${marks.join('')}${series.length > 1 ? legend : ''}`;
  });
  return labels + grid.join('') + names.join('') + curves.join('');
}
