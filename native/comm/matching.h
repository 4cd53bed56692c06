// Which message belongs to which receive: by (peer, tag), both sides in their order.
//
// A message whose receive is posted goes straight into the caller's memory. One that comes first is staged, so that
// two peers that both send before they receive never wait for each other. Used by the progress thread alone.
//
// Does not: move bytes.
#pragma once
#include <stdint.h>
#include <stdlib.h>

#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>

#include "group.h"

namespace belay::comm {

// A message that came before its receive.
struct Arrival {
  int peer = 0;
  uint32_t tag = 0;
  size_t length = 0;
  char *staged = nullptr;  // malloc; null while offered
  bool whole = false;      // all of it is staged
  Transfer *taker = nullptr;  // posted while it was still coming in
  // Lies in the memory of the sender.
  bool offered = false;
  uint64_t address = 0, sequence = 0;
  int64_t since = 0;

  Arrival() = default;
  Arrival(const Arrival &) = delete;
  ~Arrival() { free(staged); }
};

class Matching {
 public:
  // The receive that waits for this message, taken off the queue; null without one.
  Transfer *receiver(int peer, uint32_t tag);
  void keep(const std::shared_ptr<Arrival> &arrival);
  // The message that this receive is for, taken off the queue; without one, the receive is queued.
  std::shared_ptr<Arrival> claim(Transfer *receive);
  // Arrivals that nobody claimed yet and that still lie with their sender.
  void forOffers(const std::function<void(const std::shared_ptr<Arrival> &)> &visit);
  // Takes all waiting receives of a peer off their queues (-1: of every peer).
  void dropReceives(int peer, const std::function<void(Transfer *)> &visit);
  // Forgets messages of a peer of which bytes are missing.
  void dropUnfinished(int peer);
  void clear() { queues.clear(); }

 private:
  struct Queue {
    std::deque<Transfer *> receives;
    std::deque<std::shared_ptr<Arrival>> arrivals;
    bool empty() const { return receives.empty() && arrivals.empty(); }
  };
  std::unordered_map<uint64_t, Queue> queues;  // without empty ones: tags may be used once
  static uint64_t key(int peer, uint32_t tag) { return static_cast<uint64_t>(peer) << 32 | tag; }
};

}  // namespace belay::comm
