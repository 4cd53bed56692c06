// Learning of merges: the most frequent pair, again and again; ties go to the lower left id, then to the lower right id.
//
// A merge touches only the words that hold its pair, found through a list of words per pair; heaps give the next pair,
// with entries that may be out of date. Where languages are compared, each merge is the most frequent pair of the language
// that pays most (parity-aware BPE, arXiv:2508.04796), and counts are kept by pair and language.
//
// Does not: count words; train-words.cpp does.
#include <algorithm>

#include "train.h"

namespace belay::training {

namespace {

uint64_t keyOf(uint32_t left, uint32_t right) { return static_cast<uint64_t>(left) << 32 | right; }
// No pair has these ids.
constexpr uint64_t freeKey = ~0ull;
// Of a language that is compared, pairs that occur once are no pattern of it.
constexpr int64_t leastOfLanguage = 2;

}  // namespace

Learner::Table::Table() : keys(1 << 12, freeKey), values(1 << 12) {}

uint32_t Learner::Table::findOrAdd(uint64_t key, uint32_t fresh) {
  uint64_t mask = keys.size() - 1;
  uint64_t hash = key * 0x9e3779b97f4a7c15u;
  hash ^= hash >> 32;
  for (uint64_t place = hash & mask;; place = (place + 1) & mask) {
    if (keys[place] == key) return values[place];
    if (keys[place] != freeKey) continue;
    keys[place] = key;
    values[place] = fresh;
    if (++size * 2 > keys.size()) grow();
    return fresh;
  }
}

void Learner::Table::grow() {
  std::vector<uint64_t> oldKeys(keys.size() * 2, freeKey);
  std::vector<uint32_t> oldValues(oldKeys.size());
  oldKeys.swap(keys);
  oldValues.swap(values);
  size = 0;
  for (size_t i = 0; i < oldKeys.size(); i++)
    if (oldKeys[i] != freeKey) findOrAdd(oldKeys[i], oldValues[i]);
}

Learner::Learner(Words words, const int32_t *idOfByte, int32_t firstFree, std::vector<double> given)
    : next(firstFree), units(std::move(given)), bytesOf(firstFree) {
  compared = std::any_of(units.begin(), units.end(), [](double value) { return value > 0; });
  size_t languages = compared ? units.size() : 1;
  tokensOf.resize(languages);
  exhausted.resize(languages);
  isMet.resize(languages);
  heaps.resize(languages);
  for (int byte = 0; byte < 256; byte++) {
    bytesOf[idOfByte[byte]] = std::string(1, static_cast<char>(byte));
    idOfBytes[bytesOf[idOfByte[byte]]] = idOfByte[byte];
  }

  size_t count = words.list.size();
  symbols.resize(words.text.size());
  starts.resize(count);
  lengths.resize(count);
  languageOf.resize(count);
  weights.resize(count);
  costs.resize(count);
  // Pair of each symbol and the one after it; a word's last symbol has none.
  std::vector<uint32_t> pairAt(words.text.size());
  std::vector<uint32_t> lastWord;
  std::vector<uint32_t> wordsOf;
  for (size_t w = 0; w < count; w++) {
    const Words::Word &word = words.list[w];
    uint32_t language = compared ? word.group / 2 : 0;
    bool measures = compared && word.group % 2 == 1;
    starts[w] = word.start;
    lengths[w] = word.bytes;
    languageOf[w] = language;
    weights[w] = measures ? 0 : word.count;
    costs[w] = measures ? word.count : 0;
    tokensOf[language] += costs[w] * word.bytes;
    for (uint32_t i = 0; i < word.bytes; i++) {
      int32_t symbol = idOfByte[words.text[word.start + i]];
      symbols[word.start + i] = symbol;
      if (i == 0) continue;
      uint32_t pair = pairOf(symbols[word.start + i - 1], symbol);
      pairAt[word.start + i - 1] = pair;
      counts[cellOf(pair, language)] += weights[w];
      if (pair >= lastWord.size()) {
        lastWord.resize(pair + 1, ~0u);
        wordsOf.resize(pair + 1);
      }
      if (lastWord[pair] != w) wordsOf[pair]++;
      lastWord[pair] = static_cast<uint32_t>(w);
    }
  }
  words.text = {};
  firstWords.resize(pairs.size() + 1);
  for (size_t pair = 0; pair < pairs.size(); pair++) firstWords[pair + 1] = firstWords[pair] + wordsOf[pair];
  startWords.resize(firstWords.back());
  std::vector<uint64_t> fill(firstWords.begin(), firstWords.end() - 1);
  std::fill(lastWord.begin(), lastWord.end(), ~0u);
  for (size_t w = 0; w < count; w++) {
    for (uint32_t i = 0; i + 1 < lengths[w]; i++) {
      uint32_t pair = pairAt[starts[w] + i];
      if (lastWord[pair] == w) continue;
      lastWord[pair] = static_cast<uint32_t>(w);
      startWords[fill[pair]++] = static_cast<uint32_t>(w);
    }
  }
  for (uint32_t cell = 0; cell < counts.size(); cell++) {
    const Pair &pair = pairs[pairOfCell[cell]];
    if (counts[cell] > 0)
      heaps[languageOfCell[cell]].push_back({counts[cell], pair.left, pair.right, cell});
  }
  for (auto &heap : heaps) std::make_heap(heap.begin(), heap.end(), after);
}

bool Learner::after(const Candidate &a, const Candidate &b) {
  if (a.count != b.count) return a.count < b.count;
  if (a.left != b.left) return a.left > b.left;
  return a.right > b.right;
}

uint32_t Learner::pairOf(int32_t left, int32_t right) {
  uint32_t fresh = static_cast<uint32_t>(pairs.size());
  uint32_t pair = pairTable.findOrAdd(keyOf(left, right), fresh);
  if (pair == fresh) {
    pairs.push_back({left, right});
    laterWords.emplace_back();
  }
  return pair;
}

uint32_t Learner::cellOf(uint32_t pair, uint32_t language) {
  uint32_t fresh = static_cast<uint32_t>(counts.size());
  uint32_t cell = compared ? cellTable.findOrAdd(keyOf(pair, language), fresh) : pair;
  if (cell == fresh) {
    counts.push_back(0);
    pairOfCell.push_back(pair);
    languageOfCell.push_back(language);
    isTouched.push_back(0);
  }
  return cell;
}

void Learner::add(int32_t left, int32_t right, uint32_t word) {
  uint32_t pair = pairOf(left, right);
  auto &list = laterWords[pair];
  if (list.empty() || list.back() != word) list.push_back(word);
  if (weights[word] == 0) return;
  uint32_t cell = cellOf(pair, languageOf[word]);
  counts[cell] += weights[word];
  if (isTouched[cell]) return;
  isTouched[cell] = 1;
  touched.push_back(cell);
}

void Learner::remove(int32_t left, int32_t right, uint32_t word) {
  if (weights[word] > 0) counts[cellOf(pairOf(left, right), languageOf[word])] -= weights[word];
}

// The most frequent pair of a language, on top of its heap.
bool Learner::best(uint32_t language, Candidate *out) {
  auto &heap = heaps[language];
  while (!heap.empty()) {
    Candidate top = heap.front();
    int64_t count = counts[top.cell];
    if (count == top.count) {
      *out = top;
      return true;
    }
    std::pop_heap(heap.begin(), heap.end(), after);
    heap.pop_back();
    if (count <= 0) continue;
    top.count = count;
    heap.push_back(top);
    std::push_heap(heap.begin(), heap.end(), after);
  }
  return false;
}

bool Learner::choose(Candidate *out) {
  if (!compared) return best(0, out);
  for (;;) {
    size_t worst = units.size();
    double most = -1;
    for (size_t language = 0; language < units.size(); language++) {
      if (exhausted[language] || !(units[language] > 0)) continue;
      double cost = static_cast<double>(tokensOf[language]) / units[language];
      if (cost <= most) continue;
      most = cost;
      worst = language;
    }
    if (worst == units.size()) return false;
    if (best(static_cast<uint32_t>(worst), out) && out->count >= leastOfLanguage) return true;
    exhausted[worst] = 1;
  }
}

int32_t Learner::idOf(const std::string &bytes) {
  // Two merges can make the same bytes; the second one reuses the id of the first.
  auto [found, isNew] = idOfBytes.try_emplace(bytes, next);
  if (isNew) {
    bytesOf.push_back(bytes);
    next++;
  }
  return found->second;
}

size_t Learner::learn(size_t most, Merge *out) {
  size_t learnt = 0;
  Candidate chosen;
  while (learnt < most && choose(&chosen)) {
    int32_t made = idOf(bytesOf[chosen.left] + bytesOf[chosen.right]);
    out[learnt++] = {chosen.left, chosen.right, made};
    apply(pairOfCell[chosen.cell], made);
  }
  return learnt;
}

void Learner::apply(uint32_t pair, int32_t made) {
  auto [left, right] = pairs[pair];
  if (pair + 1 < firstWords.size()) {
    for (uint64_t i = firstWords[pair]; i < firstWords[pair + 1]; i++) mergeIn(startWords[i], left, right, made);
  }
  std::vector<uint32_t> later;
  later.swap(laterWords[pair]);
  for (uint32_t word : later) mergeIn(word, left, right, made);
  // No word holds the pair any more.
  for (uint32_t language : met) {
    counts[cellOf(pair, language)] = 0;
    isMet[language] = 0;
  }
  met.clear();
  for (uint32_t cell : touched) {
    isTouched[cell] = 0;
    if (counts[cell] <= 0) continue;
    const Pair &ids = pairs[pairOfCell[cell]];
    auto &heap = heaps[languageOfCell[cell]];
    heap.push_back({counts[cell], ids.left, ids.right, cell});
    std::push_heap(heap.begin(), heap.end(), after);
  }
  touched.clear();
}

void Learner::mergeIn(uint32_t word, int32_t left, int32_t right, int32_t made) {
  uint32_t language = languageOf[word];
  if (!isMet[language]) met.push_back(language);
  isMet[language] = 1;
  int32_t *text = symbols.data() + starts[word];
  uint32_t length = lengths[word];
  uint32_t kept = 0;
  for (uint32_t i = 0; i < length; i++) {
    if (text[i] != left || i + 1 >= length || text[i + 1] != right) {
      text[kept++] = text[i];
      continue;
    }
    if (kept > 0) {
      remove(text[kept - 1], left, word);
      add(text[kept - 1], made, word);
    }
    if (i + 2 < length) {
      remove(right, text[i + 2], word);
      add(made, text[i + 2], word);
    }
    text[kept++] = made;
    i++;
  }
  tokensOf[language] -= costs[word] * (length - kept);
  lengths[word] = kept;
}

}  // namespace belay::training
