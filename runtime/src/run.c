/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Running: parallel_for, deadlines, the profile, and what faults mean. */
#include "cuda.h"
#include "floatstate.h"

#include <stdio.h>
#include <string.h>

/* -- Parallel loops
 * ------------------------------------------------------------------------------------------ */

struct job {
  lathe_task_fn task;
  const void *args;
  int64_t count, parts;
  int64_t deadline_ns;
  int32_t kernel;
  atomic_int_least32_t fault;
  /* Written by all for each part; the fields above are read by all. */
  _Alignas(64) atomic_int_least64_t next;
};

/* The first iteration of a part. The parts' ends depend on nothing but the loop and the number of workers. */
static int64_t part_begin(const struct job *job, int64_t part) {
  return job->count / job->parts * part + (part < job->count % job->parts ? part : job->count % job->parts);
}

/* Takes parts until none is left. */
static void work(void *argument, int32_t worker) {
  struct job *job = argument;
  for (;;) {
    int64_t part = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
    if (part >= job->parts || atomic_load_explicit(&job->fault, memory_order_relaxed)) {
      return;
    }
    int32_t fault = job->deadline_ns && lathe_now_ns() > job->deadline_ns
                        ? lathe_fault_in(job->kernel, LATHE_FAULT_DEADLINE)
                        : job->task(job->args, part_begin(job, part), part_begin(job, part + 1), worker);
    if (fault) {
      int32_t none = 0;
      atomic_compare_exchange_strong(&job->fault, &none, fault);
    }
  }
}

static void work_in_host(void *argument, int32_t index) {
  uint32_t before = lathe_enter_float_state();
  work(argument, index);
  lathe_leave_float_state(before);
}

/* How often a loop is split. One part each is the least overhead; a few more let a thread that was
 * interrupted fall behind. Always a multiple of the workers where there is enough to do, so that none has a
 * part more than others. */
static int64_t count_parts(const lathe_session_t *session, int64_t count, int64_t grain) {
  enum { PARTS_EACH = 4, PARTS_UNDER_DEADLINE = 16 };
  int64_t workers = session->workers, most = count / (grain > 0 ? grain : 1);
  if (workers == 1) {
    most = session->deadline_ns ? (most < PARTS_UNDER_DEADLINE ? most : PARTS_UNDER_DEADLINE) : 1;
  } else if (most > workers) {
    most = most - most % workers;
    most = most < PARTS_EACH * workers ? most : PARTS_EACH * workers;
  }
  return most > 1 ? most : 1;
}

void lathe_session_record(lathe_session_t *session, int32_t kernel, const void *args, uint32_t parts,
                          int64_t begin_ns, int64_t end_ns) {
  lathe_profile_record *entry = &session->records[session->record_count++ % session->record_room];
  *entry = (lathe_profile_record){.kernel = kernel,
                                  .parts = parts,
                                  .run = session->run,
                                  .begin_ns = begin_ns,
                                  .end_ns = end_ns,
                                  .flops = -1,
                                  .bytes = -1,
                                  .weight_bytes = -1};
  const lathe_model_t *model = session->model;
  bool known = (uint32_t)kernel < model->table->kernel_count;
  int32_t count = known ? lathe_model_kernels(model)[kernel].cost : 0;
  if (count) {
    struct lathe_cost cost;
    ((lathe_cost_fn)(uintptr_t)lathe_model_at(model, count))(args, &cost);
    entry->flops = cost.flops;
    entry->bytes = cost.bytes;
    entry->weight_bytes = cost.weight_bytes;
  }
}

int32_t lathe_session_parallel_for(void *context, int32_t kernel, lathe_task_fn task, const void *args,
                                   int64_t count, int64_t grain) {
  lathe_session_t *session = context;
  if (count <= 0) {
    return LATHE_FAULT_NONE;
  }
  int64_t begin = session->record_room ? lathe_now_ns() : 0;
  struct job job = {.task = task,
                    .args = args,
                    .count = count,
                    .parts = count_parts(session, count, grain),
                    .deadline_ns = session->deadline_ns,
                    .kernel = kernel};
  atomic_init(&job.next, 0);
  atomic_init(&job.fault, 0);
  if (job.parts == 1 || (!session->pool && !session->host)) {
    work(&job, 0);
  } else if (session->pool) {
    lathe_pool_run(session->pool, work, &job, (uint32_t)(job.parts - 1));
  } else {
    int64_t tasks = job.parts < session->workers ? job.parts : session->workers;
    if (session->host(session->host_context, work_in_host, &job, (int32_t)tasks) != 0) {
      return lathe_fault_in(kernel, LATHE_FAULT_HOST);
    }
  }
  if (session->record_room) {
    lathe_session_record(session, kernel, args, (uint32_t)job.parts, begin, lathe_now_ns());
  }
  return atomic_load_explicit(&job.fault, memory_order_relaxed);
}

/* -- Faults
 * -------------------------------------------------------------------------------------------------- */

const char *lathe_format_nodes(char *text, size_t size, const char *nodes) {
  size_t at = (size_t)snprintf(text, size, strchr(nodes, '\n') ? "in nodes " : "in node ");
  for (const char *from = nodes; *from && at < size;) {
    size_t length = strcspn(from, "\n");
    int n = snprintf(text + at, size - at, "%s\"%.*s\"", from == nodes ? "" : ", ", (int)length, from);
    at += n > 0 ? (size_t)n : 0;
    from += length + (from[length] != 0);
  }
  return text;
}

lathe_error_code lathe_session_fault(const lathe_session_t *session, int32_t number) {
  const lathe_model_t *model = session->model;
  uint32_t fault = (uint32_t)number & 255, kernel = (uint32_t)number >> 8;
  const char *nodes = "";
  char place[400] = "in the model's layout", why[500];
  uint32_t kernels = model->table->kernel_count;
  if (session->laid_out && kernel < kernels) {
    nodes = lathe_model_at(model, lathe_model_kernels(model)[kernel].nodes);
    lathe_format_nodes(place, sizeof place, nodes);
  } else if (session->laid_out && kernel - kernels < lathe_table_place_count(model->table)) {
    const struct lathe_place_info *places = lathe_model_at(model, model->table->places);
    nodes = lathe_model_at(model, places[kernel - kernels].nodes);
    lathe_format_nodes(place, sizeof place, nodes);
  }
  switch (fault) {
  case LATHE_FAULT_INDEX:
    return lathe_fail_at(LATHE_ERROR_INDEX, nodes, "an index is out of bounds %s", place);
  case LATHE_FAULT_DIVISION:
    return lathe_fail_at(LATHE_ERROR_DIVISION, nodes, "an integer is divided by zero %s", place);
  case LATHE_FAULT_SHAPE:
    return lathe_fail_at(LATHE_ERROR_SHAPE, nodes, "sizes contradict each other %s", place);
  case LATHE_FAULT_DEADLINE:
    return lathe_fail_at(LATHE_ERROR_DEADLINE, nodes,
                         "the run took longer than its timeout of %lld us, it stopped %s",
                         (long long)(session->timeout_ns / 1000), place);
  case LATHE_FAULT_HOST:
    return lathe_fail_at(LATHE_ERROR_HOST, nodes, "the host's parallel_for failed %s", place);
  case LATHE_FAULT_MEMORY:
    snprintf(why, sizeof why, "%s", lathe_last_error());
    return lathe_fail_at(session->reserve_error ? session->reserve_error : LATHE_ERROR_INTERNAL, nodes,
                         "%s %s", why, place);
  case LATHE_FAULT_LOOP:
    return lathe_fail_at(LATHE_ERROR_LOOP, nodes, "a loop did not end within %lld iterations %s",
                         (long long)session->loop_limit, place);
  case LATHE_FAULT_SERVICE:
    snprintf(why, sizeof why, "%s", lathe_last_error());
    return lathe_fail_at(lathe_last_error_code(), nodes, "%s %s", why, place);
  default:
    return lathe_fail_at(LATHE_ERROR_INTERNAL, nodes, "compiled code returned the unknown fault %u %s", fault,
                         place);
  }
}

/* -- Run
 * ----------------------------------------------------------------------------------------------------- */

lathe_error_code lathe_session_prepare(lathe_session_t *session) {
  if (!session) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the session is null");
  }
  lathe_error_code code = lathe_session_resolve(session);
  if (!code) {
    lathe_session_begin_dims(session);
  }
  return code;
}

int32_t lathe_session_call(const lathe_session_t *session, const struct lathe_call *call) {
  const lathe_model_t *model = session->model;
  lathe_run_fn run = (lathe_run_fn)(uintptr_t)lathe_model_at(model, model->variant->run);
  uint32_t before = lathe_enter_float_state();
  int32_t fault = run(call);
  lathe_leave_float_state(before);
  return fault;
}

lathe_error_code lathe_session_run(lathe_session_t *session) {
  lathe_error_code code = lathe_session_prepare(session);
  if (code) {
    return code;
  }
  lathe_model_t *model = session->model;
  if (session->pool) {
    lathe_pool_wake(session->pool);
  }
  if ((code = lathe_session_place(session)) || (code = lathe_model_check_weights(model))) {
    return code;
  }
  lathe_session_copy_inputs(session);
  lathe_session_begin_texts(session);
  ++session->run;
  session->deadline_ns = 0;
  if (session->timeout_ns) {
    int64_t now = lathe_now_ns();
    session->deadline_ns = session->timeout_ns > INT64_MAX - now ? INT64_MAX : now + session->timeout_ns;
  }
  struct lathe_call call = {.symbols = session->symbols,
                            .slots = session->slots,
                            .inputs = session->input_pointers,
                            .outputs = session->output_pointers,
                            .arena = session->arena.data,
                            .weights = model->weights,
                            .parallel_for = lathe_session_parallel_for,
                            .context = session,
                            .workers = session->workers,
                            .output_dims = session->output_dims,
                            .reserve = lathe_session_reserve,
                            .loop_limit = session->loop_limit,
                            .service = lathe_session_serve};
  if (session->cuda) {
    return lathe_cuda_run(session, &call);
  }
  int32_t fault = lathe_session_call(session, &call);
  if (fault) {
    code = lathe_session_fault(session, fault);
    if (code == LATHE_ERROR_MEMORY) {
      /* What was taken for the sizes of this run may be what the next lacks. */
      lathe_session_release_buffers(session);
    }
    return code;
  }
  return lathe_session_end_dims(session);
}
