/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* The binary interface between compiled code and the runtime.
 *
 * An artifact exports one read-only symbol, `lathe_model_<16 hex digits of the model's fingerprint>`, a
 * lathe_table; that of static output goes on with `_<16 hex digits for the options>`. All references inside
 * it are byte offsets from the table's own address, so that the table needs no relocation. Compiled code
 * calls nothing but the functions it is handed in a lathe_call and the C library's memcpy, memmove and
 * memset. It allocates nothing by itself: memory of data-dependent size comes from lathe_call.reserve.
 *
 * LATHE_ABI_MAJOR changes when an old runtime cannot run a new artifact or the other way round;
 * LATHE_ABI_MINOR when fields are appended. A runtime runs artifacts of its own major version and of any
 * minor version up to its own. */
#ifndef LATHE_ABI_H
#define LATHE_ABI_H

#include <stdint.h>

#define LATHE_ABI_MAJOR 1
#define LATHE_ABI_MINOR 5
#define LATHE_TABLE_MAGIC "LATHETBL"
#define LATHE_WEIGHT_ALIGNMENT 64 /* every weight begins at a multiple of so many bytes */

/* A part of a kernel: iterations [begin, end) of its launch. `worker` is in [0, lathe_call.workers) and no
 * two parts that run at the same time share it. Returns 0 or a lathe_fault. */
typedef int32_t (*lathe_task_fn)(const void *args, int64_t begin, int64_t end, int32_t worker);

/* Runs `task` over [0, count), split into parts of at least `grain` iterations, and returns when all are
 * done: 0, or the fault of one of them. `kernel` is an index into lathe_table.kernels. */
typedef int32_t (*lathe_parallel_for_fn)(void *context, int32_t kernel, lathe_task_fn task, const void *args,
                                         int64_t count, int64_t grain);

/* What one launch takes at least; -1: not known. */
struct lathe_cost {
  int64_t flops;        /* floating-point operations */
  int64_t bytes;        /* read and written, each byte once */
  int64_t weight_bytes; /* those of `bytes` that are weights */
};

/* Counts what the launch of a kernel takes whose parallel_for got `args`. Called only when a profile is
 * taken. Since ABI 1.1. */
typedef void (*lathe_cost_fn)(const void *args, struct lathe_cost *cost);

/* Memory of a size that only the run knows: at least `bytes`, aligned to 64 bytes, the first `keep` of them
 * with their contents of before. `buffer` is in [0, lathe_table.buffer_count), or ~index of an output whose
 * shape depends on data. What was returned for the same buffer before is no longer valid. Null: there is no
 * such memory, and the run ends with LATHE_FAULT_MEMORY. Since ABI 1.2. */
typedef void *(*lathe_reserve_fn)(void *context, int64_t buffer, int64_t bytes, int64_t keep);

/* Calls service number `service` of lathe_table.services. `pointers` has the addresses of its operands, then
 * that of its result, `counts` the number of elements of each. Returns 0 or a lathe_fault. Since ABI 1.3. */
typedef int32_t (*lathe_service_fn)(void *context, int64_t service, const void *const *pointers,
                                    const int64_t *counts);

/* Why compiled code gave up. The number returned by tasks and by run is `fault | (place << 8)`: a place below
 * lathe_table.kernel_count is a kernel, those from there on are lathe_table.places. */
enum lathe_fault {
  LATHE_FAULT_NONE = 0,
  LATHE_FAULT_INDEX = 1,    /* a data-dependent index is out of bounds */
  LATHE_FAULT_DIVISION = 2, /* an integer division by zero */
  LATHE_FAULT_SHAPE = 3,    /* sizes contradict each other */
  LATHE_FAULT_DEADLINE = 4, /* raised by the runtime's parallel_for, never by a kernel */
  LATHE_FAULT_HOST = 5,     /* raised by a host's own parallel_for */
  LATHE_FAULT_MEMORY = 6,   /* lathe_call.reserve gave none. Since ABI 1.2 */
  LATHE_FAULT_LOOP = 7,     /* a loop ran lathe_call.loop_limit times and did not end. Since ABI 1.2 */
  LATHE_FAULT_SERVICE = 8   /* lathe_call.service refused its operands. Since ABI 1.3 */
};

/* What one run works on. All tensors are dense, row-major and aligned to their element; arena and weights are
 * aligned to 64 bytes. In a variant "cuda", inputs, outputs, arena and weights are addresses on the device,
 * which host code hands on and does not follow; see struct lathe_device_kernel_info for its parallel_for. */
struct lathe_call {
  const int64_t *symbols;    /* [symbol_count] */
  const int64_t *slots;      /* [slot_count], as layout() wrote them */
  const void *const *inputs; /* [input_count] */
  void *const *outputs;      /* [output_count]; unbound outputs lie in the session's memory. Null for those
                                whose shape depends on data: they are asked for with reserve */
  void *arena;               /* the bytes that layout() asked for */
  const uint8_t *weights;    /* the weight section */
  lathe_parallel_for_fn parallel_for;
  void *context;   /* first argument of parallel_for */
  int64_t workers; /* parallel_for uses at most so many at a time */
  /* Since ABI 1.2. */
  int64_t *output_dims;     /* as layout() wrote them; run writes those that were LATHE_DIM_COMPUTED */
  lathe_reserve_fn reserve; /* its first argument is `context`, too */
  int64_t loop_limit;       /* the most iterations of a loop */
  /* Since ABI 1.3. */
  lathe_service_fn service; /* its first argument is `context`, too */
};

/* Computes, once per combination of symbol values, the arena layout and the shapes of all outputs.
 * `slots` [slot_count] receives the byte offset of every arena slot, `output_dims` the dimensions of all
 * outputs one after the other, LATHE_DIM_COMPUTED where they depend on data, `arena_bytes` the size of the
 * arena. Returns 0 or a lathe_fault. */
typedef int32_t (*lathe_layout_fn)(const int64_t *symbols, int64_t workers, int64_t *slots,
                                   int64_t *output_dims, int64_t *arena_bytes);
typedef int32_t (*lathe_run_fn)(const struct lathe_call *call);

/* Element types carry the numbers of ONNX's TensorProto.DataType. An element narrower than a byte takes one:
 * its bits are the low ones, the others are 0, signed integers' too. (ONNX files pack two of 4 bits, or four
 * of 2, into a byte; here any element has an address and dimensions have strides.) An element of a
 * LATHE_STRING tensor is the int64_t number of a text: one of lathe_table.texts, or behind them one that the
 * session knows. Equal texts have equal numbers. Since ABI 1.3. */
enum lathe_dtype {
  LATHE_FLOAT32 = 1,
  LATHE_UINT8 = 2,
  LATHE_INT8 = 3,
  LATHE_UINT16 = 4,
  LATHE_INT16 = 5,
  LATHE_INT32 = 6,
  LATHE_INT64 = 7,
  LATHE_STRING = 8,
  LATHE_BOOL = 9,
  LATHE_FLOAT16 = 10,
  LATHE_FLOAT64 = 11,
  LATHE_UINT32 = 12,
  LATHE_UINT64 = 13,
  LATHE_COMPLEX64 = 14, /* the real part, then the imaginary one */
  LATHE_COMPLEX128 = 15,
  LATHE_BFLOAT16 = 16,
  LATHE_FLOAT8E4M3FN = 17,
  LATHE_FLOAT8E4M3FNUZ = 18,
  LATHE_FLOAT8E5M2 = 19,
  LATHE_FLOAT8E5M2FNUZ = 20,
  LATHE_UINT4 = 21,
  LATHE_INT4 = 22,
  LATHE_FLOAT4E2M1 = 23,
  LATHE_FLOAT8E8M0 = 24,
  LATHE_UINT2 = 25,
  LATHE_INT2 = 26,
  LATHE_FLOAT6E2M3 = 27,
  LATHE_FLOAT6E3M2 = 28
};

/* A dimension: its size if it is not negative, ~index of a symbol if it is, LATHE_DIM_COMPUTED if only
 * layout() or the run knows it (outputs). */
#define LATHE_DIM_COMPUTED INT64_MIN

struct lathe_value_info {
  int32_t name;   /* NUL-terminated UTF-8 */
  uint32_t dtype; /* enum lathe_dtype */
  uint32_t rank;
  int32_t dims; /* int64_t[rank], aligned to 8 bytes */
};

struct lathe_symbol_info {
  int32_t name;
  uint32_t reserved;
  int64_t min, max; /* inclusive */
};

struct lathe_kernel_info {
  int32_t name;    /* the kernel's own name */
  int32_t nodes;   /* the ONNX nodes computed by it, separated by '\n' */
  int32_t cost;    /* offset of a lathe_cost_fn, or 0 */
  uint32_t layers; /* of so many equal blocks of the model `nodes` names those of the first; 0 is 1. Since
                      ABI 1.1. */
};

/* One compiled form of the whole model, best first. */
struct lathe_variant_info {
  char isa[16];          /* "x86-64-v4", "x86-64-v3", "native"; "cuda": its kernels run on a device */
  uint64_t cpu_features; /* enum lathe_cpu_feature; all of them must be present */
  int32_t layout, run;   /* offsets of a lathe_layout_fn and a lathe_run_fn */
};

/* Own numbering, from CPUID and XCR0. */
enum lathe_cpu_feature {
  LATHE_CPU_SSE42 = 1 << 0,
  LATHE_CPU_AVX = 1 << 1,
  LATHE_CPU_AVX2 = 1 << 2,
  LATHE_CPU_FMA = 1 << 3,
  LATHE_CPU_F16C = 1 << 4,
  LATHE_CPU_BMI2 = 1 << 5,
  LATHE_CPU_AVX512F = 1 << 6,
  LATHE_CPU_AVX512BW = 1 << 7,
  LATHE_CPU_AVX512DQ = 1 << 8,
  LATHE_CPU_AVX512VL = 1 << 9,
  LATHE_CPU_AVX512CD = 1 << 10,
  LATHE_CPU_AVX512VNNI = 1 << 11,
  LATHE_CPU_AVX512BF16 = 1 << 12,
  LATHE_CPU_AVX512FP16 = 1 << 13,
  LATHE_CPU_AVX512VBMI = 1 << 14,
  LATHE_CPU_AVXVNNI = 1 << 15,
  LATHE_CPU_AMX_TILE = 1 << 16,
  LATHE_CPU_AMX_INT8 = 1 << 17,
  LATHE_CPU_AMX_BF16 = 1 << 18,
  LATHE_CPU_LZCNT = 1 << 19,
  LATHE_CPU_BMI = 1 << 20,
  LATHE_CPU_MOVBE = 1 << 21,
  LATHE_CPU_POPCNT = 1 << 22
};

struct lathe_metadata_info {
  int32_t key, value;
};

/* A place outside of kernels where a run may end. Since ABI 1.2. */
struct lathe_place_info {
  int32_t nodes; /* the ONNX nodes at fault, separated by '\n' */
};

/* Of lathe_table.texts: bytes in UTF-8, any of them 0. Since ABI 1.3. */
struct lathe_text_info {
  int32_t text;
  uint32_t bytes;
};

/* A function of an optional part of the runtime: "text.split" is one of the component "text". Since ABI 1.3.
 */
struct lathe_service_info {
  int32_t name;
  int32_t argument; /* what the model says about this use: bytes as of a text */
  uint32_t argument_bytes;
  uint32_t operand_count;
};

/* Kernels for a device, compiled. It lies in the constants. Since ABI 1.4. */
struct lathe_image_info {
  char target[16]; /* "sm_90a" and the like: a cubin. "compute_80": PTX, which ends with a NUL. "emulator": an
                      x86-64 shared object for the tests' driver */
  int32_t image;   /* aligned to 8 bytes */
  uint32_t bytes;  /* of PTX with the NUL */
};

/* How a kernel is launched in a variant "cuda": parallel_for gets a null task, the number of blocks as
 * `count` and a grain of 0; `args` holds `parameters` values of 8 bytes, addresses on the device and then
 * sizes. The function has these parameters and one more, the address on the device of an int32_t that is 0
 * before the run and in which it leaves a lathe_fault. Since ABI 1.4. */
struct lathe_device_kernel_info {
  int32_t entry;         /* the function's NUL-terminated name in every image; 0: it has none */
  uint32_t threads;      /* of a block */
  uint32_t shared_bytes; /* of a block, dynamic */
  uint32_t registers;    /* of a thread; 0: not known */
  uint32_t parameters;
};

/* Of the scratch memory of a session on a device, in bytes. Since ABI 1.5. */
#define LATHE_SCRATCH_UNIT 256

/* Counts and offsets of the arrays described above; an offset of 0 is an empty array. */
struct lathe_table {
  char magic[8];
  uint16_t abi_major, abi_minor;
  uint32_t bytes; /* sizeof(struct lathe_table) of the writer */
  uint64_t fingerprint;
  uint64_t weight_bytes;
  int32_t name; /* of the graph */
  uint32_t input_count, output_count, symbol_count, slot_count, kernel_count, variant_count, metadata_count;
  int32_t inputs, outputs, symbols, kernels, variants, metadata;
  /* Since ABI 1.2: only where `bytes` says that they are there. */
  uint32_t buffer_count, place_count; /* of lathe_call.reserve; of places */
  int32_t places;
  /* Since ABI 1.3: the same. */
  uint32_t text_count; /* 0 in tables of ABI 1.2 */
  int32_t texts;
  uint32_t service_count;
  int32_t services;
  /* Since ABI 1.4: the same. */
  uint32_t image_count;           /* 0 in tables of ABI 1.3 */
  int32_t images, device_kernels; /* of the latter kernel_count, or an offset of 0 */
  /* Where the weights begin that kernels of a device read, in units of LATHE_WEIGHT_ALIGNMENT bytes; they go
   * on to the end. */
  uint32_t device_weights;
  /* Since ABI 1.5, before that 0: the scratch memory of a session on a device, in units of
   * LATHE_SCRATCH_UNIT bytes, all 0 before the first launch. Unless there is none, its address is one more
   * parameter of every device function, behind that of the fault. Launches of a session follow each other;
   * what a kernel needs to be 0, it leaves so. */
  uint32_t device_scratch;
  /* Since ABI 1.5: only where `bytes` says that it is there. int32_t[output_count]: the input in whose memory
   * an output may lie, or -1; an offset of 0 if none may. */
  int32_t shared_inputs;
  uint32_t reserved;
};

#endif
