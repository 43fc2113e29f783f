// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Arguments.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"

using namespace llvm;
using namespace lathe;

void Arguments::value(StringRef name, StringRef meta, StringRef help, Setter set) {
  options.push_back({name.str(), meta.str(), help.str(), /*isFlag=*/false, hiding, std::move(set)});
}

void Arguments::size(StringRef name, StringRef meta, StringRef help, uint64_t &to, uint64_t max) {
  value(name, meta, help, [name = name.str(), &to, max](StringRef text) -> Error {
    StringRef digits = text;
    unsigned shift = digits.consume_back("k")   ? 10
                     : digits.consume_back("M") ? 20
                     : digits.consume_back("G") ? 30
                                                : 0;
    uint64_t number = 0;
    if (digits.getAsInteger(10, number) || number == 0 || number > max >> shift) {
      return modelError(ErrorCode::E0001, name + "=" + escapeText(text) + ": expects a number from 1 to " +
                                              Twine(max) + ", as 4000000000 or 4G");
    }
    to = number << shift;
    return Error::success();
  });
}

void Arguments::flag(StringRef name, StringRef help, std::function<void()> set) {
  auto setter = [set = std::move(set)](StringRef) {
    set();
    return Error::success();
  };
  options.push_back({name.str(), "", help.str(), /*isFlag=*/true, hiding, setter});
}

void Arguments::text(StringRef name, StringRef meta, StringRef help, std::string &to) {
  value(name, meta, help, [&to](StringRef text) {
    to = text.str();
    return Error::success();
  });
}

void Arguments::positional(StringRef meta, std::string &to, bool required) {
  positionals.push_back({meta.str(), &to, required});
}

Error Arguments::parseNumber(StringRef name, StringRef text, int64_t min, int64_t max, int64_t &to) {
  if (text.getAsInteger(10, to) || to < min || to > max) {
    std::string bounds = "at least " + std::to_string(min);
    if (max != INT64_MAX) {
      bounds = "from " + std::to_string(min) + " to " + std::to_string(max);
    }
    return modelError(ErrorCode::E0001, name + "=" + escapeText(text) + ": expects a number " + bounds);
  }
  return Error::success();
}

const Arguments::Option *Arguments::find(StringRef name) const {
  auto found = find_if(options, [&](const Option &o) { return o.name == name; });
  return found == options.end() ? nullptr : &*found;
}

Error Arguments::refuse(const Twine &message) const {
  return modelError(ErrorCode::E0001, message).help("`lathe " + command + " --help` lists the options");
}

Error Arguments::unknown(StringRef name) const {
  const Option *nearest = nullptr;
  unsigned best = 3;
  for (const Option &option : options) {
    unsigned distance = name.edit_distance(option.name, /*AllowReplacements=*/true, best);
    if (!option.hidden && distance < best) {
      best = distance;
      nearest = &option;
    }
  }
  std::string guess = nearest ? ", did you mean " + nearest->name + "?" : "";
  return refuse("unknown option " + escapeText(name) + guess);
}

Expected<bool> Arguments::parse(ArrayRef<StringRef> arguments) const {
  size_t nextPositional = 0;
  bool onlyPositionals = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    StringRef argument = arguments[i];
    if (argument == "--" && !onlyPositionals) {
      onlyPositionals = true;
      continue;
    }
    if (onlyPositionals || argument == "-" || !argument.starts_with("-")) {
      if (nextPositional == positionals.size()) {
        return refuse("unexpected argument " + quoteText(argument));
      }
      *positionals[nextPositional++].to = argument.str();
      continue;
    }
    if (argument == "--help" || argument == "-h") {
      printHelp(outs());
      return false;
    }
    auto [name, text] = argument.split('=');
    bool hasText = name.size() != argument.size();
    const Option *option = find(name);
    if (!option) {
      return unknown(name);
    }
    if (option->isFlag && hasText) {
      return refuse(name + " takes no value");
    }
    if (!option->isFlag && !hasText) {
      if (i + 1 == arguments.size()) {
        return refuse(name + " expects " + option->meta);
      }
      text = arguments[++i];
    }
    if (Error error = option->set(text)) {
      return error;
    }
  }
  for (const Positional &missing : ArrayRef(positionals).drop_front(nextPositional)) {
    if (missing.required) {
      return refuse("expects " + missing.meta);
    }
  }
  return true;
}

void Arguments::printHelp(raw_ostream &os) const {
  os << "usage: lathe " << command << ' ' << usage << "\n\n" << summary << "\n\n";
  for (const Option &option : options) {
    if (option.hidden) {
      continue;
    }
    std::string left =
        option.name + (option.meta.empty() ? "" : (option.name.size() > 2 ? "=" : " ") + option.meta);
    os << "  " << left_justify(left, 30) << (left.size() > 30 ? "\n" + std::string(32, ' ') : "")
       << option.help << '\n';
  }
}
