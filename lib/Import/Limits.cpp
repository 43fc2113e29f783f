// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Import/Limits.h"

#include "llvm/ADT/STLExtras.h"

using namespace lathe;

static constexpr LimitInfo limits[] = {
    {"--max-file-bytes", &ModelLimits::fileBytes, INT64_MAX, "of the model and of each file of its data"},
    {"--max-structure-bytes", &ModelLimits::structureBytes, INT32_MAX,
     "of the model without the data of its tensors"},
    {"--max-messages", &ModelLimits::messages, INT32_MAX, "messages and strings in the model file"},
    {"--max-depth", &ModelLimits::depth, 1000, "messages, graphs and functions inside each other"},
    {"--max-nodes", &ModelLimits::nodes, INT32_MAX, "nodes, also once functions are inlined"},
    {"--max-inlined-nodes", &ModelLimits::inlinedNodes, INT32_MAX, "nodes that come of inlined functions"},
    {"--max-rank", &ModelLimits::rank, 1000, "dimensions of a tensor"},
    {"--max-elements", &ModelLimits::elements, INT64_MAX, "elements of a tensor"},
    {"--max-dense-bytes", &ModelLimits::denseBytes, INT64_MAX, "of a sparse tensor made dense"},
};

llvm::ArrayRef<LimitInfo> lathe::allLimits() { return limits; }

ErrorBuilder lathe::limitError(ErrorCode code, const llvm::Twine &message, uint64_t ModelLimits::*limit) {
  const auto *info = llvm::find_if(limits, [&](const LimitInfo &l) { return l.field == limit; });
  return modelError(code, message).help(info->option + " raises the limit");
}
