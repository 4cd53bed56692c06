// The data kernels by themselves, for the sanitizers: every buffer has exactly the size that data.h asks for.
//
// Checks XXH64 and XXH32 against values of the reference implementation, that words and shingles of random texts (lone
// surrogates, every kind of character, too little room) stay in their buffers, samples against a search through all
// windows, and the minima of every target against plain arithmetic.
//
// Does not: compare with the TypeScript twins; src/data/steps/minhash.test.ts and substring-dedup.test.ts do.
#include <stdio.h>
#include <string.h>

#include <memory>
#include <random>
#include <vector>

#include "../data/data.h"

namespace {

int failures = 0;

void expect(bool holds, const char *what) {
  if (holds) return;
  failures++;
  printf("FAILED: %s\n", what);
}

void checkHashes() {
  const char *empty = "";
  const char *abc = "abc";
  auto bytes = [](const char *text) { return reinterpret_cast<const uint8_t *>(text); };
  expect(belay_xxh64(bytes(empty), 0, 0) == 0xEF46DB3751D8E999u, "XXH64 of nothing");
  expect(belay_xxh64(bytes(abc), 3, 0) == 0x44BC2CF5AD770999u, "XXH64 of abc");
  expect(belay_xxh32(bytes(empty), 0, 0) == 0x02CC5D05u, "XXH32 of nothing");
  expect(belay_xxh32(bytes(abc), 3, 0) == 0x32D153FFu, "XXH32 of abc");
  // Odd addresses and every length around a stripe.
  std::vector<uint8_t> data(200);
  for (size_t i = 0; i < data.size(); i++) data[i] = uint8_t(i * 37);
  for (int64_t length = 0; length < 100; length++) {
    std::vector<uint8_t> copy(data.begin() + 1, data.begin() + 1 + length);
    expect(belay_xxh64(data.data() + 1, length, 9) == belay_xxh64(copy.data(), length, 9), "XXH64 at an odd address");
    expect(belay_xxh32(data.data() + 1, length, 9) == belay_xxh32(copy.data(), length, 9), "XXH32 at an odd address");
  }
}

void checkWords(std::mt19937 &random) {
  const char pool[] = "0123456789012345678901234567890";
  std::vector<uint32_t> entries(0x3000);
  for (uint32_t point = 0; point < entries.size(); point++) {
    uint32_t kind = point < 0x21 ? uint32_t(BELAY_CHAR_SPACE) : uint32_t(random() % 4);
    uint32_t flags = random() % 4 == 0 ? BELAY_CHAR_ALONE : random() % 4 == 0 ? BELAY_CHAR_SEPARATOR : 0;
    uint32_t length = random() % 3 == 0 ? random() % 32 : 0;
    entries[point] = kind | flags | length << 8;
  }
  BelayCharTable table = {entries.data(), int64_t(entries.size()), reinterpret_cast<const uint8_t *>(pool), 31};
  for (int trial = 0; trial < 3000; trial++) {
    std::vector<uint16_t> text(random() % 80);
    for (auto &unit : text) unit = uint16_t(random() % 50 == 0 ? 0xd800 + random() % 0x800 : random() % 0x3000);
    // Ends inside the text where the room is too small; the table ends before some of its code points.
    std::vector<uint8_t> out(32 + random() % 1000);
    std::vector<int32_t> starts(text.size() + 1);
    int64_t bytes = 0;
    int64_t words =
        belay_words(text.data(), int64_t(text.size()), &table, out.data(), int64_t(out.size()), starts.data(), &bytes);
    expect(words >= -2 && words <= int64_t(text.size()), "a number of words");
    if (words < 0) continue;
    expect(bytes <= int64_t(out.size()) && starts[size_t(words)] == bytes + 1, "where the words end");
    for (int64_t n : {1, 5}) {
      std::vector<uint64_t> shingles(words < n ? 0 : size_t(words - n + 1));
      expect(belay_shingles(out.data(), starts.data(), words, n, trial & 1, shingles.data()) == int64_t(shingles.size()),
             "a number of shingles");
    }
  }
}

void checkSamples(std::mt19937 &random) {
  for (int trial = 0; trial < 600; trial++) {
    int64_t k = 1 + random() % 12, neighbours = 1 + random() % 12;
    std::vector<uint16_t> text(random() % 120);
    for (auto &unit : text) unit = uint16_t(random() % (trial % 3 == 0 ? 1 : trial % 3 == 1 ? 3 : 0x10000));
    int64_t size = 1;
    while (size <= neighbours) size *= 2;
    std::vector<uint32_t> queue(size_t(2 * size));
    std::vector<uint32_t> out(6 * text.size());
    int64_t units = int64_t(text.size());
    int64_t count = belay_samples(text.data(), units, k, neighbours, queue.data(), size, out.data(), units);
    expect(count >= 0, "room for all samples");
    // Every window of k + neighbours - 1 units holds a sample, and they ascend.
    for (int64_t i = 0; i < count; i++) {
      const uint32_t *sample = &out[size_t(6 * i)];
      expect(i == 0 || sample[5] > sample[-1], "samples ascend");
      uint64_t own = belay_xxh64(reinterpret_cast<const uint8_t *>(&text[sample[5]]), 2 * k, 0);
      expect((uint64_t(sample[0]) << 32 | sample[1]) == own, "the hash of a sample");
    }
    for (int64_t window = 0; window + k + neighbours - 1 <= units; window++) {
      bool found = false;
      for (int64_t i = 0; i < count; i++) {
        int64_t at = out[size_t(6 * i + 5)];
        if (at >= window && at < window + neighbours) found = true;
      }
      expect(found, "a window without a sample");
    }
    if (count > 0) {
      std::vector<uint32_t> less(size_t(6 * (count - 1)));
      expect(belay_samples(text.data(), units, k, neighbours, queue.data(), size, less.data(), count - 1) == -1,
             "too little room is said");
    }
  }
}

void checkMinima(std::mt19937_64 &random) {
  constexpr uint64_t prime = (uint64_t(1) << 61) - 1;
  for (const BelayDataTarget *target = belay_data_targets(); target->name; target++) {
    for (int64_t count : {8, 16, 24, 112, 120}) {
      for (int64_t n : {0, 1, 2, 3, 7, 33}) {
        std::vector<uint64_t> shingles(static_cast<size_t>(n)), a(static_cast<size_t>(count)), b(a), minima(a);
        for (auto &x : shingles) x = random() % 5 == 0 ? ~uint64_t(0) : random();
        for (auto &x : a) x = 1 + random() % (prime - 1);
        for (auto &x : b) x = random() % prime;
        for (uint64_t mask : {~uint64_t(0), uint64_t(0xffffffff)}) {
          target->minima(shingles.data(), n, a.data(), b.data(), count, mask, minima.data());
          if (n == 0) continue;
          for (size_t i = 0; i < minima.size(); i++) {
            uint64_t least = ~uint64_t(0);
            for (uint64_t x : shingles) {
              uint64_t value = (a[i] * x + b[i]) % prime & mask;
              if (value < least) least = value;
            }
            expect(minima[i] == least, target->name);
          }
        }
      }
    }
    printf("data kernels, %s: checked\n", target->name);
  }
}

}  // namespace

int main() {
  std::mt19937 random(28);
  std::mt19937_64 wide(28);
  checkHashes();
  checkWords(random);
  checkSamples(random);
  checkMinima(wide);
  if (failures == 0) printf("data kernels: all held\n");
  return failures == 0 ? 0 : 1;
}
