// Training of the text classifier: softmax regression on the mean of the rows of a line, after facebookresearch/fastText
// (model.cc, loss.cc, MIT). Included by one file per target, which names the function.
//
// Sums over a vector run in 8 lanes that are added as a tree, whatever the width of the target.
#include <string.h>

#include "classifier.h"

namespace {

typedef float Lanes __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t IntLanes __attribute__((vector_size(32), aligned(4), may_alias));

inline const Lanes *lanesOf(const float *at) { return reinterpret_cast<const Lanes *>(at); }
inline Lanes *lanesOf(float *at) { return reinterpret_cast<Lanes *>(at); }

inline float sumOf(const Lanes &x) { return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7])); }

// exp of x <= 0 by Cephes' expf; 0 below -87.
inline void expLanes(Lanes &x) {
  IntLanes small = x < -87.0f;
  Lanes n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  Lanes r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Lanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * (r * r) + r) + 1.0f;
  IntLanes bits = (__builtin_convertvector(n, IntLanes) + 127) << 23;
  Lanes scale;
  memcpy(&scale, &bits, sizeof scale);
  Lanes value = p * scale;
  memcpy(&bits, &value, sizeof bits);
  bits = bits & ~small;
  memcpy(&x, &bits, sizeof x);
}

// Rows of a line into fit->rows; -1 where they do not fit or a number is wrong.
inline int64_t gather(const BelayLines *lines, int64_t line, BelayFit *fit) {
  int64_t count = 0;
  int64_t from = lines->line_starts[line], to = lines->line_starts[line + 1];
  if (from < 0 || to < from || to > lines->num_tokens) return -1;
  for (int64_t t = from; t < to; t++) {
    int64_t type = lines->tokens[t];
    if (uint64_t(type) >= uint64_t(lines->num_types)) return -1;
    int64_t begin = lines->row_starts[type], end = lines->row_starts[type + 1];
    if (begin < 0 || end < begin || end > lines->num_token_rows || count + end - begin > fit->room) return -1;
    for (int64_t i = begin; i < end; i++) {
      int32_t row = lines->token_rows[i];
      if (uint64_t(int64_t(row)) >= uint64_t(fit->num_rows)) return -1;
      __builtin_prefetch(fit->input + row * fit->stride);
      fit->rows[count++] = row;
    }
  }
  for (int64_t t = from; t < to && lines->word_ngrams > 1; t++) {
    uint64_t hash = uint64_t(int64_t(lines->hashes[lines->tokens[t]]));
    for (int64_t u = t + 1; u < to && u < t + lines->word_ngrams; u++) {
      hash = hash * 116049371u + uint64_t(int64_t(lines->hashes[lines->tokens[u]]));
      int64_t row = lines->words + int64_t(hash % uint64_t(lines->bucket));
      if (count == fit->room || uint64_t(row) >= uint64_t(fit->num_rows)) return -1;
      __builtin_prefetch(fit->input + row * fit->stride);
      fit->rows[count++] = int32_t(row);
    }
  }
  return count;
}

}  // namespace

extern "C" int BELAY_TRAIN(const BelayLines *lines, const int32_t *order, int64_t num, BelayFit *fit) {
  const int64_t wide = fit->stride / 8;
  const int64_t blocks = (fit->num_labels + 7) / 8;
  Lanes *hidden = lanesOf(fit->hidden);
  Lanes *gradient = lanesOf(fit->gradient);
  float *scores = fit->scores;
  for (int64_t n = 0; n < num; n++) {
    int64_t line = order[n];
    if (uint64_t(line) >= uint64_t(lines->num_lines)) return -1;
    int64_t label = lines->labels[line];
    if (uint64_t(label) >= uint64_t(fit->num_labels)) return -1;
    int64_t count = gather(lines, line, fit);
    if (count < 0) return -1;
    float rate = float(fit->lr * (1.0 - fit->done / fit->total));
    fit->done += double(lines->line_starts[line + 1] - lines->line_starts[line]);
    if (count == 0) continue;
    float share = 1.0f / float(count);
    memset(fit->hidden, 0, sizeof(float) * fit->stride);
    memset(fit->gradient, 0, sizeof(float) * fit->stride);
    for (int64_t i = 0; i < count; i++) {
      const Lanes *row = lanesOf(fit->input + fit->rows[i] * fit->stride);
      for (int64_t j = 0; j < wide; j++) hidden[j] += row[j];
    }
    for (int64_t j = 0; j < wide; j++) hidden[j] *= share;

    float largest = 0;
    for (int64_t k = 0; k < fit->num_labels; k++) {
      const Lanes *row = lanesOf(fit->output + k * fit->stride);
      Lanes sum = row[0] * hidden[0];
      for (int64_t j = 1; j < wide; j++) sum += row[j] * hidden[j];
      scores[k] = sumOf(sum);
      if (k == 0 || scores[k] > largest) largest = scores[k];
    }
    // Lanes behind the last label are 0 after the exponential.
    for (int64_t k = fit->num_labels; k < 8 * blocks; k++) scores[k] = largest - 1000.0f;
    Lanes total = {};
    for (int64_t b = 0; b < blocks; b++) {
      Lanes x = lanesOf(scores)[b] - largest;
      expLanes(x);
      total += x;
      lanesOf(scores)[b] = x;
    }
    float inverse = 1.0f / sumOf(total);
    for (int64_t k = 0; k < fit->num_labels; k++) {
      float probability = scores[k] * inverse;
      if (k == label) fit->sure += double(probability);
      float alpha = rate * ((k == label ? 1.0f : 0.0f) - probability);
      Lanes *row = lanesOf(fit->output + k * fit->stride);
      for (int64_t j = 0; j < wide; j++) {
        gradient[j] += alpha * row[j];
        row[j] += alpha * hidden[j];
      }
    }
    for (int64_t j = 0; j < wide; j++) gradient[j] *= share;
    for (int64_t i = 0; i < count; i++) {
      Lanes *row = lanesOf(fit->input + fit->rows[i] * fit->stride);
      for (int64_t j = 0; j < wide; j++) row[j] += gradient[j];
    }
  }
  return 0;
}
