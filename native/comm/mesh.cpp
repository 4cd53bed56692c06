// The loop of the progress thread, connections, and how groups end. Frames are in mesh-frames.cpp.
//
// Does not: block anywhere but in poll.
#include "mesh.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "peer-memory.h"

namespace belay::comm {
namespace {

// How long a leaving or losing side waits for the others' ends to close, so that its last frames arrive.
constexpr int64_t drainMs = 1000;
constexpr int64_t goodbyeMs = 2000;

}  // namespace

std::shared_ptr<Group> openMesh(const MeshOptions &options, std::string *why) {
  auto mesh = std::make_shared<Mesh>(options, why);
  return mesh->started() ? mesh : nullptr;
}

Mesh::Mesh(const MeshOptions &options, std::string *why)
    : Group(options.rank, options.world),
      options(options),
      door([&] {
        Identity identity;
        identity.rank = options.rank;
        identity.world = options.world;
        memcpy(identity.secret, options.secret, sizeof identity.secret);
        return identity;
      }()),
      peers(static_cast<size_t>(options.world)) {
  if (!door.listen(options.bind, why)) return;
  if (::pipe(pipe) != 0) {
    *why = std::string("no pipe: ") + strerror(errno);
    return;
  }
  for (int fd : pipe) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
  }
  if (options.sameHost) allowReading();
  cookie = static_cast<uint64_t>(now()) * 0x9e3779b97f4a7c15u ^ reinterpret_cast<uintptr_t>(this) ^
           static_cast<uint64_t>(getpid()) << 40;
  auto body = [](void *self) -> void * {
    static_cast<Mesh *>(self)->run();
    return nullptr;
  };
  running = startThread(&thread, body, this, why);
}

Mesh::~Mesh() {
  close(false);
  for (int fd : pipe)
    if (fd >= 0) ::close(fd);
}

void Mesh::close(bool orderly) {
  std::lock_guard<std::mutex> lock(closing);
  if (!running) return;
  Command last;
  last.kind = orderly ? Command::Kind::leave : Command::Kind::stop;
  command(std::move(last));
  pthread_join(thread, nullptr);
  running = false;
  Loss loss;
  loss.rank = rank;
  loss.how = How::gone;
  transfers.loseAll(loss);
}

void Mesh::wake() {
  char byte = 0;
  // A full pipe wakes it as well.
  if (write(pipe[1], &byte, 1) < 0) return;
}

// --- the loop -----------------------------------------------------------------------------------------------------

void Mesh::run() {
  std::vector<pollfd> fds;
  std::vector<int> ranks;
  lastRound = now();
  for (;;) {
    obey(takeCommands());
    if (isOver()) break;
    fds.clear();
    ranks.clear();
    fds.push_back({pipe[0], POLLIN, 0});
    for (int r = 0; r < world; r++) {
      Peer &peer = peers[static_cast<size_t>(r)];
      if (peer.fd < 0) continue;
      fds.push_back({peer.fd, static_cast<short>(peer.queue.empty() || peer.fault != 0 ? POLLIN : POLLIN | POLLOUT), 0});
      ranks.push_back(r);
    }
    size_t doorAt = fds.size();
    door.appendTo(&fds);
    int64_t patience = timeout();
    poll(fds.data(), static_cast<nfds_t>(fds.size()), static_cast<int>(patience));
    int64_t time = now();
    // If this process itself was stopped (job control, a suspended job), the silence was ours.
    // A quarter more than asked for is no stop but a busy machine.
    int64_t frozen = time - lastRound - patience - options.heartbeatMs / 4;
    if (frozen > 0)
      for (Peer &peer : peers) peer.heard += frozen;
    lastRound = time;
    if (fds[0].revents != 0) {
      char bytes[256];
      while (read(pipe[0], bytes, sizeof bytes) == sizeof bytes) {
      }
    }
    for (size_t i = 0; i < ranks.size(); i++) {
      int r = ranks[i];
      // Writing first: what was read may close the connection.
      if ((fds[1 + i].revents & POLLOUT) != 0 && peers[static_cast<size_t>(r)].fd >= 0) flush(r);
      if ((fds[1 + i].revents & ~POLLOUT) != 0 && peers[static_cast<size_t>(r)].fd >= 0) readSome(r);
    }
    door.handle(fds.data() + doorAt);
    for (auto &shake : door.ended()) promote(std::move(shake));
    endFaulty();
    readMemory();
    watch(time);
  }
  for (int r = 0; r < world; r++) hangUp(r);
  door.shut();
}

bool Mesh::isOver() {
  if (stopping) return true;
  if (!leaving) return false;
  bool connected = std::any_of(peers.begin(), peers.end(), [](const Peer &peer) { return peer.fd >= 0; });
  return !connected || now() >= drainUntil;
}

int64_t Mesh::timeout() {
  if (!readings.empty()) return readings.front().failedAt == 0 ? 0 : 1;
  int64_t time = now(), quarter = std::max<int64_t>(options.heartbeatMs / 4, 1);
  // Never past a quarter: the loop takes a longer gap for a process that was stopped.
  int64_t until = std::min({time + quarter, drainUntil, stageAt, door.deadline()});
  for (const Peer &peer : peers)
    if (peer.fault != 0 && peer.fd >= 0 && !peer.draining) return 0;
    else if (peer.open) until = std::min({until, peer.said + quarter, peer.heard + options.heartbeatMs + 1});
  return std::max<int64_t>(until - time, 0) + (until > time ? 0 : 1);
}

// Connections that refused a byte: what they still hold is read, then they are lost.
void Mesh::endFaulty() {
  for (int r = 0; r < world; r++) {
    Peer &peer = peers[static_cast<size_t>(r)];
    if (peer.fault == 0 || peer.fd < 0 || peer.draining) continue;
    drain(r);
    if (peer.fd < 0 || peer.draining) continue;
    Loss loss;
    loss.rank = r;
    loss.detail = strerror(peer.fault);
    lose(loss);
  }
}

// Timers: signs of life, silence, offers that nobody claims, ends that do not close.
void Mesh::watch(int64_t time) {
  stageOffers(time);
  for (int r = 0; r < world; r++) {
    Peer &peer = peers[static_cast<size_t>(r)];
    if (peer.open && !lost) {
      int64_t silence = time - peer.heard;
      if (silence > options.heartbeatMs) {
        Loss loss;
        loss.rank = r;
        loss.how = How::silent;
        loss.seconds = static_cast<double>(silence) / 1000;
        lose(loss);
      } else if (peer.queue.empty() && time - peer.said >= options.heartbeatMs / 4) {
        Frame frame;
        frame.kind = Kind::beat;
        put(r, frame);
      }
    }
    if (peer.draining && time >= drainUntil) hangUp(r);
  }
  if (!leaving && time >= drainUntil) drainUntil = INT64_MAX;
}

void Mesh::obey(std::vector<Command> commands) {
  for (Command &command : commands) {
    switch (command.kind) {
      case Command::Kind::transfer:
        if (lost || leaving) break;  // Transfers has ended it, or close() will
        if (command.transfer->sending) start(command.transfer);
        else receive(command.transfer);
        break;
      case Command::Kind::connect:
        if (!lost) door.call(command.peer, command.address, command.port);
        break;
      case Command::Kind::seal:
        door.shut();
        break;
      case Command::Kind::leave:
        leaving = true;
        door.shut();
        drainUntil = std::min(drainUntil, now() + (lost ? drainMs : goodbyeMs));
        for (int r = 0; r < world; r++) {
          if (!peers[static_cast<size_t>(r)].open) continue;
          Frame frame;
          frame.kind = Kind::goodbye;
          put(r, frame);
        }
        break;
      case Command::Kind::stop:
        stopping = true;
        break;
      case Command::Kind::allReduce:
        break;  // of MPI alone; addon.cpp does not let it through
    }
  }
}

void Mesh::promote(std::unique_ptr<Handshake> shake) {
  if (shake->step == Handshake::Step::failed) {
    if (shake->calls) setPeer(shake->peer, PeerState::refused, shake->why);
    return;
  }
  Peer &peer = peers[static_cast<size_t>(shake->peer)];
  if (peer.open || peer.left || lost) {
    // A second process that says it has this rank.
    ::close(shake->fd);
    return;
  }
  peer.fd = shake->fd;
  peer.open = true;
  peer.ahead.reset(new char[aheadBytes]);
  peer.heard = peer.said = now();
  setPeer(shake->peer, PeerState::open);
  if (options.sameHost) {
    Frame frame;
    frame.kind = Kind::cookie;
    frame.tag = static_cast<uint32_t>(getpid());
    frame.address = reinterpret_cast<uintptr_t>(&cookie);
    frame.sequence = cookie;
    // Before anything that was queued while there was no connection: its answer makes the rest faster.
    peer.queue.push_front({frame, nullptr});
  }
  flush(shake->peer);
}

// --- ends ---------------------------------------------------------------------------------------------------------

// Nothing of the caller's memory is referred to for this peer afterwards.
void Mesh::forgetPeer(int rank) {
  Peer &peer = peers[static_cast<size_t>(rank)];
  peer.open = false;
  peer.queue.clear();
  peer.offers.clear();
  peer.bodyInto = nullptr;
  peer.bodyAt = nullptr;
  peer.bodyStaged.reset();
  readings.remove_if([&](const Reading &reading) { return reading.peer == rank; });
  matching.dropUnfinished(rank);
}

// A peer said goodbye: everything that still waits for it ends; what it sent before can still be received.
void Mesh::leave(int rank) {
  Peer &peer = peers[static_cast<size_t>(rank)];
  Loss loss;
  loss.rank = rank;
  loss.how = How::left;
  std::vector<Transfer *> ended;
  for (Outgoing &outgoing : peer.queue)
    if (outgoing.transfer != nullptr) ended.push_back(outgoing.transfer);
  for (auto &[sequence, transfer] : peer.offers) ended.push_back(transfer);
  for (Reading &reading : readings)
    if (reading.peer == rank) {
      if (reading.into != nullptr) ended.push_back(reading.into);
      else if (reading.staging != nullptr && reading.staging->taker != nullptr)
        ended.push_back(reading.staging->taker);
    }
  matching.dropReceives(rank, [&](Transfer *receive) { ended.push_back(receive); });
  peer.left = true;
  forgetPeer(rank);
  hangUp(rank);
  setPeer(rank, PeerState::left);
  for (Transfer *transfer : ended) transfers.lose(transfer, loss);
}

// A peer is lost, and with it the group. The others are told first: whoever reads our memory looks at its connection
// before it believes what it read (readMemory), and our caller may change that memory once it knows.
void Mesh::lose(const Loss &loss) {
  if (lost || leaving) {
    if (loss.rank >= 0) hangUp(loss.rank);
    return;
  }
  lost = true;
  for (int r = 0; r < world; r++) {
    Peer &peer = peers[static_cast<size_t>(r)];
    if (peer.fd < 0) continue;
    bool inTheMiddle = peer.sent > 0;
    bool wasOpen = peer.open;
    forgetPeer(r);
    if (wasOpen && !inTheMiddle && (r != loss.rank || loss.how == How::silent)) {
      Frame frame;
      frame.kind = Kind::lost;
      frame.tag = static_cast<uint32_t>(loss.rank);
      frame.length = static_cast<uint64_t>(loss.how);
      frame.address = static_cast<uint64_t>(loss.seconds * 1000);
      ssize_t sent = send(peer.fd, &frame, sizeof frame, MSG_DONTWAIT | MSG_NOSIGNAL);
      (void)sent;  // best effort: the closing connection says the rest
    }
    shutdown(peer.fd, SHUT_WR);
    peer.draining = true;
  }
  if (loss.rank >= 0 && loss.how == How::closed && loss.reporter < 0) hangUp(loss.rank);
  drainUntil = now() + drainMs;
  door.shut();
  matching.clear();
  readings.clear();
  stageAt = INT64_MAX;
  setPeer(loss.rank, PeerState::lost);
  transfers.loseAll(loss);
}

void Mesh::hangUp(int rank) {
  Peer &peer = peers[static_cast<size_t>(rank)];
  if (peer.fd >= 0) ::close(peer.fd);
  peer.fd = -1;
  peer.open = false;
  peer.draining = false;
}

}  // namespace belay::comm
