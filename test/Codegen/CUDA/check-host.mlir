// RUN: lathe-opt %s --split-input-file --verify-diagnostics --check-device-host

// What the host would have to read is refused, all of it at once.
func.func @main(%x: tensor<?xf32> {nn.name = "x", nn.dims = ["N"]}, %s: tensor<2xi64> {nn.name = "s", nn.dims = [""]})
    -> (tensor<?x?xf32> {nn.name = "y"}) {
  %N = nn.dim_symbol "N"
  // expected-error @+2 {{[E0503] cannot be done on a CUDA device: a size or a condition depends on data, for which the host would have to read what lies on the device}}
  // expected-note @+1 {{help: compile this model for a processor: --target=native}}
  %n = nn.read_index %s[0] : tensor<2xi64>
  // expected-error @+2 {{a size or a condition depends on data}}
  // expected-note @+1 {{help}}
  %k = nn.read_index %s[1] : tensor<2xi64>
  %m = nn.checked_size %n
  %1 = nn.expand %x to [%m, %N] : tensor<?xf32> -> tensor<?x?xf32>
  return %1 : tensor<?x?xf32>
}

// -----

func.func @main(%x: tensor<4xi64> {nn.name = "x", nn.dims = [""], nn.string}) -> (tensor<4xi1> {nn.name = "y"}) {
  // expected-error @+2 {{a component of the runtime computes it}}
  // expected-note @+1 {{help}}
  %1 = nn.service "text.match"(%x) with "a+" to [4] : (tensor<4xi64>) -> tensor<4xi1>
  return %1 : tensor<4xi1>
}

// -----

// A branch by a size reads nothing but sizes, and hands on addresses.
func.func @main(%x: tensor<?x4xf32> {nn.name = "x", nn.dims = ["N", ""]}) -> (tensor<?x4xf32> {nn.name = "y"}) {
  %N = nn.dim_symbol "N"
  %one = arith.constant 1 : index
  %b = arith.cmpi eq, %N, %one : index
  %y = nn.if %b sizes(%N) shapes [array<i64: -1, 4>] -> tensor<?x4xf32> {
    %0 = nn.unary exp %x : tensor<?x4xf32> -> tensor<?x4xf32>
    nn.yield %0 : tensor<?x4xf32>
  } else {
    nn.yield %x : tensor<?x4xf32>
  }
  return %y : tensor<?x4xf32>
}
