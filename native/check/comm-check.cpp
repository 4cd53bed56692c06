// The message layer by itself, for the sanitizers: several groups in one process, each driven by a thread of its own.
//
// Checks HMAC against published vectors, messages of random sizes and orders byte for byte through TCP and by reading
// memory, callers with a wrong secret, goodbyes, and losses while messages are under way.
//
// Does not: cover what needs real processes (killed, stopped); src/parallel/group.test.ts does.
#include <stdio.h>
#include <string.h>

#include <atomic>
#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../comm/group.h"
#include "../comm/hmac.h"

using namespace belay::comm;

namespace {

std::atomic<int> failures{0};

void expect(bool good, const char *what) {
  if (good) return;
  failures++;
  fprintf(stderr, "FAILED: %s\n", what);
}

std::string hex(const uint8_t *bytes, size_t count) {
  std::string out;
  char pair[3];
  for (size_t i = 0; i < count; i++) {
    snprintf(pair, sizeof pair, "%02x", bytes[i]);
    out += pair;
  }
  return out;
}

// RFC 4231, cases 1 and 2 (a shorter key is the same as one filled up with zeros), and FIPS 180-4's "abc".
void checkHmac() {
  uint8_t out[32], key[32] = {};
  auto bytes = [](const char *text) { return reinterpret_cast<const uint8_t *>(text); };
  sha256(bytes("abc"), 3, out);
  expect(hex(out, 32) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "sha256");
  memset(key, 0x0b, 20);
  hmacSha256(key, bytes("Hi There"), 8, out);
  expect(hex(out, 32) == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7", "hmac, case 1");
  memset(key, 0, sizeof key);
  memcpy(key, "Jefe", 4);
  hmacSha256(key, bytes("what do ya want for nothing?"), 28, out);
  expect(hex(out, 32) == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", "hmac, case 2");
}

std::shared_ptr<Group> open(int rank, int world, bool sameHost, uint8_t secret = 7, int64_t heartbeatMs = 60000) {
  MeshOptions options;
  options.rank = rank;
  options.world = world;
  options.bind = "127.0.0.1";
  options.sameHost = sameHost;
  options.heartbeatMs = heartbeatMs;
  memset(options.secret, secret, sizeof options.secret);
  std::string why;
  auto group = openMesh(options, &why);
  expect(group != nullptr, why.c_str());
  return group;
}

PeerState settled(Group &group, int peer) {
  std::string why;
  for (int i = 0; i < 20000; i++) {
    PeerState state = group.peer(peer, &why);
    if (state != PeerState::none && state != PeerState::connecting) return state;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return PeerState::none;
}

std::vector<std::shared_ptr<Group>> connected(int world, bool sameHost) {
  std::vector<std::shared_ptr<Group>> groups;
  for (int r = 0; r < world; r++) groups.push_back(open(r, world, sameHost));
  for (int r = 0; r < world; r++)
    for (int peer = 0; peer < r; peer++) groups[r]->connect(peer, "127.0.0.1", groups[peer]->port());
  for (int r = 0; r < world; r++)
    for (int peer = 0; peer < world; peer++)
      if (peer != r) expect(settled(*groups[r], peer) == PeerState::open, "a connection");
  for (auto &group : groups) group->seal();
  return groups;
}

template <class Body>
void onThreads(std::vector<std::shared_ptr<Group>> &groups, Body body) {
  std::vector<std::thread> threads;
  for (auto &group : groups) threads.emplace_back([&] { body(*group); });
  for (auto &thread : threads) thread.join();
}

struct Plan {
  uint32_t tag;
  std::vector<uint8_t> bytes;
};

std::vector<Plan> plansOf(int from, int to, int seed) {
  std::mt19937 random(static_cast<unsigned>(seed * 10000 + from * 100 + to));
  std::vector<Plan> plans(60);
  for (Plan &plan : plans) {
    plan.tag = random() % 3;
    plan.bytes.resize(random() % 8 == 0 ? random() % 400000 : random() % 3000);
    for (uint8_t &byte : plan.bytes) byte = static_cast<uint8_t>(random());
  }
  return plans;
}

// Sends and receives in an order of chance; the messages of one peer and tag in theirs.
void traffic(Group &group, int seed) {
  std::mt19937 random(static_cast<unsigned>(seed * 77 + group.rank));
  struct End {
    Plan *plan;
    std::vector<uint8_t> came;
    bool sending;
    int peer;
  };
  std::vector<std::vector<Plan>> kept;
  std::vector<std::vector<End>> lists;
  kept.reserve(static_cast<size_t>(2 * group.world));
  for (int peer = 0; peer < group.world; peer++) {
    if (peer == group.rank) continue;
    for (bool sending : {true, false}) {
      kept.push_back(sending ? plansOf(group.rank, peer, seed) : plansOf(peer, group.rank, seed));
      for (uint32_t tag = 0; tag < 3; tag++) {
        lists.emplace_back();
        for (Plan &plan : kept.back())
          if (plan.tag == tag) lists.back().push_back({&plan, std::vector<uint8_t>(plan.bytes.size()), sending, peer});
      }
    }
  }
  std::vector<double> ids;
  std::vector<size_t> next(lists.size());
  for (size_t left = lists.size(); left > 0;) {
    size_t at = random() % lists.size();
    if (next[at] > lists[at].size()) continue;
    if (next[at] == lists[at].size()) {
      next[at]++;
      left--;
      continue;
    }
    End &end = lists[at][next[at]++];
    std::vector<uint8_t> &data = end.sending ? end.plan->bytes : end.came;
    ids.push_back(static_cast<double>(group.post(end.sending, end.peer, end.plan->tag, data.data(), data.size())));
    if (random() % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(7));
  }
  Outcome outcome = group.wait(ids.data(), ids.size(), 60000);
  expect(outcome.state == Outcome::State::done, "all messages done");
  for (auto &list : lists)
    for (End &end : list) expect(end.sending || end.came == end.plan->bytes, "a message as it was sent");
}

void checkTraffic(bool sameHost) {
  auto groups = connected(3, sameHost);
  for (int seed = 1; seed <= 3; seed++) onThreads(groups, [&](Group &group) { traffic(group, seed); });
  onThreads(groups, [](Group &group) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20 * group.rank));
    group.close(true);
  });
}

void checkStrangers() {
  auto listener = open(0, 2, true), stranger = open(1, 2, true, 8), friendly = open(1, 2, true);
  stranger->connect(0, "127.0.0.1", listener->port());
  expect(settled(*stranger, 0) == PeerState::refused, "a wrong secret is refused");
  friendly->connect(0, "127.0.0.1", listener->port());
  expect(settled(*friendly, 0) == PeerState::open, "the right one is not");
  stranger->connect(0, "127.0.0.1", 1);
  expect(settled(*stranger, 0) == PeerState::refused, "nobody there");
}

// One rank ends without a goodbye while all exchange messages.
void checkLoss(bool sameHost) {
  auto groups = connected(3, sameHost);
  onThreads(groups, [](Group &group) {
    std::vector<float> data(200000, static_cast<float>(group.rank)), came(data.size());
    int next = (group.rank + 1) % 3, previous = (group.rank + 2) % 3;
    for (int round = 0;; round++) {
      if (group.rank == 1 && round == 5) {
        group.post(true, next, 1, data.data(), data.size() * 4);
        group.post(false, previous, 1, came.data(), came.size() * 4);
        return group.close(false);
      }
      double ids[] = {static_cast<double>(group.post(true, next, 1, data.data(), data.size() * 4)),
                      static_cast<double>(group.post(false, previous, 1, came.data(), came.size() * 4))};
      Outcome outcome = group.wait(ids, 2, 60000);
      if (outcome.state == Outcome::State::lost) {
        expect(outcome.loss.rank == 1 && outcome.loss.how == How::closed, "who was lost, and how");
        break;
      }
      expect(outcome.state == Outcome::State::done, "a round");
      expect(came.front() == static_cast<float>(previous) && came.back() == came.front(), "what came");
    }
    expect(group.wait(nullptr, 0, 0).state == Outcome::State::lost, "a later wait");
    group.close(true);
  });
}

// Closing while another thread waits ends its wait.
void checkCloseWhileWaiting() {
  auto groups = connected(2, true);
  std::vector<char> data(100);
  double id = static_cast<double>(groups[0]->post(false, 1, 5, data.data(), data.size()));
  std::thread waiter([&] {
    Outcome outcome = groups[0]->wait(&id, 1, 60000);
    expect(outcome.state == Outcome::State::lost && outcome.loss.how == How::gone, "a wait that close ends");
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  groups[0]->close(true);
  waiter.join();
}

}  // namespace

int main() {
  checkHmac();
  checkStrangers();
  for (bool sameHost : {false, true}) {
    checkTraffic(sameHost);
    checkLoss(sameHost);
  }
  checkCloseWhileWaiting();
  printf("message layer: %s\n", failures == 0 ? "all checks passed" : "FAILED");
  return failures == 0 ? 0 : 1;
}
