// What packing several documents into one row implies: where attention may look, where positions restart, and which
// labels say nothing (the first token of the next document, predicted from the end of this one).
//
// Legend: T inputs of a row. An end-of-document token belongs to the document it ends; a row may begin in the middle
// of a document. Source: Megatron-LM, _get_ltor_masks_and_position_ids.
//
// Does not: know about batches.

/**
 * [T] for every position the first one of the same document in this row: where its attention begins, and where
 * positions restart.
 */
export function documentStarts(tokens: Int32Array, endOfDocument: number): Int32Array {
  const first = new Int32Array(tokens.length);
  let start = 0;
  for (let i = 0; i < tokens.length; i++) {
    first[i] = start;
    if (tokens[i] === endOfDocument) start = i + 1;
  }
  return first;
}

/** Sets the mask [T] to zero where the input is an end of document. */
export function maskEndOfDocument(lossMask: Float32Array, tokens: Int32Array, endOfDocument: number): void {
  for (let i = 0; i < tokens.length; i++) if (tokens[i] === endOfDocument) lossMask[i] = 0;
}
