// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// How numbers become integers of 8 bits that share a scale: rows, groups of a row, columns of a weight. The
/// passes that round and the kernels that find the integers again have to agree.

#ifndef LATHE_DIALECT_PACK_IR_ROWCODES_H
#define LATHE_DIALECT_PACK_IR_ROWCODES_H

namespace lathe::pack {

/// The integer that the largest magnitude becomes: the scale is that magnitude over this.
inline constexpr int kLargestCode = 127;

/// What is smaller throughout is rounded as if this were its largest magnitude: the reciprocal of its scale
/// is a number.
inline constexpr double kLeastMagnitude = 0x1p-100;

} // namespace lathe::pack

#endif // LATHE_DIALECT_PACK_IR_ROWCODES_H
