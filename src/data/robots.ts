// robots.txt: what a host allows which agent to fetch (RFC 9309), read as leniently as the parser Google published.
//
// Lenient where people err: a byte order mark, CR or LF or both, `useragent`, `disalow`, a missing colon. A rule
// applies by the longest pattern; at equal length Allow wins. An agent without a group of its own obeys `*`.
// Checked against test/golden/robots.json, verdicts of google/robotstxt; beyond it, digits in names count (AI2Bot).
//
// Does not: fetch anything or know about documents; opt-out.ts does. Sitemaps and crawl delays are passed over.

type Line =
  | { readonly kind: 'agent'; readonly value: string }
  | { readonly kind: 'allow' | 'disallow'; readonly value: string };

/** A parsed robots.txt: its agent, allow and disallow lines in order. Other lines separate nothing and are gone. */
export interface RobotsTxt {
  readonly lines: readonly Line[];
}

/** Crawlers must read at least 500 KiB (RFC 9309, 2.5); what follows is ignored. */
const maxBytes = 500 * 1024;
/** google/robotstxt cuts lines at 8 times the longest URL of old browsers. */
const maxLine = 2083 * 8;

/** Parses the bytes or text of a robots.txt. Never fails: what it does not understand has no effect. */
export function parseRobots(source: Uint8Array | string): RobotsTxt {
  let text = typeof source === 'string' ? source : Buffer.from(source.subarray(0, maxBytes)).toString('utf8');
  if (text.length > maxBytes) text = text.slice(0, maxBytes);
  if (text.startsWith('\ufeff')) text = text.slice(1);
  const lines: Line[] = [];
  for (const raw of text.split(/\r\n|\n|\r/)) {
    const line = parseLine(raw.slice(0, maxLine));
    if (line) lines.push(line);
  }
  return { lines };
}

function parseLine(raw: string): Line | undefined {
  const hash = raw.indexOf('#');
  const line = trim(hash < 0 ? raw : raw.slice(0, hash));
  let separator = line.indexOf(':');
  if (separator < 0) {
    // Google's leniency: white space instead of the colon, when exactly two words stand there.
    separator = line.search(/[ \t]/);
    if (separator < 0 || /[ \t]/.test(trim(line.slice(separator)))) return undefined;
  }
  const key = trim(line.slice(0, separator)).toLowerCase();
  const value = trim(line.slice(separator + 1));
  if (key === '') return undefined;
  if (/^(?:user-agent|useragent|user agent)/.test(key)) return { kind: 'agent', value };
  if (/^(?:disallow|dissallow|dissalow|disalow|diasllow|disallaw)/.test(key)) {
    return { kind: 'disallow', value: escapePattern(value) };
  }
  if (key.startsWith('allow')) return { kind: 'allow', value: escapePattern(value) };
  return undefined;
}

function trim(text: string): string {
  return text.replace(/^[ \t\v\f]+/, '').trimEnd();
}

/** Percent-encodes what is not ASCII and writes existing escapes in capitals. */
function escapePattern(pattern: string): string {
  return pattern
    .replace(/%[0-9a-fA-F]{2}/g, (encoded) => encoded.toUpperCase())
    .replace(/[^\0-\x7f]+/g, (run) =>
      [...Buffer.from(run, 'utf8')].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
    );
}

/** May `agent` (a product token such as `GPTBot`, or `*` for crawlers not named) fetch `url`? */
export function isAllowed(robots: RobotsTxt, agent: string, url: string): boolean {
  const path = urlPath(url);
  const wanted = agent.toLowerCase();
  // Length of the longest matching pattern so far, -1 for none, for the agent's own groups and for `*`.
  const own = { allow: -1, disallow: -1 };
  const global = { allow: -1, disallow: -1 };
  let inOwn = false;
  let inGlobal = false;
  let everOwn = false;
  let rulesSeen = false;
  for (const line of robots.lines) {
    if (line.kind === 'agent') {
      if (rulesSeen) inOwn = inGlobal = rulesSeen = false;
      if (/^\*(?:\s|$)/.test(line.value)) inGlobal = true;
      else if (names(line.value, wanted)) inOwn = everOwn = true;
      continue;
    }
    if (!inOwn && !inGlobal) continue;
    rulesSeen = true;
    const length = matchLength(path, line.value, line.kind === 'allow');
    const into = inOwn ? own : global;
    if (length > into[line.kind]) into[line.kind] = length;
  }
  if (own.allow > 0 || own.disallow > 0) return own.allow >= own.disallow;
  if (everOwn) return true;
  if (global.allow > 0 || global.disallow > 0) return global.allow >= global.disallow;
  return true;
}

/**
 * Does a user-agent line name the agent? The token is the leading letters, dashes and underscores: `CCBot` of
 * `CCBot/2.0 (nutch)`. The RFC allows no digits, but there is an AI2Bot, and who names it means it.
 */
function names(value: string, wanted: string): boolean {
  const token = /^[a-z_-]*/.exec(value.toLowerCase())?.[0];
  return token === wanted || (/\d/.test(wanted) && /^[a-z0-9_-]*/.exec(value.toLowerCase())?.[0] === wanted);
}

/** Length of the pattern when it matches, else -1. `Allow: /dir/index.html` also allows `/dir/`, as at Google. */
function matchLength(path: string, pattern: string, allow: boolean): number {
  if (matches(path, pattern)) return pattern.length;
  if (!allow) return -1;
  const slash = pattern.lastIndexOf('/');
  if (slash < 0 || !pattern.startsWith('/index.htm', slash)) return -1;
  const folder = `${pattern.slice(0, slash + 1)}$`;
  return matches(path, folder) ? folder.length : -1;
}

/**
 * Does the pattern match a prefix of the path? `*` stands for any characters, a final `$` for the end.
 * Keeps the set of positions the pattern can have reached, so the time is at most path times pattern.
 */
function matches(path: string, pattern: string): boolean {
  if (!/[*$]/.test(pattern)) return path.startsWith(pattern);
  let reached: number[] = [0];
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i];
    if (char === '$' && i + 1 === pattern.length) return reached.at(-1) === path.length;
    if (char === '*') {
      const first = reached[0] as number;
      reached = Array.from({ length: path.length - first + 1 }, (_, k) => first + k);
    } else {
      reached = reached.filter((at) => path[at] === char).map((at) => at + 1);
      if (reached.length === 0) return false;
    }
  }
  return true;
}

/** Path, parameters and query of a URL as robots rules see them; `/` where there are none. */
export function urlPath(url: string): string {
  const start = url.startsWith('//') ? 2 : 0;
  const early = indexOfAny(url, start);
  let hostStart = url.indexOf('://', start);
  hostStart = hostStart < 0 || (early >= 0 && early < hostStart) ? start : hostStart + 3;
  const pathStart = indexOfAny(url, hostStart);
  if (pathStart < 0) return '/';
  const hash = url.indexOf('#', start);
  if (hash >= 0 && hash < pathStart) return '/';
  const path = url.slice(pathStart, hash < 0 ? undefined : hash);
  return path.startsWith('/') ? path : `/${path}`;
}

function indexOfAny(url: string, from: number): number {
  const found = url.slice(from).search(/[/?;]/);
  return found < 0 ? -1 : found + from;
}
