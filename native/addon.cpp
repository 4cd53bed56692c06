// The bridge: the only file that knows both Node-API and kernels.h.
//
// Exports targets(), load(target) -> an object with one function per kernel, setThreads(n), threads(),
// allocate(bytes) and compiler, the message layer of native/comm/ as functions that begin with comm, and the data
// kernels of native/data/ as functions that begin with data, and the tokenizer of native/tokenizer/ as functions that
// begin with tok, its training as functions that begin with bpe. Every function reads its arguments, checks kinds, lengths, strides, offsets
// (64-bit, saturating) and the values of ids, labels, positions and ranges, and only then calls the kernel: the
// kernels trust their caller, JavaScript may pass anything, and nothing it passes may crash the process.
// Messages read `op: what, got X, expected Y`, as in src/tensor/checks.ts.
//
// Several node worker threads may load this library. They share one pool, so a mutex lets one kernel run at a
// time; a second thread waits (blocked, not spinning) until the first one's kernel is done.
//
// Does not: compute anything, check that outputs and inputs are apart, or throw C++ exceptions.

#include <node_api.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmath>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "comm/group.h"
#include "data/classifier.h"
#include "data/data.h"
#include "kernels.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/train.h"

namespace {

// --- the pool that all environments share ----------------------------------------------------------------------

std::mutex poolMutex;   // held while a kernel runs and while the pool changes
int environments = 0;   // node environments (main thread, workers) that have loaded the library
bool started = false;

constexpr int maxThreads = 256;

// Holds the pool for one kernel call.
struct Pool {
  std::lock_guard<std::mutex> lock{poolMutex};
  Pool() {
    if (!started) start(1);
  }
  static void start(int n) {
    if (started) belay_threads_stop();
    belay_threads_start(n);
    started = true;
  }
};

void leave(void *) {
  std::lock_guard<std::mutex> lock(poolMutex);
  if (--environments > 0 || !started) return;
  belay_threads_stop();
  started = false;
}

// --- arguments --------------------------------------------------------------------------------------------------

constexpr int64_t many = INT64_MAX;  // what saturated arithmetic ends at; no array is that long

int64_t times(int64_t a, int64_t b) {
  int64_t out;
  return __builtin_mul_overflow(a, b, &out) ? many : out;
}

int64_t plus(int64_t a, int64_t b) {
  int64_t out;
  return __builtin_add_overflow(a, b, &out) ? many : out;
}

template <class T>
struct Array {
  const char *name = "";
  T *data = nullptr;
  int64_t length = 0;
  bool isNull = true;
};
using Floats = Array<float>;
using Ints = Array<int32_t>;
using Halves = Array<uint16_t>;

struct Matrix {
  Floats array;
  int64_t offset = 0;
  int64_t stride = 0;
  float *data() const { return array.data == nullptr ? nullptr : array.data + offset; }
  // Whole rows of `columns` that there is room for.
  int64_t rows(int64_t columns) const {
    if (columns > array.length) return 0;
    int64_t last = array.length - offset - columns;
    return last < 0 ? 0 : stride == 0 ? many : last / stride + 1;
  }
};

// Reads the arguments of one call in order. The first mistake throws into JavaScript and turns every later
// read and check into a no-op; the caller asks ok() once, before the kernel.
class Arguments {
 public:
  const BelayKernels *kernels = nullptr;

  Arguments(napi_env env, napi_callback_info info, const char *op, size_t expected) : env(env), op(op) {
    size_t count = most;
    void *data = nullptr;
    if (napi_get_cb_info(env, info, &count, values, nullptr, &data) != napi_ok) {
      good = false;
      return;
    }
    kernels = static_cast<const BelayKernels *>(data);
    if (count != expected) refuse("arguments", "%zu", count, "%zu", expected);
  }

  bool ok() const { return good; }

  double number(const char *name) {
    double value = 0;
    napi_value v = next();
    if (good && napi_get_value_double(env, v, &value) != napi_ok) refuseKind(name, v, "a number");
    return good ? value : 0;
  }

  // A whole number in [0, limit].
  int64_t size(const char *name, double limit = 9007199254740991.0) {
    napi_value v = next();
    double value = 0;
    if (!good) return 0;
    if (napi_get_value_double(env, v, &value) != napi_ok) {
      refuseKind(name, v, "a whole number from 0 on");
    } else if (!(value >= 0 && value <= limit && value == std::floor(value))) {
      if (limit > 9e15) refuse(name, "%.17g", value, "%s", "a whole number from 0 on");
      else refuse(name, "%.17g", value, "a whole number in [0, %.17g]", limit);
    }
    return good ? static_cast<int64_t>(value) : 0;
  }

  int flag(const char *name) {
    bool value = false;
    napi_value v = next();
    if (good && napi_get_value_bool(env, v, &value) != napi_ok) refuseKind(name, v, "true or false");
    return good && value;
  }

  int compute() {
    napi_value v = next();
    char text[16] = "";
    size_t length = 0;
    if (!good) return BELAY_F32;
    if (napi_get_value_string_utf8(env, v, text, sizeof text, &length) != napi_ok) {
      refuseKind("compute", v, "'float32' or 'bfloat16'");
    } else if (strcmp(text, "bfloat16") == 0) {
      return BELAY_BF16;
    } else if (strcmp(text, "float32") != 0) {
      refuse("compute", "%s", text, "%s", "'float32' or 'bfloat16'");
    }
    return BELAY_F32;
  }

  Floats floats(const char *name) { return array<float>(name, napi_float32_array, "Float32Array", false); }
  Floats floatsOrNull(const char *name) {
    return array<float>(name, napi_float32_array, "Float32Array or null", true);
  }
  Ints ints(const char *name) { return array<int32_t>(name, napi_int32_array, "Int32Array", false); }
  Halves halves(const char *name) { return array<uint16_t>(name, napi_uint16_array, "Uint16Array", false); }

  Array<uint32_t> words(const char *name) { return array<uint32_t>(name, napi_uint32_array, "Uint32Array", false); }
  Array<uint64_t> longs(const char *name) {
    return array<uint64_t>(name, napi_biguint64_array, "BigUint64Array", false);
  }
  Array<uint8_t> octets(const char *name) { return array<uint8_t>(name, napi_uint8_array, "Uint8Array", false); }
  // The UTF-16 units of a string, of any length; a terminating zero comes after them.
  int64_t units(const char *name, std::vector<uint16_t> *into) {
    napi_value v = next();
    size_t length = 0;
    if (!good) return 0;
    if (napi_get_value_string_utf16(env, v, nullptr, 0, &length) != napi_ok) {
      refuseKind(name, v, "a string");
      return 0;
    }
    if (into->size() < length + 1) into->resize(length + 1 + length / 2);
    napi_get_value_string_utf16(env, v, reinterpret_cast<char16_t *>(into->data()), length + 1, &length);
    return static_cast<int64_t>(length);
  }

  // What an external of this kind holds.
  template <class T>
  T *external(const char *name, const napi_type_tag &tag) {
    napi_value v = next();
    napi_valuetype type;
    bool isTagged = false;
    void *data = nullptr;
    if (!good) return nullptr;
    if (napi_typeof(env, v, &type) != napi_ok || type != napi_external ||
        napi_check_object_type_tag(env, v, &tag, &isTagged) != napi_ok || !isTagged ||
        napi_get_value_external(env, v, &data) != napi_ok) {
      refuseKind(name, v, "what opened it");
      return nullptr;
    }
    return static_cast<T *>(data);
  }

  Array<double> doubles(const char *name) {
    return array<double>(name, napi_float64_array, "Float64Array", false);
  }
  // The bytes of a Float32Array or a Uint8Array.
  Array<char> bytes(const char *name) {
    napi_typedarray_type kind;
    bool isArray = false;
    napi_value v = at < most ? values[at] : values[most - 1];
    if (good && napi_is_typedarray(env, v, &isArray) == napi_ok && isArray &&
        napi_get_typedarray_info(env, v, &kind, nullptr, nullptr, nullptr, nullptr) == napi_ok &&
        kind == napi_float32_array) {
      Floats values = floats(name);
      Array<char> out;
      out.name = name;
      out.data = reinterpret_cast<char *>(values.data);
      out.length = values.length * 4;
      out.isNull = values.isNull;
      return out;
    }
    return array<char>(name, napi_uint8_array, "Float32Array or Uint8Array", false);
  }

  // A string, to be copied where it is to lie.
  napi_value string(const char *name) {
    napi_value v = next();
    napi_valuetype kind;
    if (good && (napi_typeof(env, v, &kind) != napi_ok || kind != napi_string)) refuseKind(name, v, "a string");
    return v;
  }

  std::string text(const char *name) {
    napi_value v = next();
    char text[256] = "";
    size_t length = 0;
    if (!good) return "";
    if (napi_get_value_string_utf8(env, v, text, sizeof text, &length) != napi_ok) refuseKind(name, v, "a string");
    return good ? std::string(text, length) : "";
  }

  // Three arguments: data, offset, stride.
  Matrix matrix(const char *name) {
    Matrix m;
    m.array = floats(name);
    m.offset = size(name);
    m.stride = size(name);
    return m;
  }

  template <class T>
  void need(const Array<T> &a, int64_t expected) {
    if (good && a.length < expected) refuseLength(a.name, a.length, expected);
  }

  void need(const Matrix &m, int64_t rows, int64_t columns) {
    if (!good || rows == 0 || columns == 0) return;
    if (m.stride < columns) {
      char what[64];
      snprintf(what, sizeof what, "stride of %s", m.array.name);
      return refuse(what, "%lld", static_cast<long long>(m.stride), "at least %lld", static_cast<long long>(columns));
    }
    need(m.array, plus(plus(m.offset, times(rows - 1, m.stride)), columns));
  }

  // The first `count` values lie in [0, end).
  void indices(const Ints &a, int64_t count, int64_t end) {
    need(a, count);
    if (!good) return;
    for (int64_t i = 0; i < count; i++) {
      if (a.data[i] >= 0 && a.data[i] < end) continue;
      char what[64];
      snprintf(what, sizeof what, "%s[%lld]", a.name, static_cast<long long>(i));
      return refuse(what, "%d", a.data[i], "a whole number in [0, %lld)", static_cast<long long>(end));
    }
  }

  // first <= lo[i] <= hi[i] <= end for rows [begin, begin + count).
  void ranges(const Ints &lo, const Ints &hi, int64_t begin, int64_t count, int64_t first, int64_t end) {
    if (!good) return;
    for (int64_t i = begin; i < begin + count; i++) {
      int32_t a = lo.data[i], b = hi.data[i];
      if (a >= first && a <= b && b <= end) continue;
      char what[64], got[64];
      snprintf(what, sizeof what, "lo[%lld], hi[%lld]", static_cast<long long>(i), static_cast<long long>(i));
      snprintf(got, sizeof got, "%d, %d", a, b);
      return refuse(what, "%s", got, "%lld <= lo <= hi <= %lld", static_cast<long long>(first),
                    static_cast<long long>(end));
    }
  }

  void heads(int64_t H, int64_t K, int64_t hd, int64_t rows, bool even) {
    if (!good) return;
    if (even && hd % 2 != 0) refuse("hd", "%lld", static_cast<long long>(hd), "%s", "an even number");
    else if (H > 0 && (K == 0 || H % K != 0))
      refuse("H", "%lld", static_cast<long long>(H), "a multiple of K = %lld", static_cast<long long>(K));
    else if (rows > 0 && H + K > 0 && hd == 0) refuse("hd", "%s", "0", "%s", "at least 1");
  }

  // what, then a format and one value for what was got, then a format and values for what was expected.
  template <class Got, class... Expected>
  void refuse(const char *what, const char *gotFormat, Got got, const char *expectedFormat, Expected... expected) {
    if (!good) return;
    char format[192], message[512];
    snprintf(format, sizeof format, "%%s: %%s, got %s, expected %s", gotFormat, expectedFormat);
    snprintf(message, sizeof message, format, op, what, got, expected...);
    fail(message);
  }

 private:
  static constexpr size_t most = 32;
  napi_env env;
  const char *op;
  napi_value values[most];
  size_t at = 0;
  bool good = true;

  napi_value next() { return at < most ? values[at++] : values[most - 1]; }

  void fail(const char *message) {
    good = false;
    napi_throw_range_error(env, nullptr, message);
  }

  void refuseLength(const char *name, int64_t got, int64_t expected) {
    char what[64];
    snprintf(what, sizeof what, "length of %s", name);
    if (expected == many) refuse(what, "%lld", static_cast<long long>(got), "%s", "more than any array has");
    else refuse(what, "%lld", static_cast<long long>(got), "at least %lld", static_cast<long long>(expected));
  }

  void refuseKind(const char *name, napi_value v, const char *expected) {
    napi_valuetype type = napi_undefined;
    napi_typeof(env, v, &type);
    static const char *const names[] = {"undefined", "null",   "boolean",  "number",   "string",
                                        "symbol",    "object", "function", "external", "bigint"};
    const char *got = static_cast<size_t>(type) < 10 ? names[type] : "something else";
    static const char *const kinds[] = {"Int8Array",    "Uint8Array",   "Uint8ClampedArray", "Int16Array",
                                        "Uint16Array",   "Int32Array",  "Uint32Array",       "Float32Array",
                                        "Float64Array",  "BigInt64Array", "BigUint64Array"};
    bool isArray = false;
    napi_typedarray_type kind;
    if (napi_is_typedarray(env, v, &isArray) == napi_ok && isArray &&
        napi_get_typedarray_info(env, v, &kind, nullptr, nullptr, nullptr, nullptr) == napi_ok &&
        static_cast<size_t>(kind) < 11) {
      got = kinds[kind];
    }
    refuse(name, "%s", got, "%s", expected);
  }

  template <class T>
  Array<T> array(const char *name, napi_typedarray_type expectedKind, const char *expected, bool mayBeNull) {
    Array<T> out;
    out.name = name;
    napi_value v = next();
    if (!good) return out;
    if (mayBeNull) {
      napi_valuetype type;
      if (napi_typeof(env, v, &type) == napi_ok && type == napi_null) return out;
    }
    bool isArray = false;
    napi_typedarray_type kind;
    size_t length = 0;
    void *data = nullptr;
    // A view of a SharedArrayBuffer answers here like any other; a view of a detached buffer has length 0.
    if (napi_is_typedarray(env, v, &isArray) != napi_ok || !isArray ||
        napi_get_typedarray_info(env, v, &kind, &length, &data, nullptr, nullptr) != napi_ok || kind != expectedKind) {
      refuseKind(name, v, expected);
      return out;
    }
    out.isNull = false;
    out.length = data == nullptr ? 0 : static_cast<int64_t>(length);
    out.data = static_cast<T *>(data);
    return out;
  }
};

napi_value numberOf(napi_env env, double value) {
  napi_value out = nullptr;
  napi_create_double(env, value, &out);
  return out;
}

napi_value stringOf(napi_env env, const char *text) {
  napi_value out = nullptr;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &out);
  return out;
}

// --- kernels: one function each, in the order of kernels.h --------------------------------------------------------

napi_value gemm(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "gemm", 16);
  int compute = a.compute(), transA = a.flag("transA"), transB = a.flag("transB");
  int64_t M = a.size("M"), N = a.size("N"), K = a.size("K");
  Matrix A = a.matrix("a"), B = a.matrix("b");
  int accumulate = a.flag("accumulate");
  Matrix C = a.matrix("c");
  a.need(A, transA ? K : M, transA ? M : K);
  a.need(B, transB ? N : K, transB ? K : N);
  a.need(C, M, N);
  if (!a.ok() || M == 0 || N == 0) return nullptr;
  Pool pool;
  a.kernels->gemm(compute, transA, transB, M, N, K, A.data(), A.stride, B.data(), B.stride, accumulate, C.data(),
                  C.stride);
  return nullptr;
}

napi_value embedding(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "embedding", 5);
  int64_t N = a.size("N"), D = a.size("D");
  Floats weight = a.floats("weight");
  Ints ids = a.ints("ids");
  Floats out = a.floats("out");
  a.need(ids, N);
  a.need(out, times(N, D));
  if (!a.ok() || N == 0 || D == 0) return nullptr;
  a.indices(ids, N, weight.length / D);
  if (!a.ok()) return nullptr;
  Pool pool;
  a.kernels->embedding(N, D, weight.data, ids.data, out.data);
  return nullptr;
}

napi_value embeddingBackward(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "embeddingBackward", 6);
  int64_t N = a.size("N"), D = a.size("D");
  Floats dout = a.floats("dout");
  Ints ids = a.ints("ids");
  double padding = a.number("padding");
  Floats dweight = a.floats("dweight");
  if (!(padding >= -1 && padding <= 2147483647.0 && padding == std::floor(padding)))
    a.refuse("padding", "%.17g", padding, "%s", "an id, or -1 for none");
  a.need(dout, times(N, D));
  a.need(ids, N);
  if (!a.ok() || N == 0 || D == 0) return nullptr;
  a.indices(ids, N, dweight.length / D);
  if (!a.ok()) return nullptr;
  Pool pool;
  a.kernels->embedding_backward(N, D, dout.data, ids.data, static_cast<int32_t>(padding), dweight.data);
  return nullptr;
}

napi_value addRmsNorm(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "addRmsNorm", 9);
  int64_t N = a.size("N"), D = a.size("D");
  Floats x = a.floats("x"), delta = a.floatsOrNull("delta"), weight = a.floats("weight");
  double eps = a.number("eps");
  Floats sum = a.floatsOrNull("sum"), out = a.floats("out"), rstd = a.floats("rstd");
  int64_t count = times(N, D);
  a.need(x, count);
  if (!delta.isNull) a.need(delta, count);
  a.need(weight, D);
  if (!delta.isNull && sum.isNull) a.refuse("sum", "%s", "null", "%s", "Float32Array, because delta is given");
  if (!sum.isNull) a.need(sum, count);
  a.need(out, count);
  a.need(rstd, N);
  if (!a.ok() || N == 0 || D == 0) return nullptr;
  Pool pool;
  a.kernels->add_rmsnorm(N, D, x.data, delta.data, weight.data, static_cast<float>(eps), sum.data, out.data,
                         rstd.data);
  return nullptr;
}

napi_value addRmsNormBackward(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "addRmsNormBackward", 8);
  int64_t N = a.size("N"), D = a.size("D");
  Floats sum = a.floats("sum"), weight = a.floats("weight"), rstd = a.floats("rstd"), dout = a.floats("dout");
  Floats dsum = a.floats("dsum"), dweight = a.floats("dweight");
  int64_t count = times(N, D);
  a.need(sum, count);
  a.need(weight, D);
  a.need(rstd, N);
  a.need(dout, count);
  a.need(dsum, count);
  a.need(dweight, D);
  if (!a.ok() || N == 0 || D == 0) return nullptr;
  Pool pool;
  a.kernels->add_rmsnorm_backward(N, D, sum.data, weight.data, rstd.data, dout.data, dsum.data, dweight.data);
  return nullptr;
}

napi_value qkNormRope(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "qkNormRope", 14);
  int64_t N = a.size("N"), H = a.size("H"), K = a.size("K"), hd = a.size("hd");
  Floats qkv = a.floats("qkv"), qweight = a.floats("qweight"), kweight = a.floats("kweight");
  double eps = a.number("eps");
  Floats cosine = a.floats("cosine"), sine = a.floats("sine");
  Ints positions = a.ints("positions");
  Floats q = a.floats("q"), k = a.floats("k"), rstd = a.floats("rstd");
  a.heads(H, K, hd, N, true);
  a.need(qkv, times(times(N, H + 2 * K), hd));
  a.need(qweight, hd);
  a.need(kweight, hd);
  a.need(positions, N);
  a.need(q, times(times(N, H), hd));
  a.need(k, times(times(N, K), hd));
  a.need(rstd, times(N, H + K));
  if (!a.ok() || N == 0 || H + K == 0) return nullptr;
  int64_t table = cosine.length < sine.length ? cosine.length : sine.length;
  a.indices(positions, N, table / (hd / 2));
  if (!a.ok()) return nullptr;
  Pool pool;
  a.kernels->qk_norm_rope(N, H, K, hd, qkv.data, qweight.data, kweight.data, static_cast<float>(eps), cosine.data,
                          sine.data, positions.data, q.data, k.data, rstd.data);
  return nullptr;
}

napi_value qkNormRopeBackward(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "qkNormRopeBackward", 16);
  int64_t N = a.size("N"), H = a.size("H"), K = a.size("K"), hd = a.size("hd");
  Floats qkv = a.floats("qkv"), qweight = a.floats("qweight"), kweight = a.floats("kweight");
  Floats rstd = a.floats("rstd"), cosine = a.floats("cosine"), sine = a.floats("sine");
  Ints positions = a.ints("positions");
  Floats dq = a.floats("dq"), dk = a.floats("dk"), dqkv = a.floats("dqkv");
  Floats dqweight = a.floats("dqweight"), dkweight = a.floats("dkweight");
  a.heads(H, K, hd, N, true);
  a.need(qkv, times(times(N, H + 2 * K), hd));
  a.need(qweight, hd);
  a.need(kweight, hd);
  a.need(rstd, times(N, H + K));
  a.need(positions, N);
  a.need(dq, times(times(N, H), hd));
  a.need(dk, times(times(N, K), hd));
  a.need(dqkv, times(times(N, H + 2 * K), hd));
  a.need(dqweight, hd);
  a.need(dkweight, hd);
  if (!a.ok() || N == 0 || H + K == 0) return nullptr;
  int64_t table = cosine.length < sine.length ? cosine.length : sine.length;
  a.indices(positions, N, table / (hd / 2));
  if (!a.ok()) return nullptr;
  Pool pool;
  a.kernels->qk_norm_rope_backward(N, H, K, hd, qkv.data, qweight.data, kweight.data, rstd.data, cosine.data,
                                   sine.data, positions.data, dq.data, dk.data, dqkv.data, dqweight.data,
                                   dkweight.data);
  return nullptr;
}

napi_value attention(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "attention", 19);
  int compute = a.compute();
  int64_t Nq = a.size("Nq"), H = a.size("H"), K = a.size("K"), hd = a.size("hd");
  double scale = a.number("scale");
  Matrix q = a.matrix("q"), k = a.matrix("k"), v = a.matrix("v");
  Ints lo = a.ints("lo"), hi = a.ints("hi");
  Floats out = a.floats("out"), lse = a.floats("lse");
  a.heads(H, K, hd, Nq, false);
  int64_t width = times(K, hd);
  a.need(q, Nq, times(H, hd));
  if (k.rows(width) > 0) a.need(k, 1, width);  // stride
  if (v.rows(width) > 0) a.need(v, 1, width);
  a.need(lo, Nq);
  a.need(hi, Nq);
  a.need(out, times(times(Nq, H), hd));
  a.need(lse, times(Nq, H));
  if (!a.ok() || Nq == 0 || H == 0) return nullptr;
  int64_t keyRows = k.rows(width) < v.rows(width) ? k.rows(width) : v.rows(width);
  a.ranges(lo, hi, 0, Nq, 0, keyRows);
  if (!a.ok()) return nullptr;
  Pool pool;
  a.kernels->attention(compute, Nq, H, K, hd, static_cast<float>(scale), q.data(), q.stride, k.data(), k.stride,
                       v.data(), v.stride, lo.data, hi.data, out.data, lse.data);
  return nullptr;
}

napi_value attentionBackward(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "attentionBackward", 26);
  int compute = a.compute();
  int64_t B = a.size("B"), T = a.size("T"), H = a.size("H"), K = a.size("K"), hd = a.size("hd");
  double scale = a.number("scale");
  Matrix q = a.matrix("q"), k = a.matrix("k"), v = a.matrix("v");
  Ints lo = a.ints("lo"), hi = a.ints("hi");
  Floats out = a.floats("out"), lse = a.floats("lse"), dout = a.floats("dout");
  Floats dq = a.floats("dq"), dk = a.floats("dk");
  Matrix dv = a.matrix("dv");
  int64_t N = times(B, T), wide = times(H, hd), width = times(K, hd);
  a.heads(H, K, hd, N, false);
  a.need(q, N, wide);
  a.need(k, N, width);
  a.need(v, N, width);
  a.need(lo, N);
  a.need(hi, N);
  a.need(out, times(N, wide));
  a.need(lse, times(N, H));
  a.need(dout, times(N, wide));
  a.need(dq, times(N, wide));
  a.need(dk, times(N, width));
  a.need(dv, N, width);
  if (!a.ok() || N == 0 || K == 0) return nullptr;
  for (int64_t b = 0; b < B && a.ok(); b++) a.ranges(lo, hi, b * T, T, b * T, (b + 1) * T);
  if (!a.ok()) return nullptr;
  Pool pool;
  a.kernels->attention_backward(compute, B, T, H, K, hd, static_cast<float>(scale), q.data(), q.stride, k.data(),
                                k.stride, v.data(), v.stride, lo.data, hi.data, out.data, lse.data, dout.data,
                                dq.data, dk.data, dv.data(), dv.stride);
  return nullptr;
}

napi_value xielu(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "xielu", 7);
  int64_t count = a.size("count");
  Floats x = a.floats("x"), alphaP = a.floats("alphaP"), alphaN = a.floats("alphaN");
  double beta = a.number("beta"), eps = a.number("eps");
  Floats out = a.floats("out");
  a.need(x, count);
  a.need(alphaP, 1);
  a.need(alphaN, 1);
  a.need(out, count);
  if (!a.ok() || count == 0) return nullptr;
  Pool pool;
  a.kernels->xielu(count, x.data, alphaP.data, alphaN.data, static_cast<float>(beta), static_cast<float>(eps),
                   out.data);
  return nullptr;
}

napi_value xieluBackward(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "xieluBackward", 10);
  int64_t count = a.size("count");
  Floats x = a.floats("x"), alphaP = a.floats("alphaP"), alphaN = a.floats("alphaN");
  double beta = a.number("beta"), eps = a.number("eps");
  Floats dout = a.floats("dout"), dx = a.floats("dx"), dalphaP = a.floats("dalphaP"), dalphaN = a.floats("dalphaN");
  a.need(x, count);
  a.need(alphaP, 1);
  a.need(alphaN, 1);
  a.need(dout, count);
  a.need(dx, count);
  a.need(dalphaP, 1);
  a.need(dalphaN, 1);
  if (!a.ok() || count == 0) return nullptr;
  Pool pool;
  a.kernels->xielu_backward(count, x.data, alphaP.data, alphaN.data, static_cast<float>(beta),
                            static_cast<float>(eps), dout.data, dx.data, dalphaP.data, dalphaN.data);
  return nullptr;
}

napi_value swiglu(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "swiglu", 4);
  int64_t N = a.size("N"), F = a.size("F");
  Floats gateUp = a.floats("gateUp"), out = a.floats("out");
  a.need(gateUp, times(N, times(2, F)));
  a.need(out, times(N, F));
  if (!a.ok() || N == 0 || F == 0) return nullptr;
  Pool pool;
  a.kernels->swiglu(N, F, gateUp.data, out.data);
  return nullptr;
}

napi_value swigluBackward(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "swigluBackward", 5);
  int64_t N = a.size("N"), F = a.size("F");
  Floats gateUp = a.floats("gateUp"), dout = a.floats("dout"), dgateUp = a.floats("dgateUp");
  a.need(gateUp, times(N, times(2, F)));
  a.need(dout, times(N, F));
  a.need(dgateUp, times(N, times(2, F)));
  if (!a.ok() || N == 0 || F == 0) return nullptr;
  Pool pool;
  a.kernels->swiglu_backward(N, F, gateUp.data, dout.data, dgateUp.data);
  return nullptr;
}

napi_value relu2(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "relu2", 3);
  int64_t count = a.size("count");
  Floats x = a.floats("x"), out = a.floats("out");
  a.need(x, count);
  a.need(out, count);
  if (!a.ok() || count == 0) return nullptr;
  Pool pool;
  a.kernels->relu2(count, x.data, out.data);
  return nullptr;
}

napi_value relu2Backward(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "relu2Backward", 4);
  int64_t count = a.size("count");
  Floats x = a.floats("x"), dout = a.floats("dout"), dx = a.floats("dx");
  a.need(x, count);
  a.need(dout, count);
  a.need(dx, count);
  if (!a.ok() || count == 0) return nullptr;
  Pool pool;
  a.kernels->relu2_backward(count, x.data, dout.data, dx.data);
  return nullptr;
}

napi_value linearCrossEntropy(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "linearCrossEntropy", 11);
  int compute = a.compute();
  int64_t N = a.size("N"), D = a.size("D"), V = a.size("V");
  Floats x = a.floats("x"), weight = a.floats("weight");
  Ints labels = a.ints("labels");
  Floats coefficient = a.floatsOrNull("coefficient"), loss = a.floats("loss");
  Floats dx = a.floatsOrNull("dx"), dweight = a.floatsOrNull("dweight");
  bool gradient = !coefficient.isNull;
  if (gradient == dx.isNull)
    a.refuse("dx", "%s", dx.isNull ? "null" : "an array", "%s",
             gradient ? "Float32Array" : "null without coefficient");
  if (gradient == dweight.isNull)
    a.refuse("dweight", "%s", dweight.isNull ? "null" : "an array", "%s",
             gradient ? "Float32Array" : "null without coefficient");
  a.need(x, times(N, D));
  a.need(weight, times(V, D));
  a.need(loss, N);
  if (gradient) {
    a.need(coefficient, N);
    a.need(dx, times(N, D));
    a.need(dweight, times(V, D));
  }
  if (N > 0 && D == 0) a.refuse("D", "%s", "0", "%s", "at least 1");
  a.indices(labels, N, V);
  if (!a.ok() || N == 0) return nullptr;
  Pool pool;
  a.kernels->linear_cross_entropy(compute, N, D, V, x.data, weight.data, labels.data, coefficient.data, loss.data,
                                  dx.data, dweight.data);
  return nullptr;
}

napi_value fill(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "fill", 3);
  int64_t count = a.size("count");
  double value = a.number("value");
  Floats out = a.floats("out");
  a.need(out, count);
  if (!a.ok() || count == 0) return nullptr;
  Pool pool;
  a.kernels->fill(count, static_cast<float>(value), out.data);
  return nullptr;
}

napi_value add(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "add", 4);
  int64_t count = a.size("count");
  Floats x = a.floats("a"), y = a.floats("b"), out = a.floats("out");
  a.need(x, count);
  a.need(y, count);
  a.need(out, count);
  if (!a.ok() || count == 0) return nullptr;
  Pool pool;
  a.kernels->add(count, x.data, y.data, out.data);
  return nullptr;
}

napi_value scale(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "scale", 3);
  int64_t count = a.size("count");
  double factor = a.number("factor");
  Floats x = a.floats("x");
  a.need(x, count);
  if (!a.ok() || count == 0) return nullptr;
  Pool pool;
  a.kernels->scale(count, static_cast<float>(factor), x.data);
  return nullptr;
}

napi_value sumOfSquares(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "sumOfSquares", 2);
  int64_t count = a.size("count");
  Floats x = a.floats("x");
  a.need(x, count);
  if (!a.ok()) return nullptr;
  if (count == 0) return numberOf(env, 0);
  double total;
  {
    Pool pool;
    total = a.kernels->sum_of_squares(count, x.data);
  }
  return numberOf(env, total);
}

napi_value toBf16(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "toBf16", 3);
  int64_t count = a.size("count");
  Floats x = a.floats("x");
  Halves out = a.halves("out");
  a.need(x, count);
  a.need(out, count);
  if (!a.ok() || count == 0) return nullptr;
  Pool pool;
  a.kernels->to_bf16(count, x.data, out.data);
  return nullptr;
}

napi_value fromBf16(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "fromBf16", 3);
  int64_t count = a.size("count");
  Halves x = a.halves("x");
  Floats out = a.floats("out");
  a.need(x, count);
  a.need(out, count);
  if (!a.ok() || count == 0) return nullptr;
  Pool pool;
  a.kernels->from_bf16(count, x.data, out.data);
  return nullptr;
}

napi_value ademamix(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "ademamix", 16);
  int64_t count = a.size("count");
  Floats p = a.floats("p"), g = a.floats("g"), m1 = a.floats("m1"), m2 = a.floats("m2"), v = a.floats("v");
  double clip = a.number("clip"), lr = a.number("lr"), b1 = a.number("beta1"), b2 = a.number("beta2"),
         b3 = a.number("beta3"), alpha = a.number("alpha"), eps = a.number("eps"), decay = a.number("weightDecay"),
         c1 = a.number("correction1"), c2 = a.number("correction2");
  for (const Floats *array : {&p, &g, &m1, &m2, &v}) a.need(*array, count);
  if (!a.ok() || count == 0) return nullptr;
  Pool pool;
  a.kernels->ademamix(count, p.data, g.data, m1.data, m2.data, v.data, clip, lr, b1, b2, b3, alpha, eps, decay, c1,
                      c2);
  return nullptr;
}

napi_value adamw(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "adamw", 13);
  int64_t count = a.size("count");
  Floats p = a.floats("p"), g = a.floats("g"), m = a.floats("m"), v = a.floats("v");
  double clip = a.number("clip"), lr = a.number("lr"), b1 = a.number("beta1"), b2 = a.number("beta2"),
         eps = a.number("eps"), decay = a.number("weightDecay"), c1 = a.number("correction1"),
         c2 = a.number("correction2");
  for (const Floats *array : {&p, &g, &m, &v}) a.need(*array, count);
  if (!a.ok() || count == 0) return nullptr;
  Pool pool;
  a.kernels->adamw(count, p.data, g.data, m.data, v.data, clip, lr, b1, b2, eps, decay, c1, c2);
  return nullptr;
}

napi_value peak(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "peak", 2);
  int compute = a.compute();
  int64_t iterations = a.size("iterations", 2147483647.0);
  if (!a.ok()) return nullptr;
  double operations;
  {
    Pool pool;
    operations = a.kernels->peak(compute, iterations);
  }
  return numberOf(env, operations);
}

const struct {
  const char *name;
  napi_callback call;
} kernelFunctions[] = {
    {"gemm", gemm},
    {"embedding", embedding},
    {"embeddingBackward", embeddingBackward},
    {"addRmsNorm", addRmsNorm},
    {"addRmsNormBackward", addRmsNormBackward},
    {"qkNormRope", qkNormRope},
    {"qkNormRopeBackward", qkNormRopeBackward},
    {"attention", attention},
    {"attentionBackward", attentionBackward},
    {"xielu", xielu},
    {"xieluBackward", xieluBackward},
    {"swiglu", swiglu},
    {"swigluBackward", swigluBackward},
    {"relu2", relu2},
    {"relu2Backward", relu2Backward},
    {"linearCrossEntropy", linearCrossEntropy},
    {"fill", fill},
    {"add", add},
    {"scale", scale},
    {"sumOfSquares", sumOfSquares},
    {"toBf16", toBf16},
    {"fromBf16", fromBf16},
    {"ademamix", ademamix},
    {"adamw", adamw},
    {"peak", peak},
};

// --- targets and threads -----------------------------------------------------------------------------------------

// load(target) -> {target, gemm, ...}: functions bound to that target's table, or throws why there is none.
napi_value load(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value value;
  char name[64] = "";
  napi_get_cb_info(env, info, &count, &value, nullptr, nullptr);
  if (napi_get_value_string_utf8(env, value, name, sizeof name, nullptr) != napi_ok) {
    napi_throw_type_error(env, nullptr, "load: target, got something else, expected a string");
    return nullptr;
  }
  const char *why = nullptr;
  const BelayKernels *kernels = belay_kernels(name, &why);
  if (kernels == nullptr) {
    char message[512];
    snprintf(message, sizeof message, "load: target, got %s, expected one that runs here: %s", name,
             why == nullptr ? "this build lacks it" : why);
    napi_throw_error(env, nullptr, message);
    return nullptr;
  }
  napi_value out;
  if (napi_create_object(env, &out) != napi_ok) return nullptr;
  napi_set_named_property(env, out, "target", stringOf(env, kernels->target));
  for (const auto &entry : kernelFunctions) {
    napi_value function;
    if (napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.call, const_cast<BelayKernels *>(kernels),
                             &function) != napi_ok)
      return nullptr;
    napi_set_named_property(env, out, entry.name, function);
  }
  return out;
}

// targets() -> [{name, available, why}], best first; why is null where it is available.
napi_value targets(napi_env env, napi_callback_info) {
  napi_value out;
  if (napi_create_array(env, &out) != napi_ok) return nullptr;
  uint32_t i = 0;
  for (const char *const *name = belay_targets(); *name != nullptr; name++) {
    const char *why = nullptr;
    bool available = belay_kernels(*name, &why) != nullptr;
    napi_value entry, flag, reason;
    napi_create_object(env, &entry);
    napi_get_boolean(env, available, &flag);
    napi_get_null(env, &reason);
    if (!available) reason = stringOf(env, why == nullptr ? "this build lacks it" : why);
    napi_set_named_property(env, entry, "name", stringOf(env, *name));
    napi_set_named_property(env, entry, "available", flag);
    napi_set_named_property(env, entry, "why", reason);
    napi_set_element(env, out, i++, entry);
  }
  return out;
}

// setThreads(n): the pool of the whole process gets n threads.
napi_value setThreads(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "setThreads", 1);
  int64_t n = a.size("n");
  if (n < 1 || n > maxThreads)
    a.refuse("n", "%lld", static_cast<long long>(n), "a whole number in [1, %d]", maxThreads);
  if (!a.ok()) return nullptr;
  std::lock_guard<std::mutex> lock(poolMutex);
  if (!started || belay_threads() != n) Pool::start(static_cast<int>(n));
  return nullptr;
}

// threads() -> threads of the pool, 0 before the first setThreads().
napi_value threads(napi_env env, napi_callback_info) {
  std::lock_guard<std::mutex> lock(poolMutex);
  return numberOf(env, started ? belay_threads() : 0);
}

// --- memory ------------------------------------------------------------------------------------------------------

constexpr size_t hugePage = size_t{2} << 20;
// node::Buffer, through which node makes external buffers, holds at most this much (Node 20: 4 GiB).
constexpr double largestExternal = 4294967296.0;

void releaseHeap(napi_env, void *data, void *) { free(data); }
void releaseMapped(napi_env, void *data, void *size) { munmap(data, reinterpret_cast<size_t>(size)); }

// Zeroed pages that start on a huge page, or NULL.
void *mapHuge(size_t size) {
  char *base = static_cast<char *>(
      mmap(nullptr, size + hugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (base == MAP_FAILED) return nullptr;
  size_t before = (hugePage - reinterpret_cast<size_t>(base) % hugePage) % hugePage;
  if (before > 0) munmap(base, before);
  munmap(base + before + size, hugePage - before);
#ifdef MADV_HUGEPAGE
  madvise(base + before, size, MADV_HUGEPAGE);
#endif
  return base + before;
}

// allocate(bytes) -> zeroed ArrayBuffer aligned to 64 bytes (2 MiB and on huge pages from 2 MiB on), or null where
// node cannot hold it (more than 4 GiB) or the system has none: the caller then asks JavaScript for the memory.
// V8 counts the bytes of such a buffer as external memory by itself.
napi_value allocate(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "allocate", 1);
  int64_t bytes = a.size("bytes");
  if (!a.ok()) return nullptr;
  napi_value out = nullptr, none;
  napi_get_null(env, &none);
  if (bytes > largestExternal) return none;
  if (bytes == 0) {
    void *unused;
    return napi_create_arraybuffer(env, 0, &unused, &out) == napi_ok ? out : none;
  }
  void *data;
  napi_status status;
  if (static_cast<size_t>(bytes) >= hugePage) {
    size_t size = (static_cast<size_t>(bytes) + 4095) / 4096 * 4096;
    data = mapHuge(size);
    if (data == nullptr) return none;
    status = napi_create_external_arraybuffer(env, data, bytes, releaseMapped, reinterpret_cast<void *>(size), &out);
  } else {
    if (posix_memalign(&data, 64, bytes) != 0) return none;
    memset(data, 0, bytes);
    status = napi_create_external_arraybuffer(env, data, bytes, releaseHeap, nullptr, &out);
  }
  if (status == napi_ok) return out;
  // Where node refuses, it has already called the release function: freeing here would be a second time.
  bool pending = false;
  napi_value exception;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending) napi_get_and_clear_last_exception(env, &exception);
  return none;
}

// --- the message layer: native/comm/ ------------------------------------------------------------------------------

namespace comm = belay::comm;

// Groups by the number that JavaScript knows them by, with the environment that opened them.
struct OpenGroup {
  napi_env env;
  std::shared_ptr<comm::Group> group;
};
std::mutex groupsMutex;
std::unordered_map<int64_t, OpenGroup> groups;
int64_t nextGroup = 1;
napi_env mpiOwner = nullptr;  // the environment that started MPI

napi_value addGroup(napi_env env, std::shared_ptr<comm::Group> group) {
  std::lock_guard<std::mutex> lock(groupsMutex);
  groups[nextGroup] = {env, std::move(group)};
  return numberOf(env, static_cast<double>(nextGroup++));
}

// The group that the first argument names; null, with an exception, where it is closed.
std::shared_ptr<comm::Group> groupOf(Arguments *a) {
  int64_t id = a->size("group");
  if (!a->ok()) return nullptr;
  std::lock_guard<std::mutex> lock(groupsMutex);
  auto found = groups.find(id);
  if (found != groups.end()) return found->second.group;
  a->refuse("group", "%lld", static_cast<long long>(id), "%s", "an open group");
  return nullptr;
}

// An environment ends: its groups go without a goodbye, so that peers know that this was no orderly end.
void leaveGroups(void *env) {
  std::vector<std::shared_ptr<comm::Group>> own;
  {
    std::lock_guard<std::mutex> lock(groupsMutex);
    for (auto at = groups.begin(); at != groups.end();) {
      if (at->second.env == static_cast<napi_env>(env)) {
        own.push_back(at->second.group);
        at = groups.erase(at);
      } else {
        ++at;
      }
    }
  }
  for (auto &group : own) group->close(false);
  if (mpiOwner == static_cast<napi_env>(env)) comm::finishMpi();
}

int64_t heartbeatArgument(Arguments *a) {
  int64_t milliseconds = a->size("heartbeatMs", 1e9);
  if (milliseconds < 4) a->refuse("heartbeatMs", "%lld", static_cast<long long>(milliseconds), "%s", "4 or more");
  return milliseconds;
}

// commOpen(rank, world, address, secret, heartbeatMs, sameHost) -> group, listening on a port of that address.
napi_value commOpen(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "commOpen", 6);
  comm::MeshOptions options;
  int64_t rank = a.size("rank"), world = a.size("world", 65536);
  options.bind = a.text("address");
  Array<char> secret = a.bytes("secret");
  options.heartbeatMs = heartbeatArgument(&a);
  options.sameHost = a.flag("sameHost") != 0;
  a.need(secret, static_cast<int64_t>(sizeof options.secret));
  if (a.ok() && rank >= world)
    a.refuse("rank", "%lld", static_cast<long long>(rank), "less than world = %lld", static_cast<long long>(world));
  if (!a.ok()) return nullptr;
  options.rank = static_cast<int>(rank);
  options.world = static_cast<int>(world);
  memcpy(options.secret, secret.data, sizeof options.secret);
  std::string why;
  std::shared_ptr<comm::Group> group = comm::openMesh(options, &why);
  if (group != nullptr) return addGroup(env, std::move(group));
  napi_throw_error(env, nullptr, why.c_str());
  return nullptr;
}

// mpiOpen(heartbeatMs) -> {group, rank, world} of the processes that mpirun started.
napi_value mpiOpen(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "mpiOpen", 1);
  int64_t heartbeatMs = heartbeatArgument(&a);
  if (!a.ok()) return nullptr;
  std::string why;
  std::shared_ptr<comm::Group> group = comm::openMpi(heartbeatMs, &why);
  if (group != nullptr) mpiOwner = env;
  if (group == nullptr) {
    napi_throw_error(env, nullptr, why.c_str());
    return nullptr;
  }
  napi_value out;
  if (napi_create_object(env, &out) != napi_ok) return nullptr;
  napi_set_named_property(env, out, "rank", numberOf(env, group->rank));
  napi_set_named_property(env, out, "world", numberOf(env, group->world));
  napi_set_named_property(env, out, "group", addGroup(env, std::move(group)));
  return out;
}

// mpiAllReduce(group, data) -> a transfer: MPI's own sum over all ranks, in place.
napi_value mpiAllReduce(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "mpiAllReduce", 2);
  std::shared_ptr<comm::Group> group = groupOf(&a);
  Floats data = a.floats("data");
  if (a.ok() && !group->hasAllReduce()) a.refuse("group", "%s", "one of TCP", "%s", "one of MPI");
  if (a.ok() && data.length > 2147483647)
    a.refuse("length of data", "%lld", static_cast<long long>(data.length), "%s", "at most 2147483647");
  if (!a.ok()) return nullptr;
  return numberOf(env, static_cast<double>(group->allReduce(data.data, static_cast<size_t>(data.length))));
}

// commPort(group) -> the port it listens on.
napi_value commPort(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "commPort", 1);
  std::shared_ptr<comm::Group> group = groupOf(&a);
  return group == nullptr ? nullptr : numberOf(env, group->port());
}

int64_t peerArgument(Arguments *a, const comm::Group *group) {
  int64_t peer = a->size("peer");
  if (a->ok() && group != nullptr && (peer >= group->world || peer == group->rank))
    a->refuse("peer", "%lld", static_cast<long long>(peer), "another rank of %d, not %d", group->world, group->rank);
  return peer;
}

// commConnect(group, peer, address, port): begins to connect; commPeer says what became of it.
napi_value commConnect(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "commConnect", 4);
  std::shared_ptr<comm::Group> group = groupOf(&a);
  int64_t peer = peerArgument(&a, group.get());
  std::string address = a.text("address");
  int64_t port = a.size("port", 65535);
  if (a.ok()) group->connect(static_cast<int>(peer), address, static_cast<int>(port));
  return nullptr;
}

// commPeer(group, peer) -> {state, why}.
napi_value commPeer(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "commPeer", 2);
  std::shared_ptr<comm::Group> group = groupOf(&a);
  int64_t peer = peerArgument(&a, group.get());
  if (!a.ok()) return nullptr;
  std::string why;
  comm::PeerState state = group->peer(static_cast<int>(peer), &why);
  napi_value out;
  if (napi_create_object(env, &out) != napi_ok) return nullptr;
  napi_set_named_property(env, out, "state", stringOf(env, comm::peerStateName(state)));
  napi_set_named_property(env, out, "why", stringOf(env, why.c_str()));
  return out;
}

// commSeal(group): all are here; nobody else is let in.
napi_value commSeal(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "commSeal", 1);
  std::shared_ptr<comm::Group> group = groupOf(&a);
  if (group != nullptr) group->seal();
  return nullptr;
}

// commPost(group, sending, peer, tag, data) -> transfer. The caller keeps data alive until it ended.
napi_value commPost(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "commPost", 5);
  std::shared_ptr<comm::Group> group = groupOf(&a);
  bool sending = a.flag("sending") != 0;
  int64_t peer = peerArgument(&a, group.get());
  int64_t tag = a.size("tag", 4294967295.0);
  Array<char> data = a.bytes("data");
  if (!a.ok()) return nullptr;
  uint64_t id = group->post(sending, static_cast<int>(peer), static_cast<uint32_t>(tag), data.data,
                            static_cast<size_t>(data.length));
  return numberOf(env, static_cast<double>(id));
}

// commWait(group, transfers, timeoutMs) -> {state: 'done' | 'pending' | 'lost' | 'wrong', ...}; blocks, for ever where
// timeoutMs is below 0.
napi_value commWait(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "commWait", 3);
  std::shared_ptr<comm::Group> group = groupOf(&a);
  Array<double> ids = a.doubles("transfers");
  double timeoutMs = a.number("timeoutMs");
  if (!a.ok()) return nullptr;
  comm::Outcome outcome = group->wait(ids.data, static_cast<size_t>(ids.length), timeoutMs);
  using State = comm::Outcome::State;
  const char *state = outcome.state == State::done      ? "done"
                      : outcome.state == State::pending ? "pending"
                      : outcome.state == State::lost    ? "lost"
                                                        : "wrong";
  napi_value out;
  if (napi_create_object(env, &out) != napi_ok) return nullptr;
  napi_set_named_property(env, out, "state", stringOf(env, state));
  if (outcome.state == State::lost) {
    napi_set_named_property(env, out, "rank", numberOf(env, outcome.loss.rank));
    napi_set_named_property(env, out, "how", stringOf(env, comm::howName(outcome.loss.how)));
    napi_set_named_property(env, out, "reporter", numberOf(env, outcome.loss.reporter));
    napi_set_named_property(env, out, "seconds", numberOf(env, outcome.loss.seconds));
    napi_set_named_property(env, out, "detail", stringOf(env, outcome.loss.detail.c_str()));
  } else if (outcome.state == State::wrong) {
    napi_set_named_property(env, out, "peer", numberOf(env, outcome.peer));
    napi_set_named_property(env, out, "tag", numberOf(env, outcome.tag));
    napi_set_named_property(env, out, "came", numberOf(env, static_cast<double>(outcome.came)));
    napi_set_named_property(env, out, "expected", numberOf(env, static_cast<double>(outcome.expected)));
  }
  return out;
}

// commClose(group): leaves in good order; no memory of a transfer is touched after it.
napi_value commClose(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "commClose", 1);
  std::shared_ptr<comm::Group> group = groupOf(&a);
  if (group == nullptr) return nullptr;
  group->close(true);
  std::lock_guard<std::mutex> lock(groupsMutex);
  for (auto at = groups.begin(); at != groups.end(); ++at) {
    if (at->second.group != group) continue;
    groups.erase(at);
    break;
  }
  return nullptr;
}

// --- the data kernels: native/data/ -------------------------------------------------------------------------------

// dataTargets() -> names, best first.
napi_value dataTargets(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "dataTargets", 0);
  napi_value out;
  if (!a.ok() || napi_create_array(env, &out) != napi_ok) return nullptr;
  const BelayDataTarget *targets = belay_data_targets();
  for (uint32_t i = 0; targets[i].name != nullptr; i++) napi_set_element(env, out, i, stringOf(env, targets[i].name));
  return out;
}

// dataShingles(text, n, narrow, entries, pool, out) -> how many, or -1 where the table ends before the text does.
napi_value dataShingles(napi_env env, napi_callback_info info) {
  // Kept between calls: a text after the other of about the same length.
  static thread_local std::vector<uint16_t> text;
  static thread_local std::vector<uint8_t> words;
  static thread_local std::vector<int32_t> starts;
  Arguments a(env, info, "dataShingles", 6);
  int64_t units = a.units("text", &text);
  int64_t n = a.size("n", 1 << 20);
  int narrow = a.flag("narrow");
  Array<uint32_t> entries = a.words("entries");
  Array<uint8_t> pool = a.octets("pool");
  Array<uint64_t> out = a.longs("out");
  a.need(out, units);
  if (a.ok() && n == 0) a.refuse("n", "%d", 0, "%s", "at least 1");
  // Positions of words are 32 bits.
  if (a.ok() && units > (1 << 26)) a.refuse("text", "%lld units", static_cast<long long>(units), "at most %d", 1 << 26);
  if (!a.ok()) return nullptr;
  BelayCharTable table{entries.data, entries.length, pool.data, pool.length};
  if (static_cast<int64_t>(starts.size()) < units + 1) starts.resize(units + 1 + units / 2);
  int64_t count = -2, bytes = 0;
  for (int64_t room = units * 4 + 64; count == -2; room *= 2) {
    if (static_cast<int64_t>(words.size()) < room) words.resize(room);
    count = belay_words(text.data(), units, &table, words.data(), static_cast<int64_t>(words.size()), starts.data(),
                        &bytes);
  }
  if (count == -3) {
    a.refuse("entries", "%s", "one beyond the pool", "%s", "places in the pool");
    return nullptr;
  }
  if (count >= 0) count = belay_shingles(words.data(), starts.data(), count, n, narrow, out.data);
  return numberOf(env, static_cast<double>(count));
}

// dataMinima(target, shingles, count, a, b, narrow, out): out[i] for each pair of parameters.
napi_value dataMinima(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "dataMinima", 7);
  int64_t target = a.size("target");
  Array<uint64_t> shingles = a.longs("shingles");
  int64_t count = a.size("count");
  Array<uint64_t> as = a.longs("a");
  Array<uint64_t> bs = a.longs("b");
  int narrow = a.flag("narrow");
  Array<uint64_t> out = a.longs("out");
  a.need(shingles, count);
  a.need(bs, as.length);
  a.need(out, as.length);
  const BelayDataTarget *targets = belay_data_targets();
  int64_t known = 0;
  while (targets[known].name != nullptr) known++;
  if (a.ok() && target >= known)
    a.refuse("target", "%lld", static_cast<long long>(target), "below %lld", static_cast<long long>(known));
  if (a.ok() && as.length % 8 != 0)
    a.refuse("length of a", "%lld", static_cast<long long>(as.length), "%s", "a multiple of 8");
  if (!a.ok()) return nullptr;
  targets[target].minima(shingles.data, count, as.data, bs.data, as.length, narrow ? 0xffffffffu : ~uint64_t(0),
                         out.data);
  return nullptr;
}

// dataSamples(text, k, neighbours, out) -> how many samples, six words each, or -1 where `out` is too small.
napi_value dataSamples(napi_env env, napi_callback_info info) {
  static thread_local std::vector<uint16_t> text;
  static thread_local std::vector<uint32_t> queue;
  Arguments a(env, info, "dataSamples", 4);
  int64_t units = a.units("text", &text);
  int64_t k = a.size("k", 1 << 30);
  // Reaches are 16 bits.
  int64_t neighbours = a.size("neighbours", 1 << 16);
  Array<uint32_t> out = a.words("out");
  if (a.ok() && k == 0) a.refuse("k", "%d", 0, "%s", "at least 1");
  if (a.ok() && neighbours == 0) a.refuse("neighbours", "%d", 0, "%s", "at least 1");
  if (a.ok() && units > (1 << 30)) a.refuse("text", "%lld units", static_cast<long long>(units), "at most %d", 1 << 30);
  if (!a.ok()) return nullptr;
  int64_t size = 1;
  while (size <= neighbours) size *= 2;
  if (static_cast<int64_t>(queue.size()) < 2 * size) queue.resize(2 * size);
  int64_t count = belay_samples(text.data(), units, k, neighbours, queue.data(), size, out.data, out.length / 6);
  return numberOf(env, static_cast<double>(count));
}

// dataHashes(bytes, starts, ends, seed, out): XXH64 of each range.
napi_value dataHashes(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "dataHashes", 5);
  Array<uint8_t> bytes = a.octets("bytes");
  Ints starts = a.ints("starts");
  Ints ends = a.ints("ends");
  int64_t seed = a.size("seed");
  Array<uint64_t> out = a.longs("out");
  a.need(ends, starts.length);
  a.need(out, starts.length);
  if (a.ok()) a.ranges(starts, ends, 0, starts.length, 0, bytes.length);
  if (!a.ok()) return nullptr;
  for (int64_t i = 0; i < starts.length; i++)
    out.data[i] = belay_xxh64(bytes.data + starts.data[i], ends.data[i] - starts.data[i], static_cast<uint64_t>(seed));
  return nullptr;
}

// dataTextSum(bytes, length, shape, slots, hashes, starts, pool, left, rows, kept, into) -> how many rows; `shape` is the
// number of words, bucket, minn, maxn, wordNgrams.
napi_value dataTextSum(napi_env env, napi_callback_info info) {
  static thread_local std::vector<uint8_t> marked;
  static thread_local std::vector<int32_t> tokens;
  Arguments a(env, info, "dataTextSum", 11);
  Array<uint8_t> bytes = a.octets("bytes");
  int64_t length = a.size("length");
  Ints shape = a.ints("shape"), slots = a.ints("slots"), hashes = a.ints("hashes"), starts = a.ints("starts");
  Array<uint8_t> pool = a.octets("pool");
  Ints left = a.ints("left");
  Floats rows = a.floats("rows"), kept = a.floats("kept"), into = a.floats("into");
  a.need(bytes, length);
  a.need(shape, 5);
  a.need(slots, 2);
  a.need(into, 1);
  if (!a.ok()) return nullptr;
  BelayWords words{slots.data, slots.length, hashes.data, starts.data, pool.data, shape.data[0]};
  a.need(hashes, words.size);
  a.need(starts, plus(words.size, 1));
  bool shared = shape.data[3] > 0 || shape.data[4] > 1;
  if (a.ok() && shared && shape.data[1] < 1) a.refuse("bucket", "%d", shape.data[1], "%s", "at least 1");
  if (a.ok() && (words.size < 0 || (slots.length & (slots.length - 1)) != 0 || words.size >= slots.length))
    a.refuse("slots", "%lld", static_cast<long long>(slots.length), "a power of two above %d", words.size);
  if (a.ok() && left.length > 0 && (left.length < 2 || (left.length & (left.length - 1)) != 0))
    a.refuse("left", "%lld", static_cast<long long>(left.length), "%s", "a power of two");
  int64_t place = 8 + into.length;
  a.need(kept, place);
  if (!a.ok()) return nullptr;
  BelayRows table{shape.data[1], shape.data[2], shape.data[3], shape.data[4], left.length == 0 ? nullptr : left.data,
                  left.length / 2, rows.data, rows.length / into.length, into.length};
  BelayKept memory{kept.data, 1};
  while (2 * memory.places * place <= kept.length) memory.places *= 2;
  if (static_cast<int64_t>(marked.size()) < length + 8) marked.resize(length + 8);
  if (static_cast<int64_t>(tokens.size()) < length / 2 + 2) tokens.resize(length / 2 + 2);
  int64_t count =
      belay_text_sum(bytes.data, length, &words, &table, &memory, marked.data(), tokens.data(), into.data);
  if (count < 0) {
    a.refuse("rows", "%lld", static_cast<long long>(table.num_rows), "%s", "as many as the table of words and n-grams says");
    return nullptr;
  }
  return numberOf(env, static_cast<double>(count));
}

// dataTrain(order, from, to, lineStarts, tokens, labels, rowStarts, tokenRows, hashes, shape, input, output, numLabels,
// numbers): lines order[from] to order[to]; `shape` is the number of words, bucket, wordNgrams; `numbers` is the rate at
// the start, tokens done, tokens in all, sum of the probabilities of the right labels.
napi_value dataTrain(napi_env env, napi_callback_info info) {
  static thread_local std::vector<float> scratch;
  static thread_local std::vector<int32_t> found;
  Arguments a(env, info, "dataTrain", 14);
  Ints order = a.ints("order");
  int64_t from = a.size("from"), to = a.size("to");
  Ints lineStarts = a.ints("lineStarts"), tokens = a.ints("tokens"), labels = a.ints("labels"),
       rowStarts = a.ints("rowStarts"), tokenRows = a.ints("tokenRows"), hashes = a.ints("hashes"),
       shape = a.ints("shape");
  Floats input = a.floats("input"), output = a.floats("output");
  int64_t numLabels = a.size("numLabels", 1 << 30);
  Array<double> numbers = a.doubles("numbers");
  a.need(order, to);
  a.need(lineStarts, plus(labels.length, 1));
  a.need(rowStarts, plus(hashes.length, 1));
  a.need(shape, 3);
  a.need(numbers, 4);
  if (a.ok() && numLabels < 1) a.refuse("numLabels", "%d", 0, "%s", "at least 1");
  if (!a.ok()) return nullptr;
  int64_t stride = output.length / numLabels;
  if (stride < 8 || stride % 8 != 0)
    a.refuse("length of output", "%lld", static_cast<long long>(output.length), "%s", "rows of a multiple of 8");
  if (shape.data[2] > 1 && shape.data[1] < 1) a.refuse("bucket", "%d", shape.data[1], "%s", "at least 1");
  if (!a.ok()) return nullptr;
  BelayLines lines{lineStarts.data, tokens.data, labels.data, labels.length, tokens.length,
                   rowStarts.data, tokenRows.data, hashes.data, hashes.length, tokenRows.length,
                   shape.data[0], shape.data[1], shape.data[2]};
  // Room for the rows of the longest of these lines.
  int64_t room = 0;
  for (int64_t i = from; i < to; i++) {
    int64_t line = order.data[i], count = 0;
    if (line < 0 || line >= labels.length) break;
    int64_t begin = lineStarts.data[line], end = lineStarts.data[line + 1];
    for (int64_t t = begin < 0 ? 0 : begin; t < end && t < tokens.length; t++) {
      int64_t type = tokens.data[t];
      if (type >= 0 && type < hashes.length) count += rowStarts.data[type + 1] - rowStarts.data[type];
      if (shape.data[2] > 1) count += shape.data[2] - 1;
    }
    if (count > room) room = count;
  }
  int64_t padded = (numLabels + 7) / 8 * 8;
  if (static_cast<int64_t>(scratch.size()) < 2 * stride + padded) scratch.resize(2 * stride + padded);
  if (static_cast<int64_t>(found.size()) < room) found.resize(room);
  double *n = numbers.data;
  BelayFit fit{input.data, output.data, input.length / stride, numLabels, stride, n[0], n[1], n[2], n[3],
               scratch.data(), scratch.data() + stride, scratch.data() + 2 * stride, found.data(), room};
  static const BelayTrain train = belay_train();
  if (train(&lines, order.data + from, to - from, &fit) != 0)
    a.refuse("lines", "%s", "a number outside", "%s", "numbers within their tables");
  n[1] = fit.done;
  n[3] = fit.sure;
  return nullptr;
}

// --- the tokenizer: native/tokenizer/ -----------------------------------------------------------------------------

constexpr napi_type_tag tokenizerTag = {0x62656c6179746f6bull, 0x656e697a65723031ull};

void closeTokenizer(napi_env, void *data, void *) { belay_tokenizer_close(static_cast<BelayTokenizer *>(data)); }

napi_value tokenizerOut(napi_env env, BelayTokenizer *tokenizer) {
  napi_value out;
  if (napi_create_external(env, tokenizer, closeTokenizer, nullptr, &out) != napi_ok) {
    belay_tokenizer_close(tokenizer);
    return nullptr;
  }
  napi_type_tag_object(env, out, &tokenizerTag);
  return out;
}

// tokOpen(byteIds, merges, tokenIds, tokenEnds, tokenPool, classes) -> a tokenizer of this thread.
napi_value tokOpen(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "tokOpen", 6);
  Ints byteIds = a.ints("byteIds");
  Ints merges = a.ints("merges");
  Ints tokenIds = a.ints("tokenIds");
  Ints tokenEnds = a.ints("tokenEnds");
  Array<uint8_t> pool = a.octets("tokenPool");
  Array<uint8_t> classes = a.octets("classes");
  a.need(byteIds, 256);
  a.need(tokenEnds, tokenIds.length);
  a.need(classes, BELAY_CODE_POINTS);
  a.indices(byteIds, 256, INT32_MAX);
  a.indices(merges, merges.length, INT32_MAX);
  a.indices(tokenIds, tokenIds.length, INT32_MAX);
  if (a.ok() && merges.length % 3 != 0)
    a.refuse("length of merges", "%lld", static_cast<long long>(merges.length), "%s", "a multiple of 3");
  a.indices(tokenEnds, tokenIds.length, pool.length + 1);
  if (a.ok()) {
    for (int64_t i = 1; i < tokenIds.length; i++) {
      if (tokenEnds.data[i] >= tokenEnds.data[i - 1]) continue;
      a.refuse("tokenEnds", "%d", tokenEnds.data[i], "at least the end before, %d", tokenEnds.data[i - 1]);
      break;
    }
  }
  if (!a.ok()) return nullptr;
  BelayTokenizerModel model{byteIds.data,    merges.data,     merges.length / 3, tokenIds.data,
                            tokenEnds.data,  tokenIds.length, pool.data,         classes.data};
  return tokenizerOut(env, belay_tokenizer_open(&model));
}

// tokTables(tokenizer) -> the number of its tables.
napi_value tokTables(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "tokTables", 1);
  BelayTokenizer *tokenizer = a.external<BelayTokenizer>("tokenizer", tokenizerTag);
  if (!a.ok()) return nullptr;
  return numberOf(env, static_cast<double>(belay_tokenizer_tables(tokenizer)));
}

// tokOpenOn(tables) -> a tokenizer of this thread on tables of any; undefined where these are gone.
napi_value tokOpenOn(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "tokOpenOn", 1);
  int64_t tables = a.size("tables");
  if (!a.ok()) return nullptr;
  BelayTokenizer *tokenizer = belay_tokenizer_open_on(tables);
  return tokenizer == nullptr ? nullptr : tokenizerOut(env, tokenizer);
}

// As many ids as fit; how many there are.
napi_value idsOut(napi_env env, const BelayTokenizer *tokenizer, int64_t count, const Ints &out, int64_t at) {
  if (count > 0 && at + count <= out.length)
    memcpy(out.data + at, belay_tokenizer_ids(tokenizer), static_cast<size_t>(count) * sizeof(int32_t));
  return numberOf(env, static_cast<double>(count));
}

constexpr int64_t longestText = 1 << 29;

// The units of a text, with what kernels read behind it.
int64_t tokenizerText(Arguments *a, std::vector<uint16_t> *text) {
  int64_t units = a->units("text", text);
  if (a->ok() && units > longestText)
    a->refuse("text", "%lld units", static_cast<long long>(units), "at most %lld", static_cast<long long>(longestText));
  if (static_cast<int64_t>(text->size()) < units + 64) text->resize(units + 64 + units / 2);
  return units;
}

// tokEncode(tokenizer, scanner, text, out, at) -> how many ids; they are written to out from `at` on where all fit.
napi_value tokEncode(napi_env env, napi_callback_info info) {
  static thread_local std::vector<uint16_t> text;
  Arguments a(env, info, "tokEncode", 5);
  BelayTokenizer *tokenizer = a.external<BelayTokenizer>("tokenizer", tokenizerTag);
  int64_t scanner = a.size("scanner", BELAY_SCANNERS - 1);
  int64_t units = tokenizerText(&a, &text);
  Ints out = a.ints("out");
  int64_t at = a.size("at");
  if (!a.ok()) return nullptr;
  int64_t count = belay_tokenizer_encode(tokenizer, text.data(), units, static_cast<int>(scanner));
  return idsOut(env, tokenizer, count, out, at);
}

// tokEncodePieces(tokenizer, text, ends, out, at) -> as tokEncode, of a text that is cut.
napi_value tokEncodePieces(napi_env env, napi_callback_info info) {
  static thread_local std::vector<uint16_t> text;
  Arguments a(env, info, "tokEncodePieces", 5);
  BelayTokenizer *tokenizer = a.external<BelayTokenizer>("tokenizer", tokenizerTag);
  int64_t units = tokenizerText(&a, &text);
  Ints ends = a.ints("ends");
  Ints out = a.ints("out");
  int64_t at = a.size("at");
  a.indices(ends, ends.length, units + 1);
  if (!a.ok()) return nullptr;
  int64_t count = belay_tokenizer_encode_pieces(tokenizer, text.data(), ends.data, ends.length);
  return idsOut(env, tokenizer, count, out, at);
}

// tokPieces(tokenizer, scanner, text, ends) -> how many pieces; the ends of those that fit are written.
napi_value tokPieces(napi_env env, napi_callback_info info) {
  static thread_local std::vector<uint16_t> text;
  Arguments a(env, info, "tokPieces", 4);
  BelayTokenizer *tokenizer = a.external<BelayTokenizer>("tokenizer", tokenizerTag);
  int64_t scanner = a.size("scanner", BELAY_SCANNERS - 1);
  int64_t units = tokenizerText(&a, &text);
  Ints ends = a.ints("ends");
  if (!a.ok()) return nullptr;
  int64_t count =
      belay_tokenizer_pieces(tokenizer, text.data(), units, static_cast<int>(scanner), ends.data, ends.length);
  return numberOf(env, static_cast<double>(count));
}

// tokTake(tokenizer, count, out, at): the ids of the last text, where they did not fit before.
napi_value tokTake(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "tokTake", 4);
  BelayTokenizer *tokenizer = a.external<BelayTokenizer>("tokenizer", tokenizerTag);
  int64_t count = a.size("count");
  Ints out = a.ints("out");
  int64_t at = a.size("at");
  a.need(out, plus(at, count));
  if (a.ok() && count != belay_tokenizer_count(tokenizer))
    a.refuse("count", "%lld", static_cast<long long>(count), "%lld",
             static_cast<long long>(belay_tokenizer_count(tokenizer)));
  if (!a.ok()) return nullptr;
  return idsOut(env, tokenizer, count, out, at);
}

// --- training of tokenizers: native/tokenizer/ --------------------------------------------------------------------

namespace bpe = belay::training;

// A training by the number that JavaScript knows it by; one environment uses it, from bpeOpen to bpeClose.
struct Training {
  napi_env env;
  std::unique_ptr<bpe::WordCounter> counter;
  bpe::Words words;
  std::unique_ptr<bpe::Learner> learner;
};
std::mutex trainingsMutex;
std::unordered_map<int64_t, std::unique_ptr<Training>> trainings;
int64_t nextTraining = 1;

Training *trainingOf(Arguments *a, napi_env env) {
  int64_t id = a->size("training");
  if (!a->ok()) return nullptr;
  std::lock_guard<std::mutex> lock(trainingsMutex);
  auto found = trainings.find(id);
  if (found != trainings.end() && found->second->env == env) return found->second.get();
  a->refuse("training", "%lld", static_cast<long long>(id), "%s", "an open training");
  return nullptr;
}

void closeTrainings(void *env) {
  std::lock_guard<std::mutex> lock(trainingsMutex);
  for (auto at = trainings.begin(); at != trainings.end();) {
    if (at->second->env == static_cast<napi_env>(env)) at = trainings.erase(at);
    else ++at;
  }
}

Training *counting(Arguments *a, napi_env env) {
  Training *training = trainingOf(a, env);
  if (training != nullptr && training->counter == nullptr)
    a->refuse("training", "%s", "one whose words are counted", "%s", "one that counts");
  return a->ok() ? training : nullptr;
}

// bpeOpen(threads, memory, dir, whole, classes) -> training. `whole` has strings, each ended by a zero.
napi_value bpeOpen(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "bpeOpen", 5);
  int64_t threads = a.size("threads", 1024), memory = a.size("memory");
  napi_value path = a.string("dir");
  std::vector<uint16_t> units;
  int64_t length = a.units("whole", &units);
  Array<uint8_t> classes = a.octets("classes");
  a.need(classes, BELAY_CODE_POINTS);
  for (int64_t i = 0; a.ok() && i < BELAY_CODE_POINTS; i++)
    if (classes.data[i] > BELAY_CLASS_NEWLINE) a.refuse("classes", "%d", classes.data[i], "at most %d", BELAY_CLASS_NEWLINE);
  if (a.ok() && threads == 0) a.refuse("threads", "%d", 0, "%s", "at least 1");
  std::vector<std::u16string> whole(1);
  for (int64_t i = 0; i < length; i++) {
    if (units[i] != 0) whole.back().push_back(static_cast<char16_t>(units[i]));
    else whole.emplace_back();
  }
  whole.pop_back();
  for (const auto &string : whole)
    if (a.ok() && (string.empty() || string[0] > 127)) a.refuse("whole", "%s", "a string", "%s", "one that begins with ASCII");
  if (!a.ok()) return nullptr;
  size_t bytes = 0;
  napi_get_value_string_utf8(env, path, nullptr, 0, &bytes);
  std::string dir(bytes + 1, 0);
  napi_get_value_string_utf8(env, path, dir.data(), bytes + 1, &bytes);
  dir.resize(bytes);
  auto training = std::make_unique<Training>();
  training->env = env;
  training->counter = std::make_unique<bpe::WordCounter>(static_cast<int>(threads), memory, dir, whole,
                                                             classes.data);
  std::lock_guard<std::mutex> lock(trainingsMutex);
  trainings[nextTraining] = std::move(training);
  return numberOf(env, static_cast<double>(nextTraining++));
}

// bpeAdd(training, text, group)
napi_value bpeAdd(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "bpeAdd", 3);
  Training *open = counting(&a, env);
  napi_value text = a.string("text");
  int64_t group = a.size("group", 4294967295.0);
  if (!a.ok()) return nullptr;
  size_t length = 0;
  napi_get_value_string_utf16(env, text, nullptr, 0, &length);
  napi_get_value_string_utf16(env, text, open->counter->room(length + 1), length + 1, &length);
  open->counter->added(length, static_cast<uint32_t>(group));
  return nullptr;
}

// bpeCounted(training) -> {words, leftOut, least}; an Error where what was put aside cannot be written or read.
napi_value bpeCounted(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "bpeCounted", 1);
  Training *training = counting(&a, env);
  if (!a.ok()) return nullptr;
  bpe::Words &words = training->words;
  std::unique_ptr<bpe::WordCounter> counter = std::move(training->counter);
  if (!counter->finish(&words)) {
    napi_throw_error(env, nullptr, counter->error().c_str());
    return nullptr;
  }
  napi_value out;
  if (napi_create_object(env, &out) != napi_ok) return nullptr;
  napi_set_named_property(env, out, "words", numberOf(env, static_cast<double>(words.met)));
  napi_set_named_property(env, out, "leftOut", numberOf(env, static_cast<double>(words.leftOut)));
  napi_set_named_property(env, out, "least", numberOf(env, static_cast<double>(words.least)));
  return out;
}

// bpeLearn(training, idOfByte, firstFree, units, out) -> merges learnt, at most as many as `out` has room for: left, right
// and made id of each. Bytes, firstFree and units count the first time.
napi_value bpeLearn(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "bpeLearn", 5);
  Training *training = trainingOf(&a, env);
  Ints idOfByte = a.ints("idOfByte");
  int64_t firstFree = a.size("firstFree", 1 << 30);
  Array<double> units = a.doubles("units");
  Ints out = a.ints("out");
  a.need(idOfByte, 256);
  if (a.ok() && training->counter != nullptr)
    a.refuse("training", "%s", "one that counts", "%s", "one whose words are counted");
  for (int i = 0; a.ok() && i < 256; i++) {
    if (idOfByte.data[i] < 0 || idOfByte.data[i] >= firstFree)
      a.refuse("idOfByte", "%d", idOfByte.data[i], "a whole number in [0, %lld)", static_cast<long long>(firstFree));
  }
  for (const auto &word : training == nullptr ? std::vector<bpe::Words::Word>() : training->words.list) {
    if (a.ok() && units.length > 0 && word.group / 2 >= units.length)
      a.refuse("units", "%lld languages", static_cast<long long>(units.length), "%s", "one for each group");
  }
  if (!a.ok()) return nullptr;
  if (training->learner == nullptr) {
    training->learner = std::make_unique<bpe::Learner>(std::move(training->words), idOfByte.data,
                                                             static_cast<int32_t>(firstFree),
                                                             std::vector<double>(units.data, units.data + units.length));
    training->words = {};
  }
  static_assert(sizeof(bpe::Learner::Merge) == 12);
  size_t learnt = training->learner->learn(out.length / 3, reinterpret_cast<bpe::Learner::Merge *>(out.data));
  return numberOf(env, static_cast<double>(learnt));
}

// bpeClose(training): frees it.
napi_value bpeClose(napi_env env, napi_callback_info info) {
  Arguments a(env, info, "bpeClose", 1);
  Training *training = trainingOf(&a, env);
  if (!a.ok()) return nullptr;
  std::unique_ptr<Training> last;
  std::lock_guard<std::mutex> lock(trainingsMutex);
  for (auto at = trainings.begin(); at != trainings.end(); ++at) {
    if (at->second.get() != training) continue;
    last = std::move(at->second);
    trainings.erase(at);
    break;
  }
  return nullptr;
}

}  // namespace

NAPI_MODULE_INIT() {
  {
    std::lock_guard<std::mutex> lock(poolMutex);
    environments++;
  }
  napi_add_env_cleanup_hook(env, leave, nullptr);
  napi_add_env_cleanup_hook(env, leaveGroups, env);
  napi_add_env_cleanup_hook(env, closeTrainings, env);
  const struct {
    const char *name;
    napi_callback call;
  } functions[] = {{"load", load},
                   {"targets", targets},
                   {"setThreads", setThreads},
                   {"threads", threads},
                   {"allocate", allocate},
                   {"commOpen", commOpen},
                   {"commPort", commPort},
                   {"commConnect", commConnect},
                   {"commPeer", commPeer},
                   {"commSeal", commSeal},
                   {"commPost", commPost},
                   {"commWait", commWait},
                   {"commClose", commClose},
                   {"mpiOpen", mpiOpen},
                   {"mpiAllReduce", mpiAllReduce},
                   {"dataTargets", dataTargets},
                   {"dataShingles", dataShingles},
                   {"dataMinima", dataMinima},
                   {"dataSamples", dataSamples},
                   {"dataTextSum", dataTextSum},
                   {"dataTrain", dataTrain},
                   {"bpeOpen", bpeOpen},
                   {"bpeAdd", bpeAdd},
                   {"bpeCounted", bpeCounted},
                   {"bpeLearn", bpeLearn},
                   {"bpeClose", bpeClose},
                   {"dataHashes", dataHashes},
                   {"tokOpen", tokOpen},
                   {"tokTables", tokTables},
                   {"tokOpenOn", tokOpenOn},
                   {"tokEncode", tokEncode},
                   {"tokEncodePieces", tokEncodePieces},
                   {"tokPieces", tokPieces},
                   {"tokTake", tokTake}};
  for (const auto &entry : functions) {
    napi_value function;
    if (napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.call, nullptr, &function) != napi_ok)
      return nullptr;
    napi_set_named_property(env, exports, entry.name, function);
  }
  napi_set_named_property(env, exports, "compiler", stringOf(env, __VERSION__));
  return exports;
}
