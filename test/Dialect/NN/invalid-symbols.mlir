// RUN: lathe-opt %s --split-input-file --verify-diagnostics

func.func @symbol_without_name() {
  // expected-error@+1 {{expects a name}}
  %0 = nn.dim_symbol ""
  return
}

// -----

func.func @symbol_bounds() {
  // expected-error@+1 {{expects bounds with 0 <= min <= max <= 281474976710655, but they are 3 and 2}}
  %0 = nn.dim_symbol "S" min 3 max 2
  return
}

// -----

func.func @symbol_negative() {
  // expected-error@+1 {{but they are -1 and 2}}
  %0 = nn.dim_symbol "S" min -1 max 2
  return
}

// -----

func.func @symbol_too_large() {
  // expected-error@+1 {{but they are 0 and 281474976710656}}
  %0 = nn.dim_symbol "S" max 281474976710656
  return
}

// -----

// expected-error@+1 {{expects a ranked tensor of static shape, but it is 'tensor<?xf32>'}}
nn.weight private @w : tensor<?xf32> = "a"

// -----

// expected-error@+1 {{expects less than 2^63 bits}}
nn.weight private @w : tensor<281474976710655x281474976710655xf32> = "a"

// -----

// expected-error@+1 {{expects elements as its value, but it is "a"}}
nn.weight private @w : tensor<2xf32> = "a"

// -----

// expected-error@+1 {{expects a value of type 'tensor<2xf32>', but it has 'tensor<3xf32>'}}
"nn.weight"() ({}) {sym_name = "w", type = tensor<2xf32>, value = dense<0.0> : tensor<3xf32>} : () -> ()

// -----

// expected-error@+1 {{expects 8 bytes for 'tensor<2xf32>', but the resource has 4}}
nn.weight private @w : tensor<2xf32> = dense_resource<short>
{-# dialect_resources: { builtin: { short: "0x040000000000803f" } } #-}

// -----

// expected-error@+1 {{expects a matrix for its panel, but it is 'tensor<4xf32>'}}
nn.weight private @w : tensor<4xf32> = dense<0.0> panel <16 x 2>

// -----

// expected-error@+1 {{expects integers of 8 bits for a panel with sums, but it is 'tensor<3x4xf32>'}}
nn.weight private @w : tensor<3x4xf32> = dense<0.0> panel <16 x 4 sums true>

// -----

// expected-error@+1 {{expects no joined groups beside sums, but there are 2}}
nn.weight private @w : tensor<3x4xi8> = dense<0> panel <16 x 4 sums true, groups 2 joined 2>

// -----

// expected-error@+1 {{expects a panel's width and interleave to be positive, but they are 0 and 2}}
nn.weight private @w : tensor<4x4xf32> = dense<0.0> panel <0 x 2>

// -----

// expected-error@+1 {{expects the number of joined groups to divide that of all groups, but they are 3 and 4}}
nn.weight private @w : tensor<4x4xf32> = dense<0.0> panel <32 x 1, groups 4 joined 3>

// -----

// expected-error@+1 {{expects a multiple of 3 columns for the groups of its panel, but it is 'tensor<4x4xf32>'}}
nn.weight private @w : tensor<4x4xf32> = dense<0.0> panel <32 x 1, groups 3 joined 1>

// -----

func.func @unknown_weight() {
  // expected-error@+1 {{does not find the weight @v}}
  %0 = nn.weight_use @v : tensor<2xf32>
  return
}

// -----

func.func @unknown_layer() {
  // expected-error@+1 {{does not find the layer @l}}
  nn.layer_call @l row 0() : () -> ()
  return
}

// -----

func.func @negative_row() {
  // expected-error@+1 {{expects a row that is not negative, but it is -1}}
  nn.layer_call @negative_row row -1() : () -> ()
  return
}

// -----

func.func @layer_operand_count(%x: index) {
  // expected-error@+1 {{expects the 1 operands of @layer_operand_count, but there are 0}}
  nn.layer_call @layer_operand_count row 0() : () -> ()
  return
}

// -----

func.func @layer_operand_type(%x: index) {
  %c = arith.constant 0 : i64
  // expected-error@+1 {{expects operand 0 to be 'index' as in @layer_operand_type, but it is 'i64'}}
  nn.layer_call @layer_operand_type row 0(%c) : (i64) -> ()
  return
}

// -----

func.func @layer_result_count() {
  // expected-error@+1 {{expects the 0 results of @layer_result_count, but there are 1}}
  %0 = nn.layer_call @layer_result_count row 0() : () -> tensor<f32>
  return
}

// -----

nn.weight private @w : tensor<2xf32> = dense<0.0>
func.func @type_of_weight_use() {
  // expected-error@+1 {{expects the type of @w, 'tensor<2xf32>', but it is 'tensor<2xf16>'}}
  %0 = nn.weight_use @w : tensor<2xf16>
  return
}

// -----

// expected-error@+1 {{expects bool, signless or unsigned integer or float elements, but it is 'tensor<2xsi8>'}}
nn.weight private @w : tensor<2xsi8> = dense<0>

// -----

// expected-error@+1 {{expects a value or a body that computes it}}
nn.weight private @w : tensor<2xf32>

// -----

// expected-error@+1 {{expects a value or a body that computes it}}
nn.weight private @w : tensor<2xf32> = dense<0.0> computed {
  %0 = nn.weight_use @v : tensor<2xf32>
  nn.yield %0 : tensor<2xf32>
}
nn.weight private @v : tensor<2xf32> = dense<0.0>

// -----

// expected-error@+1 {{expects a body that yields one value of its type, 'tensor<2xf32>'}}
nn.weight private @w : tensor<2xf32> computed {
  %0 = nn.weight_use @v : tensor<3xf32>
  nn.yield %0 : tensor<3xf32>
}
nn.weight private @v : tensor<3xf32> = dense<0.0>

// -----

nn.weight private @w : tensor<2xf32> computed {
  // expected-error@+1 {{does not find the weight @v}}
  %0 = nn.weight_use @v : tensor<2xf32>
  nn.yield %0 : tensor<2xf32>
}

// -----

nn.weight private @w : tensor<2xf32> computed {
  // expected-error@+1 {{cannot compute a weight}}
  %0 = nn.layer_call @f row 0() : () -> tensor<2xf32>
  nn.yield %0 : tensor<2xf32>
}
func.func private @f() -> tensor<2xf32> {
  %0 = arith.constant dense<0.0> : tensor<2xf32>
  return %0 : tensor<2xf32>
}
