// Documents out of WARC files (HTML and plain text) and JSON-lines files, and what all readers of documents give.
//
// Every record that could be a document comes out, as a document or as a rejection with a reason, so that the ledger
// accounts for all of them. robots.txt records, requests and descriptions of the crawl are no documents.
//
// Does not: judge texts, or quote them in reasons.
import { type Document, type Section, withNote } from '../../base/document.ts';
import { sha256 } from '../../base/hashing.ts';
import { readJsonlLines, tooLong } from '../../base/jsonl.ts';
import { languageOfTag } from '../language-codes.ts';
import { licenceOf } from '../licences.ts';
import { isRobotsUrl } from '../robots-snapshot.ts';
import { decodeHtml, decodePlain, extractHtml } from './html.ts';
import { defaultLimits, parseHttpResponse, readWarc, tooLargeBody, type WarcRecord } from './warc.ts';

export interface RejectedRecord {
  readonly id: string;
  readonly url?: string | undefined;
  readonly reason: string;
  /** For people; never words of the record, which may be personal. */
  readonly detail: string;
  /** What was read, where it could be: a text that is not wanted. */
  readonly document?: Document;
}

export type SourceItem =
  | { readonly document: Document; readonly rejected?: undefined }
  | { readonly rejected: RejectedRecord; readonly document?: undefined };

/** Bounds of what one record may cost; the recipe sets them (`data.source.maxRecordBytes`). */
export interface ReadLimits {
  /** Bytes of a record, of a body once decoded, of a line, of a text. */
  readonly recordBytes: number;
}
export const defaultReadLimits: ReadLimits = { recordBytes: defaultLimits.blockBytes };

/** Line ends of Windows and of old Macs as \n. */
export function lineEnds(text: string): string {
  return text.includes('\r') ? text.replace(/\r\n?/g, '\n') : text;
}

/** What makes a text no text, whatever file it stands in; undefined where nothing does. */
export function textProblem(text: string): string | undefined {
  if (text.includes('\0')) return 'a NUL character in the text';
  // In the language from ES2024 on; Node has it.
  if (!(text as unknown as { isWellFormed(): boolean }).isWellFormed()) return 'half a character (a lone surrogate)';
  return undefined;
}

/** A robots.txt that a crawl holds. */
export interface RobotsRecord {
  readonly url: string;
  readonly date: string;
  readonly status: number;
  readonly body: Uint8Array;
}

/** The documents of a .warc file (WET files are WARC files of plain texts), compressed or not; robots.txt files go to `onRobots`. */
export async function* readWarcDocuments(
  path: string,
  source: string,
  limits: ReadLimits = defaultReadLimits,
  onRobots?: (robots: RobotsRecord) => void | Promise<void>,
): AsyncGenerator<SourceItem> {
  const { recordBytes } = limits;
  for await (const { record, rejected } of readWarc(path, { ...defaultLimits, blockBytes: recordBytes })) {
    if (rejected) {
      if (rejected.targetUri !== undefined && isRobotsUrl(rejected.targetUri)) continue;
      const id = uuidOf(rejected.id) ?? `${sha256(`${path.split('/').at(-1)}\n${rejected.offset}`).slice(0, 32)}`;
      const reason = rejected.reason === 'too-large' ? 'too-large' : 'unreadable';
      yield { rejected: { id, url: rejected.targetUri, reason, detail: `${rejected.reason}: ${rejected.detail}` } };
      continue;
    }
    const { targetUri } = record;
    const isContent = ['response', 'resource', 'conversion'].includes(record.type);
    if (targetUri === undefined) {
      if (!isContent) continue;
      const id = uuidOf(record.id) ?? sha256(`${path.split('/').at(-1)}\n${record.offset}`).slice(0, 32);
      yield { rejected: { id, reason: 'unreadable', detail: 'no WARC-Target-URI' } };
      continue;
    }
    if (isRobotsUrl(targetUri)) {
      const robots = robotsRecord(record, targetUri);
      if (robots) await onRobots?.(robots);
      continue;
    }
    if (!isContent) continue;
    const item = readRecord(record, targetUri, source, recordBytes);
    const date = /^\d{4}-\d\d-\d\d/.exec(record.date ?? '')?.[0];
    yield item.document && date !== undefined ? { document: withNote(item.document, 'crawl', { date }) } : item;
  }
}

function robotsRecord(record: WarcRecord, url: string): RobotsRecord | undefined {
  const { type, block, date = '' } = record;
  if (type === 'resource') return { url, date, status: 200, body: block };
  if (type !== 'response') return undefined;
  const http = parseHttpResponse(block);
  return typeof http === 'string' ? undefined : { url, date, status: http.status, body: http.body };
}

function readRecord(record: WarcRecord, url: string, source: string, maxBytes: number): SourceItem {
  const id = uuidOf(record.id) ?? sha256(`${url}\n${record.date ?? ''}\n${record.offset}`).slice(0, 32);
  const reject = (reason: string, detail: string): SourceItem => ({ rejected: { id, url, reason, detail } });
  let body = record.block;
  let contentType = record.headers.get('content-type');
  if (record.type === 'response') {
    const http = parseHttpResponse(record.block, maxBytes);
    if (http === tooLargeBody) return reject('too-large', `${tooLargeBody} of ${maxBytes}`);
    if (typeof http === 'string') return reject('unreadable', http);
    if (http.status !== 200) return reject('http-status', String(http.status));
    body = http.body;
    contentType = http.headers.get('content-type');
  }
  const mime = (contentType ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  if (mime === 'text/plain') {
    const text = lineEnds(decodePlain(body, contentType)).trim();
    if (text === '') return reject('empty', 'no text');
    const problem = textProblem(text);
    if (problem !== undefined) return reject('unreadable', problem);
    const language = languageOfTag(record.headers.get('warc-identified-content-language')?.split(',')[0]);
    return { document: { id, text, url, language, source, licence: 'unknown' } };
  }
  if (!['text/html', 'application/xhtml+xml', ''].includes(mime)) return reject('not-text', mediaType(mime));
  const page = extractHtml(decodeHtml(body, contentType));
  if ('problem' in page) return reject('unreadable', page.problem);
  if (page.text === '') return reject('empty', 'no text outside boilerplate');
  const { text, sections } = page;
  const problem = textProblem(text);
  if (problem !== undefined) return reject('unreadable', problem);
  return {
    document: {
      id,
      text,
      url,
      language: languageOfTag(page.language),
      source,
      licence: licenceOf(page.licence),
      ...(sections.length > 0 ? { sections } : {}),
    },
  };
}

/** A header can hold anything; only what is made like a media type is repeated. */
function mediaType(mime: string): string {
  return /^[a-z]{1,20}\/[a-z0-9.+-]{1,80}$/.test(mime) ? mime : 'no media type';
}

function uuidOf(recordId: string | undefined): string | undefined {
  return /^<?urn:uuid:([0-9A-Za-z-]{8,})>?$/i.exec(recordId ?? '')?.[1];
}

/**
 * The documents of a JSON-lines file, compressed or not: `text` is needed; `id`, `url`, `language`, `licence`, `source`
 * and `sections` are used, and of `metadata` (where datatrove puts them) address, language and licence.
 */
export async function* readJsonlDocuments(
  path: string,
  source: string,
  limits: ReadLimits = defaultReadLimits,
): AsyncGenerator<SourceItem> {
  const name = path.split('/').at(-1) ?? path;
  const reject = (place: string, reason: string, detail: string): SourceItem => ({
    rejected: { id: `${name}:${place}`, reason, detail },
  });
  let values = 0;
  for await (const item of readJsonlLines<unknown>(path, limits.recordBytes)) {
    if ('mark' in item) {
      yield reject(`${item.offset}:damage`, 'unreadable', `${item.reason} at byte ${item.offset}`);
    } else if (item.bad !== undefined) {
      const reason = item.bad === tooLong ? 'too-large' : 'unreadable';
      yield reject(String(item.line), reason, `line ${item.line}: ${item.bad}`);
    } else {
      values++;
      yield readFields(objectOf(item.value), source, `${name}\n${values}`);
    }
  }
}

type Fields = Readonly<Record<string, unknown>>;

function objectOf(value: unknown): Fields {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Fields) : {};
}

/** A document of named values; `place` names it where it brings no id. */
export function readFields(fields: Fields, source: string, place: string): SourceItem {
  const textOf = (key: string, from = fields): string | undefined =>
    typeof from[key] === 'string' && from[key] !== '' ? (from[key] as string) : undefined;
  const text = textOf('text');
  // Without an id, the text and its place name the document.
  const id = textOf('id') ?? sha256(`${place}\n${text ?? ''}`).slice(0, 32);
  const metadata = objectOf(fields['metadata']);
  const either = (key: string): string | undefined => textOf(key) ?? textOf(key, metadata);
  const url = either('url');
  if (text === undefined) return { rejected: { id, url, reason: 'empty', detail: 'no text' } };
  const problem = textProblem(text);
  if (problem !== undefined) return { rejected: { id, url, reason: 'unreadable', detail: problem } };
  const sections = sectionsOf(fields['sections'], text.length);
  return {
    document: {
      id,
      text,
      ...(url === undefined ? {} : { url }),
      language: languageOfTag(either('language') ?? either('lang')),
      source: textOf('source') ?? source,
      licence: licenceOf(either('licence') ?? either('license')),
      ...(sections.length > 0 ? { sections } : {}),
    },
  };
}

/** The sections that are whole, in order and not overlapping. */
function sectionsOf(value: unknown, length: number): Section[] {
  if (!Array.isArray(value)) return [];
  const sections: Section[] = [];
  for (const item of value as Partial<Section>[]) {
    const { label, start, end } = item ?? {};
    if (typeof label !== 'string' || !Number.isInteger(start) || !Number.isInteger(end)) continue;
    const from = start as number;
    const to = end as number;
    if (from < (sections.at(-1)?.end ?? 0) || to < from || to > length) continue;
    sections.push({ label, start: from, end: to });
  }
  return sections;
}
