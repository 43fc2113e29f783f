/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* The texts that a session knows, by number. */
#ifndef LATHE_TEXTS_H
#define LATHE_TEXTS_H

#include <stdint.h>

/* Memory that only grows. */
struct lathe_buffer {
  uint8_t *data;
  uint64_t bytes;
};

struct lathe_text {
  const char *bytes; /* not moved while the text is known */
  uint64_t count, hash;
};

/* Bytes of texts; those of the last run and those of the host lie apart. */
struct lathe_text_chunk {
  struct lathe_text_chunk *next;
  uint64_t bytes, used; /* of what follows */
};

/* Nothing is held before the first text is added. */
struct lathe_texts {
  struct lathe_buffer entries; /* struct lathe_text[count], those of the model first */
  struct lathe_buffer index;   /* uint64_t[], a hash table with the numbers of texts plus 1; 0: empty */
  uint64_t count;
  uint64_t kept; /* those before belong to the model or the host, the others to the last run */
  struct lathe_text_chunk *host, *run;
  uint64_t chunk_bytes;
};

#endif
