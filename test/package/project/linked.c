/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Runs the model that is linked into this program on ones. */
#include "tiny.h"

#include <stdio.h>

int main(void) {
  lathe_model_t *model;
  lathe_session_t *session;
  if (tiny_open(NULL, &model) || lathe_session_create(model, NULL, &session)) {
    fprintf(stderr, "%s\n", lathe_last_error());
    return 1;
  }
  float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  const int64_t dims[] = {2, 4};
  lathe_tensor tensor = {.data = ones, .dtype = LATHE_FLOAT32, .rank = 2, .dims = dims};
  lathe_tensor result;
  if (lathe_session_bind_input(session, 0, &tensor) || lathe_session_bind_input(session, 1, &tensor) ||
      lathe_session_run(session) || lathe_session_output(session, 0, &result)) {
    fprintf(stderr, "%s\n", lathe_last_error());
    return 1;
  }
  for (int64_t i = 0; i < result.dims[0] * result.dims[1]; ++i) {
    printf("%g ", (double)((float *)result.data)[i]);
  }
  printf("\n");
  lathe_session_close(session);
  lathe_close(model);
  return 0;
}
