// New connections until both ends have proved that they know the secret: listening, connecting, three messages.
//
//   listener to caller:  magic, nonce
//   caller to listener:  magic, its rank, the rank it wants, world, byte order, its nonce, HMAC of all of it
//   listener to caller:  HMAC of both nonces
//
// The first message goes out unasked, so a caller that finds something else on the port knows at once. Whoever sends
// anything else, or nothing for ten seconds, is dropped; at most 64 connections are in this state.
//
// Does not: send or read a byte beyond these three messages; what follows belongs to the mesh.
#pragma once
#include <poll.h>
#include <stdint.h>

#include <memory>
#include <string>
#include <vector>

namespace belay::comm {

struct Handshake {
  int fd = -1;
  bool calls = false;
  int peer = -1;  // who it is, or is wanted to be
  enum class Step { connecting, reading, proving, done, failed } step = Step::connecting;
  std::string why;  // failed
  int64_t deadline = 0;
  uint8_t nonce[16] = {};
  uint8_t read[80];
  size_t have = 0, want = 0;
  std::string unsent;
};

// What a handshake has to know of the group.
struct Identity {
  int rank = 0, world = 1;
  uint8_t secret[32] = {};
};

class Door {
 public:
  explicit Door(const Identity &identity) : identity(identity) {}
  ~Door();
  Door(const Door &) = delete;

  // Listens on a numeric address and any free port.
  bool listen(const std::string &address, std::string *why);
  int port() const { return boundPort; }
  // Begins to connect; the handshake appears among failed() or ready() later.
  void call(int peer, const std::string &address, int port);
  // Closes the listener and every handshake.
  void shut();

  // One round of the loop: descriptors to poll, then what poll said of them, in the same order.
  void appendTo(std::vector<pollfd> *fds) const;
  void handle(const pollfd *fds);
  int64_t deadline() const;  // of the first one to expire, INT64_MAX without one
  bool isListening() const { return listener >= 0; }

  // Handshakes that ended since the last call; the caller owns the descriptors of those that are done.
  std::vector<std::unique_ptr<Handshake>> ended();

 private:
  Identity identity;
  int listener = -1, boundPort = 0;
  std::vector<std::unique_ptr<Handshake>> open;

  void accept();
  void advance(Handshake *shake, short events);
  void receive(Handshake *shake);
  void prove(Handshake *shake);
  void flush(Handshake *shake);
};

}  // namespace belay::comm
