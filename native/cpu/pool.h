// The thread pool and the scratch memory behind every CPU kernel.
//
// Kernels cut their work into blocks whose size depends on shapes alone and hand them to `belay_pool_run`;
// threads take the next free block, so a core that another process holds costs its share and no more.
// Only declarations: this header is read by files compiled for different instruction sets, and an inline
// function in it would be merged by the linker into one copy of the wrong kind.
//
// Does not: promise which thread runs a block, nor in which order.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Runs body(context, block) for block = 0 .. blocks-1 and returns when all are done. A single block, a call
// from inside a block and a call while another thread holds the pool all run on the calling thread.
void belay_pool_run(int64_t blocks, void (*body)(void *context, int64_t block), void *context);

// Scratch memory of the calling thread, one growing buffer per slot, aligned to 64 bytes. It stays valid until
// the thread asks for the same slot again and keeps its size until the thread ends. Contents are undefined.
enum BelayScratch {
  // Taken by the thread that calls a kernel, read by all.
  SCRATCH_PACKED_B,  // the right operand of a product, packed
  SCRATCH_PARTIALS,  // partial sums per block
  SCRATCH_LOGITS,    // one chunk of logits
  SCRATCH_BLOCKS,    // where the blocks of a product begin
  SCRATCH_ROWS,      // per-row values of one call (deltas, ranges)
  // Taken inside a block, private to it.
  SCRATCH_PACKED_A,  // the left operand, packed
  SCRATCH_TILE,      // everything one attention block needs
  SCRATCH_SLOTS
};
void *belay_scratch(enum BelayScratch slot, size_t bytes);
