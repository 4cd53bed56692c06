// Training of byte-level BPE: how often words occur, by threads and within a bound of memory, and which pairs to join.
//
// Counts are exact: a table of words that outgrows its share is written aside, sorted, and all parts are merged at the
// end. Neither counts nor merges depend on the number of threads. src/tokenizer/train-words.ts and train-merges.ts are
// the same in TypeScript, the oracle.
//
// Does not: know Node-API (addon.cpp does), or read files of texts.
#pragma once
#include <stdint.h>
#include <stdio.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace belay::training {

// How often words (UTF-16) of groups occur: an open hash table over one pool of text.
class WordTable {
 public:
  struct Entry {
    uint64_t hash;
    uint64_t start;
    uint32_t units;
    uint32_t group;
    int64_t count;
  };

  WordTable();
  void add(const char16_t *text, uint32_t units, uint32_t group, int64_t count);
  uint64_t memory() const;
  void clear();
  // Entries by group, then by text.
  void sort();
  const std::vector<Entry> &entries() const { return rows; }
  std::u16string_view text(const Entry &entry) const { return {pool.data() + entry.start, entry.units}; }

 private:
  void grow();

  std::vector<Entry> rows;
  // High half of the hash, index of the row + 1.
  std::vector<uint64_t> slots;
  std::vector<char16_t> pool;
};

// The words that merges are learnt from, as UTF-8.
struct Words {
  struct Word {
    uint64_t start;
    uint32_t bytes;
    uint32_t group;
    int64_t count;
  };
  std::vector<Word> list;
  std::vector<uint8_t> text;
  // Distinct words that were met and that were left out, and the least count of those kept.
  int64_t met = 0;
  int64_t leftOut = 0;
  int64_t least = 1;
};

// Counts the words of texts.
class WordCounter {
 public:
  // `whole`: strings at which texts are cut, since tokens match them whole. `dir`: where parts are written aside.
  // `classes`: of each code point (tokenizer.h).
  WordCounter(int threads, uint64_t memory, std::string dir, std::vector<std::u16string> whole, const uint8_t *classes);
  ~WordCounter();

  // Room for a text of so many units, well-formed UTF-16, to be filled before `added`.
  char16_t *room(size_t units);
  void added(size_t units, uint32_t group);

  // Ends counting; false, with `error` set, where a part could not be written or read.
  bool finish(Words *words);
  const std::string &error() const { return why; }

 private:
  struct Text {
    size_t end;
    uint32_t group;
  };
  struct Batch {
    std::vector<char16_t> units;
    size_t length = 0;
    std::vector<Text> texts;
  };
  struct Part {
    WordTable table;
    std::vector<FILE *> runs;
  };

  void dispatch();
  void work(Part *part);
  void count(const Batch &batch, Part *part);
  void countSegment(const char16_t *text, size_t length, uint32_t group, WordTable *table);
  void writeRun(Part *part);
  void fail(const std::string &what);
  template <class Visit>
  bool merged(Visit visit);

  uint64_t memory;
  std::string dir;
  std::vector<std::u16string> whole;
  bool beginsWhole[128] = {};
  std::vector<uint8_t> bits;

  Batch filling;
  std::vector<std::unique_ptr<Part>> parts;
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Batch> queue;
  std::vector<Batch> spare;
  bool ending = false;
  std::atomic<bool> failed = false;
  std::string why;
};

// Learns merges, one after the other.
class Learner {
 public:
  struct Merge {
    int32_t left, right, made;
  };

  // Group g holds words of language g / 2; those of odd groups only say what a language costs. `units` has what each
  // language's cost is divided by, 0 where it is not compared; without languages that are, pairs count over all.
  Learner(Words words, const int32_t *idOfByte, int32_t firstFree, std::vector<double> units);
  // Up to `most` merges; fewer where no pair is left.
  size_t learn(size_t most, Merge *out);

 private:
  struct Candidate {
    int64_t count;
    int32_t left, right;
    uint32_t cell;
  };
  struct Pair {
    int32_t left, right;
  };
  class Table {
   public:
    Table();
    // The value of a key, or `fresh`, which is then its value.
    uint32_t findOrAdd(uint64_t key, uint32_t fresh);

   private:
    void grow();
    std::vector<uint64_t> keys;
    std::vector<uint32_t> values;
    size_t size = 0;
  };

  static bool after(const Candidate &a, const Candidate &b);
  uint32_t pairOf(int32_t left, int32_t right);
  uint32_t cellOf(uint32_t pair, uint32_t language);
  void add(int32_t left, int32_t right, uint32_t word);
  void remove(int32_t left, int32_t right, uint32_t word);
  bool best(uint32_t language, Candidate *out);
  bool choose(Candidate *out);
  void apply(uint32_t pair, int32_t made);
  void mergeIn(uint32_t word, int32_t left, int32_t right, int32_t made);
  int32_t idOf(const std::string &bytes);

  // Whether languages are compared; else everything is language 0.
  bool compared;
  int32_t next;
  std::vector<double> units;
  std::vector<int64_t> tokensOf;
  std::vector<uint8_t> exhausted;

  std::vector<int32_t> symbols;
  std::vector<uint64_t> starts;
  std::vector<uint32_t> lengths;
  std::vector<uint32_t> languageOf;
  // What a word adds to pairs, and what each of its symbols costs its language.
  std::vector<int64_t> weights;
  std::vector<int64_t> costs;

  Table pairTable;
  std::vector<Pair> pairs;
  // Words that hold a pair, or once held it: those of the start in a row, later ones in lists.
  std::vector<uint64_t> firstWords;
  std::vector<uint32_t> startWords;
  std::vector<std::vector<uint32_t>> laterWords;

  Table cellTable;
  std::vector<int64_t> counts;
  std::vector<uint32_t> pairOfCell;
  std::vector<uint32_t> languageOfCell;
  std::vector<uint8_t> isTouched;
  std::vector<uint32_t> touched;
  // Languages of the words that held the pair.
  std::vector<uint8_t> isMet;
  std::vector<uint32_t> met;
  std::vector<std::vector<Candidate>> heaps;

  std::vector<std::string> bytesOf;
  std::unordered_map<std::string, int32_t> idOfBytes;
};

}  // namespace belay::training
