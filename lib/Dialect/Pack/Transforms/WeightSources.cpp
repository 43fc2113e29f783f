// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/Pack/Transforms/WeightSources.h"

#include "lathe/Plan/Sparsity.h"

#include "mlir/AsmParser/AsmParser.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

bool pack::isProduct(Operation *op) { return isa<nn::MatMulOp, nn::ConvOp>(op); }

double pack::countOperations(Operation *product) {
  constexpr double kUnknown = 64;
  auto typeOf = [](Value value) { return cast<RankedTensorType>(value.getType()); };
  auto count = [](ArrayRef<int64_t> shape) {
    double elements = 1;
    for (int64_t size : shape) {
      elements *= ShapedType::isDynamic(size) ? kUnknown : double(size);
    }
    return elements;
  };
  ArrayRef<int64_t> depth = typeOf(product->getOperand(1)).getShape().drop_back();
  return count(typeOf(product->getResult(0)).getShape()) *
         count(isa<nn::ConvOp>(product) ? depth : depth.take_back());
}

nn::WeightOp pack::getWeight(Operation *op, const SymbolTable &symbols) {
  Value operand = llvm::TypeSwitch<Operation *, Value>(op)
                      .Case<nn::MatMulOp, nn::ConvOp>([](Operation *o) { return o->getOperand(1); })
                      .Case<nn::GatherOp>([](nn::GatherOp gather) { return gather.getX(); })
                      .Default([](Operation *) { return Value(); });
  auto use = operand ? operand.getDefiningOp<nn::WeightUseOp>() : nn::WeightUseOp();
  return use ? symbols.lookup<nn::WeightOp>(use.getWeight()) : nn::WeightOp();
}

nn::WeightOp pack::getPackedWeight(Operation *op, const SymbolTable &symbols) {
  auto decode = isProduct(op) ? op->getOperand(1).getDefiningOp<DecodeOp>() : DecodeOp();
  auto use = decode ? decode.getX().getDefiningOp<nn::WeightUseOp>() : nn::WeightUseOp();
  return use ? symbols.lookup<nn::WeightOp>(use.getWeight()) : nn::WeightOp();
}

/// The operands whose elements become those of the result: not what is broadcast to scale or shift them.
static SmallVector<Value> getCarriers(Operation *op) {
  if (auto encode = dyn_cast<EncodeOp>(op)) {
    return {encode.getX()};
  }
  SmallVector<Value> all, carriers;
  auto countElements = [](Value value) { return nn::getLogicalType(value.getType()).getNumElements(); };
  for (Value operand : op->getOperands()) {
    if (isa<RankedTensorType, nn::PackedTypeInterface>(operand.getType())) {
      all.push_back(operand);
      if (isa<nn::ConcatOp>(op) || countElements(operand) >= countElements(op->getResult(0))) {
        carriers.push_back(operand);
      }
    }
  }
  return carriers.empty() ? all : carriers;
}

SmallVector<nn::WeightOp> pack::getSources(nn::WeightOp weight, const SymbolTable &symbols) {
  SmallVector<nn::WeightOp> sources;
  llvm::SetVector<Operation *> seen; // weights, and ops of their bodies
  seen.insert(weight);
  for (size_t i = 0; i < seen.size(); ++i) {
    auto current = dyn_cast<nn::WeightOp>(seen[i]);
    if (current && !current.isComputed()) {
      sources.push_back(current);
    } else if (current) {
      seen.insert(current.getBody().front().getTerminator()->getOperand(0).getDefiningOp());
    } else if (auto use = dyn_cast<nn::WeightUseOp>(seen[i])) {
      if (auto source = symbols.lookup<nn::WeightOp>(use.getWeight())) {
        seen.insert(source);
      }
    } else {
      for (Value carrier : getCarriers(seen[i])) {
        seen.insert(carrier.getDefiningOp());
      }
    }
  }
  return sources;
}

void pack::withdrawRequest(Operation *op) {
  for (StringRef attribute : {PackDialect::kFormatAttr, PackDialect::kRangeAttr, PackDialect::kMigrateAttr,
                              PackDialect::kGramAttr}) {
    op->removeDiscardableAttr(attribute);
  }
}

SmallVector<Request> pack::collectRequests(ModuleOp module) {
  SymbolTable symbols(module);
  SmallVector<Request> requests;
  module.walk([&](Operation *op) {
    if (auto format = op->getAttrOfType<FormatAttrInterface>(PackDialect::kFormatAttr)) {
      nn::WeightOp weight = getWeight(op, symbols);
      if (weight || (weight = getPackedWeight(op, symbols))) {
        requests.push_back({op, weight, format});
      }
    }
  });
  return requests;
}

Value pack::buildEncode(OpBuilder &body, Location loc, PackedTensorType type, Value x, FlatSymbolRefAttr gram,
                        const SymbolTable &symbols) {
  Value sums;
  if (gram) {
    auto weight = symbols.lookup<nn::WeightOp>(gram.getValue());
    sums = nn::WeightUseOp::create(body, loc, weight.getTensorType(), gram);
  }
  return EncodeOp::create(body, loc, type, x, sums);
}

SmallVector<SparsityRequest> pack::collectSparsityRequests(ModuleOp module) {
  SymbolTable symbols(module);
  SmallVector<SparsityRequest> requests;
  module.walk([&](Operation *op) {
    if (auto sparsity = op->getAttrOfType<SparsityAttr>(PackDialect::kSparsityAttr)) {
      if (nn::WeightOp weight = getWeight(op, symbols)) {
        requests.push_back({op, weight, sparsity});
      }
    }
  });
  return requests;
}

std::string pack::sparsityText(SparsityAttr sparsity) {
  return PlanSparsity{PlanSparsity::Pattern(sparsity.getPattern()), sparsity.getZeros()}.str();
}

std::string pack::formatText(FormatAttrInterface format) {
  std::string text;
  llvm::raw_string_ostream(text) << format;
  StringRef rest = text;
  rest.consume_front("#pack.");
  return rest.str();
}

FormatAttrInterface pack::parseFormat(MLIRContext *context, StringRef text, std::string &why) {
  // Types may stand within a format, and within types: the parser would call itself for each.
  constexpr size_t kMaxLength = 200;
  if (text.size() > kMaxLength) {
    why = "it has more than " + std::to_string(kMaxLength) + " characters";
    return {};
  }
  ScopedDiagnosticHandler handler(context, [&](Diagnostic &diagnostic) {
    why = why.empty() ? diagnostic.str() : why;
    return success();
  });
  auto format = dyn_cast_or_null<FormatAttrInterface>(parseAttribute("#pack." + text.str(), context));
  if (!format && why.empty()) {
    why = "it is no format";
  }
  return format;
}
