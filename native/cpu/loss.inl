// The output layer fused with softmax cross-entropy: logits = x weight^T, loss and all gradients, chunk by chunk.
//
// A chunk of logits [rows, V] lives in scratch: written by a product, turned in place into the gradient of the
// logits by one pass over each row, then read by two more products. Floor: 3 * 2 N D V operations with gradients.
//
// Does not: divide by a number of tokens; the caller's coefficients do.

namespace {

// Floats of logits at once: 32 MiB, or LEAST_ROWS rows of a large vocabulary. Each chunk packs the weight again and
// passes over dweight, so longer chunks are faster (measured: 0.80 of peak at 32 MiB, 0.76 at 16, 0.68 at 4).
constexpr int64_t LOGITS_LIMIT = 8 << 20;
constexpr int64_t LEAST_ROWS = 256;

// The row's loss; with a coefficient the row becomes coefficient * (softmax - onehot).
inline float softmax_row(int64_t V, float *row, int32_t label, const float *coefficient) {
  vf high = negative_infinity();
  for (int64_t j = 0; j < V; j += W) {
    const vf l = V - j >= W ? load(row + j) : select(lessi(lane_index(), set1i(int32_t(V - j))),
                                                     load_part(row + j, V - j), negative_infinity());
    high = at_least(l, high);
  }
  const float maximum = max_lanes(high);
  const vf shift = set1(maximum);
  const bool gradient = coefficient && *coefficient != 0;
  const float target = row[label];
  vf even = {}, odd = {};
  int64_t j = 0;
  for (; j + 2 * W <= V; j += 2 * W) {
    const vf a = exp(load(row + j) - shift), b = exp(load(row + j + W) - shift);
    if (gradient) {
      store(row + j, a);
      store(row + j + W, b);
    }
    even += a;
    odd += b;
  }
  for (; j < V; j += W) {
    vf a = exp(load_some(row + j, V - j) - shift);
    if (V - j < W) a = select(lessi(lane_index(), set1i(int32_t(V - j))), a, vf{});
    if (gradient) store_some(row + j, a, V - j);
    even += a;
  }
  const float sum = sum_lanes(even + odd);
  if (gradient) {
    const vf factor = set1(*coefficient / sum);
    for (j = 0; j < V; j += W) store_some(row + j, load_some(row + j, V - j) * factor, V - j);
    row[label] -= *coefficient;
  } else if (coefficient) {
    memset(row, 0, size_t(V) * sizeof(float));
  }
  return float(::log(double(sum)) + (double(maximum) - double(target)));
}

void linear_cross_entropy(int compute, int64_t N, int64_t D, int64_t V, const float *x, const float *weight,
                          const int32_t *labels, const float *coefficient, float *loss, float *dx, float *dweight) {
  if (N <= 0 || V <= 0) return;
  const int64_t limit = larger(LEAST_ROWS, smaller(2048, LOGITS_LIMIT / V));
  const int64_t rows_at_once = ceil_div(N, ceil_div(N, limit));
  float *logits = scratch_floats(SCRATCH_LOGITS, rows_at_once * V);
  for (int64_t first = 0; first < N; first += rows_at_once) {
    const int64_t rows = smaller(rows_at_once, N - first);
    const float *input = x + first * D;
    bool gradient = false;
    for (int64_t n = 0; coefficient && n < rows; n++) gradient |= coefficient[first + n] != 0;

    gemm(compute, 0, 1, rows, V, D, input, D, weight, D, 0, logits, V);
    for_ranges(rows, larger(1, 16384 / V), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; n++)
        loss[first + n] = softmax_row(V, logits + n * V, labels[first + n],
                                      gradient ? coefficient + first + n : nullptr);
    });
    if (gradient) {
      gemm(compute, 0, 0, rows, D, V, logits, V, weight, D, 0, dx + first * D, D);
      gemm(compute, 1, 0, V, D, rows, logits, V, input, D, 1, dweight, D);
    } else if (coefficient) {
      memset(dx + first * D, 0, size_t(rows * D) * sizeof(float));
    }
  }
}

}  // namespace
