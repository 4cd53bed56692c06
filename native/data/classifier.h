// The contract of the text classifier's kernels: the sum of the rows of a text, and steps of training.
//
// Float arithmetic is float32 in a stated order without contraction, so every target and the TypeScript twins
// (src/data/fasttext/vectors.ts, train-loop.ts) give the same bits. Memory belongs to the caller; nothing is kept between
// calls but in what the caller gives for it. Numbers of rows, lines and labels are not trusted: what leads outside is
// answered with -1. Tables are as TypeScript makes them.
//
// Does not: know Node-API (addon.cpp does), read files, or allocate.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Words by open addressing (src/data/fasttext/words.ts).
typedef struct {
  const int32_t *slots;  // number of a word and 1, or 0
  int64_t num_slots;     // a power of two
  const int32_t *hashes;
  const int32_t *starts;
  const uint8_t *pool;
  int32_t size;
} BelayWords;

typedef struct {
  int32_t bucket, minn, maxn, word_ngrams;
  // Which shared rows are left: pairs of key and 1 (0: free) and value, by open addressing; null where all are.
  const int32_t *left;
  int64_t num_left;  // places, a power of two
  const float *rows;
  int64_t num_rows;
  int64_t dimension;
} BelayRows;

// What is kept of tokens between calls: places of 8 words (length, count, 24 bytes of the token) and its sum.
typedef struct {
  float *memory;
  int64_t places;  // a power of two
} BelayKept;

// into += the rows of a line of UTF-8, token by token; answers how many, or -1. `marked` has room for bytes + 8,
// `hashes` for bytes / 2 + 2.
int64_t belay_text_sum(const uint8_t *text, int64_t bytes, const BelayWords *words, const BelayRows *rows,
                       const BelayKept *kept, uint8_t *marked, int32_t *hashes, float *into);

// Lines for training: line i is tokens[line_starts[i]] to line_starts[i + 1]; token t has the rows
// token_rows[row_starts[t]] to row_starts[t + 1], and a hash for runs of words.
typedef struct {
  const int32_t *line_starts, *tokens, *labels;
  int64_t num_lines, num_tokens;
  const int32_t *row_starts, *token_rows, *hashes;
  int64_t num_types, num_token_rows;
  int32_t words, bucket, word_ngrams;
} BelayLines;

typedef struct {
  float *input, *output;
  int64_t num_rows, num_labels;
  int64_t stride;  // numbers of a row, a multiple of 8; those behind the dimension are zero
  double lr;       // at the first token of all epochs; it falls to 0 at the last
  double done, total;  // tokens
  double sure;         // sum of the probabilities that the right labels had
  float *hidden, *gradient, *scores;  // room for stride, stride and num_labels rounded up to 8
  int32_t *rows;       // room for the rows of a line
  int64_t room;
} BelayFit;

// One step of stochastic gradient descent per line, in the order given; answers 0, or -1.
typedef int (*BelayTrain)(const BelayLines *lines, const int32_t *order, int64_t count, BelayFit *fit);

// The best for this processor.
BelayTrain belay_train(void);

#ifdef __cplusplus
}
#endif
