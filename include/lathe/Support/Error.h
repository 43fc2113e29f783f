// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Errors as users see them: a stable code, one cause, and the place in the model.

#ifndef LATHE_SUPPORT_ERROR_H
#define LATHE_SUPPORT_ERROR_H

#include "llvm/ADT/Twine.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"
#include <optional>
#include <string>
#include <vector>

namespace lathe {

/// Whose fault an error is; the driver's exit status.
enum class ErrorClass { Usage = 1, Unsupported = 2, Invalid = 3, Internal = 4 };

/// The codes of ErrorCodes.def.
enum class ErrorCode {
#define LATHE_ERROR(code, errorClass, title, explanation) code,
#include "lathe/Support/ErrorCodes.def"
};

struct ErrorCodeInfo {
  ErrorCode code;
  llvm::StringRef name; // "E0304"
  ErrorClass errorClass;
  llvm::StringRef title, explanation;
};

llvm::ArrayRef<ErrorCodeInfo> allErrorCodes();
const ErrorCodeInfo &infoOf(ErrorCode code);
/// The code called `name` ("E0304").
std::optional<ErrorCode> parseErrorCode(llvm::StringRef name);

/// An error with its place in the model. All text is held as it was found; rendering escapes it.
class ModelError : public llvm::ErrorInfo<ModelError> {
public:
  static char ID;

  ModelError(ErrorCode code, const llvm::Twine &message) : code(code), message(message.str()) {}

  ErrorCode code;
  std::string message;
  /// The model, with a line and column where it is text.
  std::string file;
  std::string position;
  /// The node: its name, its place in its graph, its operator.
  std::string node, opType, domain;
  std::optional<int64_t> nodeIndex, opset;
  std::string attribute;
  /// From the outermost graph inwards: `graph "main_graph"`, `If "/gate" then_branch`.
  std::vector<std::string> graphPath;
  /// The offending values, and what to do about them.
  std::string have, help;
  /// Further findings of the same kind, one a line.
  std::vector<std::string> notes;

  ErrorClass errorClass() const { return infoOf(code).errorClass; }

  /// Several lines, with a line break at the end.
  void render(llvm::raw_ostream &os) const;
  std::string render() const;
  llvm::json::Object toJSON() const;
  /// The reverse; none where `value` is no such object.
  static std::optional<ModelError> fromJSON(const llvm::json::Value &value);

  void log(llvm::raw_ostream &os) const override { render(os); }
  std::error_code convertToErrorCode() const override { return llvm::inconvertibleErrorCode(); }
};

/// Builds a ModelError: `return modelError(ErrorCode::E0304, "strides[0] is 0, must be at least
/// 1").node(name, 17) .op("Conv", "", 17).attribute("strides");` from any function that returns an
/// llvm::Error or llvm::Expected.
class [[nodiscard]] ErrorBuilder {
public:
  explicit ErrorBuilder(ModelError error) : error(std::move(error)) {}

  ErrorBuilder &file(llvm::StringRef path) { return error.file = path.str(), *this; }
  ErrorBuilder &position(llvm::StringRef place) { return error.position = place.str(), *this; }
  ErrorBuilder &node(llvm::StringRef name, std::optional<int64_t> index = std::nullopt) {
    error.node = name.str();
    error.nodeIndex = index;
    return *this;
  }
  ErrorBuilder &op(llvm::StringRef opType, llvm::StringRef domain = "",
                   std::optional<int64_t> opset = std::nullopt) {
    error.opType = opType.str();
    error.domain = domain.str();
    error.opset = opset;
    return *this;
  }
  ErrorBuilder &attribute(llvm::StringRef name) { return error.attribute = name.str(), *this; }
  ErrorBuilder &graphPath(std::vector<std::string> path) { return error.graphPath = std::move(path), *this; }
  ErrorBuilder &have(const llvm::Twine &values) { return error.have = values.str(), *this; }
  ErrorBuilder &help(const llvm::Twine &advice) { return error.help = advice.str(), *this; }
  ErrorBuilder &note(const llvm::Twine &text) { return error.notes.push_back(text.str()), *this; }

  /// The error itself, for those who collect several.
  ModelError take() { return std::move(error); }
  operator llvm::Error() { return llvm::make_error<ModelError>(std::move(error)); }
  template <typename T>
  operator llvm::Expected<T>() {
    return llvm::make_error<ModelError>(std::move(error));
  }

private:
  ModelError error;
};

inline ErrorBuilder modelError(ErrorCode code, const llvm::Twine &message) {
  return ErrorBuilder(ModelError(code, message));
}

/// An error of the operating system: "cannot open "x": no such file or directory".
ErrorBuilder systemError(ErrorCode code, const llvm::Twine &what, int errorNumber);

/// What `error` holds, one after the other. Anything that is not a ModelError becomes an internal one.
std::vector<ModelError> takeModelErrors(llvm::Error error);

/// Prints all of `error` and returns the exit status, that of the first; 0 for success.
int reportError(llvm::Error error, llvm::raw_ostream &os);

} // namespace lathe

#endif // LATHE_SUPPORT_ERROR_H
