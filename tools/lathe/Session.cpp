// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Session.h"
#include "Texts.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include <cmath>

using namespace llvm;
using namespace lathe;

Error lathe::splitNamedFile(StringRef option, StringRef text,
                            std::vector<std::pair<std::string, std::string>> &to) {
  auto [name, file] = text.split('=');
  if (name.empty() || file.empty()) {
    return modelError(ErrorCode::E0001, option + "=" + escapeText(text) + ": expects NAME=FILE.npy");
  }
  to.emplace_back(name.str(), file.str());
  return Error::success();
}

void lathe::addSessionOptions(Arguments &arguments, SessionOptions &options) {
  arguments.positional("a compiled model", options.model);
  arguments.text("--inputs", "FILE.npz", "all inputs by name", options.inputs);
  arguments.value("--input", "NAME=FILE.npy", "one input; may be repeated",
                  [&](StringRef text) { return splitNamedFile("--input", text, options.inputFiles); });
  arguments.flag("--random", "random values for inputs that are not given", options.random);
  arguments.number("--seed", "N", "of the random values (default 0)", options.seed);
  arguments.value("--shape", "NAME=SIZES", "S=128 or x=1x128, for random inputs; may be repeated",
                  [&](StringRef text) -> Error {
                    Expected<ShapeOption> shape = ShapeOption::parse(text);
                    if (!shape) {
                      return shape.takeError();
                    }
                    if (shape->range || is_contained(shape->dims, -1)) {
                      return modelError(ErrorCode::E0001, "--shape=" + escapeText(text) + ": expects sizes");
                    }
                    options.shapes.push_back(std::move(*shape));
                    return Error::success();
                  });
  arguments.number("--threads", "N", "0: one per core (default)", options.threads, 0, 4096);
  arguments.value("--device", "N",
                  "run on this device of the CUDA driver (default 0 where kernels run on one)",
                  [&](StringRef text) -> Error {
                    int64_t number = 0;
                    Error error = Arguments::parseNumber("--device", text, 0, 1023, number);
                    options.device = unsigned(number);
                    return error;
                  });
  arguments.value("--check", "full|lazy|off", "when the weights' checksums are compared (default full)",
                  [&](StringRef text) -> Error {
                    if (text != "full" && text != "lazy" && text != "off") {
                      return modelError(ErrorCode::E0001,
                                        "--check=" + escapeText(text) + ": expects full, lazy or off");
                    }
                    options.check = text == "full"   ? LATHE_CHECK_FULL
                                    : text == "lazy" ? LATHE_CHECK_LAZY
                                                     : LATHE_CHECK_OFF;
                    return Error::success();
                  });
}

static ErrorCode codeOf(lathe_error_code code) {
  switch (code) {
  case LATHE_ERROR_FILE:
    return ErrorCode::E0002;
  case LATHE_ERROR_MEMORY:
    return ErrorCode::E0705;
  case LATHE_ERROR_NOT_ARTIFACT:
  case LATHE_ERROR_TRUNCATED:
  case LATHE_ERROR_CORRUPT:
    return ErrorCode::E0601;
  case LATHE_ERROR_VERSION:
    return ErrorCode::E0602;
  case LATHE_ERROR_CPU:
    return ErrorCode::E0603;
  case LATHE_ERROR_ARGUMENT:
  case LATHE_ERROR_UNBOUND:
    return ErrorCode::E0701;
  case LATHE_ERROR_TYPE:
  case LATHE_ERROR_SHAPE:
    return ErrorCode::E0702;
  case LATHE_ERROR_INDEX:
  case LATHE_ERROR_DIVISION:
  case LATHE_ERROR_DEADLINE:
  case LATHE_ERROR_HOST:
  case LATHE_ERROR_LOOP:
  case LATHE_ERROR_DATA:
    return ErrorCode::E0704;
  case LATHE_ERROR_COMPONENT:
    return ErrorCode::E0005;
  case LATHE_ERROR_DEVICE:
    return ErrorCode::E0604;
  default:
    return ErrorCode::E0900;
  }
}

Error lathe::runtimeError(StringRef path) {
  ErrorBuilder error = modelError(codeOf(lathe_last_error_code()), lathe_last_error());
  // The first of the nodes that the failing kernel computes.
  return error.file(path).node(StringRef(lathe_last_error_node()).split('\n').first);
}

std::string lathe::describe(const lathe_model_t *model, const lathe_value &value) {
  SmallVector<std::string> dims;
  for (int64_t dim : ArrayRef(value.dims, value.rank)) {
    lathe_symbol symbol;
    if (dim >= 0) {
      dims.push_back(std::to_string(dim));
    } else if (dim == LATHE_DIM_COMPUTED || lathe_model_symbol(model, size_t(~dim), &symbol) != LATHE_OK) {
      dims.push_back("?");
    } else {
      dims.push_back(escapeText(symbol.name));
    }
  }
  return std::string(lathe_dtype_name(value.dtype)) + " [" + join(dims, ", ") + "]";
}

std::string lathe::describe(uint32_t dtype, ArrayRef<int64_t> dims) {
  return std::string(lathe_dtype_name(dtype)) + " [" +
         join(map_range(dims, [](int64_t dim) { return std::to_string(dim); }), ", ") + "]";
}

namespace {

/// SplitMix64: the same values on every machine.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed) {}
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  /// In [-1, 1).
  double uniform() { return double(next() >> 11) / double(uint64_t(1) << 52) - 1; }

private:
  uint64_t state;
};

template <typename T>
void fill(Array &array, function_ref<T()> make) {
  MutableArrayRef<T> values(reinterpret_cast<T *>(array.bytes.data()), array.bytes.size() / sizeof(T));
  for (T &value : values) {
    value = make();
  }
}

template <typename Bits>
Bits toBits(double value, const fltSemantics &semantics) {
  APFloat number(APFloat::semanticsHasSignedRepr(semantics) ? value : std::abs(value));
  bool losesInfo;
  number.convert(semantics, APFloat::rmNearestTiesToEven, &losesInfo);
  return Bits(number.bitcastToAPInt().getZExtValue());
}

/// Floats in [-1, 1). Integers are 0 or 1, good indices into any table; masks let everything through.
void fillRandom(Array &array, Random &random) {
  auto integer = [&] {
    return StringRef(array.name).contains_insensitive("mask") ? 1 : int(random.next() & 1);
  };
  if (const fltSemantics *semantics = semanticsOf(array.dtype)) {
    return lathe_dtype_bytes(array.dtype) == 2
               ? fill<uint16_t>(array, [&] { return toBits<uint16_t>(random.uniform(), *semantics); })
               : fill<uint8_t>(array, [&] { return toBits<uint8_t>(random.uniform(), *semantics); });
  }
  switch (array.dtype) {
  case LATHE_FLOAT32:
  case LATHE_COMPLEX64:
    return fill<float>(array, [&] { return float(random.uniform()); });
  case LATHE_FLOAT64:
  case LATHE_COMPLEX128:
    return fill<double>(array, [&] { return random.uniform(); });
  case LATHE_INT64:
  case LATHE_UINT64:
    return fill<int64_t>(array, integer);
  case LATHE_INT32:
  case LATHE_UINT32:
    return fill<int32_t>(array, integer);
  case LATHE_INT16:
  case LATHE_UINT16:
    return fill<int16_t>(array, integer);
  default:
    return fill<int8_t>(array, integer);
  }
}

} // namespace

const fltSemantics *lathe::semanticsOf(uint32_t dtype) {
  switch (dtype) {
  case LATHE_FLOAT16:
    return &APFloat::IEEEhalf();
  case LATHE_BFLOAT16:
    return &APFloat::BFloat();
  case LATHE_FLOAT8E4M3FN:
    return &APFloat::Float8E4M3FN();
  case LATHE_FLOAT8E4M3FNUZ:
    return &APFloat::Float8E4M3FNUZ();
  case LATHE_FLOAT8E5M2:
    return &APFloat::Float8E5M2();
  case LATHE_FLOAT8E5M2FNUZ:
    return &APFloat::Float8E5M2FNUZ();
  case LATHE_FLOAT8E8M0:
    return &APFloat::Float8E8M0FNU();
  case LATHE_FLOAT4E2M1:
    return &APFloat::Float4E2M1FN();
  case LATHE_FLOAT6E2M3:
    return &APFloat::Float6E2M3FN();
  case LATHE_FLOAT6E3M2:
    return &APFloat::Float6E3M2FN();
  default:
    return nullptr;
  }
}

Expected<std::map<std::string, int64_t>> Session::chooseSymbols(const SessionOptions &options) {
  std::map<std::string, int64_t> values;
  for (size_t i = 0; i < modelInfo.symbol_count; ++i) {
    lathe_symbol symbol;
    if (lathe_model_symbol(modelHandle, i, &symbol) != LATHE_OK) {
      return runtimeError(path);
    }
    int64_t wanted = StringRef(symbol.name).contains_insensitive("batch") ? 1 : 16;
    values[symbol.name] = std::clamp(wanted, symbol.min, symbol.max);
  }
  for (const ShapeOption &shape : options.shapes) {
    if (auto found = values.find(shape.name); found != values.end() && shape.dims.size() == 1) {
      found->second = shape.dims.front();
      continue;
    }
    lathe_value value;
    if (lathe_model_input(modelHandle, lathe_model_find_input(modelHandle, shape.name.c_str()), &value) !=
        LATHE_OK) {
      return modelError(ErrorCode::E0004, "--shape=" + escapeText(shape.str()) +
                                              ": the model has no input or symbol " + quoteText(shape.name))
          .file(path);
    }
    if (shape.dims.size() != value.rank) {
      return modelError(ErrorCode::E0004, "--shape=" + escapeText(shape.str()) + ": the input has rank " +
                                              Twine(value.rank) + ", not " + Twine(shape.dims.size()))
          .file(path);
    }
    for (auto [dim, size] : zip(ArrayRef(value.dims, value.rank), shape.dims)) {
      lathe_symbol symbol;
      if (dim < 0 && lathe_model_symbol(modelHandle, size_t(~dim), &symbol) == LATHE_OK) {
        values[symbol.name] = size;
      } else if (dim != size) {
        return modelError(ErrorCode::E0004, "--shape=" + escapeText(shape.str()) +
                                                ": a dimension is fixed to " + Twine(dim) + ", not " +
                                                Twine(size))
            .file(path);
      }
    }
  }
  return values;
}

Error Session::makeRandomInputs(const SessionOptions &options) {
  Expected<std::map<std::string, int64_t>> symbols = chooseSymbols(options);
  if (!symbols) {
    return symbols.takeError();
  }
  Random random(options.seed);
  for (size_t i = 0; i < modelInfo.input_count; ++i) {
    lathe_value value;
    if (lathe_model_input(modelHandle, i, &value) != LATHE_OK) {
      return runtimeError(path);
    }
    if (any_of(arrays, [&](const Array &a) { return a.name == value.name; })) {
      continue;
    }
    Array array;
    array.name = value.name;
    array.dtype = value.dtype;
    int64_t bytes = int64_t(lathe_dtype_bytes(value.dtype));
    for (int64_t dim : ArrayRef(value.dims, value.rank)) {
      lathe_symbol symbol;
      if (dim < 0) {
        if (lathe_model_symbol(modelHandle, size_t(~dim), &symbol) != LATHE_OK) {
          return runtimeError(path);
        }
        dim = symbols->at(symbol.name);
      }
      array.dims.push_back(dim);
      if (MulOverflow<int64_t>(bytes, dim, bytes) || bytes > int64_t(1) << 40) {
        return modelError(ErrorCode::E0004, "input " + quoteText(array.name) + " would have more than 1 TiB")
            .file(path);
      }
    }
    array.bytes = AlignedBytes(size_t(bytes));
    fillRandom(array, random);
    if (int64_t number; value.dtype == LATHE_STRING) {
      if (lathe_session_add_text(session, "a", 1, &number) != LATHE_OK) {
        return runtimeError(path);
      }
      fill<int64_t>(array, [&] { return number; });
    }
    arrays.push_back(std::move(array));
  }
  return Error::success();
}

Error Session::readInputs(const SessionOptions &options) {
  if (!options.inputs.empty()) {
    Expected<std::vector<Array>> all = readNpz(options.inputs);
    if (!all) {
      return all.takeError();
    }
    arrays = std::move(*all);
  }
  for (const auto &[name, file] : options.inputFiles) {
    Expected<Array> array = readNpy(file);
    if (!array) {
      return array.takeError();
    }
    array->name = name;
    arrays.push_back(std::move(*array));
  }
  for (size_t i = 0; i < arrays.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (arrays[i].name == arrays[j].name) {
        return modelError(ErrorCode::E0701, "input " + quoteText(arrays[i].name) + " is given twice")
            .file(path);
      }
    }
  }
  return Error::success();
}

Error Session::bind() {
  SmallVector<std::string> missing;
  for (size_t i = 0; i < modelInfo.input_count; ++i) {
    lathe_value value;
    if (lathe_model_input(modelHandle, i, &value) != LATHE_OK) {
      return runtimeError(path);
    }
    if (none_of(arrays, [&](const Array &a) { return a.name == value.name; })) {
      missing.push_back(quoteText(value.name) + " " + describe(modelHandle, value));
    }
  }
  if (!missing.empty()) {
    return modelError(ErrorCode::E0701, "no value for input " + join(missing, ", "))
        .file(path)
        .help("--inputs all.npz, --input NAME=FILE.npy, or --random");
  }
  for (Array &array : arrays) {
    if (array.width >= 0 && !toNumbers(session, array)) {
      return runtimeError(path);
    }
    size_t index = lathe_model_find_input(modelHandle, array.name.c_str());
    if (index == SIZE_MAX) {
      return modelError(ErrorCode::E0701, "the model has no input " + quoteText(array.name))
          .file(path)
          .help("`lathe inspect " + escapeText(path) + "` lists the inputs");
    }
    lathe_tensor tensor = {};
    lathe_value value;
    if (lathe_model_input(modelHandle, index, &value) != LATHE_OK) {
      return runtimeError(path);
    }
    // What numpy has no type for is saved as its bits.
    bool isBits = isSavedAsBits(value.dtype) && numpyName(value.dtype) == numpyName(array.dtype);
    tensor.data = array.bytes.data();
    tensor.dtype = isBits ? value.dtype : array.dtype;
    tensor.rank = array.dims.size();
    tensor.dims = array.dims.data();
    if (lathe_session_bind_input(session, index, &tensor) != LATHE_OK) {
      return runtimeError(path);
    }
  }
  return Error::success();
}

Expected<std::unique_ptr<Session>> Session::open(const SessionOptions &options) {
  std::unique_ptr<Session> result(new Session());
  result->path = options.model;
  lathe_open_options open = LATHE_OPEN_OPTIONS;
  open.check = options.check;
  open.device = options.device.value_or(0);
  if (lathe_open(options.model.c_str(), &open, &result->modelHandle) != LATHE_OK) {
    return runtimeError(options.model);
  }
  lathe_session_options session = LATHE_SESSION_OPTIONS;
  session.threads = options.threads;
  session.profile_records = options.profileRecords;
  if (lathe_model_get_info(result->modelHandle, &result->modelInfo) != LATHE_OK) {
    return runtimeError(options.model);
  }
  if (options.device && StringRef(result->modelInfo.variant) != "cuda") {
    return modelError(ErrorCode::E0604, "--device=" + Twine(*options.device) + ": the variant " +
                                            result->modelInfo.variant + " runs on the processor")
        .file(options.model);
  }
  if (lathe_session_create(result->modelHandle, &session, &result->session) != LATHE_OK) {
    return runtimeError(options.model);
  }
  if (Error error = result->readInputs(options)) {
    return error;
  }
  if (options.random) {
    if (Error error = result->makeRandomInputs(options)) {
      return error;
    }
  }
  if (Error error = result->bind()) {
    return error;
  }
  return result;
}

Session::~Session() {
  lathe_session_close(session);
  lathe_close(modelHandle);
}

Error Session::run() {
  return lathe_session_run(session) == LATHE_OK ? Error::success() : runtimeError(path);
}

Expected<ArrayView> Session::output(size_t index) const {
  lathe_value value;
  lathe_tensor tensor;
  if (lathe_model_output(modelHandle, index, &value) != LATHE_OK ||
      lathe_session_output(session, index, &tensor) != LATHE_OK) {
    return runtimeError(path);
  }
  size_t bytes = lathe_dtype_bytes(tensor.dtype);
  for (int64_t dim : ArrayRef(tensor.dims, tensor.rank)) {
    bytes *= size_t(dim);
  }
  return ArrayView{value.name, tensor.dtype, ArrayRef(tensor.dims, tensor.rank),
                   ArrayRef(static_cast<const char *>(tensor.data), bytes)};
}
