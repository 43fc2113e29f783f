/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#include "lathe.h"

struct dtype {
  const char *name;
  size_t bytes;
};

static struct dtype describe(uint32_t dtype) {
  switch (dtype) {
  case LATHE_FLOAT32:
    return (struct dtype){"f32", 4};
  case LATHE_UINT8:
    return (struct dtype){"u8", 1};
  case LATHE_INT8:
    return (struct dtype){"i8", 1};
  case LATHE_UINT16:
    return (struct dtype){"u16", 2};
  case LATHE_INT16:
    return (struct dtype){"i16", 2};
  case LATHE_INT32:
    return (struct dtype){"i32", 4};
  case LATHE_INT64:
    return (struct dtype){"i64", 8};
  case LATHE_STRING:
    return (struct dtype){"string", 8};
  case LATHE_BOOL:
    return (struct dtype){"bool", 1};
  case LATHE_FLOAT16:
    return (struct dtype){"f16", 2};
  case LATHE_FLOAT64:
    return (struct dtype){"f64", 8};
  case LATHE_UINT32:
    return (struct dtype){"u32", 4};
  case LATHE_UINT64:
    return (struct dtype){"u64", 8};
  case LATHE_COMPLEX64:
    return (struct dtype){"c64", 8};
  case LATHE_COMPLEX128:
    return (struct dtype){"c128", 16};
  case LATHE_BFLOAT16:
    return (struct dtype){"bf16", 2};
  case LATHE_FLOAT8E4M3FN:
    return (struct dtype){"f8e4m3fn", 1};
  case LATHE_FLOAT8E4M3FNUZ:
    return (struct dtype){"f8e4m3fnuz", 1};
  case LATHE_FLOAT8E5M2:
    return (struct dtype){"f8e5m2", 1};
  case LATHE_FLOAT8E5M2FNUZ:
    return (struct dtype){"f8e5m2fnuz", 1};
  case LATHE_UINT4:
    return (struct dtype){"u4", 1};
  case LATHE_INT4:
    return (struct dtype){"i4", 1};
  case LATHE_FLOAT4E2M1:
    return (struct dtype){"f4e2m1", 1};
  case LATHE_FLOAT8E8M0:
    return (struct dtype){"f8e8m0", 1};
  case LATHE_UINT2:
    return (struct dtype){"u2", 1};
  case LATHE_INT2:
    return (struct dtype){"i2", 1};
  case LATHE_FLOAT6E2M3:
    return (struct dtype){"f6e2m3", 1};
  case LATHE_FLOAT6E3M2:
    return (struct dtype){"f6e3m2", 1};
  default:
    return (struct dtype){NULL, 0};
  }
}

const char *lathe_dtype_name(uint32_t dtype) { return describe(dtype).name; }
size_t lathe_dtype_bytes(uint32_t dtype) { return describe(dtype).bytes; }
