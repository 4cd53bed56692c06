// Expressions of tokenizer.json files, which are Oniguruma's, as expressions that JavaScript runs.
//
// The same syntax means other things in the two: `\s`, `\w` and `\p{..}` follow other tables, `^` and `$` are ends of lines,
// `(?i:..)` knows the long s, `[[:alpha:]]` and `X++` do not exist. So the expression is parsed and written anew, with
// every class spelled out.
//
// Does not: know back references, conditions, \G, \K, \R or \X, or case folding beyond ASCII; those are refused by name.
import { UserError } from '../base/errors.ts';
import { errorText } from '../base/json.ts';
import { propertyClass, whiteSpaceClass, wordClass } from './unicode.ts';

/** A regular expression with the flags g and v that finds what Oniguruma finds. */
export function javascriptExpression(pattern: string): RegExp {
  try {
    return new RegExp(new Translation(pattern).whole(), 'gv');
  } catch (cause) {
    throw new UserError('an expression of this tokenizer.json is not supported', {
      found: `${pattern.slice(0, 400)} (${errorText(cause).slice(0, 400)})`,
      expected: 'an expression in the syntax of Oniguruma, without back references',
      cause,
    });
  }
}

/** The expression that matches a text and nothing else. */
export function literalExpression(text: string): RegExp {
  return new RegExp([...text].map((char) => literal(char.codePointAt(0) as number)).join(''), 'gv');
}

/** Thrown while parsing; its text says what is not supported. */
class Unsupported extends Error {}

const escapes: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, a: 7, e: 27 };
const notNewline = String.raw`[^\n]`;
/** What one of these letters means inside and outside of classes. */
const shorthand: Readonly<Record<string, string>> = {
  s: whiteSpaceClass,
  w: wordClass,
  d: propertyClass('digit') as string,
  h: propertyClass('xdigit') as string,
};
/** Of the pairs of letters that one character folds to: beside ASCII alone no more is needed. */
const folded = /ss|ff|fi|fl|st/i;

function literal(code: number): string {
  const char = String.fromCodePoint(code);
  return /[A-Za-z0-9]/.test(char) ? char : `\\u{${code.toString(16)}}`;
}

/** The characters that are this one without regard to case. */
function anyCase(code: number): number[] {
  if (code > 0x7f) throw new Unsupported('(?i) of characters beyond ASCII');
  const char = String.fromCharCode(code);
  if (!/[a-z]/i.test(char)) return [code];
  const codes = [char.toLowerCase().charCodeAt(0), char.toUpperCase().charCodeAt(0)];
  if (/s/i.test(char)) codes.push(0x17f);
  if (/k/i.test(char)) codes.push(0x212a);
  return codes;
}

class Translation {
  private readonly chars: readonly string[];
  private at = 0;
  private ignoreCase = false;
  private numAtomic = 0;
  /** Letters in a row without regard to case. */
  private run = '';

  constructor(pattern: string) {
    this.chars = [...pattern];
  }

  whole(): string {
    const out = this.alternatives();
    if (this.at < this.chars.length) throw new Unsupported(`a bracket that closes nothing at ${this.at}`);
    return out;
  }

  private peek(offset = 0): string {
    return this.chars[this.at + offset] ?? '';
  }

  private take(text: string): boolean {
    const length = [...text].length;
    if (this.chars.slice(this.at, this.at + length).join('') !== text) return false;
    this.at += length;
    return true;
  }

  private alternatives(): string {
    let out = '';
    this.run = '';
    while (this.at < this.chars.length && this.peek() !== ')') {
      if (this.take('|')) {
        out += '|';
        this.run = '';
      } else out += this.quantified(this.atom());
    }
    return out;
  }

  private quantified(atom: string): string {
    let quantifier = '';
    const first = this.peek();
    if (first !== '' && '*+?'.includes(first)) {
      quantifier = first;
      this.at++;
    } else if (first === '{') {
      const found = /^\{(\d*)(,?)(\d*)\}/.exec(this.chars.slice(this.at).join(''));
      if (found && (found[1] !== '' || found[3] !== '')) {
        quantifier = `{${found[1] || '0'}${found[2]}${found[3]}}`;
        this.at += found[0].length;
      }
    }
    if (quantifier === '') return atom;
    this.run = '';
    if (this.take('?')) return `${atom}${quantifier}?`;
    if (this.peek() === '+' && !quantifier.startsWith('{')) {
      this.at++;
      return this.atomic(`${atom}${quantifier}`);
    }
    const next = this.peek();
    if (next !== '' && '*+?'.includes(next)) throw new Unsupported(`a quantifier after ${quantifier}`);
    return `${atom}${quantifier}`;
  }

  /** What has matched is not given back. */
  private atomic(source: string): string {
    const name = `atomic${this.numAtomic++}`;
    return `(?:(?=(?<${name}>${source}))\\k<${name}>)`;
  }

  private atom(): string {
    const char = this.peek();
    const code = char.codePointAt(0) as number;
    this.at++;
    switch (char) {
      case '.':
        return notNewline;
      case '^':
        return String.raw`(?<![^\n])`;
      case '$':
        return String.raw`(?![^\n])`;
      case '[':
        return this.characterClass();
      case '(':
        return this.group();
      case '\\':
        return this.escaped();
      case '*':
      case '+':
      case '?':
        throw new Unsupported(`${char} that repeats nothing`);
      default:
        return this.literal(code);
    }
  }

  private literal(code: number): string {
    if (!this.ignoreCase) return literal(code);
    this.run += String.fromCodePoint(code);
    if (folded.test(this.run)) throw new Unsupported(`(?i) of ${this.run}`);
    const codes = anyCase(code);
    return codes.length === 1 ? literal(code) : `[${codes.map(literal).join('')}]`;
  }

  private group(): string {
    this.run = '';
    const inside = (open: string, ignoreCase = this.ignoreCase): string => {
      const before = this.ignoreCase;
      this.ignoreCase = ignoreCase;
      const out = this.alternatives();
      this.ignoreCase = before;
      this.run = '';
      if (!this.take(')')) throw new Unsupported('a group without an end');
      return `${open}${out})`;
    };
    if (!this.take('?')) return inside('(?:');
    if (this.take('#')) {
      while (this.at < this.chars.length && this.peek() !== ')') this.at++;
      if (!this.take(')')) throw new Unsupported('a comment without an end');
      return '';
    }
    for (const open of [':', '=', '!', '<=', '<!']) if (this.take(open)) return inside(`(?${open}`);
    if (this.take('>')) return this.atomic(inside('(?:'));
    if (this.take('i:')) return inside('(?:', true);
    if (this.take('-i:')) return inside('(?:', false);
    // Elsewhere the two engines that files are written for do not agree on how far it reaches.
    if (this.at === 2 && this.take('i)')) {
      this.ignoreCase = true;
      return '';
    }
    const name = /^<(\w+)>/.exec(this.chars.slice(this.at).join(''));
    if (name) {
      this.at += name[0].length;
      return inside('(?:');
    }
    throw new Unsupported(`the group (?${this.peek()}`);
  }

  /** A set that stands for itself: \s, \p{..} and their opposites; undefined where the escape is a character. */
  private set(char: string): string | undefined {
    const lower = char.toLowerCase();
    if (Object.hasOwn(shorthand, lower)) {
      return char === lower ? shorthand[lower] : `[^${shorthand[lower]}]`;
    }
    if (lower !== 'p') return undefined;
    if (!this.take('{')) throw new Unsupported(`\\${char} without {`);
    const end = this.chars.indexOf('}', this.at);
    if (end < 0) throw new Unsupported(`\\${char}{ without }`);
    let name = this.chars.slice(this.at, end).join('');
    this.at = end + 1;
    const isNegated = name.startsWith('^');
    if (isNegated) name = name.slice(1);
    const found = propertyClass(name);
    if (found === undefined) throw new Unsupported(`the property ${name}`);
    return isNegated !== (char === 'P') ? `[^${found}]` : found;
  }

  /** The code of an escaped character; `char` comes after the backslash and is taken. */
  private code(char: string): number {
    if (Object.hasOwn(escapes, char)) return escapes[char] as number;
    if (char === 'x' || char === 'u') {
      const rest = this.chars.slice(this.at, this.at + 12).join('');
      const found = char === 'x' ? /^(?:\{([\da-f]{1,8})\}|([\da-f]{1,2}))/i.exec(rest) : /^([\da-f]{4})/i.exec(rest);
      if (!found) throw new Unsupported(`\\${char} without digits`);
      this.at += found[0].length;
      return Number.parseInt(found[1] ?? (found[2] as string), 16);
    }
    if (char === '0' && !/\d/.test(this.peek())) return 0;
    if (char === '' || /[A-Za-z0-9]/.test(char)) throw new Unsupported(`\\${char}`);
    return char.codePointAt(0) as number;
  }

  private escaped(): string {
    const char = this.peek();
    this.at++;
    const set = this.set(char);
    if (set !== undefined) return set;
    switch (char) {
      case 'A':
        return String.raw`(?<!\p{Any})`;
      case 'z':
        return String.raw`(?!\p{Any})`;
      case 'b':
        return `(?:(?<=${wordClass})(?!${wordClass})|(?<!${wordClass})(?=${wordClass}))`;
      case 'B':
        return `(?:(?<=${wordClass})(?=${wordClass})|(?<!${wordClass})(?!${wordClass}))`;
      default:
        return this.literal(this.code(char));
    }
  }

  /** After `[`. */
  private characterClass(): string {
    const isNegated = this.take('^');
    const operands: string[] = [];
    let items = '';
    let isFirst = true;
    for (;;) {
      if (this.at >= this.chars.length) throw new Unsupported('a class without an end');
      if (!isFirst && this.take(']')) break;
      isFirst = false;
      if (this.take('&&')) {
        operands.push(`[${items}]`);
        items = '';
      } else items += this.classItem();
    }
    operands.push(`[${items}]`);
    const inside = operands.length === 1 ? items : operands.join('&&');
    return `[${isNegated ? '^' : ''}${inside}]`;
  }

  private classItem(): string {
    const posix = /^\[:(\^?)(\w+):\]/.exec(this.chars.slice(this.at, this.at + 16).join(''));
    if (posix) {
      this.at += posix[0].length;
      const name = posix[2] as string;
      // Here, and only here, symbols are punctuation.
      const set = name === 'punct' ? `[${propertyClass('P')}${propertyClass('S')}]` : posixClass(name);
      return posix[1] === '^' ? `[^${set}]` : set;
    }
    if (this.take('[')) return this.characterClass();
    const from = this.classCharacter();
    if (typeof from === 'string') return from;
    const isRange = this.peek() === '-' && this.peek(1) !== ']' && this.peek(1) !== '' && this.peek(1) !== '[';
    if (!isRange) return this.ignoreCase ? anyCase(from).map(literal).join('') : literal(from);
    this.at++;
    const to = this.classCharacter();
    // `a-\d`: the hyphen is one.
    if (typeof to === 'string') return `${literal(from)}${literal(0x2d)}${to}`;
    if (!this.ignoreCase) return `${literal(from)}-${literal(to)}`;
    if (to > 0x7f) throw new Unsupported('(?i) of characters beyond ASCII');
    let out = '';
    for (let code = from; code <= to; code++) out += anyCase(code).map(literal).join('');
    return out;
  }

  private classCharacter(): string | number {
    const char = this.peek();
    this.at++;
    if (char !== '\\') return char.codePointAt(0) as number;
    const escaped = this.peek();
    this.at++;
    return this.set(escaped) ?? (escaped === 'b' ? 8 : this.code(escaped));
  }
}

function posixClass(name: string): string {
  const set = propertyClass(name);
  if (set === undefined) throw new Unsupported(`[:${name}:]`);
  return set;
}
