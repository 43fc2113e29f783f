/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#ifndef LATHE_ERROR_H
#define LATHE_ERROR_H

#include "lathe.h"

/* Makes this the thread's last error and returns `code`. What is not printable in the text is escaped, since
 * names come from models. */
__attribute__((format(printf, 2, 3))) lathe_error_code lathe_fail(lathe_error_code code, const char *format,
                                                                  ...);
/* The same for a fault in a kernel, with the ONNX nodes it computes, separated by '\n'. */
__attribute__((format(printf, 3, 4))) lathe_error_code lathe_fail_at(lathe_error_code code, const char *nodes,
                                                                     const char *format, ...);

#endif
