// SwiGLU and squared ReLU, forward and backward: the activations that xIELU is compared with.
//
// silu(a) = a s with s = 1 / (1 + exp(-a)); its slope is s (1 + a (1 - s)). Gate and up lie side by side in a row, as
// their matrix product leaves them. Each element is read and written once.
//
// Does not: keep anything between forward and backward; exp is computed again, which is cheaper than storing it.

namespace {

inline vf sigmoid_of(vf x) { return set1(1.0f) / (set1(1.0f) + exp(vf{} - x)); }

void swiglu(int64_t N, int64_t F, const float *gate_up, float *out) {
  for_ranges(N, rows_per_block(F), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; n++) {
      const float *gate = gate_up + n * 2 * F, *up = gate + F;
      for (int64_t f = 0; f < F; f += W) {
        const vf a = load_some(gate + f, F - f);
        store_some(out + n * F + f, a * sigmoid_of(a) * load_some(up + f, F - f), F - f);
      }
    }
  });
}

void swiglu_backward(int64_t N, int64_t F, const float *gate_up, const float *dout, float *dgate_up) {
  for_ranges(N, rows_per_block(F), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; n++) {
      const float *gate = gate_up + n * 2 * F, *up = gate + F;
      float *dgate = dgate_up + n * 2 * F, *dup = dgate + F;
      for (int64_t f = 0; f < F; f += W) {
        const vf a = load_some(gate + f, F - f), d = load_some(dout + n * F + f, F - f), s = sigmoid_of(a);
        const vf slope = s * fma(a, set1(1.0f) - s, set1(1.0f));
        store_some(dgate + f, d * load_some(up + f, F - f) * slope, F - f);
        store_some(dup + f, d * (a * s), F - f);
      }
    }
  });
}

void relu2(int64_t count, const float *x, float *out) {
  for_ranges(count, ELEMENTS_PER_BLOCK, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += W) {
      const vf v = at_least(load_some(x + i, end - i), vf{});
      store_some(out + i, v * v, end - i);
    }
  });
}

void relu2_backward(int64_t count, const float *x, const float *dout, float *dx) {
  for_ranges(count, ELEMENTS_PER_BLOCK, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += W) {
      const vf v = at_least(load_some(x + i, end - i), vf{});
      store_some(dx + i, load_some(dout + i, end - i) * (v + v), end - i);
    }
  });
}

}  // namespace
