// See handshake.h.
//
// Does not: resolve names; addresses are numeric.
#include "handshake.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "group.h"
#include "hmac.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

namespace belay::comm {
namespace {

constexpr int64_t patienceMs = 10000;
constexpr size_t mostAtOnce = 64;
constexpr char magic[8] = {'B', 'E', 'L', 'A', 'Y', 'G', 'R', '1'};
constexpr uint32_t byteOrder = 0x01020304;

struct Greeting {
  char magic[8];
  uint8_t nonce[16];
};
struct Claim {
  char magic[8];
  uint32_t from, to, world, order;
  uint8_t nonce[16];
  uint8_t proof[32];
};
struct Answer {
  uint8_t proof[32];
};
static_assert(sizeof(Claim) <= sizeof(Handshake::read));

// What each side signs: its role, so that no proof can be sent back, both nonces, both ranks.
void proofOf(const Identity &identity, char role, const uint8_t listeners[16], const uint8_t callers[16],
             uint32_t from, uint32_t to, uint8_t out[32]) {
  uint8_t text[1 + 16 + 16 + 3 * 4];
  uint8_t *at = text;
  *at++ = static_cast<uint8_t>(role);
  memcpy(at, listeners, 16);
  memcpy(at + 16, callers, 16);
  at += 32;
  uint32_t world = static_cast<uint32_t>(identity.world);
  for (uint32_t value : {from, to, world})
    for (int i = 0; i < 4; i++) *at++ = static_cast<uint8_t>(value >> (8 * i));
  hmacSha256(identity.secret, text, sizeof text, out);
}

bool randomBytes(uint8_t *out, size_t length) {
  int file = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t got = read(file, out, length);
  ::close(file);
  return got == static_cast<ssize_t>(length);
}

void prepare(int fd) {
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
#ifdef SO_NOSIGPIPE
  setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
}

addrinfo *numeric(const std::string &address, int port, std::string *why) {
  addrinfo hints = {}, *found = nullptr;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  int error = getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error == 0) return found;
  *why = address + ": " + gai_strerror(error);
  return nullptr;
}

void fail(Handshake *shake, const std::string &why) {
  shake->step = Handshake::Step::failed;
  shake->why = why;
}

}  // namespace

Door::~Door() { shut(); }

bool Door::listen(const std::string &address, std::string *why) {
  addrinfo *where = numeric(address, 0, why);
  if (where == nullptr) return false;
  listener = socket(where->ai_family, SOCK_STREAM, 0);
  bool good = listener >= 0;
  if (good) {
    prepare(listener);
    good = bind(listener, where->ai_addr, where->ai_addrlen) == 0 && ::listen(listener, 1024) == 0;
  }
  sockaddr_storage bound = {};
  socklen_t size = sizeof bound;
  good = good && getsockname(listener, reinterpret_cast<sockaddr *>(&bound), &size) == 0;
  if (!good) *why = "cannot listen on " + address + ": " + strerror(errno);
  freeaddrinfo(where);
  if (!good) {
    shut();
    return false;
  }
  boundPort = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6 *>(&bound)->sin6_port
                                                : reinterpret_cast<sockaddr_in *>(&bound)->sin_port);
  return true;
}

void Door::call(int peer, const std::string &address, int port) {
  auto shake = std::make_unique<Handshake>();
  shake->calls = true;
  shake->peer = peer;
  shake->deadline = now() + 3 * patienceMs;
  std::string why;
  addrinfo *where = numeric(address, port, &why);
  if (where == nullptr) {
    fail(shake.get(), why);
  } else {
    shake->fd = socket(where->ai_family, SOCK_STREAM, 0);
    if (shake->fd >= 0) prepare(shake->fd);
    if (shake->fd < 0 || (connect(shake->fd, where->ai_addr, where->ai_addrlen) != 0 && errno != EINPROGRESS))
      fail(shake.get(), strerror(errno));
    freeaddrinfo(where);
  }
  open.push_back(std::move(shake));
}

void Door::shut() {
  if (listener >= 0) ::close(listener);
  listener = -1;
  for (auto &shake : open)
    if (shake->fd >= 0) ::close(shake->fd);
  open.clear();
}

void Door::appendTo(std::vector<pollfd> *fds) const {
  // poll passes over negative descriptors.
  fds->push_back({listener, POLLIN, 0});
  for (const auto &shake : open) {
    bool writes = shake->step == Handshake::Step::connecting || !shake->unsent.empty();
    fds->push_back({shake->fd, static_cast<short>(writes ? POLLOUT : POLLIN), 0});
  }
}

void Door::handle(const pollfd *fds) {
  size_t before = open.size();
  int64_t time = now();
  for (size_t i = 0; i < before; i++) {
    Handshake *shake = open[i].get();
    if (shake->step == Handshake::Step::failed || shake->step == Handshake::Step::done) continue;
    if (fds[1 + i].revents != 0) advance(shake, fds[1 + i].revents);
    else if (time > shake->deadline) fail(shake, "no answer");
  }
  if (fds[0].revents != 0) accept();
}

int64_t Door::deadline() const {
  int64_t first = INT64_MAX;
  for (const auto &shake : open) first = std::min(first, shake->deadline);
  return first;
}

std::vector<std::unique_ptr<Handshake>> Door::ended() {
  std::vector<std::unique_ptr<Handshake>> out;
  for (size_t i = 0; i < open.size();) {
    Handshake &shake = *open[i];
    bool failed = shake.step == Handshake::Step::failed;
    if (!failed && shake.step != Handshake::Step::done) {
      i++;
      continue;
    }
    if (failed && shake.fd >= 0) {
      ::close(shake.fd);
      shake.fd = -1;
    }
    out.push_back(std::move(open[i]));
    open.erase(open.begin() + static_cast<ptrdiff_t>(i));
  }
  return out;
}

void Door::accept() {
  // A few at a time: a flood of callers must not keep the loop from its peers.
  for (int i = 0; i < 16; i++) {
    int fd = ::accept(listener, nullptr, nullptr);
    if (fd < 0) return;
    prepare(fd);
    auto shake = std::make_unique<Handshake>();
    shake->fd = fd;
    shake->deadline = now() + patienceMs;
    shake->step = Handshake::Step::reading;
    shake->want = sizeof(Claim);
    if (!randomBytes(shake->nonce, sizeof shake->nonce)) {
      ::close(fd);
      return;
    }
    Greeting greeting;
    memcpy(greeting.magic, magic, sizeof magic);
    memcpy(greeting.nonce, shake->nonce, sizeof greeting.nonce);
    shake->unsent.assign(reinterpret_cast<const char *>(&greeting), sizeof greeting);
    open.push_back(std::move(shake));
    flush(open.back().get());
  }
  size_t callers = 0;
  for (const auto &shake : open) callers += !shake->calls;
  for (auto &shake : open) {
    if (callers <= mostAtOnce) break;
    if (shake->calls) continue;
    fail(shake.get(), "too many callers");
    callers--;
  }
}

void Door::advance(Handshake *shake, short events) {
  if (shake->step == Handshake::Step::connecting) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(shake->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return fail(shake, strerror(error));
    shake->step = Handshake::Step::reading;
    shake->want = sizeof(Greeting);
    return;
  }
  if (!shake->unsent.empty() && (events & POLLOUT) != 0) flush(shake);
  else receive(shake);
}

void Door::receive(Handshake *shake) {
  while (shake->have < shake->want) {
    ssize_t got = recv(shake->fd, shake->read + shake->have, shake->want - shake->have, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got < 0) return fail(shake, strerror(errno));
    if (got == 0) {
      return fail(shake, shake->calls && shake->step == Handshake::Step::proving ? "it does not accept our secret"
                                                                                : "it closed the connection");
    }
    shake->have += static_cast<size_t>(got);
    // Whoever begins with anything else is not one of us; no need to wait for the rest.
    size_t begun = std::min(shake->have, sizeof magic);
    if (shake->step == Handshake::Step::reading && memcmp(shake->read, magic, begun) != 0)
      return fail(shake, "it is not a process of belay");
  }
  prove(shake);
}

void Door::prove(Handshake *shake) {
  uint32_t self = static_cast<uint32_t>(identity.rank);
  if (shake->calls && shake->step == Handshake::Step::reading) {
    Greeting greeting;
    memcpy(&greeting, shake->read, sizeof greeting);
    Claim claim;
    memcpy(claim.magic, magic, sizeof magic);
    claim.from = self;
    claim.to = static_cast<uint32_t>(shake->peer);
    claim.world = static_cast<uint32_t>(identity.world);
    claim.order = byteOrder;
    if (!randomBytes(claim.nonce, sizeof claim.nonce)) return fail(shake, "no random numbers");
    proofOf(identity, 'c', greeting.nonce, claim.nonce, claim.from, claim.to, claim.proof);
    // Kept: what the listener must answer.
    proofOf(identity, 'l', greeting.nonce, claim.nonce, claim.from, claim.to, shake->read + sizeof(Answer));
    shake->unsent.assign(reinterpret_cast<const char *>(&claim), sizeof claim);
    shake->step = Handshake::Step::proving;
    shake->have = 0;
    shake->want = sizeof(Answer);
    return flush(shake);
  }
  if (shake->calls) {
    if (!sameBytes(shake->read, shake->read + sizeof(Answer), sizeof(Answer)))
      return fail(shake, "it does not know the secret");
    shake->step = Handshake::Step::done;
    return;
  }
  Claim claim;
  memcpy(&claim, shake->read, sizeof claim);
  uint8_t proof[32];
  proofOf(identity, 'c', shake->nonce, claim.nonce, claim.from, claim.to, proof);
  bool right = sameBytes(claim.proof, proof, sizeof proof) && claim.order == byteOrder && claim.to == self &&
               claim.world == static_cast<uint32_t>(identity.world) && claim.from < claim.world && claim.from != self;
  if (!right) return fail(shake, "wrong proof");
  shake->peer = static_cast<int>(claim.from);
  Answer answer;
  proofOf(identity, 'l', shake->nonce, claim.nonce, claim.from, claim.to, answer.proof);
  shake->unsent.assign(reinterpret_cast<const char *>(&answer), sizeof answer);
  shake->step = Handshake::Step::proving;
  flush(shake);
}

void Door::flush(Handshake *shake) {
  while (!shake->unsent.empty()) {
    ssize_t sent = send(shake->fd, shake->unsent.data(), shake->unsent.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (sent < 0) return fail(shake, strerror(errno));
    shake->unsent.erase(0, static_cast<size_t>(sent));
  }
  // The listener's last word is its proof.
  if (!shake->calls && shake->step == Handshake::Step::proving) shake->step = Handshake::Step::done;
}

}  // namespace belay::comm
