// Counting of words: texts are cut into the pieces of the Apertus pattern (scan.h).
//
// Texts are gathered into batches that threads count, each in a table of its own; a caller who is ahead of them counts
// a batch itself. With one thread there is no other than the caller.
//
// Does not: merge pairs; train-merges.cpp does.
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "scan.h"
#include "train.h"

namespace belay::training {

namespace {

constexpr size_t batchUnits = 1 << 19;
// Batches that wait before the caller counts one itself.
constexpr size_t queued = 4;
// Below this a table is not put aside, however little memory there is: every part is an open file.
constexpr uint64_t leastTable = 1 << 18;

uint64_t mix(uint64_t a, uint64_t b) {
  unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

uint64_t hashOf(const char16_t *text, uint32_t units, uint32_t group) {
  uint64_t hash = mix(units + 1, 0x9e3779b97f4a7c15u) ^ (group * 0xd6e8feb86659fd93u);
  while (units > 3) {
    uint64_t four;
    memcpy(&four, text, 8);
    hash = mix(hash ^ four, 0xe7037ed1a0b428dbu);
    text += 4;
    units -= 4;
  }
  uint64_t rest = 0;
  memcpy(&rest, text, units * 2);
  hash = mix(hash ^ rest, 0x8ebc6af09c88c6e3u);
  return hash ^ (hash >> 29);
}

bool isHigh(char16_t unit) { return (unit & 0xfc00) == 0xd800; }
bool isLow(char16_t unit) { return (unit & 0xfc00) == 0xdc00; }

// The code point at a place.
uint32_t codeAt(const char16_t *text, size_t at, size_t length) {
  char16_t unit = text[at];
  if (!isHigh(unit) || at + 1 >= length || !isLow(text[at + 1])) return unit;
  return 0x10000 + ((static_cast<uint32_t>(unit) - 0xd800) << 10) + (static_cast<uint32_t>(text[at + 1]) - 0xdc00);
}

size_t width(uint32_t code) { return code > 0xffff ? 2 : 1; }

uint64_t utf8Bytes(std::u16string_view text) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < text.size();) {
    uint32_t code = codeAt(text.data(), i, text.size());
    i += width(code);
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return bytes;
}

void appendUtf8(std::u16string_view text, std::vector<uint8_t> *out) {
  for (size_t i = 0; i < text.size();) {
    uint32_t code = codeAt(text.data(), i, text.size());
    i += width(code);
    if (code < 0x80) {
      out->push_back(static_cast<uint8_t>(code));
    } else if (code < 0x800) {
      out->insert(out->end(), {static_cast<uint8_t>(0xc0 | code >> 6), static_cast<uint8_t>(0x80 | (code & 63))});
    } else if (code < 0x10000) {
      out->insert(out->end(), {static_cast<uint8_t>(0xe0 | code >> 12), static_cast<uint8_t>(0x80 | (code >> 6 & 63)),
                               static_cast<uint8_t>(0x80 | (code & 63))});
    } else {
      out->insert(out->end(), {static_cast<uint8_t>(0xf0 | code >> 18), static_cast<uint8_t>(0x80 | (code >> 12 & 63)),
                               static_cast<uint8_t>(0x80 | (code >> 6 & 63)), static_cast<uint8_t>(0x80 | (code & 63))});
    }
  }
}

}  // namespace

WordTable::WordTable() : slots(1 << 12) {}

void WordTable::add(const char16_t *text, uint32_t units, uint32_t group, int64_t count) {
  uint64_t hash = hashOf(text, units, group);
  uint64_t mask = slots.size() - 1;
  for (uint64_t place = hash & mask;; place = (place + 1) & mask) {
    uint64_t slot = slots[place];
    if (slot == 0) {
      slots[place] = (hash & 0xffffffff00000000u) | (rows.size() + 1);
      rows.push_back({hash, pool.size(), units, group, count});
      pool.insert(pool.end(), text, text + units);
      if (rows.size() * 2 > slots.size()) grow();
      return;
    }
    if ((slot ^ hash) >> 32 != 0) continue;
    Entry &entry = rows[(slot & 0xffffffffu) - 1];
    if (entry.units != units || entry.group != group || memcmp(pool.data() + entry.start, text, units * 2) != 0)
      continue;
    entry.count += count;
    return;
  }
}

void WordTable::grow() {
  slots.assign(slots.size() * 2, 0);
  uint64_t mask = slots.size() - 1;
  for (size_t row = 0; row < rows.size(); row++) {
    uint64_t place = rows[row].hash & mask;
    while (slots[place] != 0) place = (place + 1) & mask;
    slots[place] = (rows[row].hash & 0xffffffff00000000u) | (row + 1);
  }
}

uint64_t WordTable::memory() const { return rows.size() * sizeof(Entry) + slots.size() * 8 + pool.size() * 2; }

void WordTable::clear() {
  rows.clear();
  pool.clear();
  slots.assign(1 << 12, 0);
}

void WordTable::sort() {
  std::sort(rows.begin(), rows.end(), [this](const Entry &a, const Entry &b) {
    return a.group != b.group ? a.group < b.group : text(a) < text(b);
  });
}

WordCounter::WordCounter(int threads, uint64_t memory, std::string dir, std::vector<std::u16string> whole,
                         const uint8_t *classes)
    : memory(memory), dir(std::move(dir)), whole(std::move(whole)), bits(BELAY_CODE_POINTS) {
  for (int code = 0; code < BELAY_CODE_POINTS; code++) bits[code] = static_cast<uint8_t>(1 << classes[code]);
  for (const auto &string : this->whole) beginsWhole[string[0]] = true;
  for (int i = 0; i < threads; i++) parts.push_back(std::make_unique<Part>());
  for (int i = 1; i < threads; i++) workers.emplace_back([this, i] { work(parts[i].get()); });
}

WordCounter::~WordCounter() {
  {
    std::lock_guard<std::mutex> lock(mutex);
    ending = true;
    queue.clear();
  }
  wake.notify_all();
  for (auto &worker : workers) worker.join();
  for (auto &part : parts)
    for (FILE *run : part->runs) fclose(run);
}

char16_t *WordCounter::room(size_t units) {
  if (filling.length >= batchUnits) dispatch();
  if (filling.units.size() < filling.length + units) filling.units.resize(filling.length + units + batchUnits / 4);
  return filling.units.data() + filling.length;
}

void WordCounter::added(size_t units, uint32_t group) {
  filling.length += units;
  filling.texts.push_back({filling.length, group});
}

// Hands the batch to a thread, or counts it.
void WordCounter::dispatch() {
  if (workers.empty()) {
    count(filling, parts[0].get());
    filling.length = 0;
    filling.texts.clear();
    return;
  }
  std::unique_lock<std::mutex> lock(mutex);
  queue.push_back(std::move(filling));
  filling = {};
  if (!spare.empty()) {
    filling = std::move(spare.back());
    spare.pop_back();
  }
  wake.notify_one();
  if (queue.size() <= queued) return;
  Batch own = std::move(queue.front());
  queue.pop_front();
  lock.unlock();
  count(own, parts[0].get());
}

void WordCounter::work(Part *part) {
  std::unique_lock<std::mutex> lock(mutex);
  for (;;) {
    wake.wait(lock, [this] { return ending || !queue.empty(); });
    if (queue.empty()) return;
    Batch batch = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    count(batch, part);
    batch.length = 0;
    batch.texts.clear();
    lock.lock();
    spare.push_back(std::move(batch));
  }
}

void WordCounter::count(const Batch &batch, Part *part) {
  size_t start = 0;
  for (const Text &text : batch.texts) {
    if (failed) return;
    const char16_t *units = batch.units.data() + start;
    size_t length = text.end - start;
    start = text.end;
    size_t from = 0;
    for (size_t i = 0; i < length;) {
      if (units[i] > 127 || !beginsWhole[units[i]]) {
        i++;
        continue;
      }
      size_t cut = 0;
      for (const auto &string : whole) {
        if (length - i >= string.size() &&
            memcmp(units + i, string.data(), string.size() * 2) == 0) {
          cut = string.size();
          break;
        }
      }
      if (cut == 0) {
        i++;
        continue;
      }
      countSegment(units + from, i - from, text.group, &part->table);
      i += cut;
      from = i;
    }
    countSegment(units + from, length - from, text.group, &part->table);
    // The tables get half of the memory, the other half is for what sorts and merges them.
    if (part->table.memory() > std::max(memory / 2 / parts.size(), leastTable)) writeRun(part);
  }
}

void WordCounter::countSegment(const char16_t *text, size_t length, uint32_t group, WordTable *table) {
  const ::tokenizer::Text units{reinterpret_cast<const uint16_t *>(text), static_cast<int64_t>(length), bits.data()};
  for (int64_t at = 0; at < units.length;) {
    int64_t end = ::tokenizer::pieceEnd<BELAY_SCAN_APERTUS>(units, at);
    table->add(text + at, static_cast<uint32_t>(end - at), group, 1);
    at = end;
  }
}

void WordCounter::fail(const std::string &what) {
  std::lock_guard<std::mutex> lock(mutex);
  if (!failed) why = what + ": " + strerror(errno);
  failed = true;
}

// Writes a table aside, sorted: group, units, count, text of each word. The file has no name: it goes with the process.
void WordCounter::writeRun(Part *part) {
  part->table.sort();
  std::string path = dir + "/belay-words-XXXXXX";
  int descriptor = mkstemp(path.data());
  FILE *run = descriptor < 0 ? nullptr : fdopen(descriptor, "w+b");
  if (run == nullptr) return fail("word counts cannot be put aside in " + dir);
  unlink(path.c_str());
  setvbuf(run, nullptr, _IOFBF, 1 << 18);
  bool good = true;
  for (const auto &entry : part->table.entries()) {
    uint32_t head[2] = {entry.group, entry.units};
    good = fwrite(head, sizeof head, 1, run) == 1 && fwrite(&entry.count, 8, 1, run) == 1 &&
           fwrite(part->table.text(entry).data(), 2, entry.units, run) == entry.units;
    if (!good) break;
  }
  if (!good || fflush(run) != 0) fail("word counts cannot be put aside in " + dir);
  part->runs.push_back(run);
  part->table.clear();
}

// Calls visit(text, group, count) once for every word: from the one table, or in order from all sorted parts.
template <class Visit>
bool WordCounter::merged(Visit visit) {
  struct Source {
    const WordTable *table = nullptr;
    FILE *run = nullptr;
    size_t row = 0;
    uint32_t group = 0;
    int64_t count = 0;
    std::u16string text;
  };
  std::vector<Source> sources;
  for (auto &part : parts) {
    sources.push_back({&part->table, nullptr, 0, 0, 0, {}});
    for (FILE *run : part->runs) {
      rewind(run);
      sources.push_back({nullptr, run, 0, 0, 0, {}});
    }
  }
  if (sources.size() == 1) {
    for (const auto &entry : parts[0]->table.entries()) visit(parts[0]->table.text(entry), entry.group, entry.count);
    return true;
  }
  bool good = true;
  auto advance = [&good](Source &source) {
    if (source.table != nullptr) {
      if (source.row >= source.table->entries().size()) return false;
      const auto &entry = source.table->entries()[source.row++];
      source.group = entry.group;
      source.count = entry.count;
      source.text = source.table->text(entry);
      return true;
    }
    uint32_t head[2];
    if (fread(head, sizeof head, 1, source.run) != 1) {
      good = good && !ferror(source.run);
      return false;
    }
    source.group = head[0];
    source.text.resize(head[1]);
    bool whole = fread(&source.count, 8, 1, source.run) == 1 &&
                 fread(source.text.data(), 2, head[1], source.run) == head[1];
    good = good && whole;
    return whole;
  };
  auto later = [&sources](size_t a, size_t b) {
    const Source &x = sources[a], &y = sources[b];
    return x.group != y.group ? x.group > y.group : x.text > y.text;
  };
  std::vector<size_t> heap;
  for (size_t i = 0; i < sources.size(); i++)
    if (advance(sources[i])) heap.push_back(i);
  std::make_heap(heap.begin(), heap.end(), later);
  std::u16string text;
  uint32_t group = 0;
  int64_t count = 0;
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    Source &source = sources[heap.back()];
    if (count > 0 && source.group == group && source.text == text) {
      count += source.count;
    } else {
      if (count > 0) visit(std::u16string_view(text), group, count);
      group = source.group;
      count = source.count;
      text.swap(source.text);
    }
    if (advance(source)) std::push_heap(heap.begin(), heap.end(), later);
    else heap.pop_back();
  }
  if (count > 0) visit(std::u16string_view(text), group, count);
  return good;
}

bool WordCounter::finish(Words *words) {
  if (filling.length > 0 || !filling.texts.empty()) dispatch();
  for (;;) {
    Batch own;
    {
      std::lock_guard<std::mutex> lock(mutex);
      if (queue.empty()) break;
      own = std::move(queue.front());
      queue.pop_front();
    }
    count(own, parts[0].get());
  }
  {
    std::lock_guard<std::mutex> lock(mutex);
    ending = true;
  }
  wake.notify_all();
  for (auto &worker : workers) worker.join();
  workers.clear();
  if (failed) return false;

  bool aside = false;
  for (auto &part : parts) aside = aside || !part->runs.empty();
  if (aside) {
    for (auto &part : parts) part->table.sort();
  } else {
    // All is in memory: one table takes the others' words.
    for (size_t i = 1; i < parts.size(); i++) {
      for (const auto &entry : parts[i]->table.entries())
        parts[0]->table.add(parts[i]->table.text(entry).data(), entry.units, entry.group, entry.count);
      parts[i].reset();
    }
    parts.resize(1);
  }

  // How much the words of each count need: the rule of train-words.ts.
  struct Need {
    uint64_t words = 0, bytes = 0;
  };
  std::map<int64_t, Need, std::greater<>> needs;
  std::vector<Need> low(1 << 12);
  bool good = merged([&](std::u16string_view text, uint32_t, int64_t count) {
    Need &need = count < static_cast<int64_t>(low.size()) ? low[count] : needs[count];
    need.words++;
    need.bytes += utf8Bytes(text);
  });
  for (size_t count = 1; count < low.size(); count++)
    if (low[count].words > 0) needs[static_cast<int64_t>(count)] = low[count];
  uint64_t room = memory, keptWords = 0, keptBytes = 0;
  bool fits = true;
  words->least = 1;
  for (const auto &[count, need] : needs) {
    words->met += static_cast<int64_t>(need.words);
    uint64_t needed = 24 * need.bytes + 48 * need.words;
    fits = fits && needed <= room;
    if (!fits) {
      words->leftOut += static_cast<int64_t>(need.words);
      continue;
    }
    room -= needed;
    keptWords += need.words;
    keptBytes += need.bytes;
    words->least = count;
  }
  words->list.reserve(keptWords);
  words->text.reserve(keptBytes);
  if (good) {
    good = merged([&](std::u16string_view text, uint32_t group, int64_t count) {
      if (count < words->least || keptWords == 0) return;
      uint64_t start = words->text.size();
      appendUtf8(text, &words->text);
      words->list.push_back({start, static_cast<uint32_t>(words->text.size() - start), group, count});
    });
  }
  if (!good) fail("word counts that were put aside in " + dir + " cannot be read");
  for (auto &part : parts) {
    for (FILE *run : part->runs) fclose(run);
    part->runs.clear();
    part->table.clear();
  }
  return good;
}

}  // namespace belay::training
