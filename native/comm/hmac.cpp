// See hmac.h. The round constants are the first 32 bits of the fractional parts of the cube roots of the first 64
// primes, the start values those of the square roots of the first 8 (FIPS 180-4, sections 4.2.2 and 5.3.3); they are
// computed here by integer roots.
//
// Does not: take a message in pieces.
#include "hmac.h"

#include <string.h>

#include <string>

namespace belay::comm {
namespace {

struct Constants {
  uint32_t k[64], start[8];

  // floor(value^(1/degree) * 2^32) modulo 2^32, for value below 2^9.
  static uint32_t root(uint32_t value, int degree) {
    unsigned __int128 low = 0, high = static_cast<unsigned __int128>(1) << 37;
    while (high - low > 1) {
      unsigned __int128 middle = (low + high) / 2;
      // middle^degree against value * 2^(32 * degree), with 37-bit factors: at most 111 bits.
      unsigned __int128 power = middle * middle;
      if (degree == 3) power *= middle;
      if (power <= static_cast<unsigned __int128>(value) << (32 * degree)) low = middle;
      else high = middle;
    }
    return static_cast<uint32_t>(low);
  }

  Constants() {
    int found = 0;
    for (uint32_t n = 2; found < 64; n++) {
      bool prime = true;
      for (uint32_t d = 2; d * d <= n; d++) prime = prime && n % d != 0;
      if (!prime) continue;
      if (found < 8) start[found] = root(n, 2);
      k[found++] = root(n, 3);
    }
  }
};

uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

void compress(const Constants &constants, uint32_t state[8], const uint8_t block[64]) {
  uint32_t w[64];
  for (int i = 0; i < 16; i++)
    w[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 | uint32_t{block[4 * i + 2]} << 8 |
           block[4 * i + 3];
  for (int i = 16; i < 64; i++) {
    uint32_t a = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
    uint32_t b = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + a + w[i - 7] + b;
  }
  uint32_t v[8];
  memcpy(v, state, sizeof v);
  for (int i = 0; i < 64; i++) {
    uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
    uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
    uint32_t t1 = v[7] + s1 + choice + constants.k[i] + w[i];
    uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
    uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += t1;
    v[0] = t1 + s0 + majority;
  }
  for (int i = 0; i < 8; i++) state[i] += v[i];
}

}  // namespace

void sha256(const uint8_t *data, size_t length, uint8_t out[32]) {
  static const Constants constants;
  uint32_t state[8];
  memcpy(state, constants.start, sizeof state);
  size_t whole = length / 64 * 64;
  for (size_t at = 0; at < whole; at += 64) compress(constants, state, data + at);
  uint8_t last[128] = {};
  size_t rest = length - whole, size = rest < 56 ? 64 : 128;
  if (rest > 0) memcpy(last, data + whole, rest);
  last[rest] = 0x80;
  for (int i = 0; i < 8; i++) last[size - 1 - i] = static_cast<uint8_t>(uint64_t{length} * 8 >> (8 * i));
  for (size_t at = 0; at < size; at += 64) compress(constants, state, last + at);
  for (int i = 0; i < 32; i++) out[i] = static_cast<uint8_t>(state[i / 4] >> (24 - i % 4 * 8));
}

void hmacSha256(const uint8_t key[32], const uint8_t *data, size_t length, uint8_t out[32]) {
  std::string inner(64, '\x36'), outer(64, '\x5c');
  for (int i = 0; i < 32; i++) {
    inner[i] = static_cast<char>(inner[i] ^ key[i]);
    outer[i] = static_cast<char>(outer[i] ^ key[i]);
  }
  inner.append(reinterpret_cast<const char *>(data), length);
  uint8_t hash[32];
  sha256(reinterpret_cast<const uint8_t *>(inner.data()), inner.size(), hash);
  outer.append(reinterpret_cast<const char *>(hash), sizeof hash);
  sha256(reinterpret_cast<const uint8_t *>(outer.data()), outer.size(), out);
}

bool sameBytes(const uint8_t *a, const uint8_t *b, size_t length) {
  uint8_t difference = 0;
  for (size_t i = 0; i < length; i++) difference = static_cast<uint8_t>(difference | (a[i] ^ b[i]));
  return difference == 0;
}

}  // namespace belay::comm
