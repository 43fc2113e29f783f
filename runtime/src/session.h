/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#ifndef LATHE_SESSION_H
#define LATHE_SESSION_H

#include "model.h"
#include "pool.h"
#include "texts.h"

struct lathe_bound_input {
  const uint8_t *data; /* never null once bound */
  struct DLManagedTensor *owner;
  int64_t *dims;    /* [rank] */
  int64_t *strides; /* [rank], of what is copied */
  uint64_t bytes;
  uint64_t copy_offset; /* into lathe_session.copies */
  bool bound, copied;
  bool on_device; /* `data` is an address there */
};

enum lathe_output_place { LATHE_OUTPUT_OWN = 0, LATHE_OUTPUT_TENSOR, LATHE_OUTPUT_MEMORY };

struct lathe_bound_output {
  void *data;
  int64_t *dims;           /* [rank], of a bound tensor */
  const int64_t *run_dims; /* [rank], into lathe_session.output_dims */
  uint64_t room;           /* bytes bound, LATHE_OUTPUT_MEMORY */
  uint64_t bytes;          /* of the last layout; of what a run asked for, where its shape depends on data */
  enum lathe_output_place place;
  bool from_run;           /* the shape depends on data */
  bool on_device;          /* `data` is an address there */
  struct lathe_buffer own; /* what the session holds for it then */
};

struct lathe_cuda_session;

struct lathe_session {
  lathe_model_t *model;
  lathe_allocator allocator;
  lathe_pool_t *pool; /* null: one thread, or the host's */
  lathe_host_parallel_for_fn host;
  void *host_context;
  uint32_t workers;
  int64_t timeout_ns;
  int64_t deadline_ns; /* of the current run; 0: none */
  size_t bytes;        /* of this block */

  bool laid_out;     /* symbols, slots, output_dims and arena_bytes belong together */
  bool inputs_dirty; /* something was bound since the last prepare */
  bool places_dirty; /* ... since the pointers below were set */
  bool has_run;
  int64_t *symbols, *new_symbols;     /* [symbol_count] */
  uint32_t *symbol_inputs;            /* [symbol_count], which input gave the value */
  int64_t *slots;                     /* [slot_count] */
  int64_t *output_dims, *layout_dims; /* after a run, and as layout() wrote them */
  int64_t arena_bytes;
  struct lathe_bound_input *inputs;
  struct lathe_bound_output *outputs;
  const void **input_pointers;
  void **output_pointers;
  struct lathe_buffer arena, results, copies;
  struct lathe_buffer *buffers; /* [buffer_count], of what depends on data */
  uint64_t memory_limit;
  int64_t loop_limit;
  lathe_error_code reserve_error; /* why the last lathe_session_reserve gave nothing */
  bool dims_from_run;             /* of any output */
  struct lathe_texts texts;
  struct lathe_cuda_session *cuda; /* of a variant "cuda", or null */

  uint64_t run;
  lathe_profile_record *records;
  uint32_t record_room;
  uint64_t record_count; /* since the last reset, also those that are gone */
};

/* Writes "1x16x384". */
const char *lathe_format_dims(char *text, size_t size, const int64_t *dims, uint32_t rank);
/* Resolves symbols and lays out, when anything was bound since the last time. */
lathe_error_code lathe_session_resolve(lathe_session_t *session);
/* Sets the pointers that a run works on and takes memory for them. */
lathe_error_code lathe_session_place(lathe_session_t *session);
/* Writes `in node "a"` or `in nodes "a", "b", ...`. */
const char *lathe_format_nodes(char *text, size_t size, const char *nodes);
/* Bytes of the host's memory that the session holds. */
uint64_t lathe_session_host_memory(const lathe_session_t *session);
/* Makes a buffer hold `bytes`, the first `keep` as before. `what` is for messages. */
lathe_error_code lathe_session_grow(lathe_session_t *session, struct lathe_buffer *buffer, uint64_t bytes,
                                    uint64_t keep, const char *what);
/* The lathe_reserve_fn of all sessions; `context` is the session. */
void *lathe_session_reserve(void *context, int64_t buffer, int64_t bytes, int64_t keep);
/* Gives back all memory of what depends on data. */
void lathe_session_release_buffers(lathe_session_t *session);
/* Before and after a run that decides shapes: forgets those of the last, and checks the new. */
void lathe_session_begin_dims(lathe_session_t *session);
lathe_error_code lathe_session_end_dims(lathe_session_t *session);
/* Copies inputs that kernels cannot read where they are. */
void lathe_session_copy_inputs(lathe_session_t *session);
/* Gives a bound DLPack tensor back. */
void lathe_session_release_owner(struct lathe_bound_input *input);
/* The lathe_parallel_for_fn of all sessions; `context` is the session. */
int32_t lathe_session_parallel_for(void *context, int32_t kernel, lathe_task_fn task, const void *args,
                                   int64_t count, int64_t grain);
/* The lathe_service_fn of all sessions; `context` is the session. */
int32_t lathe_session_serve(void *context, int64_t service, const void *const *pointers,
                            const int64_t *counts);
/* Forgets the texts of the last run; what services add to and read from; and gives back their memory. */
void lathe_session_begin_texts(lathe_session_t *session);
int64_t lathe_session_add_run_text(void *context, const char *text, size_t count);
const char *lathe_session_run_text(void *context, int64_t number, size_t *count);
void lathe_session_release_texts(lathe_session_t *session);
/* The number of a fault in a kernel. */
static inline int32_t lathe_fault_in(int32_t kernel, int32_t fault) {
  return fault | (int32_t)((uint32_t)kernel << 8);
}
/* Runs the host program; 0, or a fault and its place. */
int32_t lathe_session_call(const lathe_session_t *session, const struct lathe_call *call);
/* Adds an execution of a kernel to the profile. */
void lathe_session_record(lathe_session_t *session, int32_t kernel, const void *args, uint32_t parts,
                          int64_t begin_ns, int64_t end_ns);
/* Turns the number that compiled code returned into an error. */
lathe_error_code lathe_session_fault(const lathe_session_t *session, int32_t number);

#endif
