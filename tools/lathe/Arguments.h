// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The command line of one sub-command, as a table.

#ifndef LATHE_TOOLS_LATHE_ARGUMENTS_H
#define LATHE_TOOLS_LATHE_ARGUMENTS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/raw_ostream.h"
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace lathe {

/// Declares options, then parses `--name=value`, `--name value` and `-o value` into the variables behind
/// them. (LLVM's own parser keeps its options in globals, among them those of every library that is linked
/// in.)
class Arguments {
public:
  /// `usage` is what follows the command's name: "MODEL -o OUTPUT [options]".
  Arguments(llvm::StringRef command, llvm::StringRef usage, llvm::StringRef summary)
      : command(command), usage(usage), summary(summary) {}

  using Setter = std::function<llvm::Error(llvm::StringRef)>;
  /// `name` with its dashes. `meta` stands for the value in the help.
  void value(llvm::StringRef name, llvm::StringRef meta, llvm::StringRef help, Setter set);
  void flag(llvm::StringRef name, llvm::StringRef help, std::function<void()> set);

  void text(llvm::StringRef name, llvm::StringRef meta, llvm::StringRef help, std::string &to);
  void flag(llvm::StringRef name, llvm::StringRef help, bool &to) {
    flag(name, help, [&to] { to = true; });
  }
  template <typename T>
  void number(llvm::StringRef name, llvm::StringRef meta, llvm::StringRef help, T &to, int64_t min = 0,
              int64_t max = INT64_MAX) {
    value(name, meta, help, [name, &to, min, max](llvm::StringRef text) {
      int64_t parsed = 0;
      llvm::Error error = parseNumber(name, text, min, max, parsed);
      to = T(parsed);
      return error;
    });
  }
  /// A number that may end in k, M or G: powers of 1024.
  void size(llvm::StringRef name, llvm::StringRef meta, llvm::StringRef help, uint64_t &to, uint64_t max);
  /// For the number of an option that is kept elsewhere.
  static llvm::Error parseNumber(llvm::StringRef name, llvm::StringRef text, int64_t min, int64_t max,
                                 int64_t &to);

  /// The next positional argument. Those that are not `required` come last.
  void positional(llvm::StringRef meta, std::string &to, bool required = true);

  /// What is declared from here on stands in no help.
  void hideRest() { hiding = true; }

  /// False if help was asked for and printed.
  llvm::Expected<bool> parse(llvm::ArrayRef<llvm::StringRef> arguments) const;
  void printHelp(llvm::raw_ostream &os) const;

private:
  struct Option {
    std::string name, meta, help;
    bool isFlag, hidden;
    Setter set;
  };
  struct Positional {
    std::string meta;
    std::string *to;
    bool required;
  };
  const Option *find(llvm::StringRef name) const;
  llvm::Error unknown(llvm::StringRef name) const;
  llvm::Error refuse(const llvm::Twine &message) const;

  std::string command, usage, summary;
  bool hiding = false;
  std::vector<Option> options;
  std::vector<Positional> positionals;
};

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_ARGUMENTS_H
