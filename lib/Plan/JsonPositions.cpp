// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "JsonPositions.h"

#include "llvm/Support/JSON.h"

using namespace llvm;
using namespace lathe;

/// No name of a file's node or weight contains the character between the steps.
static void append(std::string &path, StringRef step) {
  path += '\0';
  path += step;
}

std::string JsonPositions::nextPath() const {
  std::string path;
  if (!stack.empty()) {
    path = stack.back().path;
    append(path, stack.back().isObject ? stack.back().key : std::to_string(stack.back().next));
  }
  return path;
}

void JsonPositions::addString(size_t begin, size_t end) {
  if (stack.empty() || !stack.back().isObject || !stack.back().expectsKey) {
    offsets.try_emplace(nextPath(), begin);
    return;
  }
  Expected<json::Value> key = json::parse(text.slice(begin, end));
  if (!key) {
    consumeError(key.takeError()); // the parser will say it
    return;
  }
  stack.back().key = key->getAsString().value_or("").str();
  stack.back().expectsKey = false;
  // The key stands for its value until that is found: it is there that a second one is noticed.
  if (!offsets.try_emplace(nextPath(), begin).second && !twice) {
    twice = {stack.back().key, positionOf(begin)};
  }
}

JsonPositions::JsonPositions(StringRef text) : text(text) {
  for (size_t i = 0; i < text.size(); ++i) {
    switch (text[i]) {
    case '{':
    case '[': {
      if (stack.size() == maxDepth) {
        tooDeep = true;
        return;
      }
      std::string path = nextPath();
      offsets.try_emplace(path, i);
      stack.push_back({text[i] == '{', std::move(path)});
      break;
    }
    case '}':
    case ']':
      if (!stack.empty()) {
        stack.pop_back();
      }
      break;
    case ',':
      if (!stack.empty()) {
        ++stack.back().next;
        stack.back().expectsKey = true;
      }
      break;
    case '"': {
      size_t end = i + 1;
      while (end < text.size() && text[end] != '"') {
        end += text[end] == '\\' ? 2 : 1;
      }
      addString(i, std::min(end + 1, text.size()));
      i = end;
      break;
    }
    case ':':
    case ' ':
    case '\t':
    case '\r':
    case '\n':
      break;
    default: // numbers and words: their first character is seen first
      offsets.try_emplace(nextPath(), i);
    }
  }
}

std::string JsonPositions::positionOf(size_t offset) const {
  StringRef before = text.take_front(offset);
  size_t lineBegin = before.rfind('\n');
  size_t column = lineBegin == StringRef::npos ? offset : offset - lineBegin - 1;
  return std::to_string(before.count('\n') + 1) + ":" + std::to_string(column + 1);
}

std::string JsonPositions::of(ArrayRef<StringRef> path) const {
  std::string joined;
  for (StringRef step : path) {
    append(joined, step);
  }
  auto found = offsets.find(joined);
  return found == offsets.end() ? std::string() : positionOf(found->second);
}
