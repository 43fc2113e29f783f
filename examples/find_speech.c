/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Finds speech in a sound: find_speech VAD.so SOUND.wav prints where it begins and ends, in seconds.
 *
 * VAD.so is a silero detector compiled for chunks of 576 samples:
 *   lathe compile silero_vad_16k_op15.onnx --shape input=1x576 -o VAD.so
 * The sound has one channel of 16-bit samples, 16,000 a second. */

#include <lathe.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RATE = 16000, STEP = 512, CONTEXT = 64, STATE = 2 * 1 * 128 };

/* Speech begins at the first probability, and ends where it stays below the second for some steps. */
static const float BEGIN = 0.5f, END = 0.35f;
enum { SILENT_STEPS = 4 };

static int fail(const char *what, const char *why) {
  fprintf(stderr, "find_speech: %s: %s\n", what, why);
  return 1;
}

static uint32_t little_endian(const unsigned char *bytes, int count) {
  uint32_t value = 0;
  while (count-- > 0) {
    value = value << 8 | bytes[count];
  }
  return value;
}

/* Reads the header up to the samples; null and their number, or what is wrong. */
static const char *read_header(FILE *file, uint32_t *samples) {
  unsigned char riff[12], chunk[8], format[16];
  int known = 0;
  if (fread(riff, 1, sizeof riff, file) != sizeof riff || memcmp(riff, "RIFF", 4) != 0 ||
      memcmp(riff + 8, "WAVE", 4) != 0) {
    return "is no wav file";
  }
  while (fread(chunk, 1, sizeof chunk, file) == sizeof chunk) {
    uint32_t size = little_endian(chunk + 4, 4);
    if (memcmp(chunk, "data", 4) == 0) {
      *samples = size / 2;
      return known ? NULL : "has samples before their format";
    }
    uint32_t rest = size + size % 2;
    if (memcmp(chunk, "fmt ", 4) == 0 && size >= sizeof format) {
      if (fread(format, 1, sizeof format, file) != sizeof format) {
        break;
      }
      if (little_endian(format, 2) != 1 || little_endian(format + 2, 2) != 1 ||
          little_endian(format + 4, 4) != RATE || little_endian(format + 14, 2) != 16) {
        return "is not one channel of 16-bit samples, 16000 a second";
      }
      known = 1;
      rest -= (uint32_t)sizeof format;
    }
    if (fseek(file, (long)rest, SEEK_CUR) != 0) {
      break;
    }
  }
  return "ends before its samples";
}

/* Reads up to STEP samples, the others zero; returns how many. */
static size_t read_step(FILE *file, float *samples) {
  unsigned char bytes[2 * STEP];
  size_t count = fread(bytes, 2, STEP, file);
  for (size_t i = 0; i < STEP; ++i) {
    samples[i] = i < count ? (float)(int16_t)little_endian(bytes + 2 * i, 2) / 32768.0f : 0.0f;
  }
  return count;
}

/* Binds what the detector takes and gives. The state is read from one buffer and written to the other. */
static lathe_error_code bind(lathe_session_t *session, const lathe_model_t *model, float *chunk, float *state,
                             float *next) {
  static int64_t rate = RATE;
  static const int64_t chunk_dims[] = {1, CONTEXT + STEP}, state_dims[] = {2, 1, 128};
  lathe_tensor tensors[] = {{chunk, LATHE_FLOAT32, 2, chunk_dims, NULL},
                            {state, LATHE_FLOAT32, 3, state_dims, NULL},
                            {&rate, LATHE_INT64, 0, NULL, NULL}};
  const char *names[] = {"input", "state", "sr"};
  for (size_t i = 0; i < 3; ++i) {
    size_t index = lathe_model_find_input(model, names[i]);
    if (index == SIZE_MAX && i == 2) {
      break; /* some detectors know only one rate */
    }
    lathe_error_code error = lathe_session_bind_input(session, index, &tensors[i]);
    if (error) {
      return error;
    }
  }
  lathe_tensor result = {next, LATHE_FLOAT32, 3, state_dims, NULL};
  return lathe_session_bind_output(session, lathe_model_find_output(model, "stateN"), &result);
}

static int find(lathe_session_t *session, const lathe_model_t *model, FILE *file, uint32_t samples) {
  float chunk[CONTEXT + STEP] = {0}, states[2][STATE] = {{0}};
  long first = -1, silent = 0, step = 0;
  for (uint32_t left = samples; left > 0; ++step) {
    size_t count = read_step(file, chunk + CONTEXT);
    if (count == 0) {
      break;
    }
    left -= count < left ? (uint32_t)count : left;
    if (bind(session, model, chunk, states[step % 2], states[(step + 1) % 2]) || lathe_session_run(session)) {
      return fail("the detector", lathe_last_error());
    }
    lathe_tensor output;
    if (lathe_session_output(session, 0, &output)) {
      return fail("the detector", lathe_last_error());
    }
    float probability = *(const float *)output.data;
    if (first < 0 && probability >= BEGIN) {
      first = step;
    }
    silent = probability < END ? silent + 1 : 0;
    if (first >= 0 && silent == SILENT_STEPS) {
      printf("%.3f %.3f\n", (double)first * STEP / RATE, (double)(step + 1 - silent) * STEP / RATE);
      first = -1;
    }
    memcpy(chunk, chunk + STEP, CONTEXT * sizeof *chunk);
  }
  if (first >= 0) {
    printf("%.3f %.3f\n", (double)first * STEP / RATE, (double)(step - silent) * STEP / RATE);
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    return fail("usage", "find_speech VAD.so SOUND.wav");
  }
  FILE *file = fopen(argv[2], "rb");
  if (!file) {
    return fail(argv[2], "cannot be read");
  }
  uint32_t samples = 0;
  const char *wrong = read_header(file, &samples);
  lathe_model_t *model = NULL;
  lathe_session_t *session = NULL;
  lathe_session_options options = LATHE_SESSION_OPTIONS;
  options.threads = 1;
  int status = 1;
  if (wrong) {
    fail(argv[2], wrong);
  } else if (lathe_open(argv[1], NULL, &model) || lathe_session_create(model, &options, &session)) {
    fail(argv[1], lathe_last_error());
  } else {
    status = find(session, model, file, samples);
  }
  lathe_session_close(session);
  lathe_close(model);
  fclose(file);
  return status;
}
