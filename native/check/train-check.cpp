// Checks the training of native/tokenizer/ under the sanitizers: counts of words against a plain map, through parts that are
// put aside and any number of threads, and merges against the plainest trainer there is.
//
// Does not: know the pattern that cuts texts; src/tokenizer/train.test.ts compares with TypeScript and with the reference.
#include <stdio.h>
#include <stdlib.h>

#include <map>
#include <random>

#include "../tokenizer/tokenizer.h"
#include "../tokenizer/train.h"

using namespace belay::training;

namespace {

int failures = 0;

void check(bool good, const char *what, int seed) {
  if (good) return;
  fprintf(stderr, "train-check: %s, seed %d\n", what, seed);
  failures++;
}

// The merges of words by counting all pairs anew each time.
std::vector<Learner::Merge> plainMerges(const Words &words, size_t most) {
  std::vector<std::vector<int32_t>> texts;
  std::map<std::string, int32_t> ids;
  std::vector<std::string> bytes(256);
  for (int byte = 0; byte < 256; byte++) ids[bytes[byte] = std::string(1, static_cast<char>(byte))] = byte;
  for (const auto &word : words.list)
    texts.emplace_back(words.text.begin() + word.start, words.text.begin() + word.start + word.bytes);
  std::vector<Learner::Merge> merges;
  while (merges.size() < most) {
    std::map<std::pair<int32_t, int32_t>, int64_t> counts;
    for (size_t w = 0; w < texts.size(); w++)
      for (size_t i = 0; i + 1 < texts[w].size(); i++) counts[{texts[w][i], texts[w][i + 1]}] += words.list[w].count;
    std::pair<int32_t, int32_t> best;
    int64_t count = 0;
    for (const auto &[pair, found] : counts)
      if (found > count) best = pair, count = found;
    if (count == 0) break;
    auto [at, isNew] = ids.try_emplace(bytes[best.first] + bytes[best.second], static_cast<int32_t>(bytes.size()));
    if (isNew) bytes.push_back(at->first);
    merges.push_back({best.first, best.second, at->second});
    for (auto &text : texts) {
      std::vector<int32_t> next;
      for (size_t i = 0; i < text.size(); i++) {
        bool joins = i + 1 < text.size() && text[i] == best.first && text[i + 1] == best.second;
        next.push_back(joins ? at->second : text[i]);
        i += joins;
      }
      text = next;
    }
  }
  return merges;
}

void checkTraining(int seed, int threads, uint64_t memory) {
  std::mt19937 random(seed);
  std::vector<uint8_t> classes(BELAY_CODE_POINTS, BELAY_CLASS_CASELESS);
  classes[' '] = BELAY_CLASS_SPACE;
  classes['\n'] = BELAY_CLASS_NEWLINE;
  classes['7'] = BELAY_CLASS_DIGIT;
  WordCounter counter(threads, memory, "/tmp", {u"<a>"}, classes.data());
  // Words end at spaces that begin the next one, so a text of one word is that word.
  std::map<std::u16string, int64_t> expected;
  const std::u16string letters = u"aabbcd\u00e9\u6f22";
  // Enough for several batches.
  for (int i = 0; i < 400000; i++) {
    std::u16string word(1 + random() % (i % 4000 == 0 ? 200 : 4), u' ');
    for (auto &unit : word) unit = letters[random() % letters.size()];
    if (i % 7 == 0) word += u"\U0001f600";
    expected[word]++;
    std::u16string text = i % 3 == 0 ? u"<a>" + word : word;
    std::copy(text.begin(), text.end(), counter.room(text.size()));
    counter.added(text.size(), 0);
  }
  Words words;
  check(counter.finish(&words), "counting failed", seed);
  check(words.met == static_cast<int64_t>(expected.size()), "number of words", seed);
  int64_t sum = 0, kept = 0;
  for (const auto &[word, count] : expected) {
    if (count < words.least) continue;
    sum += count;
    kept++;
  }
  for (const auto &word : words.list) sum -= word.count;
  check(sum == 0 && words.list.size() == static_cast<size_t>(kept), "counts of words", seed);

  int32_t idOfByte[256];
  for (int byte = 0; byte < 256; byte++) idOfByte[byte] = byte;
  std::vector<Learner::Merge> found(60);
  std::vector<Learner::Merge> plain = plainMerges(words, found.size());
  Learner learner(words, idOfByte, 256, {});
  size_t first = learner.learn(7, found.data());
  size_t learnt = first + learner.learn(found.size() - first, found.data() + first);
  bool same = learnt == plain.size();
  for (size_t i = 0; same && i < learnt; i++)
    same = found[i].left == plain[i].left && found[i].right == plain[i].right && found[i].made == plain[i].made;
  check(same, "merges", seed);
}

}  // namespace

int main() {
  for (int seed = 0; seed < 2; seed++) {
    checkTraining(seed, 1, 1u << 30);
    checkTraining(seed, 3, 1u << 30);
    checkTraining(seed, 3, 1u << 19);
  }
  if (failures == 0) printf("train-check: all good\n");
  return failures == 0 ? 0 : 1;
}
