// The bytes of the tokens of a vocabulary, by id, in one array: hundreds of thousands of small ones would cost seconds.
//
// Does not: find ids; vocabularies are maps.
import { alphabetCodeToByte } from './byte-level.ts';

export class TokenTable {
  /** Ids are below this. */
  readonly size: number;
  private readonly pool: Uint8Array;
  /** [size + 1] */
  private readonly starts: Int32Array;

  private constructor(pool: Uint8Array, starts: Int32Array) {
    this.pool = pool;
    this.starts = starts;
    this.size = starts.length - 1;
  }

  /** Of tokens as a tokenizer.json spells them and added ones as they are written, and which ids are pieces of bytes. */
  static of(
    vocabulary: ReadonlyMap<string, number>,
    added: ReadonlyMap<number, string>,
    size: number,
  ): { readonly tokens: TokenTable; readonly pieceIds: Int32Array } {
    const spelled: (string | undefined)[] = new Array(size).fill(undefined);
    let room = 0;
    for (const [token, id] of vocabulary) spelled[id] = token;
    for (const [id, token] of added) spelled[id] = token;
    for (const token of spelled) room += 3 * (token?.length ?? 0);
    const pool = Buffer.allocUnsafe(room);
    const starts = new Int32Array(size + 1);
    const pieceIds = new Int32Array(size);
    let numPieces = 0;
    let at = 0;
    for (let id = 0; id < size; id++) {
      const token = spelled[id] ?? '';
      const end = added.has(id) ? -1 : writeSpelled(token, pool, at);
      if (end > at) pieceIds[numPieces++] = id;
      at = end < 0 ? at + pool.write(token, at, 'utf8') : end;
      starts[id + 1] = at;
    }
    return {
      tokens: new TokenTable(Uint8Array.from(pool.subarray(0, at)), starts),
      pieceIds: pieceIds.slice(0, numPieces),
    };
  }

  /** The bytes of a token: a view. */
  bytes(id: number): Uint8Array {
    return this.pool.subarray(this.starts[id], this.starts[id + 1]);
  }

  length(id: number): number {
    return (this.starts[id + 1] as number) - (this.starts[id] as number);
  }

  /** The bytes of tokens one after the other, and where each ends. */
  joined(ids: Int32Array): { readonly bytes: Uint8Array; readonly ends: Int32Array } {
    const ends = new Int32Array(ids.length);
    let end = 0;
    ids.forEach((id, i) => {
      end += this.length(id);
      ends[i] = end;
    });
    const bytes = new Uint8Array(end);
    let at = 0;
    for (const id of ids) at = this.copy(id, bytes, at);
    return { bytes, ends };
  }

  /** Writes the bytes of a token; where they end. */
  copy(id: number, into: Uint8Array, start: number): number {
    const end = this.starts[id + 1] as number;
    let at = start;
    for (let from = this.starts[id] as number; from < end; from++) into[at++] = this.pool[from] as number;
    return at;
  }
}

/** Writes the bytes of a byte-level token; where they end, or -1 where a character is not in the alphabet. */
function writeSpelled(token: string, pool: Uint8Array, start: number): number {
  let at = start;
  for (let i = 0; i < token.length; i++) {
    const byte = alphabetCodeToByte(token.charCodeAt(i));
    if (byte < 0) return -1;
    pool[at++] = byte;
  }
  return at;
}
