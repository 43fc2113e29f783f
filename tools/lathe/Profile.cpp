// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// `lathe profile`: where the time of a run goes, by kernel and by the ONNX nodes behind it.

#include "Commands.h"
#include "ReportFile.h"
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
#include <chrono>
#include <sys/ioctl.h>
#include <unistd.h>

using namespace llvm;
using namespace lathe;

namespace {

struct ProfileOptions {
  SessionOptions session;
  std::string trace, report;
  bool json = false;
  unsigned runs = 20;
};

/// All executions of one kernel in the runs that count.
struct Row {
  std::string name;
  std::vector<std::string> nodes;
  unsigned layers = 1;
  size_t calls = 0;
  double seconds = 0;
  /// Sums over the calls; less than 0 if they are not known.
  double flops = 0, bytes = 0;
  /// The least time that the roof allows for the operations, and for the bytes.
  double flopSeconds = 0, byteSeconds = 0;
  /// The least time, call by call.
  double roofSeconds = 0;

  double flopRate() const { return flops < 0 || seconds <= 0 ? -1 : flops / seconds; }
  double byteRate() const { return bytes < 0 || seconds <= 0 ? -1 : bytes / seconds; }
  double roofShare() const { return roofSeconds <= 0 || seconds <= 0 ? -1 : roofSeconds / seconds; }
  /// What binds it.
  StringRef bound() const {
    return roofSeconds <= 0 ? "-" : flopSeconds >= byteSeconds ? "compute" : "memory";
  }

  void add(const Row &other) {
    calls += other.calls;
    seconds += other.seconds;
    flops = flops < 0 || other.flops < 0 ? -1 : flops + other.flops;
    bytes = bytes < 0 || other.bytes < 0 ? -1 : bytes + other.bytes;
    flopSeconds += other.flopSeconds;
    byteSeconds += other.byteSeconds;
    roofSeconds += other.roofSeconds;
  }
};

struct Profile {
  std::vector<Row> rows; // by time
  Row total;             // of all rows
  std::vector<lathe_profile_record> records;
  std::vector<Row> kernels; // names and nodes, by index
  double wallSeconds = 0;   // of the runs that count
  size_t runs = 0, counted = 0;
  json::Object inputs; // their dimensions, by name
  unsigned threads = 1;
  Roof roof;
};

/// The execution of one kernel against the roof. Weights are used once a run: what bounds them is what all of
/// a run's need. Everything else was just written by another kernel, and is bounded by what this one needs.
Row costOf(const lathe_profile_record &record, const Roof &roof, double runWeightBytes) {
  Row cost;
  cost.calls = 1;
  cost.seconds = double(record.end_ns - record.begin_ns) * 1e-9;
  cost.flops = double(record.flops);
  cost.bytes = double(record.bytes);
  if (record.flops >= 0 && roof.flopsPerSecond > 0) {
    cost.flopSeconds = cost.flops / roof.flopsPerSecond;
  }
  if (record.bytes >= 0 && roof.memoryBytesPerSecond() > 0) {
    double weights = double(std::max<int64_t>(record.weight_bytes, 0));
    cost.byteSeconds = (cost.bytes - weights) / roof.bytesPerSecond(cost.bytes) +
                       weights / roof.bytesPerSecond(std::max(runWeightBytes, cost.bytes));
  }
  cost.roofSeconds = std::max(cost.flopSeconds, cost.byteSeconds);
  return cost;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Error readKernels(const ProfileOptions &options, Session &session, Profile &profile) {
  profile.kernels.resize(session.info().kernel_count);
  for (auto [i, row] : enumerate(profile.kernels)) {
    lathe_kernel kernel;
    if (lathe_model_kernel(session.model(), i, &kernel) != LATHE_OK) {
      return runtimeError(options.session.model);
    }
    row.name = kernel.name;
    row.layers = kernel.layers;
    SmallVector<StringRef> nodes;
    StringRef(kernel.nodes).split(nodes, '\n', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
    for (StringRef node : nodes) {
      row.nodes.push_back(node.str());
    }
  }
  return Error::success();
}

Expected<Profile> measure(const ProfileOptions &options, Session &session) {
  Profile profile;
  lathe_session_t *handle = session.handle();
  // The first run takes memory and the second fills caches; both tell how many records a run makes.
  for (int i = 0; i < 2; ++i) {
    lathe_session_profile_reset(handle);
    if (Error error = session.run()) {
      return error;
    }
  }
  size_t perRun = std::max<size_t>(lathe_session_profile(handle, nullptr, 0), 1);
  profile.runs = std::clamp<size_t>(options.session.profileRecords / perRun, 1, options.runs);
  lathe_session_profile_reset(handle);
  std::vector<double> seconds;
  for (size_t i = 0; i < profile.runs; ++i) {
    double begin = now();
    if (Error error = session.run()) {
      return error;
    }
    seconds.push_back(now() - begin);
  }
  profile.records.resize(lathe_session_profile(handle, nullptr, 0));
  lathe_session_profile(handle, profile.records.data(), profile.records.size());
  profile.threads = lathe_session_threads(handle);
  for (const Array &input : session.inputs()) {
    profile.inputs[toUTF8(input.name)] = json::Array(input.dims);
  }
  profile.roof = measureRoof(profile.threads);
  if (Error error = readKernels(options, session, profile)) {
    return error;
  }

  // Other processes make runs slower, never faster: the faster half counts.
  std::vector<double> sorted = seconds;
  llvm::sort(sorted);
  double limit = sorted[(sorted.size() - 1) / 2];
  std::vector<bool> counts;
  for (double run : seconds) {
    counts.push_back(run <= limit);
    profile.wallSeconds += run <= limit ? run : 0;
    profile.counted += run <= limit;
  }
  // A model that launches nothing has no records.
  uint64_t firstRun = profile.records.empty() ? 0 : profile.records.front().run;
  double runWeightBytes = 0;
  for (const lathe_profile_record &record : profile.records) {
    runWeightBytes += record.run == firstRun ? double(std::max<int64_t>(record.weight_bytes, 0)) : 0;
  }
  profile.rows = profile.kernels;
  for (const lathe_profile_record &record : profile.records) {
    if (counts[record.run - firstRun] && record.kernel >= 0 && size_t(record.kernel) < profile.rows.size()) {
      Row cost = costOf(record, profile.roof, runWeightBytes);
      profile.rows[record.kernel].add(cost);
      profile.total.add(cost);
    }
  }
  erase_if(profile.rows, [](const Row &row) { return row.calls == 0; });
  llvm::sort(profile.rows, [](const Row &a, const Row &b) {
    return std::tie(b.seconds, a.name) < std::tie(a.seconds, b.name);
  });
  return profile;
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

/// Of the terminal that gets the table; 0 if it goes elsewhere. (LLVM's own asks only the environment.)
size_t terminalColumns() {
  winsize size = {};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/// At most `width` columns of printable text. The end of a node's name tells most: the front is cut.
std::string fitLeft(StringRef text, size_t width) {
  if (text.size() <= width) {
    return text.str();
  }
  StringRef end = text.take_back(width > 3 ? width - 3 : 0);
  while (!end.empty() && (end.front() & 0xc0) == 0x80) {
    end = end.drop_front();
  }
  return "..." + end.str();
}

/// "/layer.0/MatMul + 2 (6 layers)"
std::string nodesOf(const Row &row, size_t width) {
  if (row.nodes.empty()) {
    return "";
  }
  std::string suffix = row.nodes.size() > 1 ? " + " + std::to_string(row.nodes.size() - 1) : "";
  suffix += row.layers > 1 ? " (" + std::to_string(row.layers) + " layers)" : "";
  return fitLeft(escapeText(row.nodes.front()), std::max<size_t>(width, suffix.size() + 16) - suffix.size()) +
         suffix;
}

/// "64K", "4M": caches have powers of two.
std::string binaryBytes(double bytes) {
  unsigned kilobytes = unsigned(bytes / 1024);
  return kilobytes < 1024 ? std::to_string(kilobytes) + "K" : std::to_string(kilobytes / 1024) + "M";
}

void printTable(const Profile &profile) {
  size_t names = 6, columns = terminalColumns();
  for (const Row &row : profile.rows) {
    names = std::max(names, escapeText(row.name).size());
  }
  double perRun = 1e3 / double(profile.counted);
  auto print = [&](const Row &row, StringRef name, StringRef nodes) {
    outs() << format("%9.4f %5.1f ", row.seconds * perRun, 100 * row.seconds / profile.wallSeconds)
           << format("%5zu ", row.calls / profile.counted)
           << right_justify(number("%.1f", row.flopRate() < 0 ? -1 : row.flopRate() / 1e9), 8) << ' '
           << right_justify(number("%.1f", row.byteRate() < 0 ? -1 : row.byteRate() / 1e9), 6) << ' '
           << right_justify(number("%.0f", row.roofShare() < 0 ? -1 : 100 * row.roofShare()), 7) << "  "
           << left_justify(row.bound(), 8) << left_justify(name, nodes.empty() ? 0 : names + 2) << nodes
           << '\n';
  };
  outs() << "   ms/run     % calls  GFLOP/s   GB/s  % roof  bound   " << left_justify("kernel", names + 2)
         << "nodes\n";
  size_t before = 57 + names;
  for (const Row &row : profile.rows) {
    print(row, escapeText(row.name),
          nodesOf(row, columns ? columns - std::min(columns, before) : ~size_t(0) >> 1));
  }
  print(profile.total, "all kernels", "");
  double outside = profile.wallSeconds - profile.total.seconds;
  const Roof &roof = profile.roof;
  outs() << format("%9.4f %5.1f outside of kernels\n", outside * perRun, 100 * outside / profile.wallSeconds)
         << format("%9.4f 100.0 a run: the faster %zu of %zu, %u thread%s\n", profile.wallSeconds * perRun,
                   profile.counted, profile.runs, profile.threads, profile.threads > 1 ? "s" : "")
         << format("roof: %.0f GFLOP/s; ", roof.flopsPerSecond / 1e9);
  for (const Bandwidth &bandwidth : roof.bandwidths) {
    outs() << format("%.0f ", bandwidth.bytesPerSecond / 1e9);
  }
  outs() << "GB/s within ";
  for (const Bandwidth &bandwidth : ArrayRef(roof.bandwidths).drop_back()) {
    outs() << binaryBytes(bandwidth.bytes) << ' ';
  }
  outs() << "and in memory\n";
}

json::Object toJSON(const Profile &profile) {
  double runs = double(profile.counted);
  auto describe = [&](const Row &row) {
    json::Object o{{"ms_per_run", row.seconds * 1e3 / runs},
                   {"share", row.seconds / profile.wallSeconds},
                   {"calls_per_run", int64_t(row.calls / profile.counted)},
                   {"bound", row.bound()}};
    if (row.flops >= 0) {
      o["flops"] = int64_t(row.flops / runs);
      o["gflops_per_second"] = row.flopRate() / 1e9;
    }
    if (row.bytes >= 0) {
      o["bytes"] = int64_t(row.bytes / runs);
      o["gb_per_second"] = row.byteRate() / 1e9;
    }
    if (row.roofShare() >= 0) {
      o["roof_share"] = row.roofShare();
    }
    return o;
  };
  json::Array kernels, bandwidths;
  for (const Row &row : profile.rows) {
    json::Object o = describe(row);
    o["name"] = toUTF8(row.name);
    o["nodes"] = json::Array(map_range(row.nodes, toUTF8));
    o["layers"] = row.layers;
    kernels.push_back(std::move(o));
  }
  for (const Bandwidth &bandwidth : profile.roof.bandwidths) {
    bandwidths.push_back(
        json::Object{{"bytes", int64_t(bandwidth.bytes)}, {"gb_per_second", bandwidth.bytesPerSecond / 1e9}});
  }
  return json::Object{{"ms_per_run", profile.wallSeconds * 1e3 / runs},
                      {"ms_in_kernels", profile.total.seconds * 1e3 / runs},
                      {"runs", int64_t(profile.runs)},
                      {"runs_counted", int64_t(profile.counted)},
                      {"threads", profile.threads},
                      {"inputs", json::Object(profile.inputs)},
                      {"roof_gflops", profile.roof.flopsPerSecond / 1e9},
                      {"roof_gb_per_second", profile.roof.memoryBytesPerSecond() / 1e9},
                      {"roof_bandwidths", std::move(bandwidths)},
                      {"all_kernels", describe(profile.total)},
                      {"kernels", std::move(kernels)}};
}

/// Adds the profile to the report of the artifact's compilation.
Error addToReport(const Profile &profile, StringRef path) {
  Expected<json::Object> report = readReport(path);
  if (!report) {
    return report.takeError();
  }
  std::vector<std::pair<std::string, json::Array>> own, theirs;
  for (const Row &kernel : profile.kernels) {
    own.emplace_back(toUTF8(kernel.name), json::Array(map_range(kernel.nodes, toUTF8)));
  }
  for (const json::Value &value : *report->getArray("kernels")) {
    const json::Object *kernel = value.getAsObject();
    const json::Array *nodes = kernel ? kernel->getArray("nodes") : nullptr;
    theirs.emplace_back(kernel ? kernel->getString("name").value_or("").str() : "",
                        nodes ? *nodes : json::Array());
  }
  if (own != theirs) {
    return modelError(ErrorCode::E0006, "the report is not of this artifact: their kernels differ")
        .file(path)
        .have(Twine(theirs.size()) + " kernels in the report, " + Twine(own.size()) + " in the artifact")
        .help("`lathe compile MODEL.onnx -o OUTPUT.so --report FILE` writes both");
  }
  (*report)["profile"] = toJSON(profile);
  return writeReport(path, std::move(*report));
}

/// The format of chrome://tracing and Perfetto.
Error writeTrace(const Profile &profile, StringRef path) {
  json::Array events;
  int64_t origin = profile.records.empty() ? 0 : profile.records.front().begin_ns;
  for (const lathe_profile_record &record : profile.records) {
    bool known = record.kernel >= 0 && size_t(record.kernel) < profile.kernels.size();
    json::Object arguments{{"parts", int64_t(record.parts)}, {"run", int64_t(record.run)}};
    if (known) {
      const Row &kernel = profile.kernels[record.kernel];
      arguments["nodes"] = json::Array(map_range(kernel.nodes, toUTF8));
      arguments["layers"] = kernel.layers;
    }
    if (record.flops >= 0) {
      arguments["flops"] = record.flops;
    }
    if (record.bytes >= 0) {
      arguments["bytes"] = record.bytes;
    }
    events.push_back(json::Object{{"name", known ? toUTF8(profile.kernels[record.kernel].name) : "?"},
                                  {"ph", "X"},
                                  {"pid", 1},
                                  {"tid", 1},
                                  {"ts", double(record.begin_ns - origin) / 1e3},
                                  {"dur", double(record.end_ns - record.begin_ns) / 1e3},
                                  {"args", std::move(arguments)}});
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
  if (!options.report.empty()) {
    if (Error error = addToReport(*profile, options.report)) {
      return error;
    }
  }
  if (options.json) {
    outs() << formatv("{0:2}\n", json::Value(toJSON(*profile)));
  } else {
    printTable(*profile);
  }
  return Error::success();
}

} // namespace

int lathe::profileCommand(const CommandContext &context) {
  ProfileOptions options;
  options.session.random = true;
  options.session.profileRecords = 1 << 16;
  Arguments arguments("profile", "MODEL.so [options]",
                      "Time of every kernel by the ONNX nodes that it computes, and its share of the "
                      "machine's roof: the least time that\n"
                      "its multiply-adds and its bytes allow, both measured here, over the time that it "
                      "took. Of a layer's kernel the\n"
                      "nodes are those of the first. Operations of functions such as exp count once.");
  addSessionOptions(arguments, options.session);
  arguments.number("--runs", "N", "of so many runs, the faster half counts (default 20)", options.runs, 1,
                   1'000'000);
  arguments.text("--trace", "FILE.json", "write a trace for chrome://tracing or Perfetto", options.trace);
  arguments.text("--report", "FILE.json|.html",
                 "add the times to the report that `lathe compile --report` wrote for this artifact",
                 options.report);
  arguments.flag("--json", "print JSON instead of a table", options.json);
  Expected<bool> goOn = arguments.parse(context.arguments);
  if (!goOn || !*goOn) {
    return reportError(goOn.takeError(), errs());
  }
  return reportError(profileModel(options), errs());
}
