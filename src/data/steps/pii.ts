// Personal data become markers.
//
// Two modes. `belay` (steps/pii-scan.ts) checks what it finds: lengths and check digits, ranges, what stands around it; it
// knows phones, cards and the identifiers of states too. `apertus` has the three patterns of Apertus, to the character:
// e-mail addresses, IPv4 addresses, IBANs. The original searches each pattern in turn and replaces every distinct match everywhere as a plain substring, in
// order of first appearance; `\b` before an e-mail address is Unicode-aware, IP addresses need no boundary. The same
// result comes from one pass per pattern here: matches start from an anchor ("@", a digit), occurrences are found by
// their possible lengths, so the time stays linear in the text where replacing one by one would be quadratic.
// Patterns: swiss-ai/pretrain-data, which takes them from datatrove; test/golden/pii.json holds the results.
//
// Does not: keep what it found. Notes hold counts only.
import { UserError } from '../../base/errors.ts';
import { type Document, type Edit, editText, withNote } from '../../base/document.ts';
import { z } from 'zod';
import { defineStep, type Step } from '../step.ts';
import { nationalKinds } from './national-identifiers.ts';
import { type FoundKind, Scanner } from './pii-scan.ts';

/** The markers of Apertus, single tokens of its vocabulary. */
const markers = { email: '<email-pii>', ip: '<ip-pii>', iban: '<iban-pii>' } as const;
export type PersonalDataKind = keyof typeof markers;

/** The vocabulary has no tokens for the others: their markers are plain text, made alike. */
const allMarkers: Readonly<Record<FoundKind, string>> = {
  ...markers,
  phone: '<phone-pii>',
  card: '<card-pii>',
  id: '<id-pii>',
};

/** Distinct matches by kind; their sum is the `pii_count` of Apertus. */
export type PersonalDataCounts = Readonly<Record<PersonalDataKind, number>>;

const octet = '(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)';
const label = '[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?';
const domainPattern = new RegExp(
  `(?:(?:${label}\\.)+${label}|\\[(?:${octet}\\.){3}(?:${octet}|[A-Za-z0-9-]*[A-Za-z0-9]:)\\])`,
  'y',
);
const ipPattern = new RegExp(`(?:${octet}\\.){3}${octet}`, 'g');
const ibanPattern = /[A-Z]{2}\d{2}(?: \d{4}){4} [A-Z0-9]{1,2}/g;
const atomChar = /[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]/;
/** `\w` of Python's re on text. */
const wordChar = /[\p{L}\p{N}_]/u;

/** Replaces the personal data in a document (all three kinds, or those named), sections moved along. */
export function replacePersonalData(
  document: Document,
  kinds: readonly PersonalDataKind[] = ['email', 'ip', 'iban'],
): { readonly document: Document; readonly counts: PersonalDataCounts } {
  const counts = { email: 0, ip: 0, iban: 0 };
  let current = document;
  for (const kind of ['email', 'ip', 'iban'] as const) {
    if (!kinds.includes(kind)) continue;
    const found = distinctMatches(current.text, kind);
    counts[kind] = found.length;
    if (found.length > 0) current = editText(current, replacements(current.text, found, kind));
  }
  return { document: current, counts };
}

/** The step as Apertus has it. */
export function personalDataStep(kinds: readonly PersonalDataKind[] = ['email', 'ip', 'iban']): Step {
  return {
    name: 'pii',
    run(document) {
      const { document: cleaned, counts } = replacePersonalData(document, kinds);
      const total = counts.email + counts.ip + counts.iban;
      return { keep: total === 0 ? document : withNote(cleaned, 'pii', { ...counts }) };
    },
  };
}

/** The step with checks. The note counts what was replaced, by marker. */
export function checkedPersonalDataStep(kinds: readonly string[], reservedAddresses: boolean): Step {
  const scanner = new Scanner({ kinds: new Set(kinds), reservedAddresses });
  return {
    name: 'pii',
    run(document) {
      const found = scanner.scan(document.text);
      if (found.length === 0) return { keep: document };
      const numbers: Partial<Record<FoundKind, number>> = {};
      for (const { kind } of found) numbers[kind] = (numbers[kind] ?? 0) + 1;
      // In the order of the markers, not of the text.
      const counts: Record<string, number> = {};
      for (const kind of Object.keys(allMarkers) as FoundKind[]) if (numbers[kind]) counts[kind] = numbers[kind];
      const edits = found.map(({ start, end, kind }) => ({ start, end, text: allMarkers[kind] }));
      return { keep: withNote(editText(document, edits), 'pii', counts) };
    },
  };
}

/** Kinds of the mode `belay`. */
export const personalDataKinds = ['email', 'ip', 'iban', 'phone', 'card', ...nationalKinds] as const;

export const definition = defineStep({
  name: 'pii',
  brief: 'personal data becomes markers',
  settings: z.strictObject({
    /** Checked, or the three patterns of Apertus (arXiv 2509.14233, 3.1). */
    mode: z.enum(['belay', 'apertus']).default('belay'),
    /** What is replaced; null: all of the mode. */
    kinds: z.array(z.enum(personalDataKinds)).nullable().default(null),
    /** Private, loopback and link-local addresses name no host of the internet (IANA's special-purpose registries). */
    reservedAddresses: z.enum(['keep', 'replace']).default('keep'),
  }),
  make({ mode, kinds, reservedAddresses }) {
    if (mode === 'belay') return checkedPersonalDataStep(kinds ?? personalDataKinds, reservedAddresses === 'replace');
    const known = (kinds ?? Object.keys(markers)).filter((kind): kind is PersonalDataKind => kind in markers);
    const unknown = kinds?.find((kind) => !(kind in markers));
    if (unknown === undefined) return personalDataStep(known);
    throw new UserError(`the mode apertus has no ${unknown}`, { expected: Object.keys(markers).join(', ') });
  },
});

/** Distinct matches of one kind in order of first appearance. */
function distinctMatches(text: string, kind: PersonalDataKind): string[] {
  if (kind === 'email') return [...new Set(emailMatches(text))];
  return [...new Set(Array.from(text.matchAll(kind === 'ip' ? ipPattern : ibanPattern), ([match]) => match))];
}

function* emailMatches(text: string): Generator<string> {
  let end = 0;
  for (let at = text.indexOf('@'); at >= 0; at = text.indexOf('@', at + 1)) {
    if (at < end) continue;
    const start = localStart(text, at, end);
    if (start === undefined) continue;
    domainPattern.lastIndex = at + 1;
    const domain = domainPattern.exec(text);
    if (!domain) continue;
    end = domainPattern.lastIndex;
    yield text.slice(start, end);
  }
}

/** The leftmost start of a dot-atom that ends before `at`, begins at a word boundary and does not reach below `from`. */
function localStart(text: string, at: number, from: number): number | undefined {
  let start: number | undefined;
  for (let i = at - 1; i >= from; i--) {
    const char = text[i] as string;
    if (char === '.') {
      if (i === at - 1 || text[i + 1] === '.') break;
      continue;
    }
    if (!atomChar.test(char)) break;
    if (isWord(text, i) !== isWordBefore(text, i)) start = i;
  }
  return start;
}

function isWord(text: string, at: number): boolean {
  const code = text.codePointAt(at);
  return code !== undefined && wordChar.test(String.fromCodePoint(code));
}

function isWordBefore(text: string, at: number): boolean {
  if (at === 0) return false;
  const low = text.charCodeAt(at - 1);
  return isWord(text, low >= 0xdc00 && low < 0xe000 && at >= 2 ? at - 2 : at - 1);
}

interface Occurrence {
  /** Position of the string in the list of matches: earlier ones are replaced first. */
  readonly rank: number;
  readonly start: number;
  readonly end: number;
}

/** The edits that replacing each found string in turn, everywhere, would amount to. */
function replacements(text: string, found: readonly string[], kind: PersonalDataKind): Edit[] {
  const occurrences = [...(kind === 'email' ? emailOccurrences(text, found) : fixedOccurrences(text, found, kind))];
  occurrences.sort((a, b) => a.rank - b.rank || a.start - b.start);
  // A marker is never part of a later match: no pattern allows "<" or ">".
  const taken = new Uint8Array(text.length);
  const edits: Edit[] = [];
  for (const { start, end } of occurrences) {
    if (taken.subarray(start, end).includes(1)) continue;
    taken.fill(1, start, end);
    edits.push({ start, end, text: markers[kind] });
  }
  return edits.sort((a, b) => a.start - b.start);
}

/** IP addresses and IBANs have at most nine lengths: try each length at each possible start. */
function* fixedOccurrences(text: string, found: readonly string[], kind: PersonalDataKind): Generator<Occurrence> {
  const ranks = new Map(found.map((match, rank) => [match, rank]));
  const lengths = [...new Set(found.map((match) => match.length))];
  const first = kind === 'ip' ? /\d/g : /[A-Z](?=[A-Z]\d\d )/g;
  for (const { index } of text.matchAll(first)) {
    for (const length of lengths) {
      const rank = index + length <= text.length ? ranks.get(text.slice(index, index + length)) : undefined;
      if (rank !== undefined) yield { rank, start: index, end: index + length };
    }
  }
}

/** Every found address has one "@": around each "@" try the known local parts and domains by their lengths. */
function* emailOccurrences(text: string, found: readonly string[]): Generator<Occurrence> {
  const split = found.map((match) => match.indexOf('@'));
  const ranks = new Map(found.map((match, rank) => [match, rank]));
  const locals = new PartSet(found.map((match, i) => match.slice(0, split[i])));
  const domains = new PartSet(found.map((match, i) => match.slice((split[i] as number) + 1)));
  for (let at = text.indexOf('@'); at >= 0; at = text.indexOf('@', at + 1)) {
    const left = locals.lengths.filter((length) => length <= at && locals.has(text.slice(at - length, at)));
    if (left.length === 0) continue;
    const right = domains.lengths.filter(
      (length) => at + 1 + length <= text.length && domains.has(text.slice(at + 1, at + 1 + length)),
    );
    for (const before of left) {
      for (const after of right) {
        const start = at - before;
        const end = at + 1 + after;
        const rank = ranks.get(text.slice(start, end));
        if (rank !== undefined) yield { rank, start, end };
      }
    }
  }
}

/** A set of strings with the lengths that occur in it. */
class PartSet {
  readonly lengths: readonly number[];
  private readonly parts: ReadonlySet<string>;

  constructor(parts: readonly string[]) {
    this.parts = new Set(parts);
    this.lengths = [...new Set(parts.map((part) => part.length))];
  }

  has(part: string): boolean {
    return this.parts.has(part);
  }
}
