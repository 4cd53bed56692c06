// The transport of MPI: the same messages, moved by Open MPI, for networks that it knows better than TCP does.
//
// A message is a header (tag 0 of MPI, taken by a receive from anyone) and its bytes (tag 1). MPI keeps the order of each
// between two processes, so the bytes are received in the order of the headers, straight into the caller's memory or
// aside (matching.h). All calls of MPI are made by the progress thread, which has to poll: it yields while someone waits
// and sleeps for some microseconds otherwise.
//
// Does not: survive a lost peer. Nothing of MPI is called after one, the process is expected to end, and mpirun ends
// the others.
#include <sched.h>
#include <string.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <list>

#include "group.h"
#include "matching.h"
#include "mpi-library.h"

namespace belay::comm {
namespace {

constexpr int headerTag = 0, bodyTag = 1;
// A count of MPI is an int.
constexpr size_t partBytes = size_t{1} << 30;
constexpr int64_t goodbyeMs = 2000;
constexpr int64_t lastWordsMs = 50;

enum class Kind : uint32_t { data = 1, beat, lost, goodbye };

struct Header {
  Kind kind = Kind::beat;
  uint32_t tag = 0;
  uint64_t length = 0;   // data: bytes; lost: How
  uint64_t seconds = 0;  // lost: milliseconds of silence
};

// The parts of one message on their way.
struct Message {
  int parts = 0;
  int peer = 0;
  bool incoming = false;
  Transfer *transfer = nullptr;
  std::shared_ptr<Arrival> staged;
};

struct Request {
  MpiLibrary::Request handle = nullptr;
  std::unique_ptr<Header> header;    // being sent
  std::shared_ptr<Message> message;  // or a part of this
};

struct Neighbour {
  int64_t heard = 0, said = 0;
  bool left = false;
};

class Mpi : public Group {
 public:
  explicit Mpi(int64_t heartbeatMs) : Group(0, 1), heartbeatMs(heartbeatMs) {}
  bool start(std::string *why);
  void close(bool orderly) override;
  bool hasAllReduce() const override { return true; }
  void finish();

 protected:
  void wake() override;

 private:
  enum class Phase { starting, failed, open, leaving, finishing, over };
  const int64_t heartbeatMs;
  MpiLibrary mpi;
  pthread_t thread{};
  bool running = false;
  std::mutex joining;
  // Between the threads.
  std::mutex phaseMutex;
  std::condition_variable phaseChanged;
  Phase phase = Phase::starting;
  std::string failure;
  bool awake = false;

  // The progress thread's own.
  std::vector<Neighbour> peers;
  Matching matching;
  std::list<Request> requests;
  Header incoming;
  MpiLibrary::Request header = nullptr;
  bool lost = false, stopping = false, leaving = false;
  int64_t lastRound = 0, leaveUntil = INT64_MAX;

  void run();
  bool begin();
  void enter(Phase next);
  void rest(bool busy, int idle);
  bool mayEnd();
  bool obey();
  bool progress();
  bool takeHeader();
  void watch();
  void listen();
  void say(int peer, const Header &header);
  void send(Transfer *transfer);
  void receive(Transfer *transfer);
  void fetch(int peer, const Header &header);
  void settle(const std::shared_ptr<Message> &message);
  bool check(int code, int peer);
  void lose(const Loss &loss);
  void leave(int peer);
};

std::shared_ptr<Mpi> only;  // MPI can be started once

bool Mpi::start(std::string *why) {
  auto body = [](void *self) -> void * {
    static_cast<Mpi *>(self)->run();
    return nullptr;
  };
  running = startThread(&thread, body, this, why);
  if (!running) return false;
  std::unique_lock<std::mutex> lock(phaseMutex);
  phaseChanged.wait(lock, [&] { return phase != Phase::starting; });
  *why = failure;
  return phase == Phase::open;
}

// Returns once nothing of the caller's memory is in use; MPI itself ends in finish().
void Mpi::close(bool orderly) {
  Command last;
  last.kind = orderly ? Command::Kind::leave : Command::Kind::stop;
  command(std::move(last));
  {
    std::unique_lock<std::mutex> lock(phaseMutex);
    phaseChanged.wait(lock, [&] { return phase == Phase::finishing || phase == Phase::over || phase == Phase::failed; });
  }
  Loss loss;
  loss.rank = rank;
  loss.how = How::gone;
  transfers.loseAll(loss);
}

void Mpi::finish() {
  std::lock_guard<std::mutex> lock(joining);
  if (!running) return;
  pthread_join(thread, nullptr);
  running = false;
}

void Mpi::wake() {
  std::lock_guard<std::mutex> lock(phaseMutex);
  awake = true;
  phaseChanged.notify_all();
}

void Mpi::enter(Phase next) {
  std::lock_guard<std::mutex> lock(phaseMutex);
  phase = next;
  phaseChanged.notify_all();
}

// --- the loop -----------------------------------------------------------------------------------------------------

bool Mpi::begin() {
  int provided = 0;
  if (!mpi.open(&failure)) return false;
  if (mpi.initThread(nullptr, nullptr, mpiThreadFunneled, &provided) != 0 || provided < mpiThreadFunneled) {
    failure = "MPI_Init_thread did not start";
    return false;
  }
  mpi.setErrorHandler(mpi.world, mpi.errorsReturn);
  mpi.commRank(mpi.world, &rank);
  mpi.commSize(mpi.world, &world);
  peers.resize(static_cast<size_t>(world));
  for (Neighbour &peer : peers) peer.heard = peer.said = now();
  return true;
}

void Mpi::run() {
  bool good = begin();
  enter(good ? Phase::open : Phase::failed);
  if (!good) return;
  lastRound = now();
  listen();
  int idle = 0;
  while (!stopping) {
    bool busy = obey();
    if (lost) {
      rest(false, 0);
      continue;
    }
    busy = progress() || busy;
    watch();
    idle = busy ? 0 : idle + 1;
    if (leaving && !lost && mayEnd()) break;
    rest(busy, idle);
  }
  enter(Phase::over);
}

// After our goodbye: the caller goes on once what it posted is sent, MPI ends once everyone has said goodbye. Until
// then this process answers the others, however long they take.
bool Mpi::mayEnd() {
  bool quiet = requests.empty();
  if (!quiet && now() < leaveUntil) return false;
  if (phase != Phase::finishing) {
    matching.dropReceives(-1, [](Transfer *) {});
    enter(Phase::finishing);
  }
  for (int r = 0; r < world; r++)
    if (r != rank && !peers[static_cast<size_t>(r)].left) return false;
  if (!quiet) return false;
  mpi.cancel(&header);
  mpi.requestFree(&header);
  mpi.finalize();
  return true;
}

// Gives the processor away: for an instant while someone waits, longer while nobody does.
void Mpi::rest(bool busy, int idle) {
  if (busy) return;
  bool awaited = !lost && transfers.isAwaited();
  if (awaited && idle < 2000) {
    sched_yield();
    return;
  }
  int64_t microseconds = lost ? 100000 : awaited ? 20 : !requests.empty() ? 50 : 500;
  std::unique_lock<std::mutex> lock(phaseMutex);
  if (!awake) phaseChanged.wait_for(lock, std::chrono::microseconds(microseconds));
  awake = false;
}

bool Mpi::obey() {
  std::vector<Command> commands = takeCommands();
  for (Command &command : commands) {
    switch (command.kind) {
      case Command::Kind::transfer:
        if (lost || leaving) break;  // Transfers has ended it, or close() will
        if (command.transfer->sending) send(command.transfer);
        else receive(command.transfer);
        break;
      case Command::Kind::allReduce:
        if (lost || leaving) break;
        // In place: MPI_IN_PLACE is the address 1.
        if (check(mpi.allreduce(reinterpret_cast<void *>(1), command.transfer->data,
                                static_cast<int>(command.transfer->length), mpi.float32, mpi.sum, mpi.world),
                  -1))
          transfers.finish(command.transfer);
        break;
      case Command::Kind::leave: {
        if (leaving) break;
        if (lost) {
          stopping = true;
          break;
        }
        leaving = true;
        leaveUntil = now() + goodbyeMs;
        Header goodbye;
        goodbye.kind = Kind::goodbye;
        for (int r = 0; r < world && !lost; r++)
          if (r != rank) say(r, goodbye);
        break;
      }
      case Command::Kind::stop:
        // After a goodbye MPI has still to end.
        if (!leaving) stopping = true;
        break;
      case Command::Kind::connect:
      case Command::Kind::seal:
        break;  // of the mesh alone
    }
  }
  return !commands.empty();
}

bool Mpi::progress() {
  bool moved = takeHeader();
  for (auto at = requests.begin(); at != requests.end() && !lost;) {
    int flag = 0;
    int peer = at->message == nullptr ? -1 : at->message->peer;
    if (!check(mpi.test(&at->handle, &flag, nullptr), peer)) return true;
    if (flag == 0) {
      ++at;
      continue;
    }
    moved = true;
    std::shared_ptr<Message> message = std::move(at->message);
    at = requests.erase(at);
    if (message == nullptr || --message->parts > 0) continue;
    settle(message);
  }
  return moved;
}

void Mpi::settle(const std::shared_ptr<Message> &message) {
  if (message->incoming) peers[static_cast<size_t>(message->peer)].heard = now();
  if (message->staged != nullptr) {
    Arrival &arrival = *message->staged;
    arrival.whole = true;
    if (arrival.taker == nullptr) return;
    if (arrival.length > 0) memcpy(arrival.taker->data, arrival.staged, arrival.length);
    transfers.finish(arrival.taker);
  } else if (message->transfer != nullptr) {
    transfers.finish(message->transfer);
  }
}

// Signs of life, both ways.
void Mpi::watch() {
  int64_t time = now();
  // As in the mesh: if this process itself was stopped, the silence was ours.
  int64_t frozen = time - lastRound - heartbeatMs / 4;
  if (frozen > 0)
    for (Neighbour &peer : peers) peer.heard += frozen;
  lastRound = time;
  for (int r = 0; r < world && !lost; r++) {
    Neighbour &peer = peers[static_cast<size_t>(r)];
    if (r == rank || peer.left) continue;
    // After our goodbye nothing is expected any more, and mpirun sees to those that died.
    if (time - peer.heard > heartbeatMs && !leaving) {
      Loss loss;
      loss.rank = r;
      loss.how = How::silent;
      loss.seconds = static_cast<double>(time - peer.heard) / 1000;
      lose(loss);
    } else if (time - peer.said >= heartbeatMs / 4) {
      say(r, Header());
    }
  }
}

// --- messages -----------------------------------------------------------------------------------------------------

void Mpi::listen() {
  check(mpi.irecv(&incoming, sizeof incoming, mpi.byte, mpiAnySource, headerTag, mpi.world, &header), -1);
}

void Mpi::say(int peer, const Header &what) {
  requests.emplace_back();
  Request &request = requests.back();
  request.header = std::make_unique<Header>(what);
  peers[static_cast<size_t>(peer)].said = now();
  check(mpi.isend(request.header.get(), sizeof(Header), mpi.byte, peer, headerTag, mpi.world, &request.handle), peer);
}

void Mpi::send(Transfer *transfer) {
  if (peers[static_cast<size_t>(transfer->peer)].left) {
    Loss loss;
    loss.rank = transfer->peer;
    loss.how = How::left;
    return transfers.lose(transfer, loss);
  }
  Header what;
  what.kind = Kind::data;
  what.tag = transfer->tag;
  what.length = transfer->length;
  say(transfer->peer, what);
  auto message = std::make_shared<Message>();
  message->peer = transfer->peer;
  message->transfer = transfer;
  for (size_t at = 0; at < transfer->length && !lost; at += partBytes) {
    requests.emplace_back();
    Request &request = requests.back();
    request.message = message;
    message->parts++;
    check(mpi.isend(transfer->data + at, static_cast<int>(std::min(partBytes, transfer->length - at)), mpi.byte,
                    transfer->peer, bodyTag, mpi.world, &request.handle),
          transfer->peer);
  }
  if (transfer->length == 0 && !lost) transfers.finish(transfer);
}

void Mpi::receive(Transfer *transfer) {
  std::shared_ptr<Arrival> arrival = matching.claim(transfer);
  if (arrival == nullptr) {
    if (!peers[static_cast<size_t>(transfer->peer)].left) return;
    matching.dropReceives(transfer->peer, [](Transfer *) {});
    Loss loss;
    loss.rank = transfer->peer;
    loss.how = How::left;
    return transfers.lose(transfer, loss);
  }
  if (arrival->length != transfer->length) return transfers.refuse(transfer, arrival->length);
  arrival->taker = transfer;
  if (!arrival->whole) return;
  if (arrival->length > 0) memcpy(transfer->data, arrival->staged, arrival->length);
  transfers.finish(transfer);
}

bool Mpi::takeHeader() {
  bool any = false;
  while (!lost) {
    int flag = 0;
    MpiStatus status = {};
    if (!check(mpi.test(&header, &flag, &status), -1) || flag == 0) return any;
    any = true;
    Header what = incoming;
    int peer = status.source;
    header = nullptr;
    listen();
    peers[static_cast<size_t>(peer)].heard = now();
    Loss loss;
    switch (what.kind) {
      case Kind::data:
        fetch(peer, what);
        break;
      case Kind::beat:
        break;
      case Kind::goodbye:
        leave(peer);
        break;
      case Kind::lost:
        loss.rank = static_cast<int>(what.tag);
        loss.how = static_cast<How>(what.length);
        loss.seconds = static_cast<double>(what.seconds) / 1000;
        loss.reporter = peer;
        lose(loss);
        break;
    }
  }
  return any;
}

// A header came: its bytes are received, into the memory of the receive that waits for them or aside.
void Mpi::fetch(int peer, const Header &what) {
  auto message = std::make_shared<Message>();
  message->peer = peer;
  message->incoming = true;
  char *into = nullptr;
  Transfer *receive = matching.receiver(peer, what.tag);
  if (receive != nullptr && receive->length == what.length) {
    message->transfer = receive;
    into = receive->data;
  } else {
    if (receive != nullptr) transfers.refuse(receive, what.length);
    auto arrival = std::make_shared<Arrival>();
    arrival->peer = peer;
    arrival->tag = what.tag;
    arrival->length = what.length;
    arrival->staged = static_cast<char *>(malloc(std::max<size_t>(what.length, 1)));
    if (arrival->staged == nullptr) {
      Loss loss;
      loss.rank = peer;
      loss.how = How::unreadable;
      loss.detail = "no memory for a message of " + std::to_string(what.length) + " bytes";
      return lose(loss);
    }
    into = arrival->staged;
    message->staged = arrival;
    if (receive == nullptr) matching.keep(arrival);
  }
  for (size_t at = 0; at < what.length && !lost; at += partBytes) {
    requests.emplace_back();
    Request &request = requests.back();
    request.message = message;
    message->parts++;
    check(mpi.irecv(into + at, static_cast<int>(std::min<size_t>(partBytes, what.length - at)), mpi.byte, peer, bodyTag,
                    mpi.world, &request.handle),
          peer);
  }
  if (what.length == 0) settle(message);
}

// --- ends ---------------------------------------------------------------------------------------------------------

// A peer said goodbye. It goes on answering MPI until all have, so what is under way arrives.
void Mpi::leave(int peer) {
  peers[static_cast<size_t>(peer)].left = true;
  Loss loss;
  loss.rank = peer;
  loss.how = How::left;
  std::vector<Transfer *> ended;
  matching.dropReceives(peer, [&](Transfer *receive) { ended.push_back(receive); });
  for (Transfer *transfer : ended) transfers.lose(transfer, loss);
}

bool Mpi::check(int code, int peer) {
  if (code == 0) return true;
  Loss loss;
  loss.rank = peer;
  loss.how = How::transport;
  loss.detail = mpi.error(code);
  lose(loss);
  return false;
}

void Mpi::lose(const Loss &loss) {
  if (lost) return;
  lost = true;
  if (loss.how != How::transport && !leaving) {
    Header what;
    what.kind = Kind::lost;
    what.tag = static_cast<uint32_t>(loss.rank);
    what.length = static_cast<uint64_t>(loss.how);
    what.seconds = static_cast<uint64_t>(loss.seconds * 1000);
    std::vector<MpiLibrary::Request> last(static_cast<size_t>(world), nullptr);
    for (int r = 0; r < world; r++)
      if (r != rank && !peers[static_cast<size_t>(r)].left)
        mpi.isend(&what, sizeof what, mpi.byte, r, headerTag, mpi.world, &last[static_cast<size_t>(r)]);
    int64_t until = now() + lastWordsMs;
    for (auto &request : last)
      for (int flag = 0; request != nullptr && flag == 0 && now() < until;)
        if (mpi.test(&request, &flag, nullptr) != 0) break;
  }
  // Requests are left as they are: what they refer to must not go while MPI could still use it.
  transfers.loseAll(loss);
  if (leaving) stopping = true;
}

}  // namespace

std::shared_ptr<Group> openMpi(int64_t heartbeatMs, std::string *why) {
  if (only != nullptr) {
    *why = "MPI was already started in this process, which can be done once";
    return nullptr;
  }
  only = std::make_shared<Mpi>(heartbeatMs);
  return only->start(why) ? only : nullptr;
}

void finishMpi() {
  if (only != nullptr) only->finish();
}

}  // namespace belay::comm
