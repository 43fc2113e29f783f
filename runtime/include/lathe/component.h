/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* What an optional part of the runtime exports: a library liblathe-NAME.so with the functions that models
 * call which need more than the runtime has. It is loaded when a model is opened that asks for one of them.
 */
#ifndef LATHE_COMPONENT_H
#define LATHE_COMPONENT_H

#include <stddef.h>
#include <stdint.h>

/* Changes with everything below. */
#define LATHE_COMPONENT_VERSION 1
/* The symbol, a struct lathe_component. */
#define LATHE_COMPONENT_SYMBOL "lathe_component"

struct lathe_service_call {
  const char *argument; /* what the model says about this use */
  size_t argument_bytes;
  const void *const *operands;
  const int64_t *counts; /* the elements of each operand, then those of the result */
  void *result;
  uint32_t operand_count;
  /* Texts by number, for LATHE_STRING tensors. `text` gives null for what is no number of a text, `add` a
   * negative number when there is no memory. What `text` gave stays where it is. */
  void *texts;
  const char *(*text)(void *texts, int64_t number, size_t *bytes);
  int64_t (*add)(void *texts, const char *bytes, size_t count);
};

/* Computes the result. Null, or what is wrong with the operands: "a text is no number"; it lives until the
 * thread's next call. Any thread may call it. */
typedef const char *(*lathe_component_fn)(const struct lathe_service_call *call);

struct lathe_component_service {
  const char *name; /* with that of the component: "text.split" */
  lathe_component_fn function;
};

struct lathe_component {
  uint32_t version; /* LATHE_COMPONENT_VERSION */
  uint32_t count;
  const struct lathe_component_service *services;
};

#endif
