/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* What is used of the CUDA driver's interface. Own declarations: building the runtime takes no header and no
 * library of CUDA, and the driver is looked for when a model needs it. */
#ifndef LATHE_CUDA_DRIVER_H
#define LATHE_CUDA_DRIVER_H

#include "error.h"

typedef struct lathe_cu_context_st *lathe_cu_context;
typedef struct lathe_cu_module_st *lathe_cu_module;
typedef struct lathe_cu_function_st *lathe_cu_function;
typedef struct lathe_cu_stream_st *lathe_cu_stream;
typedef struct lathe_cu_event_st *lathe_cu_event;
typedef struct lathe_cu_graph_st *lathe_cu_graph;
typedef struct lathe_cu_graph_node_st *lathe_cu_graph_node;
typedef struct lathe_cu_graph_exec_st *lathe_cu_graph_exec;
typedef uint64_t lathe_cu_address; /* of memory on a device */

/* CUDA_KERNEL_NODE_PARAMS_v2 */
struct lathe_cu_kernel_node {
  lathe_cu_function function;
  unsigned grid[3], block[3], shared_bytes;
  void **parameters, **extra;
  void *kernel;
  lathe_cu_context context;
};

/* Numbers of the interface: of results, and of what the functions below are asked for. */
enum {
  LATHE_CU_SUCCESS = 0,
  LATHE_CU_OUT_OF_MEMORY = 2,
  LATHE_CU_CAPABILITY_MAJOR = 75,
  LATHE_CU_CAPABILITY_MINOR = 76,
  LATHE_CU_POINTER_MEMORY_TYPE = 2,
  LATHE_CU_POINTER_DEVICE = 9,
  LATHE_CU_MEMORY_DEVICE = 2,
  LATHE_CU_FUNCTION_MAX_SHARED = 8,
  LATHE_CU_JIT_ERROR_LOG = 5,
  LATHE_CU_JIT_ERROR_LOG_BYTES = 6
};

/* CU_LAUNCH_PARAM_...: what the members of lathe_cu_kernel_node.extra and cuLaunchKernel's last argument are.
 */
#define LATHE_CU_PARAMETERS_END ((void *)0)
#define LATHE_CU_PARAMETERS ((void *)1)
#define LATHE_CU_PARAMETER_BYTES ((void *)2)

/* F(our name, the driver's name, parameters); all return a number of the interface. */
#define LATHE_CUDA_FUNCTIONS(F)                                                                              \
  F(init, cuInit, (unsigned flags))                                                                          \
  F(driver_version, cuDriverGetVersion, (int *version))                                                      \
  F(error_name, cuGetErrorName, (int result, const char **name))                                             \
  F(error_text, cuGetErrorString, (int result, const char **text))                                           \
  F(device_count, cuDeviceGetCount, (int *count))                                                            \
  F(device_get, cuDeviceGet, (int *device, int ordinal))                                                     \
  F(device_name, cuDeviceGetName, (char *name, int size, int device))                                        \
  F(device_attribute, cuDeviceGetAttribute, (int *value, int attribute, int device))                         \
  F(context_retain, cuDevicePrimaryCtxRetain, (lathe_cu_context * context, int device))                      \
  F(context_release, cuDevicePrimaryCtxRelease_v2, (int device))                                             \
  F(context_push, cuCtxPushCurrent_v2, (lathe_cu_context context))                                           \
  F(context_pop, cuCtxPopCurrent_v2, (lathe_cu_context * context))                                           \
  F(module_load, cuModuleLoadDataEx,                                                                         \
    (lathe_cu_module * module, const void *image, unsigned count, int *options, void **values))              \
  F(module_unload, cuModuleUnload, (lathe_cu_module module))                                                 \
  F(module_function, cuModuleGetFunction,                                                                    \
    (lathe_cu_function * function, lathe_cu_module module, const char *name))                                \
  F(function_set, cuFuncSetAttribute, (lathe_cu_function function, int attribute, int value))                \
  F(allocate, cuMemAlloc_v2, (lathe_cu_address * address, size_t bytes))                                     \
  F(release, cuMemFree_v2, (lathe_cu_address address))                                                       \
  F(memory_info, cuMemGetInfo_v2, (size_t *free, size_t *total))                                             \
  F(pointer_attributes, cuPointerGetAttributes,                                                              \
    (unsigned count, int *attributes, void **values, lathe_cu_address address))                              \
  F(copy_in, cuMemcpyHtoD_v2, (lathe_cu_address to, const void *from, size_t bytes))                         \
  F(copy_in_async, cuMemcpyHtoDAsync_v2,                                                                     \
    (lathe_cu_address to, const void *from, size_t bytes, lathe_cu_stream stream))                           \
  F(copy_out_async, cuMemcpyDtoHAsync_v2,                                                                    \
    (void *to, lathe_cu_address from, size_t bytes, lathe_cu_stream stream))                                 \
  F(copy_within_async, cuMemcpyDtoDAsync_v2,                                                                 \
    (lathe_cu_address to, lathe_cu_address from, size_t bytes, lathe_cu_stream stream))                      \
  F(fill_async, cuMemsetD32Async,                                                                            \
    (lathe_cu_address to, unsigned value, size_t words, lathe_cu_stream stream))                             \
  F(stream_create, cuStreamCreate, (lathe_cu_stream * stream, unsigned flags))                               \
  F(stream_destroy, cuStreamDestroy_v2, (lathe_cu_stream stream))                                            \
  F(stream_wait, cuStreamSynchronize, (lathe_cu_stream stream))                                              \
  F(launch, cuLaunchKernel,                                                                                  \
    (lathe_cu_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,        \
     unsigned block_y, unsigned block_z, unsigned shared_bytes, lathe_cu_stream stream, void **parameters,   \
     void **extra))                                                                                          \
  F(graph_create, cuGraphCreate, (lathe_cu_graph * graph, unsigned flags))                                   \
  F(graph_destroy, cuGraphDestroy, (lathe_cu_graph graph))                                                   \
  F(graph_add_kernel, cuGraphAddKernelNode_v2,                                                               \
    (lathe_cu_graph_node * node, lathe_cu_graph graph, const lathe_cu_graph_node *dependencies,              \
     size_t dependency_count, const struct lathe_cu_kernel_node *kernel))                                    \
  F(graph_instantiate, cuGraphInstantiateWithFlags,                                                          \
    (lathe_cu_graph_exec * exec, lathe_cu_graph graph, unsigned long long flags))                            \
  F(graph_launch, cuGraphLaunch, (lathe_cu_graph_exec exec, lathe_cu_stream stream))                         \
  F(graph_exec_destroy, cuGraphExecDestroy, (lathe_cu_graph_exec exec))                                      \
  F(event_create, cuEventCreate, (lathe_cu_event * event, unsigned flags))                                   \
  F(event_destroy, cuEventDestroy_v2, (lathe_cu_event event))                                                \
  F(event_record, cuEventRecord, (lathe_cu_event event, lathe_cu_stream stream))                             \
  F(event_elapsed, cuEventElapsedTime, (float *milliseconds, lathe_cu_event from, lathe_cu_event to))

struct lathe_cuda_driver {
#define LATHE_CUDA_MEMBER(name, symbol, parameters) int(*name) parameters;
  LATHE_CUDA_FUNCTIONS(LATHE_CUDA_MEMBER)
#undef LATHE_CUDA_MEMBER
};

/* The driver of this process: $LATHE_CUDA_DRIVER or libcuda.so.1, loaded by the first call and kept. Any
 * thread may call it. */
lathe_error_code lathe_cuda_load(const struct lathe_cuda_driver **driver);

/* Makes a result of the driver the thread's last error: `format` says what was done, and on which device; the
 * driver's own words follow. `nodes` are those at fault, or "". */
__attribute__((format(printf, 4, 5))) lathe_error_code lathe_cuda_fail(const struct lathe_cuda_driver *driver,
                                                                       int result, const char *nodes,
                                                                       const char *format, ...);
/* "CUDA_ERROR_NO_DEVICE" */
const char *lathe_cuda_error_name(const struct lathe_cuda_driver *driver, int result);

#endif
