// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What a legalizer of one ONNX operator sees and can do.

#ifndef LATHE_CONVERSION_ONNXTONN_LEGALIZER_H
#define LATHE_CONVERSION_ONNXTONN_LEGALIZER_H

#include "Sizes.h"

#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FormatVariadic.h"
#include <memory>

namespace lathe::onnx {

using Size = mlir::OpFoldResult;
using Sizes = llvm::SmallVector<mlir::OpFoldResult>;

/// A small integer or bool tensor whose elements are known as constants or index values: shape arithmetic.
struct Scalars {
  mlir::Type elementType;
  llvm::SmallVector<int64_t> shape;
  Sizes elements;

  /// Those of another shape: for each index into it, the element at index `from(index)` of these.
  Scalars pick(llvm::ArrayRef<int64_t> resultShape,
               llvm::function_ref<llvm::SmallVector<int64_t>(llvm::ArrayRef<int64_t>)> from) const;
};

/// The most elements a tensor may have to be followed as scalars, and to be read by the host program.
inline constexpr int64_t kMaxScalars = 256;
inline constexpr int64_t kMaxReads = 64;

/// A value of the model in its legal form: a tensor, scalars, or both. What is no tensor of numbers is
/// resolved while the model is compiled: an optional that holds something is what it holds.
struct LegalValue {
  mlir::Value tensor;
  std::optional<Scalars> scalars;
  /// For strings: the tensor holds numbers of texts.
  bool isString = false;
  /// For complex numbers: the tensor holds their real parts, this the imaginary ones.
  mlir::Value imaginary;
  /// For a map with the same keys in every row: the keys of the columns, as texts.
  std::shared_ptr<const std::vector<std::string>> labels;
  /// For a sequence: its elements.
  std::shared_ptr<const std::vector<LegalValue>> elements;
  /// For a sequence whose length only the run tells (OpenSequences.h): the tensor holds the contents of all
  /// elements, this their shapes.
  mlir::Value shapes;
  /// For a map: its keys, of which the tensor holds the values.
  mlir::Value keys;
  bool hasStringKeys = false;
  /// For an optional that holds nothing.
  bool isEmptyOptional = false;
  /// For one of which only the run tells whether it holds what is above: 1 if it does. Null for all others.
  Size presence;

  bool isKnown() const { return tensor || scalars || elements || isEmptyOptional; }
  bool isSequence() const { return elements || shapes; }
  bool isNumeric() const {
    return !isString && !imaginary && !isSequence() && !keys && !isEmptyOptional && !presence;
  }
};

/// One `onnx.node`, whatever its dialect's op looks like.
struct NodeView {
  llvm::StringRef opType, domain, name;
  int64_t version = 0;
  mlir::DictionaryAttr attributes;
  mlir::Operation *op = nullptr;
};

class Texts;

/// Converts the bodies of control flow, whose nodes are legalized like those around them.
class BodyConverter {
public:
  virtual ~BodyConverter() = default;

  /// Converts the nodes of `body` at the builder's insertion point, with `arguments` for its arguments; gives
  /// what it yields. Fails after it has said why, or listed what is not supported.
  virtual llvm::FailureOr<llvm::SmallVector<LegalValue>> convert(mlir::Region &body,
                                                                 llvm::ArrayRef<LegalValue> arguments) = 0;
  /// The same for a body that may never run. If operands in it do not fit each other, nothing is reported:
  /// `misfit` then says what does not.
  virtual llvm::FailureOr<llvm::SmallVector<LegalValue>>
  tryConvert(mlir::Region &body, llvm::ArrayRef<LegalValue> arguments, std::string &misfit) = 0;
  /// What is known of a value of the graph, or null.
  virtual LegalValue *find(mlir::Value value) = 0;
  /// Takes an op with regions out of the function. It lives on for a while: others remember what is in it.
  virtual void abandon(mlir::Operation *op) = 0;
  /// The branches of `choice`, an `If`, give `results` of another rank each: once its legalizer has failed,
  /// what reads them moves into the branches (BranchGrowth.h), and it is legalized again. False where that
  /// cannot be done.
  virtual bool growBranches(mlir::Operation *choice, llvm::ArrayRef<unsigned> results) = 0;
  /// Whether that is about to happen, and all that is legalized now is legalized again.
  virtual bool isGrowing() const = 0;
};

/// The legalization of one node. Errors are sticky: after the first one, accessors return harmless values and
/// the node counts as failed whatever its legalizer returns, so legalizers need not check after every step.
class LegalizeContext {
public:
  LegalizeContext(mlir::OpBuilder &builder, nn::ShapeTracker &tracker, SizeArith &sizes, NodeView node,
                  Texts &texts, llvm::SmallVector<LegalValue *> inputs, unsigned numResults,
                  BodyConverter *bodies = nullptr)
      : b(builder), loc(node.op->getLoc()), sizes(sizes), texts(texts), node(node), bodies(bodies),
        tracker(tracker), inputs(std::move(inputs)), results(numResults) {}

  mlir::OpBuilder &b;
  mlir::Location loc;
  SizeArith &sizes;
  Texts &texts;
  const NodeView node;
  BodyConverter *const bodies;

  //===--- Operands
  //-----------------------------------------------------------------------------------------===//

  unsigned numInputs() const { return inputs.size(); }
  /// Whether operand `i` is there and not left out with an empty name.
  bool has(unsigned i) const { return i < inputs.size() && inputs[i]; }
  /// Operand `i` as a tensor; scalars become a tensor here. The operand must be there.
  mlir::Value operand(unsigned i);
  mlir::Value operandOrNull(unsigned i) { return has(i) ? operand(i) : mlir::Value(); }
  /// Operand `i` as scalars, also where it is a small constant; null if its elements are not known.
  const Scalars *scalars(unsigned i);
  /// Operand `i` as it is, and the same for any value in its legal form.
  LegalValue &legal(unsigned i) { return *inputs[i]; }
  mlir::Value asTensor(LegalValue &value);
  const Scalars *asScalars(LegalValue &value);
  /// The same where an operand is to be sizes, positions or axes: an integer or bool tensor of at most
  /// kMaxReads elements whose shape is static and whose elements are unknown is read by the host program when
  /// it gets there. Its elements then are index values that may be anything: what becomes a size passes
  /// through `checkedSize`, what must hold is stated with `require`. Nothing if the operand cannot be read
  /// either.
  std::optional<Scalars> scalarsOrRead(unsigned i);
  /// The same for a tensor that was built.
  std::optional<Scalars> readScalars(mlir::Value tensor);
  /// The same for a list that must have `count` elements, however many the model says that it has.
  std::optional<Scalars> listOrRead(unsigned i, int64_t count);
  enum class Side { Before, Behind };
  /// The same for a list of at most `most` elements, whose number only the run may know: `fill` then stands
  /// for those that are missing.
  std::optional<Scalars> shorterListOrRead(unsigned i, int64_t most, int64_t fill, Side side);
  /// The only element of any integer or bool; nothing if it is none, or has another number of them.
  std::optional<Size> onlyElement(LegalValue &value);
  /// The same for an operand; reports one that is none.
  std::optional<Size> elementOrRead(unsigned i, llvm::StringRef name);
  mlir::RankedTensorType type(unsigned i) { return llvm::cast<mlir::RankedTensorType>(operand(i).getType()); }
  int64_t rank(unsigned i) { return shapeOf(i).size(); }
  mlir::Type elementType(unsigned i);
  /// The dimensions of operand `i`; of scalars without making a tensor.
  Sizes shapeOf(unsigned i);
  /// The dimensions of any tensor that was built.
  Sizes shapeOf(mlir::Value tensor);

  //===--- Attributes
  //---------------------------------------------------------------------------------------===//

  bool hasAttr(llvm::StringRef name) const;
  std::optional<int64_t> intAttr(llvm::StringRef name);
  int64_t intAttr(llvm::StringRef name, int64_t defaultValue) { return intAttr(name).value_or(defaultValue); }
  std::optional<double> floatAttr(llvm::StringRef name);
  double floatAttr(llvm::StringRef name, double defaultValue) {
    return floatAttr(name).value_or(defaultValue);
  }
  std::optional<llvm::StringRef> stringAttr(llvm::StringRef name);
  std::optional<llvm::SmallVector<int64_t>> intsAttr(llvm::StringRef name);
  std::optional<llvm::ArrayRef<float>> floatsAttr(llvm::StringRef name);
  std::optional<std::vector<std::string>> stringsAttr(llvm::StringRef name);
  mlir::ElementsAttr tensorAttr(llvm::StringRef name);
  /// The element type whose number in TensorProto.DataType attribute `name` is, or `fallback`. Null after an
  /// error.
  mlir::Type typeAttr(llvm::StringRef name, mlir::Type fallback);
  /// Attribute `name`, or operand `i` of later versions, as constants. Nothing if neither is there.
  std::optional<llvm::SmallVector<int64_t>> intsAttrOrInput(llvm::StringRef name, unsigned i);
  /// Makes `axis` count from the front; reports one out of range.
  bool normalizeAxis(int64_t &axis, int64_t rank, llvm::StringRef attribute = "axis");
  /// The same for a list, which must have no duplicates.
  bool normalizeAxes(llvm::SmallVectorImpl<int64_t> &axes, int64_t rank);

  //===--- Results
  //------------------------------------------------------------------------------------------===//

  mlir::LogicalResult set(unsigned i, mlir::Value tensor);
  mlir::LogicalResult set(mlir::Value tensor) { return set(0, tensor); }
  mlir::LogicalResult setScalars(Scalars scalars, unsigned i = 0);
  /// Result 0 is operand `i` unchanged.
  mlir::LogicalResult forward(unsigned i);
  bool isUsed(unsigned result) const;
  /// How many dimensions the model says that a result has, or what follows from it.
  std::optional<int64_t> declaredRank(unsigned result) const;
  mlir::LogicalResult setLegal(unsigned i, LegalValue value);
  /// The subgraph of attribute `name`, or null after an error.
  mlir::Region *subgraph(llvm::StringRef name);
  llvm::SmallVector<LegalValue> takeResults() { return std::move(results); }

  //===--- Building
  //-----------------------------------------------------------------------------------------===//

  mlir::Value unary(nn::UnaryKind kind, mlir::Value x) { return nn::buildUnary(b, loc, kind, x); }
  mlir::Value binary(nn::BinaryKind kind, mlir::Value lhs, mlir::Value rhs);
  mlir::Value add(mlir::Value lhs, mlir::Value rhs) { return binary(nn::BinaryKind::Add, lhs, rhs); }
  mlir::Value mul(mlir::Value lhs, mlir::Value rhs) { return binary(nn::BinaryKind::Mul, lhs, rhs); }
  mlir::Value compare(nn::CompareKind kind, mlir::Value lhs, mlir::Value rhs) {
    boundSymbols({lhs, rhs});
    return nn::buildCompare(b, loc, kind, lhs, rhs);
  }
  mlir::Value select(mlir::Value condition, mlir::Value lhs, mlir::Value rhs) {
    boundSymbols({condition, lhs, rhs});
    return nn::buildSelect(b, loc, condition, lhs, rhs);
  }
  /// Operands that broadcast with each other: where one has a dimension S and another min(S, 512), as models
  /// with a table of positions do, they fit only if S is at most 512. The symbol gets that bound, and both
  /// are S.
  void boundSymbols(mlir::ValueRange operands);
  mlir::Value cast(mlir::Value x, mlir::Type elementType) { return nn::buildCast(b, loc, x, elementType); }
  /// A scalar of the element type of `like`.
  mlir::Value scalar(double value, mlir::Value like) {
    return nn::buildScalar(b, loc, nn::getElementType(like), value);
  }
  mlir::Value reshape(mlir::Value x, llvm::ArrayRef<Size> dims);
  mlir::Value expand(mlir::Value x, llvm::ArrayRef<Size> dims);
  /// `x` with the number `size` as the size of dimension `dim`, which the run checks where nothing else
  /// tells: weights say how many channels there are where what computes shapes has lost it. No error if a
  /// number is known that differs.
  mlir::Value fixSize(mlir::Value x, int64_t dim, Size size, const llvm::Twine &message);
  mlir::Value transpose(mlir::Value x, llvm::ArrayRef<int64_t> perm);
  mlir::Value reduce(nn::ReduceKind kind, mlir::Value x, llvm::ArrayRef<int64_t> axes, bool keepDims);
  /// The part `[offset, offset + size)` of dimension `axis`.
  mlir::Value slice(mlir::Value x, int64_t axis, Size offset, Size size);
  Size one() { return b.getIndexAttr(1); }
  /// `size`, where the run is sure that it is one: from 0 to nn::kMaxDim. What comes from symbols alone is.
  Size checkedSize(Size size);
  /// The product of sizes, of which some may be read from data, as a size.
  Size checkedProduct(llvm::ArrayRef<Size> factors);
  /// An axis that is read while the model runs, as one of the `rank` dimensions; -1 where `isAbsent`.
  Size axisPosition(Size axis, int64_t rank, Size isAbsent = {});
  /// A condition of index arithmetic, 0 or not, as a bit.
  mlir::Value toBit(Size condition);
  mlir::Value toValue(Size size);
  /// States that `condition` is not 0: the run ends with a fault otherwise. What is known to be wrong is an
  /// error of the model, `message`.
  void require(Size condition, const llvm::Twine &message);
  /// The shape that all `shapes` broadcast to; reports those that do not fit.
  Sizes broadcast(llvm::ArrayRef<Sizes> shapes);

  //===--- Errors
  //-------------------------------------------------------------------------------------------===//

  /// Reports an invalid model: `code` is one of E03xx.
  mlir::LogicalResult error(llvm::StringRef code, const llvm::Twine &message, llvm::StringRef attribute = {});
  /// Says that this form of the operator is not supported; collected over all nodes.
  mlir::LogicalResult unsupported(const llvm::Twine &what);
  /// The same for a shape that depends on data; `what` names the operand.
  mlir::LogicalResult dataDependent(const llvm::Twine &what);
  bool hasFailed() const { return failed; }
  llvm::StringRef unsupportedReason() const { return reason; }

private:
  nn::ShapeTracker &tracker;
  llvm::SmallVector<LegalValue *> inputs;
  llvm::SmallVector<LegalValue> results;
  std::string reason;
  bool failed = false;
};

/// A float of rank 0, which holds a whole number, as a size; what is none ends the run.
Size toSize(LegalizeContext &c, mlir::Value number);

/// Whether a size is a formula of symbols and constants, so that it needs no check while the model runs.
bool isKnownFromSymbols(Size size);

using LegalizeFn = std::function<mlir::LogicalResult(LegalizeContext &)>;

/// From operators to their legalizers.
class LegalizerRegistry {
public:
  static constexpr unsigned kAny = ~0u;
  struct Entry {
    unsigned minInputs, maxInputs;
    LegalizeFn legalize;
    /// Whether operands may be strings, sequences and optionals, too.
    bool takesAny = false;
    /// Whether operands may be numbers of texts, because elements are only moved, or not looked at.
    bool movesStrings = false, measuresStrings = false;
    /// Whether operands may be complex numbers, because elements are only moved: each part by itself.
    bool movesComplex = false;
    /// Whether operands may be complex numbers, because they are for bodies.
    bool takesComplex = false;
  };

  /// `minInputs` operands must be there, not more than `maxInputs` may.
  void add(llvm::StringRef opType, unsigned minInputs, unsigned maxInputs, LegalizeFn legalize,
           llvm::StringRef domain = "") {
    entries[(domain + "|" + opType).str()] = {minInputs, maxInputs, std::move(legalize)};
  }
  /// The same for operands of any type.
  void addForAny(llvm::StringRef opType, unsigned minInputs, unsigned maxInputs, LegalizeFn legalize,
                 llvm::StringRef domain = "") {
    entries[(domain + "|" + opType).str()] = {minInputs, maxInputs, std::move(legalize), /*takesAny=*/true};
  }
  const Entry *find(llvm::StringRef domain, llvm::StringRef opType) const {
    auto entry = entries.find((domain + "|" + opType).str());
    return entry == entries.end() ? nullptr : &entry->second;
  }

  /// Says of operators that are there already that they only move elements.
  void moveStrings(llvm::ArrayRef<llvm::StringRef> opTypes, llvm::StringRef domain = "") {
    for (llvm::StringRef opType : opTypes) {
      entries[(domain + "|" + opType).str()].movesStrings = true;
    }
  }
  /// The same for complex numbers.
  void moveComplex(llvm::ArrayRef<llvm::StringRef> opTypes) {
    for (llvm::StringRef opType : opTypes) {
      entries[("|" + opType).str()].movesComplex = true;
    }
  }
  /// The same of operators whose results are no strings.
  void measureStrings(llvm::ArrayRef<llvm::StringRef> opTypes) {
    for (llvm::StringRef opType : opTypes) {
      entries[("|" + opType).str()].measuresStrings = true;
    }
  }
  /// Says of operators that they hand complex numbers to their bodies.
  void takeComplex(llvm::ArrayRef<llvm::StringRef> opTypes) {
    for (llvm::StringRef opType : opTypes) {
      entries[("|" + opType).str()].takesComplex = true;
    }
  }

private:
  llvm::StringMap<Entry> entries;
};

inline constexpr llvm::StringLiteral kMicrosoft = "com.microsoft";
inline constexpr llvm::StringLiteral kMachineLearning = "ai.onnx.ml";
/// Of nodes that no file can hold: they stand for how inputs are given.
inline constexpr llvm::StringLiteral kOwnDomain = "lathe";
inline constexpr llvm::StringLiteral kPreview = "ai.onnx.preview";
inline constexpr llvm::StringLiteral kTraining = "ai.onnx.preview.training";

void registerMath(LegalizerRegistry &registry);
void registerActivations(LegalizerRegistry &registry);
void registerLogic(LegalizerRegistry &registry);
void registerOrder(LegalizerRegistry &registry);
void registerQuantize(LegalizerRegistry &registry);
void registerRecurrent(LegalizerRegistry &registry);
void registerReductions(LegalizerRegistry &registry);
void registerShape(LegalizerRegistry &registry);
void registerMovement(LegalizerRegistry &registry);
void registerSlicing(LegalizerRegistry &registry);
void registerGather(LegalizerRegistry &registry);
void registerScatter(LegalizerRegistry &registry);
void registerMatMul(LegalizerRegistry &registry);
void registerNorms(LegalizerRegistry &registry);
void registerExperts(LegalizerRegistry &registry);
void registerFusedNorms(LegalizerRegistry &registry);
void registerConv(LegalizerRegistry &registry);
void registerAttention(LegalizerRegistry &registry);
void registerFusedAttention(LegalizerRegistry &registry);
void registerGroupQueryAttention(LegalizerRegistry &registry);

void registerLosses(LegalizerRegistry &registry);
void registerRandom(LegalizerRegistry &registry);
void registerRearrange(LegalizerRegistry &registry);
void registerSignal(LegalizerRegistry &registry);
void registerStateful(LegalizerRegistry &registry);
void registerGradient(LegalizerRegistry &registry);
void registerTraining(LegalizerRegistry &registry);

void registerControl(LegalizerRegistry &registry);
void registerSelection(LegalizerRegistry &registry);
void registerNgrams(LegalizerRegistry &registry);
void registerImages(LegalizerRegistry &registry);
void registerStrings(LegalizerRegistry &registry);
void registerFeatures(LegalizerRegistry &registry);
void registerLabels(LegalizerRegistry &registry);
void registerMaps(LegalizerRegistry &registry);
void registerLinearModels(LegalizerRegistry &registry);
void registerSequences(LegalizerRegistry &registry);
void registerSupportVectors(LegalizerRegistry &registry);
void registerTrees(LegalizerRegistry &registry);

/// States for `op`, of which little is known when the model is compiled, what its kernel relies on: that
/// sizes are equal, or broadcast.
void requireSizes(LegalizeContext &c, mlir::Operation *op);
/// States that dimensions `from` broadcast to `to`, aligned at the last ones.
void requireBroadcast(LegalizeContext &c, llvm::ArrayRef<Size> from, llvm::ArrayRef<Size> to);

/// States that operand `i` is a vector of `size` elements; `what` says what it is.
mlir::LogicalResult requireVector(LegalizeContext &c, unsigned i, Size size, llvm::StringRef what);

/// For each entry of operand `i`, a list of axes of any length that only the run knows, and each of `rank`
/// dimensions 1 if the entry names the dimension, else 0.
mlir::Value nameDimensions(LegalizeContext &c, unsigned i, int64_t rank);
/// For each dimension 1 if one of the entries above names it, else 0. No two may name the same, all must name
/// one.
Sizes markNamed(LegalizeContext &c, mlir::Value names);

/// The dimensions whose mark is 0, of which there are `left`: each moves forward by those before it that go.
Sizes dropMarked(LegalizeContext &c, llvm::ArrayRef<Size> dims, llvm::ArrayRef<Size> marks, int64_t left);

/// Folds a pointwise operator on scalars with numpy broadcasting; false if an operand is no scalars.
bool foldScalars(LegalizeContext &c, mlir::Type resultType, llvm::ArrayRef<unsigned> operands,
                 llvm::function_ref<Size(llvm::ArrayRef<Size>)> fold);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_LEGALIZER_H
