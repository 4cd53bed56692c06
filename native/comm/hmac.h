// HMAC-SHA-256 (RFC 2104, FIPS 180-4), by which connections prove that they know the secret of the group.
//
// Does not: hash fast; a connection hashes some hundred bytes once.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace belay::comm {

void sha256(const uint8_t *data, size_t length, uint8_t out[32]);
// Of a 32-byte key.
void hmacSha256(const uint8_t key[32], const uint8_t *data, size_t length, uint8_t out[32]);
// Takes the same time wherever they differ.
bool sameBytes(const uint8_t *a, const uint8_t *b, size_t length);

}  // namespace belay::comm
