// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ChannelLoops.h"

#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

/// Two registers of AVX2 or one of AVX-512.
static constexpr int64_t kVectorBits = 512;

void ChannelLoops::overChannels(Value channels, Type widest, function_ref<void(Value, int64_t)> body) {
  auto single = [&] { loop(index(0), channels, [&](Value c) { body(c, 0); }); };
  if (!widest) {
    return single();
  }
  int64_t lanes = kVectorBits / std::max(8u, widest.getIntOrFloatBitWidth());
  std::optional<int64_t> known = getConstantIntValue(channels);
  if (known && *known < lanes) {
    lanes = *known > 0 ? int64_t(llvm::bit_floor(uint64_t(*known))) : 1;
  }
  if (lanes == 1) {
    return single();
  }
  auto vectors = [&] {
    // The last block starts earlier instead of ending late.
    Value last = sub(channels, index(lanes));
    if (known == lanes) {
      return body(index(0), lanes);
    }
    Value blocks = floorDiv(add(channels, index(lanes - 1)), index(lanes));
    loop(index(0), blocks, [&](Value block) { body(minIndex(mul(block, index(lanes)), last), lanes); });
  };
  known ? vectors() : ifElse(compare(CmpI::sge, channels, index(lanes)), vectors, single);
}

Type ChannelLoops::laneType(Type type, int64_t lanes) {
  return lanes ? Type(VectorType::get({lanes}, type)) : type;
}

Value ChannelLoops::loadLanes(Value memory, ArrayRef<Value> indices, int64_t lanes) {
  if (!lanes) {
    return load(memory, indices);
  }
  auto element = cast<MemRefType>(memory.getType()).getElementType();
  return vector::LoadOp::create(builder(), location(), VectorType::get({lanes}, element), memory, indices);
}

void ChannelLoops::storeLanes(Value value, Value memory, ArrayRef<Value> indices) {
  if (isa<VectorType>(value.getType())) {
    vector::StoreOp::create(builder(), location(), value, memory, indices);
  } else {
    store(value, memory, indices);
  }
}

Value ChannelLoops::splat(Value scalar, int64_t lanes) {
  return lanes ? vector::BroadcastOp::create(builder(), location(),
                                             VectorType::get({lanes}, scalar.getType()), scalar)
                     .getResult()
               : scalar;
}

Value ChannelLoops::convert(Value x, Type element) {
  return getElementTypeOrSelf(x.getType()) == element ? x : toFloat(x, element);
}

LoopBuilder::Values ChannelLoops::asValues(ArrayRef<OpFoldResult> sizes) {
  return getValueOrCreateConstantIndexOp(builder(), location(), sizes);
}

Value ChannelLoops::maxIndex(Value lhs, Value rhs) {
  return builder().createOrFold<arith::MaxSIOp>(location(), lhs, rhs);
}
