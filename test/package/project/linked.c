/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Runs the models that are linked into this program, three compilations of one, on ones. */
#include "plain.h"
#include "square.h"
#include "tiny.h"

#include <stdio.h>

typedef lathe_error_code (*opener)(const lathe_open_options *options, lathe_model_t **model);

static int fails(void) {
  fprintf(stderr, "%s\n", lathe_last_error());
  return 1;
}

/* Prints the results for an input of so many rows. */
static int run(opener open, int64_t rows) {
  lathe_model_t *model;
  lathe_session_t *session;
  if (open(NULL, &model) || lathe_session_create(model, NULL, &session)) {
    return fails();
  }
  float ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const int64_t dims[] = {rows, 4};
  lathe_tensor tensor = {.data = ones, .dtype = LATHE_FLOAT32, .rank = 2, .dims = dims};
  lathe_tensor result;
  if (lathe_session_bind_input(session, 0, &tensor) || lathe_session_bind_input(session, 1, &tensor) ||
      lathe_session_run(session) || lathe_session_output(session, 0, &result)) {
    return fails();
  }
  for (int64_t i = 0; i < result.dims[0] * result.dims[1]; ++i) {
    printf("%g ", (double)((float *)result.data)[i]);
  }
  printf("\n");
  lathe_session_close(session);
  lathe_close(model);
  return 0;
}

/* Only the model for 4 rows refuses others. */
static int is_square(opener open) {
  lathe_model_t *model;
  lathe_value x;
  if (open(NULL, &model) || lathe_model_input(model, 0, &x)) {
    return fails();
  }
  int fixed = x.dims[0] == 4;
  lathe_close(model);
  return fixed;
}

int main(void) {
  if (is_square(tiny_open) || is_square(plain_open) || !is_square(square_open)) {
    fprintf(stderr, "one compilation stands in for another\n");
    return 1;
  }
  return run(tiny_open, 2) || run(plain_open, 2) || run(square_open, 4);
}
