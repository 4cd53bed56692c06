// Documents out of folders of plain text: one document per file, named by its path below the folder.
//
// A byte order mark tells the encoding; without one a file is UTF-8, and what is not valid UTF-8 is taken for
// windows-1252, which the note `text` says. (In that encoding nearly every byte is a letter, so it cannot be told from
// others; the note lets a filter leave such files out.)
//
// Does not: read formats (a .pdf is no text), or cut a file into several documents.
import { isUtf8 } from 'node:buffer';
import { basename } from 'node:path';
import { sha256 } from '../../base/hashing.ts';
import { readPieces } from '../../base/pieces.ts';
import {
  defaultReadLimits,
  lineEnds,
  type ReadLimits,
  type RejectedRecord,
  type SourceItem,
  textProblem,
} from './documents.ts';
import { decodeAs } from './encodings.ts';

/** The document of a text file, compressed or not. `name` is the path of the file below its folder. */
export async function* readTextDocument(
  path: string,
  source: string,
  limits: ReadLimits = defaultReadLimits,
  name = basename(path),
): AsyncGenerator<SourceItem> {
  const id = sha256(name).slice(0, 32);
  const reject = (reason: string, detail: string): { readonly rejected: RejectedRecord } => ({
    rejected: { id, reason, detail },
  });
  const parts: Buffer[] = [];
  let length = 0;
  for await (const piece of readPieces(path)) {
    if (!Buffer.isBuffer(piece)) {
      if (piece.mark === 'start') continue;
      yield reject('unreadable', piece.reason);
      return;
    }
    parts.push(piece);
    length += piece.length;
    if (length > limits.recordBytes) {
      yield reject('too-large', `more than ${limits.recordBytes} bytes`);
      return;
    }
  }
  const { text: decoded, encoding } = decodeText(Buffer.concat(parts, length));
  const text = lineEnds(decoded).trim();
  const problem = textProblem(text);
  if (problem !== undefined) yield reject('unreadable', problem);
  else if (text === '') yield reject('empty', 'no text');
  else {
    const notes = encoding === 'utf-8' ? {} : { notes: { text: { encoding } } };
    yield { document: { id, text, language: 'und', source, licence: 'unknown', ...notes } };
  }
}

/** Characters of bytes in an encoding that nothing states. */
export function decodeText(bytes: Buffer): { readonly text: string; readonly encoding: string } {
  const marks = [
    ['utf-8', 'efbbbf'],
    ['utf-16le', 'fffe'],
    ['utf-16be', 'feff'],
  ] as const;
  for (const [encoding, mark] of marks) {
    if (!bytes.toString('hex', 0, 3).startsWith(mark)) continue;
    return { text: decodeAs(encoding, bytes), encoding };
  }
  const encoding = isUtf8(bytes) ? 'utf-8' : 'windows-1252';
  return { text: decodeAs(encoding, bytes), encoding };
}
