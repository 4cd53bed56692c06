// Identification of languages: accuracy by language and length, and speed, of ours and of others, on texts that no model
// was trained on: translated messages of programs, and translated test questions.
//
// The folder of messages is made by unpacking Debian packages that hold .mo files, such as
//
//   for p in iso-codes gimp-data evolution-common libgtk-3-common gnome-control-center-data kstars-data gcompris-qt-data \
//     tuxpaint vlc-l10n $(apt-cache search --names-only '^libreoffice-l10n-' | cut -d' ' -f1); do
//     apt-get download $p && dpkg -x ${p}_*.deb messages/$p; done
//
// Each side is a process of its own that waits. Texts come in slices, each side is asked in turn, and times are CPU seconds
// of the identification alone, in the last of the rounds. An answer is right if it is the language, its macrolanguage or a
// member of it.
//
//   npm run build && node bin/belay.js data train-languages --out languages.bin
//   node dist/bench/language-id.js --messages <folder> --languages languages.bin [--questions <folder with mgsm and xcopa>]
//     [--documents data/debian] [--cld2 <binary of peers/cld2.cc>] [--modules <folder with franc and cld3-asm>] [--count 100]
//     [--rounds 3] [--save language-id_<machine>_<date>]
//
// Does not: install or fetch its peers or texts.
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { packageRoot } from '../src/base/version.ts';
import { languageOfTag, languageOfWikipediaCode, sameLanguage } from '../src/data/language-codes.ts';
import { findLanguageModel, loadLanguageIdentifier } from '../src/data/language-id.ts';
import { readDebianTexts } from './debian-texts.ts';
import { type LabelledText, lengths, readMessages, readQuestions } from './language-texts.ts';

const { values } = parseArgs({
  options: {
    worker: { type: 'string' },
    messages: { type: 'string' },
    questions: { type: 'string' },
    documents: { type: 'string', default: join(packageRoot, 'data', 'debian') },
    languages: { type: 'string' },
    cld2: { type: 'string' },
    modules: { type: 'string' },
    count: { type: 'string', default: '100' },
    rounds: { type: 'string', default: '3' },
    save: { type: 'string' },
  },
});

type Ask = (text: string) => string;

const lid = (): string => findLanguageModel() as string;
const ours = (paths: readonly string[]): Ask => {
  const identifier = loadLanguageIdentifier(paths);
  return (text) => identifier?.identify(text).language ?? 'und';
};
const load = async <T>(name: string): Promise<T> => {
  const path = createRequire(join(values.modules as string, 'package.json')).resolve(name);
  return (await import(pathToFileURL(path).href)) as T;
};

/** Sides in this language. */
const sides: Readonly<Record<string, () => Ask | Promise<Ask>>> = {
  'belay, lid.176': () => ours([lid()]),
  'belay, lid.176 and declaration': () => ours([lid(), values.languages as string]),
  'belay, declaration alone': () => ours([values.languages as string]),
  franc: async () => (await load<{ readonly franc: Ask }>('franc')).franc,
  'CLD3 (wasm)': async () => {
    interface Factory {
      readonly create: (
        least: number,
        most: number,
      ) => { readonly findLanguage: (text: string) => { readonly language: string } | undefined };
    }
    const { loadModule } = await load<{ readonly loadModule: () => Promise<Factory> }>('cld3-asm');
    const identifier = (await loadModule()).create(0, 10_000);
    return (text) => identifier.findLanguage(text)?.language ?? 'und';
  },
};

async function work(name: string): Promise<void> {
  const ask = await (sides[name] as () => Ask | Promise<Ask>)();
  console.log(name);
  for await (const path of createInterface({ input: process.stdin })) {
    const texts = readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as string);
    const before = process.cpuUsage();
    const answers = texts.map(ask);
    const { user, system } = process.cpuUsage(before);
    writeFileSync(`${path}.out`, `${answers.join('\n')}\n`);
    console.log(JSON.stringify({ seconds: (user + system) / 1e6 }));
  }
}

interface Side {
  readonly name: string;
  readonly ask: (path: string) => Promise<number>;
  readonly end: () => void;
}

async function start(command: string, args: readonly string[]): Promise<Side> {
  const child: ChildProcessWithoutNullStreams = spawn(command, args);
  let complaint = '';
  child.stderr.on('data', (text: Buffer) => (complaint += text.toString()));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${command} ${args.join(' ')} ended before it answered: ${complaint}`);
    return value as string;
  };
  return {
    name: await next(),
    ask: async (path) => {
      child.stdin.write(`${path}\n`);
      return (JSON.parse(await next()) as { readonly seconds: number }).seconds;
    },
    end: () => void child.stdin.end(),
  };
}

/** Answers of each side in order, and CPU seconds of the last round. */
async function askAll(
  all: readonly Side[],
  texts: readonly string[],
  rounds: number,
): Promise<{ readonly answers: readonly string[][]; readonly seconds: readonly number[] }> {
  const dir = mkdtempSync(join(tmpdir(), 'belay-language-'));
  const answers = all.map((): string[] => []);
  let seconds: number[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      seconds = all.map(() => 0);
      for (let at = 0; at < texts.length; at += 2000) {
        const path = join(dir, 'slice.jsonl');
        const slice = texts.slice(at, at + 2000);
        writeFileSync(path, `${slice.map((text) => JSON.stringify(text)).join('\n')}\n`);
        for (const [i, side] of all.entries()) {
          seconds[i] = (seconds[i] as number) + (await side.ask(path));
          if (round === 0) (answers[i] as string[]).push(...readFileSync(`${path}.out`, 'utf8').trimEnd().split('\n'));
        }
      }
      process.stderr.write(`round ${round + 1} of ${rounds}\n`);
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return { answers, seconds };
}

/** Control characters would be escaped, which not every peer undoes. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is meant
const oneLine = (text: string): string => text.replace(/[\u0000-\u001f\u007f]+/g, ' ');

/** What a side's code means; `languages`: the answer as the language of these that it is the same as. */
function understood(name: string, code: string, languages: readonly string[]): string {
  // The original answers lid.176's codes; CLD2 and CLD3 keep the old code of Hebrew and Javanese.
  const old = { iw: 'he', jw: 'jv', in: 'id', mo: 'ro' }[code] ?? code;
  const language = name.startsWith('fastText') ? languageOfWikipediaCode(code) : languageOfTag(old);
  return languages.includes(language) ? language : (languages.find((each) => sameLanguage(each, language)) ?? language);
}

interface Counts {
  readonly texts: number;
  readonly right: number;
  /** Texts of other languages that were called so. */
  readonly wrong: number;
}

function countsOf(texts: readonly LabelledText[], answers: readonly string[]): Map<string, Counts> {
  const counts = new Map<string, { texts: number; right: number; wrong: number }>();
  const of = (language: string): { texts: number; right: number; wrong: number } => {
    const found = counts.get(language) ?? { texts: 0, right: 0, wrong: 0 };
    counts.set(language, found);
    return found;
  };
  for (const [i, { language }] of texts.entries()) {
    const answer = answers[i] as string;
    of(language).texts++;
    if (sameLanguage(answer, language)) of(language).right++;
    else of(answer).wrong++;
  }
  return counts;
}

const mean = (all: readonly number[]): number =>
  all.length === 0 ? Number.NaN : all.reduce((sum, one) => sum + one, 0) / all.length;
const percent = (share: number): string => (Number.isNaN(share) ? '-' : (100 * share).toFixed(1));

interface Score {
  readonly accuracy: number;
  readonly recall: number;
  readonly f1: number;
  readonly falsePositives: number;
}

/** Accuracy over the texts; means over their languages. */
function scoreOf(texts: readonly LabelledText[], answers: readonly string[]): Score {
  const rows = [...countsOf(texts, answers).values()].filter((row) => row.texts > 0);
  return {
    accuracy: rows.reduce((sum, { right }) => sum + right, 0) / texts.length,
    recall: mean(rows.map((row) => row.right / row.texts)),
    f1: mean(rows.map(({ texts: all, right, wrong }) => (2 * right) / (all + right + wrong))),
    falsePositives: mean(rows.map((row) => row.wrong / Math.max(1, texts.length - row.texts))),
  };
}

function accuracyTables(
  title: string,
  texts: readonly LabelledText[],
  names: readonly string[],
  answers: readonly string[][],
): string[] {
  const known = loadLanguageIdentifier([lid()])?.languages ?? new Set<string>();
  const isKnown = (language: string): boolean => [...known].some((each) => sameLanguage(each, language));
  const numLanguages = (all: readonly LabelledText[]): number => new Set(all.map(({ language }) => language)).size;
  const lines = [`## ${title}: ${texts.length} texts in ${numLanguages(texts)} languages`, ''];
  const pick = <T>(all: readonly T[], of: (text: LabelledText) => boolean): T[] =>
    all.filter((_, i) => of(texts[i] as LabelledText));
  for (const [group, inGroup] of [
    ['All languages', () => true],
    ['Languages that lid.176 knows', ({ language }) => isKnown(language)],
    ['Languages that lid.176 does not know', ({ language }) => !isKnown(language)],
  ] as readonly (readonly [string, (text: LabelledText) => boolean])[]) {
    const all = texts.filter(inGroup);
    if (all.length === 0) continue;
    lines.push(`${group} (${numLanguages(all)}), percent; false positives in texts of a thousand:`, '');
    const heads = lengths.map(([from, to], i) => {
      const count = all.filter(({ length }) => length === i).length;
      return ` ${from}-${to} characters (${count}): accuracy | macro recall | macro F1 | false positives |`;
    });
    lines.push(`| side |${heads.join('')}`, `|---|${'--:|'.repeat(4 * lengths.length)}`);
    for (const [s, name] of names.entries()) {
      const cells = lengths.map((_, i) => {
        const chosen = (text: LabelledText): boolean => inGroup(text) && text.length === i;
        const score = scoreOf(texts.filter(chosen), pick(answers[s] as string[], chosen));
        return ` ${percent(score.accuracy)} | ${percent(score.recall)} | ${percent(score.f1)} | ${(1000 * score.falsePositives).toFixed(2)} |`;
      });
      lines.push(`| ${name} |${cells.join('')}`);
    }
    lines.push('');
  }
  return lines;
}

/** Recall of every language over all lengths, and what the second side takes it for most often. */
function languageTable(
  texts: readonly LabelledText[],
  names: readonly string[],
  answers: readonly string[][],
): string[] {
  const counts = answers.map((row) => countsOf(texts, row));
  const shown = 1;
  const rows = [...new Set(texts.map(({ language }) => language))].sort().map((language) => {
    const wrong = new Map<string, number>();
    for (const [i, text] of texts.entries()) {
      const answer = answers[shown]?.[i] as string;
      if (text.language === language && !sameLanguage(answer, language))
        wrong.set(answer, (wrong.get(answer) ?? 0) + 1);
    }
    const worst = [...wrong].sort(([, a], [, b]) => b - a).slice(0, 3);
    const cells = counts.map((of) => {
      const row = of.get(language) as Counts;
      return percent(row.right / row.texts);
    });
    const number = counts[0]?.get(language)?.texts;
    return `| ${language} | ${number} | ${cells.join(' | ')} | ${worst.map(([answer, count]) => `${answer} ${count}`).join(', ')} |`;
  });
  return [
    `## Recall by language, all lengths, and what "${names[shown]}" takes them for`,
    '',
    `| language | texts | ${names.join(' | ')} | taken for |`,
    `|---|--:|${names.map(() => '--:|').join('')}---|`,
    ...rows,
    '',
  ];
}

async function main(): Promise<void> {
  if (values.messages === undefined || values.languages === undefined)
    throw new Error('--messages names the folder of .mo files, --languages the model of belay data train-languages');
  const rounds = Number(values.rounds);
  const load = loadavg()[0] as number;
  const self = fileURLToPath(import.meta.url);
  const modules = values.modules === undefined ? [] : ['--modules', values.modules];
  const own = [...process.execArgv, self, '--languages', values.languages, ...modules, '--worker'];
  const python = process.env['BELAY_PEER_PYTHON'] ?? '/usr/bin/python3';
  const all: Side[] = [];
  const notRun: string[] = [];
  const begin = async (what: string, command: string, args: readonly string[]): Promise<void> => {
    try {
      all.push(await start(command, args));
    } catch (error) {
      notRun.push(`${what} (${(error as Error).message.split('\n')[0]})`);
    }
  };
  for (const name of ['belay, lid.176', 'belay, lid.176 and declaration', 'belay, declaration alone'])
    await begin(name, process.execPath, [...own, name]);
  await begin('fastText', python, [join(packageRoot, 'bench', 'peers', 'fasttext_lid.py'), lid()]);
  if (values.cld2 === undefined) notRun.push('CLD2 (--cld2)');
  else await begin('CLD2', values.cld2, []);
  for (const name of ['CLD3 (wasm)', 'franc']) {
    if (values.modules === undefined) notRun.push(`${name} (--modules)`);
    else await begin(name, process.execPath, [...own, name]);
  }
  const names = all.map(({ name }) => name);
  const tables: string[] = [];
  const speed = (title: string, texts: readonly string[], seconds: readonly number[]): string[] => {
    const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
    return [
      `### Speed: ${title}, ${texts.length} texts, ${(bytes / 1e6).toFixed(1)} MB`,
      '',
      '| side | texts/s per core | MB/s |',
      '|---|--:|--:|',
      ...names.map((name, i) => {
        const time = seconds[i] as number;
        return `| ${name} | ${Math.round(texts.length / time)} | ${(bytes / time / 1e6).toFixed(1)} |`;
      }),
      '',
    ];
  };
  try {
    const sets: readonly (readonly [string, readonly LabelledText[]])[] = [
      ['Messages of programs', readMessages(values.messages, Number(values.count), 28)],
      ...(values.questions === undefined
        ? []
        : ([['Questions of mgsm, premises of xcopa', readQuestions(values.questions)]] as const)),
    ];
    const byLanguage: string[] = [];
    for (const [title, found] of sets) {
      const texts = found.map((each) => ({ ...each, text: oneLine(each.text) }));
      const languages = [...new Set(texts.map(({ language }) => language))].sort();
      const plain = texts.map(({ text }) => text);
      const { answers, seconds } = await askAll(all, plain, rounds);
      const meant = answers.map((row, i) => row.map((code) => understood(names[i] as string, code, languages)));
      tables.push(...accuracyTables(title, texts, names, meant));
      const original = names.findIndex((name) => name.startsWith('fastText'));
      if (original >= 0) {
        const same = plain.filter((_, i) => meant[0]?.[i] === meant[original]?.[i]).length;
        tables.push(`belay with lid.176 answers as the original in ${same} of ${plain.length} texts.`, '');
      }
      tables.push(...speed(title.toLowerCase(), plain, seconds));
      if (byLanguage.length === 0) byLanguage.push(...languageTable(texts, names, meant));
    }
    if (existsSync(values.documents)) {
      // Ours judges the first 10,000 characters; nobody is given more.
      const texts = readDebianTexts(values.documents).map((text) => oneLine(text.slice(0, 10_000)));
      const { seconds } = await askAll(all, texts, Math.min(2, rounds));
      tables.push(...speed("Debian's documents", texts, seconds));
    }
    tables.push(...byLanguage);
  } finally {
    for (const side of all) side.end();
  }
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: packageRoot, encoding: 'utf8' }).trim();
  const lines = [
    '# Identification of languages',
    '',
    `${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${cpus()[0]?.model} (${cpus().length} cores), node ${process.version}, load ${load.toFixed(1)} at the start.`,
    `Texts in slices of 2000, all sides in turn for each; CPU seconds of the identification alone, in the last of ${rounds} rounds (2 for documents).`,
    `Messages: at most ${values.count} a language and length, none that occurs under two languages. "declaration" is the model of belay data train-languages. Peers answer their own languages; what they do not know counts as wrong.`,
    '',
    ...tables,
    ...notRun.map((what) => `Not run: ${what}.`),
  ];
  console.log(lines.join('\n'));
  if (values.save)
    writeFileSync(join(packageRoot, 'bench', 'results', `${values.save}.md`), `${lines.join('\n').trimEnd()}\n`);
}

await (values.worker === undefined ? main() : work(values.worker));
