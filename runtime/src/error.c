/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct last_error {
  lathe_error_code code;
  char message[1024];
  char node[512];
};

static _Thread_local struct last_error last;

/* Copies `from` and writes what is not printable as \xNN. */
static void copy_escaped(char *to, size_t size, const char *from, int keep_newlines) {
  size_t at = 0;
  for (; *from && at + 5 < size; ++from) {
    unsigned char c = (unsigned char)*from;
    if ((c < 0x20 && !(c == '\n' && keep_newlines)) || c == 0x7f) {
      at += (size_t)snprintf(to + at, size - at, "\\x%02x", c);
    } else {
      to[at++] = (char)c;
    }
  }
  to[at] = 0;
}

__attribute__((format(printf, 3, 0))) static lathe_error_code fail(lathe_error_code code, const char *nodes,
                                                                   const char *format, va_list arguments) {
  char raw[sizeof last.message];
  vsnprintf(raw, sizeof raw, format, arguments);
  copy_escaped(last.message, sizeof last.message, raw, /*keep_newlines=*/0);
  copy_escaped(last.node, sizeof last.node, nodes, /*keep_newlines=*/1);
  last.code = code;
  return code;
}

lathe_error_code lathe_fail(lathe_error_code code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fail(code, "", format, arguments);
  va_end(arguments);
  return code;
}

lathe_error_code lathe_fail_at(lathe_error_code code, const char *nodes, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fail(code, nodes, format, arguments);
  va_end(arguments);
  return code;
}

const char *lathe_last_error(void) { return last.message; }
lathe_error_code lathe_last_error_code(void) { return last.code; }
const char *lathe_last_error_node(void) { return last.node; }

const char *lathe_error_name(lathe_error_code code) {
  static const char *const names[] = {
      "ok",   "argument", "file", "memory", "not-artifact", "truncated", "corrupt",  "version",
      "cpu",  "load",     "type", "shape",  "unbound",      "index",     "division", "deadline",
      "host", "internal", "loop", "data",   "component",    "device"};
  return (size_t)code < sizeof names / sizeof *names ? names[code] : "unknown";
}
