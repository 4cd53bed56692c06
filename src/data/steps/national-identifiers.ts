// Numbers that states give to persons: their forms, their checks, and the words that stand before them.
//
// Sources: the public specifications of each state, as far as they give a check (EAN-13, ISO 7064, Luhn, weighted sums).
// A form that a random number passes less than once in some thousand times is taken by itself; any other one, and any
// without a check, only after a word that says what it is (`word`). A miss is better than a wrong hit.
//
// Does not: know numbers of companies, or whether a number was given to anybody. Cyprus, Latvia's numbers since 2017 and
// passports have no check and no form of their own.

export interface NationalIdentifier {
  /** Country and number, as in the setting `kinds`. */
  readonly kind: string;
  /** Forms: lengths of the groups of digits and what separates them (`_` is a space); one that ends in `!` needs no word. */
  readonly forms: readonly string[];
  /** Words of which one must stand before a form that needs one; in lower case. */
  readonly words: readonly string[];
  /** Is this a number of the kind? Only digits, of all groups. */
  valid(digits: string): boolean;
}

/** Identifiers with letters: found by a pattern of fixed length at a place where digits begin. */
export interface LetteredIdentifier {
  readonly kind: string;
  /** Characters before the first digit, and digits that stand there together. */
  readonly before: number;
  readonly run: number;
  /** Sticky; lengths are bounded. */
  readonly pattern: RegExp;
  readonly words: readonly string[];
  readonly needsWord: boolean;
  valid(text: string): boolean;
}

const digit = (digits: string, i: number): number => digits.charCodeAt(i) - 48;

/** Sum of the digits times weights. */
function weighted(digits: string, weights: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sum += (weights[i] as number) * digit(digits, i);
  return sum;
}

/** Digits modulo a small number, of any length. */
function modulo(digits: string, by: number): number {
  let rest = 0;
  for (let i = 0; i < digits.length; i++) rest = (rest * 10 + digit(digits, i)) % by;
  return rest;
}

/** Luhn's check over all digits (ISO/IEC 7812-1). */
export function luhn(digits: string): boolean {
  let sum = 0;
  for (let i = digits.length - 1, double = false; i >= 0; i--, double = !double) {
    const value = double ? 2 * digit(digits, i) : digit(digits, i);
    sum += value > 9 ? value - 9 : value;
  }
  return sum % 10 === 0;
}

/** ISO 7064, MOD 11,10. */
function mod1110(digits: string): boolean {
  let product = 10;
  for (let i = 0; i < digits.length - 1; i++) {
    const sum = (digit(digits, i) + product) % 10 || 10;
    product = (2 * sum) % 11;
  }
  return (product + digit(digits, digits.length - 1)) % 10 === 1;
}

function isDate(year: number, month: number, day: number): boolean {
  if (month < 1 || month > 12 || day < 1) return false;
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  return day <= (month === 2 ? (leap ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31);
}

const two = (digits: string, at: number): number => Number(digits.slice(at, at + 2));

/** A day of any century: the year of two digits is taken as one that leaps if any such year does. */
const dayFirst = (digits: string, at: number, years = 2000): boolean =>
  isDate(years + two(digits, at + 4), two(digits, at + 2), two(digits, at));
const yearFirst = (digits: string, at: number, month = two(digits, at + 2), day = two(digits, at + 4)): boolean =>
  isDate(2000 + two(digits, at), month, day);

/** Two sums modulo 11: the second is asked where the first gives 10 (Estonia, Lithuania). */
function baltic(digits: string): boolean {
  const day = yearFirst(digits, 1);
  let rest = weighted(digits, [1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11;
  if (rest === 10) rest = weighted(digits, [3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11;
  return day && digit(digits, 0) >= 1 && digit(digits, 0) <= 8 && rest % 10 === digit(digits, 10);
}

/** By kind. */
export const nationalIdentifiers: readonly NationalIdentifier[] = [
  {
    kind: 'at-svnr',
    forms: ['4_6', '10'],
    words: ['svnr', 'sv-nr', 'sv-nummer', 'sozialversicherung', 'versicherungsnummer'],
    valid: (digits) =>
      digit(digits, 0) > 0 &&
      dayFirst(digits, 4) &&
      weighted(digits, [3, 7, 9, 0, 5, 8, 4, 2, 1, 6]) % 11 === digit(digits, 3),
  },
  {
    kind: 'be-national',
    forms: ['2.2.2-3.2!', '2.2.2_3_2!', '6-3-2!', '6_3_2!', '11'],
    words: ['rijksregister', 'registre national', 'national number', 'insz', 'niss', 'numéro national', 'rrn'],
    valid: (digits) => {
      const key = Number(digits.slice(9));
      const born = digits.slice(0, 9);
      // Who was born from 2000 on has a 2 before the number.
      const fits = 97 - modulo(born, 97) === key || 97 - modulo(`2${born}`, 97) === key;
      return fits && (two(digits, 2) === 0 || yearFirst(digits, 0));
    },
  },
  {
    kind: 'bg-egn',
    forms: ['10'],
    words: ['егн', 'egn'],
    valid: (digits) => {
      const month = two(digits, 2) % 20;
      return (
        yearFirst(digits, 0, month) && (weighted(digits, [2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11) % 10 === digit(digits, 9)
      );
    },
  },
  {
    kind: 'ch-ahv',
    forms: ['3.4.4.2!', '3_4_4_2!', '13!'],
    words: [],
    valid: (digits) =>
      digits.startsWith('756') &&
      (10 - (weighted(digits, [1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]) % 10)) % 10 === digit(digits, 12),
  },
  {
    // Slovakia's are the same.
    kind: 'cz-rc',
    forms: ['6/4', '6/3', '10'],
    words: ['rodné číslo', 'rodne cislo', 'rodného čísla', 'r.č.', 'rč'],
    valid: (digits) => {
      const written = two(digits, 2);
      const month = written > 70 ? written - 70 : written > 50 ? written - 50 : written > 20 ? written - 20 : written;
      if (!yearFirst(digits, 0, month)) return false;
      return (
        digits.length === 9 || modulo(digits, 11) === 0 || (modulo(digits.slice(0, 9), 11) === 10 && digits[9] === '0')
      );
    },
  },
  {
    kind: 'de-tax',
    forms: ['2_3_3_3', '11'],
    words: ['steuer-id', 'steuerid', 'idnr', 'id-nr', 'identifikationsnummer', 'steuernummer', 'tax id', 'tin'],
    valid: (digits) => {
      const counts = new Uint8Array(10);
      for (let i = 0; i < 10; i++) counts[digit(digits, i)] = (counts[digit(digits, i)] as number) + 1;
      const most = Math.max(...counts);
      const often = counts.filter((count) => count > 1).length;
      return digits[0] !== '0' && often === 1 && most <= 3 && mod1110(digits);
    },
  },
  {
    kind: 'dk-cpr',
    forms: ['6-4', '10'],
    words: ['cpr', 'personnummer', 'cpr-nr'],
    valid: (digits) => dayFirst(digits, 0),
  },
  { kind: 'ee-ik', forms: ['11'], words: ['isikukood', 'personal code', 'ik:'], valid: baltic },
  {
    kind: 'fr-nir',
    forms: ['1_2_2_2_3_3_2!', '1_2_2_2_3_3|2!', '1.2.2.2.3.3.2!', '15'],
    words: ['sécurité sociale', 'securite sociale', 'nir', 'insee', 'n° ss', 'numéro de sécu'],
    valid: (digits) => {
      const month = two(digits, 3);
      const real = (month >= 1 && month <= 12) || (month >= 20 && month <= 42) || month >= 50;
      return /^[12]/.test(digits) && real && 97 - modulo(digits.slice(0, 13), 97) === Number(digits.slice(13));
    },
  },
  {
    kind: 'gr-amka',
    forms: ['11'],
    words: ['αμκα', 'amka', 'α.μ.κ.α'],
    valid: (digits) => dayFirst(digits, 0) && luhn(digits),
  },
  { kind: 'hr-oib', forms: ['11'], words: ['oib'], valid: mod1110 },
  {
    kind: 'hu-taj',
    forms: ['3_3_3', '3-3-3', '9'],
    words: ['taj', 'társadalombiztosítási'],
    valid: (digits) => weighted(digits, [3, 7, 3, 7, 3, 7, 3, 7]) % 10 === digit(digits, 8),
  },
  { kind: 'lt-ak', forms: ['11'], words: ['asmens kodas', 'asmens kodą', 'a.k.', 'a. k.'], valid: baltic },
  {
    kind: 'lu-matricule',
    forms: ['13', '4_2_2_5', '8_5'],
    words: ['matricule', 'cnss', 'numéro national'],
    valid: (digits) => /^(?:19|20)/.test(digits) && yearFirst(digits, 2) && luhn(digits.slice(0, 12)),
  },
  {
    kind: 'lv-pk',
    forms: ['6-5'],
    words: ['personas kods', 'personas kodu', 'p.k.'],
    valid: (digits) =>
      dayFirst(digits, 0) &&
      ((1101 - weighted(digits, [1, 6, 3, 7, 9, 10, 5, 8, 4, 2])) % 11) % 10 === digit(digits, 10),
  },
  {
    kind: 'nl-bsn',
    forms: ['9', '4.2.3', '3_3_3'],
    words: ['bsn', 'burgerservice', 'sofi'],
    valid: (digits) => Number(digits) > 9_999_999 && weighted(digits, [9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 === 0,
  },
  {
    kind: 'no-fnr',
    forms: ['6_5!', '11'],
    words: ['fødselsnummer', 'fodselsnummer', 'personnummer', 'fnr'],
    valid: (digits) => {
      const day = two(digits, 0);
      return (
        isDate(2000 + two(digits, 4), two(digits, 2), day > 40 ? day - 40 : day) &&
        weighted(digits, [3, 7, 6, 1, 8, 9, 4, 5, 2, 1]) % 11 === 0 &&
        weighted(digits, [5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]) % 11 === 0
      );
    },
  },
  {
    kind: 'pl-pesel',
    forms: ['11'],
    words: ['pesel'],
    valid: (digits) =>
      yearFirst(digits, 0, two(digits, 2) % 20) && weighted(digits, [1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]) % 10 === 0,
  },
  {
    kind: 'pt-nif',
    forms: ['9', '3_3_3'],
    words: ['nif', 'contribuinte'],
    valid: (digits) => {
      const rest = weighted(digits, [9, 8, 7, 6, 5, 4, 3, 2]) % 11;
      return /^(?:[1235-9]|45)/.test(digits) && (rest < 2 ? 0 : 11 - rest) === digit(digits, 8);
    },
  },
  {
    kind: 'ro-cnp',
    forms: ['13'],
    words: ['cnp', 'cod numeric personal'],
    valid: (digits) => {
      const rest = weighted(digits, [2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
      return /^[1-9]/.test(digits) && yearFirst(digits, 1) && (rest === 10 ? 1 : rest) === digit(digits, 12);
    },
  },
  {
    kind: 'se-personal',
    forms: ['8-4!', '6-4', '12', '10'],
    words: ['personnummer', 'personnr', 'pnr', 'samordningsnummer', 'personal identity'],
    valid: (digits) => {
      const short = digits.slice(-10);
      const day = two(short, 4);
      return (
        (digits.length === 10 || /^(?:18|19|20)/.test(digits)) &&
        isDate(2000 + two(short, 0), two(short, 2), day > 60 ? day - 60 : day) &&
        luhn(short)
      );
    },
  },
  {
    kind: 'si-emso',
    forms: ['13'],
    words: ['emšo', 'emso', 'jmbg'],
    valid: (digits) =>
      isDate(2000 + two(digits, 5), two(digits, 2), two(digits, 0)) &&
      (11 - (weighted(digits, [7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11)) % 11 === digit(digits, 12),
  },
];

const dniLetters = 'TRWAGMYFPDXBNJZSQVHLCKE';
const hetuLetters = '0123456789ABCDEFHJKLMNPRSTUVWXY';
/** Values of 0-9 and A-Z at odd places of a codice fiscale. */
const oddValues = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21];
const oddLetters = [...oddValues, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];

function codiceFiscale(text: string): boolean {
  let sum = 0;
  for (let i = 0; i < 15; i++) {
    const code = text.charCodeAt(i);
    const value = code < 65 ? code - 48 : code - 65;
    sum += i % 2 === 0 ? ((code < 65 ? oddValues : oddLetters)[value] as number) : value;
  }
  return text.charCodeAt(15) - 65 === sum % 26;
}

/** By kind. */
export const letteredIdentifiers: readonly LetteredIdentifier[] = [
  {
    kind: 'es-dni',
    before: 0,
    run: 8,
    pattern: /\d{8}-?[A-Z]/y,
    words: ['dni', 'nif', 'd.n.i', 'n.i.f', 'documento nacional'],
    needsWord: true,
    valid: (text) => dniLetters[Number(text.slice(0, 8)) % 23] === text.at(-1),
  },
  {
    kind: 'es-dni',
    before: 1,
    run: 7,
    pattern: /[XYZ]\d{7}-?[A-Z]/y,
    words: ['nie', 'n.i.e', 'nif', 'extranjero'],
    needsWord: true,
    valid: (text) => dniLetters[Number(`${'XYZ'.indexOf(text[0] as string)}${text.slice(1, 8)}`) % 23] === text.at(-1),
  },
  {
    kind: 'fi-hetu',
    before: 0,
    run: 6,
    pattern: /\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]/y,
    words: [],
    needsWord: false,
    valid: (text) =>
      dayFirst(text, 0) && hetuLetters[Number(text.slice(0, 6) + text.slice(7, 10)) % 31] === text.at(-1),
  },
  {
    kind: 'fr-nir',
    before: 0,
    run: 1,
    pattern: /[12] \d{2} \d{2} 2[AB] \d{3} \d{3} \d{2}/y,
    words: [],
    needsWord: false,
    valid: (text) => {
      // Corsica: 2A counts as 19, 2B as 18.
      const digits = text.replaceAll(' ', '').replace('2A', '19').replace('2B', '18');
      return 97 - modulo(digits.slice(0, 13), 97) === Number(digits.slice(13));
    },
  },
  {
    kind: 'gb-nino',
    before: 2,
    run: 6,
    pattern: /[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]/y,
    words: ['national insurance', 'nino', 'ni number', 'ni no'],
    needsWord: true,
    valid: (text) => !/^(?:BG|GB|KN|NK|NT|TN|ZZ)/.test(text),
  },
  {
    kind: 'ie-pps',
    before: 0,
    run: 7,
    pattern: /\d{7}[A-W][A-IW]?/y,
    words: ['pps', 'ppsn'],
    needsWord: true,
    valid: (text) => {
      const second = text[8] === undefined || text[8] === 'W' ? 0 : text.charCodeAt(8) - 64;
      return 'WABCDEFGHIJKLMNOPQRSTUV'[(weighted(text, [8, 7, 6, 5, 4, 3, 2]) + 9 * second) % 23] === text[7];
    },
  },
  {
    kind: 'it-fiscal-code',
    before: 6,
    run: 2,
    pattern: /[A-Z]{6}[0-9L-NP-V]{2}[A-EHLMPR-T][0-9L-NP-V]{2}[A-Z][0-9L-NP-V]{3}[A-Z]/y,
    words: [],
    needsWord: false,
    valid: codiceFiscale,
  },
  {
    kind: 'mt-id',
    before: 0,
    run: 7,
    pattern: /\d{7}[MGAPLHBZ]/y,
    words: ['id card', 'karta tal-identit', 'identity card'],
    needsWord: true,
    valid: () => true,
  },
];

/** The kinds, each once. */
export const nationalKinds: readonly string[] = [
  ...new Set([...nationalIdentifiers, ...letteredIdentifiers].map(({ kind }) => kind)),
].sort();
