// JSON as Python reads it. Chat templates are programs for Python, where 1.0 stays 1.0, integers have as many digits as they
// need, and the keys of an object stay in their order; JavaScript reads numbers as doubles, and puts keys like "10" first.
//
// Does not: calculate.

/** A number of a JSON file that JavaScript would not write as Python does. */
export class PythonNumber {
  /** As `json.dumps` writes it. */
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  toJSON(): number {
    return Number(this.text);
  }
}

const tokens = /"(?:[^"\\]|\\.)*"(?:\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** A key that JavaScript takes for an index, and puts before the others. */
const index = /^(?:0|[1-9]\d{0,9})$/;

/**
 * Parses JSON as JSON.parse does, with a PythonNumber and `inOrder` where the two languages differ. Throws what JSON.parse does.
 */
export function parsePythonJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  let differs = false;
  // No string begins with it, however it was spelled.
  const plain = JSON.stringify(value);
  let mark = '\u{f0000}';
  while (plain.includes(`"${mark}`)) mark += '\u{f0000}';
  const marked = text.replace(tokens, (token) => {
    if (token.endsWith(':')) {
      const key = JSON.parse(token.slice(0, token.lastIndexOf('"') + 1)) as string;
      if (!index.test(key)) return token;
      differs = true;
      return `"${mark}${key}":`;
    }
    if (token.startsWith('"')) return token;
    const python = pythonNumber(token);
    if (python === JSON.stringify(Number(token))) return token;
    differs = true;
    return `"${mark}${python}"`;
  });
  if (!differs) return value;
  return JSON.parse(marked, (_, field: unknown) => {
    if (typeof field === 'string') return field.startsWith(mark) ? new PythonNumber(field.slice(mark.length)) : field;
    if (field === null || typeof field !== 'object' || Array.isArray(field)) return field;
    const entries = Object.entries(field);
    if (!entries.some(([key]) => key.startsWith(mark))) return field;
    return inOrder(entries.map(([key, own]) => [key.startsWith(mark) ? key.slice(mark.length) : key, own]));
  });
}

/** An object whose keys are listed in the order of its entries. */
export function inOrder<T>(entries: readonly (readonly [string, T])[]): Record<string, T> {
  const object = Object.fromEntries(entries);
  const keys = [...new Set(entries.map(([key]) => key))];
  if (Object.keys(object).every((key, i) => key === keys[i])) return object;
  return new Proxy(object, { ownKeys: () => keys });
}

/** A JSON number as Python reads and writes it: `json.dumps(json.loads(token))`. */
export function pythonNumber(token: string): string {
  if (/^-?\d+$/.test(token)) return BigInt(token).toString();
  return pythonFloat(Number(token));
}

/** `repr` of a double: the fewest digits that give it back, with an exponent below 1e-4 and from 1e16 on. */
function pythonFloat(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const [mantissa = '', power = '0'] = Math.abs(value).toExponential().split('e');
  const digits = mantissa.replace('.', '');
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : '';
    const size = String(Math.abs(exponent)).padStart(2, '0');
    return `${sign}${digits[0]}${fraction}e${exponent < 0 ? '-' : '+'}${size}`;
  }
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0');
  return `${sign}${whole}.${digits.slice(exponent + 1) || '0'}`;
}
