// Personal data in one pass over a text: from anchors ("@", ":", "+", a bracket, a digit) outwards, never back and forth.
//
// Every search around an anchor is bounded, so time is linear whatever the text. Numbers count only as a whole: what goes on
// with a letter, a digit or a separator and a digit is something else. Where form and check do not make it certain, a word
// must stand before it ("Tel.", "PESEL", "card"); a miss is better than a wrong hit. docs/steps.md lists the rules.
//
// Does not: keep or return what it found, only where; pii.ts replaces it.
import {
  letteredIdentifiers,
  type LetteredIdentifier,
  type NationalIdentifier,
  nationalIdentifiers,
} from './national-identifiers.ts';
import { ibanChecks, ibanLength, ipv6Range, isCard, isInternationalPhone, isReservedIPv4 } from './pii-numbers.ts';

/** What a found piece is; national identifiers are all one for the text. */
export type FoundKind = 'email' | 'ip' | 'iban' | 'phone' | 'card' | 'id';

export interface Found {
  readonly start: number;
  readonly end: number;
  readonly kind: FoundKind;
}

export interface ScanOptions {
  /** `email`, `ip`, `iban`, `phone`, `card`, and kinds of national identifiers. */
  readonly kinds: ReadonlySet<string>;
  /** Whether private, loopback, link-local and other reserved addresses count too. */
  readonly reservedAddresses: boolean;
}

/** Bits of the class of an ASCII character. */
const [anchor, digitBit, letterBit, atomBit, hexBit, notBefore] = [1, 2, 4, 8, 16, 32] as const;
const classes = new Uint8Array(128);
for (let code = 0; code < 128; code++) {
  const char = String.fromCharCode(code);
  if (/[0-9@:+[({]/.test(char)) classes[code] = anchor;
  if (/[0-9]/.test(char)) classes[code] = (classes[code] as number) | digitBit;
  if (/[A-Za-z]/.test(char)) classes[code] = (classes[code] as number) | letterBit;
  if (/[A-Za-z0-9._%+'-]/.test(char)) classes[code] = (classes[code] as number) | atomBit;
  if (/[0-9A-Fa-f]/.test(char)) classes[code] = (classes[code] as number) | hexBit;
  if ('/=#&%@+-$_\\~^*<>'.includes(char)) classes[code] = (classes[code] as number) | notBefore;
}

const [space, quote, openParenthesis, closeParenthesis, plus, dash, dot, slash] = [
  32, 39, 40, 41, 43, 45, 46, 47,
] as const;
const [zero, nine, colon, at, underscore] = [48, 57, 58, 64, 95] as const;
const [dollar, percent, comma, equals] = [36, 37, 44, 61] as const;
const [lineFeed, doubleQuote] = [10, 34] as const;

const isDigit = (code: number): boolean => code >= zero && code <= nine;
/** No-break and narrow no-break space stand between groups of digits as a space does. */
const isSpace = (code: number): boolean => code === space || code === 0xa0 || code === 0x202f;

/** Letters of scripts that put spaces between words, in order that a word before an address is not taken for a part of it. */
const spacedLetter = /[\p{L}\p{M}\p{N}]/u;
function isSpacedLetter(code: number): boolean {
  if (code < 128) return ((classes[code] as number) & (letterBit | digitBit)) !== 0;
  return code >= 0xc0 && code < 0x0e00 && spacedLetter.test(String.fromCharCode(code));
}

/** Is there a letter, a digit or "_" of any script? */
const wordChar = /[\p{L}\p{N}_]/u;
function isWord(code: number): boolean {
  if (Number.isNaN(code)) return false;
  if (code < 128) return code === underscore || ((classes[code] as number) & (letterBit | digitBit)) !== 0;
  return wordChar.test(String.fromCharCode(code));
}

/** Finds personal data, in the order of the text and without overlaps. */
export class Scanner {
  private readonly options: ScanOptions;
  private readonly shapes = new Map<string, NationalIdentifier[]>();
  private readonly needsNoWord = new Set<string>();
  private readonly lettered: readonly LetteredIdentifier[];
  private readonly wants: Readonly<Record<'email' | 'ip' | 'iban' | 'phone' | 'card', boolean>>;
  private text = '';
  private found: Found[] = [];
  /** End of what was found last. */
  private taken = 0;
  /** Where the scan goes on. */
  private next = 0;

  constructor(options: ScanOptions) {
    this.options = options;
    const { kinds } = options;
    for (const identifier of nationalIdentifiers) {
      if (!kinds.has(identifier.kind)) continue;
      for (const form of identifier.forms) {
        const shape = form.replace('!', '');
        this.shapes.set(shape, [...(this.shapes.get(shape) ?? []), identifier]);
        if (form.endsWith('!')) this.needsNoWord.add(`${identifier.kind} ${shape}`);
      }
    }
    this.lettered = letteredIdentifiers.filter(({ kind }) => kinds.has(kind));
    this.wants = {
      email: kinds.has('email'),
      ip: kinds.has('ip'),
      iban: kinds.has('iban'),
      phone: kinds.has('phone'),
      card: kinds.has('card'),
    };
  }

  scan(text: string): readonly Found[] {
    this.text = text;
    this.found = [];
    this.taken = 0;
    const { length } = text;
    for (let i = 0; i < length; ) {
      const code = text.charCodeAt(i);
      if (code > 127 || ((classes[code] as number) & anchor) === 0) {
        i++;
        continue;
      }
      this.next = i + 1;
      if (isDigit(code)) this.digits(i);
      else if (code === at) this.email(i);
      else if (code === colon) this.ipv6(i);
      else if (code === plus) this.international(i, i + 1);
      else this.bracketed(i);
      i = this.next;
    }
    const { found } = this;
    this.found = [];
    this.text = '';
    return found;
  }

  private take(start: number, end: number, kind: FoundKind): true {
    this.found.push({ start, end, kind });
    this.taken = end;
    this.next = end;
    return true;
  }

  private code(index: number): number {
    return this.text.charCodeAt(index);
  }

  /** Nothing before it that would make it a part of something longer: a word, an address, a path, a decimal. */
  private freeBefore(start: number): boolean {
    if (start === 0) return true;
    const before = this.code(start - 1);
    if (start === this.taken || isWord(before)) return false;
    if (before === dot || before === comma) return !isDigit(this.code(start - 2));
    return before > 127 ? before !== 0x20ac && before !== 0xa3 : ((classes[before] as number) & notBefore) === 0;
  }

  /** Nothing behind it that goes on with it. */
  private freeAfter(end: number): boolean {
    const after = this.code(end);
    if (
      isWord(after) ||
      after === at ||
      after === percent ||
      after === equals ||
      after === dollar ||
      after === 0x20ac
    ) {
      return false;
    }
    const joins = after === dot || after === dash || after === slash || after === comma || after === colon;
    return !joins || !isDigit(this.code(end + 1));
  }

  /** Does a number stand right before or behind, a space between? Then this is a part of a table. */
  private inTable(start: number, end: number): boolean {
    if (isSpace(this.code(start - 1))) {
      for (let i = start - 2; i >= this.taken && i > start - 10 && isWord(this.code(i)); i--) {
        if (isDigit(this.code(i))) return true;
      }
    }
    return isSpace(this.code(end)) && isDigit(this.code(end + 1));
  }

  /** Does one of the words end within `reach` characters before `start`? They stand alone on their left. */
  private wordBefore(start: number, words: readonly string[], reach: number): boolean {
    const from = Math.max(this.taken, start - reach);
    const window = this.text.slice(from, start).toLowerCase();
    // A word of the line before says nothing about this one, except at its very end.
    const line = window.lastIndexOf('\n', window.trimEnd().length - 1) + 1;
    for (const word of words) {
      for (let found = window.lastIndexOf(word); found >= line; found = window.lastIndexOf(word, found - 1)) {
        const end = found + word.length;
        const before = found === 0 ? this.code(from - 1) : window.charCodeAt(found - 1);
        // Short words stand alone; long ones may go on, as in "Telefonnummer". Digits between belong to something else.
        const alone =
          (!isWord(before) || before === underscore) &&
          (word.length > 4 || end >= window.length || !isWord(window.charCodeAt(end)));
        if (alone && !/\d/.test(window.slice(end))) return true;
        if (found === 0) break;
      }
    }
    return false;
  }

  // Digits -----------------------------------------------------------------------------------------------------------

  /** Ends of the groups of digits that may belong together, at most nine, and the shape they make up to each. */
  private readonly ends: number[] = [];
  private readonly forms: string[] = [];
  private readonly plain: string[] = [];

  private readGroups(start: number): void {
    const { text, ends, forms, plain } = this;
    ends.length = forms.length = plain.length = 0;
    let form = '';
    let digits = '';
    for (let i = start; ends.length < 9; ) {
      const from = i;
      while (i - from < 20 && isDigit(text.charCodeAt(i))) i++;
      if (i === from) return;
      form += String(i - from);
      digits += text.slice(from, i);
      if (digits.length > 20) return;
      ends.push(i);
      forms.push(form);
      plain.push(digits);
      const separator = text.charCodeAt(i);
      if (!isDigit(text.charCodeAt(i + 1))) return;
      if (isSpace(separator)) form += '_';
      else if (separator === dot || separator === dash || separator === slash || separator === 124) {
        form += text[i];
      } else return;
      i++;
    }
  }

  private digits(start: number): void {
    const { text, wants } = this;
    let end = start + 1;
    while (isDigit(text.charCodeAt(end))) end++;
    this.next = end;
    if (this.afterLetters(start, end)) return;
    const after = text.charCodeAt(end);
    const length = end - start;
    // A short number with nothing behind it that could belong to it: nearly all numbers.
    const goesOn = isDigit(text.charCodeAt(end + 1)) || (isPhoneSeparator(after) && isPhoneNext(text, end + 1));
    if (length < 7 && !goesOn) return;
    if (wants.ip && length <= 3 && after === dot && this.ipv4(start)) return;
    if (!this.freeBefore(start)) return;
    if (length > 20) return;
    if (this.letteredAt(start, length)) return;
    this.readGroups(start);
    if (this.national(start)) return;
    if (wants.card && this.card(start)) return;
    if (wants.phone) this.phone(start);
  }

  /** Identifiers that begin with letters before these digits. */
  private afterLetters(start: number, end: number): boolean {
    const before = this.code(start - 1);
    if (!(before >= 65 && before <= 90)) return false;
    if (this.wants.iban && end - start >= 2 && this.iban(start - 2)) return true;
    return this.letteredAt(start, end - start, true);
  }

  private letteredAt(start: number, length: number, afterLetters = false): boolean {
    for (const { before, run, pattern, needsWord, words, valid } of this.lettered) {
      if (run !== length || before > 0 !== afterLetters) continue;
      const from = start - before;
      if (from < this.taken || isWord(this.code(from - 1))) continue;
      pattern.lastIndex = from;
      const match = pattern.exec(this.text);
      if (!match) continue;
      const [found] = match;
      const end = from + found.length;
      if (isWord(this.code(end)) || !valid(found)) continue;
      if (needsWord && !this.wordBefore(from, words, 40)) continue;
      return this.take(from, end, 'id');
    }
    return false;
  }

  private national(start: number): boolean {
    const { ends, forms, plain } = this;
    for (let k = ends.length - 1; k >= 0; k--) {
      const kinds = this.shapes.get(forms[k] as string);
      if (!kinds || !this.freeAfter(ends[k] as number)) continue;
      for (const { kind, words, valid } of kinds) {
        if (!valid(plain[k] as string)) continue;
        const end = ends[k] as number;
        const certain = this.needsNoWord.has(`${kind} ${forms[k]}`) && !this.inTable(start, end);
        if (!certain && !this.wordBefore(start, words, 40)) continue;
        return this.take(start, end, 'id');
      }
    }
    return false;
  }

  private card(start: number): boolean {
    const { ends, forms, plain } = this;
    for (let k = ends.length - 1; k >= 0; k--) {
      const digits = plain[k] as string;
      if (digits.length < 13 || digits.length > 19) continue;
      const grouped = cardForms.has(forms[k] as string);
      if (!grouped && k > 0) continue;
      if (!this.freeAfter(ends[k] as number) || !isCard(digits)) continue;
      const certain = grouped && !this.inTable(start, ends[k] as number);
      if (!certain && !this.wordBefore(start, cardWords, 40)) continue;
      return this.take(start, ends[k] as number, 'card');
    }
    return false;
  }

  private iban(start: number): boolean {
    if (start < this.taken || isWord(this.code(start - 1))) return false;
    const { text } = this;
    const expected = ibanLength(text.slice(start, start + 2));
    if (expected === undefined) return false;
    // Groups of four with a space each, or none at all.
    const spaced = isSpace(text.charCodeAt(start + 4));
    let compact = '';
    let i = start;
    while (compact.length < expected) {
      const code = text.charCodeAt(i);
      if (
        spaced &&
        compact.length > 0 &&
        compact.length % 4 === 0 &&
        isSpace(code) &&
        !isSpace(text.charCodeAt(i - 1))
      ) {
        i++;
        continue;
      }
      if (!isDigit(code) && !(code >= 65 && code <= 90)) return false;
      if (spaced && compact.length > 0 && compact.length % 4 === 0 && !isSpace(text.charCodeAt(i - 1))) return false;
      compact += text[i];
      i++;
    }
    if (isWord(text.charCodeAt(i)) || !ibanChecks(compact)) return false;
    return this.take(start, i, 'iban');
  }

  // Phones -----------------------------------------------------------------------------------------------------------

  /** A number with its country code: `start` is the "+" or the first zero, `from` the first digit behind. */
  private international(start: number, from: number): boolean {
    const { text } = this;
    if (!this.wants.phone || !isDigit(text.charCodeAt(from)) || text.charCodeAt(from) === zero) return false;
    if (
      start < this.taken ||
      isWord(this.code(start - 1)) ||
      (start > 0 && '+=/\\^*-'.includes(text[start - 1] as string))
    )
      return false;
    let digits = '';
    let best = -1;
    let separators = 0;
    for (let i = from; i < from + 28; ) {
      const code = text.charCodeAt(i);
      if (isDigit(code)) {
        digits += text[i++];
        if (digits.length > 15) break;
        if (!isDigit(text.charCodeAt(i)) && this.freeAfter(i) && isInternationalPhone(digits)) best = i;
        continue;
      }
      // A zero in brackets is not dialled from abroad; other brackets hold the area.
      if (text.startsWith('(0)', i)) i += 3;
      else if (isPhoneSeparator(code) && isPhoneNext(text, i + 1)) i++;
      else break;
      separators++;
      if (text.charCodeAt(i) === space) i++;
    }
    if (best < 0) return false;
    // "00" also begins other numbers: only with groups, which are not those of a table, or after a word.
    if (text.charCodeAt(start) === zero) {
      const doubtful = separators < 2 || this.inTable(start, best) || inFours.test(text.slice(start, best));
      if (doubtful && !this.phoneWordBefore(start)) return false;
    }
    return this.take(start, best, 'phone');
  }

  /** "Tel.", "phone no:", "Telefonnummer" and the like, with nothing else between. */
  private phoneWordBefore(start: number): boolean {
    const window = this.text.slice(Math.max(this.taken, start - 32), start).toLowerCase();
    return phoneWord.test(window);
  }

  private phone(start: number): boolean {
    const { text, ends, forms, plain } = this;
    if (text.startsWith('00', start) && this.international(start, start + 2)) return true;
    const opened = text.charCodeAt(start - 1) === openParenthesis;
    if (opened) {
      bracketedForm.lastIndex = start;
      const end = start + (bracketedForm.exec(text)?.[0].length ?? 0);
      if (end > start && this.freeAfter(end) && !isWord(this.code(start - 2)))
        return this.take(start - 1, end, 'phone');
    }
    for (let k = ends.length - 1; k >= 0; k--) {
      if (nationalForms.test(forms[k] as string) && isNationalForm(forms[k] as string, plain[k] as string)) {
        const end = ends[k] as number;
        if (!opened && this.freeAfter(end) && !this.inTable(start, end)) return this.take(start, end, 'phone');
      }
    }
    if (!this.phoneWordBefore(opened ? start - 1 : start)) return false;
    // After a word: all the groups, with brackets around the area and an oblique behind it.
    let digits = 0;
    let best = -1;
    for (let i = start; i < start + 24; ) {
      if (isDigit(text.charCodeAt(i))) {
        digits++;
        i++;
        if (!isDigit(text.charCodeAt(i)) && digits >= 7 && digits <= 12 && this.freeAfter(i)) best = i;
        continue;
      }
      if (!isPhoneSeparator(text.charCodeAt(i)) || !isPhoneNext(text, i + 1)) break;
      i++;
      if (text.charCodeAt(i) === space) i++;
    }
    if (best < 0 || years.test(text.slice(start, best))) return false;
    return this.take(opened && text.slice(start, best).includes(')') ? start - 1 : start, best, 'phone');
  }

  // IP addresses -----------------------------------------------------------------------------------------------------

  private ipv4(start: number): boolean {
    const { text } = this;
    const before = this.code(start - 1);
    if (isWord(before) || before === dot || start < this.taken) return false;
    const octets: number[] = [];
    let i = start;
    for (let k = 0; k < 4; k++) {
      const from = i;
      while (i - from < 4 && isDigit(text.charCodeAt(i))) i++;
      const length = i - from;
      const value = Number(text.slice(from, i));
      if (length === 0 || length > 3 || value > 255 || (length > 1 && text.charCodeAt(from) === zero)) return false;
      octets.push(value);
      if (k < 3 && text.charCodeAt(i++) !== dot) return false;
    }
    const after = text.charCodeAt(i);
    if (isWord(after) || ((after === dot || after === dash) && isDigit(text.charCodeAt(i + 1)))) return false;
    this.next = i;
    // A part of a longer name: 11.2.0.4.v3, 4.3.2.1.in-addr.arpa, lib-1.2.3.4.
    if (after === dot && isLowerLetter(text.charCodeAt(i + 1))) return true;
    if (before === dash && isWord(this.code(start - 2))) return true;
    if (!this.options.reservedAddresses && isReservedIPv4(octets)) return true;
    // A version, an object identifier or a section of a text, not a host.
    if (this.wordBefore(start, versionWords, 20)) return true;
    if (before === slash && isWord(this.code(start - 2))) return true;
    if (isSpace(before) && '<>=~^'.includes(text[start - 2] as string)) return true;
    if (before === openParenthesis && octets.every((octet) => octet < smallOctet)) return true;
    return this.take(start, i, 'ip');
  }

  private ipv6(start: number): void {
    const { text } = this;
    if (!this.wants.ip) return;
    // The first colon of an address follows one to four hexadecimal digits, or another colon follows it.
    let from = start;
    while (start - from < 5 && from > this.taken && isHex(text.charCodeAt(from - 1))) from--;
    if (start - from > 4 || isWord(text.charCodeAt(from - 1)) || (from > 0 && ':.'.includes(text[from - 1] as string)))
      return;
    if (from === start && text.charCodeAt(start + 1) !== colon) return;
    let end = start;
    while (
      end - from < 46 &&
      (isHex(text.charCodeAt(end)) || text.charCodeAt(end) === colon || text.charCodeAt(end) === dot)
    ) {
      end++;
    }
    if (isWord(text.charCodeAt(end))) return;
    while (
      end > from &&
      (text.charCodeAt(end - 1) === dot || (text.charCodeAt(end - 1) === colon && text.charCodeAt(end - 2) !== colon))
    ) {
      end--;
    }
    const address = text.slice(from, end);
    const range = ipv6Range(address);
    if (range === 'global' || (this.options.reservedAddresses && /\d/.test(address) && address.length > 3)) {
      this.take(from, end, 'ip');
    }
  }

  // E-mail -----------------------------------------------------------------------------------------------------------

  /** The quote that opens a quoted local part (RFC 5321, 4.1.2) ending before `end`, or `end`. */
  private quotedStart(end: number): number {
    if (this.code(end - 1) !== doubleQuote) return end;
    const from = Math.max(this.taken, end - 66);
    for (let i = end - 2; i >= from; i--) {
      const code = this.code(i);
      if (code === lineFeed || code === at) return end;
      if (code === doubleQuote)
        return i < end - 2 && !isWord(this.code(i - 1)) && this.code(i - 1) !== equals ? i : end;
    }
    return end;
  }

  /** First character of a local part that ends before `end`; `end` itself where there is none, or too long a one. */
  private localStart(end: number): number {
    let start = end;
    for (let i = end - 1; i >= this.taken; i--) {
      const code = this.code(i);
      const atom = code < 128 ? ((classes[code] as number) & atomBit) !== 0 : isSpacedLetter(code);
      if (!atom || (code === dot && this.code(i + 1) === dot)) break;
      if (end - i > 64) return end;
      start = i;
    }
    while (start < end) {
      const code = this.code(start);
      if (code === underscore || isSpacedLetter(code)) break;
      start++;
    }
    const last = this.code(end - 1);
    return last === dot || last === quote ? end : start;
  }

  /** End of a host name that begins at `start`, `dots` being what stands between its labels; -1 where there is none. */
  private hostEnd(start: number, obfuscated: boolean): number {
    const { text } = this;
    let i = start;
    let labelStart = start;
    let end = -1;
    let labels = 0;
    for (; i < start + 254; ) {
      const code = text.charCodeAt(i);
      if (isSpacedLetter(code) || (code === dash && i > labelStart)) {
        i++;
        continue;
      }
      // A label ended.
      if (i === labelStart || i - labelStart > 63 || text.charCodeAt(i - 1) === dash) break;
      labels++;
      if (labels > 1 && isTopLevel(text.slice(labelStart, i))) end = i;
      if (code === dot) i++;
      else if (obfuscated) {
        bracketedDot.lastIndex = i;
        const found = bracketedDot.exec(text);
        if (!found) break;
        i += found[0].length;
      } else break;
      labelStart = i;
    }
    return end;
  }

  private email(sign: number): void {
    if (!this.wants.email) return;
    const quoted = this.quotedStart(sign);
    const start = quoted < sign ? quoted : this.localStart(sign);
    if (start === sign) return;
    addressLiteral.lastIndex = sign + 1;
    const literal = addressLiteral.exec(this.text);
    if (literal) {
      this.take(start, sign + 1 + literal[0].length, 'email');
      return;
    }
    let end = this.hostEnd(sign + 1, false);
    if (end < 0 && this.code(sign + 1) >= 0x0e00) {
      unspacedHost.lastIndex = sign + 1;
      end = unspacedHost.test(this.text) ? unspacedHost.lastIndex : -1;
    }
    if (end < 0 || fileEnds.has(this.text.slice(this.text.lastIndexOf('.', end - 1) + 1, end).toLowerCase())) return;
    this.take(start, end, 'email');
  }

  /** `name [at] host [dot] org`: only with brackets around "at", which no sentence has. */
  private bracketed(open: number): void {
    const first = this.code(open + 1);
    if (!this.wants.email || open === 0 || (first !== space && (first | 32) !== 97)) return;
    bracketedAt.lastIndex = open;
    const found = bracketedAt.exec(this.text);
    if (!found) return;
    const localEnd = isSpace(this.code(open - 1)) ? open - 1 : open;
    const start = this.localStart(localEnd);
    const end = this.hostEnd(open + found[0].length, true);
    if (start < localEnd && end >= 0) this.take(start, end, 'email');
  }
}

const isLowerLetter = (code: number): boolean => code >= 97 && code <= 122;
const isHex = (code: number): boolean => code < 128 && ((classes[code] as number) & hexBit) !== 0;

/** `user@[192.0.2.1]` */
const addressLiteral = /\[(?:\d{1,3}\.){3}\d{1,3}\]/y;
/** A host name in a script without spaces ends with one of its top levels (IANA's root zone); what follows may be text. */
const unspacedHost =
  /(?:[\p{L}\p{M}\p{N}-]{1,63}\.){1,8}?(?:中国|中國|台湾|台灣|香港|澳門|新加坡|公司|网络|網絡|网址|政务|公益|中文网|商城|在线|世界|みんな|コム|한국|닷컴|ไทย|คอม|ລາວ)/uy;
const bracketedAt = /(?:\[ ?(?:at|AT) ?\]|\( ?(?:at|AT) ?\)|\{ ?(?:at|AT) ?\}) ?/y;
const bracketedDot = / ?(?:\[ ?(?:dot|DOT|\.) ?\]|\( ?(?:dot|DOT|\.) ?\)|\{ ?(?:dot|DOT|\.) ?\}) ?/y;

/** Letters alone, or Punycode. */
const topLevel = /^(?:\p{L}{2,63}|xn--[a-z0-9-]{2,59})$/iu;
function isTopLevel(label: string): boolean {
  return topLevel.test(label);
}

/** Ends of file names such as icon@2x.png. */
const fileEnds = new Set('png jpg jpeg gif svg webp avif ico css js mjs ts json html htm php scss map'.split(' '));

/** A word for a phone, what its language adds to it, and signs. Every quantifier is bounded: the window has 32 characters. */
const phoneWord = new RegExp(
  `(?<![\\p{L}\\p{N}_])(?:${[
    'tele?f?o?n(?:o|e|i|os)?|t[eé]l[eé]phones?|tel[eé]fonos?|telefoon|telefón|tele?fax|fax|t[eé]l|t(?:lf|fn)|phones?|mobiles?|cell',
    'handy|mobil|natel|puh|puhelin|gsm|whatsapp|hotline|rufnummer|portable|móvil|cellulare|komórka|τηλ|τηλέφωνο|тел|телефон|☎|✆',
  ].join(
    '|',
  )})(?:nummer|number|numer|nr)?[\\s.:/()#-]{0,6}(?:(?:no|nr|n°|number|num|numéro|fax|phone|us at)[\\s.:]{0,3})?$`,
  'u',
);
/** Character codes and the like. */
const inFours = /^\d{4}(?:[ .-]\d{4})+$/;
/** Years and dates are no phones, whatever stands before them. */
const years =
  /^(?:(?:19|20)\d\d[-/.–](?:19|20)\d\d|(?:19|20)\d\d[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.](?:19|20)\d\d)$/;
const cardWords = [
  ...['card', 'visa', 'mastercard', 'amex', 'american express', 'kreditkarte', 'karte', 'carte', 'tarjeta', 'carta'],
  ...['cartão', 'kort', 'kreditkort', 'karta', 'kaart', 'kreditkartennummer', 'card number', 'cc'],
];
const versionWords = [
  ...[
    'version',
    'versions',
    'v',
    'v.',
    'ver',
    'ver.',
    'vers.',
    'release',
    'rev',
    'rev.',
    'revision',
    'build',
    'firmware',
  ],
  ...[
    'versión',
    'versione',
    'versão',
    'versie',
    'section',
    'sections',
    'chapter',
    'article',
    'clause',
    'figure',
    'table',
    '§',
  ],
  ...[
    'abschnitt',
    'kapitel',
    'chapitre',
    'sec.',
    'fig.',
    'oid',
    'oids',
    'identifier',
    'objectidentifier',
    'driver',
    'update',
    'upgrade',
    'patch',
  ],
];
/** Of addresses one in 4096 has four octets below this; of versions in brackets behind a name nearly all have. */
const smallOctet = 32;
const cardForms = new Set(['4_4_4_4', '4-4-4-4', '4_6_5', '4-6-5', '4_6_4', '4-6-4', '4_4_4_4_3']);

function isPhoneSeparator(code: number): boolean {
  return (
    isSpace(code) ||
    code === dash ||
    code === dot ||
    code === slash ||
    code === openParenthesis ||
    code === closeParenthesis ||
    code === 0x2011 ||
    code === 0x2013
  );
}

/** A separator counts where a digit follows, perhaps behind one space or bracket more. */
function isPhoneNext(text: string, i: number): boolean {
  const code = text.charCodeAt(i);
  if (isDigit(code)) return true;
  return (isSpace(code) || code === openParenthesis || code === closeParenthesis) && isDigit(text.charCodeAt(i + 1));
}

/**
 * Groups that only phone numbers have: Switzerland (044 123 45 67), France (01 23 45 67 89), and North America (415-555-2671,
 * 1-415-555-2671), one separator throughout.
 */
const nationalForms = /^(?:3([_./-])3\1?2\1?2|2([_./-])2\2?2\2?2\2?2|(?:1([.-]))?3([.-])3\4?4)$/;
/** (415) 555-2671 */
const bracketedForm = /\d{3}\) ?\d{3}[-. ]\d{4}/y;
function isNationalForm(form: string, digits: string): boolean {
  const [, separator] = /^\d([^\d])/.exec(form) ?? [];
  const groups = form.split(separator as string);
  // Office and area codes of North America begin with 2 to 9; with dots such numbers are also versions.
  if (groups.join('') === '334') return separator === '-' ? digits[0] !== '0' : /^[2-9]..[2-9]/.test(digits);
  if (groups.join('') === '1334') return /^1[2-9]/.test(digits);
  if (groups.join('') === '3322')
    return /^0(?:2[1-7]|3[1-4]|4[134]|5[1256]|6[12]|7[1-9]|81|91|800|84\d|900)/.test(digits);
  // Not the numbers of a list, 01 02 03 04 05.
  return groups.join('') === '22222' && /^0[1-9]/.test(digits) && !ascends(digits);
}

/** Is every pair of digits one more than the pair before? */
function ascends(digits: string): boolean {
  for (let i = 2; i < digits.length; i += 2) {
    if (Number(digits.slice(i, i + 2)) !== Number(digits.slice(i - 2, i)) + 1) return false;
  }
  return true;
}
