// Checks native/tokenizer/ under the sanitizers: ids against the plainest merging there is, on random texts that end where
// their memory does but for what the contract asks for; pieces that cover each text; megabytes of one letter; threads on
// the same tables, which end in any order.
//
// Does not: know the expressions that scanners stand for; src/tokenizer/native-encoder.test.ts compares those.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "../tokenizer/tokenizer.h"

namespace {

uint64_t state = 1;

uint32_t below(uint32_t n) {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return static_cast<uint32_t>((state >> 33) % n);
}

void fail(const char *what) {
  printf("FAILED: %s\n", what);
  exit(1);
}

struct Merge {
  int32_t left, right, made;
};

std::vector<Merge> merges;
std::map<std::pair<int32_t, int32_t>, int32_t> ranks;  // the last of equal pairs
std::map<std::vector<uint8_t>, int32_t> whole;

std::vector<uint8_t> utf8(const uint16_t *text, int64_t n) {
  std::vector<uint8_t> out;
  for (int64_t i = 0; i < n; i++) {
    uint32_t c = text[i];
    if (c >= 0xd800 && c < 0xdc00) {
      i++;
      c = 0x10000 + ((c - 0xd800) << 10) + (text[i] - 0xdc00u);
    }
    if (c < 0x80) {
      out.push_back(c);
      continue;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    out.push_back((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | c >> (6 * more));
    while (more-- > 0) out.push_back(0x80 | ((c >> (6 * more)) & 0x3f));
  }
  return out;
}

// The pair with the lowest rank, leftmost first, again and again.
void plain(const uint16_t *text, int64_t n, std::vector<int32_t> *out) {
  std::vector<uint8_t> bytes = utf8(text, n);
  auto known = whole.find(bytes);
  if (known != whole.end()) {
    out->push_back(known->second);
    return;
  }
  std::vector<int32_t> ids(bytes.begin(), bytes.end());
  for (;;) {
    int32_t best = INT32_MAX;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); i++) {
      auto found = ranks.find({ids[i], ids[i + 1]});
      if (found != ranks.end() && found->second < best) best = found->second, at = i;
    }
    if (best == INT32_MAX) break;
    ids[at] = merges[best].made;
    ids.erase(ids.begin() + at + 1);
  }
  out->insert(out->end(), ids.begin(), ids.end());
}

// A text with what kernels read behind it, and not a unit more.
std::vector<uint16_t> text(int64_t units) {
  static const uint16_t letters[] = {'a', 'b', 'A', ' ', '\n', '\r', '/', '.', '\'', 's', 'l', '1', 0xe9, 0x301, 0x4e2d, 0x3000};
  std::vector<uint16_t> out;
  while (static_cast<int64_t>(out.size()) < units) {
    if (below(12) == 0 && static_cast<int64_t>(out.size()) + 1 < units) {
      out.push_back(0xd800 + below(0x400));
      out.push_back(0xdc00 + below(0x400));
    } else {
      out.push_back(letters[below(sizeof letters / sizeof *letters)]);
    }
  }
  out.resize(out.size() + 64);
  return out;
}

}  // namespace

int main() {
  for (int32_t i = 0; i < 400; i++) {
    // Over few symbols, so that merges overlap and nest; some pairs twice.
    static const int32_t first[] = {'a', 'b', ' ', '1', 0xc3, 0xa9, 0xe4, 0xb8, 0xad, 0xf0};
    auto any = [&]() { return i < 8 || below(2) == 0 ? first[below(10)] : 256 + static_cast<int32_t>(below(i)); };
    Merge merge{any(), any(), 256 + i};
    merges.push_back(merge);
    ranks[{merge.left, merge.right}] = i;
  }
  std::vector<int32_t> byteIds, flat, tokenIds, tokenEnds;
  std::vector<uint8_t> pool, classes(BELAY_CODE_POINTS);
  for (int32_t i = 0; i < 256; i++) byteIds.push_back(i);
  for (const Merge &merge : merges) flat.insert(flat.end(), {merge.left, merge.right, merge.made});
  const char *words[] = {" ab", "aa", "\xc3\xa9", " ", "aaaaaaaaaaaaaaaaaaaaaaaa"};
  for (int32_t i = 0; i < 5; i++) {
    pool.insert(pool.end(), words[i], words[i] + strlen(words[i]));
    tokenIds.push_back(1000 + i);
    tokenEnds.push_back(static_cast<int32_t>(pool.size()));
    whole[std::vector<uint8_t>(words[i], words[i] + strlen(words[i]))] = 1000 + i;
  }
  for (uint8_t &kind : classes) kind = static_cast<uint8_t>(below(6));
  // White space is in the basic plane.
  for (int c : {0x20, 0x3000}) classes[c] = BELAY_CLASS_SPACE;
  for (int c : {'\n', '\r'}) classes[c] = BELAY_CLASS_NEWLINE;
  BelayTokenizerModel model{byteIds.data(), flat.data(),      400,         tokenIds.data(),
                            tokenEnds.data(), 5, pool.data(), classes.data()};
  BelayTokenizer *tokenizer = belay_tokenizer_open(&model);

  int64_t pieces = 0;
  for (int round = 0; round < 4000; round++) {
    int64_t units = below(round % 100 == 0 ? 2000 : 120);
    std::vector<uint16_t> units16 = text(units);
    std::vector<int32_t> ends(units);
    int scanner = static_cast<int>(below(BELAY_SCANNERS));
    int64_t count = belay_tokenizer_pieces(tokenizer, units16.data(), units, scanner, ends.data(), units);
    if (count > units || (units > 0 && ends[count - 1] != units)) fail("pieces cover the text");
    std::vector<int32_t> expected;
    int32_t at = 0;
    for (int64_t i = 0; i < count; i++) {
      if (ends[i] <= at) fail("pieces ascend");
      plain(units16.data() + at, ends[i] - at, &expected);
      at = ends[i];
    }
    pieces += count;
    for (int cut = 0; cut < 2; cut++) {
      int64_t got = cut ? belay_tokenizer_encode_pieces(tokenizer, units16.data(), ends.data(), count)
                        : belay_tokenizer_encode(tokenizer, units16.data(), units, scanner);
      if (got != static_cast<int64_t>(expected.size()) || got != belay_tokenizer_count(tokenizer) ||
          (got > 0 && memcmp(belay_tokenizer_ids(tokenizer), expected.data(), got * sizeof(int32_t)) != 0))
        fail("ids are those of plain merging");
    }
  }
  for (uint16_t letter : {uint16_t('a'), uint16_t(' '), uint16_t(0x4e2d)}) {
    std::vector<uint16_t> units16(1 << 20, letter);
    units16.resize(units16.size() + 64);
    if (belay_tokenizer_encode(tokenizer, units16.data(), 1 << 20, BELAY_SCAN_APERTUS) <= 0) fail("a long word");
  }

  std::vector<uint16_t> shared = text(20000);
  int64_t expected = belay_tokenizer_encode(tokenizer, shared.data(), 20000, BELAY_SCAN_APERTUS);
  std::vector<int32_t> ids(belay_tokenizer_ids(tokenizer), belay_tokenizer_ids(tokenizer) + expected);
  int64_t tables = belay_tokenizer_tables(tokenizer);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) {
    BelayTokenizer *other = belay_tokenizer_open_on(tables);
    threads.emplace_back([&, other] {
      BelayTokenizer *own = belay_tokenizer_open_on(tables);
      for (BelayTokenizer *one : {other, own}) {
        for (int again = 0; again < 3; again++) {
          if (belay_tokenizer_encode(one, shared.data(), 20000, BELAY_SCAN_APERTUS) != expected ||
              memcmp(belay_tokenizer_ids(one), ids.data(), expected * sizeof(int32_t)) != 0)
            fail("ids on shared tables");
        }
        belay_tokenizer_close(one);
      }
    });
  }
  // They hold the tables; what is opened meanwhile has others.
  BelayTokenizer *another = belay_tokenizer_open(&model);
  if (belay_tokenizer_tables(another) == tables) fail("tables of their own");
  belay_tokenizer_close(another);
  for (std::thread &thread : threads) thread.join();
  belay_tokenizer_close(tokenizer);
  if (belay_tokenizer_open_on(tables) != nullptr) fail("tables go with the last tokenizer on them");
  printf("tokenizer: %lld pieces as by plain merging\n", static_cast<long long>(pieces));
}
