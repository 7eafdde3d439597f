// SPDX-License-Identifier: Apache-2.0
#include "server/generation/engine.h"

#include <future>
#include <utility>

#include "server/generation/stop_reasons.h"
#include "server/generation/tasks.h"

namespace mtm {
namespace {

// One step of a sequence that somebody waits for.
class StepTask : public Task {
 public:
  explicit StepTask(Sequence& sequence) : sequence_(sequence) {}

  size_t n_sequences() const override { return 1; }
  std::vector<Sequence*> Prepare() override { return {&sequence_}; }
  void Advance() override { Fail(absl::OkStatus()); }
  void Fail(const absl::Status& status) override {
    finished_ = true;
    result_.set_value(status);  // the sequence may be gone from here on
  }
  bool finished() const override { return finished_; }
  std::future<absl::Status> result() { return result_.get_future(); }

 private:
  Sequence& sequence_;
  std::promise<absl::Status> result_;
  bool finished_ = false;
};

}  // namespace

Engine::Engine(const Model& model, const Tokenizer* tokenizer, Options options)
    : model_(model), tokenizer_(tokenizer), options_(options), thread_([this] { Run(); }) {}

Engine::~Engine() {
  Shutdown();
  thread_.join();
}

void Engine::Generate(GenerationRequest request, std::shared_ptr<GenerationSink> sink) {
  Submit(std::make_unique<GenerateTask>(model_, tokenizer_, std::move(request), std::move(sink)), false);
}

void Engine::Score(ScoreRequest request, std::shared_ptr<ScoreSink> sink) {
  Submit(std::make_unique<ScoreTask>(model_, std::move(request), std::move(sink)), false);
}

absl::Status Engine::Step(Sequence& sequence) {
  auto task = std::make_unique<StepTask>(sequence);
  std::future<absl::Status> result = task->result();
  Submit(std::move(task), true);
  return result.get();
}

void Engine::Submit(std::unique_ptr<Task> task, bool urgent) {
  {
    const std::lock_guard lock(mutex_);
    if (!shutdown_) {
      urgent ? waiting_.push_front(std::move(task)) : waiting_.push_back(std::move(task));
      wake_up_.notify_one();
      return;
    }
  }
  task->Fail(ShuttingDown());
}

void Engine::Wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  wake_up_.notify_one();
}

void Engine::Shutdown() {
  const std::lock_guard lock(mutex_);
  shutdown_ = true;
  wake_up_.notify_one();
}

void Engine::Run() {
  bool progress = false;
  while (Admit(progress)) progress = StepActive();
  for (const Active& active : active_) active.task->Fail(ShuttingDown());
  active_.clear();
}

size_t Engine::RunningSequences() const {
  size_t n = 0;
  for (const Active& active : active_) n += active.resting ? 0 : active.task->n_sequences();
  return n;
}

bool Engine::Admit(bool progress) {
  std::vector<std::unique_ptr<Task>> failed;
  absl::Status reason = ClientLeft();
  {
    std::unique_lock lock(mutex_);
    size_t running = RunningSequences();
    const auto has_place = [&] {
      return !waiting_.empty() &&
             (running == 0 || running + waiting_.front()->n_sequences() <= options_.max_sequences);
    };
    if (!progress) wake_up_.wait(lock, [&] { return woken_ || shutdown_ || has_place(); });
    woken_ = false;
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      const bool cancelled = shutdown_ || (*it)->IsCancelled();
      if (cancelled) failed.push_back(std::move(*it));
      it = cancelled ? waiting_.erase(it) : it + 1;
    }
    while (has_place()) {
      running += waiting_.front()->n_sequences();
      active_.push_back({std::move(waiting_.front())});
      waiting_.pop_front();
    }
    if (shutdown_) reason = ShuttingDown();
  }
  for (const auto& task : failed) task->Fail(reason);
  return reason.code() != absl::StatusCode::kUnavailable;
}

bool Engine::StepActive() {
  std::vector<Active*> ready;
  std::vector<Sequence*> batch;
  Active* newcomer = nullptr;
  bool progress = false;
  for (Active& active : active_) {
    if (active.task->IsCancelled()) {
      active.task->Fail(ClientLeft());
      progress = true;
    } else if (!active.started) {
      if (newcomer == nullptr) newcomer = &active;
    } else {
      const std::vector<Sequence*> sequences = active.task->Prepare();
      active.resting = sequences.empty();
      if (active.resting) continue;
      batch.insert(batch.end(), sequences.begin(), sequences.end());
      ready.push_back(&active);
    }
  }
  if (!ready.empty()) StepTasks(ready, batch);
  if (newcomer != nullptr) {
    newcomer->started = true;
    StepTasks({newcomer}, newcomer->task->Prepare());
  }
  std::erase_if(active_, [](const Active& active) { return active.task->finished(); });
  return progress || !ready.empty() || newcomer != nullptr;
}

void Engine::StepTasks(const std::vector<Active*>& tasks, const std::vector<Sequence*>& batch) {
  const absl::Status status = model_.Step(batch);
  for (Active* active : tasks) status.ok() ? active->task->Advance() : active->task->Fail(status);
}

}  // namespace mtm
