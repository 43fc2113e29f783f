// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// `lathe profile`: where the time of a run goes, by kernel and by the ONNX nodes behind it.

#include "Commands.h"
#include "Roof.h"
#include "Session.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/OutputFile.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace lathe;

namespace {

struct ProfileOptions {
  SessionOptions session;
  std::string trace;
  bool json = false;
  unsigned runs = 20;
};

/// All executions of one kernel.
struct Row {
  std::string name;
  std::vector<std::string> nodes;
  double seconds = 0;
  size_t calls = 0;
  int64_t flops = -1, bytes = -1; // of one call
  double flopRate() const { return flops < 0 || seconds <= 0 ? -1 : double(flops) * double(calls) / seconds; }
  double byteRate() const { return bytes < 0 || seconds <= 0 ? -1 : double(bytes) * double(calls) / seconds; }
  /// Of what this machine could do at most, by what binds it.
  double roofShare(const Roof &roof) const {
    double share = std::max(flopRate() / roof.flopsPerSecond, byteRate() / roof.bytesPerSecond);
    return share < 0 || roof.flopsPerSecond <= 0 ? -1 : share;
  }
};

struct Profile {
  std::vector<Row> rows; // by time
  std::vector<lathe_profile_record> records;
  std::vector<std::string> kernelNames, kernelNodes;
  double kernelSeconds = 0, wallSeconds = 0;
  size_t runs = 0;
  unsigned threads = 1;
};

Expected<Profile> measure(const ProfileOptions &options, Session &session) {
  Profile profile;
  lathe_session_t *handle = session.handle();
  // The first run takes memory and the second fills caches; both tell how many records a run makes.
  for (int i = 0; i < 2; ++i) {
    lathe_session_profile_reset(handle);
    if (Error error = session.run()) {
      return std::move(error);
    }
  }
  size_t perRun = std::max<size_t>(lathe_session_profile(handle, nullptr, 0), 1);
  profile.runs = std::clamp<size_t>(options.session.profileRecords / perRun, 1, options.runs);
  lathe_session_profile_reset(handle);
  for (size_t i = 0; i < profile.runs; ++i) {
    if (Error error = session.run()) {
      return std::move(error);
    }
  }
  profile.records.resize(lathe_session_profile(handle, nullptr, 0));
  lathe_session_profile(handle, profile.records.data(), profile.records.size());
  profile.threads = lathe_session_threads(handle);

  std::vector<Row> rows(session.info().kernel_count);
  for (auto [i, row] : enumerate(rows)) {
    lathe_kernel kernel;
    if (lathe_model_kernel(session.model(), i, &kernel) != LATHE_OK ||
        lathe_session_kernel_cost(handle, i, &row.flops, &row.bytes) != LATHE_OK) {
      return runtimeError(options.session.model);
    }
    row.name = kernel.name;
    SmallVector<StringRef> nodes;
    StringRef(kernel.nodes).split(nodes, '\n', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
    for (StringRef node : nodes) {
      row.nodes.push_back(node.str());
    }
    profile.kernelNames.push_back(row.name);
    profile.kernelNodes.push_back(join(nodes, ", "));
  }
  for (const lathe_profile_record &record : profile.records) {
    double seconds = double(record.end_ns - record.begin_ns) * 1e-9;
    if (record.kernel >= 0 && size_t(record.kernel) < rows.size()) {
      rows[record.kernel].seconds += seconds;
      ++rows[record.kernel].calls;
    }
    profile.kernelSeconds += seconds;
  }
  // A run's own time, from its first kernel's begin to its last one's end.
  int64_t wall = 0, first = 0, last = 0;
  uint64_t run = 0;
  for (const lathe_profile_record &record : profile.records) {
    if (record.run != run) {
      wall += last - first;
      first = record.begin_ns;
      run = record.run;
    }
    last = record.end_ns;
  }
  profile.wallSeconds = double(wall + last - first) * 1e-9;
  erase_if(rows, [](const Row &row) { return row.calls == 0; });
  llvm::sort(rows, [](const Row &a, const Row &b) {
    return std::tie(b.seconds, a.name) < std::tie(a.seconds, b.name);
  });
  profile.rows = std::move(rows);
  return std::move(profile);
}

/// A number, or a dash where it is not known.
std::string number(const char *format, double value) {
  if (value < 0) {
    return "-";
  }
  char text[64];
  snprintf(text, sizeof text, format, value);
  return text;
}

void printTable(const Profile &profile, const Roof &roof) {
  double perRun = 1e3 / double(profile.runs);
  outs() << "   ms/run      %  calls  GFLOP/s    GB/s   roof  kernel: nodes\n";
  for (const Row &row : profile.rows) {
    double share = row.roofShare(roof);
    std::string nodes = row.nodes.empty() ? "" : ": " + escapeText(row.nodes.front(), /*limit=*/60);
    if (row.nodes.size() > 1) {
      nodes += " and " + std::to_string(row.nodes.size() - 1) + " more";
    }
    outs() << format("%9.4f %6.1f %6zu ", row.seconds * perRun, 100 * row.seconds / profile.wallSeconds,
                     row.calls / profile.runs)
           << right_justify(number("%.1f", row.flopRate() / 1e9), 8) << ' '
           << right_justify(number("%.1f", row.byteRate() / 1e9), 7) << ' '
           << right_justify(share < 0 ? "-" : number("%.0f %%", 100 * share), 6) << "  "
           << escapeText(row.name) << nodes << '\n';
  }
  double between = profile.wallSeconds - profile.kernelSeconds;
  outs() << format("%9.4f %6.1f  between kernels\n", between * perRun, 100 * between / profile.wallSeconds)
         << format("%9.4f  100.0  a run, %zu runs, %u threads; roof %.0f GFLOP/s, %.1f GB/s\n",
                   profile.wallSeconds * perRun, profile.runs, profile.threads, roof.flopsPerSecond / 1e9,
                   roof.bytesPerSecond / 1e9);
}

void printJSON(const Profile &profile, const Roof &roof) {
  json::Array kernels;
  for (const Row &row : profile.rows) {
    json::Object o{{"name", toUTF8(row.name)},
                   {"nodes", json::Array(map_range(row.nodes, toUTF8))},
                   {"ms_per_run", row.seconds * 1e3 / double(profile.runs)},
                   {"share", row.seconds / profile.wallSeconds},
                   {"calls_per_run", int64_t(row.calls / profile.runs)}};
    if (row.flops >= 0) {
      o["flops"] = row.flops;
      o["gflops_per_second"] = row.flopRate() / 1e9;
    }
    if (row.bytes >= 0) {
      o["bytes"] = row.bytes;
      o["gb_per_second"] = row.byteRate() / 1e9;
    }
    if (double share = row.roofShare(roof); share >= 0) {
      o["roof_share"] = share;
    }
    kernels.push_back(std::move(o));
  }
  json::Object result{{"ms_per_run", profile.wallSeconds * 1e3 / double(profile.runs)},
                      {"ms_in_kernels", profile.kernelSeconds * 1e3 / double(profile.runs)},
                      {"runs", int64_t(profile.runs)},
                      {"threads", profile.threads},
                      {"roof_gflops", roof.flopsPerSecond / 1e9},
                      {"roof_gb_per_second", roof.bytesPerSecond / 1e9},
                      {"kernels", std::move(kernels)}};
  outs() << formatv("{0:2}\n", json::Value(std::move(result)));
}

/// The format of chrome://tracing and Perfetto.
Error writeTrace(const Profile &profile, StringRef path) {
  json::Array events;
  int64_t origin = profile.records.empty() ? 0 : profile.records.front().begin_ns;
  for (const lathe_profile_record &record : profile.records) {
    bool known = record.kernel >= 0 && size_t(record.kernel) < profile.kernelNames.size();
    events.push_back(
        json::Object{{"name", known ? toUTF8(profile.kernelNames[record.kernel]) : "?"},
                     {"ph", "X"},
                     {"pid", 1},
                     {"tid", 1},
                     {"ts", double(record.begin_ns - origin) / 1e3},
                     {"dur", double(record.end_ns - record.begin_ns) / 1e3},
                     {"args", json::Object{{"nodes", known ? toUTF8(profile.kernelNodes[record.kernel]) : ""},
                                           {"parts", int64_t(record.parts)},
                                           {"run", int64_t(record.run)}}}});
  }
  std::string text = formatv("{0}\n", json::Value(json::Object{{"traceEvents", std::move(events)}}));
  return writeFile(path, text);
}

Error profileModel(const ProfileOptions &options) {
  Expected<std::unique_ptr<Session>> session = Session::open(options.session);
  if (!session) {
    return session.takeError();
  }
  Expected<Profile> profile = measure(options, **session);
  if (!profile) {
    return profile.takeError();
  }
  if (!options.trace.empty()) {
    if (Error error = writeTrace(*profile, options.trace)) {
      return error;
    }
  }
  Roof roof = measureRoof(profile->threads);
  if (options.json) {
    printJSON(*profile, roof);
  } else {
    printTable(*profile, roof);
  }
  return Error::success();
}

} // namespace

int lathe::profileCommand(const CommandContext &context) {
  ProfileOptions options;
  options.session.random = true;
  options.session.profileRecords = 1 << 16;
  Arguments arguments(
      "profile", "MODEL.so [options]",
      "Time of every kernel by the ONNX nodes that it computes, and its share of what this machine could\n"
      "do at most: of its multiply-adds or of its memory's bandwidth, whichever binds.");
  addSessionOptions(arguments, options.session);
  arguments.number("--runs", "N", "average over so many runs (default 20)", options.runs, 1, 1'000'000);
  arguments.text("--trace", "FILE.json", "write a trace for chrome://tracing or Perfetto", options.trace);
  arguments.flag("--json", "print JSON instead of a table", options.json);
  Expected<bool> goOn = arguments.parse(context.arguments);
  if (!goOn || !*goOn) {
    return reportError(goOn.takeError(), errs());
  }
  return reportError(profileModel(options), errs());
}
