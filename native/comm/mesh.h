// The transport of our own: one TCP connection between every two processes, polled by one thread, and one-copy reads
// between processes of one host (peer-memory.h).
//
// A connection carries frames: a header, then the bytes of a message if it has any. Any byte from a peer is a sign of
// life; where nothing else is to be said for a quarter of the heartbeat time, an empty frame is.
//
// Does not: encrypt, or repair: a lost peer ends the group.
#pragma once
#include <sys/socket.h>

#include <deque>
#include <list>
#include <unordered_map>

#include "group.h"
#include "handshake.h"
#include "matching.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0  // there, a socket option does it (handshake.cpp)
#endif

namespace belay::comm {

enum class Kind : uint32_t {
  data = 1,  // a message: tag, length; its bytes follow
  offer,     // a message to be read from the sender's memory: tag, length, address, sequence
  taken,     // the offered message of this sequence was read
  beat,      // a sign of life
  cookie,    // can you read this? tag: process, address: where it lies, sequence: what is there
  readable,  // yes: offer from now on
  lost,      // tag: this rank is lost; length: How; address: milliseconds of silence
  goodbye,   // we leave in good order; the last frame
};

struct Frame {
  Kind kind = Kind::beat;
  uint32_t tag = 0;
  uint64_t length = 0, address = 0, sequence = 0;
};

// Bytes that are read from a connection at once, where they do not go straight to their place.
constexpr size_t aheadBytes = 64 << 10;

struct Outgoing {
  Frame frame;
  Transfer *transfer = nullptr;  // data: finished once the system has taken all bytes
};

// A message that is being read from the memory of its sender.
struct Reading {
  int peer = 0;
  uint64_t address = 0, sequence = 0;
  Transfer *into = nullptr;          // straight into the caller's memory, or
  std::shared_ptr<Arrival> staging;  // aside
  size_t length = 0, at = 0;
  int64_t failedAt = 0;
};

struct Peer {
  int fd = -1;
  bool open = false;      // messages may pass
  bool draining = false;  // after a loss or a goodbye: read and thrown away until its end closes
  bool left = false;
  int fault = 0;          // why nothing can be sent any more (errno); the loop ends it
  int process = 0;
  bool readsUs = false;
  int64_t heard = 0, said = 0;
  // Incoming: bytes that were read ahead, and the message whose bytes are coming.
  std::unique_ptr<char[]> ahead;
  size_t begin = 0, end = 0;
  bool inBody = false;
  size_t bodyLeft = 0;
  char *bodyAt = nullptr;               // null: thrown away
  Transfer *bodyInto = nullptr;         // the receive whose memory bodyAt is in
  std::shared_ptr<Arrival> bodyStaged;  // or the arrival
  // Outgoing: the front one is sent up to `sent` bytes, header included.
  std::deque<Outgoing> queue;
  size_t sent = 0;
  std::unordered_map<uint64_t, Transfer *> offers;
};

class Mesh : public Group {
 public:
  Mesh(const MeshOptions &options, std::string *why);
  ~Mesh() override;
  bool started() const { return running; }
  int port() const override { return door.port(); }
  void close(bool orderly) override;

 protected:
  void wake() override;

 private:
  MeshOptions options;
  Door door;
  int pipe[2] = {-1, -1};
  pthread_t thread{};
  bool running = false;
  std::mutex closing;

  // From here on the progress thread's own.
  std::vector<Peer> peers;
  Matching matching;
  std::list<Reading> readings;
  uint64_t sequence = 1;
  uint64_t cookie = 0;
  bool lost = false, leaving = false, stopping = false;
  int64_t lastRound = 0, drainUntil = INT64_MAX, stageAt = INT64_MAX;

  void run();
  bool isOver();
  void obey(std::vector<Command> commands);
  void promote(std::unique_ptr<Handshake> shake);
  int64_t timeout();
  void endFaulty();
  void watch(int64_t time);

  // sending
  void start(Transfer *send);
  void put(int rank, const Frame &frame, Transfer *transfer = nullptr);
  void flush(int rank);
  // receiving
  void receive(Transfer *transfer);
  void settle(Arrival *arrival);
  bool readSome(int rank);
  void drain(int rank);
  bool parse(int rank);
  void handle(int rank, const Frame &frame);
  void beginBody(int rank, const Frame &frame);
  void endBody(int rank);
  std::shared_ptr<Arrival> stage(int rank, const Frame &frame);
  bool reserve(Arrival *arrival);
  // the memory of others
  void beginReading(int rank, uint64_t address, uint64_t sequence, size_t length, Transfer *into,
                    std::shared_ptr<Arrival> staging);
  void handleOffer(int rank, const Frame &frame);
  void readMemory();
  void stageOffers(int64_t time);
  // ends
  void leave(int rank);
  void lose(const Loss &loss);
  void forgetPeer(int rank);
  void hangUp(int rank);
};

}  // namespace belay::comm
