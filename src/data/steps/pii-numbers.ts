// Numbers that name a person or an account, by themselves: IBANs, cards, phones, IP addresses.
//
// Sources: IBAN registry of SWIFT (lengths by country; ISO 13616, mod 97), ISO/IEC 7812 and the issuers' public ranges (cards),
// ITU E.164 and national numbering plans (phones), the special-purpose registries of IANA (IP addresses).
//
// Does not: look for them in a text; pii-scan.ts does.
import { isIPv6 } from 'node:net';
import { luhn } from './national-identifiers.ts';

/** Characters of an IBAN by country, as registered. */
const ibanLengths: Readonly<Record<string, number>> = Object.fromEntries(
  [
    'AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24',
    'FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21',
    'LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33',
    'SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30',
  ]
    .join(' ')
    .split(' ')
    .map((entry) => [entry.slice(0, 2), Number(entry.slice(2))]),
);

/** Characters an IBAN of the country has; undefined where there are none. */
export function ibanLength(country: string): number | undefined {
  return ibanLengths[country];
}

/** ISO 7064 MOD 97-10 over an IBAN without spaces. */
export function ibanChecks(iban: string): boolean {
  let rest = 0;
  for (let i = 0; i < iban.length; i++) {
    const code = iban.charCodeAt((i + 4) % iban.length);
    rest = code < 65 ? (rest * 10 + code - 48) % 97 : (rest * 100 + code - 55) % 97;
  }
  return rest === 1;
}

/** Does a card of this number exist by its length, its issuer's range and Luhn's check? */
export function isCard(digits: string): boolean {
  const { length } = digits;
  const two = Number(digits.slice(0, 2));
  const three = Number(digits.slice(0, 3));
  const four = Number(digits.slice(0, 4));
  const issued =
    (digits[0] === '4' && (length === 16 || length === 13 || length === 19)) ||
    (length === 16 && ((two >= 51 && two <= 55) || (four >= 2221 && four <= 2720))) ||
    (length === 15 && (two === 34 || two === 37)) ||
    (length === 14 && (two === 36 || two === 38 || (three >= 300 && three <= 305))) ||
    (length === 16 &&
      (four === 6011 || two === 65 || (three >= 644 && three <= 649) || (four >= 3528 && four <= 3589)));
  return issued && luhn(digits);
}

/** Country codes of three digits; those of one and two stand below. */
const threeDigitCodes =
  /^(?:21[12368]|2[2-6]\d|29[01789]|35\d|37\d|38[0-35-79]|42[013]|50\d|59\d|67\d|68\d|69[0-2]|80[08]|85[02356]|87[08]|88[0-368]|96[0-8]|97[0-79]|99[2-68])/;
const twoDigitCodes = new Set(
  '20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98'.split(
    ' ',
  ),
);
/** Digits after the country code, fewest and most, where they are known better than E.164's bound. */
const nationalLengths: Readonly<Record<string, readonly [number, number]>> = {
  1: [10, 10],
  7: [10, 10],
  30: [10, 10],
  31: [9, 9],
  32: [8, 9],
  33: [9, 9],
  34: [9, 9],
  36: [8, 9],
  39: [6, 11],
  40: [9, 9],
  41: [9, 9],
  43: [5, 12],
  44: [9, 10],
  45: [8, 8],
  46: [7, 9],
  47: [8, 8],
  48: [9, 9],
  49: [6, 12],
  298: [6, 6],
  299: [6, 6],
  351: [9, 9],
  352: [5, 11],
  353: [7, 9],
  354: [7, 9],
  356: [8, 8],
  357: [8, 8],
  358: [6, 11],
  359: [7, 9],
  370: [8, 8],
  371: [8, 8],
  372: [7, 8],
  376: [6, 9],
  385: [8, 9],
  386: [8, 8],
  420: [9, 9],
  421: [9, 9],
  423: [7, 9],
};

/** Is this, without "+" or "00", a number that E.164 and its country's plan allow? A zero in brackets is left out before. */
export function isInternationalPhone(digits: string): boolean {
  const code = /^[17]/.test(digits)
    ? digits.slice(0, 1)
    : twoDigitCodes.has(digits.slice(0, 2))
      ? digits.slice(0, 2)
      : threeDigitCodes.test(digits)
        ? digits.slice(0, 3)
        : undefined;
  if (code === undefined || digits.length > 15) return false;
  const national = digits.slice(code.length);
  const [fewest, most] = nationalLengths[code] ?? [7, 12];
  if (national.length < fewest || national.length > most) return false;
  // North America: area and exchange do not begin with 0 or 1. Few countries' numbers begin with 0.
  if (code === '1') return /^[2-9]\d\d[2-9]/.test(national);
  return !national.startsWith('0') || ['39', '225', '229', '241', '242'].includes(code);
}

/**
 * Is the address in a range that names no host of the internet: private, loopback, link-local, multicast?
 *
 * Not the ranges for documentation: in a text they stand in the place of a host, and a marker there says the same.
 */
export function isReservedIPv4([a = 0, b = 0, c = 0]: readonly number[]): boolean {
  return (
    a === 0 ||
    a === 10 ||
    a === 127 ||
    a >= 224 ||
    (a === 100 && b >= 64 && b < 128) ||
    (a === 169 && b === 254) ||
    (a === 172 && b >= 16 && b < 32) ||
    (a === 192 && b === 168) ||
    (a === 192 && b === 0 && c === 0) ||
    (a === 192 && b === 88 && c === 99) ||
    (a === 198 && (b === 18 || b === 19))
  );
}

/** `global` for 2000::/3, where documentation has its ranges too, `reserved` for any other address, undefined for what is none. */
export function ipv6Range(text: string): 'global' | 'reserved' | undefined {
  if (!isIPv6(text)) return undefined;
  const [first = ''] = text.split(':');
  const high = first.length === 4 ? Number.parseInt(first, 16) : 0;
  return high >= 0x2000 && high <= 0x3fff ? 'global' : 'reserved';
}
