// SPDX-License-Identifier: Apache-2.0
#include "server/generation/memory_maker.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "server/generation/stop_reasons.h"
#include "server/model/sequence.h"

namespace mtm {
namespace {

using StepFunction = std::function<absl::Status(Sequence&)>;
// Called after each window with the tokens done so far; an error ends the making.
using ProgressFunction = std::function<absl::Status(int64_t)>;

// Runs one window (METHOD 1): the leading tokens and `tokens` behind them, whose keys and values are written.
absl::Status WriteWindow(const Model& model, const MemoryRequest& request, std::span<const int32_t> tokens,
                         const StepFunction& step, MemoryWriter& writer) {
  const int n_leading = static_cast<int>(request.leading.size());
  Sequence sequence(model, {.capacity = n_leading + static_cast<int>(tokens.size()), .logits = false});
  sequence.Append(request.leading);
  sequence.Append(tokens);
  if (absl::Status status = step(sequence); !status.ok()) return status;
  if (absl::Status status = writer.BeginWindow(tokens); !status.ok()) return status;

  std::vector<float> keys(tokens.size() * model.config().head_dim()), values(keys.size());
  for (int layer : request.layers) {
    for (int head = 0; head < model.config().n_head; ++head) {
      absl::Status status = sequence.CopyKeysValues(layer, head, n_leading, keys, values);
      if (status.ok()) status = writer.Write(layer, head, keys, values);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Memory>> Make(const Model& model, MemoryStore& store,
                                                   const MemoryRequest& request, const StepFunction& step,
                                                   const ProgressFunction& progress) {
  if (absl::Status status = progress(0); !status.ok()) return status;  // before room is made on disk
  const ModelConfig& config = model.config();
  auto writer = store.Create(request.name, {.model_fingerprint = model.fingerprint(),
                                            .layers = request.layers,
                                            .n_head = config.n_head,
                                            .head_dim = config.head_dim(),
                                            .n_dropped = static_cast<int>(request.leading.size()),
                                            .n_tokens = static_cast<int64_t>(request.tokens.size())});
  if (!writer.ok()) return writer.status();
  const size_t window = config.n_ctx - request.leading.size();
  const std::span<const int32_t> tokens(request.tokens);
  for (size_t first = 0; first < tokens.size(); first += window) {
    const auto part = tokens.subspan(first, std::min(window, tokens.size() - first));
    absl::Status status = WriteWindow(model, request, part, step, **writer);
    if (status.ok()) status = progress(static_cast<int64_t>(first + part.size()));
    if (!status.ok()) return status;
  }
  return (*writer)->Commit();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Memory>> MakeMemory(const Model& model, MemoryStore& store,
                                                         const MemoryRequest& request) {
  const auto step = [&](Sequence& sequence) {
    Sequence* const batch[] = {&sequence};
    return model.Step(batch);
  };
  return Make(model, store, request, step, [](int64_t) { return absl::OkStatus(); });
}

MemoryMaker::MemoryMaker(Engine& engine, MemoryStore& store)
    : engine_(engine), store_(store), thread_([this] { Run(); }) {}

MemoryMaker::~MemoryMaker() {
  Shutdown();
  thread_.join();
}

void MemoryMaker::Make(MemoryRequest request, std::shared_ptr<MemorySink> sink) {
  {
    const std::lock_guard lock(mutex_);
    if (!shutdown_) {
      jobs_.push_back({std::move(request), std::move(sink)});
      wake_up_.notify_one();
      return;
    }
  }
  sink->OnDone(ShuttingDown());
}

void MemoryMaker::Shutdown() {
  const std::lock_guard lock(mutex_);
  shutdown_ = true;
  wake_up_.notify_one();
}

bool MemoryMaker::IsShutdown() const {
  const std::lock_guard lock(mutex_);
  return shutdown_;
}

void MemoryMaker::Run() {
  while (true) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      wake_up_.wait(lock, [this] { return shutdown_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job.sink->OnDone(MakeOne(job));
  }
}

absl::StatusOr<std::shared_ptr<const Memory>> MemoryMaker::MakeOne(const Job& job) {
  const auto step = [&](Sequence& sequence) { return engine_.Step(sequence); };
  const auto progress = [&](int64_t done) -> absl::Status {
    if (IsShutdown()) return ShuttingDown();
    if (job.sink->IsCancelled()) return ClientLeft();
    job.sink->OnProgress(done, static_cast<int64_t>(job.request.tokens.size()));
    return absl::OkStatus();
  };
  return mtm::Make(engine_.model(), store_, job.request, step, progress);
}

}  // namespace mtm
