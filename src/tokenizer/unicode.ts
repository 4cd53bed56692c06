// Character properties as the reference tokenizer knows them, whatever Unicode the running Node knows.
//
// Hugging Face's tokenizers takes its tables from three libraries of different age: Oniguruma (expressions, Unicode 16),
// Rust's own (digits, lower case), and tables of about Unicode 9 (normal forms, accents, punctuation). Ids must not depend on Node's
// version either. The lists below name the code points that newer tables treat otherwise; they come from asking the
// reference (0.23.2) for each code point, and a test asks it again for samples.
//
// Does not: know scripts or properties that expressions of tokenizers never name.
import { inMarkOrder } from './mark-order.ts';

/** Code points assigned after Unicode 16: for expressions they are unassigned. */
const after16 = `
  88f c5c cdc 1acf-1add 1ae0-1aeb 20c1 2b96 a7ce-a7cf a7d2 a7d4 a7f1 fbc3-fbd2 fd90-fd91 fdc8-fdce 10940-10959
  10ec5-10ec7 10ed0-10ed8 10efa-10efb 11b60-11b67 11db0-11ddb 11de0-11de9 16ea0-16eb8 16ebb-16ed3 16ff2-16ff6
  187f8-187ff 18d09-18d1e 18d80-18df2 1ccfa-1ccfc 1ceba-1ced0 1cee0-1cef0 1e6c0-1e6de 1e6e0-1e6f5 1e6fe-1e6ff
  1f6d8 1f777-1f77a 1f8d0-1f8d8 1fa54-1fa57 1fa8a 1fa8e 1fac8 1facd 1faea 1faef 1fbfa 2b73a-2b73f 2cea2-2cead
  323b0-33479`;

/** Code points that normal forms leave alone and never move or join: they came after the normaliser's tables. */
const inert = `
  7fd 897-89f 8ca-8d3 9fe c3c d3b-d3c eba 1715 1abf-1add 1ae0-1aeb 1df6-1dfa 32ff a7f1-a7f4 a82c ab69 105c9 105d2
  105da 105e4 10781-10785 10787-107b0 107b2-107ba 10d24-10d27 10d69-10d6d 10eab-10eac 10efa-10efb 10efd-10eff
  10f46-10f50 10f82-10f85 11070 1133b 11382-11385 1138b 1138e 11390-11391 113b8 113bb 113c2 113c5 113c7-113c9
  113ce-113d0 1145e 11839-1183a 11930 11935 11938 1193d-1193e 11943 119e0 11a34 11a47 11a99 11d42 11d44-11d45
  11d97 11f41-11f42 1611e-16129 1612f 16d63 16d67-16d6a 16ff0-16ff1 1ccd6-1ccf9 1e030-1e06d 1e08f 1e130-1e136
  1e2ae 1e2ec-1e2ef 1e4ec-1e4ef 1e5ee-1e5ef 1e6e3 1e6e6 1e6ee-1e6ef 1e6f5 1f16c 1fbf0-1fbf9`;

/** Marks that StripAccents keeps. */
const newMarks = `
  7fd 897-89f 8ca-8d3 9fe afa-aff b55 c04 c3c cf3 d00 d3b-d3c d81 eba ece 1715 180f 1abf-1add 1ae0-1aeb 1cf7
  1df6-1dfa a82c a8ff 10d24-10d27 10d69-10d6d 10eab-10eac 10efa-10eff 10f46-10f50 10f82-10f85 11070 11073-11074
  110c2 11145-11146 111c9 111ce-111cf 11241 1133b 113b8-113c0 113c2 113c5 113c7-113ca 113cc-113d0 113d2
  113e1-113e2 1145e 1182c-1183a 11930-11935 11937-11938 1193b-1193e 11940 11942-11943 119d1-119d7 119da-119e0
  119e4 11a01-11a0a 11a33-11a39 11a3b-11a3e 11a47 11a51-11a5b 11a8a-11a99 11b60-11b67 11d31-11d36 11d3a
  11d3c-11d3d 11d3f-11d45 11d47 11d8a-11d8e 11d90-11d91 11d93-11d97 11ef3-11ef6 11f00-11f01 11f03 11f34-11f3a
  11f3e-11f42 11f5a 13440 13447-13455 1611e-1612f 16f4f 16f7f-16f87 16fe4 16ff0-16ff1 1cf00-1cf2d 1cf30-1cf46
  1e08f 1e130-1e136 1e2ae 1e2ec-1e2ef 1e4ec-1e4ef 1e5ee-1e5ef 1e6e3 1e6e6 1e6ee-1e6ef 1e6f5`;

/** Punctuation that the pre-tokenizer Punctuation does not cut at. */
const newPunctuation = `
  61d 9fd a76 c77 c84 1b4e-1b4f 1b7d-1b7f 2e43-2e4f 2e52-2e5d 10d6e 10ead 10ed0 10f55-10f59 10f86-10f89
  113d4-113d5 113d7-113d8 1144b-1144f 1145a-1145b 1145d 11660-1166c 116b9 1183b 11944-11946 119e2 11a3f-11a46
  11a9a-11a9c 11a9e-11aa2 11b00-11b09 11be1 11c41-11c45 11c70-11c71 11ef7-11ef8 11f43-11f4f 11fff 12ff1-12ff2
  16d6d-16d6f 16e97-16e9a 16fe2 1e5ff 1e95e-1e95f`;

/** Ranges of hexadecimal code points as the inside of a class of a regular expression with the flag v. */
function classOf(ranges: string): string {
  return ranges
    .trim()
    .split(/\s+/)
    .map((range) =>
      range
        .split('-')
        .map((code) => `\\u{${code}}`)
        .join('-'),
    )
    .join('');
}

export const newerThanExpressions = classOf(after16);

/** White_Space: JavaScript's \s has U+FEFF and lacks U+0085. */
export const whiteSpaceClass = String.raw`[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]`;

/** \w of Rust's expressions, by which added tokens and the pre-tokenizer Whitespace tell words. */
export const rustWordClass = String.raw`[[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]--[${newerThanExpressions}]]`;

/** What StripAccents takes out. */
export const accentClass = String.raw`[[\p{M}--[${classOf(newMarks)}]]\u{1cf2}\u{1cf3}]`;

/** What the pre-tokenizer Punctuation cuts at: ASCII's, and punctuation of its tables. */
export const punctuationClass = String.raw`[[\p{P}--[${classOf(newPunctuation)}]]\u{24}\u{2b}\u{3c}-\u{3e}\u{5e}\u{60}\u{7c}\u{7e}\u{166d}\u{111c9}]`;

const known = new RegExp(`[^${classOf(inert)}]+`, 'gv');
// Text without such code points is the rule, and asking is quicker than cutting.
const anyInert = new RegExp(`[${classOf(inert)}]`, 'v');

export type NormalForm = 'NFC' | 'NFD' | 'NFKC' | 'NFKD';

/** A normal form by the reference's tables. */
export function normalForm(text: string, form: NormalForm): string {
  const decomposition = form === 'NFC' || form === 'NFD' ? 'NFD' : 'NFKD';
  const normal = (part: string): string => inMarkOrder(part, decomposition).normalize(form);
  return anyInert.test(text) ? text.replace(known, normal) : normal(text);
}

/** Lower case, character by character: the end of a word is no context. */
export function lowerCase(text: string): string {
  return text.replaceAll('Σ', 'σ').toLowerCase();
}

/** The class of \p{name} in an expression, by Oniguruma's names and tables, or undefined. */
export function propertyClass(name: string): string | undefined {
  const key = name.toLowerCase().replace(/[\s_-]/g, '');
  const older = (set: string): string => `[${set}--[${newerThanExpressions}]]`;
  const posix: Readonly<Record<string, string>> = {
    alnum: older(String.raw`[\p{Alphabetic}\p{Nd}]`),
    alpha: older(String.raw`\p{Alphabetic}`),
    any: String.raw`[\p{Any}]`,
    ascii: String.raw`[\x00-\x7f]`,
    blank: String.raw`[\p{Zs}\t]`,
    digit: older(String.raw`\p{Nd}`),
    punct: older(String.raw`\p{P}`),
    space: whiteSpaceClass,
    whitespace: whiteSpaceClass,
    word: wordClass,
    xdigit: '[0-9A-Fa-f]',
  };
  if (Object.hasOwn(posix, key)) return posix[key];
  // U+0295 became a letter without case in Unicode 17.
  if (key === 'll' || key === 'lowercaseletter') return `[${older(String.raw`\p{Ll}`)}\u{295}]`;
  if (key === 'lo' || key === 'otherletter') return String.raw`[\p{Lo}--[${newerThanExpressions}\u{295}]]`;
  if (key === 'cn' || key === 'unassigned') return String.raw`[\p{Cn}${newerThanExpressions}]`;
  if (key === 'c' || key === 'other') return String.raw`[\p{C}${newerThanExpressions}]`;
  const category = categories[key];
  if (category !== undefined) return older(`\\p{${category}}`);
  const script = name.replace(
    /(^|[\s_-]+)(\w)(\w*)/g,
    (_, gap: string, first: string, rest: string) => `${gap && '_'}${first.toUpperCase()}${rest.toLowerCase()}`,
  );
  try {
    new RegExp(`\\p{Script=${script}}`, 'v');
  } catch {
    return undefined;
  }
  return older(`\\p{Script=${script}}`);
}

/** \w of Oniguruma, with its superscripts and fractions of Latin-1. */
export const wordClass = String.raw`[[[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]--[${newerThanExpressions}]]\u{b2}\u{b3}\u{b9}\u{bc}-\u{be}]`;

/** General categories by Oniguruma's names. */
const categories: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries({
    L: 'Letter',
    LC: 'CasedLetter',
    Lu: 'UppercaseLetter',
    Lt: 'TitlecaseLetter',
    Lm: 'ModifierLetter',
    M: 'Mark',
    Mn: 'NonspacingMark',
    Mc: 'SpacingMark',
    Me: 'EnclosingMark',
    N: 'Number',
    Nd: 'DecimalNumber',
    Nl: 'LetterNumber',
    No: 'OtherNumber',
    P: 'Punctuation',
    Pc: 'ConnectorPunctuation',
    Pd: 'DashPunctuation',
    Ps: 'OpenPunctuation',
    Pe: 'ClosePunctuation',
    Pi: 'InitialPunctuation',
    Pf: 'FinalPunctuation',
    Po: 'OtherPunctuation',
    S: 'Symbol',
    Sm: 'MathSymbol',
    Sc: 'CurrencySymbol',
    Sk: 'ModifierSymbol',
    So: 'OtherSymbol',
    Z: 'Separator',
    Zs: 'SpaceSeparator',
    Zl: 'LineSeparator',
    Zp: 'ParagraphSeparator',
    Cc: 'Control',
    Cf: 'Format',
    Co: 'PrivateUse',
  }).flatMap(([short, long]) => [
    [short.toLowerCase(), short],
    [long.toLowerCase(), short],
  ]),
);
