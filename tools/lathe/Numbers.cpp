// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Numbers.h"

#include "Session.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;
using namespace lathe;

template <typename T>
static void visitAll(ArrayRef<char> bytes, function_ref<void(double)> visit,
                     function_ref<double(T)> convert) {
  for (size_t at = 0; at + sizeof(T) <= bytes.size(); at += sizeof(T)) {
    T value;
    memcpy(&value, bytes.data() + at, sizeof value);
    visit(convert(value));
  }
}

template <typename T>
static void visitAll(ArrayRef<char> bytes, function_ref<void(double)> visit) {
  visitAll<T>(bytes, visit, [](T value) { return double(value); });
}

void lathe::visitNumbers(uint32_t dtype, ArrayRef<char> bytes, function_ref<void(double)> visit) {
  if (const fltSemantics *semantics = semanticsOf(dtype)) {
    auto toDouble = [&](unsigned bits) {
      APFloat number(*semantics, APInt(APFloat::semanticsSizeInBits(*semantics), bits));
      bool losesInfo;
      number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &losesInfo);
      return number.convertToDouble();
    };
    if (lathe_dtype_bytes(dtype) == 2) {
      visitAll<uint16_t>(bytes, visit, toDouble);
    } else {
      visitAll<uint8_t>(bytes, visit, toDouble);
    }
    return;
  }
  switch (dtype) {
  case LATHE_FLOAT32:
  case LATHE_COMPLEX64: // both parts
    return visitAll<float>(bytes, visit);
  case LATHE_FLOAT64:
  case LATHE_COMPLEX128:
    return visitAll<double>(bytes, visit);
  case LATHE_INT8:
    return visitAll<int8_t>(bytes, visit);
  case LATHE_INT16:
    return visitAll<int16_t>(bytes, visit);
  case LATHE_UINT16:
    return visitAll<uint16_t>(bytes, visit);
  case LATHE_INT32:
    return visitAll<int32_t>(bytes, visit);
  case LATHE_UINT32:
    return visitAll<uint32_t>(bytes, visit);
  case LATHE_INT64:
    return visitAll<int64_t>(bytes, visit);
  case LATHE_UINT64:
    return visitAll<uint64_t>(bytes, visit);
  case LATHE_INT4:
    return visitAll<uint8_t>(bytes, visit, [](uint8_t value) { return double(SignExtend32<4>(value)); });
  case LATHE_INT2:
    return visitAll<uint8_t>(bytes, visit, [](uint8_t value) { return double(SignExtend32<2>(value)); });
  default:
    return visitAll<uint8_t>(bytes, visit);
  }
}
