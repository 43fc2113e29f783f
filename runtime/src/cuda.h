/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Models and sessions whose kernels run on a CUDA device. A variant "cuda" has the host program of any other;
 * the addresses that it hands on are the device's, and its parallel_for launches. */
#ifndef LATHE_CUDA_H
#define LATHE_CUDA_H

#include "cuda_driver.h"
#include "session.h"

struct lathe_cuda_model {
  const struct lathe_cuda_driver *driver;
  int device;
  uint32_t ordinal;
  char device_name[96];
  const char *image; /* the target of the one that was loaded */
  lathe_cu_context context;
  lathe_cu_module module;
  lathe_cu_function *functions; /* [kernel_count], null where a kernel has none */
  lathe_cu_address weights;     /* 0 before they are there */
  pthread_mutex_t uploading;
  atomic_bool uploaded;
};

/* Memory on the device that only grows. */
struct lathe_cuda_buffer {
  lathe_cu_address address;
  uint64_t bytes;
};

/* The launches of a run, to be replayed where everything is as it was then. */
struct lathe_cuda_graph {
  uint64_t *key;            /* the symbols, and where arena, inputs and outputs are; of its first run */
  lathe_cu_graph_exec exec; /* null: there was one run */
  uint64_t last_run;        /* 0: none */
};

/* How many shapes of a session are kept so. */
enum { LATHE_CUDA_GRAPHS = 8 };

struct lathe_cuda_session {
  lathe_cu_stream stream;
  struct lathe_cuda_graph graphs[LATHE_CUDA_GRAPHS];
  lathe_cu_graph recorded;  /* what launches go into; null: to the stream */
  lathe_cu_graph_node last; /* of them */
  struct lathe_cuda_buffer arena;
  struct lathe_cuda_buffer values;  /* inputs and outputs that the host has in its own memory */
  struct lathe_cuda_buffer faults;  /* int32_t[kernel_count], and one more */
  struct lathe_cuda_buffer scratch; /* of kernels; none if they need none */
  int32_t *fault_words;             /* the same, after a run */
  lathe_cu_address *input_addresses, *output_addresses; /* what a run works on */
  lathe_cu_event begin, end;                            /* of a launch, when a profile is taken */
  lathe_error_code error;                               /* of a launch of this run */
  uint64_t flags;                                       /* enum lathe_device_flags */
  size_t bytes;                                         /* of this block */
};

/* How a kernel is launched. */
static inline const struct lathe_device_kernel_info *lathe_cuda_kernel(const lathe_model_t *model,
                                                                       uint32_t kernel) {
  const struct lathe_device_kernel_info *infos = lathe_model_at(model, model->table->device_kernels);
  return &infos[kernel];
}

/* Whether a variant "cuda" of a table can run on a device: the driver, the device, and an image for it. */
lathe_error_code lathe_cuda_probe(const struct lathe_table *table, uint64_t ordinal);
/* Loads the model's kernels on a device, and checks the weights and copies them there, if that is not left to
 * the first run. */
lathe_error_code lathe_cuda_open(lathe_model_t *model, uint64_t ordinal);
void lathe_cuda_close(lathe_model_t *model);
/* Copies the weights to the device unless that was done before. Any thread may call it. */
lathe_error_code lathe_cuda_upload(lathe_model_t *model);

/* The model's context becomes the thread's, until it is left. */
lathe_error_code lathe_cuda_enter(const lathe_model_t *model);
void lathe_cuda_leave(const lathe_model_t *model);
/* Memory on the model's device, at least `bytes`. `what` is for messages. */
lathe_error_code lathe_cuda_grow(const lathe_model_t *model, struct lathe_cuda_buffer *buffer, uint64_t bytes,
                                 const char *what);

lathe_error_code lathe_cuda_session_create(lathe_session_t *session, uint64_t flags);
void lathe_cuda_session_close(lathe_session_t *session);
/* Whether what a host binds lies in the device's memory; false for sessions that run on the processor. */
lathe_error_code lathe_cuda_locate(const lathe_session_t *session, const char *what, const char *name,
                                   const void *data, bool *on_device);
/* Gives everything that a run works on its place on the device. */
lathe_error_code lathe_cuda_place(lathe_session_t *session);
/* The words of a graph's key. */
static inline size_t lathe_cuda_key_count(const struct lathe_table *table) {
  return (size_t)table->symbol_count + 1 + table->input_count + table->output_count;
}
/* Has the kernels of a run launched, by the host program or as they were when everything was as it is now.
 * Waits for none, except with LATHE_DEVICE_WAIT and when a profile is taken. `fault` gets what the program
 * returned. */
lathe_error_code lathe_cuda_execute(lathe_session_t *session, struct lathe_call *call, int32_t *fault);
void lathe_cuda_release_graphs(lathe_session_t *session);
/* Copies inputs, launches, copies outputs, waits. */
lathe_error_code lathe_cuda_run(lathe_session_t *session, struct lathe_call *call);
/* Bytes on the device. */
uint64_t lathe_cuda_session_memory(const lathe_session_t *session);

#endif
