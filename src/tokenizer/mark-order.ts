// Long runs of combining marks, put in canonical order before String.normalize sees them.
//
// V8 (ICU) inserts each mark where it belongs among those before it, so a run of marks of alternating classes costs the
// square of its length: seconds for a megabyte. Sorting a run first gives a canonically equivalent text, of which every
// normal form is the same by definition, and marks that are in order cost V8 nothing. The order of two marks is asked of
// V8 itself, so there is no table here, and no other Unicode than the one it knows.
//
// Does not: compose, or touch text without such runs; String.normalize does the rest.

/** Shorter runs are left to V8, which is quick on them. */
const longRun = 64;

/** All that a decomposition may begin with that is no starter, and some starters; the two letters decompose to marks. */
const mark = /^[\p{M}\uff9e\uff9f]$/u;
/** There are no marks of other classes than 0 above. */
const lastMark = 0x1ffff;

/** A text of which the normal forms are those of `text`, and which V8 normalises in linear time. */
export function inMarkOrder(text: string, decomposition: 'NFD' | 'NFKD'): string {
  let out: string[] | undefined;
  let taken = 0;
  // A long run covers one of these places.
  for (let probe = longRun - 1; probe < text.length; probe += longRun) {
    if (probe < taken || !isMarkAt(text, probe)) continue;
    let start = probe;
    while (start > taken && isMarkAt(text, start - 1)) start--;
    let end = probe + 1;
    while (end < text.length && isMarkAt(text, end)) end++;
    if (end - start >= longRun) {
      out ??= [];
      out.push(text.slice(taken, start), sortedMarks(text.slice(start, end), decomposition));
    } else if (out) {
      out.push(text.slice(taken, end));
    } else {
      continue;
    }
    taken = end;
  }
  if (!out) return text;
  out.push(text.slice(taken));
  return out.join('');
}

/** Whether a unit is a mark, or half of one. */
function isMarkAt(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  if (unit < 0x300) return false;
  if ((unit & 0xf800) !== 0xd800) return mark.test(text[at] as string);
  const start = (unit & 0xfc00) === 0xdc00 ? at - 1 : at;
  return mark.test(text.slice(Math.max(0, start), start + 2));
}

const decomposed = { NFD: new Map<number, Int32Array>(), NFKD: new Map<number, Int32Array>() };

/** A run of marks, decomposed, those between two starters in the order of their classes. */
function sortedMarks(run: string, form: 'NFD' | 'NFKD'): string {
  const known = decomposed[form];
  const classes = (markClasses ??= classesOfMarks());
  // No mark has more than four in its decomposition.
  const codes = new Int32Array(4 * run.length);
  let length = 0;
  for (const one of run) {
    const code = one.codePointAt(0) as number;
    let parts = known.get(code);
    if (!parts)
      known.set(code, (parts = Int32Array.from(one.normalize(form), (part) => part.codePointAt(0) as number)));
    for (let i = 0; i < parts.length; i++) codes[length++] = parts[i] as number;
  }
  const sorted = new Int32Array(length);
  // There are 55 classes.
  const places = new Int32Array(64);
  for (let start = 0; start < length; ) {
    let end = start;
    while (end < length && classOf(classes, codes[end] as number) > 0) end++;
    places.fill(start);
    for (let i = start; i < end; i++) {
      // Those of higher classes come behind.
      (places[classOf(classes, codes[i] as number) + 1] as number)++;
    }
    for (let c = 1; c < places.length; c++) places[c] = (places[c] as number) + (places[c - 1] as number) - start;
    for (let i = start; i < end; i++) {
      const code = codes[i] as number;
      const c = classOf(classes, code);
      sorted[(places[c] as number)++] = code;
    }
    if (end < length) sorted[end] = codes[end] as number;
    start = end + 1;
  }
  const units = new Uint16Array(2 * length);
  let at = 0;
  for (const code of sorted) {
    if (code > 0xffff) units[at++] = 0xd7c0 + (code >> 10);
    units[at++] = code > 0xffff ? 0xdc00 | (code & 0x3ff) : code;
  }
  return Buffer.from(units.buffer, 0, 2 * at).toString('utf16le');
}

function classOf(classes: Uint8Array, code: number): number {
  return code > lastMark ? 0 : (classes[code] as number);
}

/** Of each code point that is its own decomposition: 0 for a starter, else the number of its class among all, from 1. */
let markClasses: Uint8Array | undefined;

function classesOfMarks(): Uint8Array {
  const marks: string[] = [];
  for (let code = 0x300; code <= lastMark; code++) {
    const one = String.fromCodePoint(code);
    if (mark.test(one) && one.normalize('NFD') === one && isNonStarter(one)) marks.push(one);
  }
  marks.sort(byClass);
  const classes = new Uint8Array(lastMark + 1);
  let number = 0;
  for (const [i, one] of marks.entries()) {
    if (i === 0 || byClass(marks[i - 1] as string, one) !== 0) number++;
    classes[one.codePointAt(0) as number] = number;
  }
  return classes;
}

/** Whether a mark changes places with one of the first class, U+0334, or with one of the last, U+0345. */
function isNonStarter(one: string): boolean {
  return swaps('\u0345', one) || swaps(one, '\u0334');
}

function byClass(a: string, b: string): number {
  return swaps(a, b) ? 1 : swaps(b, a) ? -1 : 0;
}

/** Whether the second of two marks belongs before the first. */
function swaps(first: string, second: string): boolean {
  return (first + second).normalize('NFD') !== first + second;
}
