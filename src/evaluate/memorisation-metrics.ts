// How much of a reference a continuation repeats: Rouge-L, longest common contiguous run, and token variety.
//
// All on token ids, as in the memorisation study of the Apertus report (section 5.4; spec section 2.10). Checked
// against golden/memorization.json. Everything is 0 for empty input.
//
// Does not: generate continuations; memorisation.ts does.

type Ids = ArrayLike<number>;

/** Length of the longest common subsequence, in O(n m) time and O(m) memory. */
export function longestCommonSubsequence(a: Ids, b: Ids): number {
  const row = new Int32Array(b.length + 1);
  for (let i = 0; i < a.length; i++) {
    let diagonal = 0;
    for (let j = 1; j <= b.length; j++) {
      const above = row[j] as number;
      row[j] = a[i] === b[j - 1] ? diagonal + 1 : Math.max(above, row[j - 1] as number);
      diagonal = above;
    }
  }
  return row[b.length] as number;
}

/** Length of the longest common run of neighbouring tokens. */
export function longestCommonRun(a: Ids, b: Ids): number {
  const row = new Int32Array(b.length + 1);
  let longest = 0;
  for (let i = 0; i < a.length; i++) {
    for (let j = b.length; j >= 1; j--) {
      const run = a[i] === b[j - 1] ? (row[j - 1] as number) + 1 : 0;
      row[j] = run;
      if (run > longest) longest = run;
    }
  }
  return longest;
}

/** F1 of LCS/len(candidate) and LCS/len(reference), in [0, 1]. */
export function rougeL(candidate: Ids, reference: Ids): number {
  const common = longestCommonSubsequence(candidate, reference);
  if (common === 0) return 0;
  const precision = common / candidate.length;
  const recall = common / reference.length;
  return (2 * precision * recall) / (precision + recall);
}

/** Longest common contiguous run as a share of the reference, in [0, 1]. */
export function lccs(candidate: Ids, reference: Ids): number {
  return reference.length === 0 ? 0 : longestCommonRun(candidate, reference) / reference.length;
}

/** Type-token ratio: distinct tokens over tokens. Low values mean a text that repeats itself. */
export function typeTokenRatio(ids: Ids): number {
  return ids.length === 0 ? 0 : new Set(Array.from(ids)).size / ids.length;
}
