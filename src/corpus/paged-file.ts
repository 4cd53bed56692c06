// Random access to a large file in bounded memory: pages are read on demand and the least recently used ones dropped.
//
// Stands in for a memory map, which Node does not have. Reads are synchronous: a batch needs a few pages, and those
// that follow each other are in the page cache of the system.
//
// Does not: write.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { UserError } from '../base/errors.ts';
import { errorText } from '../base/json.ts';

const pageBytes = 1 << 16;
const defaultPages = 64;

export class PagedFile {
  readonly path: string;
  /** Size when opened. */
  readonly bytes: number;
  private readonly handle: number;
  private readonly maxPages: number;
  /** Page number -> content, least recently used first. */
  private readonly pages = new Map<number, Buffer>();
  private lastNumber = -1;
  private lastPage: Buffer = Buffer.alloc(0);

  constructor(path: string, maxPages = defaultPages) {
    this.path = path;
    this.maxPages = maxPages;
    try {
      this.handle = openSync(path, 'r');
    } catch (cause) {
      throw new UserError(`cannot open ${path}`, { found: errorText(cause), cause });
    }
    this.bytes = fstatSync(this.handle).size;
  }

  /** Copies bytes [at, at + into.length) of the file. */
  read(at: number, into: Uint8Array): void {
    if (at < 0 || at + into.length > this.bytes) {
      throw new Error(`PagedFile: bytes [${at}, ${at + into.length}) are not in ${this.path} (${this.bytes} bytes)`);
    }
    let done = 0;
    while (done < into.length) {
      const page = this.page(Math.floor((at + done) / pageBytes));
      const offset = (at + done) % pageBytes;
      const count = Math.min(into.length - done, page.length - offset);
      into.set(page.subarray(offset, offset + count), done);
      done += count;
    }
  }

  close(): void {
    closeSync(this.handle);
    this.pages.clear();
    this.lastNumber = -1;
  }

  private page(number: number): Buffer {
    if (number === this.lastNumber) return this.lastPage;
    let page = this.pages.get(number);
    if (page) {
      this.pages.delete(number);
    } else {
      const start = number * pageBytes;
      page = Buffer.allocUnsafeSlow(Math.min(pageBytes, this.bytes - start));
      for (let done = 0; done < page.length; ) {
        const read = readSync(this.handle, page, done, page.length - done, start + done);
        if (read === 0) throw new UserError(`${this.path} became shorter while it was read`);
        done += read;
      }
      if (this.pages.size >= this.maxPages) this.pages.delete(this.pages.keys().next().value as number);
    }
    this.pages.set(number, page);
    this.lastNumber = number;
    this.lastPage = page;
    return page;
  }
}
