// `belay robots`: asks a robots.txt, makes snapshots of many, ranks the hosts to ask, and adds up what opt-outs took.
//
// Does not: do the work; data/ does. Does not fetch from the web.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { buildCommand, buildRouteMap } from '@stricli/core';
import { UserError } from '../base/errors.ts';
import { terminalLog } from '../base/progress.ts';
import { apertusAgents } from '../base/recipe.ts';
import { type RobotsMode, RobotsPolicy, robotsModes } from '../data/robots-policy.ts';
import { hostOf } from '../data/robots-snapshot.ts';
import { documentFiles, type Loss, optOutLosses, rankDomains } from '../data/robots-statistics.ts';
import { importRobots } from '../data/robots-store.ts';
import { wholeNumber } from './flags.ts';

/** What `check --exit-code` exits with where an agent is refused (docs/cli.md). */
const refusedExitCode = 5;

async function print(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}

interface CheckFlags {
  readonly robots: string;
  readonly agent?: readonly string[];
  readonly mode: RobotsMode;
  readonly json: boolean;
  readonly exitCode: boolean;
}

/** The addresses; `-` stands for the lines of standard input. */
async function* addresses(urls: readonly string[]): AsyncGenerator<string> {
  for (const url of urls) {
    if (url !== '-') {
      yield url;
      continue;
    }
    for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
      if (line.trim() !== '') yield line.trim();
    }
  }
}

const check = buildCommand<CheckFlags, string[]>({
  docs: {
    brief: 'what a robots.txt says to agents about addresses',
    fullDescription: `Prints a line per address and agent: allowed or refused, the agent, the address. The file is read as that of the
addresses' host; which host it is does not matter.

EXAMPLE
  belay robots check --robots robots.txt --agent GPTBot --agent CCBot https://a.example/page
  belay robots check --robots robots.txt --mode protego --json - < addresses.txt`,
  },
  parameters: {
    flags: {
      robots: { kind: 'parsed', parse: String, brief: 'the robots.txt' },
      agent: {
        kind: 'parsed',
        parse: String,
        brief: 'an agent (again for more; default: those of Apertus)',
        variadic: true,
        optional: true,
      },
      mode: { kind: 'enum', values: robotsModes, brief: 'how it is read', default: 'rfc9309' },
      json: { kind: 'boolean', brief: 'one JSON array of {url, agent, allowed}', default: false },
      exitCode: { kind: 'boolean', brief: `exit with ${refusedExitCode} where an agent is refused`, default: false },
    },
    positional: {
      kind: 'array',
      parameter: { parse: String, brief: 'address, or - for standard input', placeholder: 'URL' },
      minimum: 1,
    },
  },
  async func({ robots, agent: agents = apertusAgents, mode, json, exitCode }, ...urls) {
    if (!existsSync(robots)) throw new UserError(`there is no file ${robots}`, { expected: 'a robots.txt' });
    if (!statSync(robots).isFile()) throw new UserError(`${robots} is no file`, { expected: 'a robots.txt' });
    const policy = new RobotsPolicy(readFileSync(robots), mode);
    let refusals = 0;
    let first = true;
    if (json) await print('[');
    let strange = 0;
    for await (const url of addresses(urls)) {
      if (hostOf(url) === undefined) strange++;
      const refused = new Set(policy.refusedAgents(url, agents));
      refusals += refused.size;
      for (const agent of agents) {
        const allowed = !refused.has(agent);
        if (json) await print(`${first ? '' : ','}\n${JSON.stringify({ url, agent, allowed })}`);
        else await print(`${allowed ? 'allowed' : 'refused'}\t${agent}\t${url}\n`);
        first = false;
      }
    }
    if (json) await print(first ? ']\n' : '\n]\n');
    if (strange > 0) terminalLog().line(`no addresses, so a robots.txt says nothing about them: ${strange}`);
    if (exitCode && refusals > 0) process.exitCode = refusedExitCode;
  },
});

interface ImportFlags {
  readonly store: string;
  readonly date: string;
}

const importVerb = buildCommand<ImportFlags, string[]>({
  docs: {
    brief: 'make a dated snapshot of robots.txt files that others fetched',
    fullDescription: `Reads robots.txt records of WARC files, and JSON lines {"host", "status", "body"}, into STORE/DATE. Of several records of
a host the latest counts.

EXAMPLE
  belay robots import --store robots --date 2025-01-31 crawl-*.warc.gz`,
  },
  parameters: {
    flags: {
      store: { kind: 'parsed', parse: String, brief: 'folder of snapshots' },
      date: { kind: 'parsed', parse: String, brief: 'YYYY-MM-DD, when they were fetched' },
    },
    positional: {
      kind: 'array',
      parameter: { parse: String, brief: '.warc, .warc.gz, .jsonl or .jsonl.gz', placeholder: 'FILE' },
      minimum: 1,
    },
  },
  async func({ store, date }, ...files) {
    for (const file of files) if (!existsSync(file)) throw new UserError(`there is no file ${file}`);
    const { dir, facts, repeated, unreadable } = await importRobots({ store, date, files });
    const statuses = Object.entries(facts.statuses).map(([status, count]) => `${count} with status ${status}`);
    const more = `records of hosts seen before: ${repeated}, unreadable: ${unreadable}`;
    terminalLog().line(`${dir}: hosts: ${facts.hosts} (${statuses.join(', ')}); ${more}`);
  },
});

const domains = buildCommand<{ readonly top: number; readonly json: boolean }, string[]>({
  docs: {
    brief: 'the hosts with most text: whose robots.txt to fetch',
    fullDescription: `Ranks hosts by the text of their documents, English ones and others apart, and prints the first of each: corpus, rank,
domain, documents, bytes, separated by tabs.

EXAMPLE
  belay robots domains --top 1000000 crawl/ > domains.tsv`,
  },
  parameters: {
    flags: {
      top: { kind: 'parsed', parse: wholeNumber(1), brief: 'hosts of each half', default: '1000000' },
      json: { kind: 'boolean', brief: 'one JSON array', default: false },
    },
    positional: {
      kind: 'array',
      parameter: {
        parse: String,
        brief: 'file or folder of WARC or JSON-lines documents, or a documents stage',
        placeholder: 'DOCUMENTS',
      },
      minimum: 1,
    },
  },
  async func({ top, json }, ...paths) {
    const ranked = await rankDomains(documentFiles(paths), top);
    if (json) await print('[');
    for (const [i, row] of ranked.entries()) {
      const { corpus, rank, domain, documents, bytes } = row;
      if (json) await print(`${i === 0 ? '' : ','}\n${JSON.stringify({ corpus, rank, domain, documents, bytes })}`);
      else await print(`${[corpus, rank, domain, documents, bytes].join('\t')}\n`);
    }
    if (json) await print(ranked.length === 0 ? ']\n' : '\n]\n');
  },
});

const losses = buildCommand<{ readonly ledger: string; readonly json: boolean }>({
  docs: {
    brief: 'what opt-outs took, by agent and by language',
    fullDescription: `Adds up the rows of a ledger that the step opt-out dropped: documents and bytes, with their share of all that was read; of
languages, their share of what was read of the language. A page refused to several agents counts for each.

EXAMPLE
  belay robots losses --ledger out/demo/documents`,
  },
  parameters: {
    flags: {
      ledger: { kind: 'parsed', parse: String, brief: 'documents folder, run folder or ledger file' },
      json: { kind: 'boolean', brief: 'one JSON object', default: false },
    },
  },
  async func({ ledger, json }) {
    const found = await optOutLosses(ledger);
    if (json) return await print(`${JSON.stringify(found)}\n`);
    const number = (value: number): string => value.toLocaleString('en');
    const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;
    const row = (name: string, { documents, bytes, shareOfDocuments, shareOfBytes }: Loss): string[] => [
      name,
      number(documents),
      percent(shareOfDocuments),
      number(bytes),
      percent(shareOfBytes),
    ];
    const titles = ['documents', 'of all', 'bytes', 'of all'];
    const table = (rows: readonly string[][]): string => {
      const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((cells) => (cells[i] as string).length)));
      const line = (cells: readonly string[]): string =>
        cells
          .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number)))
          .join('  ');
      return rows.map((cells) => `${line(cells)}\n`).join('');
    };
    const { agents, languages, lost, read } = found;
    await print(
      `${table([['agent', ...titles], ...agents.map((loss) => row(loss.agent, loss)), row('all', lost)])}\n${table([
        ['language', 'documents', 'of its own', 'bytes', 'of its own'],
        ...languages.filter(({ documents }) => documents > 0).map((loss) => row(loss.language, loss)),
      ])}\nread: ${number(read.documents)} documents, ${number(read.bytes)} bytes\n`,
    );
  },
});

export const command = buildRouteMap({
  routes: { check, import: importVerb, domains, losses },
  docs: {
    brief: 'robots.txt: ask one, keep snapshots, rank hosts, add up losses',
    fullDescription:
      'EXAMPLE\n  belay robots check --robots robots.txt --agent GPTBot https://a.example/page\n  belay robots import --store robots --date 2025-01-31 crawl.warc.gz',
  },
});
