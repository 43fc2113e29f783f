/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* The code of the model of table.S. A macro BAD_... makes an artifact that the check must refuse. */
#include "lathe/abi.h"

#define HIDDEN __attribute__((visibility("hidden")))

void *memcpy(void *to, const void *from, unsigned long size);

struct args {
  const float *x, *w;
  float *y;
  int64_t rows;
};

static int32_t add_rows(const void *opaque, int64_t begin, int64_t end, int32_t worker) {
  const struct args *args = opaque;
  for (int64_t i = begin; i < end; ++i) {
    memcpy(args->y + 4 * i, args->x + 4 * i, 16);
    for (int64_t k = 0; k < 4; ++k) {
      args->y[4 * i + k] += args->w[k];
    }
  }
  return LATHE_FAULT_NONE;
}

HIDDEN int32_t tiny_layout(const int64_t *symbols, int64_t workers, int64_t *slots, int64_t *output_dims,
                           int64_t *arena_bytes) {
  slots[0] = 0;
  output_dims[0] = symbols[0];
  output_dims[1] = 4;
  *arena_bytes = 0;
  return LATHE_FAULT_NONE;
}

HIDDEN int32_t tiny_run(const struct lathe_call *call) {
  struct args args = {call->inputs[0], (const float *)call->weights, call->outputs[0], call->symbols[0]};
  return call->parallel_for(call->context, 0, add_rows, &args, call->symbols[0], 1);
}

HIDDEN void tiny_cost(const void *opaque, struct lathe_cost *cost) {
  const struct args *args = opaque;
  cost->flops = 4 * args->rows;
  cost->bytes = 32 * args->rows + 16;
  cost->weight_bytes = 16;
}

/* A call through the procedure linkage table, whatever the compiler does with the 16 bytes above. */
HIDDEN void tiny_copy(void *to, const void *from, unsigned long size) { memcpy(to, from, size); }

#if defined(BAD_CONSTRUCTOR)
__attribute__((constructor)) static void constructor(void) { *(volatile int *)0 = 1; }
#elif defined(BAD_DESTRUCTOR)
__attribute__((destructor)) static void destructor(void) { *(volatile int *)0 = 1; }
#elif defined(BAD_IMPORT)
int system(const char *command);
HIDDEN int tiny_bad(void) { return system("true"); }
#elif defined(BAD_IFUNC)
static void tiny_target(void) {}
static void *resolve(void) {
  *(volatile int *)0 = 1;
  return tiny_target;
}
__attribute__((ifunc("resolve"), visibility("default"))) void tiny_indirect(void);
HIDDEN void tiny_bad(void) { tiny_indirect(); }
#elif defined(BAD_TLS)
static _Thread_local int local = 1;
HIDDEN int *tiny_bad(void) { return &local; }
#elif defined(BAD_TEXT_RELOCATION)
__asm__(".text\n.quad tiny_run\n");
#endif
