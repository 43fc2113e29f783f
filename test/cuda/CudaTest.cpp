/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

// The runtime on the mock driver: results, where tensors lie, and errors.

#include "CudaModel.h"

#include "lathe/dlpack.h"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>

using namespace lathe::test;

namespace {
Tensor<float> numbers(int64_t count) {
  Tensor<float> x{std::vector<float>(size_t(count)), {count}, {}};
  std::iota(x.data.begin(), x.data.end(), 1.f);
  return x;
}

std::vector<float> expected(const std::vector<float> &x) {
  std::vector<float> y(x.size());
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] = 2 * x[i] + 100 * float(i % 16);
  }
  return y;
}

lathe_error_code runWith(lathe_session_t *session, Tensor<float> &x) {
  lathe_tensor tensor = x.view();
  lathe_error_code code = lathe_session_bind_input(session, 0, &tensor);
  return code ? code : lathe_session_run(session);
}

std::vector<float> result(lathe_session_t *session) {
  lathe_tensor y = {};
  EXPECT_EQ(lathe_session_output(session, 0, &y), LATHE_OK) << lathe_last_error();
  const auto *data = static_cast<const float *>(y.data);
  return {data, data + y.dims[0]};
}

SessionPtr makeSession(const ModelPtr &model, uint64_t flags = 0) {
  lathe_session_options options = LATHE_SESSION_OPTIONS;
  options.device_flags = flags;
  return lathe::test::makeSession(model.get(), options);
}
} // namespace

//===-- Results
//--------------------------------------------------------------------------------------------===//

TEST_F(CudaTest, RunsOnTheDevice) {
  ModelPtr model = openOnDevice(doubleAndBias());
  ASSERT_TRUE(model) << lathe_last_error();
  lathe_model_info info;
  ASSERT_EQ(lathe_model_get_info(model.get(), &info), LATHE_OK);
  EXPECT_STREQ(info.variant, "cuda");
  SessionPtr session = makeSession(model);
  ASSERT_TRUE(session) << lathe_last_error();
  EXPECT_EQ(lathe_session_threads(session.get()), 1u);
  for (int64_t count : {1000, 7, 5000, 0, 128}) {
    Tensor<float> x = numbers(count);
    ASSERT_EQ(runWith(session.get(), x), LATHE_OK) << lathe_last_error();
    EXPECT_EQ(result(session.get()), expected(x.data));
  }
  EXPECT_GE(lathe_session_memory(session.get()), 3u * 5000 * 4) << "arena, input and output, on the device";
}

TEST_F(CudaTest, CopiesTheWeightsOnce) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr first = makeSession(model), second = makeSession(model);
  Tensor<float> x = numbers(100);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(runWith(first.get(), x), LATHE_OK);
    ASSERT_EQ(runWith(second.get(), x), LATHE_OK);
  }
  EXPECT_EQ(calls("cuMemcpyHtoD_v2"), 1);
}

TEST_F(CudaTest, AllocatesNothingAfterTheFirstRunOfAShape) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(1000), smaller = numbers(10);
  ASSERT_EQ(runWith(session.get(), x), LATHE_OK);
  int before = calls("cuMemAlloc_v2");
  ASSERT_EQ(runWith(session.get(), x), LATHE_OK);
  ASSERT_EQ(runWith(session.get(), smaller), LATHE_OK);
  EXPECT_EQ(calls("cuMemAlloc_v2"), before);
}

TEST_F(CudaTest, GivesKernelsTheSharedMemoryTheyAskFor) {
  ModelPtr model = openOnDevice(sumOfBlock());
  ASSERT_TRUE(model) << lathe_last_error();
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(1500);
  ASSERT_EQ(runWith(session.get(), x), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(result(session.get())[5], 1024.f * 1025 / 2);
  EXPECT_EQ(result(session.get())[1400], 1500.f * 1501 / 2 - 1024.f * 1025 / 2);
}

TEST_F(CudaTest, KernelsOfASessionHaveScratchMemory) {
  ModelPtr model = openOnDevice(withBadKernel("test_count"), /*device=*/0, /*scratchUnits=*/2);
  ASSERT_TRUE(model) << lathe_last_error();
  SessionPtr sessions[] = {makeSession(model), makeSession(model)};
  Tensor<float> x = numbers(5);
  // Launched, recorded, replayed: it is 0 for the first launch of a session, and then what the last one left.
  for (float count = 1; count <= 4; ++count) {
    for (const SessionPtr &session : sessions) {
      ASSERT_EQ(runWith(session.get(), x), LATHE_OK) << lathe_last_error();
      EXPECT_EQ(result(session.get())[0], count);
    }
  }
}

TEST_F(CudaTest, SessionsRunInSeveralThreads) {
  ModelPtr model = openOnDevice(doubleAndBias());
  auto loop = [&](int64_t count) {
    SessionPtr session = makeSession(model);
    Tensor<float> x = numbers(count);
    for (int i = 0; i < 20; ++i) {
      ASSERT_EQ(runWith(session.get(), x), LATHE_OK) << lathe_last_error();
      ASSERT_EQ(result(session.get()), expected(x.data));
    }
  };
  std::thread one(loop, 300), two(loop, 500);
  one.join();
  two.join();
}

TEST_F(CudaTest, ChoosesTheDevice) {
  set("LATHE_MOCK_DEVICES", "2");
  ModelPtr model = openOnDevice(doubleAndBias(), 1);
  ASSERT_TRUE(model) << lathe_last_error();
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(10);
  ASSERT_EQ(runWith(session.get(), x), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(result(session.get()), expected(x.data));
}

TEST_F(CudaTest, TakesAProfile) {
  ModelPtr model = openOnDevice(doubleAndBias());
  lathe_session_options options = LATHE_SESSION_OPTIONS;
  options.profile_records = 8;
  SessionPtr session = lathe::test::makeSession(model.get(), options);
  Tensor<float> x = numbers(1000);
  ASSERT_EQ(runWith(session.get(), x), LATHE_OK) << lathe_last_error();
  ASSERT_EQ(runWith(session.get(), x), LATHE_OK) << lathe_last_error();
  lathe_profile_record records[8];
  ASSERT_EQ(lathe_session_profile(session.get(), records, 8), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(records[i].kernel, i % 2);
    EXPECT_EQ(records[i].run, uint64_t(i / 2 + 1));
    EXPECT_GT(records[i].end_ns, records[i].begin_ns);
  }
  EXPECT_GE(records[1].begin_ns, records[0].end_ns);
}

TEST_F(CudaTest, ModelsForTheProcessorDoNotTouchTheDriver) {
  ModelPtr model(maskedDouble().open());
  SessionPtr session = lathe::test::makeSession(model.get());
  Tensor<float> x{{1, 2}, {1, 2}, {}};
  Tensor<int64_t> mask{{1, 0}, {1, 2}, {}};
  lathe_tensor a = x.view(), b = mask.view();
  ASSERT_EQ(lathe_session_bind_input(session.get(), 0, &a), LATHE_OK);
  ASSERT_EQ(lathe_session_bind_input(session.get(), 1, &b), LATHE_OK);
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  EXPECT_EQ(calls("cuInit") + calls("cuDriverGetVersion") + calls("cuPointerGetAttributes"), 0);
}

//===-- Graphs
//---------------------------------------------------------------------------------------------===//

TEST_F(CudaTest, ReplaysTheLaunchesOfAShape) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(1000), other = numbers(300);
  auto run = [&](Tensor<float> &tensor) {
    ASSERT_EQ(runWith(session.get(), tensor), LATHE_OK) << lathe_last_error();
    ASSERT_EQ(result(session.get()), expected(tensor.data));
  };
  run(x);
  EXPECT_EQ(calls("cuLaunchKernel"), 2);
  EXPECT_EQ(calls("cuGraphCreate"), 0) << "a shape that comes once is not worth it";
  for (int i = 0; i < 5; ++i) {
    x.data[3] = float(i);
    run(x);
  }
  EXPECT_EQ(calls("cuLaunchKernel"), 2);
  EXPECT_EQ(calls("cuGraphAddKernelNode_v2"), 2) << "the host program runs for it once";
  EXPECT_EQ(calls("cuGraphInstantiateWithFlags"), 1);
  EXPECT_EQ(calls("cuGraphLaunch"), 5);
  for (int i = 0; i < 3; ++i) {
    run(other);
    run(x);
  }
  EXPECT_EQ(calls("cuLaunchKernel"), 4);
  EXPECT_EQ(calls("cuGraphInstantiateWithFlags"), 2);
}

TEST_F(CudaTest, AGraphIsForOneSetOfAddresses) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(100);
  uint64_t outputs[] = {allocate(400), allocate(400)};
  lathe_tensor to = x.view();
  for (int i = 0; i < 8; ++i) {
    uint64_t output = outputs[i % 2];
    to.data = reinterpret_cast<void *>(output);
    x.data[0] = float(i);
    ASSERT_EQ(lathe_session_bind_output(session.get(), 0, &to), LATHE_OK) << lathe_last_error();
    ASSERT_EQ(runWith(session.get(), x), LATHE_OK) << lathe_last_error();
    std::vector<float> y(100);
    copyOut(y.data(), output, 400);
    ASSERT_EQ(y, expected(x.data)) << i;
  }
  EXPECT_EQ(calls("cuGraphInstantiateWithFlags"), 2);
}

TEST_F(CudaTest, KeepsTheGraphsOfTheShapesThatRanLast) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model);
  Tensor<float> largest = numbers(1000);
  ASSERT_EQ(runWith(session.get(), largest), LATHE_OK); // the memory is there for all
  for (int round = 0; round < 3; ++round) {
    for (int64_t count = 1; count <= 20; ++count) {
      Tensor<float> x = numbers(count);
      for (int i = 0; i < 3; ++i) {
        ASSERT_EQ(runWith(session.get(), x), LATHE_OK) << lathe_last_error();
        ASSERT_EQ(result(session.get()), expected(x.data));
      }
    }
  }
  EXPECT_EQ(calls("cuGraphInstantiateWithFlags"), 3 * 20);
  EXPECT_LE(calls("cuGraphInstantiateWithFlags") - calls("cuGraphExecDestroy"), 8);
}

TEST_F(CudaTest, LaunchesOneByOneWhereItIsAskedTo) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model, LATHE_DEVICE_NO_GRAPHS);
  Tensor<float> x = numbers(1000);
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(runWith(session.get(), x), LATHE_OK) << lathe_last_error();
    ASSERT_EQ(result(session.get()), expected(x.data));
  }
  EXPECT_EQ(calls("cuLaunchKernel"), 8);
  EXPECT_EQ(calls("cuGraphCreate"), 0);
}

TEST_F(CudaTest, FaultsComeOutOfGraphs) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(1000);
  for (int i = 0; i < 6; ++i) {
    x.data[500] = i % 2 ? -1.f : 1.f;
    EXPECT_EQ(runWith(session.get(), x), i % 2 ? LATHE_ERROR_INDEX : LATHE_OK) << i;
  }
  EXPECT_EQ(calls("cuGraphLaunch"), 5);
}

//===-- Where tensors lie
//----------------------------------------------------------------------------------===//

TEST_F(CudaTest, UsesWhatLiesOnTheDeviceInPlace) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(1000);
  uint64_t input = allocate(4000), output = allocate(4000);
  copyIn(input, x.data.data(), 4000);
  lathe_tensor from = x.view(), to = x.view();
  from.data = reinterpret_cast<void *>(input);
  to.data = reinterpret_cast<void *>(output);
  ASSERT_EQ(lathe_session_bind_input(session.get(), 0, &from), LATHE_OK) << lathe_last_error();
  ASSERT_EQ(lathe_session_bind_output(session.get(), 0, &to), LATHE_OK) << lathe_last_error();
  int copiesIn = calls("cuMemcpyHtoDAsync_v2"), copiesOut = calls("cuMemcpyDtoHAsync_v2");
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(calls("cuMemcpyHtoDAsync_v2"), copiesIn);
  EXPECT_EQ(calls("cuMemcpyDtoHAsync_v2"), copiesOut + 1) << "of the faults";
  lathe_tensor told;
  ASSERT_EQ(lathe_session_output(session.get(), 0, &told), LATHE_OK);
  EXPECT_EQ(told.data, to.data);
  std::vector<float> y(1000);
  copyOut(y.data(), output, 4000);
  EXPECT_EQ(y, expected(x.data));

  // And back to the host's memory.
  ASSERT_EQ(lathe_session_unbind_output(session.get(), 0), LATHE_OK);
  ASSERT_EQ(runWith(session.get(), x), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(result(session.get()), expected(x.data));
  std::vector<float> mine(1000);
  ASSERT_EQ(lathe_session_bind_output_memory(session.get(), 0, mine.data(), 4000), LATHE_OK);
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(mine, expected(x.data));
}

TEST_F(CudaTest, CopiesWhatLiesAtAnOddAddressOfTheDevice) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(100);
  // Kernels may access 16 bytes at once.
  uint64_t input = allocate(404) + 4, output = allocate(408) + 8;
  copyIn(input, x.data.data(), 400);
  lathe_tensor from = x.view(), to = x.view();
  from.data = reinterpret_cast<void *>(input);
  to.data = reinterpret_cast<void *>(output);
  ASSERT_EQ(lathe_session_bind_input(session.get(), 0, &from), LATHE_OK) << lathe_last_error();
  ASSERT_EQ(lathe_session_bind_output(session.get(), 0, &to), LATHE_OK) << lathe_last_error();
  for (int i = 1; i < 4; ++i) { // launched, recorded, replayed
    ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK) << lathe_last_error();
    EXPECT_EQ(calls("cuMemcpyDtoDAsync_v2"), 2 * i);
    std::vector<float> y(100);
    copyOut(y.data(), output, 400);
    EXPECT_EQ(y, expected(x.data));
  }
}

TEST_F(CudaTest, TakesDLPackTensorsOfTheDevice) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(64);
  uint64_t input = allocate(256);
  copyIn(input, x.data.data(), 256);
  static int deleted;
  deleted = 0;
  int64_t shape[] = {63};
  DLManagedTensor managed = {};
  managed.dl_tensor = {
      reinterpret_cast<void *>(input), {kDLCUDA, 0}, 1, {kDLFloat, 32, 1}, shape, nullptr, 4};
  managed.deleter = [](DLManagedTensor *) { ++deleted; };
  ASSERT_EQ(lathe_session_bind_input_dlpack(session.get(), 0, &managed), LATHE_OK) << lathe_last_error();
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(result(session.get()), expected(std::vector<float>(x.data.begin() + 1, x.data.end())));
  session.reset();
  EXPECT_EQ(deleted, 1);

  ModelPtr host(maskedDouble().open());
  SessionPtr other = lathe::test::makeSession(host.get());
  EXPECT_EQ(lathe_session_bind_input_dlpack(other.get(), 0, &managed), LATHE_ERROR_ARGUMENT);
  EXPECT_STREQ(lathe_last_error(), "the tensor is on device type 2, not in the processor's memory");
}

TEST_F(CudaTest, CopiesStridedInputsOfTheHostAndRefusesThoseOfTheDevice) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model);
  Tensor<float> x{{1, 9, 2, 9, 3, 9}, {3}, {2}};
  ASSERT_EQ(runWith(session.get(), x), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(result(session.get()), expected({1, 2, 3}));
  lathe_tensor tensor = x.view();
  tensor.data = reinterpret_cast<void *>(allocate(24));
  EXPECT_EQ(lathe_session_bind_input(session.get(), 0, &tensor), LATHE_ERROR_SHAPE);
  EXPECT_STREQ(lathe_last_error(),
               "input \"x\" lies on a device, where it must be dense, row-major and aligned "
               "to its element");
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK) << "what was bound before still is";
}

TEST_F(CudaTest, RefusesMemoryOfAnotherDevice) {
  set("LATHE_MOCK_DEVICES", "2");
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(8);
  lathe_tensor tensor = x.view();
  tensor.data = reinterpret_cast<void *>(allocate(32, 1));
  EXPECT_EQ(lathe_session_bind_input(session.get(), 0, &tensor), LATHE_ERROR_ARGUMENT);
  EXPECT_STREQ(lathe_last_error(), "input \"x\" lies on device 1, but the model on device 0");
  EXPECT_EQ(lathe_session_bind_output(session.get(), 0, &tensor), LATHE_ERROR_ARGUMENT);
  EXPECT_STREQ(lathe_last_error(), "output \"y\" lies on device 1, but the model on device 0");
}

//===-- Faults and failures
//--------------------------------------------------------------------------------===//

TEST_F(CudaTest, AFaultNamesTheNodes) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(1000);
  x.data[777] = -1;
  EXPECT_EQ(runWith(session.get(), x), LATHE_ERROR_INDEX);
  EXPECT_STREQ(lathe_last_error(), "an index is out of bounds in node \"/a/Add\"");
  EXPECT_STREQ(lathe_last_error_node(), "/a/Add");
  x.data[777] = 1;
  ASSERT_EQ(runWith(session.get(), x), LATHE_OK) << "and the next run is another";
  EXPECT_EQ(result(session.get()), expected(x.data));
}

TEST_F(CudaTest, KeepsADeadline) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(1000);
  ASSERT_EQ(lathe_session_set_timeout(session.get(), 1), LATHE_OK);
  EXPECT_EQ(runWith(session.get(), x), LATHE_ERROR_DEADLINE);
  EXPECT_STREQ(lathe_last_error(),
               "the run took longer than its timeout of 0 us, it stopped in node \"/a/Mul\"");
  EXPECT_EQ(calls("cuLaunchKernel"), 0);
  ASSERT_EQ(lathe_session_set_timeout(session.get(), 0), LATHE_OK);
  EXPECT_EQ(runWith(session.get(), x), LATHE_OK);
}

TEST_F(CudaTest, AKernelThatFailsEndsTheUseOfTheDevice) {
  ModelPtr model = openOnDevice(withBadKernel("test_stray"));
  ASSERT_TRUE(model) << lathe_last_error();
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(1000);
  EXPECT_EQ(runWith(session.get(), x), LATHE_ERROR_DEVICE);
  EXPECT_STREQ(lathe_last_error(),
               "device 0, emulator, failed in a run of model \"test\" (`lathe profile`, or a session with "
               "LATHE_DEVICE_WAIT, tells in which kernel): CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory "
               "access was encountered)");
  EXPECT_EQ(report().rfind("kernel \"test_stray\", block 0, thread 0: writes ", 0), 0u) << report();
  EXPECT_EQ(runWith(session.get(), x), LATHE_ERROR_DEVICE) << "it does not come back";
  reset();
}

TEST_F(CudaTest, WaitingForKernelsTellsWhichOneFails) {
  for (const char *entry : {"test_stray", "test_diverge"}) {
    ModelPtr model = openOnDevice(withBadKernel(entry));
    ASSERT_TRUE(model) << lathe_last_error();
    SessionPtr session = makeSession(model, LATHE_DEVICE_WAIT);
    Tensor<float> x = numbers(1000);
    EXPECT_EQ(runWith(session.get(), x), LATHE_ERROR_DEVICE);
    std::string message = lathe_last_error();
    EXPECT_EQ(
        message.rfind("kernel \"bad\" in node \"/b/Bad\" failed on device 0, emulator, with 1 blocks of "
                      "128 threads and 0 bytes of shared memory: CUDA_ERROR_",
                      0),
        0u)
        << message;
    EXPECT_STREQ(lathe_last_error_node(), "/b/Bad");
    reset();
  }
}

TEST_F(CudaTest, ALaunchThatIsRefusedNamesTheKernel) {
  ModelPtr model = openOnDevice(doubleAndBias());
  SessionPtr session = makeSession(model);
  Tensor<float> x = numbers(1000);
  set("LATHE_MOCK_FAIL", "cuLaunchKernel:2:701");
  EXPECT_EQ(runWith(session.get(), x), LATHE_ERROR_DEVICE);
  EXPECT_STREQ(lathe_last_error(),
               "kernel \"bias\" in node \"/a/Add\" cannot be launched on device 0, emulator, "
               "with 8 blocks of 128 threads and 0 bytes of shared memory: "
               "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (too many resources requested for launch)");
  EXPECT_STREQ(lathe_last_error_node(), "/a/Add");
  EXPECT_EQ(runWith(session.get(), x), LATHE_OK) << "the device is as good as before";
}
