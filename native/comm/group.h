// A group of processes that exchange messages: what addon.cpp calls, and what both transports (mesh.cpp over TCP,
// mpi.cpp over MPI) share.
//
// One progress thread per group does all communication, so that it goes on while the caller computes; it alone owns
// connections and matching. The caller's threads only hand it commands and wait for transfers on a condition
// variable. Messages match by (peer, tag) in the order in which they were posted.
//
// Does not: know JavaScript, allocate for the caller, or keep the caller's memory alive.
#pragma once
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace belay::comm {

// How a peer was lost. Names as JavaScript gets them: howName().
enum class How {
  closed,      // its connection closed without a word: the process ended
  silent,      // no byte from it for the heartbeat time
  left,        // it closed the group in good order
  garbled,     // it sent what no peer sends
  unreadable,  // its memory could no longer be read
  transport,   // MPI reported an error
  gone,        // we closed the group ourselves
};
const char *howName(How how);

struct Loss {
  int rank = -1;
  How how = How::closed;
  int reporter = -1;   // the rank that told us, -1 where we noticed ourselves
  double seconds = 0;  // of silence
  std::string detail;  // what the system said, or empty
};

struct Transfer {
  enum class State { pending, done, lost, wrong };
  int peer = 0;
  uint32_t tag = 0;
  bool sending = false;
  char *data = nullptr;
  size_t length = 0;
  // Guarded by Transfers.
  State state = State::pending;
  size_t came = 0;  // wrong: the length that was sent
  Loss loss;
};

struct Outcome {
  enum class State { done, pending, lost, wrong };
  State state = State::done;
  Loss loss;
  int peer = 0;  // wrong: of this message
  uint32_t tag = 0;
  size_t came = 0, expected = 0;
};

// All transfers of a group that nobody has waited for yet. A transfer ends once: the progress thread forgets its
// pointer before it says how it ended.
class Transfers {
 public:
  uint64_t add(std::unique_ptr<Transfer> transfer);
  void finish(Transfer *transfer);
  void lose(Transfer *transfer, const Loss &loss);
  void refuse(Transfer *transfer, size_t came);
  // Ends every pending transfer and every later wait.
  void loseAll(const Loss &loss);
  // Blocks until all are done, one failed, or the time is up (timeoutMs < 0: never). Forgets what it reports, all of
  // them when done. An id that was waited for already counts as done.
  Outcome wait(const double *ids, size_t count, double timeoutMs);
  // Whether anyone is blocked in wait.
  bool isAwaited();

 private:
  std::mutex mutex;
  std::condition_variable changed;
  std::unordered_map<uint64_t, std::unique_ptr<Transfer>> open;
  uint64_t nextId = 1;
  uint64_t failures = 0;
  int waiters = 0;
  bool allLost = false;
  Loss loss;
  void end(Transfer *transfer, Transfer::State state);
};

enum class PeerState { none, connecting, open, refused, left, lost };
const char *peerStateName(PeerState state);

struct Command {
  enum class Kind { transfer, connect, seal, leave, stop, allReduce };
  Kind kind = Kind::stop;
  Transfer *transfer = nullptr;  // transfer; allReduce (data and length are the array)
  int peer = -1;                 // connect
  std::string address;
  int port = 0;
};

class Group {
 public:
  int rank, world;

  Group(int rank, int world) : rank(rank), world(world) {}
  virtual ~Group() = default;
  Group(const Group &) = delete;

  uint64_t post(bool sending, int peer, uint32_t tag, void *data, size_t length);
  Outcome wait(const double *ids, size_t count, double timeoutMs) { return transfers.wait(ids, count, timeoutMs); }
  // Ends the group; no memory of a transfer is touched after it. Orderly: says goodbye first, after what was
  // posted (for at most two seconds; long messages to a peer of this host that nobody has read yet are dropped, so wait first). Otherwise peers see a lost connection.
  virtual void close(bool orderly) = 0;

  // Only for groups that are connected by hand (mesh).
  virtual int port() const { return 0; }
  void connect(int peer, const std::string &address, int port);
  void seal();
  PeerState peer(int rank, std::string *why);

  // Only for MPI: its own MPI_Allreduce (sum), in place. Returns the id of a transfer.
  virtual bool hasAllReduce() const { return false; }
  uint64_t allReduce(float *data, size_t count);

 protected:
  Transfers transfers;

  void command(Command command);
  std::vector<Command> takeCommands();
  void setPeer(int rank, PeerState state, const std::string &why = "");
  virtual void wake() = 0;

 private:
  struct Known {
    PeerState state = PeerState::none;
    std::string why;
  };
  std::mutex inboxMutex;
  std::vector<Command> inbox;
  std::unordered_map<int, Known> known;
};

struct MeshOptions {
  int rank = 0, world = 1;
  std::string bind;  // numeric address to listen on
  uint8_t secret[32] = {};
  int64_t heartbeatMs = 30000;
  bool sameHost = true;  // read the memory of peers on this host instead of sending through TCP, where allowed
};
// A listening group whose peers are connected one by one; null and why on failure.
std::shared_ptr<Group> openMesh(const MeshOptions &options, std::string *why);
// The processes that mpirun started, once per process; null and why on failure. Blocks until all have come.
std::shared_ptr<Group> openMpi(int64_t heartbeatMs, std::string *why);
// To be called before the process ends: MPI wants every process to wait for the others there.
void finishMpi();

// Milliseconds of a clock that stands still while the machine sleeps.
int64_t now();
// Starts a thread that no signal is delivered to.
bool startThread(pthread_t *thread, void *(*body)(void *), void *context, std::string *why);

}  // namespace belay::comm
