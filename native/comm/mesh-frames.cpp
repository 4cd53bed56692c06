// Frames and messages of the mesh: what is sent, what a received byte means, and reading offered messages.
//
// Does not: decide when; the loop in mesh.cpp calls.
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include <algorithm>

#include "mesh.h"
#include "peer-memory.h"

namespace belay::comm {
namespace {

// Up to here a message goes through the connection even where its memory could be read: cheaper than an answer.
constexpr size_t inlineBytes = 16 << 10;
// An offer is staged when no receive is posted for it within this time; usually one is.
constexpr int64_t offerMs = 5;
// Bytes per peer and round of the loop, so that no peer keeps the others waiting.
constexpr size_t roundBytes = 1 << 20;
constexpr size_t readingBytes = 1 << 20;
// Memory goes before connections when a process dies: this long an unreadable peer has to be found closed.
constexpr int64_t dyingMs = 500;
constexpr int framesAtOnce = 16;

}  // namespace

// --- sending ------------------------------------------------------------------------------------------------------

void Mesh::start(Transfer *send) {
  Peer &peer = peers[static_cast<size_t>(send->peer)];
  if (peer.left) {
    Loss loss;
    loss.rank = send->peer;
    loss.how = How::left;
    return transfers.lose(send, loss);
  }
  Frame frame;
  frame.tag = send->tag;
  frame.length = send->length;
  if (peer.readsUs && send->length > inlineBytes) {
    frame.kind = Kind::offer;
    frame.address = reinterpret_cast<uintptr_t>(send->data);
    frame.sequence = sequence++;
    peer.offers[frame.sequence] = send;
    return put(send->peer, frame);
  }
  frame.kind = Kind::data;
  put(send->peer, frame, send);
}

void Mesh::put(int rank, const Frame &frame, Transfer *transfer) {
  Peer &peer = peers[static_cast<size_t>(rank)];
  bool idle = peer.queue.empty();
  peer.queue.push_back({frame, transfer});
  // A queue that is not empty waits for POLLOUT.
  if (idle && peer.fd >= 0) flush(rank);
}

void Mesh::flush(int rank) {
  Peer &peer = peers[static_cast<size_t>(rank)];
  size_t total = 0;
  while (!peer.queue.empty() && total < 4 * roundBytes && peer.fault == 0) {
    iovec parts[2 * framesAtOnce];
    int count = 0;
    size_t skip = peer.sent, asked = 0;
    for (size_t i = 0; i < peer.queue.size() && i < framesAtOnce && asked < 4 * roundBytes; i++) {
      Outgoing &outgoing = peer.queue[i];
      size_t body = outgoing.transfer == nullptr ? 0 : outgoing.transfer->length;
      if (skip < sizeof(Frame))
        parts[count++] = {reinterpret_cast<char *>(&outgoing.frame) + skip, sizeof(Frame) - skip};
      size_t from = skip < sizeof(Frame) ? 0 : skip - sizeof(Frame);
      if (body > from) parts[count++] = {outgoing.transfer->data + from, body - from};
      asked += sizeof(Frame) + body - skip;
      skip = 0;
    }
    msghdr message = {};
    message.msg_iov = parts;
    message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(count);
    ssize_t sent = sendmsg(peer.fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (sent < 0) {
      // What it said last may still be there to be read (a goodbye, or whom it lost): the loop looks, then ends it.
      peer.fault = errno;
      return;
    }
    total += static_cast<size_t>(sent);
    peer.said = now();
    peer.sent += static_cast<size_t>(sent);
    while (!peer.queue.empty()) {
      Outgoing &front = peer.queue.front();
      size_t whole = sizeof(Frame) + (front.transfer == nullptr ? 0 : front.transfer->length);
      if (peer.sent < whole) break;
      peer.sent -= whole;
      Transfer *done = front.transfer;
      bool last = front.frame.kind == Kind::goodbye;
      peer.queue.pop_front();
      if (done != nullptr) transfers.finish(done);
      if (last) shutdown(peer.fd, SHUT_WR);
    }
  }
}

// --- receiving ----------------------------------------------------------------------------------------------------

// A receive was posted.
void Mesh::receive(Transfer *transfer) {
  Peer &peer = peers[static_cast<size_t>(transfer->peer)];
  std::shared_ptr<Arrival> arrival = matching.claim(transfer);
  if (arrival == nullptr) {
    if (!peer.left) return;
    matching.dropReceives(transfer->peer, [](Transfer *) {});
    Loss loss;
    loss.rank = transfer->peer;
    loss.how = How::left;
    return transfers.lose(transfer, loss);
  }
  bool fits = arrival->length == transfer->length;
  if (!fits) transfers.refuse(transfer, arrival->length);
  Transfer *into = fits ? transfer : nullptr;
  if (arrival->offered) {
    beginReading(arrival->peer, arrival->address, arrival->sequence, fits ? arrival->length : 0, into, nullptr);
    return;
  }
  arrival->taker = into;
  if (arrival->whole) settle(arrival.get());
}

// All bytes of a message are staged: hands them to the receive that claimed it, if one did.
void Mesh::settle(Arrival *arrival) {
  arrival->whole = true;
  if (arrival->taker == nullptr) return;
  if (arrival->length > 0) memcpy(arrival->taker->data, arrival->staged, arrival->length);
  transfers.finish(arrival->taker);
}

// Reads what the connection has, up to a round's share; false when there is nothing more for now.
bool Mesh::readSome(int rank) {
  Peer &peer = peers[static_cast<size_t>(rank)];
  size_t total = 0;
  while (peer.fd >= 0 && total < roundBytes) {
    // The bytes of a long message go straight to where they belong.
    bool straight = peer.open && peer.inBody && peer.begin == peer.end && peer.bodyAt != nullptr &&
                    peer.bodyLeft >= aheadBytes;
    char *into = straight ? peer.bodyAt : peer.ahead.get() + peer.end;
    size_t room = straight ? peer.bodyLeft : aheadBytes - peer.end;
    ssize_t got = recv(peer.fd, into, room, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
    if (got <= 0) {
      if (peer.draining || leaving) {
        hangUp(rank);
        return false;
      }
      Loss loss;
      loss.rank = rank;
      if (got < 0) loss.detail = strerror(errno);
      lose(loss);
      return false;
    }
    total += static_cast<size_t>(got);
    peer.heard = now();
    if (peer.draining) {
      peer.begin = peer.end = 0;
      continue;
    }
    if (straight) {
      peer.bodyAt += got;
      peer.bodyLeft -= static_cast<size_t>(got);
      if (peer.bodyLeft == 0) endBody(rank);
      continue;
    }
    peer.end += static_cast<size_t>(got);
    if (!parse(rank)) return false;
  }
  return true;
}

// Reads until the connection has nothing more for now, a few rounds' worth at most.
void Mesh::drain(int rank) {
  for (int round = 0; round < 16 && readSome(rank); round++) {
  }
}

// Takes apart what was read ahead; false once the connection is no longer one of messages.
bool Mesh::parse(int rank) {
  Peer &peer = peers[static_cast<size_t>(rank)];
  while (peer.begin < peer.end) {
    size_t have = peer.end - peer.begin;
    if (peer.inBody) {
      size_t part = std::min(have, peer.bodyLeft);
      if (peer.bodyAt != nullptr) {
        memcpy(peer.bodyAt, peer.ahead.get() + peer.begin, part);
        peer.bodyAt += part;
      }
      peer.begin += part;
      peer.bodyLeft -= part;
      if (peer.bodyLeft == 0) endBody(rank);
      continue;
    }
    if (have < sizeof(Frame)) break;
    Frame frame;
    memcpy(&frame, peer.ahead.get() + peer.begin, sizeof frame);
    peer.begin += sizeof frame;
    handle(rank, frame);
    if (!peer.open) return false;
  }
  memmove(peer.ahead.get(), peer.ahead.get() + peer.begin, peer.end - peer.begin);
  peer.end -= peer.begin;
  peer.begin = 0;
  return true;
}

void Mesh::handle(int rank, const Frame &frame) {
  Peer &peer = peers[static_cast<size_t>(rank)];
  Loss loss;
  loss.rank = rank;
  switch (frame.kind) {
    case Kind::data:
      return beginBody(rank, frame);
    case Kind::offer:
      return handleOffer(rank, frame);
    case Kind::taken: {
      auto found = peer.offers.find(frame.sequence);
      if (found == peer.offers.end()) break;
      Transfer *done = found->second;
      peer.offers.erase(found);
      return transfers.finish(done);
    }
    case Kind::beat:
      return;
    case Kind::cookie: {
      uint64_t there = ~frame.sequence;
      std::string why;
      peer.process = static_cast<int>(frame.tag);
      if (!options.sameHost || !readPeer(peer.process, frame.address, &there, sizeof there, &why)) return;
      if (there != frame.sequence) return;
      Frame answer;
      answer.kind = Kind::readable;
      return put(rank, answer);
    }
    case Kind::readable:
      peer.readsUs = true;
      return;
    case Kind::lost:
      if (frame.tag >= static_cast<uint32_t>(world) || frame.length > static_cast<uint64_t>(How::gone)) break;
      loss.rank = static_cast<int>(frame.tag);
      loss.how = static_cast<How>(frame.length);
      loss.reporter = rank;
      loss.seconds = static_cast<double>(frame.address) / 1000;
      return lose(loss);
    case Kind::goodbye:
      return leave(rank);
  }
  loss.how = How::garbled;
  lose(loss);
}

void Mesh::beginBody(int rank, const Frame &frame) {
  Peer &peer = peers[static_cast<size_t>(rank)];
  peer.inBody = true;
  peer.bodyLeft = frame.length;
  peer.bodyInto = matching.receiver(rank, frame.tag);
  peer.bodyAt = nullptr;
  if (peer.bodyInto != nullptr) {
    if (peer.bodyInto->length == frame.length) {
      peer.bodyAt = peer.bodyInto->data;
    } else {
      transfers.refuse(peer.bodyInto, frame.length);
      peer.bodyInto = nullptr;
    }
  } else {
    peer.bodyStaged = stage(rank, frame);
    if (peer.bodyStaged == nullptr) return;
    peer.bodyAt = peer.bodyStaged->staged;
    matching.keep(peer.bodyStaged);
  }
  if (peer.bodyLeft == 0) endBody(rank);
}

void Mesh::endBody(int rank) {
  Peer &peer = peers[static_cast<size_t>(rank)];
  peer.inBody = false;
  peer.bodyAt = nullptr;
  if (peer.bodyInto != nullptr) transfers.finish(peer.bodyInto);
  peer.bodyInto = nullptr;
  if (peer.bodyStaged != nullptr) settle(peer.bodyStaged.get());
  peer.bodyStaged.reset();
}

// Memory for a message that nobody waits for yet; null, with the group lost, where there is none.
std::shared_ptr<Arrival> Mesh::stage(int rank, const Frame &frame) {
  auto arrival = std::make_shared<Arrival>();
  arrival->peer = rank;
  arrival->tag = frame.tag;
  arrival->length = frame.length;
  if (frame.kind == Kind::data && !reserve(arrival.get())) return nullptr;
  return arrival;
}

bool Mesh::reserve(Arrival *arrival) {
  arrival->staged = static_cast<char *>(malloc(std::max<size_t>(arrival->length, 1)));
  if (arrival->staged != nullptr) return true;
  Loss loss;
  loss.rank = arrival->peer;
  loss.how = How::unreadable;
  loss.detail = "no memory for a message of " + std::to_string(arrival->length) + " bytes";
  lose(loss);
  return false;
}

// --- the memory of others -----------------------------------------------------------------------------------------

void Mesh::handleOffer(int rank, const Frame &frame) {
  Transfer *receive = matching.receiver(rank, frame.tag);
  if (receive != nullptr) {
    bool fits = receive->length == frame.length;
    if (!fits) transfers.refuse(receive, frame.length);
    return beginReading(rank, frame.address, frame.sequence, fits ? frame.length : 0, fits ? receive : nullptr,
                        nullptr);
  }
  std::shared_ptr<Arrival> arrival = stage(rank, frame);
  arrival->offered = true;
  arrival->address = frame.address;
  arrival->sequence = frame.sequence;
  arrival->since = now();
  stageAt = std::min(stageAt, arrival->since + offerMs);
  matching.keep(arrival);
}

void Mesh::beginReading(int rank, uint64_t address, uint64_t sequence, size_t length, Transfer *into,
                        std::shared_ptr<Arrival> staging) {
  Reading reading;
  reading.peer = rank;
  reading.address = address;
  reading.sequence = sequence;
  reading.into = into;
  reading.staging = std::move(staging);
  reading.length = length;
  readings.push_back(std::move(reading));
}

void Mesh::stageOffers(int64_t time) {
  if (time < stageAt || lost) return;
  stageAt = INT64_MAX;
  std::vector<std::shared_ptr<Arrival>> late;
  matching.forOffers([&](const std::shared_ptr<Arrival> &arrival) {
    if (time >= arrival->since + offerMs) late.push_back(arrival);
    else stageAt = std::min(stageAt, arrival->since + offerMs);
  });
  for (auto &arrival : late) {
    if (!reserve(arrival.get())) return;
    arrival->offered = false;
    beginReading(arrival->peer, arrival->address, arrival->sequence, arrival->length, nullptr, arrival);
  }
}

// Reads one piece of the first offered message. Once all of it is read, the connection is looked at before the bytes
// are believed: a sender that died or gave up may have changed them, and then its connection says so by now.
void Mesh::readMemory() {
  if (readings.empty()) return;
  Reading &front = readings.front();
  size_t part = std::min(front.length - front.at, readingBytes);
  char *into = front.into != nullptr ? front.into->data : front.staging != nullptr ? front.staging->staged : nullptr;
  std::string why;
  bool good = part == 0 || readPeer(peers[static_cast<size_t>(front.peer)].process, front.address + front.at,
                                    into + front.at, part, &why);
  if (good) front.at += part;
  if (good && front.at < front.length) return;
  if (!good && front.failedAt == 0) front.failedAt = now();
  int rank = front.peer;
  uint64_t sequence = front.sequence;
  drain(rank);
  // It is still the first one unless its peer left or was lost.
  if (lost || readings.empty() || readings.front().peer != rank || readings.front().sequence != sequence) return;
  if (!good) {
    if (now() - readings.front().failedAt < dyingMs) return;
    Loss loss;
    loss.rank = rank;
    loss.how = How::unreadable;
    loss.detail = why;
    return lose(loss);
  }
  Reading done = std::move(readings.front());
  readings.pop_front();
  Frame answer;
  answer.kind = Kind::taken;
  answer.sequence = sequence;
  put(rank, answer);
  if (done.into != nullptr) transfers.finish(done.into);
  if (done.staging != nullptr) settle(done.staging.get());
}

}  // namespace belay::comm
