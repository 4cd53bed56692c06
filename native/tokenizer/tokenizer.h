// The contract of the tokenizer kernels: text (UTF-16) to ids by byte-level byte-pair encoding.
//
// A BelayTokenizer belongs to one thread: it remembers words. Its tables never change, and those of other threads can use
// them too. Ids are those of the TypeScript twins
// (src/tokenizer/text-encoder.ts, pre-tokenizer.ts), whatever it remembers.
//
// Does not: know Node-API (addon.cpp does), check what it is given, match added tokens or normalise.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Classes of code points, as src/tokenizer/pre-tokenizer.ts numbers them.
enum {
  BELAY_CLASS_OTHER = 0,
  BELAY_CLASS_UPPER = 1,     // Lu, Lt
  BELAY_CLASS_CASELESS = 2,  // Lm, Lo
  BELAY_CLASS_LOWER = 3,     // Ll
  BELAY_CLASS_MARK = 4,      // M
  BELAY_CLASS_DIGIT = 5,     // N
  BELAY_CLASS_SPACE = 6,     // White_Space but for CR and LF
  BELAY_CLASS_NEWLINE = 7    // CR, LF
};
enum { BELAY_CODE_POINTS = 0x110000 };

// Patterns that are scanned by hand, as src/tokenizer/native-encoder.ts numbers them.
enum {
  BELAY_SCAN_APERTUS = 0,
  BELAY_SCAN_O200K = 1,
  BELAY_SCAN_LLAMA3 = 2,
  BELAY_SCAN_QWEN2 = 3,
  BELAY_SCAN_GPT2 = 4,
  BELAY_SCANNERS = 5
};

typedef struct {
  const int32_t *byte_ids;  // [256]
  const int32_t *merges;    // [merge_count][left, right, made], first merge first; of equal pairs the last counts
  int64_t merge_count;
  // Tokens whose bytes are a piece stay one; token i has the bytes [token_ends[i - 1], token_ends[i]) of the pool. None: 0.
  const int32_t *token_ids;
  const int32_t *token_ends;
  int64_t token_count;
  const uint8_t *token_pool;
  const uint8_t *classes;  // [BELAY_CODE_POINTS]
} BelayTokenizerModel;

typedef struct BelayTokenizer BelayTokenizer;

// Copies the model.
BelayTokenizer *belay_tokenizer_open(const BelayTokenizerModel *model);
void belay_tokenizer_close(BelayTokenizer *tokenizer);
// The number of its tables, by which any thread of the process opens another on the same ones: null where none is open on
// them any more.
int64_t belay_tokenizer_tables(const BelayTokenizer *tokenizer);
BelayTokenizer *belay_tokenizer_open_on(int64_t tables);

// Encodes a text of well-formed UTF-16, of at most 2^29 units; 64 units behind it can be read. Answers the number of ids.
int64_t belay_tokenizer_encode(BelayTokenizer *tokenizer, const uint16_t *text, int64_t units, int scanner);
// Encodes a text that is already cut: pieces end where `ends` says, ascending, the last one at its end; 64 units behind it
// can be read.
int64_t belay_tokenizer_encode_pieces(BelayTokenizer *tokenizer, const uint16_t *text, const int32_t *ends,
                                      int64_t count);
// Where the pieces of a text end; answers their number, of which at most `room` are written.
int64_t belay_tokenizer_pieces(const BelayTokenizer *tokenizer, const uint16_t *text, int64_t units, int scanner,
                               int32_t *ends, int64_t room);
// The ids of the last text, until the next one, and their number.
const int32_t *belay_tokenizer_ids(const BelayTokenizer *tokenizer);
int64_t belay_tokenizer_count(const BelayTokenizer *tokenizer);

#ifdef __cplusplus
}
#endif
