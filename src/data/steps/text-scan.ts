// One scan of a text for all filters that ask about its words, lines and characters: code units in a typed array, words
// with their hashes beside each other.
//
// A word is a run of letters, marks, numbers and "_" (a "." or "," between two digits belongs to it), or an apostrophe
// between two such characters with the run behind it ("don't" is two words, as in spaCy), or a run of two or more dots, or any other
// single character that is no white space. A run that holds a character of a script without spaces (Han, kana, Thai,
// Lao, Khmer, Burmese) is cut by Intl.Segmenter, in pieces of at most 1,000 units: it is far slower than linear on
// longer ones. As a pattern for Python's `regex` it is in test/golden-scripts/datatrove_verdicts.py. datatrove takes
// spaCy, which differs in abbreviations, addresses and prefixes; its other languages have tokenizers of their own.
//
// There is one scan at a time: the last text is kept, so that steps in a row over the same text share the work.
//
// Does not: judge anything.
import {
  classes,
  classOfPair,
  isDigit,
  isLetter,
  isPair,
  isSpace,
  isSymbol,
  isUnspaced,
  isWordPart,
} from './characters.ts';

const dot = 0x2e;
const comma = 0x2c;
const apostrophe = 0x27;
const rightQuote = 0x2019;

/** Base of the rolling hash of words; odd, so that no position is lost. */
const base = 0x01000193;
/** What Intl.Segmenter gets at once. */
const segmentUnits = 1000;

let segmenter: Intl.Segmenter | undefined;

/** Room for `length` elements, with what is in `array`. */
function grown(array: Int32Array<ArrayBuffer>, length: number): Int32Array<ArrayBuffer> {
  const bigger = new Int32Array(length);
  bigger.set(array);
  return bigger;
}

const powers = new Int32Array(1024);
for (let i = 0, power = 1; i < powers.length; i++, power = Math.imul(power, base)) powers[i] = power;

/** `base` to the power of `units`. */
function powerOf(units: number): number {
  if (units < powers.length) return powers[units] as number;
  let power = 1;
  for (let square = base, rest = units; rest > 0; rest >>>= 1, square = Math.imul(square, square)) {
    if (rest & 1) power = Math.imul(power, square);
  }
  return power;
}

class TextScan {
  text = '';
  /** The text's code units are codes[0, length). */
  codes = new Uint16Array(1 << 16);
  length = 0;
  /** Code points of the text. */
  points = 0;

  words = 0;
  /** Where each word begins in `codes`. */
  starts = new Int32Array(1 << 12);
  /** The words without what is between them; word i is joined[joinedAt[i], joinedAt[i + 1]). */
  joined = new Uint16Array(1 << 16);
  joinedAt = new Int32Array(1 << 12);
  /** Hash of each word. */
  hashes = new Int32Array(1 << 12);
  /** Words that are not of symbols alone, and their code points. */
  properWords = 0;
  properPoints = 0;
  /** Words with a letter. */
  letterWords = 0;

  private hasWords = false;
  /** Hash of joined[0, i): see `windowHash`. */
  private joinedHashes = new Int32Array((1 << 16) + 1);
  /** Code points in the words before word i, where the text has surrogate pairs. */
  private pairedPoints = new Int32Array(1 << 12);

  fill(text: string): void {
    this.text = text;
    this.length = text.length;
    if (this.codes.length < text.length) {
      this.codes = new Uint16Array(Math.max(text.length, this.codes.length * 2));
      this.joined = new Uint16Array(this.codes.length);
      this.joinedHashes = new Int32Array(this.codes.length + 1);
    }
    Buffer.from(this.codes.buffer).write(text, 0, 'utf16le');
    this.points = this.length - this.pairs(0, this.length);
    this.hasWords = false;
  }

  /** Surrogate pairs in codes[start, end). */
  pairs(start: number, end: number): number {
    const { codes } = this;
    let pairs = 0;
    for (let i = start; i < end; i++) {
      if (((codes[i] as number) & 0xfc00) === 0xd800 && isPair(codes, i, end)) pairs++;
    }
    return pairs;
  }

  /** Code points of codes[start, end). */
  pointsOf(start: number, end: number): number {
    return this.points === this.length ? end - start : end - start - this.pairs(start, end);
  }

  /** Code points in the words before word i. */
  get pointsBefore(): Int32Array {
    return this.points === this.length ? this.joinedAt : this.pairedPoints;
  }

  /** Word i. */
  word(i: number): string {
    const start = this.starts[i] as number;
    return this.text.slice(start, start + (this.joinedAt[i + 1] as number) - (this.joinedAt[i] as number));
  }

  /** Hash of joined[start, end). */
  windowHash(start: number, end: number): number {
    const { joinedHashes } = this;
    return ((joinedHashes[end] as number) - Math.imul(joinedHashes[start] as number, powerOf(end - start))) | 0;
  }

  /** Finds the words, once. */
  findWords(): this {
    if (this.hasWords) return this;
    this.hasWords = true;
    this.words = this.properWords = this.properPoints = this.letterWords = 0;
    this.joinedAt[0] = this.pairedPoints[0] = this.joinedHashes[0] = 0;
    for (let at = 0; at < this.length; ) at = this.oddWord(this.plainWords(at));
    return this;
  }

  /** Adds the words from `at` on that are a plain run or one character; returns where the first other one is. */
  private plainWords(from: number): number {
    const { codes, joined, joinedHashes, length } = this;
    let { starts, joinedAt, hashes } = this;
    let { words, properWords, properPoints, letterWords } = this;
    let to = joinedAt[words] as number;
    let running = joinedHashes[to] as number;
    let at = from;
    while (at < length) {
      let code = codes[at] as number;
      let bits = classes[code] as number;
      if (bits & isSpace) {
        at++;
        continue;
      }
      const begin = to;
      const before = running;
      const start = at;
      let any = 0;
      let all = isSymbol;
      let isOdd = false;
      if (bits & isWordPart) {
        do {
          any |= bits;
          all &= bits;
          joined[to++] = code;
          running = (Math.imul(running, base) + code + 1) | 0;
          joinedHashes[to] = running;
          at++;
          if (at === length) break;
          code = codes[at] as number;
          bits = classes[code] as number;
        } while (bits & isWordPart);
        // Numbers may go on behind a dot or comma, runs behind a surrogate pair, and some are cut by Intl.Segmenter.
        isOdd =
          (any & isUnspaced) !== 0 || (at < length && (code === dot || code === comma || (code & 0xf800) === 0xd800));
        if (isOdd && (code === dot || code === comma) && !(any & isUnspaced))
          isOdd = this.isDigitAt(at + 1) && this.isDigitBefore(at);
      } else {
        isOdd = code === dot || code === apostrophe || code === rightQuote || (code & 0xf800) === 0xd800;
        if (isOdd && code === dot) isOdd = at + 1 < length && codes[at + 1] === dot;
        all = bits & isSymbol;
        joined[to++] = code;
        running = (Math.imul(running, base) + code + 1) | 0;
        joinedHashes[to] = running;
        at++;
      }
      if (isOdd) {
        at = start;
        break;
      }
      if (words + 2 >= starts.length) {
        this.grow();
        ({ starts, joinedAt, hashes } = this);
      }
      starts[words] = start;
      hashes[words] = (running - Math.imul(before, powerOf(to - begin))) | 0;
      joinedAt[++words] = to;
      this.pairedPoints[words] = (this.pairedPoints[words - 1] as number) + to - begin;
      if (any & isLetter) letterWords++;
      if (!all) {
        properWords++;
        properPoints += to - begin;
      }
    }
    this.words = words;
    this.properWords = properWords;
    this.properPoints = properPoints;
    this.letterWords = letterWords;
    return at;
  }

  /** Adds the word or words at `at`, whatever they are; returns their end. */
  private oddWord(at: number): number {
    const { codes, length } = this;
    if (at >= length) return at;
    const code = codes[at] as number;
    if ((classes[code] as number) & isWordPart) return this.run(at);
    if (isPair(codes, at, length)) {
      return classOfPair(code, codes[at + 1] as number) & isWordPart ? this.run(at) : this.add(at, at + 2);
    }
    if (code === dot) {
      let end = at + 1;
      while (end < length && codes[end] === dot) end++;
      return this.add(at, end);
    }
    const isApostrophe = code === apostrophe || code === rightQuote;
    if (isApostrophe && this.isWordPartAt(at + 1) && this.isWordPartBefore(at)) return this.run(at);
    return this.add(at, at + 1);
  }

  private grow(): void {
    const room = this.starts.length * 2;
    for (const name of ['starts', 'joinedAt', 'hashes', 'pairedPoints'] as const) this[name] = grown(this[name], room);
  }

  /** Adds the word or words of the run at `start`, whose first unit belongs to it in any case; returns its end. */
  private run(start: number): number {
    const { codes, length } = this;
    let end = start;
    let any = 0;
    for (;;) {
      if (end >= length) break;
      const code = codes[end] as number;
      let bits = classes[code] as number;
      let units = 1;
      if ((code & 0xfc00) === 0xd800 && isPair(codes, end, length)) {
        bits = classOfPair(code, codes[end + 1] as number);
        units = 2;
      }
      if (!(bits & isWordPart) && end > start) {
        if (!((code === dot || code === comma) && this.isDigitBefore(end) && this.isDigitAt(end + 1))) break;
      }
      any |= bits;
      end += units;
    }
    if (any & isUnspaced) this.segment(start, end);
    else this.add(start, end);
    return end;
  }

  private segment(start: number, end: number): void {
    segmenter ??= new Intl.Segmenter('en', { granularity: 'word' });
    for (let from = start; from < end; ) {
      let to = Math.min(end, from + segmentUnits);
      if (to < end && isPair(this.codes, to - 1, end)) to--;
      for (const { index, segment } of segmenter.segment(this.text.slice(from, to))) {
        this.add(from + index, from + index + segment.length);
      }
      from = to;
    }
  }

  private isWordPartAt(at: number): boolean {
    if (at >= this.length) return false;
    const code = this.codes[at] as number;
    if (isPair(this.codes, at, this.length))
      return (classOfPair(code, this.codes[at + 1] as number) & isWordPart) !== 0;
    return ((classes[code] as number) & isWordPart) !== 0;
  }

  private isWordPartBefore(at: number): boolean {
    if (at > 1 && isPair(this.codes, at - 2, at)) return this.pairBefore(at, isWordPart);
    return at > 0 && ((classes[this.codes[at - 1] as number] as number) & isWordPart) !== 0;
  }

  private pairBefore(at: number, bit: number): boolean {
    return (classOfPair(this.codes[at - 2] as number, this.codes[at - 1] as number) & bit) !== 0;
  }

  private isDigitBefore(at: number): boolean {
    if (at > 1 && isPair(this.codes, at - 2, at)) return this.pairBefore(at, isDigit);
    return ((classes[this.codes[at - 1] as number] as number) & isDigit) !== 0;
  }

  private isDigitAt(at: number): boolean {
    if (at >= this.length) return false;
    if (isPair(this.codes, at, this.length)) return this.pairBefore(at + 2, isDigit);
    return ((classes[this.codes[at] as number] as number) & isDigit) !== 0;
  }

  /** Adds the word codes[start, end); returns `end`. */
  private add(start: number, end: number): number {
    const word = this.words++;
    if (word + 2 >= this.starts.length) this.grow();
    const { codes, joined, joinedHashes } = this;
    const begin = this.joinedAt[word] as number;
    let to = begin;
    let running = joinedHashes[to] as number;
    let pairs = 0;
    let any = 0;
    let all = isSymbol;
    for (let i = start; i < end; i++) {
      const code = codes[i] as number;
      if (isPair(codes, i, end)) {
        const bits = classOfPair(code, codes[i + 1] as number);
        any |= bits;
        all &= bits;
        pairs++;
      } else if (i === start || !isPair(codes, i - 1, end)) {
        any |= classes[code] as number;
        all &= classes[code] as number;
      }
      joined[to++] = code;
      running = (Math.imul(running, base) + code + 1) | 0;
      joinedHashes[to] = running;
    }
    const points = end - start - pairs;
    this.starts[word] = start;
    this.joinedAt[word + 1] = to;
    this.hashes[word] = this.windowHash(begin, to);
    this.pairedPoints[word + 1] = (this.pairedPoints[word] as number) + points;
    if (any & isLetter) this.letterWords++;
    if (!all) {
      this.properWords++;
      this.properPoints += points;
    }
    return end;
  }
}

export type { TextScan };

/** The hash that a word of these units has. */
export function wordHash(text: string): number {
  let hash = 0;
  for (let i = 0; i < text.length; i++) hash = (Math.imul(hash, base) + text.charCodeAt(i) + 1) | 0;
  return hash;
}

const scan = new TextScan();

/** The scan of a text; it is valid until the next call with another text. */
export function scanOf(text: string): TextScan {
  if (scan.text !== text) scan.fill(text);
  return scan;
}
