// Lays pages out as a crawl: WARC files of a few hundred pages, each host's robots.txt before its first page.
//
// Does not: make pages or robots.txt; its callers do.
import { join } from 'node:path';
import { httpResponse, recordId, WarcWriter } from '../warc-writer.ts';

export interface CrawledPage {
  /** The id of the document that is read from it: the UUID of its record. */
  readonly id: string;
  readonly url: string;
  readonly host: string;
  readonly date: string;
  readonly contentType: string;
  readonly body: Uint8Array;
}

export interface CrawledRobots {
  readonly text: string;
  readonly status: string;
  readonly contentType: string;
}

/** When the robots.txt files were fetched: January 2025, as for Apertus; it holds for pages crawled at any time. */
export const robotsDate = '2025-01-15T00:00:00Z';
const pagesPerFile = 200;

/** The document id of a page by its address. */
export function pageId(url: string): string {
  return recordId('response', url).slice('<urn:uuid:'.length, -1);
}

/** Writes `part-00000.warc.gz` and following into `dir`. */
export function writeCrawl(
  dir: string,
  pages: Iterable<CrawledPage>,
  robotsOf: (host: string) => CrawledRobots | undefined,
): { readonly files: number; readonly bytes: number } {
  const seen = new Set<string>();
  let writer: WarcWriter | undefined;
  let files = 0;
  let inFile = 0;
  let bytes = 0;
  for (const page of pages) {
    if (!writer || inFile === pagesPerFile) {
      if (writer) bytes += finish(writer);
      const name = `part-${String(files).padStart(5, '0')}.warc.gz`;
      writer = new WarcWriter(join(dir, name));
      files++;
      inFile = 0;
      writer.write({
        type: 'warcinfo',
        id: recordId('warcinfo', name),
        date: robotsDate,
        contentType: 'application/warc-fields',
        block: Buffer.from(
          `software: belay\r\nformat: WARC File Format 1.1\r\ndescription: synthetic crawl of hosts below .example\r\n`,
        ),
      });
    }
    if (!seen.has(page.host)) {
      seen.add(page.host);
      const robots = robotsOf(page.host);
      if (robots) {
        const url = `https://${page.host}/robots.txt`;
        writeResponse(
          writer,
          recordId('response', url),
          url,
          robotsDate,
          robots.status,
          robots.contentType,
          Buffer.from(robots.text, 'utf8'),
        );
      }
    }
    writeResponse(writer, `<urn:uuid:${page.id}>`, page.url, page.date, '200 OK', page.contentType, page.body);
    inFile++;
  }
  if (writer) bytes += finish(writer);
  return { files, bytes };
}

function finish(writer: WarcWriter): number {
  writer.close();
  return writer.bytes;
}

function writeResponse(
  writer: WarcWriter,
  id: string,
  url: string,
  date: string,
  status: string,
  contentType: string,
  body: Uint8Array,
): void {
  writer.write({
    type: 'response',
    id,
    date,
    targetUri: url,
    contentType: 'application/http;msgtype=response',
    block: httpResponse(status, { 'Content-Type': contentType, Server: 'synthetic' }, body),
  });
}
