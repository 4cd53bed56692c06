// Random access to a large file in bounded memory: small reads go through a few recently used pages, large ones
// straight to their destination.
//
// Stands in for a memory map, which Node does not have. Reads are synchronous: a batch needs a few pages, and those
// that follow each other are in the page cache of the system. Pages are small, because the windows of training lie
// anywhere in a file and what a page holds beyond them is read for nothing.
//
// Does not: write.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { UserError } from '../base/errors.ts';
import { errorText } from '../base/json.ts';

const pageBytes = 4096;
const defaultPages = 512;
const twoTo32 = 4294967296;

export class PagedFile {
  readonly path: string;
  /** Size when opened. */
  readonly bytes: number;
  private readonly handle: number;
  /** [maxPages * pageBytes] at most: the pages, one after another. */
  private readonly slab: Buffer;
  private readonly maxPages: number;
  /** Page number -> slot of the slab, least recently used first. */
  private readonly slots = new Map<number, number>();
  private lastNumber = -1;
  private lastSlot = 0;
  private free: number | undefined;
  private readonly small = Buffer.alloc(8);

  /** Throws a UserError where the path cannot be opened or is not a file. */
  constructor(path: string, maxPages = defaultPages) {
    this.path = path;
    this.maxPages = maxPages;
    try {
      this.handle = openSync(path, 'r');
    } catch (cause) {
      throw new UserError(`cannot open ${path}`, { found: errorText(cause), expected: 'a file', cause });
    }
    const stats = fstatSync(this.handle);
    if (!stats.isFile()) {
      closeSync(this.handle);
      throw new UserError(`cannot read ${path}`, { found: 'a folder or a device', expected: 'a file' });
    }
    this.bytes = stats.size;
    const pages = Math.min(maxPages, Math.ceil(stats.size / pageBytes));
    this.slab = Buffer.allocUnsafeSlow(pages * pageBytes);
  }

  /** Copies bytes [at, at + into.length) of the file. */
  read(at: number, into: Uint8Array): void {
    if (!(at >= 0 && at + into.length <= this.bytes)) {
      throw new Error(`PagedFile: bytes [${at}, ${at + into.length}) are not in ${this.path} (${this.bytes} bytes)`);
    }
    if (into.length >= pageBytes) {
      this.readFile(at, into);
      return;
    }
    for (let done = 0; done < into.length; ) {
      const number = Math.floor((at + done) / pageBytes);
      const offset = at + done - number * pageBytes;
      const count = Math.min(into.length - done, pageBytes - offset);
      const start = this.page(number) + offset;
      into.set(this.slab.subarray(start, start + count), done);
      done += count;
    }
  }

  /** The little-endian signed 16-bit number at a byte. */
  int16(at: number): number {
    const start = this.within(at, 2);
    return start < 0 ? this.small.readInt16LE(0) : this.slab.readInt16LE(start);
  }

  /** The little-endian signed 32-bit number at a byte. */
  int32(at: number): number {
    const start = this.within(at, 4);
    return start < 0 ? this.small.readInt32LE(0) : this.slab.readInt32LE(start);
  }

  /** The little-endian signed 64-bit number at a byte, rounded to a double beyond 2^53. */
  int64(at: number): number {
    const start = this.within(at, 8);
    const from = start < 0 ? this.small : this.slab;
    const low = start < 0 ? 0 : start;
    return from.readInt32LE(low + 4) * twoTo32 + from.readUInt32LE(low);
  }

  close(): void {
    closeSync(this.handle);
    this.slots.clear();
    this.lastNumber = -1;
  }

  /** Where a number of a few bytes stands in the slab; -1 where it crosses pages and was copied to `small`. */
  private within(at: number, size: number): number {
    const number = Math.floor(at / pageBytes);
    const offset = at - number * pageBytes;
    if (offset + size <= pageBytes && at >= 0 && at + size <= this.bytes) return this.page(number) + offset;
    this.read(at, this.small.subarray(0, size));
    return -1;
  }

  /** Where a page begins in the slab. */
  private page(number: number): number {
    if (number === this.lastNumber) return this.lastSlot * pageBytes;
    let slot = this.slots.get(number);
    if (slot !== undefined) {
      this.slots.delete(number);
    } else {
      slot = this.free ?? this.takeSlot();
      // Kept for the next page should reading fail.
      this.free = slot;
      const start = number * pageBytes;
      const length = Math.min(pageBytes, this.bytes - start);
      this.lastNumber = -1;
      this.readFile(start, this.slab.subarray(slot * pageBytes, slot * pageBytes + length));
      this.free = undefined;
    }
    this.slots.set(number, slot);
    this.lastNumber = number;
    this.lastSlot = slot;
    return slot * pageBytes;
  }

  /** A slot that was never used, or the one of the least recently used page, which is dropped. */
  private takeSlot(): number {
    if (this.slots.size < this.maxPages) return this.slots.size;
    const [oldest] = this.slots;
    const [number, slot] = oldest as [number, number];
    this.slots.delete(number);
    return slot;
  }

  private readFile(at: number, into: Uint8Array): void {
    // One call reads at most 2 GiB.
    for (let done = 0; done < into.length; ) {
      const read = readSync(this.handle, into, done, Math.min(into.length - done, 1 << 30), at + done);
      if (read === 0) throw new UserError(`${this.path} became shorter while it was read`);
      done += read;
    }
  }
}
