/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Launches of kernels on a device, one by one or as a graph. */
#include "cuda.h"

#include <stdio.h>
#include <string.h>

/* -- Launches ---------------------------------------------------------------------------------- */

/* Waits for a launch, and keeps how long it took if a profile is taken. */
static int wait_for_launch(lathe_session_t *session, int32_t kernel, const void *args, int64_t begin_ns) {
  struct lathe_cuda_session *cuda = session->cuda;
  const struct lathe_cuda_driver *driver = session->model->cuda->driver;
  int result = cuda->end ? driver->event_record(cuda->end, cuda->stream) : LATHE_CU_SUCCESS;
  float milliseconds = 0;
  if (result || (result = driver->stream_wait(cuda->stream)) || !cuda->end ||
      (result = driver->event_elapsed(&milliseconds, cuda->begin, cuda->end))) {
    return result;
  }
  lathe_session_record(session, kernel, args, /*parts=*/1, begin_ns,
                       begin_ns + (int64_t)((double)milliseconds * 1e6));
  return LATHE_CU_SUCCESS;
}

/* What a launch hands to its kernel: the host program's arguments, where to leave a fault, and the scratch
 * memory if kernels have any. */
struct parameters {
  uint64_t values[502]; /* the table was checked */
  size_t bytes;
  void *extra[5]; /* as the driver wants it */
};

static void set_parameters(struct parameters *parameters, const void *args, uint32_t count,
                           lathe_cu_address fault, lathe_cu_address scratch) {
  memcpy(parameters->values, args, count * sizeof(uint64_t));
  parameters->values[count++] = fault;
  if (scratch) {
    parameters->values[count++] = scratch;
  }
  parameters->bytes = count * sizeof(uint64_t);
  parameters->extra[0] = LATHE_CU_PARAMETERS;
  parameters->extra[1] = parameters->values;
  parameters->extra[2] = LATHE_CU_PARAMETER_BYTES;
  parameters->extra[3] = &parameters->bytes;
  parameters->extra[4] = LATHE_CU_PARAMETERS_END;
}

/* Makes a failure the thread's last error, with the kernel and its nodes. */
static lathe_error_code fail_in_kernel(const lathe_session_t *session, int result, uint32_t kernel,
                                       const char *what, int64_t blocks) {
  const lathe_model_t *model = session->model;
  const struct lathe_device_kernel_info *info = lathe_cuda_kernel(model, kernel);
  const char *nodes = lathe_model_at(model, lathe_model_kernels(model)[kernel].nodes);
  char place[400];
  return lathe_cuda_fail(model->cuda->driver, result, nodes,
                         "kernel \"%s\" %s %s on device %u, %s, with %lld blocks of %u threads and %u bytes "
                         "of shared memory",
                         (const char *)lathe_model_at(model, lathe_model_kernels(model)[kernel].name),
                         lathe_format_nodes(place, sizeof place, nodes), what, model->cuda->ordinal,
                         model->cuda->device_name, (long long)blocks, info->threads, info->shared_bytes);
}

/* Adds a launch to what is recorded, after the last one. */
static int add_to_graph(struct lathe_cuda_session *cuda, const struct lathe_cuda_model *device,
                        lathe_cu_function function, const struct lathe_device_kernel_info *info,
                        int64_t blocks, struct parameters *parameters) {
  struct lathe_cu_kernel_node kernel = {.function = function,
                                        .grid = {(unsigned)blocks, 1, 1},
                                        .block = {info->threads, 1, 1},
                                        .shared_bytes = info->shared_bytes,
                                        .extra = parameters->extra};
  lathe_cu_graph_node before = cuda->last;
  return device->driver->graph_add_kernel(&cuda->last, cuda->recorded, &before, before != NULL, &kernel);
}

static int launch_now(lathe_session_t *session, lathe_cu_function function,
                      const struct lathe_device_kernel_info *info, int64_t blocks,
                      struct parameters *parameters) {
  struct lathe_cuda_session *cuda = session->cuda;
  const struct lathe_cuda_driver *driver = session->model->cuda->driver;
  int result = cuda->begin ? driver->event_record(cuda->begin, cuda->stream) : LATHE_CU_SUCCESS;
  return result ? result
                : driver->launch(function, (unsigned)blocks, 1, 1, info->threads, 1, 1, info->shared_bytes,
                                 cuda->stream, NULL, parameters->extra);
}

static lathe_error_code launch(lathe_session_t *session, int32_t kernel, const void *args, int64_t blocks) {
  const lathe_model_t *model = session->model;
  struct lathe_cuda_session *cuda = session->cuda;
  lathe_cu_function function =
      (uint32_t)kernel < model->table->kernel_count ? model->cuda->functions[kernel] : NULL;
  if (!function || blocks > INT32_MAX) {
    return lathe_fail(LATHE_ERROR_INTERNAL,
                      "compiled code launches %lld blocks of kernel %d, which no device can",
                      (long long)blocks, (int)kernel);
  }
  const struct lathe_device_kernel_info *info = lathe_cuda_kernel(model, (uint32_t)kernel);
  struct parameters parameters;
  set_parameters(&parameters, args, info->parameters,
                 cuda->faults.address + (uint32_t)kernel * sizeof(int32_t), cuda->scratch.address);
  int64_t begin_ns = cuda->begin ? lathe_now_ns() : 0;
  int result = cuda->recorded ? add_to_graph(cuda, model->cuda, function, info, blocks, &parameters)
                              : launch_now(session, function, info, blocks, &parameters);
  if (result) {
    return fail_in_kernel(session, result, (uint32_t)kernel, "cannot be launched", blocks);
  }
  if ((cuda->end || (cuda->flags & LATHE_DEVICE_WAIT)) &&
      (result = wait_for_launch(session, kernel, args, begin_ns))) {
    return fail_in_kernel(session, result, (uint32_t)kernel, "failed", blocks);
  }
  return LATHE_OK;
}

/* The lathe_parallel_for_fn of sessions on a device. */
static int32_t parallel_for(void *context, int32_t kernel, lathe_task_fn task, const void *args,
                            int64_t count, int64_t grain) {
  lathe_session_t *session = context;
  if (count <= 0) {
    return LATHE_FAULT_NONE;
  }
  if (session->deadline_ns && lathe_now_ns() > session->deadline_ns) {
    return lathe_fault_in(kernel, LATHE_FAULT_DEADLINE);
  }
  session->cuda->error = launch(session, kernel, args, count);
  return session->cuda->error ? lathe_fault_in(kernel, LATHE_FAULT_HOST) : LATHE_FAULT_NONE;
}

/* The compiler refuses what would ask for memory in a run. */
static void *reserve(void *context, int64_t buffer, int64_t bytes, int64_t keep) {
  lathe_session_t *session = context;
  session->reserve_error =
      lathe_fail(LATHE_ERROR_INTERNAL, "compiled code for a device asks for %lld bytes", (long long)bytes);
  return NULL;
}

static int32_t serve(void *context, int64_t service, const void *const *pointers, const int64_t *counts) {
  lathe_fail(LATHE_ERROR_INTERNAL, "compiled code for a device calls service %lld", (long long)service);
  return LATHE_FAULT_SERVICE;
}

/* -- Graphs ------------------------------------------------------------------------------------ */

/* The graph of a run in which everything is as it is now. Where there was no such run, the one that was not
 * run for the longest time begins anew; `found` says which. */
static struct lathe_cuda_graph *find_graph(lathe_session_t *session, bool *found) {
  struct lathe_cuda_session *cuda = session->cuda;
  const struct lathe_table *table = session->model->table;
  struct lathe_cuda_graph *oldest = &cuda->graphs[0];
  *found = true;
  for (uint32_t i = 0; i < LATHE_CUDA_GRAPHS; ++i) {
    struct lathe_cuda_graph *graph = &cuda->graphs[i];
    const uint64_t *key = graph->key, *addresses = key + table->symbol_count + 1;
    if (graph->last_run && memcmp(key, session->symbols, table->symbol_count * sizeof *key) == 0 &&
        key[table->symbol_count] == cuda->arena.address &&
        memcmp(addresses, cuda->input_addresses, table->input_count * sizeof *key) == 0 &&
        memcmp(addresses + table->input_count, cuda->output_addresses, table->output_count * sizeof *key) ==
            0) {
      return graph;
    }
    oldest = graph->last_run < oldest->last_run ? graph : oldest;
  }
  *found = false;
  return oldest;
}

static void release_graph(const lathe_session_t *session, struct lathe_cuda_graph *graph) {
  if (graph->exec) {
    session->model->cuda->driver->graph_exec_destroy(graph->exec);
  }
  graph->exec = NULL;
  graph->last_run = 0;
}

void lathe_cuda_release_graphs(lathe_session_t *session) {
  for (uint32_t i = 0; i < LATHE_CUDA_GRAPHS; ++i) {
    release_graph(session, &session->cuda->graphs[i]);
  }
}

static void begin_graph(lathe_session_t *session, struct lathe_cuda_graph *graph) {
  const struct lathe_cuda_session *cuda = session->cuda;
  const struct lathe_table *table = session->model->table;
  release_graph(session, graph);
  uint64_t *key = graph->key;
  for (uint32_t i = 0; i < table->symbol_count; ++i) {
    *key++ = (uint64_t)session->symbols[i];
  }
  *key++ = cuda->arena.address;
  for (uint32_t i = 0; i < table->input_count; ++i) {
    *key++ = cuda->input_addresses[i];
  }
  for (uint32_t i = 0; i < table->output_count; ++i) {
    *key++ = cuda->output_addresses[i];
  }
}

static lathe_error_code fail_with_graph(const lathe_session_t *session, int result, const char *what) {
  const struct lathe_cuda_model *device = session->model->cuda;
  return lathe_cuda_fail(device->driver, result, "", "the graph of a run cannot be %s on device %u, %s", what,
                         device->ordinal, device->device_name);
}

/* Has the host program's launches recorded. */
static lathe_error_code record_graph(lathe_session_t *session, const struct lathe_call *call,
                                     struct lathe_cuda_graph *graph, int32_t *fault) {
  struct lathe_cuda_session *cuda = session->cuda;
  const struct lathe_cuda_driver *driver = session->model->cuda->driver;
  int result = driver->graph_create(&cuda->recorded, 0);
  if (result) {
    cuda->recorded = NULL;
    return fail_with_graph(session, result, "made");
  }
  cuda->last = NULL;
  *fault = lathe_session_call(session, call);
  lathe_error_code code = cuda->error;
  if (!code && !*fault && (result = driver->graph_instantiate(&graph->exec, cuda->recorded, 0))) {
    graph->exec = NULL;
    code = fail_with_graph(session, result, "made");
  }
  driver->graph_destroy(cuda->recorded);
  cuda->recorded = NULL;
  return code;
}

lathe_error_code lathe_cuda_execute(lathe_session_t *session, struct lathe_call *call, int32_t *fault) {
  struct lathe_cuda_session *cuda = session->cuda;
  call->parallel_for = parallel_for;
  call->reserve = reserve;
  call->service = serve;
  cuda->error = LATHE_OK;
  bool found = false;
  struct lathe_cuda_graph *graph = NULL;
  if (!cuda->begin && !(cuda->flags & (LATHE_DEVICE_WAIT | LATHE_DEVICE_NO_GRAPHS))) {
    graph = find_graph(session, &found);
  }
  if (!found) {
    *fault = lathe_session_call(session, call);
    if (graph && !cuda->error && !*fault) {
      begin_graph(session, graph);
      graph->last_run = session->run;
    }
    return cuda->error;
  }
  graph->last_run = session->run;
  lathe_error_code code = graph->exec ? LATHE_OK : record_graph(session, call, graph, fault);
  int result = code || *fault ? LATHE_CU_SUCCESS
                              : session->model->cuda->driver->graph_launch(graph->exec, cuda->stream);
  return result ? fail_with_graph(session, result, "launched") : code;
}
