// Chat conversations from parallel text: "Which language is this?", and "Give article N in language L".
//
// Made from the sections of training documents only, so held-out sections stay held out; deterministic by the seed.
// Most conversations have no system message, as in Apertus' fine-tuning; a quarter carries the default system text of the
// released chat template with a date, which is what the model meets in use (that text costs more tokens than a question).
//
// Does not: encode; sft.ts does.
import type { Document } from '../base/document.ts';
import { Random } from '../base/rng.ts';
import { excerptOf, excerptTokens, languageAnswer, languageQuestions } from '../evaluate/language-question.ts';
import { languageName } from '../evaluate/language-names.ts';
import type { Tokenizer } from '../tokenizer/bpe.ts';
import { type Message, renderChat } from '../tokenizer/chat-format.ts';
import { personalDataMarkers } from '../tokenizer/special-tokens.ts';

/** One line of conversations.jsonl.gz. */
export interface Conversation {
  /** Unique: `<document>#<section>/<number>`. */
  readonly id: string;
  readonly kind: 'language' | 'article';
  readonly language: string;
  /** The training document and the label of the section it was made from. */
  readonly document: string;
  readonly section: string;
  readonly licence: string;
  /** A system message, in some, then a question and its answer. */
  readonly messages: readonly Message[];
}

export interface ConversationRules {
  readonly seed: number;
  /** Share of conversations that ask for the language; the rest ask for an article. */
  readonly languageQuestionShare: number;
  /** Conversations per section. */
  readonly perSection?: number;
}

/** Share of conversations with the default system text of the chat template. */
export const systemTextShare = 0.25;
const defaultPerSection = 2;
/** Shorter sections (headings, numbers) say too little about their language. */
const minCharacters = 24;

/** Ways to ask for an article of the declaration. */
const articleQuestions: readonly ((number: string, language: string) => string)[] = [
  (number, language) => `Give article ${number} of the Universal Declaration of Human Rights in ${language}.`,
  (number, language) => `What does article ${number} of the Universal Declaration of Human Rights say in ${language}?`,
  (number, language) => `Article ${number} of the declaration of human rights, in ${language}, please.`,
];

/** The conversations of one training document; none where its language has no name or it has no sections. */
export function conversationsOf(document: Document, tokenizer: Tokenizer, rules: ConversationRules): Conversation[] {
  const name = languageName(document.language);
  if (name === undefined) return [];
  const conversations: Conversation[] = [];
  for (const { label, start, end } of document.sections ?? []) {
    const text = document.text.slice(start, end).trim();
    // What the personal-data step replaced is not taught as language.
    if (text.length < minCharacters || personalDataMarkers.some((marker) => text.includes(marker))) continue;
    for (let i = 0; i < (rules.perSection ?? defaultPerSection); i++) {
      const id = `${document.id}#${label}/${i}`;
      const random = new Random(rules.seed, 'conversation', id);
      const article = /^article-(\d+)$/.exec(label)?.[1];
      const asksLanguage = article === undefined || random.real() < rules.languageQuestionShare;
      const messages: Message[] = asksLanguage
        ? languageConversation(excerptOf(tokenizer, laterStart(text, random), excerptTokens), name, random)
        : articleConversation(article, name, text, random);
      const { language, licence } = document;
      conversations.push({
        id,
        kind: asksLanguage ? 'language' : 'article',
        language,
        document: document.id,
        section: label,
        licence,
        messages:
          random.real() < systemTextShare
            ? [{ role: 'system', content: defaultSystemText(someDate(random)) }, ...messages]
            : messages,
      });
    }
  }
  return conversations;
}

function languageConversation(excerpt: string, name: string, random: Random): Message[] {
  return [
    { role: 'user', content: random.pick(languageQuestions)(excerpt) },
    { role: 'assistant', content: languageAnswer(name) },
  ];
}

function articleConversation(number: string, name: string, text: string, random: Random): Message[] {
  return [
    { role: 'user', content: random.pick(articleQuestions)(number, name) },
    { role: 'assistant', content: text },
  ];
}

/** The text from its beginning (half of the time) or from a word in its first half, so that excerpts differ. */
function laterStart(text: string, random: Random): string {
  if (random.real() < 0.5) return text;
  const from = random.integer(Math.max(1, text.length >> 1));
  const space = text.indexOf(' ', from);
  const start = space >= 0 && space < text.length >> 1 ? space + 1 : 0;
  return text.slice(start);
}

const systemTexts = new Map<string, string>();

/** What the released chat template says where a conversation has no system message. */
export function defaultSystemText(date: string): string {
  let text = systemTexts.get(date);
  if (text === undefined) {
    const rendered = renderChat([{ role: 'user', content: '' }], { date });
    text = /<\|system_start\|>(.*)<\|system_end\|>/s.exec(rendered)?.[1] ?? '';
    systemTexts.set(date, text);
  }
  return text;
}

/** A day of the years around training, YYYY-MM-DD: the model must not tie its answers to one. */
function someDate(random: Random): string {
  return new Date(Date.UTC(2024, 0, 1 + random.integer(5 * 365))).toISOString().slice(0, 10);
}
