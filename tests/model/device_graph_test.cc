// SPDX-License-Identifier: Apache-2.0
// When steps are recorded and replayed, with a device whose graphs only count. It is registered as the CPU's,
// so these tests have a program of their own.
#include <ATen/core/GraphImplInterface.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/model/cuda_graph.h"
#include "server/model/model.h"
#include "server/model/sequence.h"
#include "server/model/threads.h"

namespace mtm {
namespace {

// What is recorded on a CPU is done at once; a replay does nothing, so that its logits are those recorded.
struct CountingGraph : at::GraphImplInterface {
  static inline int n_begun = 0, n_recorded = 0, n_replayed = 0, n_alive = 0;
  static inline bool fails = false;

  explicit CountingGraph(const at::GraphImplArgs&) { ++n_alive; }
  ~CountingGraph() override { --n_alive; }
  void capture_begin(at::MempoolId_t, at::GraphCaptureMode) override { ++n_begun; }
  void capture_end() override {
    if (fails) throw std::runtime_error("an operation is not permitted");
    ++n_recorded;
  }
  void instantiate() override {}
  void replay() override { ++n_replayed; }
  void reset() override {}
  at::MempoolId_t pool() const override { return {0, 0}; }
  void enable_debug_mode() override {}
  void debug_dump(const std::string&) override {}
};

[[maybe_unused]] const bool is_registered = [] {
  at::GraphImplRegistry()->Register("CPU", [](const at::GraphImplArgs& args) {
    return std::unique_ptr<at::GraphImplInterface>(new CountingGraph(args));
  });
  return true;
}();

using Logits = std::vector<float>;

constexpr ModelConfig kConfig = {
    .n_layer = 2, .n_head = 2, .n_embd = 32, .n_ctx = 600, .n_inner = 64, .vocab_size = 50};

class DeviceGraphTest : public testing::Test {
 protected:
  DeviceGraphTest() {
    SetModelThreads(1);
    model_ = *Model::Random(kConfig, 1, "torch");
    CountingGraph::n_begun = CountingGraph::n_recorded = CountingGraph::n_replayed = 0;
    CountingGraph::fails = false;
  }

  std::unique_ptr<Sequence> Begin(int n_prompt = 3) {
    auto sequence = std::make_unique<Sequence>(*model_, SequenceOptions{.capacity = 600});
    Run({sequence.get()}, std::vector<int32_t>(static_cast<size_t>(n_prompt), 7));
    return sequence;
  }

  // The first one's logits.
  Logits Run(const std::vector<Sequence*>& batch, const std::vector<int32_t>& tokens) {
    for (Sequence* sequence : batch) sequence->Append(tokens);
    EXPECT_TRUE(model_->Step(batch).ok());
    return {batch[0]->logits().begin(), batch[0]->logits().end()};
  }

  void Steps(int n, const std::vector<Sequence*>& batch) {
    for (int i = 0; i < n; ++i) Run(batch, {i});
  }

  std::unique_ptr<Model> model_;
};

TEST_F(DeviceGraphTest, TheFourthStepOfABatchIsRecordedAndTheNextAreReplayed) {
  const auto one = Begin(), other = Begin();
  const std::vector<Sequence*> batch = {one.get(), other.get()};
  Steps(3, batch);
  EXPECT_EQ(CountingGraph::n_begun, 0);
  const Logits recorded = Run(batch, {1});
  EXPECT_EQ(CountingGraph::n_recorded, 1);
  EXPECT_EQ(CountingGraph::n_replayed, 1);
  EXPECT_EQ(Run(batch, {30}), recorded);  // that is, nothing was run but the replay
  Steps(4, batch);
  EXPECT_EQ(CountingGraph::n_recorded, 1);
  EXPECT_EQ(CountingGraph::n_replayed, 6);
}

TEST_F(DeviceGraphTest, AnotherBatchIsAnotherRecordingAndEndsTheLast) {
  const auto one = Begin(), other = Begin();
  Steps(5, {one.get(), other.get()});
  EXPECT_EQ(CountingGraph::n_alive, 1);
  Steps(1, {one.get()});
  EXPECT_EQ(CountingGraph::n_alive, 0);
  Steps(4, {one.get()});
  EXPECT_EQ(CountingGraph::n_recorded, 2);
  EXPECT_EQ(CountingGraph::n_alive, 1);
}

TEST_F(DeviceGraphTest, AContextPastAMultipleOf256IsAnotherRecording) {
  const auto sequence = Begin(246);
  Steps(10, {sequence.get()});
  EXPECT_EQ(CountingGraph::n_recorded, 1);
  Steps(3, {sequence.get()});
  EXPECT_EQ(CountingGraph::n_recorded, 1);
  Steps(1, {sequence.get()});
  EXPECT_EQ(CountingGraph::n_recorded, 2);
}

TEST_F(DeviceGraphTest, AForkIsAnotherRecording) {
  const auto sequence = Begin();
  Steps(5, {sequence.get()});
  const auto fork = sequence->Fork();
  Steps(5, {fork.get()});
  EXPECT_EQ(CountingGraph::n_recorded, 2);
}

TEST_F(DeviceGraphTest, StepsAreRunOneByOneAfterARecordingFailed) {
  CountingGraph::fails = true;
  const auto sequence = Begin(), other = Begin();
  const auto model = *Model::Random(kConfig, 1, "cpu");
  Sequence expected(*model, {.capacity = kConfig.n_ctx});
  Sequence* const batch[] = {&expected};
  expected.Append(sequence->tokens());
  for (int i = 0; i < 10; ++i) {
    const Logits logits = Run({sequence.get()}, {i});
    expected.Append(std::vector<int32_t>{i});
    ASSERT_TRUE(model->Step(batch).ok());
    for (size_t j = 0; j < logits.size(); ++j) EXPECT_NEAR(logits[j], expected.logits()[j], 1e-5) << i;
  }
  Steps(5, {other.get()});
  Steps(5, {sequence.get()});
  EXPECT_EQ(CountingGraph::n_begun, 1);
  EXPECT_EQ(CountingGraph::n_replayed, 0);
  EXPECT_EQ(CountingGraph::n_alive, 0);
}

// Where LibTorch has CUDA, and its headers were there.
#ifdef MTM_CUDA_GRAPHS
TEST(CudaGraphTest, LibTorchMakesThem) {
  RegisterCudaGraphs();
  RegisterCudaGraphs();
  EXPECT_TRUE(at::has_graph_impl(c10::DeviceType::CUDA));
}
#endif

}  // namespace
}  // namespace mtm
