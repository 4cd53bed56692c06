// Where pieces end, by hand, for the patterns that most tokenizers use; what pre-tokenizer.ts says of Apertus' holds for
// all. The comments name the alternatives of the expressions.
//
// Does not: run other expressions; TypeScript cuts by those.
#pragma once
#include <stdint.h>

#include "tokenizer.h"

namespace tokenizer {

// Classes as bits.
enum : uint8_t {
  other = 1 << BELAY_CLASS_OTHER,
  upper = 1 << BELAY_CLASS_UPPER,
  caseless = 1 << BELAY_CLASS_CASELESS,
  lower = 1 << BELAY_CLASS_LOWER,
  mark = 1 << BELAY_CLASS_MARK,
  digit = 1 << BELAY_CLASS_DIGIT,
  space = 1 << BELAY_CLASS_SPACE,
  newline = 1 << BELAY_CLASS_NEWLINE,
  letter = upper | caseless | lower,
  // [^\s\p{L}\p{N}]
  sign = other | mark,
};

struct Text {
  const uint16_t *units;
  int64_t length;
  const uint8_t *bits;  // by code point

  // The class of the character at i, and how many units it has.
  uint8_t at(int64_t i, int *width) const {
    uint32_t unit = units[i];
    *width = 1;
    if ((unit & 0xfc00) != 0xd800 || i + 1 >= length) return bits[unit];
    *width = 2;
    return bits[0x10000 + ((unit & 0x3ff) << 10) + (units[i + 1] & 0x3ff)];
  }

  // The end of the run of characters of some classes.
  int64_t run(int64_t i, uint8_t classes) const {
    int width;
    while (i < length && (at(i, &width) & classes) != 0) i += width;
    return i;
  }

  // White space is in the basic plane. Up to the last line end of the run; up to the last space before a word; all of it.
  int64_t spaces(int64_t at, bool linesAlone) const {
    int64_t i = at, lastNewline = -1;
    for (; i < length; i++) {
      uint8_t kind = bits[units[i]];
      if (kind == newline) lastNewline = i;
      else if (kind != space) break;
    }
    if (linesAlone && lastNewline >= 0) return lastNewline + 1;
    return i < length && i - at > 1 ? i - 1 : i;
  }

  // The end of (?i:'s|'t|'re|'ve|'m|'ll|'d) at i, or i; `anyCase` false: without regard to (?i).
  int64_t contraction(int64_t i, bool anyCase) const {
    if (i + 1 >= length || units[i] != '\'') return i;
    uint16_t first = fold(units[i + 1], anyCase);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return i + 2;
    if (i + 2 >= length) return i;
    uint16_t second = fold(units[i + 2], anyCase);
    if ((second == 'e' && (first == 'r' || first == 'v')) || (second == 'l' && first == 'l')) return i + 3;
    return i;
  }

 private:
  static uint16_t fold(uint16_t unit, bool anyCase) {
    if (!anyCase) return unit;
    if (unit >= 'A' && unit <= 'Z') return unit + 32;
    return unit == 0x17f ? 's' : unit;
  }
};

// End of the word that begins at `at`, or `at`: capitals, then small letters, where caseless letters and marks count as
// both. With `small`, only words that end in a small or caseless letter or mark.
inline int64_t casedWord(const Text &text, int64_t at, bool small) {
  int64_t i = at, afterCaseless = -1;
  uint8_t next = other;
  while (i < text.length) {
    int width;
    next = text.at(i, &width);
    if ((next & (upper | caseless | mark)) == 0) break;
    i += width;
    if (next != upper) afterCaseless = i;
  }
  if (i < text.length && next == lower) return text.run(i, lower | caseless | mark);
  if (afterCaseless >= 0) return afterCaseless;
  return small ? at : i;
}

template <int scanner>
int64_t pieceEnd(const Text &text, int64_t at) {
  constexpr bool isCased = scanner == BELAY_SCAN_APERTUS || scanner == BELAY_SCAN_O200K;
  constexpr bool hasContraction = scanner != BELAY_SCAN_APERTUS;
  constexpr int digits = scanner == BELAY_SCAN_O200K || scanner == BELAY_SCAN_LLAMA3 ? 3 : 1;
  int width;
  uint8_t first = text.at(at, &width);
  int64_t behind = at + width;

  if constexpr (scanner == BELAY_SCAN_GPT2) {
    int64_t end = text.contraction(at, false);
    if (end > at) return end;
    // ` ?\p{L}+`, ` ?\p{N}+`, ` ?[^\s\p{L}\p{N}]+`
    int64_t from = text.units[at] == ' ' ? behind : at;
    if (from < text.length) {
      uint8_t kind = from == at ? first : text.at(from, &width);
      uint8_t classes = kind & letter ? letter : kind == digit ? digit : kind & sign ? sign : 0;
      if (classes != 0) return text.run(from, classes);
    }
    return text.spaces(at, false);
  }

  if constexpr (isCased) {
    // Words, with one character before them that is no letter, digit or line end.
    int64_t end = at;
    if (first & letter) {
      end = casedWord(text, at, false);
    } else if (first & (sign | space)) {
      end = casedWord(text, behind, true);
      if (end == behind) {
        // A mark with no word after it is a word by itself, and the capitals after it come second.
        if (first == mark) end = casedWord(text, at, false);
        else if ((end = casedWord(text, behind, false)) == behind) end = at;
      }
    }
    if (end > at) return hasContraction ? text.contraction(end, true) : end;
  } else {
    int64_t end = text.contraction(at, true);
    if (end > at) return end;
    if (first & letter) return text.run(behind, letter);
    if (first & (sign | space)) {
      end = text.run(behind, letter);
      if (end > behind) return end;
    }
  }

  if (first == digit) {
    int64_t end = behind;
    for (int i = 1; i < digits && end < text.length && text.at(end, &width) == digit; i++) end += width;
    return end;
  }

  // Signs, with a leading space, then line ends (and slashes).
  int64_t from = text.units[at] == ' ' ? behind : at;
  int64_t end = text.run(from, sign);
  if (end > from) {
    while (end < text.length) {
      uint16_t unit = text.units[end];
      if (unit != '\n' && unit != '\r' && !(isCased && unit == '/')) break;
      end++;
    }
    return end;
  }
  return text.spaces(at, true);
}

}  // namespace tokenizer
