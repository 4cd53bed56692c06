// A Group over the message layer of native/comm/, whatever its transport.
//
// The memory of a message belongs to the progress thread until it ended: this object refers to the arrays so long, and
// closing the native group, which blocks until that thread is gone, is what ends the rest.
//
// Does not: open connections (tcp-group.ts, mpi-group.ts).
import { nativeLibrary, type NativeModule } from '../base/native.ts';
import { firstOwnTag, type Group, LostPeer, type Transfer } from './messages.ts';

const ownTags = { lengths: firstOwnTag, parts: firstOwnTag + 1, texts: firstOwnTag + 2 } as const;

type Data = Float32Array | Uint8Array;

export class NativeGroup implements Group {
  readonly rank: number;
  readonly world: number;
  readonly hosts: string[];
  protected readonly module: NativeModule;
  /** Number of the native group; undefined once closed. */
  protected id: number | undefined;
  readonly #pending = new Map<number, Data>();

  /** `hosts` may be filled in later; LostPeer quotes it. */
  constructor(module: NativeModule, id: number, rank: number, world: number, hosts: string[]) {
    this.module = module;
    this.id = id;
    this.rank = rank;
    this.world = world;
    this.hosts = hosts;
  }

  send(to: number, tag: number, data: Data): Transfer {
    return this.post(true, to, userTag(tag), data);
  }

  receive(from: number, tag: number, data: Data): Transfer {
    return this.post(false, from, userTag(tag), data);
  }

  wait(transfers: readonly Transfer[]): void {
    this.#waitFor(transfers, -1);
  }

  allGather(mine: Uint8Array): Uint8Array[] {
    const others = this.others();
    const length = new Uint8Array(new Float64Array([mine.byteLength]).buffer);
    const sends = others.flatMap((peer) => [
      this.post(true, peer, ownTags.lengths, length),
      ...(mine.byteLength > 0 ? [this.post(true, peer, ownTags.parts, mine)] : []),
    ]);
    const lengths = new Float64Array(this.world);
    this.wait(
      others.map((peer) => this.post(false, peer, ownTags.lengths, new Uint8Array(lengths.buffer, peer * 8, 8))),
    );
    const parts = Array.from(lengths, (bytes, peer) => (peer === this.rank ? mine.slice() : new Uint8Array(bytes)));
    const comes = others.filter((peer) => (lengths[peer] as number) > 0);
    this.wait([...comes.map((peer) => this.post(false, peer, ownTags.parts, parts[peer] as Uint8Array)), ...sends]);
    return parts;
  }

  barrier(): void {
    this.allGather(new Uint8Array(0));
  }

  close(): void {
    if (this.id === undefined) return;
    this.module.commClose(this.id);
    this.id = undefined;
    this.#pending.clear();
  }

  /** Throws LostPeer where the group is lost. */
  check(): void {
    const outcome = this.module.commWait(this.open(), new Float64Array(0), 0);
    if (outcome.state === 'lost') throw new LostPeer(outcome, this.rank, this.hosts);
  }

  /** Sends a text without blocking the thread; `receiveText` is the other side. Before the group is in use only. */
  async sendText(to: number, text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    const length = new Uint8Array(new Float64Array([bytes.byteLength]).buffer);
    await this.#settle([this.post(true, to, ownTags.texts, length), this.post(true, to, ownTags.texts, bytes)]);
  }

  async receiveText(from: number): Promise<string> {
    const length = new Float64Array(1);
    await this.#settle([this.post(false, from, ownTags.texts, new Uint8Array(length.buffer))]);
    const bytes = new Uint8Array(length[0] as number);
    await this.#settle([this.post(false, from, ownTags.texts, bytes)]);
    return new TextDecoder().decode(bytes);
  }

  protected others(): number[] {
    return Array.from({ length: this.world }, (_, peer) => peer).filter((peer) => peer !== this.rank);
  }

  protected post(sending: boolean, peer: number, tag: number, data: Data): Transfer {
    const id = this.module.commPost(this.open(), sending, peer, tag, data);
    this.#pending.set(id, data);
    return { id };
  }

  protected open(): number {
    if (this.id === undefined) throw new Error(`group: used after close() on rank ${this.rank}`);
    return this.id;
  }

  /** Waits with short looks instead of blocking the thread. */
  async #settle(transfers: readonly Transfer[]): Promise<void> {
    for (let pause = 1; !this.#waitFor(transfers, 0); pause = Math.min(pause * 2, 20)) {
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** Whether all are done; `timeoutMs` below 0 waits until they are. */
  #waitFor(transfers: readonly Transfer[], timeoutMs: number): boolean {
    if (transfers.length === 0) return true;
    const ids = Float64Array.from(transfers, ({ id }) => id);
    const outcome = this.module.commWait(this.open(), ids, timeoutMs);
    switch (outcome.state) {
      case 'done':
        for (const { id } of transfers) this.#pending.delete(id);
        return true;
      case 'pending':
        return false;
      case 'lost':
        throw new LostPeer(outcome, this.rank, this.hosts);
      case 'wrong':
        throw new Error(
          `group: message of rank ${outcome.peer} with tag ${outcome.tag} has ${outcome.came} bytes, ` +
            `rank ${this.rank} expected ${outcome.expected}`,
        );
    }
  }
}

function userTag(tag: number): number {
  if (Number.isInteger(tag) && tag >= 0 && tag < firstOwnTag) return tag;
  throw new RangeError(`group: tag, got ${tag}, expected a whole number in [0, ${firstOwnTag})`);
}

/** The native module, or why there is none. */
export function messageLayer(): { readonly module: NativeModule } | { readonly why: string } {
  const library = nativeLibrary();
  if ('why' in library) return { why: library.why };
  // A library of older sources: kernels, but no messages.
  if (typeof library.module.commOpen !== 'function') return { why: `${library.path} is older than these sources` };
  return { module: library.module };
}
