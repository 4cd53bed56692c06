// Checks every kernel of every target this processor has against naive double-precision code.
//
// Forward kernels are compared with the plain formulas of kernels.h; backward kernels with directional derivatives
// of those formulas, so that no gradient is derived twice by hand. Every case runs with 1, 2 and 3 threads and must
// give the same bits. Buffers are exactly sized heap blocks: built with AddressSanitizer, a read past an end stops
// the run. Prints "N passed, N failed".
//
// Does not: measure speed.
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "../kernels.h"

namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;
using Ints = std::vector<int32_t>;
using Outputs = std::vector<Floats>;

int passed = 0, failed = 0;
std::string target_name;
const BelayKernels *kernels = nullptr;

void report(bool good, const std::string &name, const std::string &detail) {
  good ? passed++ : failed++;
  if (!good) printf("FAILED %s %s: %s\n", target_name.c_str(), name.c_str(), detail.c_str());
}

// --- random numbers and small helpers ------------------------------------------------------------------------

uint64_t state = 88172645463325252ull;
uint64_t next_random() {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}
double uniform(double low, double high) { return low + (high - low) * double(next_random() >> 11) * 0x1p-53; }
int64_t pick(const std::vector<int64_t> &from) { return from[next_random() % from.size()]; }
Floats random_floats(int64_t count, double low = -1, double high = 1) {
  Floats x(count);
  for (float &one : x) one = float(uniform(low, high));
  return x;
}
Doubles widen(const Floats &x) { return Doubles(x.begin(), x.end()); }
std::string shape(std::initializer_list<int64_t> sizes) {
  std::string text;
  for (int64_t size : sizes) text += (text.empty() ? "[" : ", ") + std::to_string(size);
  return text + "]";
}

uint16_t bf16_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t(bits >> 16 | 0x40);
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
float float_of(uint16_t bits) {
  const uint32_t wide = uint32_t(bits) << 16;
  float x;
  memcpy(&x, &wide, 4);
  return x;
}
Doubles operands(int compute, const Floats &x) {
  Doubles out(x.size());
  for (size_t i = 0; i < x.size(); i++) out[i] = compute == BELAY_BF16 ? float_of(bf16_of(x[i])) : x[i];
  return out;
}

// --- comparing -----------------------------------------------------------------------------------------------

// |got - want| <= tolerance * (|want| + mean |want|, at least 0.3), and both NaN or the same infinity where not finite.
void compare(const std::string &name, const Floats &got, const Doubles &want, double tolerance) {
  if (got.size() != want.size()) return report(false, name, "wrong length");
  double mean = 0;
  int64_t finite = 0;
  for (double x : want)
    if (std::isfinite(x)) mean += fabs(x), finite++;
  mean = fmax(finite ? mean / double(finite) : 0, 0.3);
  for (size_t i = 0; i < got.size(); i++) {
    const bool same = std::isnan(want[i])   ? std::isnan(got[i])
                      : std::isinf(want[i]) ? double(got[i]) == want[i]
                                            : fabs(got[i] - want[i]) <= tolerance * (fabs(want[i]) + mean);
    if (same) continue;
    char text[160];
    snprintf(text, sizeof text, "element %zu of %zu: got %.9g, want %.9g", i, got.size(), double(got[i]), want[i]);
    return report(false, name, text);
  }
  report(true, name, "");
}

// Runs with 1, 2 and 3 threads; the bits must agree. Returns what one thread gave.
Outputs run(const std::string &name, const std::function<Outputs()> &body) {
  Outputs first;
  for (int threads : {1, 2, 3}) {
    belay_threads_start(threads);
    Outputs outputs = body();
    if (threads == 1) {
      first = outputs;
      continue;
    }
    bool same = outputs.size() == first.size();
    for (size_t i = 0; same && i < outputs.size(); i++)
      same = outputs[i].size() == first[i].size() &&
             (first[i].empty() || memcmp(outputs[i].data(), first[i].data(), first[i].size() * 4) == 0);
    report(same, name, "bits differ between 1 and " + std::to_string(threads) + " threads");
  }
  return first;
}

// `value` computes sum(weights * forward(inputs)) in double; `gradients[i]` is what the kernel says for inputs[i].
void check_gradients(const std::string &name, std::vector<Doubles> inputs, const std::vector<Floats> &gradients,
                     const std::function<double(const std::vector<Doubles> &)> &value, double tolerance,
                     double floor = 1e-8) {
  for (size_t i = 0; i < gradients.size(); i++) {
    if (inputs[i].empty()) continue;
    double norm = 0;
    for (float g : gradients[i]) norm += double(g) * g;
    norm = sqrt(norm);
    for (int trial = 0; trial < 5; trial++) {
      Doubles direction(inputs[i].size(), 0.0);
      double length = 0;
      if (trial < 2)
        for (double &d : direction) d = uniform(-1, 1), length += d * d;
      else
        direction[next_random() % direction.size()] = 1, length = 1;
      length = sqrt(length);
      const double step = 1e-5;
      const Doubles kept = inputs[i];
      double analytic = 0;
      for (size_t j = 0; j < kept.size(); j++) analytic += direction[j] * gradients[i][j];
      for (size_t j = 0; j < kept.size(); j++) inputs[i][j] = kept[j] + step * direction[j];
      const double above = value(inputs);
      for (size_t j = 0; j < kept.size(); j++) inputs[i][j] = kept[j] - step * direction[j];
      const double below = value(inputs);
      inputs[i] = kept;
      const double numeric = (above - below) / (2 * step);
      const double mean_size = norm / sqrt(double(kept.size())) * length;
      char text[160];
      snprintf(text, sizeof text, "input %zu, direction %d: kernel %.9g, numeric %.9g", i, trial, analytic, numeric);
      report(fabs(analytic - numeric) <= tolerance * (fabs(numeric) + mean_size) + floor, name + " gradient", text);
    }
  }
}

// --- matrix products -----------------------------------------------------------------------------------------

void check_gemm(int compute, bool transA, bool transB, bool accumulate, int64_t M, int64_t N, int64_t K) {
  const int64_t lda = (transA ? M : K) + pick({0, 3}), ldb = (transB ? K : N) + pick({0, 5}), ldc = N + pick({0, 2});
  // The last row of a strided matrix ends where its last element does.
  auto exact = [](int64_t rows, int64_t columns, int64_t ld) {
    return rows && columns ? (rows - 1) * ld + columns : 0;
  };
  const Floats A = random_floats(transA ? exact(K, M, lda) : exact(M, K, lda));
  const Floats B = random_floats(transB ? exact(N, K, ldb) : exact(K, N, ldb));
  const Floats C = random_floats(exact(M, N, ldc));
  const std::string name = std::string("gemm ") + (compute ? "bf16 " : "f32 ") + (transA ? "T" : "N") +
                           (transB ? "T" : "N") + (accumulate ? "+ " : " ") + shape({M, N, K});
  const Outputs got = run(name, [&] {
    Floats out = C;
    kernels->gemm(compute, transA, transB, M, N, K, A.data(), lda, B.data(), ldb, accumulate, out.data(), ldc);
    return Outputs{out};
  });
  const Doubles a = operands(compute, A), b = operands(compute, B);
  Doubles want = widen(C);
  for (int64_t m = 0; m < M; m++)
    for (int64_t n = 0; n < N; n++) {
      double sum = accumulate ? C[m * ldc + n] : 0;
      for (int64_t k = 0; k < K; k++)
        sum += a[transA ? k * lda + m : m * lda + k] * b[transB ? n * ldb + k : k * ldb + n];
      want[m * ldc + n] = sum;
    }
  compare(name, got[0], want, 3e-6 * sqrt(double(K) / 64 + 1));
}

void check_gemms() {
  const std::vector<int64_t> sizes = {1, 2, 3, 5, 7, 8, 9, 13, 14, 15, 16, 17, 28, 31, 33, 48, 65, 100};
  for (int compute : {BELAY_F32, BELAY_BF16})
    for (int bits = 0; bits < 8; bits++) {
      for (int i = 0; i < 14; i++)
        check_gemm(compute, bits & 1, bits & 2, bits & 4, pick(sizes), pick(sizes), pick(sizes));
      check_gemm(compute, bits & 1, bits & 2, bits & 4, 37, 70, 1301);
      check_gemm(compute, bits & 1, bits & 2, bits & 4, 250, 131, 64);
      check_gemm(compute, bits & 1, bits & 2, bits & 4, 3, 300, 67);
      for (int zero = 0; zero < 3; zero++)
        check_gemm(compute, bits & 1, bits & 2, bits & 4, zero == 0 ? 0 : 5, zero == 1 ? 0 : 7, zero == 2 ? 0 : 9);
    }
  // One NaN or infinity in A reaches its row of C and nothing else.
  for (int compute : {BELAY_F32, BELAY_BF16})
    for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
      for (int64_t M : {4, 40}) {
        const int64_t N = 35, K = 33;
        Floats A = random_floats(M * K), B = random_floats(K * N, 0.5, 1), C(M * N);
        A[2 * K + 31] = bad;
        kernels->gemm(compute, 0, 0, M, N, K, A.data(), K, B.data(), N, 0, C.data(), N);
        bool good = true;
        for (int64_t m = 0; m < M; m++)
          for (int64_t n = 0; n < N; n++) good &= std::isfinite(C[m * N + n]) == (m != 2);
        report(good, "gemm with NaN or infinity", shape({M, N, K}));
      }
}

// --- embedding -----------------------------------------------------------------------------------------------

void check_embedding(int64_t N, int64_t D, int64_t V) {
  const Floats weight = random_floats(V * D), dout = random_floats(N * D), start = random_floats(V * D);
  Ints ids(N);
  for (int32_t &id : ids) id = int32_t(next_random() % V);
  const int32_t padding = V > 2 ? 1 : -1;
  const std::string name = "embedding " + shape({N, D, V});
  const Outputs got = run(name, [&] {
    Floats out(N * D), dweight = start;
    kernels->embedding(N, D, weight.data(), ids.data(), out.data());
    kernels->embedding_backward(N, D, dout.data(), ids.data(), padding, dweight.data());
    return Outputs{out, dweight};
  });
  Doubles out(N * D), dweight = widen(start);
  for (int64_t n = 0; n < N; n++)
    for (int64_t j = 0; j < D; j++) {
      out[n * D + j] = weight[ids[n] * D + j];
      if (ids[n] != padding) dweight[ids[n] * D + j] += dout[n * D + j];
    }
  compare(name, got[0], out, 0);
  compare(name + " backward", got[1], dweight, 5e-6);
}

// --- norms ---------------------------------------------------------------------------------------------------

Doubles rmsnorm(const Doubles &x, const Doubles &weight, int64_t N, int64_t D, double eps, Doubles *rstd = nullptr) {
  Doubles out(N * D);
  for (int64_t n = 0; n < N; n++) {
    double squares = 0;
    for (int64_t j = 0; j < D; j++) squares += x[n * D + j] * x[n * D + j];
    const double r = 1 / sqrt(squares / double(D) + eps);
    if (rstd) (*rstd)[n] = r;
    for (int64_t j = 0; j < D; j++) out[n * D + j] = x[n * D + j] * r * weight[j];
  }
  return out;
}

double dot(const Doubles &a, const Floats &b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); i++) sum += a[i] * b[i];
  return sum;
}

Floats difference(const Floats &a, const Floats &b) {
  Floats out(a.size());
  for (size_t i = 0; i < a.size(); i++) out[i] = a[i] - b[i];
  return out;
}

void check_rmsnorm(int64_t N, int64_t D, bool with_delta) {
  const float eps = 1e-5f;
  const Floats x = random_floats(N * D), delta = random_floats(N * D), weight = random_floats(D, 0.5, 1.5);
  const Floats dout = random_floats(N * D), above = random_floats(N * D);
  const std::string name = std::string("rmsnorm ") + (with_delta ? "with delta " : "") + shape({N, D});
  const Outputs got = run(name, [&] {
    Floats sum(with_delta ? N * D : 0), out(N * D), rstd(N), dsum = above, dweight(D, 0.0f);
    kernels->add_rmsnorm(N, D, x.data(), with_delta ? delta.data() : nullptr, weight.data(), eps,
                         with_delta ? sum.data() : nullptr, out.data(), rstd.data());
    kernels->add_rmsnorm_backward(N, D, with_delta ? sum.data() : x.data(), weight.data(), rstd.data(), dout.data(),
                                  dsum.data(), dweight.data());
    return Outputs{out, rstd, sum, dsum, dweight};
  });
  Floats input = x;
  if (with_delta)
    for (int64_t i = 0; i < N * D; i++) input[i] += delta[i];
  Doubles rstd(N);
  compare(name, got[0], rmsnorm(widen(input), widen(weight), N, D, eps, &rstd), 2e-6);
  compare(name + " rstd", got[1], rstd, 1e-6);
  if (with_delta) compare(name + " sum", got[2], widen(input), 0);
  check_gradients(name, {widen(input), widen(weight)}, {difference(got[3], above), got[4]},
                  [&](const std::vector<Doubles> &in) { return dot(rmsnorm(in[0], in[1], N, D, eps), dout); }, 1e-5,
                  D == 1 ? 1e-5 : 1e-6);  // a row of one value has almost no gradient
}

struct Heads {
  int64_t N, H, K, hd;
  Ints positions;
  Floats cosine, sine;
};

// q and k after norm and rotation, one after the other.
Doubles norm_rope(const Heads &s, const Doubles &qkv, const Doubles &qweight, const Doubles &kweight, double eps,
                  Doubles *rstd = nullptr) {
  const int64_t half = s.hd / 2, width = (s.H + 2 * s.K) * s.hd;
  Doubles out(s.N * (s.H + s.K) * s.hd);
  for (int64_t n = 0; n < s.N; n++)
    for (int64_t h = 0; h < s.H + s.K; h++) {
      const double *x = qkv.data() + n * width + h * s.hd, *w = h < s.H ? qweight.data() : kweight.data();
      double *to = out.data() + (h < s.H ? (n * s.H + h) * s.hd : (s.N * s.H + n * s.K + h - s.H) * s.hd);
      double squares = 0;
      for (int64_t j = 0; j < s.hd; j++) squares += x[j] * x[j];
      const double r = 1 / sqrt(squares / double(s.hd) + eps);
      if (rstd) (*rstd)[n * (s.H + s.K) + h] = r;
      for (int64_t j = 0; j < half; j++) {
        const double c = s.cosine[s.positions[n] * half + j], i = s.sine[s.positions[n] * half + j];
        const double a = x[j] * r * w[j], b = x[j + half] * r * w[j + half];
        to[j] = a * c - b * i;
        to[j + half] = b * c + a * i;
      }
    }
  return out;
}

void check_rope(int64_t N, int64_t H, int64_t K, int64_t hd) {
  const float eps = 1e-6f;
  Heads s{N, H, K, hd, Ints(N), {}, {}};
  const int64_t table = 50, width = (H + 2 * K) * hd;
  for (int64_t i = 0; i < table * hd / 2; i++) {
    const double angle = uniform(-3, 3);
    s.cosine.push_back(float(cos(angle))), s.sine.push_back(float(sin(angle)));
  }
  s.cosine.shrink_to_fit(), s.sine.shrink_to_fit();
  for (int32_t &position : s.positions) position = int32_t(next_random() % table);
  const Floats qkv = random_floats(N * width), qweight = random_floats(hd, 0.5, 1.5),
               kweight = random_floats(hd, 0.5, 1.5);
  const Floats dq = random_floats(N * H * hd), dk = random_floats(N * K * hd);
  const std::string name = "qk_norm_rope " + shape({N, H, K, hd});
  const Outputs got = run(name, [&] {
    Floats q(N * H * hd), k(N * K * hd), rstd(N * (H + K)), dqkv(N * width, 0.0f);
    Floats dqweight(hd, 0.0f), dkweight(hd, 0.0f);
    kernels->qk_norm_rope(N, H, K, hd, qkv.data(), qweight.data(), kweight.data(), eps, s.cosine.data(),
                          s.sine.data(), s.positions.data(), q.data(), k.data(), rstd.data());
    kernels->qk_norm_rope_backward(N, H, K, hd, qkv.data(), qweight.data(), kweight.data(), rstd.data(),
                                   s.cosine.data(), s.sine.data(), s.positions.data(), dq.data(), dk.data(),
                                   dqkv.data(), dqweight.data(), dkweight.data());
    q.insert(q.end(), k.begin(), k.end());
    return Outputs{q, rstd, dqkv, dqweight, dkweight};
  });
  Doubles rstd(N * (H + K));
  compare(name, got[0], norm_rope(s, widen(qkv), widen(qweight), widen(kweight), eps, &rstd), 2e-6);
  compare(name + " rstd", got[1], rstd, 1e-6);
  Floats dout = dq;
  dout.insert(dout.end(), dk.begin(), dk.end());
  check_gradients(name, {widen(qkv), widen(qweight), widen(kweight)}, {got[2], got[3], got[4]},
                  [&](const std::vector<Doubles> &in) { return dot(norm_rope(s, in[0], in[1], in[2], eps), dout); },
                  1e-5);
}

// --- attention -----------------------------------------------------------------------------------------------

struct Ranges {
  Ints lo, hi;
};

Doubles plain_attention(int64_t Nq, int64_t H, int64_t K, int64_t hd, double scale, const Doubles &q, int64_t ldq,
                        const Doubles &k, int64_t ldk, const Doubles &v, int64_t ldv, const Ranges &ranges,
                        Doubles *lse = nullptr) {
  Doubles out(Nq * H * hd, 0.0);
  for (int64_t i = 0; i < Nq; i++)
    for (int64_t h = 0; h < H; h++) {
      const int64_t g = h / (H / K), lo = ranges.lo[i], hi = ranges.hi[i];
      if (lse) (*lse)[i * H + h] = -INFINITY;
      if (lo >= hi) continue;
      Doubles s(hi - lo);
      double high = -INFINITY, sum = 0;
      for (int64_t j = lo; j < hi; j++) {
        double x = 0;
        for (int64_t d = 0; d < hd; d++) x += q[i * ldq + h * hd + d] * k[j * ldk + g * hd + d];
        s[j - lo] = x * scale;
        high = fmax(high, s[j - lo]);
      }
      for (double &x : s) x = exp(x - high), sum += x;
      if (lse) (*lse)[i * H + h] = high + log(sum);
      for (int64_t j = lo; j < hi; j++)
        for (int64_t d = 0; d < hd; d++) out[(i * H + h) * hd + d] += s[j - lo] / sum * v[j * ldv + g * hd + d];
    }
  return out;
}

// Packed documents of random lengths (zero length among them) inside each batch row of T tokens.
Ranges documents(int64_t B, int64_t T, bool with_empty) {
  Ranges r{Ints(B * T), Ints(B * T)};
  for (int64_t b = 0; b < B; b++) {
    int64_t start = b * T;
    for (int64_t t = 0; t < T; t++) {
      if (t && next_random() % (T / 2 + 3) == 0) start = b * T + t;
      r.lo[b * T + t] = int32_t(start);
      r.hi[b * T + t] = int32_t(b * T + t + 1);
      if (with_empty && next_random() % 7 == 0) r.hi[b * T + t] = r.lo[b * T + t];
    }
  }
  return r;
}

void check_attention(int compute, int64_t B, int64_t T, int64_t H, int64_t K, int64_t hd, bool with_empty) {
  const int64_t N = B * T, width = (H + 2 * K) * hd;
  const double scale = 1 / sqrt(double(hd));
  const Floats q = random_floats(N * H * hd, -2, 2), k = random_floats(N * K * hd, -2, 2);
  // v and dv are parts of [N, width] matrices; the buffer begins at v and ends with its last element.
  const Floats v = random_floats((N - 1) * width + K * hd);
  const Floats dout = random_floats(N * H * hd);
  const Ranges r = documents(B, T, with_empty);
  const std::string name = std::string("attention ") + (compute ? "bf16 " : "f32 ") + shape({B, T, H, K, hd});
  const Outputs got = run(name, [&] {
    Floats out(N * H * hd), lse(N * H), dq(N * H * hd), dk(N * K * hd), dv(v.size(), 7.0f);
    kernels->attention(compute, N, H, K, hd, float(scale), q.data(), H * hd, k.data(), K * hd, v.data(), width,
                       r.lo.data(), r.hi.data(), out.data(), lse.data());
    kernels->attention_backward(compute, B, T, H, K, hd, float(scale), q.data(), H * hd, k.data(), K * hd,
                                v.data(), width, r.lo.data(), r.hi.data(), out.data(), lse.data(), dout.data(),
                                dq.data(), dk.data(), dv.data(), width);
    return Outputs{out, lse, dq, dk, dv};
  });
  Doubles lse(N * H);
  const Doubles want = plain_attention(N, H, K, hd, scale, operands(compute, q), H * hd, operands(compute, k), K * hd,
                                       operands(compute, v), width, r, &lse);
  const bool bf16 = compute == BELAY_BF16;
  compare(name, got[0], want, bf16 ? 1e-2 : 5e-6);
  compare(name + " lse", got[1], lse, bf16 ? 1e-5 : 2e-6);
  Floats dv = got[4];
  bool untouched = true;
  for (int64_t i = 0; i < int64_t(dv.size()); i++)
    if (i % width >= K * hd) untouched &= dv[i] == 7.0f, dv[i] = 0;
  report(untouched, name, "wrote outside dv");
  check_gradients(name, {widen(q), widen(k), widen(v)}, {got[2], got[3], dv},
                  [&](const std::vector<Doubles> &in) {
                    const Doubles out =
                        plain_attention(N, H, K, hd, scale, in[0], H * hd, in[1], K * hd, in[2], width, r);
                    return dot(out, dout);
                  },
                  // Where a query sees one key its score has no gradient: what is left is the rounding of dP - delta.
                  bf16 ? 6e-2 : 3e-5, bf16 ? 3e-2 : 3e-6);
}

// Decoding: few queries, each with its own stretch of a shared cache, the rest of which is NaN.
void check_decoding(int compute, int64_t Nq, int64_t H, int64_t K, int64_t hd) {
  const int64_t stretch = 150, rows = Nq * stretch;
  const Floats q = random_floats(Nq * H * hd);
  Floats k = random_floats(rows * K * hd), v = random_floats(rows * K * hd);
  Ranges r{Ints(Nq), Ints(Nq)};
  for (int64_t i = 0; i < Nq; i++) {
    r.lo[i] = int32_t(i * stretch);
    r.hi[i] = r.lo[i] + int32_t(next_random() % stretch);
    for (int64_t j = r.hi[i]; j < (i + 1) * stretch; j++)
      for (int64_t d = 0; d < K * hd; d++) k[j * K * hd + d] = v[j * K * hd + d] = NAN;
  }
  const std::string name = std::string("decoding ") + (compute ? "bf16 " : "f32 ") + shape({Nq, H, K, hd});
  const Outputs got = run(name, [&] {
    Floats out(Nq * H * hd), lse(Nq * H);
    kernels->attention(compute, Nq, H, K, hd, 0.3f, q.data(), H * hd, k.data(), K * hd, v.data(), K * hd, r.lo.data(),
                       r.hi.data(), out.data(), lse.data());
    return Outputs{out, lse};
  });
  Doubles lse(Nq * H);
  compare(name, got[0],
          plain_attention(Nq, H, K, hd, 0.3f, operands(compute, q), H * hd, operands(compute, k), K * hd,
                          operands(compute, v), K * hd, r, &lse),
          compute ? 1e-2 : 5e-6);
  compare(name + " lse", got[1], lse, 1e-5);
}

// --- xIELU ---------------------------------------------------------------------------------------------------

Doubles plain_xielu(const Doubles &x, double alpha_p, double alpha_n, double beta, double eps) {
  const double p = log1p(exp(alpha_p)), n = beta + log1p(exp(alpha_n));
  Doubles out(x.size());
  for (size_t i = 0; i < x.size(); i++)
    out[i] = x[i] > 0 ? p * x[i] * x[i] + beta * x[i] : n * (expm1(fmin(x[i], eps)) - x[i]) + beta * x[i];
  return out;
}

void check_xielu(int64_t count) {
  const float alpha_p = 0.3f, alpha_n = -0.7f, beta = 0.5f, eps = -1e-6f;
  Floats x = random_floats(count, -4, 3);
  for (int64_t i = 0; i < count; i += 5) x[i] *= 1e-3f;
  for (float &one : x)
    if (fabs(one) < 1e-4) one = -0.2f;  // a difference quotient must not straddle the kink at eps
  const Floats dout = random_floats(count);
  const std::string name = "xielu " + shape({count});
  const Outputs got = run(name, [&] {
    Floats out(count), dx = dout, dp(1, 0.0f), dn(1, 0.0f);
    kernels->xielu(count, x.data(), &alpha_p, &alpha_n, beta, eps, out.data());
    kernels->xielu_backward(count, x.data(), &alpha_p, &alpha_n, beta, eps, dx.data(), dx.data(), dp.data(),
                            dn.data());
    return Outputs{out, dx, dp, dn};
  });
  const Doubles want = plain_xielu(widen(x), alpha_p, alpha_n, beta, eps);
  compare(name, got[0], want, 1e-6);
  for (int64_t i = 0; i < count; i++)  // relative error near zero, where exp(x) - 1 would lose it all
    if (fabs(x[i]) < 0.5 && fabs(got[0][i] - want[i]) > 1e-6 * fabs(want[i]) + 1e-12) {
      report(false, name, "relative error at x = " + std::to_string(x[i]));
      break;
    }
  check_gradients(name, {widen(x), {alpha_p}, {alpha_n}}, {got[1], got[2], got[3]},
                  [&](const std::vector<Doubles> &in) {
                    return dot(plain_xielu(in[0], in[1][0], in[2][0], beta, eps), dout);
                  },
                  2e-5);
}

void check_xielu_edges() {
  const float alpha = 0.2f, beta = 0.5f, eps = -1e-6f, nan = NAN;
  const Floats x = {0.0f, -5e-7f, -1e-6f, nan, 100.0f, -100.0f, -1e-30f}, ones(7, 1.0f);
  Floats out(7), dx(7);
  float dp = 0, dn = 0;
  kernels->xielu(7, x.data(), &alpha, &alpha, beta, eps, out.data());
  compare("xielu edges", out, plain_xielu(widen(x), alpha, alpha, beta, eps), 1e-6);
  kernels->xielu_backward(7, x.data(), &alpha, &alpha, beta, eps, ones.data(), dx.data(), &dp, &dn);
  const double n = beta + log1p(exp(double(alpha))), p = log1p(exp(double(alpha)));
  compare("xielu edges slope", dx,
          {beta - n, beta - n, n * expm1(-1e-6) + beta, NAN, 200 * p + beta, n * expm1(-100.0) + beta, beta - n}, 1e-6);
}

// --- SwiGLU and squared ReLU ---------------------------------------------------------------------------------

Doubles plain_swiglu(const Doubles &gate_up, int64_t N, int64_t F) {
  Doubles out(N * F);
  for (int64_t n = 0; n < N; n++)
    for (int64_t f = 0; f < F; f++) {
      const double gate = gate_up[n * 2 * F + f];
      out[n * F + f] = gate / (1 + exp(-gate)) * gate_up[n * 2 * F + F + f];
    }
  return out;
}

void check_swiglu(int64_t N, int64_t F) {
  const Floats gate_up = random_floats(N * 2 * F, -6, 6), dout = random_floats(N * F);
  const std::string name = "swiglu " + shape({N, F});
  const Outputs got = run(name, [&] {
    Floats out(N * F), dgate_up(N * 2 * F);
    kernels->swiglu(N, F, gate_up.data(), out.data());
    kernels->swiglu_backward(N, F, gate_up.data(), dout.data(), dgate_up.data());
    return Outputs{out, dgate_up};
  });
  compare(name, got[0], plain_swiglu(widen(gate_up), N, F), 1e-6);
  check_gradients(name, {widen(gate_up)}, {got[1]},
                  [&](const std::vector<Doubles> &in) { return dot(plain_swiglu(in[0], N, F), dout); }, 2e-5);
}

void check_swiglu_edges() {
  const Floats gate_up = {0.0f, -200.0f, 200.0f, -88.5f, NAN, 2, 2, 2, 2, 2}, ones(5, 1.0f);
  Floats out(5), back(10);
  kernels->swiglu(1, 5, gate_up.data(), out.data());
  compare("swiglu edges", out, {0, 0, 400, 0, NAN}, 1e-6);
  kernels->swiglu_backward(1, 5, gate_up.data(), ones.data(), back.data());
  compare("swiglu edges slope", back, {1, 0, 2, 0, NAN, 0, 0, 200, 0, NAN}, 1e-6);
}

Doubles plain_relu2(const Doubles &x) {
  Doubles out(x.size());
  for (size_t i = 0; i < x.size(); i++) out[i] = x[i] < 0 ? 0 : x[i] * x[i];
  return out;
}

void check_relu2(int64_t count) {
  Floats x = random_floats(count, -2, 2);
  for (float &one : x)
    if (fabs(one) < 1e-3) one = 0.5f;  // a difference quotient must not straddle the kink of the slope
  const Floats dout = random_floats(count);
  const std::string name = "relu2 " + shape({count});
  const Outputs got = run(name, [&] {
    Floats out(count), dx = dout;
    kernels->relu2(count, x.data(), out.data());
    kernels->relu2_backward(count, x.data(), dx.data(), dx.data());
    return Outputs{out, dx};
  });
  compare(name, got[0], plain_relu2(widen(x)), 1e-6);
  check_gradients(name, {widen(x)}, {got[1]},
                  [&](const std::vector<Doubles> &in) { return dot(plain_relu2(in[0]), dout); }, 2e-5);
  const Floats edges = {0.0f, -0.0f, NAN, INFINITY, -INFINITY}, ones(5, 1.0f);
  Floats out(5), dx(5);
  kernels->relu2(5, edges.data(), out.data());
  compare("relu2 edges", out, {0, 0, NAN, INFINITY, 0}, 0);
  kernels->relu2_backward(5, edges.data(), ones.data(), dx.data());
  compare("relu2 edges slope", dx, {0, 0, NAN, INFINITY, 0}, 0);
}

// --- loss ----------------------------------------------------------------------------------------------------

Doubles plain_losses(const Doubles &x, const Doubles &weight, const Ints &labels, int64_t N, int64_t D, int64_t V) {
  Doubles loss(N);
  for (int64_t n = 0; n < N; n++) {
    Doubles l(V, 0.0);
    double high = -INFINITY, sum = 0;
    for (int64_t j = 0; j < V; j++) {
      for (int64_t d = 0; d < D; d++) l[j] += x[n * D + d] * weight[j * D + d];
      high = fmax(high, l[j]);
    }
    for (double one : l) sum += exp(one - high);
    loss[n] = high + log(sum) - l[labels[n]];
  }
  return loss;
}

void check_loss(int compute, int64_t N, int64_t D, int64_t V, int coefficients /* 0 none, 1 some, 2 all zero */) {
  const Floats x = random_floats(N * D, -2, 2), weight = random_floats(V * D), start = random_floats(V * D);
  Floats coefficient(N, 0.0f);
  if (coefficients == 1)
    for (int64_t n = 0; n < N; n++) coefficient[n] = n % 3 == 1 ? 0.0f : float(uniform(-0.5, 1));
  Ints labels(N);
  for (int32_t &label : labels) label = int32_t(next_random() % V);
  const std::string name = std::string("linear_cross_entropy ") + (compute ? "bf16 " : "f32 ") + shape({N, D, V});
  const Outputs got = run(name, [&] {
    Floats loss(N), dx(coefficients ? N * D : 0, 3.0f), dweight = start;
    kernels->linear_cross_entropy(compute, N, D, V, x.data(), weight.data(), labels.data(),
                                  coefficients ? coefficient.data() : nullptr, loss.data(),
                                  coefficients ? dx.data() : nullptr, coefficients ? dweight.data() : nullptr);
    return Outputs{loss, dx, dweight};
  });
  const bool bf16 = compute == BELAY_BF16;
  compare(name, got[0], plain_losses(operands(compute, x), operands(compute, weight), labels, N, D, V), 3e-6);
  if (!coefficients) return;
  check_gradients(name, {widen(x), widen(weight)}, {got[1], difference(got[2], start)},
                  [&](const std::vector<Doubles> &in) {
                    return dot(plain_losses(in[0], in[1], labels, N, D, V), coefficient);
                  },
                  bf16 ? 5e-2 : 3e-5);
}

// A large vocabulary is worked off in chunks of rows: two chunks in one call must equal one call for each.
void check_loss_chunks() {
  const int64_t N = 300, D = 5, V = 40000;
  const Floats x = random_floats(N * D), weight = random_floats(V * D), coefficient = random_floats(N);
  Ints labels(N);
  for (int32_t &label : labels) label = int32_t(next_random() % V);
  auto losses = [&](int64_t calls) {
    Floats loss(N), dx(N * D), dweight(V * D, 0.0f);
    for (int64_t first = 0; first < N; first += N / calls)
      kernels->linear_cross_entropy(BELAY_F32, N / calls, D, V, x.data() + first * D, weight.data(),
                                    labels.data() + first, coefficient.data() + first, loss.data() + first,
                                    dx.data() + first * D, dweight.data());
    return Outputs{loss, dx, dweight};
  };
  report(losses(1) == losses(2), "linear_cross_entropy in chunks", shape({N, D, V}));
}

// --- elementwise ---------------------------------------------------------------------------------------------

void check_elementwise(int64_t count) {
  const Floats a = random_floats(count, -3, 3), b = random_floats(count);
  const std::string name = "elementwise " + shape({count});
  const Outputs got = run(name, [&] {
    Floats filled(count), sum = a, scaled = a, wide(count);
    std::vector<uint16_t> narrow(count);
    kernels->fill(count, 2.5f, filled.data());
    kernels->add(count, sum.data(), b.data(), sum.data());
    kernels->scale(count, -1.5f, scaled.data());
    kernels->to_bf16(count, a.data(), narrow.data());
    kernels->from_bf16(count, narrow.data(), wide.data());
    const double squares = kernels->sum_of_squares(count, a.data());
    const float high = float(squares), low = float(squares - high);
    return Outputs{filled, sum, scaled, wide, {high, low}};
  });
  Doubles sum(count), scaled(count);
  double squares = 0;
  for (int64_t i = 0; i < count; i++) {
    sum[i] = double(a[i]) + b[i];
    scaled[i] = a[i] * -1.5;
    squares += double(a[i]) * a[i];
  }
  compare(name + " fill", got[0], Doubles(count, 2.5), 0);
  compare(name + " add", got[1], sum, 2e-7);
  compare(name + " scale", got[2], scaled, 2e-7);
  compare(name + " bf16", got[3], operands(BELAY_BF16, a), 0);
  report(fabs(double(got[4][0]) + got[4][1] - squares) <= 1e-13 * squares, name + " sum_of_squares", "");
}

void check_bf16_edges() {
  const float inf = INFINITY;
  const Floats x = {0.0f, -0.0f, inf, -inf, NAN, 1.00390625f, 1.01171875f, 3.4e38f, 1e-40f, -1e-45f,
                    1.0f, -2.0f, 65504.0f, 1.1754944e-38f, 0.1f, -0.3f, 7.0f, 1e30f, -NAN};
  std::vector<uint16_t> got(x.size());
  kernels->to_bf16(int64_t(x.size()), x.data(), got.data());
  bool good = true;
  for (size_t i = 0; i < x.size(); i++) good &= got[i] == bf16_of(x[i]);
  report(good, "to_bf16 edges", "");
}

// --- optimizers ----------------------------------------------------------------------------------------------

void check_optimizers(int64_t count) {
  const Floats p = random_floats(count), g = random_floats(count), m1 = random_floats(count, -0.1, 0.1),
               m2 = random_floats(count, -0.1, 0.1), v = random_floats(count, 0, 0.1);
  const double clip = 0.7, lr = 1e-2, b1 = 0.9, b2 = 0.999, b3 = 0.9999, alpha = 5, eps = 1e-8, decay = 0.1;
  const double c1 = 1 - pow(b1, 7), c2 = 1 - pow(b2, 7);
  const std::string name = "optimizers " + shape({count});
  const Outputs got = run(name, [&] {
    Floats p1 = p, f = m1, s = m2, q = v, p2 = p, m = m1, w = v;
    kernels->ademamix(count, p1.data(), g.data(), f.data(), s.data(), q.data(), clip, lr, b1, b2, b3, alpha, eps,
                      decay, c1, c2);
    kernels->adamw(count, p2.data(), g.data(), m.data(), w.data(), clip, lr, b1, b2, eps, decay, c1, c2);
    return Outputs{p1, f, s, q, p2, m, w};
  });
  std::vector<Doubles> want(7, Doubles(count));
  for (int64_t i = 0; i < count; i++) {
    const double gradient = g[i] * clip;
    const double f = b1 * m1[i] + (1 - b1) * gradient, s = b3 * m2[i] + (1 - b3) * gradient;
    const double q = b2 * v[i] + (1 - b2) * gradient * gradient, root = sqrt(q) / sqrt(c2) + eps;
    want[0][i] = p[i] - lr * ((f / c1 + alpha * s) / root + decay * p[i]);
    want[1][i] = f, want[2][i] = s, want[3][i] = q, want[5][i] = f, want[6][i] = q;
    want[4][i] = p[i] * (1 - lr * decay) - lr * (f / c1) / root;
  }
  for (int i = 0; i < 7; i++) compare(name, got[i], want[i], 1e-6);
}

void check_peak() {
  for (int threads : {1, 2}) {
    belay_threads_start(threads);
    for (int compute : {BELAY_F32, BELAY_BF16}) report(kernels->peak(compute, 1000) > 0, "peak", "");
  }
}

// --- the pool ------------------------------------------------------------------------------------------------

double processor_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

void check_pool() {
  const int64_t M = 100, N = 90, K = 80;
  const Floats A = random_floats(M * K), B = random_floats(N * K);
  auto product = [&] {
    Floats C(M * N);
    kernels->gemm(BELAY_F32, 0, 1, M, N, K, A.data(), K, B.data(), K, 0, C.data(), N);
    return C;
  };
  belay_threads_start(1);
  const Floats want = product();

  bool good = true;
  for (int round = 0; round < 50; round++) {  // more threads than cores, started and stopped
    belay_threads_start(1 + round % 5);
    good &= belay_threads() == 1 + round % 5 && product() == want;
    if (round % 3 == 0) belay_threads_stop();
  }
  report(good, "pool: start and stop", "");

  belay_threads_start(3);
  good = true;
  for (int i = 0; i < 20000; i++) {  // back to back, where a late worker could meet the next job
    Floats x(40000 / (1 + i % 3), 1.0f);
    if (i % 100 == 0) kernels->scale(int64_t(x.size()), 2.0f, x.data()), good &= x.front() == 2 && x.back() == 2;
    if (i % 50 == 0) good &= product() == want;
  }
  report(good, "pool: many short jobs", "");

  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int i = 0; i < 4; i++)
    callers.emplace_back([&] {
      for (int round = 0; round < 100; round++)
        if (product() != want) wrong++;
    });
  for (std::thread &caller : callers) caller.join();
  report(wrong == 0, "pool: several callers", "");

  const pid_t child = fork();
  if (child == 0) {
    bool same = belay_threads() == 1 && product() == want;
    belay_threads_start(2);
    same &= product() == want;
    belay_threads_stop();
    _exit(same ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  report(WIFEXITED(status) && WEXITSTATUS(status) == 0, "pool: after fork", "");

  product();
  usleep(20000);  // time to fall asleep
  const double before = processor_seconds();
  usleep(200000);
  report(processor_seconds() - before < 0.02, "pool: idle threads sleep", "");
}

void check_target() {
  state = 88172645463325252ull;  // the same cases for every target
  check_gemms();
  for (int64_t N : {0, 1, 5, 300})
    for (int64_t D : {1, 17, 64, 200}) check_embedding(N, D, pick({1, 3, 50}));
  for (int64_t N : {0, 1, 33, 150})
    for (int64_t D : {1, 3, 17, 48, 256, 515}) check_rmsnorm(N, D, next_random() % 2);
  for (int64_t hd : {2, 6, 16, 34, 64, 128}) {
    check_rope(0, 2, 1, hd);
    check_rope(1, 1, 1, hd);
    check_rope(37, 4, 2, hd);
    check_rope(150, 2, 2, hd);
  }
  for (int compute : {BELAY_F32, BELAY_BF16}) {
    for (int64_t hd : {1, 3, 16, 17, 33, 64}) {
      check_attention(compute, 1, 1, 1, 1, hd, false);
      check_attention(compute, 2, 3, 2, 1, hd, true);
      check_attention(compute, 1, 33, 2, 2, hd, false);
      check_attention(compute, 2, 70, 4, 2, hd, true);
    }
    check_attention(compute, 1, 301, 1, 1, 16, true);
    check_attention(compute, 3, 130, 3, 1, 40, false);
    check_attention(compute, 1, 150, 1, 1, 130, true);
    for (int64_t Nq : {1, 3, 40}) check_decoding(compute, Nq, 4, 2, pick({5, 64, 128}));
    check_decoding(compute, 2, 1, 1, 33);
    for (int coefficients : {0, 1, 2}) {
      check_loss(compute, 1, 3, 1, coefficients);
      check_loss(compute, 17, 33, 37, coefficients);
      check_loss(compute, 70, 16, 131, coefficients);
      check_loss(compute, 5, 8, 2050, coefficients);
    }
  }
  check_loss_chunks();
  kernels->attention(0, 0, 1, 1, 8, 1.0f, nullptr, 8, nullptr, 8, nullptr, 8, nullptr, nullptr, nullptr, nullptr);
  kernels->linear_cross_entropy(0, 0, 4, 4, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
  for (int64_t count : {0, 1, 3, 17, 1000, 40001}) check_xielu(count);
  check_xielu_edges();
  for (int64_t F : {1, 3, 17, 64, 1000}) check_swiglu(F == 1000 ? 41 : 5, F);
  check_swiglu(0, 7);
  check_swiglu_edges();
  for (int64_t count : {0, 1, 3, 17, 1000, 40001}) check_relu2(count);
  for (int64_t count : {0, 1, 3, 17, 4096, 4097, 100003}) {
    check_elementwise(count);
    check_optimizers(count);
  }
  check_bf16_edges();
  check_peak();
  check_pool();
}

}  // namespace

int main(int count, char **arguments) {
  for (const char *const *name = belay_targets(); *name; name++) {
    if (count > 1 && strcmp(arguments[1], *name) != 0) continue;
    const char *why = nullptr;
    kernels = belay_kernels(*name, &why);
    if (!kernels) {
      printf("%-12s skipped: %s\n", *name, why);
      continue;
    }
    target_name = *name;
    const int before_passed = passed, before_failed = failed;
    check_target();
    printf("%-12s %d passed, %d failed\n", *name, passed - before_passed, failed - before_failed);
    fflush(stdout);
  }
  const char *why = nullptr;
  report(belay_kernels("abacus", &why) == nullptr && why != nullptr, "unknown target", "");
  belay_threads_stop();
  printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}
