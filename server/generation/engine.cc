// SPDX-License-Identifier: Apache-2.0
#include "server/generation/engine.h"

#include <algorithm>
#include <utility>

#include "absl/synchronization/notification.h"
#include "server/generation/tasks.h"

namespace mtm {
namespace {

// One step of a sequence that somebody waits for.
class StepTask : public Task {
 public:
  explicit StepTask(Sequence& sequence, absl::Status& result, absl::Notification& done)
      : sequence_(sequence), result_(result), done_(done) {}

  std::vector<Sequence*> Prepare() override { return {&sequence_}; }
  void Advance() override { Finish(absl::OkStatus()); }
  void Fail(const absl::Status& status) override { Finish(status); }
  bool finished() const override { return finished_; }

 private:
  void Finish(const absl::Status& status) {
    finished_ = true;
    result_ = status;
    done_.Notify();  // the waiting thread's objects may be gone from here on
  }

  Sequence& sequence_;
  absl::Status& result_;
  absl::Notification& done_;
  bool finished_ = false;
};

absl::Status ShuttingDown() { return absl::UnavailableError("the server is shutting down"); }

}  // namespace

Engine::Engine(const Model& model, const Tokenizer* tokenizer, Options options)
    : model_(model), tokenizer_(tokenizer), options_(options), thread_([this] { Run(); }) {}

Engine::~Engine() {
  Shutdown();
  thread_.join();
}

void Engine::Generate(GenerationRequest request, std::shared_ptr<GenerationSink> sink) {
  Submit(std::make_unique<GenerateTask>(model_, tokenizer_, std::move(request), std::move(sink)));
}

void Engine::Score(ScoreRequest request, std::shared_ptr<ScoreSink> sink) {
  Submit(std::make_unique<ScoreTask>(model_, std::move(request), std::move(sink)));
}

absl::Status Engine::Step(Sequence& sequence) {
  absl::Status result;
  absl::Notification done;
  Submit(std::make_unique<StepTask>(sequence, result, done));
  done.WaitForNotification();
  return result;
}

void Engine::Submit(std::unique_ptr<Task> task) {
  {
    absl::MutexLock lock(&mutex_);
    if (!shutdown_) {
      waiting_.push_back(std::move(task));
      return;
    }
  }
  task->Fail(ShuttingDown());
}

void Engine::Wake() {
  absl::MutexLock lock(&mutex_);
  woken_ = true;
}

void Engine::Shutdown() {
  absl::MutexLock lock(&mutex_);
  shutdown_ = true;
}

void Engine::Run() {
  bool progress = false;
  while (Admit(progress)) progress = StepActive();
  for (const auto& task : active_) task->Fail(ShuttingDown());
  active_.clear();
}

bool Engine::Admit(bool progress) {
  std::deque<std::unique_ptr<Task>> refused;
  {
    absl::MutexLock lock(&mutex_);
    const auto has_work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return woken_ || shutdown_ || (!waiting_.empty() && active_.size() < options_.max_tasks);
    };
    if (!progress) mutex_.Await(absl::Condition(&has_work));
    woken_ = false;
    if (!shutdown_) {
      while (!waiting_.empty() && active_.size() < options_.max_tasks) {
        active_.push_back(std::move(waiting_.front()));
        waiting_.pop_front();
      }
      return true;
    }
    refused.swap(waiting_);
  }
  for (const auto& task : refused) task->Fail(ShuttingDown());
  return false;
}

bool Engine::StepActive() {
  std::vector<Sequence*> batch;
  std::vector<Task*> ready;
  for (const auto& task : active_) {
    const std::vector<Sequence*> sequences = task->Prepare();
    if (sequences.empty()) continue;
    batch.insert(batch.end(), sequences.begin(), sequences.end());
    ready.push_back(task.get());
  }
  if (!batch.empty()) {
    const absl::Status status = model_.Step(batch);
    for (Task* task : ready) status.ok() ? task->Advance() : task->Fail(status);
  }
  const size_t n_active = active_.size();
  std::erase_if(active_, [](const auto& task) { return task->finished(); });
  return !batch.empty() || active_.size() < n_active;
}

}  // namespace mtm
