// JSON numbers as Python writes them. Chat templates are programs for Python, where 1.0 stays 1.0, and integers have as many
// digits as they need; JavaScript reads both as a double, and forgets how they were written.
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

const numbersAndStrings = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Parses JSON as JSON.parse does, with a PythonNumber where the two languages differ. Throws what JSON.parse does. */
export function parsePythonJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  let differs = false;
  // No string begins with it, however it was spelled.
  const plain = JSON.stringify(value);
  let quote = '"\u{f0000}';
  while (plain.includes(quote)) quote += '\u{f0000}';
  const marked = text.replace(numbersAndStrings, (token) => {
    if (token.startsWith('"')) return token;
    const python = pythonNumber(token);
    if (python === JSON.stringify(Number(token))) return token;
    differs = true;
    return `${quote}${python}"`;
  });
  if (!differs) return value;
  const mark = quote.slice(1);
  return JSON.parse(marked, (_, field: unknown) =>
    typeof field === 'string' && field.startsWith(mark) ? new PythonNumber(field.slice(mark.length)) : field,
  );
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
