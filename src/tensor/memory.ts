// Memory of tensors: blocks that are handed out, given back and handed out again.
//
// A training step asks for the same sizes every time, so from the second step on nothing is allocated and no page
// is touched for the first time: page faults cost more than many kernels here. Blocks are kept by size class (an
// eighth of a power of two), so odd sizes, as in generation, share blocks too.
//
// Does not: know shapes or lifetimes; tensor.ts does.
import type { Backend } from './backend.ts';

/** A piece of memory; `buffer` has at least `bytes`, its content is whatever was there before. */
export interface Block {
  readonly buffer: ArrayBuffer;
  readonly bytes: number;
}

export class Memory {
  /** Bytes handed out and not yet given back. */
  liveBytes = 0;
  /** Highest `liveBytes` so far. */
  peakBytes = 0;
  /** Bytes taken from the system. */
  reservedBytes = 0;
  private readonly backend: Backend;
  private readonly free = new Map<number, Block[]>();

  constructor(backend: Backend) {
    this.backend = backend;
  }

  take(bytes: number): Block {
    const size = sizeClass(bytes);
    const block = this.free.get(size)?.pop() ?? this.reserve(size);
    this.liveBytes += block.bytes;
    if (this.liveBytes > this.peakBytes) this.peakBytes = this.liveBytes;
    return block;
  }

  give(block: Block): void {
    this.liveBytes -= block.bytes;
    const blocks = this.free.get(block.bytes);
    if (blocks) blocks.push(block);
    else this.free.set(block.bytes, [block]);
  }

  /** Lets go of all blocks that are not handed out. */
  trim(): void {
    for (const [bytes, blocks] of this.free) this.reservedBytes -= bytes * blocks.length;
    this.free.clear();
  }

  private reserve(bytes: number): Block {
    this.reservedBytes += bytes;
    return { buffer: this.backend.allocate(bytes), bytes };
  }
}

/** The next size of the form (8..15) * 2^k bytes, at least 64. */
function sizeClass(bytes: number): number {
  if (bytes <= 64) return 64;
  const step = 2 ** Math.max(6, Math.floor(Math.log2(bytes)) - 3);
  return Math.ceil(bytes / step) * step;
}
