// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Does with compiled models what hosts do, through the C API; tests give it real artifacts:
//
//   lathe_artifact_probe open ARTIFACT                  opens it; on an error prints its name and text
//   lathe_artifact_probe misuse ARTIFACT                binds what does not fit, and prints what it is told
//   lathe_artifact_probe quiet ARTIFACT SYMBOL=SIZE...  a run after the first neither allocates nor calls the
//   system lathe_artifact_probe cycle ARTIFACT COUNT           opens and closes; nothing is left behind
//   lathe_artifact_probe threads A B COUNT              both at once, each in two threads with two-thread
//   sessions
//
// Exit status: 0 as promised, 1 not, 2 an error on the way.

#include "lathe.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <map>
#include <memory>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <vector>

static int allocations;

#ifndef LATHE_SANITIZED
// Every allocation of the process, whoever makes it.
extern "C" {
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void *malloc(size_t bytes) {
  __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
  return __libc_malloc(bytes);
}
void *calloc(size_t count, size_t bytes) {
  __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
  return __libc_calloc(count, bytes);
}
void *realloc(void *old, size_t bytes) {
  __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
  return __libc_realloc(old, bytes);
}
void *aligned_alloc(size_t alignment, size_t bytes) {
  __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void **to, size_t alignment, size_t bytes) {
  *to = aligned_alloc(alignment, bytes);
  return *to ? 0 : 12;
}
}
#endif

namespace {
struct CloseModel {
  void operator()(lathe_model_t *model) const { lathe_close(model); }
};
struct CloseSession {
  void operator()(lathe_session_t *session) const { lathe_session_close(session); }
};
using ModelPtr = std::unique_ptr<lathe_model_t, CloseModel>;
using SessionPtr = std::unique_ptr<lathe_session_t, CloseSession>;
using Symbols = std::map<std::string, int64_t>;

[[noreturn]] void die(const char *doing) {
  fprintf(stderr, "%s: %s: %s\n", doing, lathe_error_name(lathe_last_error_code()), lathe_last_error());
  exit(2);
}

ModelPtr open(const char *path, lathe_weight_check check = LATHE_CHECK_FULL) {
  lathe_open_options options = LATHE_OPEN_OPTIONS;
  options.check = check;
  lathe_model_t *model = nullptr;
  if (lathe_open(path, &options, &model)) {
    die("open");
  }
  return ModelPtr(model);
}

/// A session with all inputs bound: integers are 1, a good index into any table, and floats 0.5.
class Job {
public:
  Job(lathe_model_t *model, uint32_t threads, const Symbols &sizes) {
    lathe_session_options options = LATHE_SESSION_OPTIONS;
    options.threads = threads;
    lathe_session_t *made = nullptr;
    lathe_model_info info;
    if (lathe_session_create(model, &options, &made) || lathe_model_get_info(model, &info)) {
      die("session");
    }
    session.reset(made);
    outputs = info.output_count;
    inputs.resize(info.input_count);
    for (size_t i = 0; i < inputs.size(); ++i) {
      addInput(model, i, sizes);
    }
  }

  lathe_error_code run() {
    lathe_error_code code = LATHE_OK;
    for (size_t i = 0; i < inputs.size() && !code; ++i) {
      lathe_tensor tensor = {inputs[i].data.data(), inputs[i].dtype, uint32_t(inputs[i].dims.size()),
                             inputs[i].dims.data(), nullptr};
      code = lathe_session_bind_input(session.get(), i, &tensor);
    }
    return code ? code : lathe_session_run(session.get());
  }

  /// All outputs' bytes, one after another.
  std::string results() const {
    std::string bytes;
    for (size_t i = 0; i < outputs; ++i) {
      lathe_tensor tensor;
      if (lathe_session_output(session.get(), i, &tensor)) {
        die("output");
      }
      size_t size = lathe_dtype_bytes(tensor.dtype);
      for (uint32_t dim = 0; dim < tensor.rank; ++dim) {
        size *= size_t(tensor.dims[dim]);
      }
      bytes.append(static_cast<char *>(tensor.data), size);
    }
    return bytes;
  }

  lathe_session_t *get() { return session.get(); }

private:
  struct Input {
    uint32_t dtype;
    std::vector<int64_t> dims;
    std::vector<char> data;
  };

  void addInput(lathe_model_t *model, size_t index, const Symbols &sizes) {
    lathe_value value;
    if (lathe_model_input(model, index, &value)) {
      die("input");
    }
    Input &input = inputs[index];
    input.dtype = value.dtype;
    size_t element = lathe_dtype_bytes(value.dtype), count = 1;
    for (uint32_t i = 0; i < value.rank; ++i) {
      int64_t dim = value.dims[i];
      if (dim < 0) {
        lathe_symbol symbol;
        if (lathe_model_symbol(model, size_t(~dim), &symbol)) {
          die("symbol");
        }
        auto found = sizes.find(symbol.name);
        dim = found != sizes.end() ? found->second : std::clamp<int64_t>(2, symbol.min, symbol.max);
      }
      input.dims.push_back(dim);
      count *= size_t(dim);
    }
    input.data.assign(count * element, 0);
    for (size_t i = 0; i < count; ++i) {
      char *at = input.data.data() + i * element;
      const float half = 0.5f;
      if (value.dtype == LATHE_FLOAT32) {
        memcpy(at, &half, sizeof half);
      } else {
        *at = 1;
      }
    }
  }

  SessionPtr session;
  std::vector<Input> inputs;
  size_t outputs = 0;
};

int openOnce(const char *path) {
  lathe_model_t *model = nullptr;
  if (lathe_open(path, nullptr, &model)) {
    printf("%s: %s\n", lathe_error_name(lathe_last_error_code()), lathe_last_error());
    return model ? 1 : 0;
  }
  puts("opened");
  lathe_close(model);
  return 0;
}

/// Of x and y, both f32 [N, 4].
int misuse(const char *path) {
  ModelPtr model = open(path);
  Job job(model.get(), 1, {});
  std::vector<float> data(64);
  const int64_t dims[] = {2, 4}, wide[] = {2, 5}, three[] = {3, 4}, negative[] = {-2, 4},
                huge[] = {INT64_MAX / 2, 4};
  size_t x = lathe_model_find_input(model.get(), "x"), y = lathe_model_find_input(model.get(), "y");
  auto bind = [&](const char *what, size_t index, lathe_tensor tensor) {
    lathe_error_code code = lathe_session_bind_input(job.get(), index, &tensor);
    code = code ? code : lathe_session_run(job.get());
    printf("%s: %s\n", what, code ? lathe_last_error() : "accepted");
    if (code && lathe_error_name(code) != lathe_error_name(lathe_last_error_code())) {
      exit(1);
    }
    job.run();
  };
  lathe_session_t *fresh = nullptr;
  lathe_session_create(model.get(), nullptr, &fresh);
  printf("nothing bound: %s\n", lathe_session_run(fresh) ? lathe_last_error() : "accepted");
  lathe_session_close(fresh);
  bind("another type", x, {data.data(), LATHE_INT64, 2, dims, nullptr});
  bind("no type at all", x, {data.data(), 99, 2, dims, nullptr});
  bind("another rank", x, {data.data(), LATHE_FLOAT32, 1, dims, nullptr});
  bind("another size", x, {data.data(), LATHE_FLOAT32, 2, wide, nullptr});
  bind("sizes that differ", y, {data.data(), LATHE_FLOAT32, 2, three, nullptr});
  bind("a negative size", x, {data.data(), LATHE_FLOAT32, 2, negative, nullptr});
  bind("a huge size", x, {data.data(), LATHE_FLOAT32, 2, huge, nullptr});
  bind("no memory", x, {nullptr, LATHE_FLOAT32, 2, dims, nullptr});
  bind("no such input", lathe_model_find_input(model.get(), "w"),
       {data.data(), LATHE_FLOAT32, 2, dims, nullptr});
  bind("what fits", x, {data.data(), LATHE_FLOAT32, 2, dims, nullptr});
  return 0;
}

/// Ends the process at its next system call but write and exit_group.
bool forbidSystemCalls() {
  sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog program = {sizeof filter / sizeof *filter, filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

int quiet(const char *path, const Symbols &sizes) {
  ModelPtr model = open(path);
  Job job(model.get(), 1, sizes);
  if (job.run()) {
    die("first run");
  }
  int before = allocations;
  if (before == 0 || !forbidSystemCalls()) {
    return 2; // the hook, or the filter, is not there
  }
  lathe_error_code code = LATHE_OK;
  for (int i = 0; i < 3 && !code; ++i) {
    code = job.run();
  }
  int more = allocations - before;
  char text[64];
  int length = snprintf(text, sizeof text, "%d runs failed, %d allocations\n", code != LATHE_OK, more);
  [[maybe_unused]] ssize_t n = write(1, text, size_t(length));
  // Destructors would call the system.
  syscall(SYS_exit_group, code || more ? 1 : 0);
  return 1;
}

struct Footprint {
  size_t descriptors = 0, mappings = 0, residentPages = 0;
  Footprint() {
    std::string line;
    for (std::ifstream maps("/proc/self/maps"); std::getline(maps, line);) {
      ++mappings;
    }
    for (int fd = 0; fd < 1024; ++fd) {
      descriptors += access(("/proc/self/fd/" + std::to_string(fd)).c_str(), F_OK) == 0;
    }
    size_t all = 0;
    std::ifstream("/proc/self/statm") >> all >> residentPages;
  }
};

int cycle(const char *path, int count) {
  auto once = [&](int i) {
    ModelPtr model = open(path, i % 2 ? LATHE_CHECK_LAZY : LATHE_CHECK_FULL);
    if (i % 10 == 0) {
      Job job(model.get(), i % 20 ? 1 : 2, {});
      if (job.run()) {
        die("run");
      }
    }
  };
  // Heap and loader reach the size they keep.
  for (int i = 0; i < 100; ++i) {
    once(i);
  }
  Footprint before;
  for (int i = 0; i < count; ++i) {
    once(i);
  }
  Footprint after;
  constexpr size_t slack = 256; // 1 MiB: far less than a page for each of many opens
  printf("descriptors %zu to %zu, mappings %zu to %zu, resident pages %zu to %zu\n", before.descriptors,
         after.descriptors, before.mappings, after.mappings, before.residentPages, after.residentPages);
  return after.descriptors == before.descriptors && after.mappings == before.mappings &&
                 after.residentPages <= before.residentPages + slack
             ? 0
             : 1;
}

int inThreads(const char *const paths[2], int count) {
  int failures = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      // Two threads share the file of each model but not the handle, and open it while others run.
      std::string first;
      for (int i = 0; i < count; ++i) {
        ModelPtr model = open(paths[t % 2], i % 2 ? LATHE_CHECK_LAZY : LATHE_CHECK_FULL);
        Job one(model.get(), 2, {}), two(model.get(), 2, {});
        std::thread other([&] {
          if (two.run()) {
            die("run");
          }
        });
        if (one.run()) {
          die("run");
        }
        other.join();
        std::string result = one.results();
        first = first.empty() ? result : first;
        if (result != first || two.results() != first || first.empty()) {
          __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
        }
      }
    });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
  printf("%d results differ\n", failures);
  return failures != 0;
}

Symbols parseSymbols(int count, char **words) {
  Symbols sizes;
  for (int i = 0; i < count; ++i) {
    std::string word = words[i];
    size_t at = word.find('=');
    sizes[word.substr(0, at)] = atoll(word.c_str() + at + 1);
  }
  return sizes;
}
} // namespace

int main(int argc, char **argv) {
  std::string command = argc > 2 ? argv[1] : "";
  if (command == "open") {
    return openOnce(argv[2]);
  }
  if (command == "misuse") {
    return misuse(argv[2]);
  }
  if (command == "quiet") {
    return quiet(argv[2], parseSymbols(argc - 3, argv + 3));
  }
  if (command == "cycle" && argc == 4) {
    return cycle(argv[2], atoi(argv[3]));
  }
  if (command == "threads" && argc == 5) {
    return inThreads(argv + 2, atoi(argv[4]));
  }
  fprintf(stderr, "see the head of artifact_probe.cpp\n");
  return 2;
}
