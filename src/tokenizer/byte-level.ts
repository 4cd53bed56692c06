// The byte-level alphabet of GPT-2: a printable character for each of the 256 bytes, used in tokenizer.json so that
// token bytes can stand in JSON text.
//
// Source: openai/gpt-2, encoder.py (bytes_to_unicode): printable Latin-1 bytes stand for themselves, the others take
// the code points from 256 on, in order.
//
// Does not: decode UTF-8; a token may end in the middle of a character.

const byteToCode = new Uint16Array(256);
const codeToByte = new Int16Array(512).fill(-1);
let next = 256;
for (let byte = 0; byte < 256; byte++) {
  const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
  const code = printable ? byte : next++;
  byteToCode[byte] = code;
  codeToByte[code] = byte;
}

/** The 256 bytes in the order of their characters' code points: the order of byte tokens in a trained vocabulary. */
export const bytesInAlphabetOrder: readonly number[] = Array.from({ length: 256 }, (_, byte) => byte).sort(
  (a, b) => (byteToCode[a] as number) - (byteToCode[b] as number),
);

/** Bytes as byte-level characters. */
export function bytesToAlphabet(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byteToCode[byte] as number);
  return text;
}

/** The byte that a code point of the alphabet stands for, or -1. */
export function alphabetCodeToByte(code: number): number {
  return codeToByte[code] ?? -1;
}

/** The bytes of a byte-level string, or undefined when a character is not in the alphabet. */
export function alphabetToBytes(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = alphabetCodeToByte(text.charCodeAt(i));
    if (byte < 0) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}
