// The script of a text: the Unicode script that most of its letters belong to, as an ISO 15924 code.
//
// Han characters with kana are Japanese (`Jpan`); han alone is `Hani` and hangul `Hang`, as Unicode names them. Which
// letter is of which script is what the running node knows; later Unicodes add letters and change none.
//
// Does not: know which language is written in which script.

/** Script codes that Unicode has letters of; a node that lacks one leaves it out. */
const codes =
  `Latn Cyrl Grek Arab Hebr Deva Beng Guru Gujr Orya Taml Telu Knda Mlym Sinh Thai Laoo Tibt Mymr Geor Armn Ethi Khmr Mong
  Hang Hani Hira Kana Bopo Cher Cans Ogam Runr Tglg Hano Buhd Tagb Limb Tale Talu Linb Ugar Shaw Osma Cprt Bugi Copt Glag Tfng
  Sylo Xpeo Khar Bali Xsux Phnx Phag Nkoo Sund Lepc Olck Vaii Saur Kali Rjng Lyci Cari Lydi Cham Lana Tavt Avst Egyp Samr Lisu
  Bamu Java Mtei Armi Sarb Prti Phli Orkh Kthi Batk Brah Mand Cakm Merc Mero Plrd Shrd Sora Takr Aghb Bass Dupl Elba Gran Khoj
  Sind Lina Mahj Mani Mend Modi Mroo Nbat Narb Perm Hmng Palm Pauc Phlp Sidd Tirh Wara Ahom Hluw Hatr Mult Hung Sgnw Adlm Bhks
  Marc Newa Osge Tang Gonm Nshu Soyo Zanb Dogr Gong Rohg Maka Medf Sogd Sogo Elym Nand Hmnp Wcho Chrs Diak Kits Yezi Cpmn Ougr
  Tnsa Toto Vith Kawi Nagm Syrc Thaa Yiii Goth Ital Dsrt Runr`
    .split(/\s+/)
    .filter((code, i, all) => all.indexOf(code) === i);

const [han, hiragana, katakana, bopomofo] = ['Hani', 'Hira', 'Kana', 'Bopo'].map((code) => codes.indexOf(code) + 1) as [
  number,
  number,
  number,
  number,
];
/** Kana among han and kana from which a text is Japanese. */
const minKana = 0.05;

/** The number of its script and 1 by code point, 0 for what is no letter or of no known script; made when first asked for. */
let table: Uint8Array | undefined;

function makeTable(): Uint8Array {
  const made = new Uint8Array(0x32400);
  const patterns = codes.map((code) => {
    try {
      return new RegExp(`\\p{Script=${code}}`, 'u');
    } catch {
      return undefined;
    }
  });
  let last = 0;
  for (let point = 0x41; point < made.length; point++) {
    const letter = String.fromCodePoint(point);
    if (!/\p{L}/u.test(letter)) continue;
    // Neighbours are mostly of one script.
    if (!patterns[last]?.test(letter)) last = patterns.findIndex((pattern) => pattern?.test(letter));
    if (last >= 0) made[point] = last + 1;
    else last = 0;
  }
  return made;
}

export interface ScriptOfText {
  /** ISO 15924; `Zyyy` where there is no letter of a known script. */
  readonly script: string;
  /** Its part of the letters, 0 to 1. */
  readonly share: number;
}

/** The script of most letters among the first `maxUnits` of a text. */
export function scriptOf(text: string, maxUnits = text.length): ScriptOfText {
  table ??= makeTable();
  const counts = new Uint32Array(codes.length + 1);
  const end = Math.min(text.length, maxUnits);
  for (let i = 0; i < end; i++) {
    let point = text.charCodeAt(i);
    if (point >= 0xd800 && point < 0xdc00 && i + 1 < text.length) {
      const low = text.charCodeAt(i + 1);
      if (low >= 0xdc00 && low < 0xe000) {
        point = ((point - 0xd800) << 10) + low - 0xdc00 + 0x10000;
        i++;
      }
    }
    if (point < table.length) {
      const script = table[point] as number;
      counts[script] = (counts[script] as number) + 1;
    }
  }
  counts[0] = 0;
  const letters = counts.reduce((sum, count) => sum + count, 0);
  if (letters === 0) return { script: 'Zyyy', share: 0 };
  const kana = (counts[hiragana] as number) + (counts[katakana] as number);
  const japanese = kana + (counts[han] as number);
  if (kana > 0 && kana >= minKana * japanese) {
    counts[han] = japanese;
    counts[hiragana] = 0;
    counts[katakana] = 0;
  } else {
    counts[han] = (counts[han] as number) + (counts[bopomofo] as number);
    counts[bopomofo] = 0;
  }
  const most = counts.reduce((best, count, script) => (count > (counts[best] as number) ? script : best), 0);
  const script = most === han && kana >= minKana * japanese && kana > 0 ? 'Jpan' : (codes[most - 1] as string);
  return { script, share: (counts[most] as number) / letters };
}
