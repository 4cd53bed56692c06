// The sum of the rows of a text, and which training loop runs here.
//
// Tokens, n-grams and their hashes after facebookresearch/fastText (dictionary.cc, MIT).
#include "classifier.h"

#include <string.h>

namespace {

constexpr int64_t header = 8, keptBytes = 24;
constexpr char labelPrefix[] = "__label__", endOfLine[] = "</s>";
constexpr int64_t prefixBytes = sizeof labelPrefix - 1, endBytes = sizeof endOfLine - 1;
constexpr uint32_t emptyHash = 2166136261u;

// FNV-1a, of bytes taken as signed.
inline uint32_t step(uint32_t hash, uint8_t byte) { return (hash ^ uint32_t(int32_t(int8_t(byte)))) * 16777619u; }

inline bool isSpace(uint8_t byte) { return byte <= 32 && (byte == 32 || (byte >= 9 && byte <= 13) || byte == 0); }

inline int32_t find(const BelayWords *words, const uint8_t *token, int64_t length, uint32_t hash) {
  uint64_t mask = uint64_t(words->num_slots) - 1;
  for (uint64_t at = hash & mask;; at = (at + 1) & mask) {
    int32_t word = words->slots[at] - 1;
    if (word < 0) return -1;
    if (uint32_t(words->hashes[word]) != hash) continue;
    int32_t from = words->starts[word];
    if (words->starts[word + 1] - from == length && memcmp(words->pool + from, token, length) == 0) return word;
  }
}

struct Sum {
  const BelayRows *rows;
  float *into;
  int32_t words;
  int64_t count = 0;
  bool good = true;
  static constexpr int most = 64;
  int numWaiting = 0;
  uint32_t waiting[most];

  Sum(const BelayRows *rows, float *into, int32_t words) : rows(rows), into(into), words(words) {}

  void add(int64_t row) {
    if (uint64_t(row) >= uint64_t(rows->num_rows)) {
      good = false;
      return;
    }
    const float *from = rows->rows + row * rows->dimension;
    for (int64_t i = 0; i < rows->dimension; i++) into[i] += from[i];
    count++;
  }

  // Rows of shared places in their order. What they need of memory is asked for ahead: the tables are larger than caches.
  void addShared(uint32_t place) {
    waiting[numWaiting++] = place;
    if (rows->left != nullptr) __builtin_prefetch(rows->left + 2 * (place * 0x9e3779b1u & (uint32_t(rows->num_left) - 1)));
    else __builtin_prefetch(rows->rows + (words + int64_t(place)) * rows->dimension);
    if (numWaiting == most) flush();
  }

  void flush() {
    if (rows->left == nullptr) {
      for (int i = 0; i < numWaiting; i++) add(words + int64_t(waiting[i]));
    } else {
      int found = 0;
      uint32_t mask = uint32_t(rows->num_left) - 1;
      for (int i = 0; i < numWaiting; i++) {
        int32_t key = int32_t(waiting[i]) + 1;
        uint32_t at = waiting[i] * 0x9e3779b1u & mask;
        while (rows->left[2 * at] != 0 && rows->left[2 * at] != key) at = (at + 1) & mask;
        if (rows->left[2 * at] == 0) continue;
        waiting[found] = uint32_t(rows->left[2 * at + 1]);
        __builtin_prefetch(rows->rows + (words + int64_t(waiting[found])) * rows->dimension);
        found++;
      }
      for (int i = 0; i < found; i++) add(words + int64_t(waiting[i]));
    }
    numWaiting = 0;
  }

  // `marked` is the token between < and >.
  void addSubwords(const uint8_t *marked, int64_t length) {
    for (int64_t i = 0; i < length; i++) {
      if ((marked[i] & 0xc0) == 0x80) continue;
      uint32_t hash = emptyHash;
      int32_t n = 1;
      for (int64_t j = i; j < length && n <= rows->maxn; n++) {
        hash = step(hash, marked[j++]);
        while (j < length && (marked[j] & 0xc0) == 0x80) hash = step(hash, marked[j++]);
        if (n >= rows->minn && !(n == 1 && (i == 0 || j == length))) addShared(hash % uint32_t(rows->bucket));
      }
    }
    flush();
  }
};

// `marked` has room for the token and two bytes.
void addToken(Sum *sum, const BelayWords *words, const uint8_t *token, int64_t length, uint32_t hash, uint8_t *marked) {
  int32_t word = find(words, token, length, hash);
  if (word >= 0) sum->add(word);
  if (sum->rows->maxn <= 0 || (length == endBytes && memcmp(token, endOfLine, endBytes) == 0)) return;
  marked[0] = '<';
  memcpy(marked + 1, token, length);
  marked[length + 1] = '>';
  sum->addSubwords(marked, length + 2);
}

}  // namespace

extern "C" int64_t belay_text_sum(const uint8_t *text, int64_t bytes, const BelayWords *words, const BelayRows *rows,
                                  const BelayKept *kept, uint8_t *marked, int32_t *hashes, float *into) {
  const int64_t dimension = rows->dimension;
  const int64_t place = header + dimension;
  int64_t count = 0, tokens = 0;
  bool ended = false;
  for (int64_t at = 0; !ended;) {
    while (at < bytes && isSpace(text[at])) at++;
    const uint8_t *token = text + at;
    uint32_t hash = emptyHash;
    for (; at < bytes && !isSpace(text[at]); at++) hash = step(hash, text[at]);
    int64_t length = text + at - token;
    if (length == 0) {
      token = reinterpret_cast<const uint8_t *>(endOfLine);
      length = endBytes;
      for (int64_t i = 0; i < length; i++) hash = step(hash, token[i]);
    }
    if (length >= prefixBytes && memcmp(token, labelPrefix, prefixBytes) == 0 && find(words, token, length, hash) < 0)
      continue;
    // What stands behind a written end is another line.
    ended = length == endBytes && memcmp(token, endOfLine, endBytes) == 0;
    if (rows->word_ngrams > 1) hashes[tokens++] = int32_t(hash);
    float *slot = kept->memory + ((hash * 0x9e3779b1u) >> 7 & uint64_t(kept->places - 1)) * place;
    int32_t head[2];
    memcpy(head, slot, sizeof head);
    if (head[0] != length || memcmp(slot + 2, token, length) != 0) {
      Sum sum(rows, slot + header, words->size);
      memset(slot, 0, sizeof(float) * place);
      addToken(&sum, words, token, length, hash, marked);
      if (!sum.good) return -1;
      // A longer token is not kept: the length stays 0.
      head[0] = length <= keptBytes ? int32_t(length) : 0;
      head[1] = int32_t(sum.count);
      memcpy(slot, head, sizeof head);
      if (length <= keptBytes) memcpy(slot + 2, token, length);
    }
    count += head[1];
    for (int64_t j = 0; j < dimension; j++) into[j] += slot[header + j];
  }
  Sum sum(rows, into, words->size);
  for (int64_t i = 0; i < tokens; i++) {
    uint64_t hash = uint64_t(int64_t(hashes[i]));
    for (int64_t j = i + 1; j < tokens && j < i + rows->word_ngrams; j++) {
      hash = hash * 116049371u + uint64_t(int64_t(hashes[j]));
      sum.addShared(uint32_t(hash % uint64_t(rows->bucket)));
    }
  }
  sum.flush();
  return sum.good ? count + sum.count : -1;
}

extern "C" int belay_train_portable(const BelayLines *, const int32_t *, int64_t, BelayFit *);
#if defined(__x86_64__) && !defined(BELAY_NO_AVX2)
extern "C" int belay_train_avx2(const BelayLines *, const int32_t *, int64_t, BelayFit *);
#endif

extern "C" BelayTrain belay_train(void) {
#if defined(__x86_64__) && !defined(BELAY_NO_AVX2)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) return belay_train_avx2;
#endif
  return belay_train_portable;
}
