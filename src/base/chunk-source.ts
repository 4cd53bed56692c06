// What readers of compressed files share: the run of bytes they take from, and the pieces they give.
//
// Does not: decompress.

/** `offset` is that of the part in the compressed file. */
export interface Start {
  readonly mark: 'start';
  readonly offset: number;
}

/** The part at `offset` is damaged; what follows belongs to another one. */
export interface Damage {
  readonly mark: 'damage';
  readonly offset: number;
  readonly reason: string;
}

export type Piece = Buffer | Start | Damage;

/** Chunks of a file seen as one run of bytes. */
export class ChunkSource {
  /** Bytes taken so far. */
  offset = 0;
  private readonly chunks: AsyncIterator<Buffer>;
  private held: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.chunks = chunks[Symbol.asyncIterator]();
  }

  /** Makes at least `count` bytes available; false when the file ends before. */
  async fill(count: number): Promise<boolean> {
    if (this.held.length >= count) return true;
    const parts = [this.held];
    let length = this.held.length;
    while (length < count) {
      const next = await this.chunks.next();
      if (next.done) break;
      parts.push(next.value);
      length += next.value.length;
    }
    this.held = parts.length === 2 && parts[0]?.length === 0 ? (parts[1] as Buffer) : Buffer.concat(parts, length);
    return length >= count;
  }

  /** Up to `count` of the bytes at hand, not consumed. */
  peek(count: number): Buffer {
    return this.held.subarray(0, count);
  }

  take(count: number): Buffer {
    const bytes = this.held.subarray(0, count);
    this.held = this.held.subarray(count);
    this.offset += bytes.length;
    return bytes;
  }

  /** Lets go of the file. */
  async close(): Promise<void> {
    await this.chunks.return?.();
  }
}
