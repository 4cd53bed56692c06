// Transfers and commands: the two things that the caller's threads and the progress thread share.
//
// Does not: communicate.
#include "group.h"

#include <signal.h>
#include <string.h>
#include <time.h>

#include <chrono>

namespace belay::comm {

const char *howName(How how) {
  switch (how) {
    case How::closed: return "closed";
    case How::silent: return "silent";
    case How::left: return "left";
    case How::garbled: return "garbled";
    case How::unreadable: return "unreadable";
    case How::transport: return "transport";
    case How::gone: return "gone";
  }
  return "closed";
}

const char *peerStateName(PeerState state) {
  switch (state) {
    case PeerState::none: return "none";
    case PeerState::connecting: return "connecting";
    case PeerState::open: return "open";
    case PeerState::refused: return "refused";
    case PeerState::left: return "left";
    case PeerState::lost: return "lost";
  }
  return "none";
}

// --- transfers --------------------------------------------------------------------------------------------------

uint64_t Transfers::add(std::unique_ptr<Transfer> transfer) {
  std::lock_guard<std::mutex> lock(mutex);
  if (allLost) {
    transfer->state = Transfer::State::lost;
    transfer->loss = loss;
  }
  open[nextId] = std::move(transfer);
  return nextId++;
}

void Transfers::end(Transfer *transfer, Transfer::State state) {
  transfer->state = state;
  if (state != Transfer::State::done) failures++;
  if (waiters > 0) changed.notify_all();
}

void Transfers::finish(Transfer *transfer) {
  std::lock_guard<std::mutex> lock(mutex);
  if (transfer->state == Transfer::State::pending) end(transfer, Transfer::State::done);
}

void Transfers::lose(Transfer *transfer, const Loss &how) {
  std::lock_guard<std::mutex> lock(mutex);
  if (transfer->state != Transfer::State::pending) return;
  transfer->loss = how;
  end(transfer, Transfer::State::lost);
}

void Transfers::refuse(Transfer *transfer, size_t came) {
  std::lock_guard<std::mutex> lock(mutex);
  if (transfer->state != Transfer::State::pending) return;
  transfer->came = came;
  end(transfer, Transfer::State::wrong);
}

void Transfers::loseAll(const Loss &how) {
  std::lock_guard<std::mutex> lock(mutex);
  if (allLost) return;
  allLost = true;
  loss = how;
  for (auto &[id, transfer] : open) {
    if (transfer->state != Transfer::State::pending) continue;
    transfer->state = Transfer::State::lost;
    transfer->loss = how;
  }
  failures++;
  changed.notify_all();
}

Outcome Transfers::wait(const double *ids, size_t count, double timeoutMs) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point deadline = Clock::now() + std::chrono::microseconds(static_cast<int64_t>(timeoutMs * 1000));
  std::unique_lock<std::mutex> lock(mutex);
  uint64_t seenFailures = ~uint64_t{0};
  size_t at = 0;  // everything before it is done
  Outcome outcome;
  for (;;) {
    if (allLost) {
      outcome.state = Outcome::State::lost;
      outcome.loss = loss;
      return outcome;
    }
    if (failures != seenFailures) {
      seenFailures = failures;
      for (size_t i = at; i < count; i++) {
        auto found = open.find(static_cast<uint64_t>(ids[i]));
        if (found == open.end()) continue;
        Transfer &transfer = *found->second;
        if (transfer.state == Transfer::State::pending || transfer.state == Transfer::State::done) continue;
        outcome.state = transfer.state == Transfer::State::lost ? Outcome::State::lost : Outcome::State::wrong;
        outcome.loss = transfer.loss;
        outcome.peer = transfer.peer;
        outcome.tag = transfer.tag;
        outcome.came = transfer.came;
        outcome.expected = transfer.length;
        open.erase(found);
        return outcome;
      }
    }
    for (; at < count; at++) {
      auto found = open.find(static_cast<uint64_t>(ids[at]));
      if (found != open.end() && found->second->state == Transfer::State::pending) break;
    }
    if (at == count) {
      for (size_t i = 0; i < count; i++) open.erase(static_cast<uint64_t>(ids[i]));
      return outcome;
    }
    if (timeoutMs >= 0 && Clock::now() >= deadline) {
      outcome.state = Outcome::State::pending;
      return outcome;
    }
    waiters++;
    if (timeoutMs < 0) changed.wait(lock);
    else changed.wait_until(lock, deadline);
    waiters--;
  }
}

bool Transfers::isAwaited() {
  std::lock_guard<std::mutex> lock(mutex);
  return waiters > 0;
}

// --- commands ---------------------------------------------------------------------------------------------------

void Group::command(Command command) {
  {
    std::lock_guard<std::mutex> lock(inboxMutex);
    inbox.push_back(std::move(command));
  }
  wake();
}

std::vector<Command> Group::takeCommands() {
  std::vector<Command> taken;
  std::lock_guard<std::mutex> lock(inboxMutex);
  taken.swap(inbox);
  return taken;
}

uint64_t Group::post(bool sending, int peer, uint32_t tag, void *data, size_t length) {
  auto transfer = std::make_unique<Transfer>();
  transfer->peer = peer;
  transfer->tag = tag;
  transfer->sending = sending;
  transfer->data = static_cast<char *>(data);
  transfer->length = length;
  Command posted;
  posted.kind = Command::Kind::transfer;
  posted.transfer = transfer.get();
  uint64_t id = transfers.add(std::move(transfer));
  command(std::move(posted));
  return id;
}

uint64_t Group::allReduce(float *data, size_t count) {
  auto transfer = std::make_unique<Transfer>();
  transfer->data = reinterpret_cast<char *>(data);
  transfer->length = count;
  Command asked;
  asked.kind = Command::Kind::allReduce;
  asked.transfer = transfer.get();
  uint64_t id = transfers.add(std::move(transfer));
  command(std::move(asked));
  return id;
}

void Group::connect(int peer, const std::string &address, int port) {
  setPeer(peer, PeerState::connecting);
  Command asked;
  asked.kind = Command::Kind::connect;
  asked.peer = peer;
  asked.address = address;
  asked.port = port;
  command(std::move(asked));
}

void Group::seal() {
  Command asked;
  asked.kind = Command::Kind::seal;
  command(std::move(asked));
}

void Group::setPeer(int rank, PeerState state, const std::string &why) {
  std::lock_guard<std::mutex> lock(inboxMutex);
  known[rank] = {state, why};
}

PeerState Group::peer(int rank, std::string *why) {
  std::lock_guard<std::mutex> lock(inboxMutex);
  const Known &peer = known[rank];
  *why = peer.why;
  return peer.state;
}

// --- the system -------------------------------------------------------------------------------------------------

int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<int64_t>(time.tv_sec) * 1000 + time.tv_nsec / 1000000;
}

bool startThread(pthread_t *thread, void *(*body)(void *), void *context, std::string *why) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(thread, nullptr, body, context);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) *why = std::string("no thread for communication: ") + strerror(error);
  return error == 0;
}

}  // namespace belay::comm
