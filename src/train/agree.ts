// How ranks come to one mind: what rank 0 says, and what any of them asks for.
//
// Does not: know what is said.
import type { Json } from '../base/json.ts';
import type { Group } from '../parallel/group.ts';

/** The bits that any rank sets, on every rank. */
export function agree(group: Group, bits: number): number {
  if (group.world === 1) return bits;
  return group.allGather(Uint8Array.of(bits)).reduce((all, [theirs]) => all | (theirs as number), 0);
}

/** What rank 0 says, on every rank; the words of the others do not count. */
export function tellAll(
  group: Group,
  words: Readonly<Record<string, Json | undefined>>,
): Readonly<Record<string, Json>> {
  const mine = Buffer.from(group.rank === 0 ? JSON.stringify(words) : '');
  const [first] = group.world === 1 ? [mine] : group.allGather(mine);
  return JSON.parse(Buffer.from(first as Uint8Array).toString()) as Readonly<Record<string, Json>>;
}
