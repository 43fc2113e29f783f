// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/Evaluate/Evaluator.h"
#include "lathe/Dialect/NN/IR/NNInteger.h"
#include "lathe/Dialect/NN/Transforms/Remarks.h"
#include "lathe/Dialect/Pack/IR/Pack.h"
#include "lathe/Dialect/Pack/Transforms/Passes.h"
#include "lathe/Dialect/Pack/Transforms/WeightSources.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"

namespace lathe::pack {
#define GEN_PASS_DEF_ENCODEWEIGHTSPASS
#include "lathe/Dialect/Pack/Transforms/Passes.h.inc"
} // namespace lathe::pack

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

static constexpr llvm::StringLiteral kPass = "pack-encode-weights";

/// The operand of which an op asks that it be stored in another format.
static OpOperand *getWeightOperand(Operation *op) {
  return isa<nn::MatMulOp, nn::IntegerMatMulOp>(op) ? &op->getOpOperand(1) : nullptr;
}

static FormatAttrInterface getRequest(Operation *op) {
  auto format = op->getAttrOfType<FormatAttrInterface>(PackDialect::kFormatAttr);
  return format && format.isWeightOnly() ? format : FormatAttrInterface();
}

static int64_t getBytes(RankedTensorType type) {
  return type.getNumElements() * nn::getElementBytes(type.getElementType());
}

static int64_t getBytes(PackedTensorType type) {
  int64_t bytes = 0;
  for (RankedTensorType component : type.getComponents()) {
    bytes += getBytes(component);
  }
  return bytes;
}

/// What the format says against tensors of this type, if anything.
static std::optional<std::string> findUnfit(FormatAttrInterface format, RankedTensorType type, Location loc) {
  if (!format.takesElements(type.getElementType())) {
    return toText(format) + " does not store elements of its weight, " + toText(TypeAttr::get(type));
  }
  std::string reason;
  ScopedDiagnosticHandler handler(loc.getContext(), [&](Diagnostic &diagnostic) {
    reason = diagnostic.str();
    return success();
  });
  if (failed(format.verifyTensor([&] { return emitError(loc); }, type))) {
    return reason;
  }
  int64_t dense = getBytes(type), packed = getBytes(PackedTensorType::get(type, format));
  if (packed >= dense) {
    return "it would take " + std::to_string(packed) + " bytes instead of " + std::to_string(dense);
  }
  return std::nullopt;
}

namespace {
class Encoder {
public:
  explicit Encoder(ModuleOp module) : module(module), symbols(module), evaluator(module) {}

  void run();

private:
  void collectUses();
  /// Why the weight that `operand` uses is not stored in `format`, if it is not.
  std::optional<std::string> findObstacle(OpOperand &operand, FormatAttrInterface format);
  /// The weight in this format, made once.
  nn::WeightOp getEncoded(nn::WeightOp weight, FormatAttrInterface format, FlatSymbolRefAttr gram);
  /// The same for the weight of `op` that the file stores in a format: it can only be one that rounds rows.
  std::optional<std::string> findObstacleOfPacked(Operation *op, nn::WeightOp weight,
                                                  FormatAttrInterface format);
  /// Changes its format to one that stores the same.
  void setFormat(nn::WeightOp weight, FormatAttrInterface format);

  ModuleOp module;
  SymbolTable symbols;
  nn::Evaluator evaluator;
  /// The ops of functions that read a weight.
  llvm::DenseMap<StringAttr, SmallVector<OpOperand *>> uses;
  llvm::DenseMap<std::tuple<Operation *, Attribute, Attribute>, nn::WeightOp> encoded;
  llvm::DenseMap<std::pair<Operation *, Attribute>, std::optional<std::string>> unencodable;
};
} // namespace

void Encoder::collectUses() {
  module.walk([&](nn::WeightUseOp use) {
    // Sources of other weights are not stored.
    if (use->getParentOfType<nn::WeightOp>()) {
      return;
    }
    for (OpOperand &operand : use->getUses()) {
      uses[use.getWeightAttr().getAttr()].push_back(&operand);
    }
  });
}

std::optional<std::string> Encoder::findObstacle(OpOperand &operand, FormatAttrInterface format) {
  auto use = operand.get().getDefiningOp<nn::WeightUseOp>();
  auto weight = use ? symbols.lookup<nn::WeightOp>(use.getWeight()) : nn::WeightOp();
  if (!weight) {
    return "its right operand is no weight";
  }
  if (isa<nn::PackedTypeInterface>(weight.getType())) {
    return "its weight is packed already";
  }
  for (OpOperand *other : uses[use.getWeightAttr().getAttr()]) {
    if (getWeightOperand(other->getOwner()) != other || getRequest(other->getOwner()) != format) {
      return "its weight is also read by " + other->getOwner()->getName().getStringRef().str() +
             ", which does not ask for the same";
    }
  }
  auto [found, isNew] = unencodable.try_emplace({weight, format});
  if (isNew) {
    found->second = findUnfit(format, weight.getTensorType(), operand.getOwner()->getLoc());
    if (!found->second) {
      // A weight whose data is not there is checked when it is written.
      if (llvm::Expected<nn::ConstantTensor> contents = evaluator.read(weight)) {
        found->second = findUnencodable(format, *contents);
      } else {
        llvm::consumeError(contents.takeError());
      }
    }
  }
  return found->second;
}

nn::WeightOp Encoder::getEncoded(nn::WeightOp weight, FormatAttrInterface format, FlatSymbolRefAttr gram) {
  nn::WeightOp &result = encoded[{weight, format, gram}];
  if (!result) {
    OpBuilder builder(module.getContext());
    builder.setInsertionPointAfter(weight);
    auto makeBody = [&](OpBuilder &body, Location loc) -> Value {
      Value source = nn::WeightUseOp::create(body, loc, weight.getType(),
                                             FlatSymbolRefAttr::get(weight.getSymNameAttr()));
      return buildEncode(body, loc, PackedTensorType::get(weight.getTensorType(), format), source, gram,
                         symbols);
    };
    result = nn::WeightOp::create(builder, weight.getLoc(), (weight.getSymName() + "_packed").str(),
                                  weight.getOnnxName().value_or(""), makeBody);
    // The symbol table may give it another name.
    symbols.insert(result);
  }
  return result;
}

std::optional<std::string> Encoder::findObstacleOfPacked(Operation *op, nn::WeightOp weight,
                                                         FormatAttrInterface format) {
  auto stored = cast<PackedTensorType>(weight.getType()).getFormat();
  if (stored != format && stored.withRoundedRows() != format) {
    return "the file stores its weight as " + toText(stored);
  }
  for (OpOperand *decoded : uses[weight.getSymNameAttr()]) {
    for (Operation *other : decoded->getOwner()->getUsers()) {
      if (getRequest(other) != format) {
        return "its weight is also read by " + other->getName().getStringRef().str() +
               ", which does not ask for the same";
      }
    }
  }
  return std::nullopt;
}

void Encoder::setFormat(nn::WeightOp weight, FormatAttrInterface format) {
  Type before = weight.getType();
  auto type = PackedTensorType::get(weight.getTensorType(), format);
  weight.setTypeAttr(TypeAttr::get(type));
  weight.getBody().walk([&](Operation *op) {
    for (OpResult result : op->getResults()) {
      if (result.getType() == before) {
        result.setType(type);
      }
    }
  });
  for (OpOperand *use : uses[weight.getSymNameAttr()]) {
    use->get().setType(type);
  }
}

void Encoder::run() {
  collectUses();
  // All is decided before anything changes: weights may be shared.
  llvm::MapVector<Operation *, std::optional<std::string>> requests;
  module.walk([&](Operation *op) {
    if (FormatAttrInterface format = getRequest(op)) {
      OpOperand *operand = getWeightOperand(op);
      nn::WeightOp packed = getPackedWeight(op, symbols);
      requests[op] = packed    ? findObstacleOfPacked(op, packed, format)
                     : operand ? findObstacle(*operand, format)
                               : "only products are read from other formats";
    }
  });
  for (auto &[op, obstacle] : requests) {
    FormatAttrInterface format = getRequest(op);
    auto gram = op->getAttrOfType<FlatSymbolRefAttr>(PackDialect::kGramAttr);
    op->removeAttr(PackDialect::kFormatAttr);
    op->removeAttr(PackDialect::kGramAttr);
    if (obstacle) {
      nn::remarkMissed(op, kPass, "not stored as " + toText(format) + ": " + *obstacle);
      continue;
    }
    if (nn::WeightOp packed = getPackedWeight(op, symbols)) {
      if (cast<PackedTensorType>(packed.getType()).getFormat() != format) {
        setFormat(packed, format);
      }
      nn::remarkPassed(op, kPass, "weight stays in the bytes of the file, as " + toText(format));
      continue;
    }
    OpOperand *operand = getWeightOperand(op);
    auto use = operand->get().getDefiningOp<nn::WeightUseOp>();
    auto weight = symbols.lookup<nn::WeightOp>(use.getWeight());
    nn::WeightOp packed = getEncoded(weight, format, gram);
    OpBuilder builder(op);
    Value value = nn::WeightUseOp::create(builder, use.getLoc(), packed.getType(),
                                          FlatSymbolRefAttr::get(packed.getSymNameAttr()));
    operand->set(DecodeOp::create(builder, op->getLoc(), weight.getTensorType(), value));
    if (use->use_empty()) {
      use.erase();
    }
    nn::remarkPassed(op, kPass,
                     "weight stored as " + toText(format) + " in " +
                         Twine(getBytes(cast<PackedTensorType>(packed.getType()))) + " of " +
                         Twine(getBytes(weight.getTensorType())) + " bytes");
  }
}

namespace {
struct EncodeWeights : pack::impl::EncodeWeightsPassBase<EncodeWeights> {
  void runOnOperation() override { Encoder(getOperation()).run(); }
};
} // namespace
