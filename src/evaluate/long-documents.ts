// Loss on long held-out documents: does a model make use of what stands far before a token?
//
// The same documents are scored whole, in windows of W tokens that know nothing of each other, so every comparison
// (a model before and after its context was extended, or one model with short and with long windows) is over the same
// tokens and bytes. Losses by place in the document show where a longer window helps: before the first window's end it
// cannot.
//
// Does not: choose W; a model's own length is the fair one, and a longer one shows what it makes of positions never seen.
import { scoreInWindows, type WindowOptions } from './validation.ts';

export interface LongDocumentOptions extends WindowOptions {
  /** Ids that a document must have to be scored, with `<s>` and `</s>`. */
  readonly minTokens: number;
  /** Places in a document where a new bucket begins, ascending (default: 256, 512, 1024, ... within the longest). */
  readonly bounds?: readonly number[];
}

export interface LongDocumentLoss {
  readonly window: number;
  readonly minTokens: number;
  readonly documents: number;
  /** Predicted tokens, and bytes of the texts. */
  readonly tokens: number;
  readonly bytes: number;
  readonly natsPerToken: number;
  readonly bitsPerByte: number;
  readonly positions: readonly PositionLoss[];
}

/** Tokens by their place in the document: [from, to). */
export interface PositionLoss {
  readonly from: number;
  /** Null: to the end of each document. */
  readonly to: number | null;
  readonly tokens: number;
  readonly natsPerToken: number;
}

/** The loss on all documents of at least `minTokens` ids. */
export function longDocumentLoss(options: LongDocumentOptions): LongDocumentLoss {
  const { window, minTokens } = options;
  const documents = options.documents.filter(({ ids }) => ids.length >= minTokens);
  const longest = Math.max(0, ...documents.map(({ ids }) => ids.length));
  const bounds = options.bounds ?? doublingBounds(longest);
  const buckets = [0, ...bounds].map((from) => ({ from, tokens: 0, nats: 0 }));
  // Place in a document -> its bucket.
  const bucketOf = new Uint16Array(longest);
  for (const [i, { from }] of buckets.entries()) bucketOf.fill(i, from);
  scoreInWindows({ ...options, documents }, (_, position, nats) => {
    const bucket = buckets[bucketOf[position] as number] as (typeof buckets)[number];
    bucket.tokens++;
    bucket.nats += nats;
  });
  const tokens = buckets.reduce((sum, bucket) => sum + bucket.tokens, 0);
  const nats = buckets.reduce((sum, bucket) => sum + bucket.nats, 0);
  const bytes = documents.reduce((sum, document) => sum + document.bytes, 0);
  return {
    window,
    minTokens,
    documents: documents.length,
    tokens,
    bytes,
    natsPerToken: tokens === 0 ? 0 : nats / tokens,
    bitsPerByte: bytes === 0 ? 0 : nats / Math.LN2 / bytes,
    positions: buckets
      .map((bucket, i) => ({
        from: bucket.from,
        to: buckets[i + 1]?.from ?? null,
        tokens: bucket.tokens,
        natsPerToken: bucket.tokens === 0 ? 0 : bucket.nats / bucket.tokens,
      }))
      .filter((bucket) => bucket.tokens > 0),
  };
}

function doublingBounds(longest: number): number[] {
  const bounds: number[] = [];
  for (let bound = 256; bound < longest; bound *= 2) bounds.push(bound);
  return bounds;
}

/** A line of places and their losses, for logs: `0-256 3.214, 256-512 2.987, 512- 2.871`. */
export function positionsText(positions: readonly PositionLoss[]): string {
  return positions.map(({ from, to, natsPerToken }) => `${from}-${to ?? ''} ${natsPerToken.toFixed(3)}`).join(', ');
}
