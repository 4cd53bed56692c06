// What a robots.txt says to a list of agents, read by RFC 9309, by Protego, or by both.
//
// Apertus asked Protego; the two disagree on 14 of the 199 cases of test/golden/robots.json. Agents that obey the same
// group share its rules, so an address is compared once per group and not once per agent.
//
// Does not: find the robots.txt of an address; robots-snapshot.ts and robots-store.ts do.
import { type ProtegoRobots, type ProtegoRules, parseProtego, protegoPath } from './robots-protego.ts';
import { parseRobots, type RobotsTxt, type Rules, urlPath } from './robots.ts';

/** `strictest`: refused where either refuses. */
export const robotsModes = ['rfc9309', 'protego', 'strictest'] as const;
export type RobotsMode = (typeof robotsModes)[number];

/** A robots.txt that can be asked for many addresses and agents. */
export class RobotsPolicy {
  private readonly rfc: RobotsTxt | undefined;
  private readonly protego: ProtegoRobots | undefined;

  constructor(body: Uint8Array | string, mode: RobotsMode) {
    this.rfc = mode === 'protego' ? undefined : parseRobots(body);
    this.protego = mode === 'rfc9309' ? undefined : parseProtego(body);
  }

  /** The agents that may not fetch the address, in their order. */
  refusedAgents(url: string, agents: readonly string[]): string[] {
    const verdicts = new Map<Rules | ProtegoRules, boolean>();
    // Rules are percent-encoded when parsed, so the address must be too; Protego sees it as it is.
    const path = this.rfc ? upperEscapes(urlPath(URL.canParse(url) ? new URL(url).href : url)) : '';
    const protegoOne = this.protego ? protegoPath(url) : undefined;
    const ask = (rules: Rules | ProtegoRules | undefined, at: string | undefined): boolean => {
      if (rules === undefined || at === undefined) return true;
      let allowed = verdicts.get(rules);
      if (allowed === undefined) verdicts.set(rules, (allowed = rules.allows(at)));
      return allowed;
    };
    return agents.filter(
      (agent) =>
        !(ask(this.rfc?.rulesFor(productToken(agent)), path) && ask(this.protego?.rulesFor(agent), protegoOne)),
    );
  }

  allows(agent: string, url: string): boolean {
    return this.refusedAgents(url, [agent]).length === 0;
  }
}

/** RFC 9309 groups name products without a version: `CCBot/2.0` obeys what `CCBot` does. */
export function productToken(agent: string): string {
  const slash = agent.indexOf('/');
  return slash < 0 ? agent : agent.slice(0, slash);
}

/** `%c3` and `%C3` are one octet (RFC 3986, 6.2.2.1); rules are parsed to the second. */
function upperEscapes(path: string): string {
  return path.includes('%') ? path.replace(/%[0-9A-Fa-f]{2}/g, (octet) => octet.toUpperCase()) : path;
}
