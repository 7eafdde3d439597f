// SPDX-License-Identifier: Apache-2.0
#include "server/generation/engine.h"

#include <algorithm>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/generation/stop_reasons.h"
#include "server/generation/tasks.h"

namespace mtm {
namespace {

// Prompts of together so many tokens are run as one.
constexpr int64_t kPromptRows = 128;

// Rows of a long pass that go through the whole model in one round, or as many layers as this comes to.
constexpr int64_t kRowsARound = 64;

// One step of a sequence that somebody waits for.
class StepTask : public Task {
 public:
  explicit StepTask(Sequence& sequence) : sequence_(sequence) {}

  TaskCost cost() const override {
    return {.n_sequences = 1, .n_rows = sequence_.length(), .cache_bytes = 0};
  }
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

absl::Status Stalled(absl::Duration timeout) {
  return absl::DeadlineExceededError(
      absl::StrCat("the reader took nothing for ", absl::FormatDuration(timeout)));
}

size_t BatchBucket(size_t n, size_t n_buckets) {
  size_t bucket = 0;
  while (bucket + 1 < n_buckets && n > (size_t{1} << bucket)) ++bucket;
  return bucket;
}

}  // namespace

Engine::Engine(const Model& model, const Tokenizer* tokenizer, Options options)
    : model_(model),
      tokenizer_(tokenizer),
      options_(options),
      waiting_(options.limits),
      prompts_(options.max_prompt_cache_bytes),
      thread_([this] { Run(); }),
      refusing_thread_([this] { RefuseUnwanted(); }) {}

Engine::~Engine() {
  Shutdown();
  thread_.join();
  refusing_thread_.join();
}

TaskResources Engine::resources() { return {model_, tokenizer_, options_.cache, prompts_}; }

void Engine::Generate(GenerationRequest request, std::shared_ptr<GenerationSink> sink, Requester requester) {
  auto task =
      std::make_unique<GenerateTask>(resources(), std::move(request), std::move(sink), requester.identity);
  Submit(std::move(task), std::move(requester), /*urgent=*/false);
}

void Engine::Score(ScoreRequest request, std::shared_ptr<ScoreSink> sink, Requester requester) {
  auto task =
      std::make_unique<ScoreTask>(resources(), std::move(request), std::move(sink), requester.identity);
  Submit(std::move(task), std::move(requester), /*urgent=*/false);
}

absl::Status Engine::Step(Sequence& sequence) {
  auto task = std::make_unique<StepTask>(sequence);
  std::future<absl::Status> result = task->result();
  Submit(std::move(task), {}, /*urgent=*/true);
  return result.get();
}

void Engine::Submit(std::unique_ptr<Task> task, Requester requester, bool urgent) {
  const TaskCost cost = task->cost();
  Admission admission{std::move(task), cost, std::move(requester), urgent};
  absl::Status status;
  {
    const std::lock_guard lock(mutex_);
    status = shutdown_ ? ShuttingDown() : waiting_.Add(admission, absl::Now());
    if (status.ok()) {
      wake_up_.notify_one();
      look_at_line_.notify_one();
    }
  }
  if (!status.ok()) admission.task->Fail(status);
}

void Engine::Wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  wake_up_.notify_one();
  if (waiting_.size() > 0) look_at_line_.notify_one();
}

void Engine::Shutdown() {
  const std::lock_guard lock(mutex_);
  shutdown_ = true;
  wake_up_.notify_one();
  look_at_line_.notify_one();
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.waiting = waiting_.size();
  stats.refused = waiting_.refusals();
  return stats;
}

void Engine::Run() {
  bool progress = false;
  while (Admit(progress)) progress = Round();
  long_pass_ = {};
  for (const Active& active : active_) active.task().Fail(ShuttingDown());
  active_.clear();
}

WaitingLine::Load Engine::CurrentLoad() const {
  WaitingLine::Load load{.n_sequences = 0, .cache_bytes = 0, .n_tasks = active_.size()};
  for (const Active& active : active_) {
    if (!active.is_resting()) load.n_sequences += active.admission.cost.n_sequences;
    load.cache_bytes += active.admission.cost.cache_bytes;
  }
  return load;
}

absl::Time Engine::NextStall() const {
  absl::Time next = absl::InfiniteFuture();
  for (const Active& active : active_) next = std::min(next, active.resting_since + options_.stall_timeout);
  return next;
}

void Engine::WaitForWork(std::unique_lock<std::mutex>& lock, const WaitingLine::Load& load) {
  wake_up_.wait_until(lock, absl::ToChronoTime(NextStall()),
                      [&] { return woken_ || shutdown_ || waiting_.CanTake(load); });
}

bool Engine::Admit(bool progress) {
  std::unique_lock lock(mutex_);
  WaitingLine::Load load = CurrentLoad();
  if (!progress) WaitForWork(lock, load);
  woken_ = false;
  while (!shutdown_ && waiting_.CanTake(load)) {
    Active& active = active_.emplace_back();
    active.admission = waiting_.TakeNext(load);
    active.alone = active.admission.urgent;
    load = CurrentLoad();
  }
  stats_.running_sequences = load.n_sequences;
  stats_.cache_bytes = load.cache_bytes;
  stats_.prompt_cache_bytes = prompts_.bytes();
  stats_.resting_sequences = 0;
  for (const Active& active : active_) {
    if (active.is_resting()) stats_.resting_sequences += active.admission.cost.n_sequences;
  }
  return !shutdown_;
}

void Engine::RefuseUnwanted() {
  std::unique_lock lock(mutex_);
  while (true) {
    const absl::Time now = absl::Now();
    auto unwanted = shutdown_ ? waiting_.RemoveAll() : waiting_.RemoveUnwanted(now);
    if (!unwanted.empty()) {
      for (const WaitingLine::Removed& removed : unwanted) waiting_.Finished(removed.admission, now);
      wake_up_.notify_one();  // who stood behind them may fit
      lock.unlock();
      for (const WaitingLine::Removed& removed : unwanted) removed.admission.task->Fail(removed.reason);
      unwanted.clear();  // of memories too
      lock.lock();
    } else if (shutdown_) {
      return;
    } else {
      look_at_line_.wait_until(lock, absl::ToChronoTime(waiting_.NextExpiry()));
    }
  }
}

bool Engine::Round() {
  bool progress = EndUnwanted();
  progress |= StepLight();
  progress |= AdvanceLongPass();
  RemoveFinished();
  return progress;
}

bool Engine::EndUnwanted() {
  bool ended = false;
  const absl::Time now = absl::Now();
  for (Active& active : active_) {
    // With others in a pass, it is ended after the pass.
    if (active.in_long_pass && long_pass_.tasks.size() > 1) continue;
    absl::Status reason;
    if (active.task().IsCancelled()) reason = ClientLeft();
    if (reason.ok() && now >= active.resting_since + options_.stall_timeout) {
      reason = Stalled(options_.stall_timeout);
      const std::lock_guard lock(mutex_);
      ++stats_.stalled;
    }
    if (reason.ok()) continue;
    if (active.in_long_pass) long_pass_ = {};
    active.task().Fail(reason);
    ended = true;
  }
  RemoveFinished();
  return ended;
}

std::vector<Engine::Active*> Engine::NextSteps(bool exact, std::vector<Sequence*>& batch) {
  std::vector<Active*> tasks;
  for (Active& active : active_) {
    if (!active.started || active.task().is_exact() != exact) continue;
    const std::vector<Sequence*> sequences = active.task().Prepare();
    if (!sequences.empty()) {
      active.resting_since = absl::InfiniteFuture();
      batch.insert(batch.end(), sequences.begin(), sequences.end());
      tasks.push_back(&active);
    } else if (!active.is_resting()) {
      active.resting_since = absl::Now();
    }
  }
  return tasks;
}

bool Engine::StepLight() {
  std::vector<Sequence*> batch;
  const std::vector<Active*> tasks = NextSteps(/*exact=*/false, batch);
  if (tasks.empty()) return false;
  const absl::Time start = absl::Now();
  const absl::Status status = model_.Step(batch);
  Count(batch.size(), static_cast<int64_t>(batch.size()), absl::Now() - start);
  for (Active* active : tasks) status.ok() ? active->task().Advance() : active->task().Fail(status);
  return true;
}

bool Engine::GainsFromOneOf(const Active& waiting, const std::vector<Active*>& tasks) const {
  const SharedPrompt* const prompt = waiting.task().prompt();
  if (prompt == nullptr || tasks.empty()) return false;
  const int n_kept = prompts_.CountKept(*prompt);
  return std::ranges::any_of(tasks, [&](const Active* other) {
    const SharedPrompt* const running = other->task().prompt();
    return running != nullptr && prompts_.GainsFrom(*prompt, n_kept, *running);
  });
}

std::vector<Engine::Active*> Engine::NextPrompts(std::vector<Sequence*>& batch) {
  std::vector<Active*> tasks;
  int64_t rows = 0;
  for (Active& active : active_) {
    if (active.started || (active.alone && !tasks.empty())) continue;
    if (GainsFromOneOf(active, tasks)) continue;
    const std::vector<Sequence*> sequences = active.task().Prepare();
    int64_t own_rows = 0;
    for (const Sequence* sequence : sequences) own_rows += sequence->n_rows();
    if (!tasks.empty() && rows + own_rows > kPromptRows) break;
    rows += own_rows;
    batch.insert(batch.end(), sequences.begin(), sequences.end());
    tasks.push_back(&active);
    if (active.alone) break;
  }
  return tasks;
}

void Engine::BeginLongPass() {
  std::vector<Sequence*> batch;
  const auto next = [&](bool exact) { return exact ? NextSteps(/*exact=*/true, batch) : NextPrompts(batch); };
  std::vector<Active*> tasks = next(exact_next_);
  if (tasks.empty()) tasks = next(!exact_next_);
  exact_next_ = !exact_next_;
  if (tasks.empty()) return;
  for (Active* active : tasks) active->in_long_pass = true;
  int64_t n_rows = 0;
  for (const Sequence* sequence : batch) n_rows += tasks[0]->started ? 1 : sequence->n_rows();
  long_pass_ = {
      .pass = nullptr, .tasks = std::move(tasks), .n_sequences = batch.size(), .n_rows = n_rows, .time = {}};
  long_pass_.pass = std::make_unique<ForwardPass>(model_, std::move(batch));
}

bool Engine::AdvanceLongPass() {
  if (long_pass_.pass == nullptr) BeginLongPass();
  if (long_pass_.pass == nullptr) return false;
  const absl::Time start = absl::Now();
  const absl::Status status = long_pass_.pass->Run(kRowsARound * model_.config().n_layer);
  long_pass_.time += absl::Now() - start;
  if (!status.ok() || long_pass_.pass->done()) EndLongPass(status);
  return true;
}

void Engine::EndLongPass(const absl::Status& status) {
  const LongPass ended = std::exchange(long_pass_, {});
  Count(ended.n_sequences, ended.n_rows, ended.time);
  const bool were_prompts = !ended.tasks[0]->started;
  for (Active* active : ended.tasks) {
    active->in_long_pass = false;
    if (status.ok()) {
      active->started = true;
      active->task().Advance();
    } else if (were_prompts && ended.tasks.size() > 1) {
      active->alone = true;  // what does not fit is to fail alone
    } else {
      active->task().Fail(status);
    }
  }
}

void Engine::Count(size_t n_sequences, int64_t n_rows, absl::Duration time) {
  const std::lock_guard lock(mutex_);
  ++stats_.steps;
  stats_.sequences += static_cast<int64_t>(n_sequences);
  stats_.rows += n_rows;
  stats_.step_time += time;
  ++stats_.batches[BatchBucket(n_sequences, stats_.batches.size())];
}

void Engine::RemoveFinished() {
  const std::lock_guard lock(mutex_);
  const absl::Time now = absl::Now();
  std::erase_if(active_, [&](const Active& active) {
    if (!active.task().finished()) return false;
    waiting_.Finished(active.admission, now);
    return true;
  });
}

}  // namespace mtm
