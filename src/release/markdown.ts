// Tables and numbers of the documents in a release, written one way.
//
// Does not: choose what is said.

/** A Markdown table; bars and line breaks in cells cannot break it. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replace(/\s+/g, ' ').replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** A whole number with spaces between thousands: 8 053 338 176. */
export function whole(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ' ');
}

/** A measured value with four decimals. */
export function measured(value: number): string {
  return value.toFixed(4);
}

/** A share as percent with one decimal. */
export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** A fact of a manifest as text: whole numbers as they are, others with four significant digits. */
export function fact(value: unknown): string {
  if (typeof value === 'number') return Number.isInteger(value) && value < 1e12 ? whole(value) : value.toPrecision(4);
  return typeof value === 'string' ? value : JSON.stringify(value);
}
