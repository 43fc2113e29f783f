// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// All families of nn ops, for the reference.

include "lathe/Dialect/NN/IR/NNOps.td"
include "lathe/Dialect/NN/IR/NNControlOps.td"
include "lathe/Dialect/NN/IR/NNHostOps.td"
include "lathe/Dialect/NN/IR/NNSelectionOps.td"
include "lathe/Dialect/NN/IR/NNIntegerOps.td"
include "lathe/Dialect/NN/IR/NNLearnedOps.td"
include "lathe/Dialect/NN/IR/NNNumericOps.td"
include "lathe/Dialect/NN/IR/NNOrderOps.td"
include "lathe/Dialect/NN/IR/NNRecurrentOps.td"
include "lathe/Dialect/NN/IR/NNSamplingOps.td"
include "lathe/Dialect/NN/IR/NNScatterOps.td"
include "lathe/Dialect/NN/IR/NNServiceOps.td"
include "lathe/Dialect/NN/IR/NNSpatialOps.td"
