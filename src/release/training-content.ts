// What a corpus holds, in the order of the Commission's template for the public summary of training content (AI Act,
// article 53(1)(d); explanatory notice and template of 24 July 2025): the machine-readable summary.
//
// Every number is counted over the ledger or read from the funnel. What no ledger knows (who the provider is, under which
// heading of the template a source belongs) is the recipe's part `summary`; what that leaves out is null, never guessed.
//
// Does not: word anything; data-summary.ts does.
import type { Json } from '../base/json.ts';
import type { Funnel, LedgerRow } from '../base/ledger.ts';
import type { Recipe, SummaryRecipe } from '../base/recipe.ts';
import { domainOf, domainRule } from './registrable-domain.ts';

/** Documents and bytes as they came in and as they were kept. */
export interface Tally {
  documentsIn: number;
  bytesIn: number;
  documentsKept: number;
  bytesKept: number;
  /** Null where tokens are not counted. */
  tokensKept: number | null;
}

/** A step of the cleaning line with its settings. */
export interface PlannedStep {
  readonly step: string;
  readonly settings: Readonly<Record<string, Json>>;
}

/** Headings of section 2 of the template; `unstated` for sources of which the recipe says nothing. */
export const categories = [
  'public',
  'licensed',
  'third-party',
  'crawled',
  'user',
  'synthetic',
  'other',
  'unstated',
] as const;
export type Category = (typeof categories)[number];

export interface SourceContent extends Tally {
  readonly source: string;
  readonly title: string | null;
  readonly link: string | null;
  readonly description: string | null;
  /** More than 3 % of its heading, the share from which the template wants a public data set listed by itself. */
  readonly large: boolean;
  /** First and last day of crawling that its documents state. */
  readonly period: Period | null;
}

export interface Period {
  readonly first: string;
  readonly last: string;
}

export interface DomainTally {
  readonly domain: string;
  documents: number;
  bytes: number;
}

export interface TrainingContent {
  readonly format: 'belay-data-summary-1';
  readonly general: {
    readonly name: string;
    readonly provider: string | null;
    readonly contact: string | null;
    readonly representative: string | null;
    readonly dependencies: string | null;
    readonly marketDate: string | null;
    readonly modalities: readonly ['text'];
    readonly total: Tally;
    /** The range of the template that the kept tokens fall in. */
    readonly range: string | null;
    /** The last day on which a kept document was crawled, as far as documents state it. */
    readonly latestDate: string | null;
    readonly languages: Readonly<Record<string, Tally>>;
    readonly licences: Readonly<Record<string, Tally>>;
  };
  readonly sources: Readonly<Record<Category, { readonly total: Tally; readonly sources: readonly SourceContent[] }>>;
  readonly crawling: {
    readonly crawlers: readonly string[];
    readonly purposes: string | null;
    readonly behaviour: string | null;
    readonly period: Period | null;
    /** Domains of sources that were crawled, or of which nothing is stated, by bytes kept. */
    readonly domains: {
      readonly rule: string;
      readonly of: number;
      readonly share: number;
      readonly list: readonly DomainTally[];
    };
  };
  readonly statements: {
    readonly userData: string | null;
    readonly syntheticData: string | null;
    readonly codeOfPractice: boolean | null;
    readonly illegalContent: string | null;
    readonly other: string | null;
  };
  readonly processing: {
    readonly steps: readonly PlannedStep[];
    readonly dropped: readonly {
      readonly step: string;
      readonly reason: string;
      readonly documents: number;
      readonly bytes: number;
      readonly tokens: number | null;
    }[];
    readonly heldOutWhole: number;
    /** Distinct pieces of personal data that were replaced in kept documents, by kind, and the documents they were in. */
    readonly personalData: { readonly documents: number; readonly kinds: Readonly<Record<string, number>> };
  };
}

/** Collections that belay fetches itself are public data sets; of others the recipe must say what they are. */
const knownSources: ReadonlyMap<string, Category> = new Map([
  ['udhr', 'public'],
  ['debian', 'public'],
  ['probes', 'other'],
]);

/** The share of its heading from which a public data set is listed by itself (template, 2.1). */
const largeShare = 0.03;
/** Domains listed: a share of all, and for small and medium providers another share, with a bound (template, 2.3). */
const domainShare = 0.1;
const smallDomainShare = 0.05;
const smallDomainBound = 1000;

/** Adds up a ledger. */
export class ContentCounter {
  readonly total = noTally();
  readonly sources = new Map<string, Tally>();
  readonly licences = new Map<string, Tally>();
  readonly languages = new Map<string, Tally>();
  readonly personalData = { documents: 0, kinds: new Map<string, number>() };
  private readonly domains = new Map<string, Map<string, DomainTally>>();
  private readonly periods = new Map<string, Period>();

  add(row: LedgerRow): void {
    const { source, licence, language, verdict, bytesIn, bytesOut, tokensOut } = row;
    const tallies = [
      this.total,
      tallyOf(this.sources, source),
      tallyOf(this.licences, licence),
      tallyOf(this.languages, language),
    ];
    for (const tally of tallies) {
      tally.documentsIn++;
      tally.bytesIn += bytesIn;
      tally.bytesKept += bytesOut;
      if (tokensOut !== undefined) tally.tokensKept = (tally.tokensKept ?? 0) + tokensOut;
      if (verdict === 'kept') tally.documentsKept++;
    }
    if (verdict !== 'kept') return;
    this.countPersonalData(row);
    this.countDomain(row);
    const day = dayOf(row);
    if (day !== undefined) this.periods.set(source, spanning(this.periods.get(source), { first: day, last: day }));
  }

  private countPersonalData({ notes }: LedgerRow): void {
    let matches = 0;
    for (const [kind, count] of Object.entries(notes?.['pii'] ?? {})) {
      if (typeof count !== 'number' || count === 0) continue;
      matches += count;
      const { kinds } = this.personalData;
      kinds.set(kind, (kinds.get(kind) ?? 0) + count);
    }
    if (matches > 0) this.personalData.documents++;
  }

  private countDomain({ url, source, bytesOut }: LedgerRow): void {
    const domain = url === undefined ? undefined : domainOf(url);
    if (domain === undefined) return;
    let domains = this.domains.get(source);
    if (!domains) this.domains.set(source, (domains = new Map()));
    let tally = domains.get(domain);
    if (!tally) domains.set(domain, (tally = { domain, documents: 0, bytes: 0 }));
    tally.documents++;
    tally.bytes += bytesOut;
  }

  /** The summary of what was added. `name`: of the model, or of the corpus where there is none. */
  content(of: {
    readonly name: string;
    readonly recipe: Pick<Recipe, 'summary'>;
    readonly steps: readonly PlannedStep[];
    readonly funnel: Funnel;
    /** The model whose weights it began with; what the recipe says of dependencies goes before it. */
    readonly beginning?: string | undefined;
  }): TrainingContent {
    const { name, steps, funnel } = of;
    const said: Partial<SummaryRecipe> = of.recipe.summary ?? {};
    const stated = new Map((said.sources ?? []).map((each) => [each.source, each]));
    const categoryOf = (source: string): Category =>
      stated.get(source)?.category ?? knownSources.get(source) ?? 'unstated';
    const crawled = [...this.sources.keys()].filter((source) => ['crawled', 'unstated'].includes(categoryOf(source)));
    const section = (category: Category) => {
      const members = [...sorted(this.sources)].filter(([source]) => categoryOf(source) === category);
      const total = noTally();
      for (const [, tally] of members) addTally(total, tally);
      const sources = members.map(([source, tally]): SourceContent => {
        const { title = null, link = null, description = null } = stated.get(source) ?? {};
        const large = tally.bytesKept > largeShare * total.bytesKept;
        return { source, title, link, description, large, period: this.periods.get(source) ?? null, ...tally };
      });
      return { total, sources };
    };
    const { total } = this;
    const period = this.periodOf(crawled);
    return {
      format: 'belay-data-summary-1',
      general: {
        name,
        provider: said.provider ?? null,
        contact: said.contact ?? null,
        representative: said.representative ?? null,
        dependencies: said.dependencies ?? of.beginning ?? null,
        marketDate: said.marketDate ?? null,
        modalities: ['text'],
        total,
        range: total.tokensKept === null ? null : rangeOf(total.tokensKept),
        latestDate: this.periodOf(this.sources.keys())?.last ?? null,
        languages: Object.fromEntries(sorted(this.languages)),
        licences: Object.fromEntries(sorted(this.licences)),
      },
      sources: Object.fromEntries(categories.map((category) => [category, section(category)])) as Record<
        Category,
        ReturnType<typeof section>
      >,
      crawling: {
        crawlers: said.crawlers ?? [],
        purposes: said.crawlerPurposes ?? null,
        behaviour: said.crawlerBehaviour ?? null,
        period,
        domains: this.topDomains(crawled, said.smallProvider ?? false),
      },
      statements: {
        userData: said.userData ?? null,
        syntheticData: said.syntheticData ?? null,
        codeOfPractice: said.codeOfPractice ?? null,
        illegalContent: said.illegalContent ?? null,
        other: said.other ?? null,
      },
      processing: {
        steps,
        dropped: funnel.steps.flatMap(({ step, dropped }) =>
          Object.entries(dropped).map(([reason, { documents, bytes, tokens = null }]) => {
            return { step, reason, documents, bytes, tokens };
          }),
        ),
        heldOutWhole: funnel.steps.reduce((sum, { moved }) => sum + moved.documents, 0),
        personalData: {
          documents: this.personalData.documents,
          kinds: Object.fromEntries(sorted(this.personalData.kinds)),
        },
      },
    };
  }

  private periodOf(sources: Iterable<string>): Period | null {
    let whole: Period | undefined;
    for (const source of sources) {
      const period = this.periods.get(source);
      if (period) whole = spanning(whole, period);
    }
    return whole ?? null;
  }

  private topDomains(sources: readonly string[], small: boolean): TrainingContent['crawling']['domains'] {
    const merged = new Map<string, DomainTally>();
    for (const source of sources) {
      for (const [domain, { documents, bytes }] of this.domains.get(source) ?? []) {
        let tally = merged.get(domain);
        if (!tally) merged.set(domain, (tally = { domain, documents: 0, bytes: 0 }));
        tally.documents += documents;
        tally.bytes += bytes;
      }
    }
    const share = small ? smallDomainShare : domainShare;
    const most = Math.min(Math.ceil(merged.size * share), small ? smallDomainBound : Number.POSITIVE_INFINITY);
    const list = [...merged.values()]
      .sort((a, b) => b.bytes - a.bytes || (a.domain < b.domain ? -1 : 1))
      .slice(0, most);
    return { rule: domainRule, of: merged.size, share, list };
  }
}

/** The classes of the template for the size of text. */
function rangeOf(tokens: number): string {
  if (tokens < 1e9) return 'less than 1 billion tokens';
  return tokens <= 1e13 ? '1 billion to 10 trillion tokens' : 'more than 10 trillion tokens';
}

/** The day on which a document was crawled, as its WARC record or FineWeb's column says. */
function dayOf({ notes }: LedgerRow): string | undefined {
  for (const note of [notes?.['crawl'], notes?.['parquet']]) {
    const date = (note as { readonly date?: unknown } | undefined)?.date;
    const day = typeof date === 'string' ? /^\d{4}-\d\d-\d\d/.exec(date)?.[0] : undefined;
    if (day !== undefined) return day;
  }
  return undefined;
}

function spanning(a: Period | undefined, b: Period): Period {
  if (!a) return b;
  return { first: a.first < b.first ? a.first : b.first, last: a.last > b.last ? a.last : b.last };
}

function noTally(): Tally {
  return { documentsIn: 0, bytesIn: 0, documentsKept: 0, bytesKept: 0, tokensKept: null };
}

function addTally(into: Tally, from: Tally): void {
  for (const key of ['documentsIn', 'bytesIn', 'documentsKept', 'bytesKept'] as const) into[key] += from[key];
  if (from.tokensKept !== null) into.tokensKept = (into.tokensKept ?? 0) + from.tokensKept;
}

function tallyOf(tallies: Map<string, Tally>, key: string): Tally {
  let tally = tallies.get(key);
  if (!tally) tallies.set(key, (tally = noTally()));
  return tally;
}

/** Entries in alphabetical order. */
export function sorted<T>(map: ReadonlyMap<string, T>): Map<string, T> {
  return new Map([...map].sort(([a], [b]) => (a < b ? -1 : 1)));
}
