// The first level: the files of a shard are read, and what is no document is rejected with a reason.
//
// Besides the documents it leaves what others must know without reading them again: hashes of the ids, the addresses, and
// the robots.txt files that a crawl holds.
//
// Does not: judge a text.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { writeFileAtomic, writeJsonAtomic } from '../../base/atomic.ts';
import { JsonlWriter } from '../../base/jsonl.ts';
import { type FunnelCounter, funnelName, type LedgerRow } from '../../base/ledger.ts';
import type { Task } from '../../base/tasks.ts';
import type { SourceFile } from '../build-source.ts';
import type { RejectedRecord, RobotsRecord, SourceItem } from '../readers/documents.ts';
import { readDocuments } from '../readers/open.ts';
import { type Line, newFunnel, recipeOf, tokenizerOf } from './line.ts';
import { droppedRow, RecordWriter, RemovedWriter } from './records.ts';

export const readStepName = 'read';
/** Of the hash of an id. */
export const idBytes = 16;
export const idsName = 'ids.bin';
export const addressesName = 'addresses.jsonl';
export const robotsName = 'robots.jsonl';

/** A robots.txt that a crawl holds. */
export interface CrawledRobots {
  readonly url: string;
  readonly date: string;
  readonly status: number;
  /** Base64. */
  readonly body: string;
}

export function readTask(line: Line, shard: number): Omit<Task, 'name'> {
  const { plan } = line;
  const files = plan.shards[shard] ?? [];
  // Names are part of the ids of records without one.
  const named = files.map(({ name, sha256 }) => `${sha256} ${name}`);
  const { paths: _, ...source } = plan.source;
  return {
    recipe: recipeOf(line, [], { source, files: named, keepRemoved: plan.keepRemoved, ...tokenizerOf(line) }),
    inputs: [],
    async run(dir) {
      const funnel = newFunnel(line);
      const records = new RecordWriter(dir);
      const removed = new RemovedWriter(dir, plan.keepRemoved);
      const addresses = new JsonlWriter(join(dir, addressesName));
      const robots = new JsonlWriter(join(dir, robotsName));
      const ids: Buffer[] = [];
      let rejected = 0;
      for await (const item of chosen(readAll(files, line, robots), line)) {
        if (item.rejected) {
          rejected++;
          const { document } = item.rejected;
          await records.drop(rejectedRow(item.rejected, line, funnel));
          if (document) await removed.write(readStepName, document);
          continue;
        }
        const { document } = item;
        ids.push(createHash('sha256').update(document.id).digest().subarray(0, idBytes));
        await addresses.write(document.url ?? null);
        const size = line.size(document.text);
        await records.keep(document, size, size);
      }
      await Promise.all([records, removed, addresses, robots].map((writer) => writer.close()));
      writeFileAtomic(join(dir, idsName), Buffer.concat(ids));
      writeJsonAtomic(join(dir, funnelName), funnel.parts);
      return { documents: records.documents, rejected, robots: robots.count };
    },
  };
}

async function* readAll(files: readonly SourceFile[], { plan }: Line, robots: JsonlWriter): AsyncGenerator<SourceItem> {
  const { kind, maxRecordBytes: recordBytes } = plan.source;
  const write = ({ body, ...rest }: RobotsRecord): Promise<void> =>
    robots.write({ ...rest, body: Buffer.from(body).toString('base64') } satisfies CrawledRobots);
  for (const file of files) yield* readDocuments(file, kind, { recordBytes }, write);
}

/** The items that the recipe's choice of languages and number of pages leaves. */
async function* chosen(items: AsyncIterable<SourceItem>, { plan }: Line): AsyncGenerator<SourceItem> {
  const { kind, languages, maxPages } = plan.source;
  // The builders have chosen already.
  const all = kind === 'udhr' || kind === 'debian';
  let count = 0;
  for await (const item of items) {
    const { document } = item;
    if (!all && document && languages !== null && !languages.includes(document.language)) {
      const { id, url, language } = document;
      yield { rejected: { id, url, reason: 'other-language', detail: language, document } };
      continue;
    }
    yield item;
    if (document) count++;
    if (!all && maxPages > 0 && count >= maxPages) return;
  }
}

function rejectedRow(rejected: RejectedRecord, line: Line, funnel: FunnelCounter): LedgerRow {
  const { id, url, reason, detail, document } = rejected;
  const source = line.plan.source.kind;
  const unknown = { id, text: '', language: 'und', source, licence: 'unknown', ...(url === undefined ? {} : { url }) };
  const size = line.size(document?.text ?? '');
  const row = droppedRow(document ?? unknown, readStepName, { reason, detail }, size);
  funnel.dropped(0, row, size, reason);
  return row;
}
