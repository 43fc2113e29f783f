// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Texts and their numbers, and models that need components.

#include "TestModel.h"

#include <gtest/gtest.h>

using namespace lathe::test;

/// Of src/session.h, which is C alone.
extern "C" int64_t lathe_session_add_run_text(void *context, const char *text, size_t count);

namespace {

int32_t layout(const int64_t *, int64_t, int64_t *, int64_t *outputDims, int64_t *arenaBytes) {
  outputDims[0] = 2;
  *arenaBytes = 0;
  return LATHE_FAULT_NONE;
}

/// y = [x, the text "made"].
int32_t run(const lathe_call *call) {
  auto *y = static_cast<int64_t *>(call->outputs[0]);
  y[0] = *static_cast<const int64_t *>(call->inputs[0]);
  y[1] = lathe_session_add_run_text(call->context, "made", 4);
  return LATHE_FAULT_NONE;
}

TestModel texts() {
  TestModel model(layout, run);
  model.input("x", LATHE_STRING, {}).output("y", LATHE_STRING, {2});
  return model.text("own").text(std::string("a\0b", 3));
}

int64_t add(lathe_session_t *session, std::string_view text) {
  int64_t number = -1;
  EXPECT_EQ(lathe_session_add_text(session, text.data(), text.size(), &number), LATHE_OK);
  return number;
}

std::string get(lathe_session_t *session, int64_t number) {
  const char *text = nullptr;
  size_t bytes = 0;
  return lathe_session_text(session, number, &text, &bytes) == LATHE_OK ? std::string(text, bytes)
                                                                        : "error: " + std::to_string(number);
}

/// The output of a run for the number of a text.
std::pair<int64_t, int64_t> compute(lathe_session_t *session, int64_t x) {
  lathe_tensor tensor = {&x, LATHE_STRING, 0, nullptr, nullptr};
  EXPECT_EQ(lathe_session_bind_input(session, 0, &tensor), LATHE_OK);
  EXPECT_EQ(lathe_session_run(session), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(lathe_session_output(session, 0, &tensor), LATHE_OK);
  const auto *y = static_cast<const int64_t *>(tensor.data);
  return {y[0], y[1]};
}

} // namespace

TEST(Text, EqualTextsHaveEqualNumbers) {
  ModelPtr model(texts().open());
  SessionPtr session = makeSession(model.get());
  EXPECT_EQ(add(session.get(), "own"), 0);
  EXPECT_EQ(add(session.get(), std::string_view("a\0b", 3)), 1);
  int64_t first = add(session.get(), "new");
  EXPECT_EQ(first, 2);
  EXPECT_EQ(add(session.get(), ""), 3);
  EXPECT_EQ(add(session.get(), "new"), first);
  EXPECT_EQ(get(session.get(), first), "new");
  EXPECT_EQ(get(session.get(), 1), std::string("a\0b", 3));
}

TEST(Text, ManyAreFoundAgain) {
  ModelPtr model(texts().open());
  SessionPtr session = makeSession(model.get());
  uint64_t before = lathe_session_memory(session.get());
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 5000; ++i) {
      ASSERT_EQ(add(session.get(), std::string(size_t(i % 97), 'x') + std::to_string(i)), 2 + i);
    }
  }
  EXPECT_EQ(get(session.get(), 2 + 4999), std::string(4999 % 97, 'x') + "4999");
  EXPECT_GT(lathe_session_memory(session.get()), before + 5000);
  EXPECT_EQ(lathe_session_clear_texts(session.get()), LATHE_OK);
  EXPECT_EQ(get(session.get(), 2), "error: 2");
  EXPECT_EQ(add(session.get(), "other"), 2);
}

TEST(Text, LongerThanAChunk) {
  ModelPtr model(texts().open());
  SessionPtr session = makeSession(model.get());
  std::string text(1 << 20, 'y');
  int64_t small = add(session.get(), "small"), large = add(session.get(), text);
  EXPECT_EQ(get(session.get(), large), text);
  EXPECT_EQ(get(session.get(), small), "small");
}

TEST(Text, ThoseOfARunAreForgottenByTheNext) {
  ModelPtr model(texts().open());
  SessionPtr session = makeSession(model.get());
  int64_t x = add(session.get(), "x");
  for (int round = 0; round < 3; ++round) {
    auto [kept, made] = compute(session.get(), x);
    EXPECT_EQ(kept, x);
    EXPECT_EQ(get(session.get(), made), "made");
    EXPECT_EQ(made, 3 + round);
    // What the host adds is a text of its own, even where the run made the same one.
    EXPECT_EQ(add(session.get(), round ? "more" + std::to_string(round) : "zero"), 3 + round);
  }
  EXPECT_EQ(add(session.get(), "made"), 6);
  EXPECT_EQ(compute(session.get(), x).second, 6);
}

TEST(Text, CountsTowardsTheMemoryLimit) {
  ModelPtr model(texts().open());
  lathe_session_options options = LATHE_SESSION_OPTIONS;
  options.threads = 1;
  options.memory_limit = 1 << 20;
  SessionPtr session = makeSession(model.get(), options);
  std::string text(1 << 19, 'y');
  int64_t number;
  EXPECT_EQ(add(session.get(), text), 2);
  text += "z";
  EXPECT_EQ(lathe_session_add_text(session.get(), text.data(), text.size(), &number), LATHE_ERROR_MEMORY);
  EXPECT_EQ(add(session.get(), "small"), 3);
}

TEST(Text, NoNumberOfATextIsAnError) {
  ModelPtr model(texts().open());
  SessionPtr session = makeSession(model.get());
  const char *text;
  size_t bytes;
  for (int64_t number : {int64_t(-1), int64_t(2), INT64_MAX}) {
    EXPECT_EQ(lathe_session_text(session.get(), number, &text, &bytes), LATHE_ERROR_ARGUMENT);
  }
}

TEST(Component, MissingOnesAreNamed) {
  lathe_model_t *model = nullptr;
  lathe_table *table = texts().service("nothing.concat", "", 2).build();
  EXPECT_EQ(lathe_open_table(table, nullptr, 0, nullptr, &model), LATHE_ERROR_COMPONENT);
  EXPECT_STREQ(lathe_last_error(),
               "the model needs \"nothing.concat\", which no component of the runtime has");
  lathe_open_options options = LATHE_OPEN_OPTIONS;
  options.inspect_only = 1;
  ASSERT_EQ(lathe_open_table(table, nullptr, 0, &options, &model), LATHE_OK) << lathe_last_error();
  lathe_close(model);
}

TEST(Component, TablesAreChecked) {
  lathe_model_t *model = nullptr;
  lathe_table *table = texts().service("text.concat", "", 1000).build();
  EXPECT_EQ(lathe_open_table(table, nullptr, 0, nullptr, &model), LATHE_ERROR_CORRUPT);
  table = texts().build();
  table->text_count = 0xffffffff;
  EXPECT_EQ(lathe_open_table(table, nullptr, 0, nullptr, &model), LATHE_ERROR_CORRUPT);
}
