// The two kinds of failure: the user's mistake and our bug.
//
// A UserError says what failed, what was found, what was expected and what to do next; cli.ts prints it without a
// stack and exits with its code. Anything else that reaches cli.ts is our bug and is printed with its stack.
//
// Does not: print or exit; cli.ts does.

/** Exit codes of every verb (docs/run-folder.md lists them for other programs). `lost`: another rank is gone; running again goes on. */
export const exitCodes = { finished: 0, bug: 1, user: 2, lost: 74, paused: 75 } as const;

export interface UserErrorDetails {
  readonly found?: string;
  readonly expected?: string;
  /** What the user can type or change to go on. */
  readonly next?: string;
  readonly cause?: unknown;
}

/** A mistake in what the user gave us, or in the state of their files; never a bug of ours. */
export class UserError extends Error {
  readonly found: string | undefined;
  readonly expected: string | undefined;
  readonly next: string | undefined;
  /** What a verb exits with. */
  readonly exitCode: number = exitCodes.user;

  constructor(what: string, details: UserErrorDetails = {}) {
    const lines = [what];
    if (details.found !== undefined) lines.push(`  found:    ${details.found}`);
    if (details.expected !== undefined) lines.push(`  expected: ${details.expected}`);
    if (details.next !== undefined) lines.push(`  next:     ${details.next}`);
    super(lines.join('\n'), details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'UserError';
    this.found = details.found;
    this.expected = details.expected;
    this.next = details.next;
  }
}

/** Thrown when a run saved its state and stopped because it was asked to; exits with `exitCodes.paused`. */
export class Paused extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'Paused';
  }
}

/** The closest of `known` to `word` by edit distance, for "did you mean"; undefined when none is near. */
export function closest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word, candidate);
    if (distance < bestDistance) {
      bestDistance = distance;
      best = candidate;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
