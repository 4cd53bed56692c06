// Opt-outs with hindsight: a page goes when its host's robots.txt refuses any of the recipe's agents today.
//
// As in Apertus, the robots.txt of one date counts for pages crawled at any time, and a host without a usable one is
// kept: an opt-out has to be said. RFC 9309 keeps robots.txt by scheme, host and port; http and https count as one.
//
// Does not: fetch robots.txt; the snapshot is in the crawl.
import type { Document } from '../base/document.ts';
import { isAllowed, parseRobots, type RobotsTxt } from './robots.ts';
import type { Step } from './step.ts';

/** The robots.txt of each host as of the latest date it was seen. */
export class RobotsSnapshot {
  private readonly hosts = new Map<string, { readonly date: string; readonly robots: RobotsTxt | undefined }>();

  /** One crawled robots.txt. An answer other than 2xx says that there is none (RFC 9309, 2.3.1.3). */
  add(url: string, date: string, status: number, body: Uint8Array): void {
    const host = hostOf(url);
    if (host === undefined) return;
    const known = this.hosts.get(host);
    if (known && known.date >= date) return;
    const parsed = status >= 200 && status < 300 ? parseRobots(body) : undefined;
    this.hosts.set(host, { date, robots: parsed && parsed.lines.length > 0 ? parsed : undefined });
  }

  /** The agents that may not fetch the address. */
  refusedAgents(url: string, agents: readonly string[]): string[] {
    const robots = this.hosts.get(hostOf(url) ?? '')?.robots;
    if (!robots) return [];
    // Rules are percent-encoded when parsed, so the address must be too.
    const encoded = URL.canParse(url) ? new URL(url).href : url;
    return agents.filter((agent) => !isAllowed(robots, agent, encoded));
  }

  get numHosts(): number {
    return this.hosts.size;
  }
}

/** True for the address of a robots.txt. */
export function isRobotsUrl(url: string): boolean {
  return /^https?:\/\/[^/?#]+\/robots\.txt$/i.test(url);
}

function hostOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).host : undefined;
}

/** The step of the pipeline. Documents without an address are kept: nobody can have opted out for them. */
export function optOutStep(snapshot: RobotsSnapshot, agents: readonly string[]): Step {
  return {
    name: 'opt-out',
    run(document: Document) {
      const refused = document.url === undefined ? [] : snapshot.refusedAgents(document.url, agents);
      if (refused.length === 0) return { keep: document };
      return { drop: { reason: 'opt-out', detail: refused.sort().join(', ') } };
    },
  };
}
