// The multiply-add limit of this target: independent sums in registers on every thread, no memory.
//
// Does not: time itself; the caller divides the returned operations by its own clock.

namespace {

template <class Format>
float peak_rounds(int64_t iterations) {
  vf sum[PEAK_CHAINS];
  // Values whose products stay small: no sum overflows or becomes denormal however long it runs.
  vf x = set1(1e-3f), y = set1(1e-3f);
#pragma GCC unroll 32
  for (int i = 0; i < PEAK_CHAINS; i++) sum[i] = set1(float(i));
  for (int64_t round = 0; round < iterations; round++) {
#pragma GCC unroll 32
    for (int i = 0; i < PEAK_CHAINS; i++) sum[i] = Format::multiply(x, y, sum[i]);
#if defined(__AVX512F__)
    asm volatile("" : "+v"(x), "+v"(y));  // keep the compiler from hoisting the product
#elif defined(__x86_64__)
    asm volatile("" : "+x"(x), "+x"(y));
#elif defined(__aarch64__)
    asm volatile("" : "+w"(x), "+w"(y));
#endif
  }
  vf total = {};
  for (int i = 0; i < PEAK_CHAINS; i++) total += sum[i];
  return sum_lanes(total);
}

double peak(int compute, int64_t iterations) {
  const int64_t threads = belay_threads();
  const bool bf16 = compute == BELAY_BF16;
  // Many short blocks, so that a disturbed thread leaves its share to the others.
  const int64_t blocks = threads * 16, rounds = ceil_div(iterations, 16);
  if (iterations <= 0) return 0;
  for_blocks(blocks, [&](int64_t) {
    volatile float sink = bf16 ? peak_rounds<Bf16>(rounds) : peak_rounds<Plain>(rounds);
    (void)sink;
  });
  const int64_t values = bf16 ? Bf16::STEP : 1;
  return double(blocks) * double(rounds) * PEAK_CHAINS * W * double(values) * 2;
}

}  // namespace
