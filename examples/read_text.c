/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Reads the text in a picture: read_text DET.so CLS.so REC.so PICTURE.ppm prints a line for each piece of
 * text.
 *
 * The three models are those of PP-OCR, as rapidocr-onnxruntime ships them: one finds text, one tells whether
 * it stands upside down, one reads a line. Each is compiled as it is: lathe compile MODEL.onnx -o MODEL.so.
 * Text runs from left to right here; what a real program adds is boxes that are not upright. */

#include <lathe.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_HEIGHT = 48, LINE_WIDTH = 320, DIRECTION_WIDTH = 192, UNIT = 32, MAX_BOXES = 1000 };
/* Of a pixel and of a box to be text, how far a box grows beyond what was found, of being upside down. */
static const float IS_TEXT = 0.3f, IS_BOX = 0.5f, GROWTH = 1.6f, IS_TURNED = 0.9f;

typedef struct {
  int width, height;
  unsigned char *rgb;
} picture;

typedef struct {
  int left, top, right, bottom; /* the last two lie outside */
} box;

typedef struct {
  lathe_model_t *model;
  lathe_session_t *session;
} network;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "read_text: %s: %s\n", what, why);
  exit(1);
}

static void *allocate(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (!memory) {
    fail("memory", "there is not enough");
  }
  return memory;
}

static picture read_picture(const char *path) {
  picture result = {0, 0, NULL};
  FILE *file = fopen(path, "rb");
  int most = 0;
  if (!file || fscanf(file, "P6 %d %d %d", &result.width, &result.height, &most) != 3 || fgetc(file) == EOF ||
      most != 255 || result.width < 1 || result.height < 1 || result.width > 1 << 14 ||
      result.height > 1 << 14) {
    fail(path, "is no picture in PPM format (P6, 255)");
  }
  size_t pixels = (size_t)result.width * (size_t)result.height;
  result.rgb = allocate(pixels, 3);
  if (fread(result.rgb, 3, pixels, file) != pixels) {
    fail(path, "ends too early");
  }
  fclose(file);
  return result;
}

/* A part of a picture, scaled to `width` by `height`, as [3, height, stride] values from -1 to 1, blue first,
 * into `to`. What is right of `width` stays as it is. */
static void scale(const picture *from, const box *part, int turned, int width, int height, int stride,
                  float *to) {
  int columns = part->right - part->left, rows = part->bottom - part->top;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      double column = (x + 0.5) * columns / width - 0.5, row = (y + 0.5) * rows / height - 0.5;
      column = fmin(fmax(turned ? columns - 1 - column : column, 0), columns - 1);
      row = fmin(fmax(turned ? rows - 1 - row : row, 0), rows - 1);
      int left = (int)column, top = (int)row;
      int right = left + 1 < columns ? left + 1 : left, bottom = top + 1 < rows ? top + 1 : top;
      double across = column - left, down = row - top;
      for (int channel = 0; channel < 3; ++channel) {
        double corners[2][2];
        for (int i = 0; i < 4; ++i) {
          size_t at = (size_t)(part->top + (i / 2 ? bottom : top)) * (size_t)from->width +
                      (size_t)(part->left + (i % 2 ? right : left));
          corners[i / 2][i % 2] = from->rgb[3 * at + 2 - (size_t)channel];
        }
        double upper = corners[0][0] * (1 - across) + corners[0][1] * across;
        double lower = corners[1][0] * (1 - across) + corners[1][1] * across;
        double value = upper * (1 - down) + lower * down;
        to[((size_t)channel * (size_t)height + (size_t)y) * (size_t)stride + (size_t)x] =
            (float)(value / 127.5 - 1);
      }
    }
  }
}

static network open_network(const char *path) {
  network result = {NULL, NULL};
  if (lathe_open(path, NULL, &result.model) || lathe_session_create(result.model, NULL, &result.session)) {
    fail(path, lathe_last_error());
  }
  return result;
}

static void close_network(network net) {
  lathe_session_close(net.session);
  lathe_close(net.model);
}

/* The only output for a picture of this size. */
static lathe_tensor run(network net, float *pixels, int height, int width) {
  int64_t dims[] = {1, 3, height, width};
  lathe_tensor input = {pixels, LATHE_FLOAT32, 4, dims, NULL}, output;
  if (lathe_session_bind_input(net.session, 0, &input) || lathe_session_run(net.session) ||
      lathe_session_output(net.session, 0, &output)) {
    fail("a model", lathe_last_error());
  }
  return output;
}

/* Takes the pixels that hang together with the one at `start` out of the map: their bounds, and their mean
 * probability. */
static float take_component(float *map, int width, int height, int start, int *stack, box *bounds) {
  double sum = 0;
  int count = 0, depth = 0;
  *bounds = (box){width, height, 0, 0};
  stack[depth++] = start;
  sum += (double)map[start];
  map[start] = 0;
  while (depth > 0) {
    int at = stack[--depth], x = at % width, y = at / width;
    ++count;
    bounds->left = x < bounds->left ? x : bounds->left;
    bounds->top = y < bounds->top ? y : bounds->top;
    bounds->right = x + 1 > bounds->right ? x + 1 : bounds->right;
    bounds->bottom = y + 1 > bounds->bottom ? y + 1 : bounds->bottom;
    for (int i = 0; i < 9; ++i) {
      int column = x + i % 3 - 1, row = y + i / 3 - 1;
      if (column >= 0 && column < width && row >= 0 && row < height && map[row * width + column] > IS_TEXT) {
        sum += (double)map[row * width + column];
        map[row * width + column] = 0;
        stack[depth++] = row * width + column;
      }
    }
  }
  return (float)(sum / count);
}

static int clamp(double value, int most) { return value < 0 ? 0 : value > most ? most : (int)value; }

/* The boxes of text, from the top to the bottom. */
static int find_text(network net, const picture *image, box *boxes) {
  int width = (image->width + UNIT - 1) / UNIT * UNIT, height = (image->height + UNIT - 1) / UNIT * UNIT;
  float *pixels = allocate((size_t)width * (size_t)height, 3 * sizeof(float));
  scale(image, &(box){0, 0, image->width, image->height}, 0, width, height, width, pixels);
  float *map = run(net, pixels, height, width).data;
  int *stack = allocate((size_t)width * (size_t)height, sizeof(int));
  int count = 0;
  for (int start = 0; start < width * height && count < MAX_BOXES; ++start) {
    box found;
    if (!(map[start] > IS_TEXT) || take_component(map, width, height, start, stack, &found) < IS_BOX) {
      continue;
    }
    double columns = found.right - found.left, rows = found.bottom - found.top;
    if (columns < 3 || rows < 3) {
      continue;
    }
    /* The model marks the kernel of a text; its box lies around it. */
    double grown = columns * rows * (double)GROWTH / (2 * (columns + rows));
    double across = (double)image->width / width, down = (double)image->height / height;
    boxes[count++] = (box){clamp((found.left - grown) * across, image->width),
                           clamp((found.top - grown) * down, image->height),
                           clamp((found.right + grown) * across + 1, image->width),
                           clamp((found.bottom + grown) * down + 1, image->height)};
  }
  free(stack);
  free(pixels);
  return count;
}

static int compare_boxes(const void *lhs, const void *rhs) {
  const box *first = lhs, *second = rhs;
  return first->top != second->top ? first->top - second->top : first->left - second->left;
}

/* The width that a box has when it is a line's height high. */
static int line_width(const box *part) {
  return (int)ceil((double)LINE_HEIGHT * (part->right - part->left) / (part->bottom - part->top));
}

static int is_turned(network net, const picture *image, const box *part) {
  float pixels[3 * LINE_HEIGHT * DIRECTION_WIDTH] = {0};
  int width = line_width(part);
  scale(image, part, 0, width < DIRECTION_WIDTH ? width : DIRECTION_WIDTH, LINE_HEIGHT, DIRECTION_WIDTH,
        pixels);
  const float *probabilities = run(net, pixels, LINE_HEIGHT, DIRECTION_WIDTH).data;
  return probabilities[1] > IS_TURNED;
}

/* Prints symbol `number` of an alphabet that has one a line; the one behind its end is the space. */
static void print_symbol(const char *alphabet, int64_t number) {
  while (number > 0 && *alphabet) {
    number -= *alphabet++ == '\n';
  }
  if (*alphabet) {
    printf("%.*s", (int)strcspn(alphabet, "\n"), alphabet);
  } else {
    putchar(' ');
  }
}

static void read_line(network net, const char *alphabet, const picture *image, const box *part, int turned) {
  int width = line_width(part), stride = width < LINE_WIDTH ? LINE_WIDTH : width;
  float *pixels = allocate((size_t)stride, 3 * LINE_HEIGHT * sizeof(float));
  scale(image, part, turned, width, LINE_HEIGHT, stride, pixels);
  lathe_tensor output = run(net, pixels, LINE_HEIGHT, stride);
  const float *scores = output.data;
  int64_t steps = output.dims[1], symbols = output.dims[2], last = 0;
  for (int64_t step = 0; step < steps; ++step, scores += symbols) {
    int64_t best = 0;
    for (int64_t i = 1; i < symbols; ++i) {
      best = scores[i] > scores[best] ? i : best;
    }
    /* Symbol 0 stands between two that are equal. */
    if (best != last && best != 0) {
      print_symbol(alphabet, best - 1);
    }
    last = best;
  }
  putchar('\n');
  free(pixels);
}

static const char *find_alphabet(network net) {
  const char *key, *value;
  for (size_t i = 0; !lathe_model_metadata(net.model, i, &key, &value); ++i) {
    if (strcmp(key, "character") == 0) {
      return value;
    }
  }
  fail("the third model", "names no characters in its metadata");
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fail("usage", "read_text DET.so CLS.so REC.so PICTURE.ppm");
  }
  network detection = open_network(argv[1]), direction = open_network(argv[2]),
          recognition = open_network(argv[3]);
  const char *alphabet = find_alphabet(recognition);
  picture image = read_picture(argv[4]);
  box *boxes = allocate(MAX_BOXES, sizeof *boxes);
  int count = find_text(detection, &image, boxes);
  qsort(boxes, (size_t)count, sizeof *boxes, compare_boxes);
  for (int i = 0; i < count; ++i) {
    read_line(recognition, alphabet, &image, &boxes[i], is_turned(direction, &image, &boxes[i]));
  }
  free(boxes);
  free(image.rgb);
  close_network(detection);
  close_network(direction);
  close_network(recognition);
  return 0;
}
