// Mallard pages (the XML of GNOME's help, projectmallard.org) to plain HTML, by a table of element names.
//
// Credits, revisions, descriptions for link lists, pictures and conditional variants other than the first are left
// out: what a reader of the page would read stays.
//
// Does not: resolve links or includes.
import { Parser } from 'htmlparser2';

const containers: Readonly<Record<string, string>> = {
  page: 'main',
  section: 'section',
  p: 'p',
  steps: 'ol',
  list: 'ul',
  tree: 'ul',
  terms: 'ul',
  item: 'li',
  note: 'div',
  example: 'div',
  figure: 'div',
  synopsis: 'div',
  quote: 'blockquote',
  table: 'table',
  thead: 'thead',
  tbody: 'tbody',
  tr: 'tr',
  td: 'td',
  th: 'th',
  screen: 'pre',
  listing: 'div',
  subtitle: 'p',
};
/** What stands between the parts of a key combination or a path through menus. */
const separators: Readonly<Record<string, string>> = { keyseq: '+', guiseq: ' &gt; ' };
const left = new Set(['info', 'media', 'links', 'comment', 'cite', 'if:else', 'credit', 'include', 'thumb']);

/** HTML with the text in <main>; undefined when there is none (stubs and broken XML). */
export function mallardToHtml(xml: string): string | undefined {
  let html = '';
  let words = 0;
  let sequenceStart = 0;
  let skipping = 0;
  let depth = 0;
  let branches: number[] = [];
  const stack: { readonly name: string; readonly close: string; readonly skips: boolean }[] = [];
  const parser = new Parser(
    {
      onopentag(name) {
        const parent = stack.at(-1)?.name;
        let open = containers[name] ?? '';
        if (name === 'title')
          open = parent === 'page' ? 'h1' : parent === 'section' ? `h${Math.min(6, depth + 1)}` : 'p';
        // `code` stands in a line, or as a block of its own.
        if (
          name === 'code' &&
          parent !== undefined &&
          !['p', 'title', 'td', 'cmd', 'em', 'gui', 'span', 'sys', 'link'].includes(parent)
        )
          open = 'pre';
        if (name === 'section') depth++;
        let skips = left.has(name) || /^(?:mal|uix|tt|its):/.test(name);
        if (name === 'if:choose') branches.push(0);
        if (name === 'if:when' && parent === 'if:choose')
          skips ||= (branches[branches.length - 1] = (branches.at(-1) ?? 0) + 1) > 1;
        if (skips) skipping++;
        stack.push({ name, close: open, skips });
        const between = separators[parent ?? ''];
        if (between !== undefined && skipping === 0 && html.slice(sequenceStart).trim() !== '')
          html = html.trimEnd() + between;
        if (name in separators) sequenceStart = html.length;
        if (open !== '' && skipping === 0) html += `<${open}>`;
      },
      onclosetag(name) {
        const top = stack.pop();
        if (!top) return;
        if (top.close !== '' && skipping === 0) html += `</${top.close}>\n`;
        if (top.skips) skipping--;
        if (name === 'section') depth--;
        if (name === 'if:choose') branches = branches.slice(0, -1);
      },
      ontext(text) {
        if (skipping > 0 || stack.length < 2) return;
        if (text.trim() !== '') words++;
        html += text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
      },
    },
    { xmlMode: true },
  );
  parser.end(xml);
  return words > 0 ? html : undefined;
}
