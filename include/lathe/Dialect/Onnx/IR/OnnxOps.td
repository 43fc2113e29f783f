// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_ONNX_OPS_TD
#define LATHE_ONNX_OPS_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/BuiltinTypeInterfaces.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Onnx_Dialect : Dialect {
  let name = "onnx";
  let cppNamespace = "::lathe::onnx";
  let summary = "an ONNX file as IR";
  let description = [{
    A model is a `builtin.module` with one `func.func @main`, whose body holds one `onnx.node` for every node of the
    graph, known to Lathe or not, in an order in which every value is defined before it is used. Local functions of
    the model are inlined.

    - *Types* are what the file declares: `tensor<?x384xf32>`, `tensor<*xf32>` where it gives no shape and
      `!onnx.unknown` where it gives no type at all. Nothing is inferred here, and a declared type may be wrong.
      Signless integers are signed, `ui*` is unsigned, `i1` is bool.
    - *Initializers* up to 1 KiB are `arith.constant` (`onnx.constant` for strings), larger ones `nn.weight`, whose
      bytes stay in the mapped file. So are the values of `Constant` nodes. The bytes of a weight are packed as in the
      file: one byte a bool, two i4 a byte, low nibble first.
    - *Names*: arguments and results of `@main` carry `lathe.name` and, where a dimension has a name or an expression,
      `lathe.dims` with one string a dimension, empty where it has none. Every node lists the names of its results.
    - *Places*: every op's location is a fused one whose metadata is a dictionary with `node`, `op`, `domain`, `opset`,
      `index` (in its graph) and `graph` (the path of graphs, from the outermost).
  }];
  let useDefaultTypePrinterParser = 1;
  let extraClassDeclaration = [{
    void registerTypes();
    /// Argument and result attributes of `@main`: the value's name, and the names of its dimensions.
    static constexpr llvm::StringLiteral kNameAttr = "lathe.name";
    static constexpr llvm::StringLiteral kDimsAttr = "lathe.dims";
    /// Module attributes: the graph's name, 16 hex digits over structure and weights, the producer's name and version,
    /// and the model's metadata_props as a dictionary of strings.
    static constexpr llvm::StringLiteral kGraphNameAttr = "lathe.graph_name";
    static constexpr llvm::StringLiteral kFingerprintAttr = "lathe.fingerprint";
    static constexpr llvm::StringLiteral kProducerAttr = "lathe.producer";
    static constexpr llvm::StringLiteral kMetadataAttr = "lathe.metadata";
    /// The function that holds the graph.
    static constexpr llvm::StringLiteral kMain = "main";
  }];
}

class Onnx_Type<string name, string typeMnemonic, list<Trait> traits = []> : TypeDef<Onnx_Dialect, name, traits> {
  let mnemonic = typeMnemonic;
}
def Onnx_UnknownType : Onnx_Type<"Unknown", "unknown"> {
  let summary = "the type of a value for which the file declares none";
}
def Onnx_StringType : Onnx_Type<"String", "string"> {
  let summary = "the element type of a tensor of strings";
}
def Onnx_SequenceType : Onnx_Type<"Sequence", "seq"> {
  let summary = "a sequence of values of one type";
  let parameters = (ins "::mlir::Type":$element);
  let assemblyFormat = "`<` $element `>`";
}
def Onnx_OptionalType : Onnx_Type<"Optional", "optional"> {
  let summary = "a value that may be absent";
  let parameters = (ins "::mlir::Type":$element);
  let assemblyFormat = "`<` $element `>`";
}
def Onnx_MapType : Onnx_Type<"Map", "map"> {
  let summary = "a map from numbers or strings to values of one type";
  let parameters = (ins "::mlir::Type":$key, "::mlir::Type":$value);
  let assemblyFormat = "`<` $key `,` $value `>`";
}

class Onnx_Op<string mnemonic, list<Trait> traits = []> : Op<Onnx_Dialect, mnemonic, traits>;

def Onnx_NodeOp : Onnx_Op<"node"> {
  let summary = "one node of an ONNX graph";
  let description = [{
    `version` is that of the operator set which the model imports for `domain` ("" is the default domain). The operator
    may be known to Lathe or not. An absent optional input is the result of an `onnx.none`; absent ones at the end are
    left out. An absent optional output has the type `none` and the name "". `outputs` holds the results' names.

    `node_attrs` holds the node's attributes: `f32`, `i64` and string attributes, `array<f32>`, `array<i64>`, arrays of
    strings, elements attributes for tensors, types for types. Attributes that are graphs are regions instead, one per
    name in `subgraphs`; they see all values around them, their inputs are their block's arguments, and they end with
    `onnx.yield`.

    ```mlir
    %y = onnx.node "Gemm"(%a, %b, %c) version 17 {alpha = 1.0 : f32, transB = 1 : i64} outputs ["y"]
      : (tensor<?x384xf32>, tensor<10x384xf32>, tensor<10xf32>) -> tensor<?x10xf32>
    %z = onnx.node "If"(%cond) version 17 {} outputs ["z"] subgraphs ["then_branch", "else_branch"]
      : (tensor<i1>) -> !onnx.unknown {
      onnx.yield %y : tensor<?x10xf32>
    }, {
      onnx.yield %x : tensor<?x10xf32>
    }
    ```
  }];
  let arguments = (ins StrAttr:$op_type, DefaultValuedStrAttr<StrAttr, "">:$domain, I64Attr:$version,
                       DictionaryAttr:$node_attrs, StrArrayAttr:$outputs, OptionalAttr<StrArrayAttr>:$subgraphs,
                       Variadic<AnyType>:$inputs);
  let results = (outs Variadic<AnyType>:$results_);
  let regions = (region VariadicRegion<SizedRegion<1>>:$bodies);
  let assemblyFormat = [{
    $op_type `(` $inputs `)` (`domain` $domain^)? `version` $version $node_attrs `outputs` $outputs
    (`subgraphs` $subgraphs^)? attr-dict `:` functional-type($inputs, $results_) $bodies
  }];
  let extraClassDeclaration = [{
    /// The domain with "ai.onnx" and "" as one, "".
    ::llvm::StringRef getCanonicalDomain() { return getDomain() == "ai.onnx" ? "" : getDomain(); }
    /// Whether this is operator `name` of the default domain.
    bool is(::llvm::StringRef name) { return getOpType() == name && getCanonicalDomain().empty(); }
    /// Input `index`, or a null value where it is absent.
    ::mlir::Value getInput(unsigned index);
    /// The attribute called `name`, or null.
    ::mlir::Attribute getNodeAttr(::llvm::StringRef name) { return getNodeAttrs().get(name); }
    template <typename T>
    T getNodeAttrOf(::llvm::StringRef name) { return getNodeAttrs().getAs<T>(name); }
    /// Attributes of kinds that most operators have, or the default where the node does not give them.
    int64_t getInt(::llvm::StringRef name, int64_t otherwise);
    float getFloat(::llvm::StringRef name, float otherwise);
    ::llvm::StringRef getString(::llvm::StringRef name, ::llvm::StringRef otherwise);
    /// The integers of attribute `name`; none where the node does not give it.
    std::optional<::llvm::ArrayRef<int64_t>> getInts(::llvm::StringRef name);
    /// The subgraph of attribute `name`, or null.
    ::mlir::Region *getSubgraph(::llvm::StringRef name);
    /// The ONNX name of result `index`.
    ::llvm::StringRef getOutputName(unsigned index);
  }];
  let hasVerifier = 1;
}

def Onnx_NoneOp : Onnx_Op<"none", [Pure]> {
  let summary = "an optional input that is absent";
  let description = [{
    Stands where a node leaves out an input that others follow.

    ```mlir
    %no_bias = onnx.none
    ```
  }];
  let results = (outs NoneType:$result);
  let assemblyFormat = "attr-dict";
}

def Onnx_ConstantOp : Onnx_Op<"constant", [Pure]> {
  let summary = "a small constant whose elements are no numbers";
  let description = [{
    Constants of numbers are `arith.constant` and `nn.weight_use`.

    ```mlir
    %labels = onnx.constant dense<["cat", "dog"]> : tensor<2x!onnx.string>
    ```
  }];
  let arguments = (ins ElementsAttr:$value);
  let results = (outs AnyType:$result);
  let assemblyFormat = "$value attr-dict `:` type($result)";
}

def Onnx_YieldOp : Onnx_Op<"yield", [Pure, Terminator, ReturnLike, HasParent<"NodeOp">]> {
  let summary = "the outputs of a subgraph";
  let description = [{
    Ends a subgraph of an `onnx.node`; the values are the subgraph's outputs, in order.

    ```mlir
    onnx.yield %y : tensor<?x10xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
}

#endif // LATHE_ONNX_OPS_TD
