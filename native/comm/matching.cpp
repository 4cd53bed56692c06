// See matching.h.
//
// Does not: know of connections.
#include "matching.h"

namespace belay::comm {

Transfer *Matching::receiver(int peer, uint32_t tag) {
  auto found = queues.find(key(peer, tag));
  if (found == queues.end() || found->second.receives.empty()) return nullptr;
  Transfer *receive = found->second.receives.front();
  found->second.receives.pop_front();
  if (found->second.empty()) queues.erase(found);
  return receive;
}

void Matching::keep(const std::shared_ptr<Arrival> &arrival) {
  queues[key(arrival->peer, arrival->tag)].arrivals.push_back(arrival);
}

std::shared_ptr<Arrival> Matching::claim(Transfer *receive) {
  auto found = queues.find(key(receive->peer, receive->tag));
  if (found == queues.end() || found->second.arrivals.empty()) {
    queues[key(receive->peer, receive->tag)].receives.push_back(receive);
    return nullptr;
  }
  std::shared_ptr<Arrival> arrival = found->second.arrivals.front();
  found->second.arrivals.pop_front();
  if (found->second.empty()) queues.erase(found);
  return arrival;
}

void Matching::forOffers(const std::function<void(const std::shared_ptr<Arrival> &)> &visit) {
  for (auto &[at, queue] : queues)
    for (auto &arrival : queue.arrivals)
      if (arrival->offered) visit(arrival);
}

void Matching::dropReceives(int peer, const std::function<void(Transfer *)> &visit) {
  for (auto at = queues.begin(); at != queues.end();) {
    Queue &queue = at->second;
    if (peer < 0 || static_cast<int>(at->first >> 32) == peer) {
      for (Transfer *receive : queue.receives) visit(receive);
      queue.receives.clear();
    }
    at = queue.empty() ? queues.erase(at) : std::next(at);
  }
}

void Matching::dropUnfinished(int peer) {
  for (auto at = queues.begin(); at != queues.end();) {
    if (static_cast<int>(at->first >> 32) == peer)
      std::erase_if(at->second.arrivals, [](const auto &arrival) { return !arrival->whole; });
    at = at->second.empty() ? queues.erase(at) : std::next(at);
  }
}

}  // namespace belay::comm
