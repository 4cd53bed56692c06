// Opt-outs with hindsight: a page goes when its host's robots.txt refuses any of the listed agents, whenever it was
// crawled.
//
// Source: Apertus (arXiv 2509.14233, 3.1): robots.txt of January 2025 for pages of 2013 to 2024, any one agent removes the
// page, a host without a usable file is kept: an opt-out has to be said. The list of agents is the paper's, with
// FacebookBot, which stands in the code alone.
//
// Does not: fetch robots.txt (belay robots import takes what others fetched), or guess what a host would have said.
import { z } from 'zod';
import type { Document } from '../../base/document.ts';
import { UserError } from '../../base/errors.ts';
import { apertusAgents } from '../../base/recipe.ts';
import { type RobotsMode, RobotsPolicy, robotsModes } from '../robots-policy.ts';
import { hostOf, type RobotsSource } from '../robots-snapshot.ts';
import { openRobots, robotsFileOf } from '../robots-store.ts';
import { defineStep, type Step, type StepContext, type Verdict } from '../step.ts';

export interface OptOutOptions {
  readonly source: RobotsSource;
  readonly agents: readonly string[];
  readonly mode: RobotsMode;
  /** What becomes of pages whose host could not be reached or answered with an error of its own (5xx). */
  readonly unreachable: 'keep' | 'drop';
  /** Hosts that said no in another way; those below them too. */
  readonly domains?: readonly string[];
  readonly onUnasked?: StepContext['onUnasked'];
}

/** What is held of one host. */
interface HeldPolicy {
  /** `unknown`: nobody asked the host. */
  readonly policy: RobotsPolicy | 'keep' | 'drop' | 'unknown';
  readonly bytes: number;
}

/** What is held of parsed files at most, in bytes of robots.txt. */
const maxHeld = 64 * 2 ** 20;

/** The step. Documents without an address are kept: nobody can have opted out for them. */
export function optOutStep(options: OptOutOptions): Step {
  const { source, agents, mode, unreachable, domains = [], onUnasked } = options;
  const asked = new Set(domains.map(domainOf));
  // By host, the longest unused first.
  const policies = new Map<string, HeldPolicy>();
  let held = 0;
  const policyOf = (host: string): HeldPolicy['policy'] => {
    const known = policies.get(host);
    if (known) {
      policies.delete(host);
      policies.set(host, known);
      return known.policy;
    }
    const answer = source.find(host);
    const { status = 404, body = new Uint8Array() } = answer ?? {};
    const usable = status >= 200 && status < 300;
    const otherwise = status >= 300 && status < 500 ? 'keep' : unreachable;
    const policy = answer === undefined ? 'unknown' : usable ? new RobotsPolicy(body, mode) : otherwise;
    // What a parsed file needs beside its text.
    const bytes = 500 + (usable ? 3 * body.length : 0);
    policies.set(host, { policy, bytes });
    held += bytes;
    for (const [oldest, { bytes: freed }] of policies) {
      if (held <= maxHeld || oldest === host) break;
      policies.delete(oldest);
      held -= freed;
    }
    return policy;
  };
  return {
    name: 'opt-out',
    run(document: Document): Verdict {
      const host = document.url === undefined ? undefined : hostOf(document.url);
      if (document.url === undefined || host === undefined) {
        onUnasked?.('noAddress');
        return { keep: document };
      }
      const domain = asked.size === 0 ? undefined : domainIn(host, asked);
      if (domain !== undefined) return { drop: { reason: 'opt-out-request', detail: domain } };
      const policy = policyOf(host);
      if (policy === 'unknown') onUnasked?.('noRobots');
      if (policy === 'keep' || policy === 'unknown') return { keep: document };
      if (policy === 'drop') return { drop: { reason: 'robots-unreachable' } };
      const refused = policy.refusedAgents(document.url, agents);
      if (refused.length === 0) return { keep: document };
      return { drop: { reason: 'opt-out', detail: refused.sort().join(', ') } };
    },
  };
}

/**
 * A domain as addresses have it: lower case, international names in their ASCII form. Of `https://a.example/` it is the host.
 * A UserError where the words name no domain, or only a part of a site, which is not all that would go.
 */
export function domainOf(words: string): string {
  const trimmed = words.trim().replace(/^\*?\.(?=.)/, '');
  const address = /^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed) ? trimmed : `https://${trimmed}`;
  const url = URL.canParse(address) ? new URL(address) : undefined;
  const name = url?.hostname.replace(/\.$/, '') ?? '';
  if (url && name !== '' && /^\/?$/.test(url.pathname) && url.search === '' && url.hash === '' && url.username === '') {
    return name;
  }
  throw new UserError('an opt-out names a domain', {
    found: JSON.stringify(words),
    expected: 'a name such as example.org, which stands for the hosts below it too',
    ...(name !== '' && url?.username === '' ? { next: `for all of it: ${name}` } : {}),
  });
}

/** The domain of the set that a host is, or is below of. */
function domainIn(host: string, domains: ReadonlySet<string>): string | undefined {
  let name = host.replace(/:\d+$/, '').replace(/\.$/, '');
  for (;;) {
    if (domains.has(name)) return name;
    const dot = name.indexOf('.');
    if (dot < 0) return undefined;
    name = name.slice(dot + 1);
  }
}

export const definition = defineStep({
  name: 'opt-out',
  brief: 'drops what robots.txt refuses to AI agents',
  settings: z.strictObject({
    /** Any one that is refused drops the page. Default: the 15 of Apertus. */
    agents: z.array(z.string().min(1)).default([...apertusAgents]),
    /** RFC 9309 as Google reads it; as Protego 0.2.1, which Apertus asked; or refused where either refuses. */
    mode: z.enum(robotsModes).default('rfc9309'),
    /** A robots store, one snapshot of it, or a JSON-lines file; null: the robots.txt records of the crawl itself. */
    snapshot: z.string().nullable().default(null),
    /** Of a store: the newest snapshot up to this date; null: the newest. */
    date: z.iso.date().nullable().default(null),
    /** Hosts that could not be asked. Apertus kept them; RFC 9309, 2.3.1.4, takes them to refuse everything. */
    unreachable: z.enum(['keep', 'drop']).default('keep'),
    /** Domains whose owners said no in another way; hosts below them too. */
    domains: z.array(z.string().min(1)).default([]),
  }),
  files: ({ snapshot, date }) => (snapshot === null ? [] : [robotsFileOf(snapshot, date)]),
  async make({ agents, mode, snapshot, date, unreachable, domains }, { robots, log, onUnasked }) {
    const source = snapshot === null ? robots : await openRobots(snapshot, date, (words) => log.line(words));
    if (!source) {
      throw new UserError('the step opt-out has no robots.txt to ask', {
        expected: 'a crawl with robots.txt records, or a snapshot',
        next: '--set snapshot=STORE, after belay robots import (docs/robots.md)',
      });
    }
    return optOutStep({ source, agents, mode, unreachable, domains, onUnasked });
  },
});
