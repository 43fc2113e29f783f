// RUN: lathe-opt %s --split-input-file --verify-diagnostics

// expected-error@+1 {{expects elements that #pack.bf16 stores, but they are 'f16'}}
func.func private @elements(!pack.tensor<4x8xf16, #pack.bf16>)

// -----

// expected-error@+1 {{expects a format, but it is 32 : i64}}
func.func private @no_format(!pack.tensor<4x8xf32, 32>)

// -----

// expected-error@+1 {{expects less than 2^58 elements}}
func.func private @size(!pack.tensor<281474976710655x281474976710655xf32, #pack.bf16>)

// -----

// expected-error@+1 {{expects a last dimension for the scales of int8, but it is 'tensor<f32>'}}
func.func private @int8_scalar(!pack.tensor<f32, #pack.int8<dynamic>>)

// -----

// expected-error@+1 {{expects a matrix for groups of rows, but it is 'tensor<64xf32>'}}
func.func private @int4_vector(!pack.tensor<64xf32, #pack.int4<group = 32>>)

// -----

// expected-error@+1 {{expects a multiple of 32 rows for its groups, but there are 48}}
func.func private @int4_rows(!pack.tensor<48x64xf32, #pack.int4<group = 32>>)

// -----

// expected-error@+1 {{expects groups that fill bytes with 4 bits each, but they have 5 rows}}
func.func private @int4_group(!pack.tensor<50x64xf32, #pack.int4<group = 5>>)

// -----

// expected-error@+1 {{expects groups of a multiple of 32 rows, of which what they are multiplied with is rounded together, but they have 48}}
func.func private @int4_dynamic_group(!pack.tensor<96x64xf32, #pack.int4<group = 48, dynamic = true>>)

// -----

// expected-error@+1 {{expects groups that fill bytes with 2 bits each, but they have 0 rows}}
func.func private @int2_no_group(!pack.tensor<50x64xf32, #pack.int2<group = 0>>)

// -----

// expected-error@+1 {{expects a multiple of 32 rows for its groups, but there are 48}}
func.func private @codebook_rows(!pack.tensor<48x64xf32, #pack.codebook<nf4, group = 32>>)

// -----

// expected-error@+1 {{expects groups that fill bytes with 3 bits each, but they have 4 rows}}
func.func private @codebook_group(!pack.tensor<48x64xf32, #pack.codebook<int3, group = 4>>)

// -----

// expected-error@+1 {{expects numbers in brackets or the name of a table, one of int3, nf4, f4E2M1FN, f8E4M3FN, f8E5M2, found int5}}
func.func private @codebook_name(!pack.tensor<48x64xf32, #pack.codebook<int5, group = 32>>)

// -----

// expected-error@+1 {{expects a table of 2 to 256 numbers, but there are 1}}
func.func private @codebook_of_one(!pack.tensor<64x64xf32, #pack.codebook<[1.0], group = 32>>)

// -----

// expected-error@+1 {{expects finite numbers in its table, not all of them 0}}
func.func private @codebook_of_zeros(!pack.tensor<64x64xf32, #pack.codebook<[0.0, 0.0], group = 32>>)

// -----

// expected-error@+1 {{expects scales of f16 or f32, but they are 'f64'}}
func.func private @scales(!pack.tensor<64x64xf32, #pack.int8_groups<group = 32, scales = f64>>)

// -----

func.func @encode(%x: tensor<64x95xf32>) {
  // expected-error@+1 {{expects the tensor to be 'tensor<64x96xf32>' as in '!pack.tensor<64x96xf32, #pack.bf16>', but it is 'tensor<64x95xf32>'}}
  %0 = pack.encode %x : tensor<64x95xf32> -> !pack.tensor<64x96xf32, #pack.bf16>
  return
}

// -----

func.func @decode(%x: !pack.tensor<64x96xf32, #pack.bf16>) {
  // expected-error@+1 {{expects the tensor to be 'tensor<64x96xf32>' as in '!pack.tensor<64x96xf32, #pack.bf16>', but it is 'tensor<64x96xf16>'}}
  %0 = pack.decode %x : !pack.tensor<64x96xf32, #pack.bf16> -> tensor<64x96xf16>
  return
}

// -----

func.func @compose_count(%x: tensor<32x96xui8>) {
  // expected-error@+1 {{expects 2 components for '!pack.tensor<64x96xf32, #pack.int4<group = 32>>', but there are 1}}
  %0 = pack.compose %x : (tensor<32x96xui8>) -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
  return
}

// -----

func.func @compose_type(%x: tensor<32x96xi8>, %y: tensor<2x96xf16>) {
  // expected-error@+1 {{expects component 0 to be 'tensor<32x96xui8>' for '!pack.tensor<64x96xf32, #pack.int4<group = 32>>', but it is 'tensor<32x96xi8>'}}
  %0 = pack.compose %x, %y : (tensor<32x96xi8>, tensor<2x96xf16>) -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
  return
}

// -----

func.func @request_without_format(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error@+1 {{expects a format as pack.format, but it is "int4"}}
  %0 = nn.unary relu %x {pack.format = "int4"} : tensor<4xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

func.func @no_such_component(%p: !pack.tensor<4x8xf32, #pack.int8<dynamic>>) -> tensor<8xf32> {
  // expected-error@+1 {{expects an index below 2 for '!pack.tensor<4x8xf32, #pack.int8<dynamic>>', but it is 2}}
  %0 = pack.component 2 of %p : !pack.tensor<4x8xf32, #pack.int8<dynamic>> -> tensor<8xf32>
  return %0 : tensor<8xf32>
}

// -----

func.func @component_of_another_type(%p: !pack.tensor<4x8xf32, #pack.int8<dynamic>>) -> tensor<4x8xf32> {
  // expected-error@+1 {{expects component 0 of '!pack.tensor<4x8xf32, #pack.int8<dynamic>>' to be 'tensor<4x8xi8>', but it is 'tensor<4x8xf32>'}}
  %0 = pack.component 0 of %p : !pack.tensor<4x8xf32, #pack.int8<dynamic>> -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// -----

func.func @range_of_infinity(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error@+1 {{expects two finite numbers in order as pack.range, but it is array<f32: 0.000000e+00, 0x7F800000>}}
  %0 = nn.unary relu %x {pack.range = array<f32: 0.0, 0x7F800000>} : tensor<4xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

func.func @range_backwards(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error@+1 {{expects two finite numbers in order as pack.range, but it is array<f32: 1.000000e+00, 0.000000e+00>}}
  %0 = nn.unary relu %x {pack.range = array<f32: 1.0, 0.0>} : tensor<4xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

func.func @factor_of_zero(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error@+1 {{expects positive numbers as pack.migrate, but it is array<f32: 1.000000e+00, 0.000000e+00>}}
  %0 = nn.unary relu %x {pack.migrate = array<f32: 1.0, 0.0>} : tensor<4xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

func.func @gram_without_a_name(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error@+1 {{expects the name of a weight as pack.gram, but it is 3 : i64}}
  %0 = nn.unary relu %x {pack.gram = 3} : tensor<4xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

nn.weight private @w : tensor<2x3xf32> = dense<0.0>
nn.weight private @g : tensor<3x3xf32> = dense<0.0>
nn.weight private @p : !pack.tensor<2x3xf32, #pack.int8<dynamic>> computed {
  %w = nn.weight_use @w : tensor<2x3xf32>
  %g = nn.weight_use @g : tensor<3x3xf32>
  // expected-error@+1 {{expects 'tensor<2x2xf32>' as sums of products of 2 channels, but it is 'tensor<3x3xf32>'}}
  %p = pack.encode %w gram(%g : tensor<3x3xf32>) : tensor<2x3xf32> -> !pack.tensor<2x3xf32, #pack.int8<dynamic>>
  nn.yield %p : !pack.tensor<2x3xf32, #pack.int8<dynamic>>
}

// -----

nn.weight private @w : tensor<2x2xf32> = dense<0.0>
nn.weight private @p : !pack.tensor<2x2xf32, #pack.bf16> computed {
  %w = nn.weight_use @w : tensor<2x2xf32>
  // expected-error@+1 {{has sums of products, but nothing is rounded to #pack.bf16 by them}}
  %p = pack.encode %w gram(%w : tensor<2x2xf32>) : tensor<2x2xf32> -> !pack.tensor<2x2xf32, #pack.bf16>
  nn.yield %p : !pack.tensor<2x2xf32, #pack.bf16>
}

// -----

func.func @unknown_request(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error@+1 {{has an attribute that the pack dialect does not know, "pack.formats"}}
  %0 = nn.unary relu %x {pack.formats = #pack.bf16} : tensor<4xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

// expected-error@+1 {{expects a body that computes it, because it is '!pack.tensor<2x2xf32, #pack.bf16>'}}
"nn.weight"() ({}) {sym_name = "w", type = !pack.tensor<2x2xf32, #pack.bf16>, value = dense<0.0> : tensor<2x2xf32>} : () -> ()

// -----

nn.weight private @w : tensor<2x2xf32> = dense<0.0>
// expected-error@+1 {{expects a body that yields one value of its type, '!pack.tensor<2x2xf32, #pack.f16>'}}
nn.weight private @p : !pack.tensor<2x2xf32, #pack.f16> computed {
  %w = nn.weight_use @w : tensor<2x2xf32>
  %p = pack.encode %w : tensor<2x2xf32> -> !pack.tensor<2x2xf32, #pack.bf16>
  nn.yield %p : !pack.tensor<2x2xf32, #pack.bf16>
}

// -----

nn.weight private @w : tensor<2x2xf32> = dense<0.0>
func.func @type_of_use() {
  // expected-error@+1 {{expects the type of @w, 'tensor<2x2xf32>', but it is '!pack.tensor<2x2xf32, #pack.bf16>'}}
  %0 = nn.weight_use @w : !pack.tensor<2x2xf32, #pack.bf16>
  return
}

// -----

// expected-error@+1 {{expects blocks of 1 to 1024 rows and columns, but they are 0 x 4}}
func.func private @no_block(!pack.tensor<64x64xf32, #pack.blocks<rows = 0, columns = 4, count = 8>>)

// -----

// expected-error@+1 {{expects room for 1 to 2^31 elements in blocks, but it is for 0 blocks of 1 x 4}}
func.func private @no_room(!pack.tensor<64x64xf32, #pack.blocks<rows = 1, columns = 4, count = 0>>)

// -----

// expected-error@+1 {{expects a matrix for blocks, but it is 'tensor<64xf32>'}}
func.func private @blocks_of_vector(!pack.tensor<64xf32, #pack.blocks<rows = 1, columns = 4, count = 8>>)

// -----

// expected-error@+1 {{expects at most 65536 rows of blocks, but there are 65537}}
func.func private @many_blocks(!pack.tensor<65537x4xf32, #pack.blocks<rows = 1, columns = 4, count = 8>>)

// -----

// expected-error@+1 {{expects elements that #pack.blocks<rows = 1, columns = 4, count = 8> stores, but they are 'f16'}}
func.func private @blocks_of_halves(!pack.tensor<64x64xf16, #pack.blocks<rows = 1, columns = 4, count = 8>>)

// -----

// expected-error@+1 {{expects 1 to 999 zeros of a thousand elements, but they are 1000}}
func.func private @all_zeros() attributes {pack.sparsity = #pack.sparsity<block, zeros = 1000>}

// -----

// expected-error@+1 {{expects 500 zeros of a thousand elements, as two of four are, but they are 750}}
func.func private @three_of_four() attributes {pack.sparsity = #pack.sparsity<two_of_four, zeros = 750>}

// -----

// expected-error@+1 {{expects a sparsity as pack.sparsity, but it is #pack.bf16}}
func.func private @no_sparsity() attributes {pack.sparsity = #pack.bf16}

// -----

// expected-error@+1 {{expects a format of blocks as pack.blocks, but it is #pack.bf16}}
func.func private @no_blocks() attributes {pack.blocks = #pack.bf16}

// -----

func.func @prune_vector(%x: tensor<64xf32>) {
  // expected-error@+1 {{expects a matrix of f32, but it is 'tensor<64xf32>'}}
  %0 = pack.prune %x <block, zeros = 500> blocks(1 x 4) : tensor<64xf32>
  return
}

// -----

func.func @prune_nothing(%x: tensor<64x64xf32>) {
  // expected-error@+1 {{expects blocks of at least one element, but they are 0 x 4}}
  %0 = pack.prune %x <block, zeros = 500> blocks(0 x 4) : tensor<64x64xf32>
  return
}

// -----

func.func @prune_norms(%x: tensor<64x32xf32>, %n: tensor<32xf32>) {
  // expected-error@+1 {{expects norms of type 'tensor<64xf32>' for 'tensor<64x32xf32>', but they are 'tensor<32xf32>'}}
  %0 = pack.prune %x <block, zeros = 500> blocks(1 x 4) norms(%n : tensor<32xf32>) : tensor<64x32xf32>
  return
}

// -----

// expected-error@+1 {{expects the name of a weight as pack.norms, but it is 3 : i64}}
func.func private @no_norms() attributes {pack.norms = 3}
