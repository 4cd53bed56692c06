// AdEMAMix and AdamW in one pass over parameters, gradients and moments.
//
// Memory bound: AdEMAMix reads five arrays and writes four, AdamW reads four and writes three.
//
// Does not: know of schedules, parameter groups or the step number.

namespace {

constexpr int64_t OPTIMIZER_BLOCK = 16384;

// average += (1 - keep) * value, as keep * average + (1 - keep) * value.
struct Average {
  vf keep, take;
  explicit Average(double b) : keep(set1(float(b))), take(set1(float(1 - b))) {}
  vf operator()(vf average, vf value) const { return fma(keep, average, take * value); }
};

void ademamix(int64_t count, float *p, const float *g, float *m1, float *m2, float *v, double clip, double lr,
              double b1, double b2, double b3, double alpha, double eps, double decay, double c1, double c2) {
  const Average fast(b1), slow(b3), square(b2);
  const vf factor = set1(float(clip));
  const vf inverse_c1 = set1(float(1 / c1)), inverse_root_c2 = set1(float(1 / ::sqrt(c2)));
  const vf slow_weight = set1(float(alpha)), epsilon = set1(float(eps));
  const vf rate = set1(float(lr)), decay_rate = set1(float(lr * decay));
  for_ranges(count, OPTIMIZER_BLOCK, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += W) {
      const int64_t left = end - i;
      const vf gradient = load_some(g + i, left) * factor, weight = load_some(p + i, left);
      const vf a = fast(load_some(m1 + i, left), gradient);
      const vf b = slow(load_some(m2 + i, left), gradient);
      const vf s = square(load_some(v + i, left), gradient * gradient);
      const vf step = fma(slow_weight, b, a * inverse_c1) / fma(sqrt(s), inverse_root_c2, epsilon);
      store_some(m1 + i, a, left);
      store_some(m2 + i, b, left);
      store_some(v + i, s, left);
      store_some(p + i, weight - fma(rate, step, decay_rate * weight), left);
    }
  });
}

void adamw(int64_t count, float *p, const float *g, float *m, float *v, double clip, double lr, double b1, double b2,
           double eps, double decay, double c1, double c2) {
  const Average fast(b1), square(b2);
  const vf factor = set1(float(clip)), inverse_root_c2 = set1(float(1 / ::sqrt(c2))), epsilon = set1(float(eps));
  const vf rate = set1(float(lr / c1)), decay_rate = set1(float(lr * decay));
  for_ranges(count, OPTIMIZER_BLOCK, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += W) {
      const int64_t left = end - i;
      const vf gradient = load_some(g + i, left) * factor, weight = load_some(p + i, left);
      const vf a = fast(load_some(m + i, left), gradient);
      const vf s = square(load_some(v + i, left), gradient * gradient);
      const vf step = a / fma(sqrt(s), inverse_root_c2, epsilon);
      store_some(m + i, a, left);
      store_some(v + i, s, left);
      store_some(p + i, weight - fma(rate, step, decay_rate * weight), left);
    }
  });
}

}  // namespace
