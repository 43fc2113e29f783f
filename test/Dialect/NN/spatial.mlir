// RUN: lathe-opt %s --split-input-file --verify-diagnostics | lathe-opt --split-input-file | FileCheck %s

// CHECK-LABEL: func @pool
// CHECK:         nn.pool max %{{.*}} window([3, 3]) strides([2, 2]) dilations([1, 1]) before [1, 1] after [1, 1] sizes [%{{.*}}, 28] : tensor<?x?x56x64xf32> -> tensor<?x?x28x64xf32>
// CHECK:         nn.pool mean %{{.*}} count_pads : tensor<?x?x28x64xf32> -> tensor<?x?x14x64xf32>
func.func @pool(%x: tensor<?x?x56x64xf32>, %h: index, %k: index) -> tensor<?x?x14x64xf32> {
  %0 = nn.pool max %x window([3, 3]) strides([2, 2]) dilations([1, 1]) before [1, 1] after [1, 1] sizes [%h, 28]
    : tensor<?x?x56x64xf32> -> tensor<?x?x28x64xf32>
  %1 = nn.pool mean %0 window([2, 2]) strides([2, 2]) dilations([1, 1]) before [0, 0] after [%h, 0] sizes [%k, 14]
    count_pads : tensor<?x?x28x64xf32> -> tensor<?x?x14x64xf32>
  return %1 : tensor<?x?x14x64xf32>
}

// -----

func.func @window_of_another_rank(%x: tensor<1x8x8x4xf32>) {
  // expected-error@+1 {{expects 2 window, but there are 1}}
  %0 = nn.pool max %x window([3]) strides([1, 1]) dilations([1, 1]) before [0, 0] after [0, 0] sizes [6, 6]
    : tensor<1x8x8x4xf32> -> tensor<1x6x6x4xf32>
  return
}

// -----

func.func @only_means_count_pads(%x: tensor<1x8x4xf32>) {
  // expected-error@+1 {{expects only mean to count pads, but it is max}}
  %0 = nn.pool max %x window([3]) strides([1]) dilations([1]) before [0] after [0] sizes [6] count_pads
    : tensor<1x8x4xf32> -> tensor<1x6x4xf32>
  return
}

// -----

// CHECK-LABEL: func @pad
// CHECK:         nn.pad constant %{{.*}} value(%{{.*}}) before [0, 1] after [%{{.*}}, 2] : tensor<?x4xf32>, tensor<f32> -> tensor<?x7xf32>
// CHECK:         nn.pad reflect %{{.*}} before [1, 0] after [0, 0] : tensor<?x7xf32> -> tensor<?x7xf32>
func.func @pad(%x: tensor<?x4xf32>, %v: tensor<f32>, %n: index) -> tensor<?x7xf32> {
  %0 = nn.pad constant %x value(%v) before [0, 1] after [%n, 2] : tensor<?x4xf32>, tensor<f32> -> tensor<?x7xf32>
  %1 = nn.pad reflect %0 before [1, 0] after [0, 0] : tensor<?x7xf32> -> tensor<?x7xf32>
  return %1 : tensor<?x7xf32>
}

// -----

func.func @edges_have_no_value(%x: tensor<2xf32>, %v: tensor<f32>) {
  // expected-error@+1 {{expects a value for constant and for nothing else, but it is edge}}
  %0 = nn.pad edge %x value(%v) before [1] after [0] : tensor<2xf32>, tensor<f32> -> tensor<3xf32>
  return
}

// -----

// CHECK-LABEL: func @resample
// CHECK:         nn.resample %{{.*}} axes([1]) positions(%{{.*}}) weights(%{{.*}}) : tensor<?x28x64xf32>(tensor<56x2xi64>) (tensor<56x2xf32>) -> tensor<?x56x64xf32>
func.func @resample(%x: tensor<?x28x64xf32>, %p: tensor<56x2xi64>, %w: tensor<56x2xf32>) -> tensor<?x56x64xf32> {
  %0 = nn.resample %x axes([1]) positions(%p) weights(%w)
    : tensor<?x28x64xf32> (tensor<56x2xi64>) (tensor<56x2xf32>) -> tensor<?x56x64xf32>
  return %0 : tensor<?x56x64xf32>
}

// -----

func.func @resample_of_the_last_dimension(%x: tensor<2x4xf32>, %p: tensor<8x1xi64>) {
  // expected-error@+1 {{expects sorted axes from 0 to 0, but they are [1]}}
  %0 = nn.resample %x axes([1]) positions(%p) : tensor<2x4xf32> (tensor<8x1xi64>) -> tensor<2x8xf32>
  return
}

// -----

func.func @taps_without_weights(%x: tensor<2x4xf32>, %p: tensor<8x2xi64>) {
  // expected-error@+1 {{expects one tap where there are no weights, but there is 'tensor<8x2xi64>'}}
  %0 = nn.resample %x axes([0]) positions(%p) : tensor<2x4xf32> (tensor<8x2xi64>) -> tensor<8x4xf32>
  return
}

// -----

// CHECK-LABEL: func @sum_windows
// CHECK:         nn.sum_windows %{{.*}} strides([2]) dilations([1]) before [1] sizes [%{{.*}}] : tensor<?x?x4x64xf32> -> tensor<?x?x64xf32>
func.func @sum_windows(%x: tensor<?x?x4x64xf32>, %n: index) -> tensor<?x?x64xf32> {
  %0 = nn.sum_windows %x strides([2]) dilations([1]) before [1] sizes [%n] : tensor<?x?x4x64xf32> -> tensor<?x?x64xf32>
  return %0 : tensor<?x?x64xf32>
}

// -----

func.func @windows_without_steps(%x: tensor<1x2x4xf32>) {
  // expected-error@+1 {{expects x to have an even rank of 4 or more}}
  %0 = nn.sum_windows %x strides([2]) dilations([1]) before [1] sizes [3] : tensor<1x2x4xf32> -> tensor<1x3x4xf32>
  return
}

// -----

// CHECK-LABEL: func @sampling
// CHECK:         nn.grid_sample linear %{{.*}}, %{{.*}} border zeros align_corners
// CHECK:         nn.deform_windows %{{.*}}, %{{.*}} window([2, 2])
// CHECK:         nn.roi_align %{{.*}}, %{{.*}}, %{{.*}} height(5) width(5) samples(2) scale(1.000000e+00) half_pixel
// CHECK:         nn.roi_pool %{{.*}}, %{{.*}} height(2) width(2) scale(1.000000e+00)
func.func @sampling(%x: tensor<1x8x8x16xf32>, %g: tensor<1x4x4x2xf32>, %o: tensor<1x7x7x8xf32>, %b: tensor<?x4xf32>,
                    %i: tensor<?xi64>, %r: tensor<?x5xf32>) {
  %0 = nn.grid_sample linear %x, %g border zeros align_corners
    : tensor<1x8x8x16xf32>, tensor<1x4x4x2xf32> -> tensor<1x4x4x16xf32>
  %1 = nn.deform_windows %x, %o window([2, 2]) strides([1, 1]) dilations([1, 1]) before([0, 0]) groups(1)
    : tensor<1x8x8x16xf32>, tensor<1x7x7x8xf32> -> tensor<1x7x7x4x16xf32>
  %2 = nn.roi_align %x, %b, %i height(5) width(5) samples(2) scale(1.0) half_pixel
    : tensor<1x8x8x16xf32>, tensor<?x4xf32>, tensor<?xi64> -> tensor<?x5x5x16xf32>
  %3 = nn.roi_pool %x, %r height(2) width(2) scale(1.0)
    : tensor<1x8x8x16xf32>, tensor<?x5xf32> -> tensor<?x2x2x16xf32>
  return
}

// -----

func.func @grid_of_another_rank(%x: tensor<1x8x8x16xf32>, %g: tensor<1x4x4x3xf32>) {
  // expected-error@+1 {{expects the last size of grid to equal the number of spatial dimensions of x, 2, but it is 3}}
  %0 = nn.grid_sample linear %x, %g border zeros
    : tensor<1x8x8x16xf32>, tensor<1x4x4x3xf32> -> tensor<1x4x4x16xf32>
  return
}

// -----

func.func @offsets_for_other_windows(%x: tensor<1x8x8x16xf32>, %o: tensor<1x7x7x9xf32>) {
  // expected-error@+1 {{expects the last size of offsets to equal two for each element of a window, 8, but it is 9}}
  %0 = nn.deform_windows %x, %o window([2, 2]) strides([1, 1]) dilations([1, 1]) before([0, 0]) groups(1)
    : tensor<1x8x8x16xf32>, tensor<1x7x7x9xf32> -> tensor<1x7x7x4x16xf32>
  return
}

// -----

func.func @boxes_of_three(%x: tensor<1x8x8x16xf32>, %r: tensor<2x3xf32>) {
  // expected-error@+1 {{expects the last size of boxes to equal the numbers of a box, 5, but it is 3}}
  %0 = nn.roi_pool %x, %r height(2) width(2) scale(1.0) : tensor<1x8x8x16xf32>, tensor<2x3xf32> -> tensor<2x2x2x16xf32>
  return
}
