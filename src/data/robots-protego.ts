// robots.txt as Protego 0.2.1 reads it, the parser that Apertus asked: laxer than RFC 9309 where the two differ.
//
// What differs: a user-agent line applies when it is a part of the agent's name (`foo` to `FooBot`), and the longest such
// line wins; a `Sitemap` or an unknown line ends a group's list of agents; comments and values are cut as Python's
// `splitlines` and `strip` do; a byte order mark spoils the first line; escapes of paths are decoded and made anew, so
// `%7E` and `~` are one; parameters, query and fragment are compared as they are. Addresses go through what Python 3.11
// calls urlparse: where that fails, Protego raises, and here the page is allowed, as a host without a robots.txt is.
// Written from its behaviour; test/golden/robots.json holds its verdicts (`allowed_protego`), and random files were
// compared with it by the thousand (docs/robots.md).
//
// Does not: read crawl delays, request rates, sitemaps or hosts, which decide nothing.
import { isIPv4, isIPv6 } from 'node:net';
import { inMarkOrder } from '../tokenizer/mark-order.ts';
import { globMatches } from './robots.ts';

/** What urlparse makes of an address; the authority is only checked. */
interface UrlParts {
  readonly path: string;
  readonly params: string;
  readonly query: string;
  readonly fragment: string;
}

const agentFields = new Set(['user-agent', 'useragent', 'user agent']);
const disallowFields = new Set(['disallow', 'dissallow', 'dissalow', 'disalow', 'diasllow', 'disallaw']);
const sitemapFields = new Set(['sitemap', 'sitemaps', 'site-map']);
const fields = new Set([
  ...agentFields,
  ...disallowFields,
  ...sitemapFields,
  ...['allow', 'crawl-delay', 'crawl delay', 'request-rate', 'request rate', 'host'],
]);

/** A parsed robots.txt. */
export class ProtegoRobots {
  private readonly groups: ReadonlyMap<string, ProtegoRules>;
  private readonly matched = new Map<string, ProtegoRules | undefined>();

  constructor(groups: ReadonlyMap<string, ProtegoRules>) {
    this.groups = groups;
  }

  /** The rules of the longest name that is a part of the agent's; undefined where there is none. */
  rulesFor(agent: string): ProtegoRules | undefined {
    if (this.matched.has(agent)) return this.matched.get(agent);
    const wanted = strip(agent).toLowerCase();
    let best: ProtegoRules | undefined;
    let bestScore = 0;
    for (const [name, rules] of this.groups) {
      const score = name === '*' ? 1 : wanted.includes(name) ? codePoints(name) : 0;
      if (score > bestScore) [best, bestScore] = [rules, score];
    }
    this.matched.set(agent, best);
    return best;
  }
}

/** Parses a robots.txt. What makes Protego raise leaves a file that allows everything. */
export function parseProtego(source: Uint8Array | string): ProtegoRobots {
  const text = typeof source === 'string' ? source : new TextDecoder('utf-8', { ignoreBOM: true }).decode(source);
  const groups = new Map<string, ProtegoRules>();
  let current: ProtegoRules[] = [];
  let previous: string | undefined;
  try {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: Python's splitlines ends lines at these
    for (const raw of text.split(/\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/)) {
      const hash = raw.indexOf('#');
      const line = strip(hash < 0 ? raw : raw.slice(0, hash));
      if (line === '') continue;
      const pair = fieldAndValue(line);
      if (!pair) continue;
      const field = strip(pair[0]).toLowerCase();
      const value = strip(pair[1]);
      if (value === '') {
        previous = field;
        continue;
      }
      const isAgent = agentFields.has(field);
      if (current.length === 0 && !isAgent && !sitemapFields.has(field)) continue;
      if (isAgent) {
        if (previous && !agentFields.has(previous)) current = [];
        const agent = value.toLowerCase();
        const names = agent !== '*' && agent.includes('*') ? [agent, agent.replaceAll('*', '')] : [agent];
        for (const name of names) {
          if (name === '') continue;
          const known = groups.get(name) ?? new ProtegoRules();
          groups.set(name, known);
          if (!current.includes(known)) current.push(known);
        }
      } else if (field === 'allow' || disallowFields.has(field)) {
        const pattern = value.startsWith('/') ? value : `/${value}`;
        for (const rules of current) rules.add(pattern, field === 'allow');
      }
      previous = field;
    }
  } catch (error) {
    if (!(error instanceof NotAnAddress)) throw error;
    return new ProtegoRobots(new Map());
  }
  return new ProtegoRobots(groups);
}

/** Without a colon the field is what the first words, exactly as Protego spells them, make up. */
function fieldAndValue(line: string): readonly [string, string] | undefined {
  const colon = line.indexOf(':');
  if (colon >= 0) return [line.slice(0, colon), line.slice(colon + 1)];
  // The longest field has two words; a space more would make a word that is empty.
  let space = line.indexOf(' ');
  for (let words = 1; words <= 2 && space >= 0; words++) {
    if (fields.has(line.slice(0, space))) return [line.slice(0, space), line.slice(space + 1)];
    space = line.indexOf(' ', space + 1);
  }
  return undefined;
}

/** Asks a parsed file. The address is taken as it is, not as a browser would send it. */
export function protegoAllows(robots: ProtegoRobots, agent: string, url: string): boolean {
  const rules = robots.rulesFor(agent);
  if (!rules) return true;
  const path = protegoPath(url);
  return path === undefined || rules.allows(path);
}

/** What Protego compares patterns with; undefined where it raises. */
export function protegoPath(url: string): string | undefined {
  try {
    const { path, params, query, fragment } = parseUrl(url);
    return joinUrl({ path: quote(unquote(path, '2F 25'), /[^A-Za-z0-9_.~/%-]/gu), params, query, fragment }) || '/';
  } catch (error) {
    if (error instanceof NotAnAddress) return undefined;
    throw error;
  }
}

interface ProtegoRule {
  readonly pattern: string;
  /** Length in code points. */
  readonly rank: number;
  readonly allow: boolean;
  /** Pieces between stars, for patterns that have any. */
  readonly pieces?: readonly string[];
}

/** The rules of one name. */
export class ProtegoRules {
  private readonly rules: ProtegoRule[] = [];

  add(written: string, allow: boolean): void {
    // A dollar may also be meant as a character.
    if (written.includes('$')) this.add(written.replaceAll('$', '%24'), allow);
    const pattern = quotePattern(written);
    if (pattern === '') return;
    const pieces = pattern.includes('*') ? piecesOf(pattern) : undefined;
    if (pieces !== null) this.rules.push({ pattern, rank: codePoints(pattern), allow, ...(pieces ? { pieces } : {}) });
    if (allow && pattern.endsWith('/index.html')) this.add(`${pattern.slice(0, -10)}$`, allow);
  }

  /** May the path be fetched? The longest pattern decides; at equal length Allow wins. */
  allows(path: string): boolean {
    let best = -1;
    let allowed = true;
    for (const rule of this.rules) {
      if (rule.rank < best || (rule.rank === best && !rule.allow)) continue;
      if (!ruleMatches(rule, path)) continue;
      best = rule.rank;
      allowed = rule.allow;
    }
    return allowed;
  }
}

function ruleMatches({ pattern, pieces }: ProtegoRule, path: string): boolean {
  if (pieces) {
    const anchored = pieces.at(-1) === '$';
    return globMatches(path, anchored ? pieces.slice(0, -1) : pieces, anchored);
  }
  return pattern.endsWith('$') ? path === pattern.slice(0, -1) : path.startsWith(pattern);
}

/**
 * The pieces between stars, and `$` as the last one where the pattern ends there. Protego takes a dollar that stands
 * alone between two stars for the end too; a pattern that goes on behind it matches nothing: null.
 */
function piecesOf(pattern: string): readonly string[] | null {
  const ended = pattern.endsWith('$');
  const pieces = (ended ? pattern.slice(0, -1) : pattern).split(/\*+/);
  const end = pieces.indexOf('$');
  if (end < 0) return ended ? [...pieces, '$'] : pieces;
  if (pieces.slice(end).some((piece) => piece !== '$' && piece !== '')) return null;
  // `*$`: the star before the end takes all that is left.
  return [...pieces.slice(0, end), '', '$'];
}

/** The last `?`, `;` or `$` is put behind the path, before parameters and query: so does Protego. */
function quotePattern(written: string): string {
  const last = /[?;$]$/.test(written) ? written.slice(-1) : '';
  const { path, params, query, fragment } = parseUrl(last === '' ? written : written.slice(0, -1));
  const quoted = quote(unquote(path, '2F 2A 24 25'), /[^A-Za-z0-9_.~/*%-]/gu);
  return joinUrl({ path: quoted + last, params, query, fragment });
}

/** Decodes percent-escapes but those named; what is no UTF-8 then becomes U+FFFD. */
function unquote(text: string, keep: string): string {
  if (!text.includes('%')) return text;
  const kept = keep.split(' ');
  const parts: Buffer[] = [];
  let at = 0;
  for (const { index, 1: hex = '' } of text.matchAll(/%([0-9A-Fa-f]{2})/g)) {
    const code = hex.toUpperCase();
    parts.push(Buffer.from(text.slice(at, index)));
    parts.push(kept.includes(code) ? Buffer.from(`%${code}`) : Buffer.from(code, 'hex'));
    at = index + 3;
  }
  parts.push(Buffer.from(text.slice(at)));
  return Buffer.concat(parts).toString('utf8');
}

/** Percent-encodes the characters that the pattern finds. */
function quote(text: string, unsafe: RegExp): string {
  return text.replace(unsafe, (char) =>
    [...Buffer.from(char)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  );
}

function joinUrl({ path, params, query, fragment }: UrlParts): string {
  return `${path}${params && `;${params}`}${query && `?${query}`}${fragment && `#${fragment}`}`;
}

/** urlparse raises. */
class NotAnAddress extends Error {}

const schemesWithParams = new Set(
  ' ftp hdl prospero http imap https shttp rtsp rtsps rtspu sip sips mms sftp tel'.split(' '),
);

/** Python 3.11's urlparse, without the authority. */
function parseUrl(address: string): UrlParts {
  let rest = address.replace(/^[\0- ]+/, '').replace(/[\t\r\n]/g, '');
  let scheme = '';
  const named = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(rest);
  if (named) {
    scheme = (named[1] as string).toLowerCase();
    rest = rest.slice(named[0].length);
  }
  if (rest.startsWith('//')) {
    const length = rest.slice(2).search(/[/?#]/);
    const authority = length < 0 ? rest.slice(2) : rest.slice(2, 2 + length);
    rest = length < 0 ? '' : rest.slice(2 + length);
    checkAuthority(authority);
  }
  const [beforeFragment, fragment] = cut(rest, '#');
  const [beforeQuery, query] = cut(beforeFragment, '?');
  if (!schemesWithParams.has(scheme)) return { path: beforeQuery, params: '', query, fragment };
  const semicolon = beforeQuery.indexOf(';', Math.max(0, beforeQuery.lastIndexOf('/')));
  if (semicolon < 0) return { path: beforeQuery, params: '', query, fragment };
  return { path: beforeQuery.slice(0, semicolon), params: beforeQuery.slice(semicolon + 1), query, fragment };
}

function cut(text: string, at: string): readonly [string, string] {
  const found = text.indexOf(at);
  return found < 0 ? [text, ''] : [text.slice(0, found), text.slice(found + 1)];
}

function checkAuthority(authority: string): void {
  const open = authority.indexOf('[');
  const close = authority.indexOf(']');
  if (open >= 0 !== close >= 0) throw new NotAnAddress('one bracket');
  if (open >= 0) {
    const after = authority.slice(open + 1);
    const host = after.includes(']') ? after.slice(0, after.indexOf(']')) : after;
    const future = /^v[A-Fa-f0-9]+\../.test(host);
    if (host.startsWith('v') ? !future : !isIPv6(host) || isIPv4(host)) throw new NotAnAddress('not an IPv6 address');
  }
  const plain = authority.replace(/[@:#?]/g, '');
  const normal = inMarkOrder(plain, 'NFKD').normalize('NFKC');
  if (normal !== plain && /[/?#@:]/.test(normal)) throw new NotAnAddress('characters that normalise to delimiters');
}

/** `str.strip` of Python. */
function strip(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isPythonSpace(text.charCodeAt(start))) start++;
  while (end > start && isPythonSpace(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isPythonSpace(code: number): boolean {
  if (code <= 32) return code === 32 || (code >= 9 && code <= 13) || code >= 28;
  if (code < 0x80) return false;
  return code === 0x85 || code === 0xa0 || (code !== 0xfeff && /\s/.test(String.fromCharCode(code)));
}

function codePoints(text: string): number {
  let count = text.length;
  for (let i = 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0xdc00 && code < 0xe000 && (text.charCodeAt(i - 1) & 0xfc00) === 0xd800) count--;
  }
  return count;
}
