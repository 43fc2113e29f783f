/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Opens the artifact that the command line names and says what it takes. */
#include <lathe.h>

#include <stdio.h>

int main(int argc, char **argv) {
  lathe_model_t *model;
  if (argc != 2 || lathe_open(argv[1], NULL, &model)) {
    fprintf(stderr, "%s\n", lathe_last_error());
    return 1;
  }
  lathe_model_info info;
  lathe_model_get_info(model, &info);
  for (uint32_t i = 0; i < info.input_count; ++i) {
    lathe_value value;
    lathe_model_input(model, i, &value);
    printf("%s %s\n", value.name, lathe_dtype_name(value.dtype));
  }
  lathe_close(model);
  return 0;
}
