// RUN: split-file %s %t
// RUN: lathe-opt %t/weights.mlir --pack-apply-plan=plan=%t/weights.json --verify-diagnostics | FileCheck %t/weights.mlir
// RUN: lathe-opt %t/joined.mlir --pack-apply-plan=plan=%t/joined.json --verify-diagnostics | FileCheck %t/joined.mlir
// RUN: lathe-opt %t/sparse.mlir --pack-apply-plan=plan=%t/sparse.json --verify-diagnostics | FileCheck %t/sparse.mlir
// RUN: lathe-opt %t/layers.mlir --pack-apply-plan=plan=%t/layers.json | FileCheck %t/layers.mlir
// RUN: lathe-opt %t/layers.mlir --pack-apply-plan=plan=%t/speedup.json | FileCheck %t/layers.mlir --check-prefix=SPEEDUP
// RUN: lathe-opt %t/static.mlir --pack-apply-plan=plan=%t/static.json --verify-diagnostics | FileCheck %t/static.mlir
// RUN: not lathe-opt %t/static.mlir --pack-apply-plan=plan=%t/no-range.json 2>&1 | FileCheck %s --check-prefix=NO-RANGE
// RUN: not lathe-opt %t/static.mlir --pack-apply-plan="plan=%t/static.json stats=%t/static.json" 2>&1 | FileCheck %s --check-prefix=NO-STATS
// RUN: not lathe-opt %t/layers.mlir --pack-apply-plan=plan=%t/twice.json 2>&1 | FileCheck %s --check-prefix=TWICE
// RUN: not lathe-opt %t/layers.mlir --pack-apply-plan=plan=%t/other-layer.json 2>&1 | FileCheck %s --check-prefix=OTHER-LAYER
// RUN: not lathe-opt %t/layers.mlir --pack-apply-plan=plan=%t/no-layer.json 2>&1 | FileCheck %s --check-prefix=NO-LAYER
// RUN: not lathe-opt %t/layers.mlir --pack-apply-plan=plan=%t/too-fast.json 2>&1 | FileCheck %s --check-prefix=TOO-FAST
// RUN: not lathe-opt %t/layers.mlir --pack-apply-plan=plan=%t/skipped.json 2>&1 | FileCheck %s --check-prefix=SKIPPED
// RUN: not lathe-opt %t/weights.mlir --pack-apply-plan=plan=%t/unfit.json 2>&1 | FileCheck %s --check-prefix=UNFIT
// RUN: not lathe-opt %t/weights.mlir --pack-apply-plan=plan=%t/unknown.json 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not lathe-opt %t/weights.mlir --pack-apply-plan=plan=%t/malformed.json 2>&1 | FileCheck %s --check-prefix=MALFORMED

// TWICE: twice.json:2:12: error: [E0805] the weight "w1" of node "/1/matmul" is to be stored as both bf16 and f16
// OTHER-LAYER: other-layer.json:1:29: error: [E0804] node "/1/matmul" is not in layer 2
// OTHER-LAYER: note: it is in layer 1
// NO-LAYER: error: [E0804] the model has no layer 4, it has 4, counted from 0
// TOO-FAST: error: [E0808] the model has 4 layers, of which 2 can be left out; for a speed-up of 3.00 it has to be 3
// SKIPPED: error: [E0805] "w1" is to be stored as bf16, but it is in layer 1, which is left out
// UNFIT: unfit.json:1:30: error: [E0807] the weight "odd" cannot be stored as int4<group = 32>: {{.*}}50
// UNKNOWN: error: [E0806] there is no format "int5"
// MALFORMED: error: [E0801] defaults.form: this field is unknown, did you mean "format"?

// NO-RANGE: no-range.json:1:63: error: [E0812] to store the weight as the plan says, it has to be known what it is multiplied with
// NO-STATS: error: [E0703] {{.*}}not a .npz file

//--- static.json
{"version": 1, "weights": {"a": {"format": "int8<static>", "range": [-1, 2]}, "b": {"format": "int8<static>", "range": [-3, 1]},
                           "c": {"format": "int8<static>", "range": [0, 1], "rounding": "nearest"}, "d": {"format": "int8<static>", "rounding": "compensated"}}}
//--- no-range.json
{"version": 1, "weights":   {"a": {"format": "int8<static>"}, "b": {"format": "int8<static>"}}}
//--- static.mlir
// What has become one weight is multiplied with one tensor: its range holds those of all parts. Parts that are to be rounded
// in different ways stay.
nn.weight private @a : tensor<64x8xf32> = dense<1.0> {onnx_name = "a"}
nn.weight private @b : tensor<64x8xf32> = dense<1.0> {onnx_name = "b"}
nn.weight private @c : tensor<64x8xf32> = dense<1.0> {onnx_name = "c"}
nn.weight private @d : tensor<64x8xf32> = dense<1.0> {onnx_name = "d"}
nn.weight private @ab : tensor<64x16xf32> computed {
  %0 = nn.weight_use @a : tensor<64x8xf32>
  %1 = nn.weight_use @b : tensor<64x8xf32>
  %2 = nn.concat %0, %1 axis(1) : tensor<64x8xf32>, tensor<64x8xf32> -> tensor<64x16xf32>
  nn.yield %2 : tensor<64x16xf32>
}
nn.weight private @cd : tensor<64x16xf32> computed {
  %0 = nn.weight_use @c : tensor<64x8xf32>
  %1 = nn.weight_use @d : tensor<64x8xf32>
  %2 = nn.concat %0, %1 axis(1) : tensor<64x8xf32>, tensor<64x8xf32> -> tensor<64x16xf32>
  nn.yield %2 : tensor<64x16xf32>
}
// CHECK-LABEL: func @ranges
// CHECK:         nn.matmul %{{.*}}, %{{.*}} {pack.format = #pack.int8<static>, pack.range = array<f32: -3.000000e+00, 2.000000e+00>}
// CHECK:         nn.matmul %{{.*}}, %{{[^ ]*}} : tensor
func.func @ranges(%x: tensor<?x64xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>) {
  %w = nn.weight_use @ab : tensor<64x16xf32>
  %0 = nn.matmul %x, %w : tensor<?x64xf32>, tensor<64x16xf32> -> tensor<?x16xf32>
  %v = nn.weight_use @cd : tensor<64x16xf32>
  // expected-remark @+1 {{[pack-apply-plan] missed: not stored as int8<static>: weights have become one that are to be rounded in different ways}}
  %1 = nn.matmul %x, %v : tensor<?x64xf32>, tensor<64x16xf32> -> tensor<?x16xf32>
  return %0, %1 : tensor<?x16xf32>, tensor<?x16xf32>
}

//--- twice.json
{"version": 1, "weights": {"w1": {"format": "bf16"}},
 "nodes": {"/1/matmul": {"format": "f16"}}}
//--- other-layer.json
{"version": 1, "layers": [  {"layer": 2, "skip": "all", "nodes": ["/1/matmul"]}]}
//--- no-layer.json
{"version": 1, "layers": [{"layer": 4, "skip": "all"}]}
//--- too-fast.json
{"version": 1, "defaults": {"speedup": 3}}
//--- skipped.json
{"version": 1, "layers": [{"layer": 1, "skip": "all"}], "weights": {"w1": {"format": "bf16"}}}
//--- unfit.json
{"version": 1, "weights":  { "odd": {"format": "int4<group = 32>"}}}
//--- unknown.json
{"version": 1, "defaults": {"format": "int5"}}
//--- malformed.json
{"version": 1, "defaults": {"form": "int5"}}
//--- weights.json
{"version": 1, "defaults": {"format": "int4<group = 32>"},
 "weights": {"b": {"format": "bf16"}, "kept": {"format": "none"}, "table": {"format": "f16"}, "gone": {"format": "f16"}},
 "nodes": {"/third": {"format": "f16"}}}
//--- weights.mlir
nn.weight private @a : tensor<64x8xf32> = dense<1.0> {onnx_name = "a"}
nn.weight private @b : tensor<64x8xf32> = dense<1.0> {onnx_name = "b"}
nn.weight private @c : tensor<64x8xf32> = dense<1.0> {onnx_name = "c"}
nn.weight private @d : tensor<64x8xf32> = dense<1.0> {onnx_name = "kept"}
nn.weight private @odd : tensor<50x8xf32> = dense<1.0> {onnx_name = "odd"}
nn.weight private @table : tensor<64x8xf32> = dense<1.0> {onnx_name = "table"}

// The default is for products whose weights it fits; tables are looked up in as they are unless an entry names them. Of
// an entry that nothing has come of, the remark has no place in the file.
// expected-remark @unknown {{[pack-apply-plan] missed: the weight is not stored as f16: no product or lookup has come of it}}
// CHECK-LABEL: func @weights
// CHECK:         nn.matmul %{{.*}}, %{{.*}} {pack.format = #pack.int4<group = 32>}
// CHECK:         nn.matmul %{{.*}}, %{{.*}} {pack.format = #pack.bf16}
// CHECK:         nn.matmul %{{.*}}, %{{.*}} {pack.format = #pack.f16}
// CHECK:         nn.matmul %{{.*}}, %{{[^ ]*}} : tensor<?x64xf32>
// CHECK:         nn.matmul %{{.*}}, %{{[^ ]*}} : tensor<?x50xf32>
// CHECK:         nn.matmul %{{.*}}, %{{[^ ]*}} : tensor<?x8xf32>
// CHECK:         nn.gather %{{.*}} {pack.format = #pack.f16}
func.func @weights(%x: tensor<?x64xf32>, %y: tensor<?x50xf32>, %z: tensor<?x8xf32>, %i: tensor<?xi64>)
    -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x64xf32>, tensor<?x8xf32>) {
  %a = nn.weight_use @a : tensor<64x8xf32>
  %b = nn.weight_use @b : tensor<64x8xf32>
  %c = nn.weight_use @c : tensor<64x8xf32>
  %d = nn.weight_use @d : tensor<64x8xf32>
  %odd = nn.weight_use @odd : tensor<50x8xf32>
  %table = nn.weight_use @table : tensor<64x8xf32>
  %0 = nn.matmul %x, %a : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32> loc("/first")
  %1 = nn.matmul %x, %b : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32> loc("/second")
  %2 = nn.matmul %x, %c : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32> loc("/third")
  %3 = nn.matmul %x, %d : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32>
  // expected-remark @+1 {{[pack-apply-plan] missed: not stored as int4<group = 32>: }}
  %4 = nn.matmul %y, %odd : tensor<?x50xf32>, tensor<50x8xf32> -> tensor<?x8xf32>
  %t = nn.transpose %a perm([1, 0]) : tensor<64x8xf32> -> tensor<8x64xf32>
  // expected-remark @+1 {{[pack-apply-plan] missed: not stored as int4<group = 32>: its weight is not folded, but read through nn.transpose}}
  %5 = nn.matmul %z, %t : tensor<?x8xf32>, tensor<8x64xf32> -> tensor<?x64xf32>
  %6 = nn.gather %table, %i axis(0) : tensor<64x8xf32>, tensor<?xi64> -> tensor<?x8xf32>
  return %0, %1, %2, %3, %4, %5, %6 : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x64xf32>, tensor<?x8xf32>
}

//--- joined.json
{"version": 1, "weights": {"q": {"format": "bf16"}, "k": {"format": "bf16"}, "v": {"format": "f16"}, "w": {"format": "f16"}}}
//--- joined.mlir
// Parts of a joined weight that want the same get it. What scales a weight is no part of it.
nn.weight private @q : tensor<64x8xf32> = dense<1.0> {onnx_name = "q"}
nn.weight private @k : tensor<64x8xf32> = dense<1.0> {onnx_name = "k"}
nn.weight private @w : tensor<64x8xf32> = dense<1.0> {onnx_name = "w"}
nn.weight private @scale : tensor<1x8xf32> = dense<1.0> {onnx_name = "scale"}
nn.weight private @qk : tensor<64x16xf32> computed {
  %0 = nn.weight_use @q : tensor<64x8xf32>
  %1 = nn.weight_use @k : tensor<64x8xf32>
  %2 = nn.concat %0, %1 axis(1) : tensor<64x8xf32>, tensor<64x8xf32> -> tensor<64x16xf32>
  nn.yield %2 : tensor<64x16xf32>
}
nn.weight private @scaled : tensor<64x8xf32> computed {
  %0 = nn.weight_use @w : tensor<64x8xf32>
  %1 = nn.weight_use @scale : tensor<1x8xf32>
  %2 = nn.binary mul %0, %1 : tensor<64x8xf32>, tensor<1x8xf32> -> tensor<64x8xf32>
  nn.yield %2 : tensor<64x8xf32>
}
// CHECK-LABEL: func @same
// CHECK:         nn.matmul %{{.*}}, %{{.*}} {pack.format = #pack.bf16}
// CHECK:         nn.matmul %{{.*}}, %{{.*}} {pack.format = #pack.f16}
func.func @same(%x: tensor<?x64xf32>) -> (tensor<?x16xf32>, tensor<?x8xf32>) {
  %w = nn.weight_use @qk : tensor<64x16xf32>
  %0 = nn.matmul %x, %w : tensor<?x64xf32>, tensor<64x16xf32> -> tensor<?x16xf32>
  %s = nn.weight_use @scaled : tensor<64x8xf32>
  %1 = nn.matmul %x, %s : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32>
  return %0, %1 : tensor<?x16xf32>, tensor<?x8xf32>
}

// Parts that want different things get nothing.
nn.weight private @v : tensor<64x8xf32> = dense<1.0> {onnx_name = "v"}
nn.weight private @u : tensor<64x8xf32> = dense<1.0> {onnx_name = "u"}
nn.weight private @kv : tensor<64x16xf32> computed {
  %0 = nn.weight_use @k : tensor<64x8xf32>
  %1 = nn.weight_use @v : tensor<64x8xf32>
  %2 = nn.concat %0, %1 axis(1) : tensor<64x8xf32>, tensor<64x8xf32> -> tensor<64x16xf32>
  nn.yield %2 : tensor<64x16xf32>
}
nn.weight private @ku : tensor<64x16xf32> computed {
  %0 = nn.weight_use @u : tensor<64x8xf32>
  %1 = nn.weight_use @k : tensor<64x8xf32>
  %2 = nn.concat %0, %1 axis(1) : tensor<64x8xf32>, tensor<64x8xf32> -> tensor<64x16xf32>
  nn.yield %2 : tensor<64x16xf32>
}
// CHECK-LABEL: func @different
// CHECK-NOT:     pack.format
func.func @different(%x: tensor<?x64xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>) {
  %w = nn.weight_use @kv : tensor<64x16xf32>
  // expected-remark @+1 {{[pack-apply-plan] missed: the weights "k" and "v" have become one, of which the first is to be stored as bf16, the second as f16}}
  %0 = nn.matmul %x, %w : tensor<?x64xf32>, tensor<64x16xf32> -> tensor<?x16xf32>
  %v = nn.weight_use @ku : tensor<64x16xf32>
  // expected-remark @+1 {{[pack-apply-plan] missed: the weights "u" and "k" have become one, of which the first is to be stored as it is, the second as bf16}}
  %1 = nn.matmul %x, %v : tensor<?x64xf32>, tensor<64x16xf32> -> tensor<?x16xf32>
  return %0, %1 : tensor<?x16xf32>, tensor<?x16xf32>
}

//--- sparse.json
{"version": 1, "defaults": {"sparsity": "unstructured:90%"},
 "weights": {"k": {"sparsity": "block:75%"}, "u": {"format": "bf16"}}, "nodes": {"/last": {"sparsity": "block:50%"}}}
//--- sparse.mlir
nn.weight private @k : tensor<64x8xf32> = dense<1.0> {onnx_name = "k"}
nn.weight private @v : tensor<64x8xf32> = dense<1.0> {onnx_name = "v"}
nn.weight private @u : tensor<64x8xf32> = dense<1.0> {onnx_name = "u"}
nn.weight private @kv : tensor<64x16xf32> computed {
  %0 = nn.weight_use @k : tensor<64x8xf32>
  %1 = nn.weight_use @v : tensor<64x8xf32>
  %2 = nn.concat %0, %1 axis(1) : tensor<64x8xf32>, tensor<64x8xf32> -> tensor<64x16xf32>
  nn.yield %2 : tensor<64x16xf32>
}
// An entry of a weight, the default beside an entry that speaks of a format, and the entry of a node.
// CHECK-LABEL: func @sparse
// CHECK:         nn.matmul %{{.*}} {pack.sparsity = #pack.sparsity<block, zeros = 750>}
// CHECK:         nn.matmul %{{.*}} {pack.format = #pack.bf16, pack.sparsity = #pack.sparsity<unstructured, zeros = 900>}
// CHECK:         nn.matmul %{{.*}} {pack.sparsity = #pack.sparsity<block, zeros = 500>}
// CHECK:         nn.matmul
// CHECK-NOT:     pack.sparsity
func.func @sparse(%x: tensor<?x64xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x16xf32>) {
  %k = nn.weight_use @k : tensor<64x8xf32>
  %0 = nn.matmul %x, %k : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32>
  %u = nn.weight_use @u : tensor<64x8xf32>
  %1 = nn.matmul %x, %u : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32>
  %v = nn.weight_use @v : tensor<64x8xf32>
  %2 = nn.matmul %x, %v : tensor<?x64xf32>, tensor<64x8xf32> -> tensor<?x8xf32> loc("/last")
  %kv = nn.weight_use @kv : tensor<64x16xf32>
  // expected-remark @+1 {{[pack-prune-weights] missed: the weights "k" and "v" have become one, of which the first is to be stored pruned to block:75%, the second pruned to unstructured:90%}}
  %3 = nn.matmul %x, %kv : tensor<?x64xf32>, tensor<64x16xf32> -> tensor<?x16xf32>
  return %0, %1, %2, %3 : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x16xf32>
}

//--- layers.json
{"version": 1, "layers": [{"layer": 3, "skip": "all", "nodes": ["/3/matmul"]}, {"layer": 1, "skip": "all"}, {"layer": 2, "skip": "ffn"}]}
//--- speedup.json
{"version": 1, "defaults": {"speedup": 1.3, "format": "bf16"}}
//--- layers.mlir
nn.weight private @w0 : tensor<8x8xf32> = dense<1.0> {onnx_name = "w0"}
nn.weight private @w1 : tensor<8x8xf32> = dense<1.0> {onnx_name = "w1"}
nn.weight private @w2 : tensor<8x8xf32> = dense<1.0> {onnx_name = "w2"}
nn.weight private @w3 : tensor<8x8xf32> = dense<1.0> {onnx_name = "w3"}

// CHECK-LABEL: func.func @main
// CHECK-SAME:    nn.skip = {all = array<i64: 1, 3>, ffn = array<i64: 2>}
// 3 of 4 layers are left, which nobody asks to store what is left out.
// SPEEDUP-LABEL: func.func @main
// SPEEDUP-SAME:    nn.skip = {all = array<i64: 2>}
// SPEEDUP-COUNT-2: nn.matmul %{{.*}}, %{{.*}} {pack.format = #pack.bf16}
// SPEEDUP:         nn.matmul %{{.*}}, %{{[^ ]*}} : tensor
// SPEEDUP:         nn.matmul %{{.*}}, %{{.*}} {pack.format = #pack.bf16}
func.func @main(%x: tensor<?x8xf32> {nn.dims = ["N", ""]}) -> tensor<?x8xf32> {
  %w0 = nn.weight_use @w0 : tensor<8x8xf32>
  %w1 = nn.weight_use @w1 : tensor<8x8xf32>
  %w2 = nn.weight_use @w2 : tensor<8x8xf32>
  %w3 = nn.weight_use @w3 : tensor<8x8xf32>
  %m0 = nn.matmul %x, %w0 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32> loc("/0/matmul")
  %r0 = nn.unary relu %m0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %t0 = nn.unary tanh %r0 : tensor<?x8xf32> -> tensor<?x8xf32>
  %h0 = nn.binary add %t0, %x : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %m1 = nn.matmul %h0, %w1 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32> loc("/1/matmul")
  %r1 = nn.unary relu %m1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %t1 = nn.unary tanh %r1 : tensor<?x8xf32> -> tensor<?x8xf32>
  %h1 = nn.binary add %t1, %h0 : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %m2 = nn.matmul %h1, %w2 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32> loc("/2/matmul")
  %r2 = nn.unary relu %m2 : tensor<?x8xf32> -> tensor<?x8xf32>
  %t2 = nn.unary tanh %r2 : tensor<?x8xf32> -> tensor<?x8xf32>
  %h2 = nn.binary add %t2, %h1 : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  %m3 = nn.matmul %h2, %w3 : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32> loc("/3/matmul")
  %r3 = nn.unary relu %m3 : tensor<?x8xf32> -> tensor<?x8xf32>
  %t3 = nn.unary tanh %r3 : tensor<?x8xf32> -> tensor<?x8xf32>
  %h3 = nn.binary add %t3, %h2 : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %h3 : tensor<?x8xf32>
}
