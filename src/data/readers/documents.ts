// Documents out of a source: WARC files (HTML and plain text) and JSON-lines files.
//
// Every record that could be a document comes out, as a document or as a rejection with a reason, so that the ledger
// accounts for all of them. robots.txt records, requests and descriptions of the crawl are no documents.
//
// Does not: judge texts, or quote them in reasons.
import type { Document, Section } from '../../base/document.ts';
import { sha256 } from '../../base/hashing.ts';
import { DamagedGzip, readJsonl } from '../../base/jsonl.ts';
import { languageOfTag } from '../language-codes.ts';
import { licenceOf } from '../licences.ts';
import { isRobotsUrl, RobotsSnapshot } from '../opt-out.ts';
import { decodeHtml, decodePlain, extractHtml } from './html.ts';
import { parseHttpResponse, readWarc, type WarcRecord } from './warc.ts';

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

/** The documents of a .warc or .warc.gz file. */
export async function* readWarcDocuments(path: string, source: string): AsyncGenerator<SourceItem> {
  for await (const { record, rejected } of readWarc(path)) {
    if (rejected) {
      if (rejected.targetUri !== undefined && isRobotsUrl(rejected.targetUri)) continue;
      const id = uuidOf(rejected.id) ?? `${sha256(`${path.split('/').at(-1)}\n${rejected.offset}`).slice(0, 32)}`;
      const detail = `${rejected.reason}: ${rejected.detail}`;
      yield { rejected: { id, url: rejected.targetUri, reason: 'unreadable', detail } };
      continue;
    }
    const { targetUri } = record;
    if (targetUri === undefined || isRobotsUrl(targetUri)) continue;
    if (!['response', 'resource', 'conversion'].includes(record.type)) continue;
    yield readRecord(record, targetUri, source);
  }
}

/** The robots.txt files of WARC files, the latest of each host. */
export async function collectRobots(paths: readonly string[]): Promise<RobotsSnapshot> {
  const snapshot = new RobotsSnapshot();
  for (const path of paths) {
    for await (const { record } of readWarc(path)) {
      if (!record || record.targetUri === undefined || !isRobotsUrl(record.targetUri)) continue;
      if (record.type === 'resource') snapshot.add(record.targetUri, record.date ?? '', 200, record.block);
      if (record.type !== 'response') continue;
      const http = parseHttpResponse(record.block);
      if (typeof http !== 'string') snapshot.add(record.targetUri, record.date ?? '', http.status, http.body);
    }
  }
  return snapshot;
}

function readRecord(record: WarcRecord, url: string, source: string): SourceItem {
  const id = uuidOf(record.id) ?? sha256(`${url}\n${record.date ?? ''}\n${record.offset}`).slice(0, 32);
  const reject = (reason: string, detail: string): SourceItem => ({ rejected: { id, url, reason, detail } });
  let body = record.block;
  let contentType = record.headers.get('content-type');
  if (record.type === 'response') {
    const http = parseHttpResponse(record.block);
    if (typeof http === 'string') return reject('unreadable', http);
    if (http.status !== 200) return reject('http-status', String(http.status));
    body = http.body;
    contentType = http.headers.get('content-type');
  }
  const mime = (contentType ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  if (mime === 'text/plain') {
    const text = decodePlain(body, contentType).replace(/\r\n?/g, '\n').trim();
    if (text === '') return reject('empty', 'no text');
    const language = languageOfTag(record.headers.get('warc-identified-content-language')?.split(',')[0]);
    return { document: { id, text, url, language, source, licence: 'unknown' } };
  }
  if (!['text/html', 'application/xhtml+xml', ''].includes(mime)) return reject('not-text', mediaType(mime));
  const page = extractHtml(decodeHtml(body, contentType));
  if ('problem' in page) return reject('unreadable', page.problem);
  if (page.text === '') return reject('empty', 'no text outside boilerplate');
  const { text, sections } = page;
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

/** Lines up to the place where the file is damaged, which is one more bad record. */
async function* wholeLines(
  lines: AsyncIterable<unknown>,
  name: string,
  bad: RejectedRecord[],
): AsyncGenerator<unknown> {
  try {
    yield* lines;
  } catch (error) {
    if (!(error instanceof DamagedGzip)) throw error;
    bad.push({ id: `${name}:end`, reason: 'unreadable', detail: `the file is no whole gzip file: ${error.found}` });
  }
}

/** The documents of a .jsonl or .jsonl.gz file: `text` is needed, `id`, `url`, `language`, `licence`, `sections` are used. */
export async function* readJsonlDocuments(path: string, source: string): AsyncGenerator<SourceItem> {
  const name = path.split('/').at(-1) ?? path;
  const bad: RejectedRecord[] = [];
  let line = 0;
  const lines = readJsonl<unknown>(path, (found) => {
    bad.push({ id: `${name}:${found.line}`, reason: 'unreadable', detail: `line ${found.line}: ${found.reason}` });
  });
  for await (const value of wholeLines(lines, name, bad)) {
    while (bad.length > 0) yield { rejected: bad.shift() as RejectedRecord };
    line++;
    const fields = value !== null && typeof value === 'object' ? (value as Record<string, unknown>) : {};
    const textOf = (key: string): string | undefined =>
      typeof fields[key] === 'string' && fields[key] !== '' ? (fields[key] as string) : undefined;
    const text = textOf('text');
    // Without an id, the text and its place name the document.
    const id = textOf('id') ?? sha256(`${name}\n${line}\n${text ?? ''}`).slice(0, 32);
    if (text === undefined) {
      yield { rejected: { id, url: textOf('url'), reason: 'empty', detail: 'no text' } };
      continue;
    }
    const sections = sectionsOf(fields['sections'], text.length);
    yield {
      document: {
        id,
        text,
        ...(textOf('url') === undefined ? {} : { url: textOf('url') }),
        language: languageOfTag(textOf('language') ?? textOf('lang')),
        source: textOf('source') ?? source,
        licence: licenceOf(textOf('licence') ?? textOf('license')),
        ...(sections.length > 0 ? { sections } : {}),
      },
    };
  }
  while (bad.length > 0) yield { rejected: bad.shift() as RejectedRecord };
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
