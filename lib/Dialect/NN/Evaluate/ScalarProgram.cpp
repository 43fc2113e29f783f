// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Every value has a register of kChunk lanes. A lane of f32 is a float and one of f64 a double; integers and
/// narrower floats are bits, extended with zeros to 64.

#include "lathe/Dialect/NN/Evaluate/ScalarProgram.h"
#include "ScalarFunctions.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

#include <cmath>
#include <cstring>

using namespace mlir;

namespace lathe::nn {

namespace {
/// What the lanes of a type are.
enum class Lanes { Bits, Float, Double };

std::optional<Lanes> getLanes(Type type) {
  if (type.isF32()) {
    return Lanes::Float;
  }
  if (type.isF64()) {
    return Lanes::Double;
  }
  return type.isIntOrFloat() && type.getIntOrFloatBitWidth() <= 64 ? std::optional(Lanes::Bits)
                                                                   : std::nullopt;
}

APFloat toAPFloat(float x) { return APFloat(x); }
APFloat toAPFloat(double x) { return APFloat(x); }
} // namespace

/// Translates op after op.
class ScalarProgramBuilder {
public:
  std::unique_ptr<ScalarProgram> build(PointwiseOpInterface op);

private:
  using Step = ScalarProgram::Step;

  /// The register of a value, as lanes of T.
  template <typename T>
  T *lanes(Value value) {
    void *&found = registers[value];
    if (!found) {
      program->registers.push_back(std::make_unique<char[]>(ScalarProgram::kChunk * sizeof(Bits)));
      found = program->registers.back().get();
    }
    return static_cast<T *>(found);
  }

  static unsigned widthOf(Value value) { return value.getType().getIntOrFloatBitWidth(); }
  static Lanes lanesOf(Value value) { return *getLanes(value.getType()); }
  static bool isNarrowFloat(Value value) {
    return isa<FloatType>(value.getType()) && lanesOf(value) == Lanes::Bits;
  }

  /// The bit that holds the sign of a float.
  static Bits signOf(Operation &op) { return Bits(1) << (widthOf(op.getResult(0)) - 1); }

  /// Steps that apply a function of the operands' lanes.
  template <typename To, typename X, typename F>
  Step map(Operation &op, F function) {
    const X *x = lanes<X>(op.getOperand(0));
    To *to = lanes<To>(op.getResult(0));
    return [=](int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        to[i] = function(x[i]);
      }
    };
  }
  template <typename To, typename X, typename F>
  Step map2(Operation &op, F function) {
    const X *x = lanes<X>(op.getOperand(0)), *y = lanes<X>(op.getOperand(1));
    To *to = lanes<To>(op.getResult(0));
    return [=](int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        to[i] = function(x[i], y[i]);
      }
    };
  }

  /// Functions of floats of one type; no step for narrow ones.
  template <typename F>
  Step mapFloats(Operation &op, F function) {
    Lanes kind = lanesOf(op.getOperand(0));
    return kind == Lanes::Float    ? map<float, float>(op, function)
           : kind == Lanes::Double ? map<double, double>(op, function)
                                   : Step();
  }
  template <typename F>
  Step mapFloats2(Operation &op, F function) {
    Lanes kind = lanesOf(op.getOperand(0));
    return kind == Lanes::Float    ? map2<float, float>(op, function)
           : kind == Lanes::Double ? map2<double, double>(op, function)
                                   : Step();
  }
  /// A function of the bits of two integers; its result is cut to their width.
  template <typename F>
  Step mapBits2(Operation &op, F function) {
    unsigned width = widthOf(op.getResult(0));
    return map2<Bits, Bits>(op, [=](Bits x, Bits y) { return mask(function(x, y, width), width); });
  }

  Step translate(Operation &op);
  Step translateInteger(Operation &op);
  Step translateFloat(Operation &op);
  Step translateConversion(Operation &op);
  Step convertFloat(Operation &op);
  Step bitcast(Operation &op);
  Step select(arith::SelectOp op);
  bool addConstant(arith::ConstantOp op);
  void addLoad(Value argument);
  void addStore(Value result);

  std::unique_ptr<ScalarProgram> program;
  llvm::DenseMap<Value, void *> registers;
};

ScalarProgramBuilder::Step ScalarProgramBuilder::translateInteger(Operation &op) {
  return llvm::TypeSwitch<Operation *, Step>(&op)
      .Case([&](arith::AddIOp) { return mapBits2(op, [](Bits x, Bits y, unsigned) { return x + y; }); })
      .Case([&](arith::SubIOp) { return mapBits2(op, [](Bits x, Bits y, unsigned) { return x - y; }); })
      .Case([&](arith::MulIOp) { return mapBits2(op, [](Bits x, Bits y, unsigned) { return x * y; }); })
      .Case([&](arith::AndIOp) { return mapBits2(op, [](Bits x, Bits y, unsigned) { return x & y; }); })
      .Case([&](arith::OrIOp) { return mapBits2(op, [](Bits x, Bits y, unsigned) { return x | y; }); })
      .Case([&](arith::XOrIOp) { return mapBits2(op, [](Bits x, Bits y, unsigned) { return x ^ y; }); })
      .Case([&](arith::DivSIOp) {
        return mapBits2(op, [](Bits x, Bits y, unsigned width) { return divide(x, y, width, true, true); });
      })
      .Case([&](arith::DivUIOp) {
        return mapBits2(op, [](Bits x, Bits y, unsigned width) { return divide(x, y, width, false, true); });
      })
      .Case([&](arith::RemSIOp) {
        return mapBits2(op, [](Bits x, Bits y, unsigned width) { return divide(x, y, width, true, false); });
      })
      .Case([&](arith::RemUIOp) {
        return mapBits2(op, [](Bits x, Bits y, unsigned width) { return divide(x, y, width, false, false); });
      })
      .Case([&](arith::ShLIOp) {
        return mapBits2(op, [](Bits x, Bits y, unsigned width) { return y < width ? x << y : 0; });
      })
      .Case([&](arith::ShRUIOp) {
        return mapBits2(op, [](Bits x, Bits y, unsigned width) { return y < width ? x >> y : 0; });
      })
      .Case([&](arith::ShRSIOp) {
        return mapBits2(op, [](Bits x, Bits y, unsigned width) {
          return Bits(toSigned(x, width) >> std::min<Bits>(y, width - 1));
        });
      })
      .Case([&](arith::CmpIOp compare) {
        unsigned width = widthOf(op.getOperand(0));
        arith::CmpIPredicate predicate = compare.getPredicate();
        return map2<Bits, Bits>(op, [=](Bits x, Bits y) -> Bits {
          return arith::applyCmpPredicate(predicate, APInt(width, x), APInt(width, y));
        });
      })
      .Case([&](arith::MulUIExtendedOp multiply) -> Step {
        unsigned width = widthOf(multiply.getLow());
        const Bits *x = lanes<Bits>(multiply.getLhs()), *y = lanes<Bits>(multiply.getRhs());
        Bits *low = lanes<Bits>(multiply.getLow()), *high = lanes<Bits>(multiply.getHigh());
        return [=](int64_t count) {
          for (int64_t i = 0; i < count; ++i) {
            auto product = static_cast<unsigned __int128>(x[i]) * y[i];
            low[i] = mask(Bits(product), width);
            high[i] = mask(Bits(product >> width), width);
          }
        };
      })
      .Case([&](math::CountLeadingZerosOp) {
        unsigned width = widthOf(op.getResult(0));
        return map<Bits, Bits>(op, [=](Bits x) -> Bits { return llvm::countl_zero(x) - (64 - width); });
      })
      .Default(Step());
}

ScalarProgramBuilder::Step ScalarProgramBuilder::translateFloat(Operation &op) {
  return llvm::TypeSwitch<Operation *, Step>(&op)
      .Case([&](arith::AddFOp) { return mapFloats2(op, [](auto x, auto y) { return x + y; }); })
      .Case([&](arith::SubFOp) { return mapFloats2(op, [](auto x, auto y) { return x - y; }); })
      .Case([&](arith::MulFOp) { return mapFloats2(op, [](auto x, auto y) { return x * y; }); })
      .Case([&](arith::DivFOp) { return mapFloats2(op, [](auto x, auto y) { return x / y; }); })
      .Case([&](arith::MaximumFOp) {
        return mapFloats2(op, [](auto x, auto y) { return extremum(x, y, /*wantsLarger=*/true); });
      })
      .Case([&](arith::MinimumFOp) {
        return mapFloats2(op, [](auto x, auto y) { return extremum(x, y, /*wantsLarger=*/false); });
      })
      .Case([&](math::CopySignOp) {
        return mapFloats2(op, [](auto x, auto y) { return std::copysign(x, y); });
      })
      .Case([&](arith::NegFOp) {
        Bits sign = signOf(op);
        return isNarrowFloat(op.getResult(0)) ? map<Bits, Bits>(op, [=](Bits x) { return x ^ sign; })
                                              : mapFloats(op, [](auto x) { return -x; });
      })
      .Case([&](math::AbsFOp) {
        Bits sign = signOf(op);
        return isNarrowFloat(op.getResult(0)) ? map<Bits, Bits>(op, [=](Bits x) { return x & ~sign; })
                                              : mapFloats(op, [](auto x) { return std::abs(x); });
      })
      .Case([&](math::SqrtOp) { return mapFloats(op, [](auto x) { return std::sqrt(x); }); })
      .Case([&](math::FloorOp) { return mapFloats(op, [](auto x) { return std::floor(x); }); })
      .Case([&](math::CeilOp) { return mapFloats(op, [](auto x) { return std::ceil(x); }); })
      .Case([&](math::TruncOp) { return mapFloats(op, [](auto x) { return std::trunc(x); }); })
      .Case([&](math::RoundEvenOp) {
        // The mode of rounding is never changed from nearest, ties to even.
        return mapFloats(op, [](auto x) { return std::nearbyint(x); });
      })
      .Case([&](math::FmaOp) -> Step {
        auto apply = [&](auto zero) -> Step {
          using T = decltype(zero);
          const T *x = lanes<T>(op.getOperand(0)), *y = lanes<T>(op.getOperand(1));
          const T *z = lanes<T>(op.getOperand(2));
          T *to = lanes<T>(op.getResult(0));
          return [=](int64_t count) {
            for (int64_t i = 0; i < count; ++i) {
              to[i] = std::fma(x[i], y[i], z[i]);
            }
          };
        };
        Lanes kind = lanesOf(op.getResult(0));
        return kind == Lanes::Float ? apply(0.0f) : kind == Lanes::Double ? apply(0.0) : Step();
      })
      .Case([&](arith::CmpFOp compare) -> Step {
        arith::CmpFPredicate predicate = compare.getPredicate();
        auto function = [=](auto x, auto y) -> Bits { return compareFloats(predicate, x, y); };
        Lanes kind = lanesOf(op.getOperand(0));
        return kind == Lanes::Float    ? map2<Bits, float>(op, function)
               : kind == Lanes::Double ? map2<Bits, double>(op, function)
                                       : Step();
      })
      .Default(Step());
}

/// Between floats of different widths.
ScalarProgramBuilder::Step ScalarProgramBuilder::convertFloat(Operation &op) {
  Value x = op.getOperand(0), result = op.getResult(0);
  if (lanesOf(x) == Lanes::Float && lanesOf(result) == Lanes::Double) {
    return map<double, float>(op, [](float x) { return double(x); });
  }
  if (lanesOf(x) == Lanes::Double && lanesOf(result) == Lanes::Float) {
    return map<float, double>(op, [](double x) { return float(x); });
  }
  if (isNarrowFloat(x)) {
    // A table of all values: there are at most 65536.
    const llvm::fltSemantics &semantics = cast<FloatType>(x.getType()).getFloatSemantics();
    std::vector<double> values(size_t(1) << widthOf(x));
    for (auto [bits, value] : llvm::enumerate(values)) {
      APFloat number(semantics, APInt(widthOf(x), bits));
      bool losesInfo;
      number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &losesInfo);
      value = number.convertToDouble();
    }
    if (lanesOf(result) == Lanes::Float) {
      return map<float, Bits>(op, [values = std::move(values)](Bits x) { return float(values[x]); });
    }
    return lanesOf(result) == Lanes::Double
               ? map<double, Bits>(op, [values = std::move(values)](Bits x) { return values[x]; })
               : Step();
  }
  if (!isNarrowFloat(result)) {
    return {};
  }
  auto narrow = [semantics = &cast<FloatType>(result.getType()).getFloatSemantics()](auto x) -> Bits {
    APFloat number = toAPFloat(x);
    bool losesInfo;
    number.convert(*semantics, APFloat::rmNearestTiesToEven, &losesInfo);
    return number.bitcastToAPInt().getZExtValue();
  };
  return lanesOf(x) == Lanes::Float ? map<Bits, float>(op, narrow) : map<Bits, double>(op, narrow);
}

ScalarProgramBuilder::Step ScalarProgramBuilder::bitcast(Operation &op) {
  Lanes from = lanesOf(op.getOperand(0)), to = lanesOf(op.getResult(0));
  if (from == to) {
    return from == Lanes::Bits ? map<Bits, Bits>(op, [](Bits x) { return x; }) : Step();
  }
  if (from == Lanes::Float) {
    return map<Bits, float>(op, [](float x) -> Bits { return llvm::bit_cast<uint32_t>(x); });
  }
  if (from == Lanes::Double) {
    return map<Bits, double>(op, [](double x) { return llvm::bit_cast<Bits>(x); });
  }
  return to == Lanes::Float ? map<float, Bits>(op, [](Bits x) { return llvm::bit_cast<float>(uint32_t(x)); })
                            : map<double, Bits>(op, [](Bits x) { return llvm::bit_cast<double>(x); });
}

ScalarProgramBuilder::Step ScalarProgramBuilder::translateConversion(Operation &op) {
  Value x = op.getOperand(0), result = op.getResult(0);
  unsigned from = widthOf(x), to = widthOf(result);
  auto fromFloat = [&](bool isSigned) -> Step {
    auto function = [=](auto x) { return toInteger(x, to, isSigned); };
    return lanesOf(x) == Lanes::Float    ? map<Bits, float>(op, function)
           : lanesOf(x) == Lanes::Double ? map<Bits, double>(op, function)
                                         : Step();
  };
  auto toFloat = [&](auto function) -> Step {
    auto single = [=](Bits x) { return float(function(x)); };
    auto twice = [=](Bits x) { return double(function(x)); };
    return lanesOf(result) == Lanes::Float    ? map<float, Bits>(op, single)
           : lanesOf(result) == Lanes::Double ? map<double, Bits>(op, twice)
                                              : Step();
  };
  return llvm::TypeSwitch<Operation *, Step>(&op)
      .Case<arith::ExtFOp, arith::TruncFOp>([&](auto) { return convertFloat(op); })
      .Case([&](arith::ExtUIOp) { return map<Bits, Bits>(op, [](Bits x) { return x; }); })
      .Case([&](arith::ExtSIOp) {
        return map<Bits, Bits>(op, [=](Bits x) { return mask(toSigned(x, from), to); });
      })
      .Case([&](arith::TruncIOp) { return map<Bits, Bits>(op, [=](Bits x) { return mask(x, to); }); })
      .Case([&](arith::SIToFPOp) { return toFloat([=](Bits x) { return toSigned(x, from); }); })
      .Case([&](arith::UIToFPOp) { return toFloat([](Bits x) { return x; }); })
      .Case([&](arith::FPToSIOp) { return fromFloat(/*isSigned=*/true); })
      .Case([&](arith::FPToUIOp) { return fromFloat(/*isSigned=*/false); })
      .Case([&](arith::BitcastOp) { return bitcast(op); })
      .Default(Step());
}

ScalarProgramBuilder::Step ScalarProgramBuilder::select(arith::SelectOp op) {
  auto apply = [&](auto zero) -> Step {
    using T = decltype(zero);
    const Bits *condition = lanes<Bits>(op.getCondition());
    const T *x = lanes<T>(op.getTrueValue()), *y = lanes<T>(op.getFalseValue());
    T *to = lanes<T>(op.getResult());
    return [=](int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        to[i] = condition[i] ? x[i] : y[i];
      }
    };
  };
  switch (lanesOf(op.getResult())) {
  case Lanes::Float:
    return apply(0.0f);
  case Lanes::Double:
    return apply(0.0);
  case Lanes::Bits:
    return apply(Bits(0));
  }
  return {};
}

ScalarProgramBuilder::Step ScalarProgramBuilder::translate(Operation &op) {
  if (auto selectOp = dyn_cast<arith::SelectOp>(op)) {
    return select(selectOp);
  }
  if (Step step = translateInteger(op)) {
    return step;
  }
  if (Step step = translateFloat(op)) {
    return step;
  }
  return translateConversion(op);
}

bool ScalarProgramBuilder::addConstant(arith::ConstantOp op) {
  Value result = op.getResult();
  APInt bits;
  if (auto integer = dyn_cast<IntegerAttr>(op.getValue())) {
    bits = integer.getValue();
  } else if (auto real = dyn_cast<FloatAttr>(op.getValue())) {
    bits = real.getValue().bitcastToAPInt();
  } else {
    return false;
  }
  Bits value = bits.getZExtValue();
  switch (lanesOf(result)) {
  case Lanes::Float:
    std::fill_n(lanes<float>(result), ScalarProgram::kChunk, llvm::bit_cast<float>(uint32_t(value)));
    break;
  case Lanes::Double:
    std::fill_n(lanes<double>(result), ScalarProgram::kChunk, llvm::bit_cast<double>(value));
    break;
  case Lanes::Bits:
    std::fill_n(lanes<Bits>(result), ScalarProgram::kChunk, value);
    break;
  }
  return true;
}

/// Calls `function` with a zero of the type that elements of `width` bits have in memory.
template <typename F>
static auto withMemoryType(unsigned width, F function) {
  return width <= 8    ? function(uint8_t(0))
         : width == 16 ? function(uint16_t(0))
         : width == 32 ? function(uint32_t(0))
                       : function(uint64_t(0));
}

void ScalarProgramBuilder::addLoad(Value argument) {
  if (lanesOf(argument) != Lanes::Bits) {
    char *to = lanes<char>(argument);
    int64_t bytes = widthOf(argument) / 8;
    program->loads.push_back([=](const char *from, int64_t count) { memcpy(to, from, count * bytes); });
    return;
  }
  Bits *to = lanes<Bits>(argument);
  unsigned width = widthOf(argument);
  withMemoryType(width, [&](auto zero) {
    using T = decltype(zero);
    program->loads.push_back([=](const char *from, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        T element;
        memcpy(&element, from + i * sizeof(T), sizeof(T));
        to[i] = mask(element, width);
      }
    });
  });
}

void ScalarProgramBuilder::addStore(Value result) {
  if (lanesOf(result) != Lanes::Bits) {
    const char *from = lanes<char>(result);
    int64_t bytes = widthOf(result) / 8;
    program->store = [=](char *to, int64_t count) { memcpy(to, from, count * bytes); };
    return;
  }
  const Bits *from = lanes<Bits>(result);
  withMemoryType(widthOf(result), [&](auto zero) {
    using T = decltype(zero);
    program->store = [=](char *to, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        T element = from[i];
        memcpy(to + i * sizeof(T), &element, sizeof(T));
      }
    };
  });
}

/// Whether elements of this type lie in 8, 16, 32 or 64 bits; what is narrower takes a byte.
static bool isStoredWhole(Type type) {
  if (!type.isIntOrFloat()) {
    return false;
  }
  unsigned width = type.getIntOrFloatBitWidth();
  return width <= 8 || (width <= 64 && llvm::isPowerOf2_32(width));
}

std::unique_ptr<ScalarProgram> ScalarProgramBuilder::build(PointwiseOpInterface op) {
  // Signs are known to the op alone.
  auto getArgumentType = [](Value value) -> Type {
    Type type = getElementTypeOrSelf(value.getType());
    auto integer = dyn_cast<IntegerType>(type);
    return integer ? IntegerType::get(type.getContext(), integer.getWidth()) : type;
  };
  SmallVector<Type> types = llvm::map_to_vector(op->getOperands(), getArgumentType);
  if (!llvm::all_of(types, isStoredWhole) || !isStoredWhole(getArgumentType(op->getResult(0)))) {
    return nullptr;
  }
  Block block;
  block.addArguments(types, SmallVector<Location>(types.size(), op.getLoc()));
  OpBuilder builder(op.getContext());
  builder.setInsertionPointToStart(&block);
  Value result = op.buildElement(builder, op.getLoc(), block.getArguments());
  program.reset(new ScalarProgram());
  for (BlockArgument argument : block.getArguments()) {
    addLoad(argument);
  }
  for (Operation &step : block) {
    auto isKnown = [](Type type) { return getLanes(type).has_value(); };
    if (!llvm::all_of(step.getResultTypes(), isKnown) || !llvm::all_of(step.getOperandTypes(), isKnown)) {
      return nullptr;
    }
    if (auto constant = dyn_cast<arith::ConstantOp>(step)) {
      if (!addConstant(constant)) {
        return nullptr;
      }
      continue;
    }
    program->steps.push_back(translate(step));
    if (!program->steps.back()) {
      return nullptr;
    }
  }
  addStore(result);
  return std::move(program);
}

std::unique_ptr<ScalarProgram> ScalarProgram::build(PointwiseOpInterface op) {
  return ScalarProgramBuilder().build(op);
}

void ScalarProgram::run(ArrayRef<const char *> operands, char *result, int64_t count) {
  for (auto [load, operand] : llvm::zip_equal(loads, operands)) {
    load(operand, count);
  }
  for (const Step &step : steps) {
    step(count);
  }
  store(result, count);
}

} // namespace lathe::nn
