// AVX2. Compile with -mavx2.
// The loops are in classifier.inl; this file only names the target.
#define BELAY_TRAIN belay_train_avx2
#if defined(__x86_64__)
#include "classifier.inl"
#endif
