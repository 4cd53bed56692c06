// Block lists of domains and URLs, and words in URLs, as FineWeb's url filter has them.
//
// A file has one entry a line ("#" begins a comment): a domain, which blocks its subdomains, or, with a "/", a URL prefix,
// which ends at a boundary of the path. A folder in the layout of UT1 (dsi.ut-capitole.fr/blacklists) has a folder for each
// category with files `domains` and `urls`. Words: huggingface/datatrove, url_filter.py, whose lists can be given as they
// are. It compares a domain with the whole host and the registrable domain alone, and words by case; here every parent
// domain counts, and case does not.
//
// Does not: ship lists, or fetch them. A document without a URL is kept.
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { z } from 'zod';
import { UserError } from '../../base/errors.ts';
import { defineStep } from '../step.ts';
import { TextSet } from './text-set.ts';

const files = z.array(z.string()).default([]);

export const settings = z.strictObject({
  /** Files of domains and URL prefixes. */
  files,
  /** Folders in the layout of UT1. */
  ut1: files,
  /** Categories of `ut1` that block; `null`: all. */
  categories: z.array(z.string()).nullable().default(null),
  /** Files of words, one of which in a URL is enough; of words of which `softWordThreshold` must be there; of parts of words. */
  strictWords: files,
  softWords: files,
  subwords: files,
  /** datatrove's default. */
  softWordThreshold: z.number().int().min(1).default(2),
});
export type BlockListSettings = z.output<typeof settings>;

/** Calls `visit` with the entries of a list, one after the other: a list may be larger than what is kept of it. */
function forEachEntry(path: string, visit: (entry: string) => void): void {
  let file: number;
  try {
    file = openSync(path, 'r');
    if (!fstatSync(file).isFile()) throw new Error('no file');
  } catch (cause) {
    throw new UserError('a block list cannot be read', { found: path, next: 'give files that are there', cause });
  }
  const take = (line: string): void => {
    const entry = line.trim();
    if (entry !== '' && !entry.startsWith('#')) visit(entry);
  };
  try {
    const decoder = new StringDecoder('utf8');
    const bytes = Buffer.alloc(1 << 18);
    let rest = '';
    for (let read = -1; read !== 0; ) {
      read = readSync(file, bytes, 0, bytes.length, null);
      const lines = (rest + (read > 0 ? decoder.write(bytes.subarray(0, read)) : decoder.end())).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) take(line);
    }
    take(rest);
  } finally {
    closeSync(file);
  }
}

function entriesOf(path: string): string[] {
  const entries: string[] = [];
  forEachEntry(path, (entry) => void entries.push(entry));
  return entries;
}

/** Files of UT1 folders, sorted. */
function ut1Files({ ut1, categories }: BlockListSettings): string[] {
  return ut1.flatMap((folder) => {
    if (!existsSync(folder)) throw new UserError('a folder of block lists is not there', { found: folder });
    const present = readdirSync(folder).filter((name) => statSync(join(folder, name)).isDirectory());
    const missing = categories?.filter((category) => !present.includes(category)) ?? [];
    if (missing.length > 0) {
      throw new UserError(`the folder ${folder} has no category ${missing.join(', ')}`, {
        expected: present.sort().join(', '),
      });
    }
    return (categories ?? present)
      .toSorted()
      .flatMap((category) => ['domains', 'urls'].map((name) => join(folder, category, name)))
      .filter((path) => existsSync(path));
  });
}

/** A host that a URL parser leaves as it is: small letters, no Punycode, no number at the end. */
const plainHost = /^(?!.*xn--)[a-z0-9.-]*\.[a-z][a-z0-9-]*$/;

/** A URL without scheme, user, port and "www.", its host in the form that DNS has; undefined where it is none. */
function plainUrl(url: string): { readonly host: string; readonly path: string } | undefined {
  try {
    const parsed = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(url) ? url : `http://${url}`);
    const host = parsed.hostname.replace(/\.$/, '');
    return { host: host.startsWith('www.') ? host.slice(4) : host, path: parsed.pathname + parsed.search };
  } catch {
    return undefined;
  }
}

const wordsIn = (text: string): string[] => text.toLowerCase().match(/[a-z0-9]+/g) ?? [];

/** Decides about URLs. */
export class BlockList {
  private readonly domains = new TextSet();
  /** Hosts with paths, without a "/" at the end. */
  private readonly prefixes = new TextSet();
  private readonly strict: ReadonlySet<string>;
  private readonly soft: ReadonlySet<string>;
  private readonly sub: readonly string[];
  private readonly softWordThreshold: number;

  constructor(set: BlockListSettings) {
    for (const path of [...set.files, ...ut1Files(set)]) forEachEntry(path, (entry) => this.add(entry));
    const words = (paths: readonly string[]): Set<string> =>
      new Set(paths.flatMap(entriesOf).map((line) => wordsIn(line).join('')));
    this.strict = words(set.strictWords);
    this.soft = words(set.softWords);
    this.sub = [...words(set.subwords)].filter((word) => word !== '');
    this.softWordThreshold = set.softWordThreshold;
  }

  private add(entry: string): void {
    if (entry.length < 254 && plainHost.test(entry)) {
      this.domains.add(entry.startsWith('www.') ? entry.slice(4) : entry);
      return;
    }
    const url = plainUrl(entry);
    if (!url) return;
    if (url.path === '/') this.domains.add(url.host);
    else this.prefixes.add(`${url.host}${url.path.replace(/\/$/, '')}`);
  }

  /** Why a URL is blocked, or undefined. */
  reason(address: string): string | undefined {
    const url = plainUrl(address);
    if (url) {
      for (let at = 0; at >= 0; at = url.host.indexOf('.', at) + 1 || -1) {
        if (this.domains.has(url.host.slice(at))) return 'blocked-domain';
      }
      if (this.prefixes.size > 0 && this.hasPrefix(url.host + url.path)) return 'blocked-url';
    }
    const words = new Set(wordsIn(address));
    for (const word of words) if (this.strict.has(word)) return 'strict-word';
    let soft = 0;
    for (const word of words) if (this.soft.has(word) && ++soft >= this.softWordThreshold) return 'soft-words';
    if (this.sub.length === 0) return undefined;
    const joined = wordsIn(address).join('');
    return this.sub.some((part) => joined.includes(part)) ? 'subword' : undefined;
  }

  private hasPrefix(url: string): boolean {
    for (let at = 0; at < url.length; at++) {
      const char = url[at];
      if ((char === '/' || char === '?' || char === '&') && this.prefixes.has(url.slice(0, at))) return true;
    }
    return this.prefixes.has(url);
  }
}

export const definition = defineStep({
  name: 'block-list',
  brief: 'domains, URLs and words in URLs that are not wanted',
  settings,
  files: (settings) => [
    ...settings.files,
    ...ut1Files(settings),
    ...settings.strictWords,
    ...settings.softWords,
    ...settings.subwords,
  ],
  make(settings) {
    const list = new BlockList(settings);
    return {
      name: 'block-list',
      run(document) {
        const reason = document.url === undefined ? undefined : list.reason(document.url);
        return reason === undefined ? { keep: document } : { drop: { reason } };
      },
    };
  },
});
