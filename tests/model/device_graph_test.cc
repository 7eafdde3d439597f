// SPDX-License-Identifier: Apache-2.0
// When steps are recorded and replayed, with a device whose graphs only count. It is registered as the CPU's,
// so these tests have a program of their own.
#include <ATen/core/GraphImplInterface.h>
#include <ATen/core/Tensor.h>
#include <ATen/record_function.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/model/cuda_graph.h"
#include "server/model/model.h"
#include "server/model/sequence.h"
#include "server/model/threads.h"
#include "tests/model/model_fixture.h"

namespace mtm {
namespace {

// What is recorded on a CPU is done at once; a replay does nothing, so that its logits are those recorded.
struct CountingGraph : at::GraphImplInterface {
  static inline int n_begun = 0, n_recorded = 0, n_replayed = 0, n_alive = 0;
  static inline bool fails = false, has_no_room = false;

  explicit CountingGraph(const at::GraphImplArgs&) { ++n_alive; }
  ~CountingGraph() override { --n_alive; }
  void capture_begin(at::MempoolId_t, at::GraphCaptureMode) override { ++n_begun; }
  void capture_end() override {
    if (fails) throw std::runtime_error("an operation is not permitted");
    TORCH_CHECK_WITH(OutOfMemoryError, !has_no_room, "no room for a graph");
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

constexpr ModelConfig kConfig = {
    .n_layer = 2, .n_head = 2, .n_embd = 32, .n_ctx = 600, .n_inner = 64, .vocab_size = 50};

class DeviceGraphTest : public testing::Test {
 protected:
  DeviceGraphTest() {
    SetModelThreads(1);
    model_ = *Model::Random(kConfig, 1, "torch");
    CountingGraph::n_begun = CountingGraph::n_recorded = CountingGraph::n_replayed = 0;
    CountingGraph::fails = CountingGraph::has_no_room = false;
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
    for (int i = 0; i < n; ++i) Run(batch, {i % kConfig.vocab_size});
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

// The last one's graph stays until then, for its memory.
TEST_F(DeviceGraphTest, AnotherBatchIsAnotherRecordingInPlaceOfTheLast) {
  const auto one = Begin(), other = Begin();
  Steps(5, {one.get(), other.get()});
  EXPECT_EQ(CountingGraph::n_recorded, 1);
  Steps(3, {one.get()});
  EXPECT_EQ(CountingGraph::n_recorded, 1);
  Steps(2, {one.get()});
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

// Of a fork and its origin the first that runs a step gets tensors of its own.
TEST_F(DeviceGraphTest, AForkedSequenceIsRecordedAnew) {
  const auto sequence = Begin();
  Steps(5, {sequence.get()});
  const auto fork = sequence->Fork();
  Steps(3, {sequence.get()});
  EXPECT_EQ(CountingGraph::n_recorded, 1);
  Steps(1, {sequence.get()});
  EXPECT_EQ(CountingGraph::n_recorded, 2);
  Steps(5, {fork.get()});
  EXPECT_EQ(CountingGraph::n_recorded, 3);
}

TEST_F(DeviceGraphTest, ASequenceInThePlaceOfAnotherIsRecordedAnew) {
  auto sequence = Begin();
  const Sequence::State* const place = &sequence->state();
  Steps(5, {sequence.get()});
  for (int i = 0; i < 100; ++i) {
    sequence = nullptr;
    sequence = Begin();
    if (&sequence->state() == place) break;
  }
  if (&sequence->state() != place) GTEST_SKIP() << "the allocator gave another place each time";
  const int n_replayed = CountingGraph::n_replayed;
  Steps(3, {sequence.get()});
  EXPECT_EQ(CountingGraph::n_replayed, n_replayed);
}

// Exact mode, a prompt of one token.
TEST_F(DeviceGraphTest, OtherPassesBetweenStepsDoNotEndARecording) {
  const auto sequence = Begin();
  Sequence exact(*model_, {.mode = Mode::kExact, .capacity = 600});
  Steps(5, {sequence.get()});
  for (int i = 0; i < 3; ++i) {
    Run({&exact}, {i});
    Begin(1);
    Steps(1, {sequence.get()});
  }
  EXPECT_EQ(CountingGraph::n_recorded, 1);
  EXPECT_EQ(CountingGraph::n_replayed, 5);
}

TEST_F(DeviceGraphTest, WithoutRoomARecordingIsTriedAgainMuchLater) {
  CountingGraph::has_no_room = true;
  const auto sequence = Begin();
  Steps(20, {sequence.get()});
  EXPECT_EQ(CountingGraph::n_begun, 1);
  EXPECT_EQ(CountingGraph::n_alive, 0);
  CountingGraph::has_no_room = false;
  Steps(100, {sequence.get()});
  EXPECT_EQ(CountingGraph::n_begun, 2);
  EXPECT_GT(CountingGraph::n_replayed, 0);
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

// An operation that LibTorch was asked for.
struct Operation {
  std::string call;  // its name and arguments, but for where tensors are
  std::vector<c10::Storage>
      where;  // that the arguments are in; held, so that no other tensor gets the memory
};

void Append(const c10::IValue& argument, Operation& operation, std::ostream& call) {
  const auto append = [&](const at::Tensor& tensor) {
    if (!tensor.defined()) return;
    call << tensor.sizes() << tensor.strides() << tensor.storage_offset() << tensor.scalar_type() << " ";
    operation.where.push_back(tensor.storage());
  };
  if (argument.isTensor()) {
    append(argument.toTensor());
  } else if (argument.isTensorList()) {
    for (const at::Tensor& tensor : argument.toTensorVector()) append(tensor);
  } else {
    call << argument << " ";
  }
}

// All of them on this thread while it lives, those that others are made of too.
class Operations {
 public:
  Operations() {
    current_ = this;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&Add).needsInputs(true));
  }
  ~Operations() { at::removeCallback(handle_); }

  const std::vector<Operation>& all() const { return all_; }

 private:
  static std::unique_ptr<at::ObserverContext> Add(const at::RecordFunction& function) {
    Operation& operation = current_->all_.emplace_back();
    std::ostringstream call;
    call << function.name() << " ";
    for (const c10::IValue& argument : function.inputs()) Append(argument, operation, call);
    operation.call = call.str();
    return nullptr;
  }

  static inline Operations* current_ = nullptr;
  at::CallbackHandle handle_;
  std::vector<Operation> all_;
};

// With memories, one of which takes a share of the tokens-heads, and a trace: a host's number that differs
// from one step to the next would be an argument of some operation.
TEST_F(DeviceGraphTest, TwoStepsAreTheSameOperationsOnTheSameTensors) {
  TestMemories memories(*model_);
  const auto memory = memories.Make(Tokens(30, 4));
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<Sequence*> batch;
  for (const double head_fraction : {1.0, 0.3}) {
    const MemoryUse use{memory, {1, 2}, {.bookkeeping_fraction = 0, .head_fraction = head_fraction}};
    const SequenceOptions options{.uses = {use}, .capacity = 600, .trace = true};
    sequences.push_back(std::make_unique<Sequence>(*model_, options));
    batch.push_back(sequences.back().get());
  }
  Run(batch, {1, 2, 3});
  Run(batch, {4});
  const auto operations_of_a_step = [&](int token) {
    const Operations operations;
    Run(batch, {token});
    return operations.all();
  };
  const std::vector<Operation> one = operations_of_a_step(5), other = operations_of_a_step(6);

  ASSERT_GT(one.size(), 100u);
  ASSERT_EQ(one.size(), other.size());
  std::set<const void*> before;
  for (const Operation& operation : one) {
    for (const c10::Storage& storage : operation.where) before.insert(storage.data());
  }
  std::set<const void*> lasting;
  for (size_t i = 0; i < one.size(); ++i) {
    ASSERT_EQ(one[i].call, other[i].call) << i;
    ASSERT_EQ(one[i].where.size(), other[i].where.size()) << i << " " << one[i].call;
    for (size_t j = 0; j < one[i].where.size(); ++j) {
      const void *const was = one[i].where[j].data(), *const is = other[i].where[j].data();
      if (!before.contains(is)) continue;  // a temporary one
      EXPECT_EQ(is, was) << i << " " << one[i].call << " " << j;
      lasting.insert(is);
    }
  }
  EXPECT_GT(lasting.size(), 30u);  // weights and caches
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
