// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// nn.recurrent as loops. A step is a product of the states with the matrix of weights, several gates of
/// adjacent units in vector registers at a time, and one pass over the units.

#include "lathe/Dialect/NN/IR/NNRecurrent.h"

#include "LoopBuilder.h"
#include "NNReference.h"
#include "lathe/Codegen/Math/Math.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

using CmpF = Emitter::CmpF;
using CmpI = Emitter::CmpI;
using Values = LoopBuilder::Values;

/// Elements of a vector: one register of 512 bits of f32, or two of 256.
static constexpr int64_t kLanes = 16;
/// Vectors of one row of a product that are made at a time, and rows that share what they read of the
/// weights. Either fills half of the registers with sums, so that additions overlap.
static constexpr int64_t kVectors = 4, kRows = 4;

/// The function `name` of RNN, GRU and LSTM.
static Value buildActivation(LoopBuilder &b, StringRef name, double alpha, double beta, Value x) {
  OpBuilder &builder = b.builder();
  Location loc = b.location();
  Type type = x.getType();
  if (name == "sigmoid") {
    return approx::buildSigmoid(builder, loc, x);
  }
  if (name == "tanh") {
    return approx::buildTanh(builder, loc, x);
  }
  if (name == "relu") {
    return b.clampBelow(x, 0);
  }
  if (name == "affine") {
    return b.add(b.mul(x, alpha), beta);
  }
  if (name == "leakyrelu") {
    return b.select(b.compare(CmpF::OLT, x, 0.0), b.mul(x, alpha), x);
  }
  if (name == "thresholdedrelu") {
    return b.select(b.compare(CmpF::OGT, x, alpha), x, b.zero(type));
  }
  if (name == "scaledtanh") {
    return b.mul(approx::buildTanh(builder, loc, b.mul(x, beta)), alpha);
  }
  if (name == "hardsigmoid") {
    return b.clampBelow(b.clampAbove(b.add(b.mul(x, alpha), beta), 1), 0);
  }
  if (name == "elu") {
    Value exponential = b.mul(b.sub(approx::buildExp(builder, loc, x), 1), alpha);
    return b.select(b.compare(CmpF::OLT, x, 0.0), exponential, x);
  }
  if (name == "softsign") {
    return b.div(x, b.add(b.abs(x), 1));
  }
  return approx::buildSoftplus(builder, loc, x);
}

namespace {

/// The loops of one direction.
class Direction {
public:
  Direction(OpBuilder &builder, RecurrentOp op, ValueRange inputs, ValueRange outputs, int64_t direction)
      : b(builder, op.getLoc()), op(op), products(inputs[0]), weights(inputs[1]), states(outputs[0]),
        lastH(outputs[1]), lastC(outputs[2]), gates(outputs[3]), number(direction), d(b.index(direction)),
        element(reference::elementOf(inputs[0])), computed(reference::getAccumulatorType(element)),
        units(cast<MemRefType>(inputs[1].getType()).getDimSize(1)) {
    size_t next = 2;
    auto take = [&](Value operand) { return operand ? inputs[next++] : Value(); };
    recurrentBias = take(op.getRecurrentBias());
    lengths = take(op.getLengths());
    initialH = take(op.getInitialH());
    initialC = take(op.getInitialC());
    peepholes = take(op.getPeepholes());
    weightScales = take(op.getWeightScales());
    weightZeros = take(op.getWeightZeros());
    steps = b.size(products, 0);
  }

  /// Runs sequences [begin, end).
  void run(Value begin, Value end);

private:
  /// `width` elements from memory in the type of the computation, one scalar for one.
  Value load(Value memory, ArrayRef<Value> at, int64_t width);
  void store(Value value, Value memory, ArrayRef<Value> at, int64_t width);
  /// The same of weights of 8 bits, less their zero points.
  Value loadWeights(Value unit, Value column, int64_t width);
  /// A scalar as a vector of `width` elements; itself for one.
  Value repeat(Value scalar, int64_t width);
  /// Calls `body` with columns of [begin, end) and how many to do there at once: up to `vectors` vectors, the
  /// rest one by one.
  void forColumns(int64_t begin, int64_t end, int64_t vectors,
                  function_ref<void(Value column, int64_t width, int64_t count)> body);
  /// Writes source[row] as integers of 8 bits, less their zero point, and their scale behind the row's gates.
  void quantizeState(Value row, Value source);
  /// gates[row, begin..end) = init + source[row] * weights for `count` rows from `row` on.
  void multiply(Value row, int64_t count, Value source, int64_t begin, int64_t end,
                function_ref<Value(Value row, Value column, int64_t width)> init);
  /// `multiply` for rows [begin, end), as many as possible at a time.
  void multiplyAll(Value begin, Value end, Value source, int64_t from, int64_t to,
                   function_ref<Value(Value row, Value column, int64_t width)> init);
  /// One pass over the units of the rows that take part in step `step`.
  void forUnits(Value begin, Value end, Value step,
                function_ref<void(Value row, Value time, Value unit, int64_t width)> body);

  /// Function number `function` of the cell.
  Value activate(int64_t function, Value x);
  /// The same of a gate's sum, which is clipped.
  Value activateGate(int64_t function, Value sum);
  Value gate(Value row, int64_t index, Value unit, int64_t width) {
    return load(gates, {d, row, column(index, unit)}, width);
  }
  Value column(int64_t gate, Value unit) { return b.add(unit, b.index(gate * units)); }
  Value peephole(int64_t index, Value unit, Value state, int64_t width, Value sum) {
    return peepholes ? b.fma(load(peepholes, {d, column(index, unit)}, width), state, sum) : sum;
  }
  void setState(Value row, Value time, Value unit, int64_t width, Value h) {
    store(h, lastH, {d, row, unit}, width);
    store(h, states, {time, d, row, unit}, width);
  }

  /// The length of a sequence; one that is out of bounds has been noted.
  Value lengthOf(Value row) {
    return lengths ? b.select(isBad(row), steps, b.toIndex(b.load(lengths, {row}))) : steps;
  }
  Value isBad(Value row) { return b.compare(CmpI::ugt, b.toIndex(b.load(lengths, {row})), steps); }
  /// The position in the sequence of step `step`; not negative also where the step is beyond the end.
  Value timeOf(Value row, Value step) {
    if (!op.getReverse()[number]) {
      return step;
    }
    Value time = b.sub(b.sub(lengthOf(row), step), b.index(1));
    return lengths ? b.select(b.compare(CmpI::slt, time, 0), step, time) : time;
  }
  void stepRNN(Value begin, Value end, Value step);
  void stepGRU(Value begin, Value end, Value step);
  void stepLSTM(Value begin, Value end, Value step);

  LoopBuilder b;
  RecurrentOp op;
  Value products, weights, states, lastH, lastC, gates;
  Value recurrentBias, lengths, initialH, initialC, peepholes, weightScales, weightZeros;
  int64_t number;
  Value d, steps;
  Type element, computed;
  int64_t units;
};

} // namespace

Value Direction::load(Value memory, ArrayRef<Value> at, int64_t width) {
  Type stored = cast<MemRefType>(memory.getType()).getElementType();
  if (width == 1) {
    return b.toFloat(b.load(memory, at), computed);
  }
  Value vector =
      vector::LoadOp::create(b.builder(), b.location(), VectorType::get(width, stored), memory, at);
  return b.toFloat(vector, computed);
}

Value Direction::loadWeights(Value unit, Value column, int64_t width) {
  if (!weightScales) {
    return load(weights, {d, unit, column}, width);
  }
  bool isUnsigned = reference::elementOf(op.getWeights()).isUnsignedInteger();
  auto loadBytes = [&](Value memory, ArrayRef<Value> at) {
    Type byte = cast<MemRefType>(memory.getType()).getElementType();
    Value bytes = width == 1 ? b.load(memory, at)
                             : vector::LoadOp::create(b.builder(), b.location(), VectorType::get(width, byte),
                                                      memory, at);
    return b.signedToFloat(isUnsigned ? b.extendUnsigned(bytes, b.builder().getI32Type()) : bytes, computed);
  };
  Value factor = loadBytes(weights, {d, unit, column});
  return weightZeros ? b.sub(factor, loadBytes(weightZeros, {d, column})) : factor;
}

Value Direction::repeat(Value scalar, int64_t width) {
  return width == 1 ? scalar
                    : vector::BroadcastOp::create(b.builder(), b.location(),
                                                  VectorType::get(width, scalar.getType()), scalar);
}

void Direction::quantizeState(Value row, Value source) {
  Value none = b.zero(computed);
  Values range = b.loop(b.index(0), b.index(units), {none, none}, [&](Value k, ValueRange extremes) {
    Value x = load(source, {d, row, k}, 1);
    return Values{b.select(b.compare(CmpF::OLT, x, extremes[0]), x, extremes[0]),
                  b.select(b.compare(CmpF::OGT, x, extremes[1]), x, extremes[1])};
  });
  constexpr double kLargest = 255;
  Value width = b.sub(range[1], range[0]);
  Value scale = b.select(b.compare(CmpF::OEQ, width, 0.0), b.real(computed, 1),
                         b.div(width, b.real(computed, kLargest)));
  Value zero = b.roundEven(b.div(b.neg(range[0]), scale));
  int64_t gateColumns = op.getGateCount() * units;
  forColumns(0, units, 1, [&](Value unit, int64_t width, int64_t) {
    Value offset = repeat(zero, width);
    Value rounded = b.roundEven(b.div(load(source, {d, row, unit}, width), repeat(scale, width)));
    rounded = b.clampBelow(b.clampAbove(b.add(rounded, offset), kLargest), 0);
    store(b.sub(rounded, offset), gates, {d, row, b.add(unit, b.index(gateColumns))}, width);
  });
  store(scale, gates, {d, row, b.index(gateColumns + units)}, 1);
}

void Direction::store(Value value, Value memory, ArrayRef<Value> at, int64_t width) {
  value = b.toFloat(value, cast<MemRefType>(memory.getType()).getElementType());
  if (width == 1) {
    b.store(value, memory, at);
  } else {
    vector::StoreOp::create(b.builder(), b.location(), value, memory, at);
  }
}

void Direction::forColumns(int64_t begin, int64_t end, int64_t vectors,
                           function_ref<void(Value, int64_t, int64_t)> body) {
  auto part = [&](int64_t width, int64_t count) {
    int64_t each = width * count, times = (end - begin) / each, first = begin;
    if (times > 0) {
      b.loop(b.index(0), b.index(times),
             [&](Value i) { body(b.add(b.mul(i, b.index(each)), b.index(first)), width, count); });
      begin += times * each;
    }
  };
  part(kLanes, vectors);
  part(kLanes, 1);
  part(1, 1);
}

void Direction::multiply(Value row, int64_t count, Value source, int64_t begin, int64_t end,
                         function_ref<Value(Value, Value, int64_t)> init) {
  int64_t firstState = weightScales ? op.getGateCount() * units : 0;
  forColumns(begin, end, count == 1 ? kVectors : 1, [&](Value column, int64_t width, int64_t vectors) {
    Values rows, columns, sums;
    for (int64_t r = 0; r < count; ++r) {
      rows.push_back(r == 0 ? row : b.add(row, b.index(r)));
    }
    for (int64_t v = 0; v < vectors; ++v) {
      columns.push_back(v == 0 ? column : b.add(column, b.index(v * width)));
    }
    for (Value r : rows) {
      for (Value c : columns) {
        Type type = width == 1 ? computed : VectorType::get(width, computed);
        sums.push_back(weightScales ? b.zero(type) : init(r, c, width));
      }
    }
    sums = b.loop(b.index(0), b.index(units), sums, [&](Value k, ValueRange carried) {
      Values factors, next;
      for (Value c : columns) {
        factors.push_back(loadWeights(k, c, width));
      }
      for (Value r : rows) {
        Value state = repeat(load(source, {d, r, b.add(k, b.index(firstState))}, 1), width);
        for (Value factor : factors) {
          next.push_back(b.fma(state, factor, carried[next.size()]));
        }
      }
      return next;
    });
    for (auto [r, rowIndex] : llvm::enumerate(rows)) {
      for (auto [c, columnIndex] : llvm::enumerate(columns)) {
        Value sum = sums[r * columns.size() + c];
        if (weightScales) {
          Value scale = load(gates, {d, rowIndex, b.index(firstState + units)}, 1);
          scale = b.mul(repeat(scale, width), load(weightScales, {d, columnIndex}, width));
          sum = b.fma(sum, scale, init(rowIndex, columnIndex, width));
        }
        store(sum, gates, {d, rowIndex, columnIndex}, width);
      }
    }
  });
}

void Direction::multiplyAll(Value begin, Value end, Value source, int64_t from, int64_t to,
                            function_ref<Value(Value, Value, int64_t)> init) {
  if (weightScales) {
    b.loop(begin, end, [&](Value row) { quantizeState(row, source); });
    source = gates;
  }
  Value rest = begin;
  if (cast<MemRefType>(lastH.getType()).getDimSize(1) != 1) {
    Value size = b.index(kRows), blocks = b.floorDiv(b.sub(end, begin), size);
    b.loop(b.index(0), blocks,
           [&](Value i) { multiply(b.add(begin, b.mul(i, size)), kRows, source, from, to, init); });
    rest = b.add(begin, b.mul(blocks, size));
  }
  b.loop(rest, end, [&](Value row) { multiply(row, 1, source, from, to, init); });
}

void Direction::forUnits(Value begin, Value end, Value step,
                         function_ref<void(Value, Value, Value, int64_t)> body) {
  b.loop(begin, end, [&](Value row) {
    Value time = timeOf(row, step);
    auto units = [&] {
      forColumns(0, this->units, 1,
                 [&](Value unit, int64_t width, int64_t) { body(row, time, unit, width); });
    };
    lengths ? b.ifThen(b.compare(CmpI::slt, step, lengthOf(row)), units) : units();
  });
}

Value Direction::activateGate(int64_t function, Value sum) {
  if (op.getClip()) {
    double clip = op.getClip()->convertToFloat();
    sum = b.clampBelow(b.clampAbove(sum, clip), -clip);
  }
  return activate(function, sum);
}

Value Direction::activate(int64_t function, Value x) {
  int64_t index = number * op.getActivationCount() + function;
  return buildActivation(b, cast<StringAttr>(op.getActivations()[index]).getValue(), op.getAlpha()[index],
                         op.getBeta()[index], x);
}

void Direction::stepRNN(Value begin, Value end, Value step) {
  multiplyAll(begin, end, lastH, 0, units, [&](Value row, Value column, int64_t width) {
    return load(products, {timeOf(row, step), row, d, column}, width);
  });
  forUnits(begin, end, step, [&](Value row, Value time, Value unit, int64_t width) {
    setState(row, time, unit, width, activateGate(0, gate(row, 0, unit, width)));
  });
}

void Direction::stepGRU(Value begin, Value end, Value step) {
  enum { Z, R, H };
  auto products = [&](Value row, Value column, int64_t width) {
    return load(this->products, {timeOf(row, step), row, d, column}, width);
  };
  multiplyAll(begin, end, lastH, 0, H * units, products);
  if (op.getLinearBeforeReset()) {
    multiplyAll(begin, end, lastH, H * units, 3 * units, [&](Value, Value column, int64_t width) {
      if (recurrentBias) {
        return load(recurrentBias, {d, b.sub(column, b.index(H * units))}, width);
      }
      return b.zero(width == 1 ? computed : VectorType::get(width, computed));
    });
  } else {
    forUnits(begin, end, step, [&](Value row, Value, Value unit, int64_t width) {
      Value reset = activateGate(0, gate(row, R, unit, width));
      store(b.mul(reset, load(lastH, {d, row, unit}, width)), lastC, {d, row, unit}, width);
    });
    multiplyAll(begin, end, lastC, H * units, 3 * units, products);
  }
  forUnits(begin, end, step, [&](Value row, Value time, Value unit, int64_t width) {
    Value update = activateGate(0, gate(row, Z, unit, width)), sum = gate(row, H, unit, width);
    if (op.getLinearBeforeReset()) {
      Value reset = activateGate(0, gate(row, R, unit, width));
      sum = b.fma(reset, sum, load(this->products, {time, row, d, column(H, unit)}, width));
    }
    Value candidate = activateGate(1, sum), old = load(lastH, {d, row, unit}, width);
    setState(row, time, unit, width,
             b.add(b.mul(b.sub(b.real(update.getType(), 1), update), candidate), b.mul(update, old)));
  });
}

void Direction::stepLSTM(Value begin, Value end, Value step) {
  enum { I, O, F, C };
  multiplyAll(begin, end, lastH, 0, 4 * units, [&](Value row, Value column, int64_t width) {
    return load(products, {timeOf(row, step), row, d, column}, width);
  });
  forUnits(begin, end, step, [&](Value row, Value time, Value unit, int64_t width) {
    Value old = load(lastC, {d, row, unit}, width);
    Value input = activateGate(0, peephole(I, unit, old, width, gate(row, I, unit, width)));
    Value forget = op.getInputForget()
                       ? b.sub(b.real(input.getType(), 1), input)
                       : activateGate(0, peephole(F, unit, old, width, gate(row, F, unit, width)));
    Value cell = b.fma(forget, old, b.mul(input, activateGate(1, gate(row, C, unit, width))));
    Value output = activateGate(0, peephole(O, unit, cell, width, gate(row, O, unit, width)));
    store(cell, lastC, {d, row, unit}, width);
    setState(row, time, unit, width, b.mul(output, activate(2, cell)));
  });
}

void Direction::run(Value begin, Value end) {
  Value zero = b.index(0);
  auto initialize = [&](Value memory, Value initial) {
    b.loop(begin, end, [&](Value row) {
      forColumns(0, units, 1, [&](Value unit, int64_t width, int64_t) {
        Type type = width == 1 ? computed : VectorType::get(width, computed);
        store(initial ? load(initial, {d, row, unit}, width) : b.zero(type), memory, {d, row, unit}, width);
      });
    });
  };
  initialize(lastH, initialH);
  if (op.getKind() == RecurrentKind::LSTM) {
    initialize(lastC, initialC);
  }
  if (lengths) {
    // What is beyond the end of a sequence is zero.
    b.loop(begin, end, [&](Value row) {
      b.trapIf(isBad(row), LoopBuilder::kFaultIndex);
      b.loop(lengthOf(row), steps, [&](Value time) {
        forColumns(0, units, 1, [&](Value unit, int64_t width, int64_t) {
          Type type = width == 1 ? computed : VectorType::get(width, computed);
          store(b.zero(type), states, {time, d, row, unit}, width);
        });
      });
    });
  }
  b.loop(zero, steps, [&](Value step) {
    switch (op.getKind()) {
    case RecurrentKind::RNN:
      return stepRNN(begin, end, step);
    case RecurrentKind::GRU:
      return stepGRU(begin, end, step);
    case RecurrentKind::LSTM:
      return stepLSTM(begin, end, step);
    }
  });
}

LogicalResult RecurrentOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                      Value end) {
  LoopBuilder b(builder, getLoc());
  Value batch = b.size(inputs[0], 1);
  // Parts are sequences, those of the first direction before those of the second.
  for (int64_t direction = 0, count = getReverse().size(); direction < count; ++direction) {
    Value offset = b.mul(batch, b.index(direction));
    auto within = [&](Value part) {
      Value row = b.sub(part, offset);
      row = b.select(b.compare(CmpI::slt, row, 0), b.index(0), row);
      return b.minIndex(row, batch);
    };
    Direction(builder, *this, inputs, outputs, direction).run(within(begin), within(end));
  }
  return success();
}
