// What is decided by ids and addresses alone, before any text is looked at: records whose id came before, and pages whose
// host opted out.
//
// Does not: parse robots.txt (robots.ts) or drop (pass-task.ts).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeJsonAtomic } from '../../base/atomic.ts';
import { type Json, readJson } from '../../base/json.ts';
import { JsonlWriter, readJsonl } from '../../base/jsonl.ts';
import type { Unasked } from '../../base/ledger.ts';
import { type Task, taskName } from '../../base/tasks.ts';
import { isCorpusStep } from '../step.ts';
import { makeStep } from '../steps.ts';
import { RobotsSnapshot } from '../robots-snapshot.ts';
import { type Line, optOutName, type PlannedStep, readLevel, recipeOf } from './line.ts';
import { addressesName, type CrawledRobots, idBytes, idsName, robotsName } from './read-task.ts';

export const refusedName = 'refused.jsonl';
export const snapshotName = 'robots.jsonl';

/** A page that its host refused. */
export interface Refused {
  /** Its place in the shard. */
  readonly index: number;
  readonly reason: string;
  readonly detail?: string;
}

export function repeatedName(shard: number): string {
  return `repeated-${String(shard).padStart(5, '0')}.json`;
}

/** One task that finds ids that came before: the places of their documents, a file for each shard. */
export function idsTask(line: Line): Omit<Task, 'name'> {
  const shards = line.plan.shards.map((_, shard) => shard);
  const inputs = shards.map((shard) => ({ task: taskName(readLevel, shard), file: idsName }));
  return {
    recipe: recipeOf(line, []),
    inputs,
    async run(dir, path) {
      const seen = new Set<string>();
      let repeated = 0;
      for (const shard of shards) {
        const bytes = readFileSync(path(inputs[shard] as (typeof inputs)[number]));
        const places: number[] = [];
        for (let index = 0; index * idBytes < bytes.length; index++) {
          const id = bytes.toString('latin1', index * idBytes, (index + 1) * idBytes);
          if (seen.has(id)) places.push(index);
          else seen.add(id);
        }
        repeated += places.length;
        writeJsonAtomic(join(dir, repeatedName(shard)), places);
      }
      return { repeated };
    },
  };
}

/** One task that joins the robots.txt files of a crawl: the latest of each host, sorted by host. */
export function robotsTask(line: Line): Omit<Task, 'name'> {
  const inputs = line.plan.shards.map((_, shard) => ({ task: taskName(readLevel, shard), file: robotsName }));
  return {
    recipe: recipeOf(line, []),
    inputs,
    async run(dir, path) {
      const latest = new Map<string, CrawledRobots>();
      for (const input of inputs) {
        for await (const found of readJsonl<CrawledRobots>(path(input))) {
          const host = new URL(found.url).host;
          const known = latest.get(host);
          if (!known || known.date < found.date) latest.set(host, found);
        }
      }
      const writer = new JsonlWriter(join(dir, snapshotName));
      for (const [, found] of [...latest].sort(([a], [b]) => (a < b ? -1 : 1))) await writer.write(found);
      await writer.close();
      return { hosts: latest.size };
    },
  };
}

/** Asks robots.txt about the addresses of a shard. */
export function robotsVerdictTask(line: Line, shard: number): Omit<Task, 'name'> {
  const addresses = { task: taskName(readLevel, shard), file: addressesName };
  const robots = { task: taskName('robots', 0), file: snapshotName };
  const ids = { task: taskName('ids', 0), file: repeatedName(shard) };
  return {
    recipe: recipeOf(line, [0]),
    inputs: [addresses, robots, ids],
    async run(dir, path) {
      let index = 0;
      const snapshot = await readSnapshot(path(robots), await hostsOf(path(addresses)));
      const { settings } = line.plan.steps[0] as PlannedStep;
      const repeated = new Set(readJson(path(ids), 'list') as number[]);
      const unasked: Record<keyof Unasked, number> = { noAddress: 0, noRobots: 0 };
      const step = await makeStep(optOutName, settings, {
        log: line.log,
        seed: line.plan.seed,
        robots: snapshot,
        // A record whose id came before does not come to this step.
        onUnasked: (why) => void (repeated.has(index) || unasked[why]++),
      });
      if (isCorpusStep(step)) throw new Error('line: opt-out judges addresses one by one');
      const writer = new JsonlWriter(join(dir, refusedName));
      for await (const url of nullable(path(addresses))) {
        const document = { id: '', text: '', language: 'und', source: '', licence: '' };
        const verdict = await step.run(url === null ? document : { ...document, url });
        if ('drop' in verdict) await writer.write({ index, ...verdict.drop } satisfies Refused);
        index++;
      }
      await writer.close();
      return { addresses: index, refused: writer.count, hosts: snapshot.numHosts, ...unasked } as Record<string, Json>;
    },
  };
}

/** Lines of an address or null. */
async function* nullable(path: string): AsyncGenerator<string | null> {
  yield* readJsonl<string | null>(path);
}

async function hostsOf(path: string): Promise<Set<string>> {
  const hosts = new Set<string>();
  for await (const url of nullable(path)) if (url !== null && URL.canParse(url)) hosts.add(new URL(url).host);
  return hosts;
}

/** The robots.txt files of these hosts: a shard needs no others in memory. */
async function readSnapshot(path: string, hosts: ReadonlySet<string>): Promise<RobotsSnapshot> {
  const snapshot = new RobotsSnapshot();
  for await (const { url, date, status, body } of readJsonl<CrawledRobots>(path)) {
    if (hosts.has(new URL(url).host)) snapshot.add(url, date, status, Buffer.from(body, 'base64'));
  }
  return snapshot;
}
