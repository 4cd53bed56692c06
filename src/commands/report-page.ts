// What pages of reports are made of: the frame, sections, tables. Self-contained: no scripts, no requests; the page forbids both.
//
// Does not: know what is reported.
import { escapeMarkup } from '../base/markup.ts';
import { reportStyle } from './report-style.ts';

/** A page. `lead` and `sections` are markup; those that are empty are left out. `footer` is markup inside of a paragraph. */
export function pageOf({
  title,
  lead,
  sections,
  footer,
}: {
  readonly title: string;
  readonly lead: string;
  readonly sections: readonly string[];
  readonly footer: string;
}): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeMarkup(title)}</title>
<style>${reportStyle}</style>
</head>
<body>
<main>
<h1>${escapeMarkup(title)}</h1>
${lead}
${sections.filter((section) => section !== '').join('\n')}
<footer><p>${footer}</p></footer>
</main>
</body>
</html>
`;
}

export function section(heading: string, explanation: string, content: string): string {
  return `<section>\n<h2>${escapeMarkup(heading)}</h2>\n<p>${escapeMarkup(explanation)}</p>\n${content}\n</section>`;
}

/** Cells are text; `numbers` are columns set flush right, `bar` values drawn after each row. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  numbers: readonly number[] = [],
  bar?: readonly number[],
  isMarked: (row: number) => boolean = () => false,
): string {
  const kind = (i: number): string => (numbers.includes(i) ? ' class="number"' : '');
  const most = Math.max(Number.MIN_VALUE, ...(bar ?? []));
  const drawn = (row: number): string =>
    bar ? `<td class="bar"><i style="width:${((100 * (bar[row] ?? 0)) / most).toFixed(1)}%"></i></td>` : '';
  return `<div class="scroll"><table><thead><tr>${head.map((cell, i) => `<th scope="col"${kind(i)}>${escapeMarkup(cell)}</th>`).join('')}${bar ? '<th aria-hidden="true"></th>' : ''}</tr></thead><tbody>${rows
    .map(
      (row, r) =>
        `<tr${isMarked(r) ? ' class="marked"' : ''}>${row.map((cell, i) => `<td${kind(i)}>${escapeMarkup(cell)}</td>`).join('')}${drawn(r)}</tr>`,
    )
    .join('')}</tbody></table></div>`;
}

export const percent = (share: number, digits = 1): string => `${(100 * share).toFixed(digits)} %`;

export function legend(...names: readonly string[]): string {
  return `<ul class="legend">${names.map((name, i) => `<li${i ? ' class="two"' : ''}><i></i>${escapeMarkup(name)}</li>`).join('')}</ul>`;
}
