import assert from 'node:assert/strict';
import test from 'node:test';
import { cpuMilliseconds } from '../../../test/cpu-time.ts';
import fc from 'fast-check';
import { goldenJson } from '../../../test/golden.ts';
import type { Document } from '../../base/document.ts';
import { UserError } from '../../base/errors.ts';
import { silentLog } from '../../base/progress.ts';
import { isCorpusStep, type Step } from '../step.ts';
import { makeStep } from '../steps.ts';
import { letteredIdentifiers, nationalIdentifiers } from './national-identifiers.ts';
import { ibanChecks, ibanLength } from './pii-numbers.ts';
import { Scanner } from './pii-scan.ts';
import { checkedPersonalDataStep, definition, personalDataKinds } from './pii.ts';

function documentOf(text: string): Document {
  return { id: 'x', text, language: 'eng', source: 'test', licence: 'unknown' };
}

function replaced(text: string, step: Step = checkedPersonalDataStep(personalDataKinds, false)): string {
  const verdict = step.run(documentOf(text));
  assert.ok(!(verdict instanceof Promise) && 'keep' in verdict);
  return verdict.keep.text;
}

async function stepOf(settings: unknown): Promise<Step> {
  const step = await makeStep('pii', settings, { log: silentLog, seed: 28 });
  assert.ok(!isCorpusStep(step));
  return step;
}

/** What stands in braces must be found, and nothing else. */
function check(marker: string, texts: readonly string[]): void {
  for (const text of texts) {
    assert.equal(replaced(text.replace(/[{}]/g, '')), text.replace(/\{[^{}]*\}/g, `<${marker}-pii>`), text);
  }
}

test('e-mail addresses', () => {
  check('email', [
    'to {jane.doe@example.com}.',
    'mailto:{someone@example.com}?subject=hi',
    '?from={a.b@example.co.uk}&x=1',
    '{josé@müller.ch}, {info@xn--mller-kva.ch}, {user+tag@mail.example.org}!',
    'user {user@[192.0.2.1]} in brackets',
    '联系{me@example.com}吧',
    "'{q@example.io}'",
    '{jane [at] example [dot] com}; {bob(at)firma.de}; {max (AT) uni-bern.ch}; {x[at]y(dot)org}',
    'foo@bar and @handle and a@.com and x.@y.com and icon@2x.png and a@b.c',
    'look at (at) home; me at example dot com',
    `${'x'.repeat(65)}@example.com`,
    'to {"john doe"@example.com}, {"a.b"@example.org}; class="x"@example.com, a "b"@c and say "hi" @example.com',
    '邮箱{abc@例子.中国}谢谢 {mail@ドメイン.みんな} abc@例子谢谢。中国',
  ]);
});

test('IP addresses: hosts, and neither versions nor reserved ones', async () => {
  check('ip', [
    'host {8.8.8.8}, {93.184.216.34}:53, http://{93.184.216.34}/x, [{2a00:1450:400a:802::200e}]:443',
    '{2606:4700:4700::1111} and {2606:4700:0:0:0:0:0:1111}',
    'in examples: {192.0.2.7}, {203.0.113.9}, {2001:db8::1}',
    '192.168.1.1 127.0.0.1 10.0.0.9 224.0.0.1 ::1 fe80::1 fd12:3456::1',
    'version 101.2.3.4, v102.3.4.5, firmware 110.1.2.3, section 104.3.2.1, Chrome/120.0.60.99, >= 120.1.2.3',
    'dpkg (1.16.1.2) and OID 2.5.29.15, but {3.4.5.6} and ({93.184.216.34})',
    '"oracle-se": "11.2.0.4.v3", 4.3.2.1.in-addr.arpa, libfoo-104.2.3.4.tar.gz, __version__ = "103.5.0.1"',
    '999.1.1.1 and 1.2.3.256 and 100.2.3.4.5 and 100.02.3.4 and a100.2.3.4',
    'std::abs A::B 12:30:45 00:1b:44:11:3a:b7 dead:beef',
  ]);
  const all = await stepOf({ reservedAddresses: 'replace' });
  assert.equal(replaced('at 192.168.1.1 and fe80::1', all), 'at <ip-pii> and <ip-pii>');
});

test('IBANs of any country, with and without spaces', () => {
  check('iban', [
    '{CH93 0076 2011 6238 5295 7}, {DE89370400440532013000}; {GB82 WEST 1234 5698 7654 32}.',
    'IBAN:{XK051212012345678906} {NO9386011117947} {MT84MALT011000012345MTLCAST001S}',
    'CH94 0076 2011 6238 5295 7 and ZZ93 0076 2011 6238 5295 7 and DE8937040044053201300 and CH93 00762011 6238 5295 7',
    'XDE89370400440532013000 DE893704004405320130001',
  ]);
});

test('phones: international ones, groups of Switzerland, France and North America, others after a word', () => {
  check('phone', [
    'call {+41 44 668 18 00} or {+49 (0)30 901820}, {0041 44 668 18 00}, {+1 (415) 555-2671}, {+390612345678}',
    '{044 123 45 67}; {01 23 45 67 89}; {01.23.45.67.89}; {079/123/45/67}',
    '{(415) 555-2671} or {415-555-2671}, {1-800-555-0199}, {415.555.2671}; 123.456.7890, f(123) 456-7890, 415-555-26711',
    'Tel. {030/901820}, Telefonnummer: {0441234567}, phone no. {020 7946 0958}, fax {(044) 123 45 67}, ☎ {031 300 12 35}',
    'in 2024 1 234 567 people; 1 234 567 89 00; +5 +12345678; x+44 7911 123456; 100 000 000; 044123456; 0441234567',
    'mobile 2017-2022, Tel 12.05.2024, the cell has 1234567 parts; a phone of 2023, 1234567 were sold',
    'codes 0032 2044 0033 and 0039 0061; +0041 44; 2024-01-01 12:00:00; 3.14159265358979; 5+4412345678',
    '550e8400-e29b-41d4-a716-446655440000; ISBN 978-3-16-148410-0; 10.1000/182; 044 123 45 67 89',
    '{01 23 45 67 89} and 01 02 03 04 05',
  ]);
});

test('cards: in groups, or after a word', () => {
  check('card', [
    '{4111 1111 1111 1111}, {5500-0000-0000-0004}, {3782 822463 10005}; credit card: {4111111111111111}',
    '4111111111111111 and 4111 1111 1111 1112 and 1234 5678 9012 3452; 4110 4111 1111 1111 1111',
  ]);
});

test('national identifiers: by form and check, or after their word', () => {
  check('id', [
    '{756.9217.0769.85} and {7569217076985}, not 756.9217.0769.84',
    'PESEL: {44051401359}, but 44051401359',
    '{2 55 08 14 168 025 38} and {RSSMRA85T10A562S}, not RSSMRA85T10A562T',
    'DNI {12345678Z} and NIE: {X1234567L}, but 12345678Z',
    'HETU {131052-308T}; {19811228-9874}; BSN {111222333}; Personnummer {811228-9874}; CNP {1800101221144}',
    'Steuer-ID {36 574 261 809}; rijksregister {85.07.30-033.28}; OIB {33392005961}',
    '19811228-9875; 811228-9874; 36574261809',
  ]);
});

interface IdentifierCases {
  readonly cases: readonly (readonly [string, string, boolean])[];
}

test('checks of identifiers agree with those of python-stdnum', () => {
  const { cases } = goldenJson<IdentifierCases>('national-identifiers.json');
  assert.ok(cases.length > 150);
  for (const [kind, text, valid] of cases) {
    const plain = nationalIdentifiers.find((identifier) => identifier.kind === kind);
    const mine = plain
      ? plain.valid(text)
      : letteredIdentifiers.some((identifier) => {
          identifier.pattern.lastIndex = 0;
          return identifier.kind === kind && identifier.pattern.exec(text)?.[0] === text && identifier.valid(text);
        });
    assert.equal(mine, valid, `${kind} ${text}`);
  }
});

test('where belay and Apertus differ on purpose, on the golden cases', async () => {
  const { cases } = goldenJson<{ cases: readonly { text: string; output: string }[] }>('pii.json');
  const apertus = await stepOf({ mode: 'apertus' });
  const belay = await stepOf({});
  const differ: [string, string][] = [];
  for (const { text, output } of cases) {
    assert.equal(replaced(text, apertus), output);
    const checked = replaced(text, belay);
    if (checked !== output) differ.push([text, checked]);
  }
  assert.deepEqual(differ, goldenJson<{ differ: [string, string][] }>('pii-belay.json').differ);
});

test('kinds can be chosen; those that a mode lacks are refused', async () => {
  const text = 'a@example.com 756.9217.0769.85 +41 44 668 18 00';
  assert.equal(replaced(text, await stepOf({ kinds: ['phone'] })), 'a@example.com 756.9217.0769.85 <phone-pii>');
  assert.equal(replaced(text, await stepOf({ kinds: ['ch-ahv'] })), 'a@example.com <id-pii> +41 44 668 18 00');
  assert.equal(replaced('a@b.co 1.2.3.4', await stepOf({ mode: 'apertus', kinds: ['ip'] })), 'a@b.co <ip-pii>');
  await assert.rejects(stepOf({ mode: 'apertus', kinds: ['phone'] }), UserError);
  await assert.rejects(stepOf({ kinds: ['shoe-size'] }), UserError);
  assert.equal(definition.settings.parse({}).mode, 'belay');
});

test('notes hold counts by marker, and nothing that was found', () => {
  const verdict = checkedPersonalDataStep(personalDataKinds, false).run(
    documentOf('a@example.com, a@example.com, 756.9217.0769.85'),
  );
  assert.ok(!(verdict instanceof Promise) && 'keep' in verdict);
  assert.deepEqual(verdict.keep.notes, { pii: { email: 2, id: 1 } });
});

/** A valid IBAN of a country from its inner part. */
function ibanOf(country: string, inner: string): string {
  for (let key = 2; key < 99; key++) {
    const iban = `${country}${String(key).padStart(2, '0')}${inner}`;
    if (ibanChecks(iban)) return iban;
  }
  throw new Error('no key fits');
}

test('any made IBAN is found whole, and one with a digit changed is not', () => {
  const country = fc.constantFrom('CH', 'DE', 'FR', 'MT', 'NO', 'RU', 'VG');
  fc.assert(
    fc.property(
      country,
      fc.infiniteStream(fc.integer({ min: 0, max: 9 })),
      fc.boolean(),
      fc.nat(),
      (land, digits, spaced, at) => {
        const length = (ibanLength(land) as number) - 4;
        const iban = ibanOf(land, Array.from({ length }, () => digits.next().value as number).join(''));
        const written = spaced ? iban.replace(/(.{4})(?=.)/g, '$1 ') : iban;
        assert.equal(replaced(`to ${written}.`), 'to <iban-pii>.');
        const place = 4 + (at % length);
        const wrong = `${iban.slice(0, place)}${(Number(iban[place]) + 1) % 10}${iban.slice(place + 1)}`;
        assert.doesNotMatch(replaced(`to ${wrong}.`), /iban/);
      },
    ),
    { numRuns: 500 },
  );
});

test('what is found lies in the text, in order and apart; again over the result finds nothing more', () => {
  const piece = fc.constantFrom(
    ...[
      'a',
      'é',
      '.',
      '@',
      '+',
      '-',
      ' ',
      'co',
      'a@b.co',
      'b.co',
      '1',
      '0041',
      '44',
      '8.8.8.8',
      '::',
      '2606:',
      'CH93',
      '/',
    ],
    ...[
      '0076 2011 6238 5295 7',
      ' 1234',
      'X',
      '\n',
      'Tel. ',
      '(at)',
      '[dot]',
      '4111 1111 1111 1111',
      '756.9217.0769.85',
    ],
  );
  const scanner = new Scanner({ kinds: new Set(personalDataKinds), reservedAddresses: true });
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      const text = pieces.join('');
      let last = 0;
      for (const { start, end } of scanner.scan(text)) {
        assert.ok(start >= last && end > start && end <= text.length, JSON.stringify(text));
        last = end;
      }
    }),
    { numRuns: 20_000 },
  );
});

test('time grows with the text, not with its square', () => {
  const hostile: ((n: number) => string)[] = [
    (n) => 'a'.repeat(n),
    (n) => '1'.repeat(n),
    (n) => '@'.repeat(n),
    (n) => 'a.'.repeat(n / 2),
    (n) => 'a@b.'.repeat(n / 4),
    (n) => `x@${'a-'.repeat(n / 2)}`,
    (n) => '1.'.repeat(n / 2),
    (n) => '1 '.repeat(n / 2),
    (n) => '11-1 '.repeat(n / 5),
    (n) => 'a:'.repeat(n / 2),
    (n) => '::'.repeat(n / 2),
    (n) => '+1 '.repeat(n / 3),
    (n) => '(at)'.repeat(n / 4),
    (n) => 'a(at)b[dot]'.repeat(n / 11),
    (n) => 'CH93 0076 2011 6238 5295 '.repeat(n / 25),
    (n) => 'AAAAAA11A11A111'.repeat(n / 15),
    (n) => '4111 1111 1111 1112 '.repeat(n / 20),
    (n) => 'tel 1234567a '.repeat(n / 13),
    (n) => 'pesel pesel pesel 44051401358 '.repeat(n / 30),
    (n) => '0'.repeat(n),
    (n) => '00 11 '.repeat(n / 6),
  ];
  const scanner = new Scanner({ kinds: new Set(personalDataKinds), reservedAddresses: true });
  for (const make of hostile) {
    const text = make(600_000);
    const start = cpuMilliseconds();
    scanner.scan(text);
    const took = cpuMilliseconds() - start;
    assert.ok(took < 4000, `${text.slice(0, 20)}... took ${took.toFixed(0)} ms`);
  }
});
