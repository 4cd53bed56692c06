// Debian's HTML pages as texts, and changed ones in any number, for benches of the data room.
//
// Does not: fetch them; `belay data get debian` does.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from '../src/base/rng.ts';
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

/** A text that is new to every side: a tenth of its words from elsewhere in it, paragraphs in another order, some planted. */
export function changed(text: string, random: Random): string {
  const paragraphs = random.shuffle(text.split('\n\n'));
  const words = text.split(/\s+/);
  const out = paragraphs.map((paragraph) =>
    paragraph.replace(/\S+/g, (word) => (random.real() < 0.1 ? random.pick(words) : word)),
  );
  if (random.real() < 0.1) out.push(out[0] as string);
  if (random.real() < 0.1) out.push('This page uses cookies, as the privacy policy says.');
  if (random.real() < 0.2)
    out.push(`Write to name${random.integer(1000)}@mail.example or 192.0.2.${random.integer(256)}.`);
  return out.join(random.real() < 0.5 ? '\n\n' : '\n');
}
