// Where an expression matches a text, and what lies between: the ground of splitting and replacing.
//
// Does not: know what is done with the parts.

export interface Part {
  readonly start: number;
  readonly end: number;
  readonly isMatch: boolean;
}

/**
 * The parts of a text in order, the matches of an expression (with the flag g) and what lies between them. Matches may be
 * empty, but not at the end of another one.
 */
export function matchesOf(text: string, expression: RegExp): Part[] {
  const parts: Part[] = [];
  let at = 0;
  let lastEnd = -1;
  expression.lastIndex = 0;
  for (let match = expression.exec(text); match; match = expression.exec(text)) {
    const start = match.index;
    const end = start + match[0].length;
    if (start === end) {
      // A code point on: the flag v moves by units where it is told to.
      expression.lastIndex += (text.codePointAt(start) as number) > 0xffff ? 2 : 1;
      if (start === lastEnd) continue;
    }
    if (start > at) parts.push({ start: at, end: start, isMatch: false });
    parts.push({ start, end, isMatch: true });
    at = end;
    lastEnd = end;
  }
  if (at < text.length) parts.push({ start: at, end: text.length, isMatch: false });
  return parts;
}
