// Debian's HTML pages as texts, for benches of the data room.
//
// Does not: fetch them; `belay data get debian` does.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { extractHtml } from '../src/data/readers/html.ts';

const unspaced = /^(?:zh|ja|th|km|lo|my|bo|dz)/;

/** Texts of Debian's HTML pages, longest ones cut off, in languages with spaces. */
export function readDebianTexts(folder: string): string[] {
  const roots = ['debian-handbook/html', 'installation-guide-amd64'].flatMap((name) =>
    [join(folder, 'files'), folder].map((from) => join(from, 'usr/share/doc', name)).filter((path) => existsSync(path)),
  );
  const texts: string[] = [];
  for (const root of roots) {
    for (const tag of readdirSync(root)
      .filter((name) => !unspaced.test(name))
      .sort()) {
      const at = join(root, tag);
      if (!statSync(at).isDirectory()) continue;
      for (const name of (readdirSync(at) as string[]).filter((file) => file.endsWith('.html')).sort()) {
        const page = extractHtml(readFileSync(join(at, name), 'utf8'));
        if ('text' in page && page.text.length > 200) texts.push(page.text);
      }
    }
  }
  if (texts.length === 0) throw new Error(`${folder} has no Debian documents; fill it with: belay data get debian`);
  return texts;
}
