/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* The runtime's C interface: open an artifact, ask what it computes, make sessions, run them.
 *
 *   lathe_model_t *model;
 *   lathe_session_t *session;
 *   if (lathe_open("model.so", NULL, &model) || lathe_session_create(model, NULL, &session)) {
 *     puts(lathe_last_error());
 *   }
 *   const int64_t dims[] = {1, 128};
 *   lathe_tensor ids = {.data = data, .dtype = LATHE_INT64, .rank = 2, .dims = dims};
 *   lathe_session_bind_input(session, lathe_model_find_input(model, "input_ids"), &ids);
 *   if (lathe_session_run(session)) {
 *     puts(lathe_last_error());
 *   }
 *   lathe_tensor result;
 *   lathe_session_output(session, 0, &result);
 *
 * Threads: a model is immutable, any number of threads may use it. A session is used by one thread at a time.
 *
 * Errors: what can fail returns a lathe_error_code; its text is lathe_last_error() of the same thread.
 *
 * Memory: sessions take memory from their allocator at creation and when a run needs more than any before it.
 * A run of the same shapes as the one before allocates nothing and, with one thread, enters no system call.
 * Where a model's shapes depend on data this holds for runs in which no tensor is larger than before.
 *
 * Binary compatibility: within LATHE_API_MAJOR functions are only added; option structs begin with their own
 * size and new fields are appended. Initialise them with the LATHE_..._OPTIONS macros. */
#ifndef LATHE_H
#define LATHE_H

#include "lathe/abi.h"
#include "lathe/container.h"

#include <stddef.h>
#include <stdint.h>

#define LATHE_API_MAJOR 1
#define LATHE_API_MINOR 4

#if defined(__GNUC__)
#define LATHE_API __attribute__((visibility("default")))
#else
#define LATHE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lathe_model lathe_model_t;
typedef struct lathe_session lathe_session_t;

/* The numbers are part of the interface. */
typedef enum lathe_error_code {
  LATHE_OK = 0,
  LATHE_ERROR_ARGUMENT = 1,     /* a null pointer, an index or name that does not exist, a bad option */
  LATHE_ERROR_FILE = 2,         /* the file cannot be opened, read or mapped */
  LATHE_ERROR_MEMORY = 3,       /* the allocator, or the system, has no memory */
  LATHE_ERROR_NOT_ARTIFACT = 4, /* a file, but not one of Lathe's */
  LATHE_ERROR_TRUNCATED = 5,    /* the end of the artifact is missing */
  LATHE_ERROR_CORRUPT = 6,      /* a checksum or a structure is wrong */
  LATHE_ERROR_VERSION = 7,      /* another container or ABI version: compile again or take another runtime */
  LATHE_ERROR_CPU = 8,          /* no variant of the artifact runs on this processor */
  LATHE_ERROR_LOAD = 9,         /* the dynamic loader refused, or threads cannot be started */
  LATHE_ERROR_TYPE = 10,        /* a bound tensor has another element type */
  LATHE_ERROR_SHAPE = 11,       /* a bound tensor's rank, dimensions or strides do not fit */
  LATHE_ERROR_UNBOUND = 12,     /* run without all inputs, or output asked for before a run */
  LATHE_ERROR_INDEX = 13,       /* an index among the data is out of bounds */
  LATHE_ERROR_DIVISION = 14,    /* an integer division by zero among the data */
  LATHE_ERROR_DEADLINE = 15,    /* the session's timeout has passed */
  LATHE_ERROR_HOST = 16,        /* the host's parallel_for failed */
  LATHE_ERROR_INTERNAL = 17,    /* compiled code contradicts its own table */
  LATHE_ERROR_LOOP = 18,        /* a loop of the model did not end within the session's loop_limit */
  LATHE_ERROR_DATA = 19,        /* data that an operator cannot read: a text that is no number */
  LATHE_ERROR_COMPONENT = 20,   /* a part of the runtime that the model needs is not there */
  LATHE_ERROR_DEVICE = 21       /* no driver, no such device, no code for it; or the driver failed */
} lathe_error_code;

/* Of this thread's last call that failed; "" and LATHE_OK before. The text lives until the thread's next
 * failure. */
LATHE_API const char *lathe_last_error(void);
LATHE_API lathe_error_code lathe_last_error_code(void);
/* The names of the ONNX nodes at fault, separated by '\n', or "". */
LATHE_API const char *lathe_last_error_node(void);
/* A short name: "shape", "deadline". */
LATHE_API const char *lathe_error_name(lathe_error_code code);
/* "0.1.0" */
LATHE_API const char *lathe_version(void);

/* -- Open
 * ----------------------------------------------------------------------------------------------------------
 */

/* `allocate` returns memory of at least that alignment (a power of two), or null. Both may be called by
 * several threads when sessions of several threads share an allocator. */
typedef struct lathe_allocator {
  void *(*allocate)(void *context, size_t bytes, size_t alignment);
  void (*release)(void *context, void *memory, size_t bytes);
  void *context;
} lathe_allocator;

/* A warning tells of what works, but not as well as it could: a variant that this processor lacks features
 * for. */
typedef enum lathe_log_level { LATHE_LOG_INFO = 0, LATHE_LOG_WARNING = 1 } lathe_log_level;
typedef void (*lathe_log_fn)(void *context, lathe_log_level level, const char *message);

/* When the checksums of the weights are compared. Everything else is always checked before it is loaded. */
typedef enum lathe_weight_check {
  LATHE_CHECK_FULL = 0, /* in lathe_open; this also brings them into memory */
  LATHE_CHECK_LAZY = 1, /* by the first run of any session of the model */
  LATHE_CHECK_OFF = 2   /* never */
} lathe_weight_check;

typedef struct lathe_open_options {
  size_t struct_size;
  lathe_weight_check check;
  uint32_t check_threads; /* 0: one, and one more for each 128 MiB of weights, up to the processors */
  const lathe_allocator *allocator; /* null: malloc and free. Also the default of sessions. Copied. */
  lathe_log_fn log;                 /* null: silent */
  void *log_context;
  const char *variant;      /* null: the first that runs here. Otherwise this isa or an error: "x86-64-v3" */
  const char *weights_path; /* lathe_open_table only: a file of the weights, when they are not in memory */
  uint32_t inspect_only; /* 1: also open what no variant of runs on this processor; sessions are then refused,
                            and those of a variant "cuda" always */
  uint64_t device;       /* which of the CUDA driver's, for a variant "cuda". Since API 1.3 */
} lathe_open_options;

#define LATHE_OPEN_OPTIONS {sizeof(lathe_open_options), LATHE_CHECK_FULL, 0, 0, 0, 0, 0, 0, 0, 0}

/* Checks an artifact and loads it through the descriptor that was checked; no code of it runs before
 * lathe_session_run. `options` may be null. */
LATHE_API lathe_error_code lathe_open(const char *path, const lathe_open_options *options,
                                      lathe_model_t **model);
/* The same for an open, readable descriptor of a regular file or a memfd, which stays the caller's. */
LATHE_API lathe_error_code lathe_open_fd(int fd, const lathe_open_options *options, lathe_model_t **model);
/* A statically linked model: the table that its header declares and its weights (null when `weights_path`
 * gives them, or when there are none), which must be aligned to 64 bytes and outlive the model. */
LATHE_API lathe_error_code lathe_open_table(const struct lathe_table *table, const void *weights,
                                            uint64_t weight_bytes, const lathe_open_options *options,
                                            lathe_model_t **model);
/* Everything lathe_open checks but the processor, without loading; `header` may be null. */
LATHE_API lathe_error_code lathe_check_artifact(const char *path, lathe_weight_check check,
                                                struct lathe_artifact_header *header);
/* The model goes when its last session does. Null is allowed. */
LATHE_API void lathe_close(lathe_model_t *model);

/* enum lathe_cpu_feature bits of this processor and operating system. */
LATHE_API uint64_t lathe_cpu_features(void);
/* Writes the names of the bits, separated by ", ", and returns the length that all of them have (as
 * snprintf). */
LATHE_API size_t lathe_cpu_feature_names(uint64_t features, char *text, size_t size);

/* -- Inspect
 * ------------------------------------------------------------------------------------------------------- */
/* All pointers live as long as the model. Indices past the end return LATHE_ERROR_ARGUMENT. */

typedef struct lathe_model_info {
  const char *name;     /* of the graph */
  const char *variant;  /* the one that was chosen: "x86-64-v4", "cuda"; "" after inspect_only without one */
  const char *compiler; /* "" for a static model */
  const char *triple;   /* "" for a static model */
  uint64_t fingerprint, weight_bytes;
  uint32_t abi_major, abi_minor;
  uint32_t input_count, output_count, symbol_count, kernel_count, variant_count, metadata_count;
} lathe_model_info;

typedef struct lathe_value {
  const char *name;
  uint32_t dtype; /* enum lathe_dtype */
  uint32_t rank;
  const int64_t *dims; /* a size, or ~index of a symbol, or LATHE_DIM_COMPUTED */
} lathe_value;

typedef struct lathe_symbol {
  const char *name;
  int64_t min, max; /* inclusive */
} lathe_symbol;

typedef struct lathe_kernel {
  const char *name;
  const char *nodes; /* the ONNX nodes computed by it, separated by '\n' */
  uint32_t layers;   /* of so many equal blocks of the model; `nodes` names those of the first */
} lathe_kernel;

typedef struct lathe_variant {
  const char *isa;
  uint64_t cpu_features;
} lathe_variant;

LATHE_API lathe_error_code lathe_model_get_info(const lathe_model_t *model, lathe_model_info *info);
LATHE_API lathe_error_code lathe_model_input(const lathe_model_t *model, size_t index, lathe_value *value);
LATHE_API lathe_error_code lathe_model_output(const lathe_model_t *model, size_t index, lathe_value *value);
/* The input in whose memory an output may lie, as the keys or values that a step of a language model adds to;
 * SIZE_MAX if there is none. Since API 1.4 */
LATHE_API size_t lathe_model_shared_input(const lathe_model_t *model, size_t output);
LATHE_API lathe_error_code lathe_model_symbol(const lathe_model_t *model, size_t index, lathe_symbol *symbol);
LATHE_API lathe_error_code lathe_model_kernel(const lathe_model_t *model, size_t index, lathe_kernel *kernel);
LATHE_API lathe_error_code lathe_model_variant(const lathe_model_t *model, size_t index,
                                               lathe_variant *variant);
LATHE_API lathe_error_code lathe_model_metadata(const lathe_model_t *model, size_t index, const char **key,
                                                const char **value);
/* The index of a name, or SIZE_MAX, which every function that takes an index refuses. */
LATHE_API size_t lathe_model_find_input(const lathe_model_t *model, const char *name);
LATHE_API size_t lathe_model_find_output(const lathe_model_t *model, const char *name);
/* "f32", "i64", "bool", or null for a number that is no enum lathe_dtype; and its size in bytes, or 0. */
LATHE_API const char *lathe_dtype_name(uint32_t dtype);
LATHE_API size_t lathe_dtype_bytes(uint32_t dtype);

/* -- Sessions
 * ------------------------------------------------------------------------------------------------------ */

/* A host's own threads: calls task(argument, i) once for every i in [0, count), in any order and on any
 * threads, and returns when all have returned: 0, or another number when it could not. */
typedef int32_t (*lathe_host_parallel_for_fn)(void *context, void (*task)(void *argument, int32_t index),
                                              void *argument, int32_t count);

/* How a variant "cuda" uses its device. */
enum lathe_device_flags {
  LATHE_DEVICE_WAIT = 1, /* for each kernel before the next: an error of the device then names the kernel */
  LATHE_DEVICE_NO_GRAPHS = 2 /* launch kernels one by one. Otherwise the launches of a shape's second run
                                become a CUDA graph, which further runs of it replay */
};

typedef struct lathe_session_options {
  size_t struct_size;
  uint32_t threads;         /* the calling one and threads-1 others; 1 starts none; 0: one per core */
  uint32_t profile_records; /* room for so many lathe_profile_records; 0: no profile */
  int64_t timeout_ns; /* of each run, looked at between parts of kernels, on a device between launches and
                         at the end; 0: none */
  int64_t spin_ns;    /* how long idle workers spin before they sleep; negative: the default, 100 us */
  const lathe_allocator *allocator; /* null: the model's. Copied. */
  lathe_host_parallel_for_fn
      parallel_for; /* null: own threads. Otherwise `threads` is the most tasks at a time. */
  void *parallel_for_context;
  uint64_t memory_limit; /* of what the session holds in the host's memory, in bytes; 0: the machine's. Since
                            API 1.1 */
  int64_t loop_limit; /* the most iterations of a loop in the model; 0: the default, 100 million. Since 1.1 */
  uint64_t device_flags; /* enum lathe_device_flags. Since API 1.3 */
} lathe_session_options;

#define LATHE_SESSION_OPTIONS {sizeof(lathe_session_options), 0, 0, 0, -1, 0, 0, 0, 0, 0, 0}

LATHE_API lathe_error_code lathe_session_create(lathe_model_t *model, const lathe_session_options *options,
                                                lathe_session_t **session);
LATHE_API void lathe_session_close(lathe_session_t *session);
LATHE_API uint32_t lathe_session_threads(const lathe_session_t *session);
LATHE_API lathe_error_code lathe_session_set_timeout(lathe_session_t *session, int64_t timeout_ns);

/* -- Bind and run
 * -------------------------------------------------------------------------------------------------- */

/* A tensor in the host's memory or, for a session of a variant "cuda", in that of the model's device: what
 * lies there is used in place, other tensors are copied by each run. What writes it must be done before the
 * run, or come before it on the device's default stream. `strides`, in elements, may be null for a dense
 * row-major one; on a device there are no others. */
typedef struct lathe_tensor {
  void *data;
  uint32_t dtype; /* enum lathe_dtype */
  uint32_t rank;
  const int64_t *dims;
  const int64_t *strides;
} lathe_tensor;

/* The bytes stay the host's, are read by each run and must live until another tensor is bound; `dims` and
 * `strides` are copied. What is not dense or not aligned to its element is copied into the session's memory
 * by each run. */
LATHE_API lathe_error_code lathe_session_bind_input(lathe_session_t *session, size_t index,
                                                    const lathe_tensor *tensor);
/* A run writes the result there. It must be dense, aligned to its element and have the dimensions that the
 * run computes; where these depend on data, the run fails if they are others. It must not overlap an input,
 * unless it is the very memory of lathe_model_shared_input and has as many bytes: then the run updates the
 * input in place. */
LATHE_API lathe_error_code lathe_session_bind_output(lathe_session_t *session, size_t index,
                                                     const lathe_tensor *tensor);
/* The same with room for `bytes`, whatever the shape; lathe_session_output tells it after the run. */
LATHE_API lathe_error_code lathe_session_bind_output_memory(lathe_session_t *session, size_t index,
                                                            void *data, size_t bytes);
/* From now on the output lies in the session's memory, as it does at first. */
LATHE_API lathe_error_code lathe_session_unbind_output(lathe_session_t *session, size_t index);

struct DLManagedTensor; /* lathe/dlpack.h, or dlpack/dlpack.h */
/* Binds without a copy (but see above for strides). On success the session owns the tensor and calls its
 * deleter when another is bound or the session closes; on failure it stays the caller's. */
LATHE_API lathe_error_code lathe_session_bind_input_dlpack(lathe_session_t *session, size_t index,
                                                           struct DLManagedTensor *tensor);

/* What run does before it computes: checks the inputs' shapes against each other and works out the outputs'
 * shapes and the memory. Afterwards lathe_session_output gives the shapes, so that outputs can be bound.
 * Optional. */
LATHE_API lathe_error_code lathe_session_prepare(lathe_session_t *session);
LATHE_API lathe_error_code lathe_session_run(lathe_session_t *session);

/* After prepare: the shape of an output, with `data` null unless it is bound; after run also its contents, in
 * the host's memory unless memory of a device is bound.
 * Dimensions that depend on data are LATHE_DIM_COMPUTED until a run.
 * What lies in the session's memory, and `dims`, are valid until the next prepare, run or bind. `strides` is
 * null. */
LATHE_API lathe_error_code lathe_session_output(const lathe_session_t *session, size_t index,
                                                lathe_tensor *tensor);
/* The values of the symbols, in the model's order, after prepare or run; null before. */
LATHE_API const int64_t *lathe_session_symbols(const lathe_session_t *session);
/* Bytes held by the session: arena, buffers, unbound outputs and copies of inputs, those on a device, too. */
LATHE_API uint64_t lathe_session_memory(const lathe_session_t *session);

/* -- Texts
 * -------------------------------------------------------------------------------------------------------- */

/* An element of a LATHE_STRING tensor is the int64_t number of a text. Equal texts have equal numbers. A
 * session knows the texts of its model, those that were added, and after a run those that the run made. */

/* The number of a text. Those that a run made are forgotten. Since API 1.2 */
LATHE_API lathe_error_code lathe_session_add_text(lathe_session_t *session, const char *text, size_t bytes,
                                                  int64_t *number);
/* The text of a number, which is not terminated by 0. It lives until the next run, text that is added or
 * cleared, or close. Since API 1.2 */
LATHE_API lathe_error_code lathe_session_text(const lathe_session_t *session, int64_t number,
                                              const char **text, size_t *bytes);
/* Forgets all texts but those of the model. Since API 1.2 */
LATHE_API lathe_error_code lathe_session_clear_texts(lathe_session_t *session);

/* -- Profile
 * ------------------------------------------------------------------------------------------------------- */

typedef struct lathe_profile_record {
  int32_t kernel;           /* index for lathe_model_kernel */
  uint32_t parts;           /* how often the work was split */
  uint64_t run;             /* 1 for the session's first run */
  int64_t begin_ns, end_ns; /* of CLOCK_MONOTONIC */
  int64_t flops;            /* floating-point operations of this execution; -1: the compiler does not know */
  int64_t bytes;            /* what it reads and writes at least, or -1 */
  int64_t weight_bytes;     /* those of `bytes` that are the model's weights, or -1 */
} lathe_profile_record;

/* Copies up to `room` of the newest records, oldest first, and returns how many there are (`records` may be
 * null with room 0). When more were made than the session has room for, the oldest are gone. */
LATHE_API size_t lathe_session_profile(const lathe_session_t *session, lathe_profile_record *records,
                                       size_t room);
/* Forgets all records. */
LATHE_API void lathe_session_profile_reset(lathe_session_t *session);

#ifdef __cplusplus
}
#endif
#endif
