// The language question: given a text the model never saw, does the chat model name its language?
//
// The only task a model as small as the demo's can be asked about and marked right or wrong: 448 languages, one
// answer. The model answers freely (greedy); the answer counts when it is the name, up to case, spaces and final
// punctuation. Chance is one over the languages asked about; the majority rate is what a model that always gives the
// most frequent answer would get.
//
// Does not: teach; posttrain/conversations.ts asks the same questions about training documents.
import { Random } from '../base/rng.ts';
import type { Tokenizer } from '../tokenizer/bpe.ts';
import { encodeChat, type Message } from '../tokenizer/chat-format.ts';
import { ASSISTANT_END, EOS } from '../tokenizer/special-tokens.ts';
import type { EvaluatedModel } from './evaluated-model.ts';
import { languageName } from './language-names.ts';

/** Ways to ask. Training uses all of them, evaluation the first. */
export const languageQuestions: readonly ((excerpt: string) => string)[] = [
  (excerpt) => `Which language is this? ${excerpt}`,
  (excerpt) => `What language is the following text written in?\n\n${excerpt}`,
  (excerpt) => `${excerpt}\n\nIn which language is this text?`,
  (excerpt) => `Name the language of this text: ${excerpt}`,
];

/** The answer as it is taught. */
export function languageAnswer(name: string): string {
  return `${name}.`;
}

/** Tokens of the text shown in a question: enough to tell a language, short enough that a row holds several questions. */
export const excerptTokens = 40;

/** The beginning of a text in about `maxTokens` tokens, never ending inside a character. */
export function excerptOf(tokenizer: Tokenizer, text: string, maxTokens: number): string {
  // No token is longer than a few dozen characters; more text than this cannot be needed.
  const ids = tokenizer.encodeOrdinary(text.slice(0, maxTokens * 64).trim());
  if (ids.length <= maxTokens) return text.trim();
  return tokenizer
    .decode(ids.slice(0, maxTokens))
    .replace(/\uFFFD+$/, '')
    .trim();
}

/** Date in the default system text of evaluation prompts: fixed, so that results do not depend on the day. */
const evaluationDate = '2026-01-01';

/** The ids of a conversation up to where the model answers, in the released chat format, as `belay chat` shows it. */
export function promptIds(tokenizer: Tokenizer, messages: readonly Message[]): number[] {
  return encodeChat(tokenizer, messages, { addGenerationPrompt: true, date: evaluationDate });
}

/** Case, spaces, compatibility forms and final punctuation do not matter. */
export function normaliseAnswer(text: string): string {
  return text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/[\s.!?]+$/, '');
}

export interface LanguageQuestionOptions {
  readonly model: Pick<EvaluatedModel, 'greedy'>;
  readonly tokenizer: Tokenizer;
  /** Held-out texts with their language. */
  readonly documents: readonly { readonly id: string; readonly language: string; readonly text: string }[];
  /** Questions to ask, chosen by the seed (0: one per document). */
  readonly maxQuestions: number;
  readonly seed: number;
  readonly onProgress?: (asked: number) => void;
}

export interface LanguageQuestionResult {
  readonly questions: number;
  readonly correct: number;
  readonly accuracy: number;
  /** Standard error of the accuracy, from the number of questions. */
  readonly standardError: number;
  /** Distinct languages among the documents that could be asked about. */
  readonly languages: number;
  readonly chance: number;
  readonly majority: number;
  readonly byLanguage: { readonly [language: string]: { readonly questions: number; readonly correct: number } };
  /** Every question's document, expected and given answer. */
  readonly answers: readonly {
    readonly id: string;
    readonly language: string;
    readonly expected: string;
    readonly answer: string;
    readonly correct: boolean;
  }[];
}

/** Prompts handed to the model at a time. */
const batchSize = 64;

export function askLanguages(options: LanguageQuestionOptions): LanguageQuestionResult {
  const { model, tokenizer, seed, maxQuestions } = options;
  const named = options.documents.flatMap((document) => {
    const name = languageName(document.language);
    return name === undefined || document.text.trim() === '' ? [] : [{ ...document, name }];
  });
  const order = new Random(seed, 'language-question').shuffle([...named]);
  const asked = maxQuestions === 0 ? order : order.slice(0, maxQuestions);
  const ask = languageQuestions[0] as (excerpt: string) => string;
  // The longest answer decides how far the model may go on; two more tokens let a wrong ending show.
  const longest = named.reduce((most, { name }) => {
    return Math.max(most, tokenizer.encodeOrdinary(languageAnswer(name)).length);
  }, 0);
  const answers: LanguageQuestionResult['answers'][number][] = [];
  for (let start = 0; start < asked.length; start += batchSize) {
    const batch = asked.slice(start, start + batchSize);
    const prompts = batch.map(({ text }) =>
      promptIds(tokenizer, [{ role: 'user', content: ask(excerptOf(tokenizer, text, excerptTokens)) }]),
    );
    const given = model.greedy(prompts, { maxTokens: longest + 2, stopIds: [ASSISTANT_END, EOS] });
    for (const [i, { id, language, name }] of batch.entries()) {
      const answer = tokenizer.decode(given[i] ?? [], { skipSpecial: true });
      const correct = normaliseAnswer(answer) === normaliseAnswer(name);
      answers.push({ id, language, expected: name, answer, correct });
    }
    options.onProgress?.(answers.length);
  }
  return summariseAnswers(answers, new Set(named.map(({ language }) => language)).size);
}

function summariseAnswers(answers: LanguageQuestionResult['answers'], languages: number): LanguageQuestionResult {
  const byLanguage: Record<string, { questions: number; correct: number }> = {};
  for (const { language, correct } of [...answers].sort((a, b) => (a.language < b.language ? -1 : 1))) {
    const counts = (byLanguage[language] ??= { questions: 0, correct: 0 });
    counts.questions++;
    if (correct) counts.correct++;
  }
  const questions = answers.length;
  const correct = answers.filter((answer) => answer.correct).length;
  const accuracy = questions === 0 ? 0 : correct / questions;
  const most = Math.max(0, ...Object.values(byLanguage).map((counts) => counts.questions));
  return {
    questions,
    correct,
    accuracy,
    standardError: questions === 0 ? 0 : Math.sqrt((accuracy * (1 - accuracy)) / questions),
    languages,
    chance: languages === 0 ? 0 : 1 / languages,
    majority: questions === 0 ? 0 : most / questions,
    byLanguage,
    answers,
  };
}
