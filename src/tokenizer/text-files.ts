// Files of texts that a user names: `.jsonl` with `text` (and `language`) on each line, or `.txt` with a text a line; both
// also with .gz or .zst.
//
// A line of .txt ends with LF or CRLF, and neither is part of the text; nor is a byte order mark at the beginning of a file.
// Lines that hold no text are counted by their reason and left out; a .txt that begins with bytes that no text has is refused.
//
// Does not: read documents of a run; base/documents-folder.ts does.
import { isUtf8 } from 'node:buffer';
import { existsSync, statSync } from 'node:fs';
import { UserError } from '../base/errors.ts';
import { readJsonl, readLinesWithin, tooLong } from '../base/jsonl.ts';

export interface FileText {
  readonly text: string;
  readonly language?: string | undefined;
}

/** How many lines were left out, by reason. */
export type LeftOut = Map<string, number>;

/** A NUL among so many bytes at the beginning is no slip: the file is binary, or UTF-16. */
const judgedBytes = 8192;
const longestLine = 2 ** 28;

/** Refuses a path that is no file of texts. */
export function requireTextFile(path: string): void {
  if (/\.(jsonl|txt)(\.gz|\.zst)?$/.test(path) && existsSync(path) && statSync(path).isFile()) return;
  throw new UserError(`cannot read texts from ${path}`, {
    found: existsSync(path) ? 'a file or folder of another kind' : 'no file at this path',
    expected: 'files .jsonl or .txt, also .gz or .zst',
  });
}

/** The texts of a file; what is left out is added to `leftOut`. `lineEnd` is put behind each text of a .txt. */
export async function* textsOf(path: string, leftOut: LeftOut, lineEnd = ''): AsyncGenerator<FileText> {
  const leave = (reason: string): void => void leftOut.set(reason, (leftOut.get(reason) ?? 0) + 1);
  if (/\.txt(\.gz|\.zst)?$/.test(path)) {
    let at = 0;
    for await (const lines of readLinesWithin(path, longestLine)) {
      for (const line of lines) {
        if (at < judgedBytes && line?.subarray(0, judgedBytes - at).includes(0)) throw notText(path, 'a NUL byte');
        if (at === 0 && /^(\xff\xfe|\xfe\xff)/.test(line?.toString('latin1', 0, 2) ?? ''))
          throw notText(path, 'UTF-16');
        const bytes = line && withoutEnds(line, at === 0);
        const problem = bytes === undefined ? tooLong : problemOf(bytes);
        if (problem === undefined) yield { text: (bytes as Buffer).toString('utf8') + lineEnd };
        else leave(problem);
        at += 1 + (line?.length ?? longestLine);
      }
    }
    return;
  }
  for await (const value of readJsonl<unknown>(path, ({ reason }) => leave(reason))) {
    const { text, language } = (value ?? {}) as { text?: unknown; language?: unknown };
    if (typeof text !== 'string') leave('no text');
    else if (text === '') leave(empty);
    else yield { text, language: typeof language === 'string' && language !== '' ? language : undefined };
  }
}

/** Reasons with their counts, such as `3 lines left out: 2 not valid JSON, 1 empty`; undefined where none was. */
export function toldLeftOut(leftOut: LeftOut, what = 'lines'): string | undefined {
  const counts = [...leftOut].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  const sum = counts.reduce((all, [, count]) => all + count, 0);
  return sum === 0 ? undefined : `${sum} ${what} left out: ${counts.map(([why, n]) => `${n} ${why}`).join(', ')}`;
}

const empty = 'empty';

/** A line of .txt without CR at its end, and without a byte order mark where it is the first. */
function withoutEnds(line: Buffer, isFirst: boolean): Buffer {
  const from = isFirst && line[0] === 0xef && line[1] === 0xbb && line[2] === 0xbf ? 3 : 0;
  return line.subarray(from, line.length > from && line.at(-1) === 13 ? -1 : line.length);
}

function problemOf(bytes: Buffer): string | undefined {
  if (bytes.length === 0) return empty;
  if (bytes.includes(0)) return 'with a NUL byte';
  return isUtf8(bytes) ? undefined : 'not UTF-8';
}

function notText(path: string, found: string): UserError {
  return new UserError(`${path} is no text`, {
    found: `${found} at its beginning`,
    expected: 'text in UTF-8',
    next: 'leave the file out, or convert it (iconv -f UTF-16 -t UTF-8)',
  });
}
