// A persistent pool of threads that share blocks through one counter.
//
// One job runs at a time. A worker that wakes late simply finds the gate closed: the caller waits only for
// workers that entered, so a core held by another process delays nobody. Idle workers spin for some tens of
// microseconds (the time between two kernels of a training step), then sleep.
//
// Does not: nest, queue or pin. A second caller, or a kernel called from inside a block, runs its blocks itself,
// which gives the same bits because no result depends on who computed it.
#include "pool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "../kernels.h"

namespace {

// About 50 microseconds of waiting: a pause takes some 40 to 70 cycles on current x86.
constexpr int SPINS_BEFORE_SLEEP = 2500;
constexpr uint32_t OPEN = 1u << 31;
constexpr size_t HUGE_PAGE = size_t{2} << 20;

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

struct Job {
  void (*body)(void *, int64_t);
  void *context;
  int64_t blocks;
  std::atomic<int64_t> next{0};

  void run() {
    for (int64_t block; (block = next.fetch_add(1, std::memory_order_relaxed)) < blocks;) body(context, block);
  }
};

thread_local bool inside_block = false;

struct Pool {
  std::vector<std::thread> workers;
  std::mutex one_caller;

  Job *job = nullptr;                   // written while the gate is shut and nobody is inside
  std::atomic<uint32_t> generation{0};  // counts jobs, so that no worker enters the same job twice
  std::atomic<uint32_t> gate{0};        // OPEN bit + number of workers inside
  std::atomic<bool> stopping{false};

  std::mutex mutex;
  std::condition_variable work_came, all_left;
  std::atomic<int> sleepers{0};
  std::atomic<bool> caller_sleeps{false};

  explicit Pool(int threads) {
    for (int i = 1; i < threads; i++) workers.emplace_back([this] { serve(); });
  }

  int size() const { return int(workers.size()) + 1; }

  void serve() {
    inside_block = true;
    uint32_t seen = 0;
    for (;;) {
      wait_for_work(seen);
      if (stopping.load()) return;
      seen = generation.load();
      uint32_t now = gate.load();
      while (now & OPEN) {
        if (!gate.compare_exchange_weak(now, now + 1)) continue;
        seen = generation.load();  // cannot move while this worker is inside
        job->run();
        leave();
        break;
      }
    }
  }

  void wait_for_work(uint32_t seen) {
    for (int spin = 0; spin < SPINS_BEFORE_SLEEP; spin++) {
      if (generation.load(std::memory_order_acquire) != seen) return;
      pause_briefly();
    }
    sleepers.fetch_add(1);
    {
      std::unique_lock<std::mutex> lock(mutex);
      work_came.wait(lock, [&] { return generation.load() != seen; });
    }
    sleepers.fetch_sub(1);
  }

  void leave() {
    if (gate.fetch_sub(1) == 1 && caller_sleeps.load()) {  // shut, and this was the last one
      std::lock_guard<std::mutex> lock(mutex);
      all_left.notify_one();
    }
  }

  void announce() {
    generation.fetch_add(1);
    if (sleepers.load() == 0) return;
    { std::lock_guard<std::mutex> lock(mutex); }  // a worker between its check and its sleep must finish both
    work_came.notify_all();
  }

  void wait_until_all_left() {
    for (int spin = 0; spin < SPINS_BEFORE_SLEEP; spin++) {
      if (gate.load(std::memory_order_acquire) == 0) return;
      pause_briefly();
    }
    caller_sleeps.store(true);
    {
      std::unique_lock<std::mutex> lock(mutex);
      all_left.wait(lock, [&] { return gate.load() == 0; });
    }
    caller_sleeps.store(false);
  }

  void run(Job &new_job) {
    job = &new_job;
    gate.store(OPEN);
    announce();
    inside_block = true;
    new_job.run();
    inside_block = false;
    gate.fetch_and(~OPEN);
    wait_until_all_left();
  }

  void stop() {
    std::lock_guard<std::mutex> no_job_runs(one_caller);
    stopping.store(true);
    announce();
    for (std::thread &worker : workers) worker.join();
    workers.clear();
  }
};

// Never destroyed by exit(): sleeping workers end with the process, and joining them from a static destructor
// may hang when the program was leaving through a signal.
std::atomic<Pool *> pool{nullptr};

// A forked child has this memory but not the threads: it starts again with the calling thread alone.
void forget_pool_in_child() { pool.store(nullptr); }

struct Scratch {
  void *memory[SCRATCH_SLOTS] = {};
  size_t bytes[SCRATCH_SLOTS] = {};
  ~Scratch() {
    for (void *one : memory) free(one);
  }
};
thread_local Scratch scratch;

}  // namespace

void belay_pool_run(int64_t blocks, void (*body)(void *, int64_t), void *context) {
  Pool *current = pool.load(std::memory_order_acquire);
  if (blocks > 1 && current && current->size() > 1 && !inside_block) {
    std::unique_lock<std::mutex> lock(current->one_caller, std::try_to_lock);
    if (lock.owns_lock()) {
      Job job{body, context, blocks};
      current->run(job);
      return;
    }
  }
  for (int64_t block = 0; block < blocks; block++) body(context, block);
}

void *belay_scratch(BelayScratch slot, size_t bytes) {
  if (bytes <= scratch.bytes[slot]) return scratch.memory[slot];
  const bool large = bytes >= HUGE_PAGE;  // page faults and TLB misses of small pages cost packing dearly
  const size_t unit = large ? HUGE_PAGE : 64;
  const size_t rounded = (bytes + unit - 1) / unit * unit;
  free(scratch.memory[slot]);
  void *memory = aligned_alloc(unit, rounded);
  if (!memory) {
    fprintf(stderr, "belay: cannot allocate %zu bytes of scratch memory\n", rounded);
    abort();
  }
#ifdef MADV_HUGEPAGE
  if (large) madvise(memory, rounded, MADV_HUGEPAGE);
#endif
  scratch.memory[slot] = memory;
  scratch.bytes[slot] = rounded;
  return memory;
}

extern "C" void belay_threads_start(int n) {
  static const int registered = pthread_atfork(nullptr, nullptr, forget_pool_in_child);
  (void)registered;
  const int wanted = n < 1 ? 1 : n > 256 ? 256 : n;
  if (belay_threads() == wanted) return;
  belay_threads_stop();
  if (wanted > 1) pool.store(new Pool(wanted));
}

extern "C" int belay_threads(void) {
  const Pool *current = pool.load(std::memory_order_acquire);
  return current ? current->size() : 1;
}

extern "C" void belay_threads_stop(void) {
  Pool *current = pool.exchange(nullptr);
  if (!current) return;
  current->stop();
  delete current;
}
