// Words to ids: a memory of words, and merging by scanning (short words) or by a heap over a linked list (long ones).
//
// Short words are scanned again after each merge, quadratic with the smallest constant; long ones take O(n log n), so that
// a megabyte of one letter takes a moment. A word is remembered in one of two places that its hash names; what was there
// gives way, so memory is fixed and nobody can make it slow.
//
// Does not: find words (scan.h).
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include <iterator>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "scan.h"

namespace {

constexpr uint32_t none = 0x7fffffff;
/** Longest word, in bytes, that is merged by scanning. */
constexpr int shortLength = 64;

inline uint64_t mixed(uint64_t x) {
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ull;
  x ^= x >> 32;
  return x;
}

// Pair of ids -> rank and what it makes: open addressing, at most half full.
class Pairs {
 public:
  struct Slot {
    uint64_t pair = ~uint64_t(0);
    uint32_t rank = none;
    int32_t made = -1;
  };

  void reserve(int64_t count) {
    size_t places = 1024;
    while (places < 2 * static_cast<size_t>(count)) places *= 2;
    slots.assign(places, Slot());
    mask = places - 1;
  }

  void set(int32_t left, int32_t right, uint32_t rank, int32_t made) {
    uint64_t pair = of(left, right);
    size_t at = mixed(pair * 0x9e3779b97f4a7c15ull) & mask;
    while (slots[at].pair != pair && slots[at].made >= 0) at = (at + 1) & mask;
    slots[at] = {pair, rank, made};
  }

  const Slot &find(int32_t left, int32_t right) const {
    uint64_t pair = of(left, right);
    size_t at = mixed(pair * 0x9e3779b97f4a7c15ull) & mask;
    while (slots[at].pair != pair && slots[at].made >= 0) at = (at + 1) & mask;
    // A free slot says that there is no such pair.
    return slots[at];
  }

 private:
  static uint64_t of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  std::vector<Slot> slots;
  size_t mask = 0;
};

// Bytes -> id of the tokens that stay whole.
class Whole {
 public:
  void take(const BelayTokenizerModel &model) {
    if (model.token_count == 0) return;
    pool.assign(model.token_pool, model.token_pool + model.token_ends[model.token_count - 1]);
    size_t places = 1024;
    while (places < 2 * static_cast<size_t>(model.token_count)) places *= 2;
    slots.assign(places, {0, 0, -1});
    mask = places - 1;
    for (int64_t i = 0; i < model.token_count; i++) {
      int32_t start = i == 0 ? 0 : model.token_ends[i - 1];
      int32_t length = model.token_ends[i] - start;
      size_t at = place(pool.data() + start, length);
      slots[at] = {start, length, model.token_ids[i]};
    }
  }

  // The id of these bytes, or -1.
  int32_t find(const uint8_t *bytes, int64_t length) const {
    return slots.empty() ? -1 : slots[place(bytes, length)].id;
  }

 private:
  struct Slot {
    int32_t start, length, id;
  };

  size_t place(const uint8_t *bytes, int64_t length) const {
    uint64_t hash = static_cast<uint64_t>(length);
    for (int64_t i = 0; i < length; i += 8) {
      uint64_t part = 0;
      memcpy(&part, bytes + i, length - i < 8 ? length - i : 8);
      hash = mixed((hash ^ part) * 0x9e3779b97f4a7c15ull);
    }
    size_t at = hash & mask;
    while (slots[at].id >= 0 &&
           (slots[at].length != length || memcmp(pool.data() + slots[at].start, bytes, length) != 0))
      at = (at + 1) & mask;
    return at;
  }

  std::vector<uint8_t> pool;
  std::vector<Slot> slots;
  size_t mask = 0;
};

// Remembers words of at most `units` units and `most` ids.
template <int units, int most, int bits>
class Memory {
 public:
  static constexpr int longest = units;
  static constexpr int room = most;
  struct alignas(64) Entry {
    uint64_t key[units / 4];
    int32_t ids[most];
    uint16_t length;
    uint16_t count;
  };

  Memory() : entries(size_t(1) << bits) {}

  // Whether the word is known; its first place otherwise. `units` units from its start on can be read.
  bool find(const uint16_t *word, int64_t length, Entry **place) {
    uint64_t hash = static_cast<uint64_t>(length);
    for (int i = 0; i < units / 4; i++) {
      // Units behind the word count as zero; the first unit lies in the low bits.
      int64_t left = length - 4 * i;
      uint64_t part;
      memcpy(&part, word + 4 * i, 8);
      key[i] = left >= 4 ? part : left <= 0 ? 0 : part & ((uint64_t(1) << (16 * left)) - 1);
      hash = (hash ^ key[i]) * 0x9e3779b97f4a7c15ull;
      hash ^= hash >> 29;
    }
    size_t at = mixed(hash) & (entries.size() - 1);
    *place = &entries[at];
    if (is(entries[at], length)) return true;
    if (!is(entries[at ^ 1], length)) return false;
    *place = &entries[at ^ 1];
    return true;
  }

  // Puts the word that was last looked for at its place; the older one there moves on.
  void keep(Entry *place, int64_t length, const int32_t *ids, int64_t count) {
    if (count > most) return;
    if (place->length != 0) entries[(place - entries.data()) ^ 1] = *place;
    memcpy(place->key, key, sizeof key);
    memcpy(place->ids, ids, count * sizeof *ids);
    place->length = static_cast<uint16_t>(length);
    place->count = static_cast<uint16_t>(count);
  }

 private:
  bool is(const Entry &entry, int64_t length) const {
    return entry.length == length && memcmp(entry.key, key, sizeof key) == 0;
  }
  uint64_t key[units / 4];
  std::vector<Entry> entries;
};

// Ids that are still being written. A vector would clear what is about to be written.
class Ids {
 public:
  ~Ids() { free(values); }

  // Room for `more` ids, which the caller writes and then adds.
  int32_t *room(int64_t more) {
    if (count + more > capacity) {
      capacity = 2 * (count + more);
      values = static_cast<int32_t *>(realloc(values, capacity * sizeof *values));
      if (values == nullptr) abort();
    }
    return values + count;
  }

  int32_t *values = nullptr;
  int64_t count = 0;

 private:
  int64_t capacity = 0;
};

// What a tokenizer reads and never changes.
struct Tables {
  explicit Tables(const BelayTokenizerModel &model) {
    memcpy(byteIds, model.byte_ids, sizeof byteIds);
    pairs.reserve(model.merge_count);
    for (int64_t i = 0; i < model.merge_count; i++) {
      const int32_t *merge = model.merges + 3 * i;
      pairs.set(merge[0], merge[1], static_cast<uint32_t>(i), merge[2]);
    }
    bytePairs.resize(65536);
    for (int left = 0; left < 256; left++) {
      for (int right = 0; right < 256; right++) bytePairs[left << 8 | right] = pairs.find(byteIds[left], byteIds[right]);
    }
    whole.take(model);
    bits.resize(BELAY_CODE_POINTS);
    for (int64_t i = 0; i < BELAY_CODE_POINTS; i++) bits[i] = static_cast<uint8_t>(1 << (model.classes[i] & 7));
  }

  int64_t number = 0;
  int32_t byteIds[256];
  std::vector<Pairs::Slot> bytePairs;  // [256 * 256]
  Pairs pairs;
  Whole whole;
  std::vector<uint8_t> bits;  // [BELAY_CODE_POINTS] classes as bits
};

// Tables by their numbers, of all threads. It keeps none alive, and itself outlives threads that end late.
class Registry {
 public:
  static Registry &get() {
    static Registry *registry = new Registry();
    return *registry;
  }

  std::shared_ptr<const Tables> add(std::unique_ptr<Tables> tables) {
    std::lock_guard<std::mutex> guard(mutex);
    tables->number = ++last;
    std::shared_ptr<const Tables> shared(std::move(tables));
    for (auto at = all.begin(); at != all.end();) at = at->second.expired() ? all.erase(at) : std::next(at);
    all[shared->number] = shared;
    return shared;
  }

  std::shared_ptr<const Tables> find(int64_t number) {
    std::lock_guard<std::mutex> guard(mutex);
    auto found = all.find(number);
    return found == all.end() ? nullptr : found->second.lock();
  }

 private:
  std::mutex mutex;
  std::unordered_map<int64_t, std::weak_ptr<const Tables>> all;
  int64_t last = 0;
};

}  // namespace

struct BelayTokenizer {
  explicit BelayTokenizer(std::shared_ptr<const Tables> shared)
      : tables(std::move(shared)), byteIds(tables->byteIds), bytePairs(tables->bytePairs.data()), pairs(tables->pairs),
        whole(tables->whole) {}

  const std::shared_ptr<const Tables> tables;
  const int32_t *const byteIds;
  const Pairs::Slot *const bytePairs;
  const Pairs &pairs;
  const Whole &whole;
  Memory<16, 6, 16> words;
  Memory<48, 24, 13> longWords;

  Ids ids;
  std::vector<uint8_t> bytes;
  // Of long words.
  std::vector<int32_t> symbols, next, previous;
  std::vector<uint64_t> heap;

  void word(const uint16_t *text, int64_t length) {
    if (length <= decltype(words)::longest) remembered(words, text, length);
    else if (length <= decltype(longWords)::longest) remembered(longWords, text, length);
    else encode(text, length);
  }

 private:
  template <class M>
  void remembered(M &memory, const uint16_t *text, int64_t length) {
    typename M::Entry *place;
    if (memory.find(text, length, &place)) {
      memcpy(ids.room(M::room), place->ids, sizeof place->ids);
      ids.count += place->count;
      return;
    }
    int64_t before = ids.count;
    encode(text, length);
    memory.keep(place, length, ids.values + before, ids.count - before);
  }

  void encode(const uint16_t *text, int64_t length) {
    int64_t count = utf8(text, length);
    int32_t id = whole.find(bytes.data(), count);
    if (id >= 0) ids.room(1)[0] = id, ids.count++;
    else if (count <= shortLength) mergeShort(static_cast<int>(count));
    else mergeLong(count);
  }

  int64_t utf8(const uint16_t *text, int64_t length) {
    if (static_cast<int64_t>(bytes.size()) < 3 * length) bytes.resize(3 * length + 64);
    uint8_t *out = bytes.data();
    for (int64_t i = 0; i < length; i++) {
      uint32_t code = text[i];
      if (code < 0x80) {
        *out++ = static_cast<uint8_t>(code);
        continue;
      }
      if (code < 0x800) {
        *out++ = static_cast<uint8_t>(0xc0 | code >> 6);
      } else {
        if ((code & 0xfc00) == 0xd800 && i + 1 < length) {
          code = 0x10000 + ((code & 0x3ff) << 10) + (text[++i] & 0x3ff);
          *out++ = static_cast<uint8_t>(0xf0 | code >> 18);
          *out++ = static_cast<uint8_t>(0x80 | (code >> 12 & 0x3f));
        } else {
          *out++ = static_cast<uint8_t>(0xe0 | code >> 12);
        }
        *out++ = static_cast<uint8_t>(0x80 | (code >> 6 & 0x3f));
      }
      *out++ = static_cast<uint8_t>(0x80 | (code & 0x3f));
    }
    return out - bytes.data();
  }

  void mergeShort(int length) {
    int32_t symbol[shortLength + 1];
    uint32_t rank[shortLength + 1];
    int32_t made[shortLength + 1];
    for (int i = 0; i < length; i++) symbol[i] = byteIds[bytes[i]];
    int count = length - 1;  // pairs
    for (int i = 0; i < count; i++) {
      const Pairs::Slot &slot = bytePairs[bytes[i] << 8 | bytes[i + 1]];
      rank[i] = slot.rank;
      made[i] = slot.made;
    }
    for (;;) {
      uint32_t best = none;
      int at = -1;
      for (int i = 0; i < count; i++) {
        bool isBetter = rank[i] < best;
        at = isBetter ? i : at;
        best = isBetter ? rank[i] : best;
      }
      if (at < 0) break;
      symbol[at] = made[at];
      int behind = count - at - 1;
      memmove(symbol + at + 1, symbol + at + 2, behind * sizeof *symbol);
      memmove(rank + at, rank + at + 1, behind * sizeof *rank);
      memmove(made + at, made + at + 1, behind * sizeof *made);
      count--;
      if (at > 0) pair(at - 1, symbol, rank, made);
      if (at < count) pair(at, symbol, rank, made);
    }
    memcpy(ids.room(count + 1), symbol, (count + 1) * sizeof *symbol);
    ids.count += count + 1;
  }

  void pair(int at, const int32_t *symbol, uint32_t *rank, int32_t *made) const {
    const Pairs::Slot &slot = pairs.find(symbol[at], symbol[at + 1]);
    rank[at] = slot.rank;
    made[at] = slot.made;
  }

  // Heap keys are rank << 32 | position: lowest rank first, then leftmost.
  void mergeLong(int64_t length) {
    const int32_t n = static_cast<int32_t>(length);
    symbols.resize(n);
    next.resize(n);
    previous.resize(n);
    heap.clear();
    for (int32_t i = 0; i < n; i++) {
      symbols[i] = byteIds[bytes[i]];
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    for (int32_t i = 0; i + 1 < n; i++) {
      uint32_t rank = bytePairs[bytes[i] << 8 | bytes[i + 1]].rank;
      if (rank != none) push(static_cast<uint64_t>(rank) << 32 | static_cast<uint32_t>(i));
    }
    while (!heap.empty()) {
      uint64_t key = pop();
      uint32_t rank = static_cast<uint32_t>(key >> 32);
      int32_t at = static_cast<int32_t>(key & 0xffffffff);
      // Stale when either side was merged meanwhile; -1 marks a place that was swallowed.
      int32_t right = next[at];
      if (symbols[at] < 0 || right >= n) continue;
      const Pairs::Slot &slot = pairs.find(symbols[at], symbols[right]);
      if (slot.rank != rank) continue;
      symbols[at] = slot.made;
      symbols[right] = -1;
      int32_t after = next[right];
      next[at] = after;
      if (after < n) previous[after] = at;
      if (previous[at] >= 0) candidate(previous[at], n);
      candidate(at, n);
    }
    int32_t *out = ids.room(n);
    for (int32_t i = 0; i < n; i = next[i]) *out++ = symbols[i];
    ids.count = out - ids.values;
  }

  void candidate(int32_t at, int32_t n) {
    int32_t right = next[at];
    if (right >= n) return;
    uint32_t rank = pairs.find(symbols[at], symbols[right]).rank;
    if (rank != none) push(static_cast<uint64_t>(rank) << 32 | static_cast<uint32_t>(at));
  }

  void push(uint64_t key) {
    size_t hole = heap.size();
    heap.push_back(key);
    while (hole > 0) {
      size_t parent = (hole - 1) / 2;
      if (heap[parent] <= key) break;
      heap[hole] = heap[parent];
      hole = parent;
    }
    heap[hole] = key;
  }

  uint64_t pop() {
    uint64_t top = heap[0], key = heap.back();
    heap.pop_back();
    size_t size = heap.size(), hole = 0;
    if (size == 0) return top;
    for (;;) {
      size_t child = 2 * hole + 1;
      if (child >= size) break;
      if (child + 1 < size && heap[child + 1] < heap[child]) child++;
      if (heap[child] >= key) break;
      heap[hole] = heap[child];
      hole = child;
    }
    heap[hole] = key;
    return top;
  }
};

namespace {

// Calls piece(start, end) for each piece of a text.
template <int scanner, class Piece>
void scanBy(const tokenizer::Text &text, Piece piece) {
  for (int64_t at = 0; at < text.length;) {
    int64_t end = tokenizer::pieceEnd<scanner>(text, at);
    piece(at, end);
    at = end;
  }
}

template <class Piece>
void scan(int scanner, const tokenizer::Text &text, Piece piece) {
  switch (scanner) {
    case BELAY_SCAN_APERTUS: return scanBy<BELAY_SCAN_APERTUS>(text, piece);
    case BELAY_SCAN_O200K: return scanBy<BELAY_SCAN_O200K>(text, piece);
    case BELAY_SCAN_LLAMA3: return scanBy<BELAY_SCAN_LLAMA3>(text, piece);
    case BELAY_SCAN_QWEN2: return scanBy<BELAY_SCAN_QWEN2>(text, piece);
    default: return scanBy<BELAY_SCAN_GPT2>(text, piece);
  }
}

}  // namespace

extern "C" {

BelayTokenizer *belay_tokenizer_open(const BelayTokenizerModel *model) {
  return new BelayTokenizer(Registry::get().add(std::make_unique<Tables>(*model)));
}

int64_t belay_tokenizer_tables(const BelayTokenizer *tokenizer) { return tokenizer->tables->number; }

BelayTokenizer *belay_tokenizer_open_on(int64_t number) {
  std::shared_ptr<const Tables> tables = Registry::get().find(number);
  return tables ? new BelayTokenizer(std::move(tables)) : nullptr;
}

void belay_tokenizer_close(BelayTokenizer *tokenizer) { delete tokenizer; }

int64_t belay_tokenizer_encode(BelayTokenizer *tokenizer, const uint16_t *text, int64_t units, int scanner) {
  tokenizer->ids.count = 0;
  scan(scanner, {text, units, tokenizer->tables->bits.data()},
       [&](int64_t at, int64_t end) { tokenizer->word(text + at, end - at); });
  return tokenizer->ids.count;
}

int64_t belay_tokenizer_encode_pieces(BelayTokenizer *tokenizer, const uint16_t *text, const int32_t *ends,
                                      int64_t count) {
  tokenizer->ids.count = 0;
  int32_t at = 0;
  for (int64_t i = 0; i < count; i++) {
    if (ends[i] > at) tokenizer->word(text + at, ends[i] - at);
    at = ends[i];
  }
  return tokenizer->ids.count;
}

int64_t belay_tokenizer_pieces(const BelayTokenizer *tokenizer, const uint16_t *text, int64_t units, int scanner,
                               int32_t *ends, int64_t room) {
  int64_t count = 0;
  scan(scanner, {text, units, tokenizer->tables->bits.data()}, [&](int64_t, int64_t end) {
    if (count < room) ends[count] = static_cast<int32_t>(end);
    count++;
  });
  return count;
}

const int32_t *belay_tokenizer_ids(const BelayTokenizer *tokenizer) { return tokenizer->ids.values; }

int64_t belay_tokenizer_count(const BelayTokenizer *tokenizer) { return tokenizer->ids.count; }

}  // extern "C"
