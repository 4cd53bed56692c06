// What a rank tells of itself while it trains: where it is, and how long it was busy.
//
// A step ends on all ranks together, so its time says nothing about a single one; the time in which a rank computed its
// own shards does. Whoever watches a run gets both through this hook, at the price of a few stores.
//
// Does not: write or send anything; commands/ makes heartbeats of it.

/** What a rank is doing. Where it waits for others, one of them may hang. */
export const pulsePlaces = [
  'starting',
  'gradients',
  'exchange',
  'update',
  'between steps',
  'saving',
  'validating',
  'ended',
] as const;
export type PulsePlace = (typeof pulsePlaces)[number];

export interface Pulse {
  /** The attempt began or went on, with this many steps behind it. */
  began(attempt: number, step: number): void;
  /** The rank comes to a place. */
  at(place: PulsePlace): void;
  /** A step is over. `busySeconds`: for `shards` shards of this rank, without waiting for others. */
  took(step: number, seconds: number, busySeconds: number, shards: number): void;
}
