// SPDX-License-Identifier: Apache-2.0
#include "server/generation/memory_maker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/generation/make_memory.h"
#include "server/generation/stop_reasons.h"

namespace mtm {

struct MemoryMaker::Job {
  const WriteRequest request;
  bool detached = false;
  std::vector<std::shared_ptr<WriteSink>> sinks;
  bool abandoned = false;  // nobody waits for it: it is ending, and cannot be joined
};

MemoryMaker::MemoryMaker(Engine& engine, MemoryStore& store)
    : engine_(engine), store_(store), thread_([this] { Run(); }) {}

MemoryMaker::~MemoryMaker() {
  Shutdown();
  thread_.join();
}

MemoryMaker::Job* MemoryMaker::Find(const std::string& request_id) const {
  if (request_id.empty()) return nullptr;
  const auto job = std::ranges::find_if(jobs_, [&](const auto& candidate) {
    return candidate->request.request_id == request_id && !candidate->abandoned;
  });
  return job == jobs_.end() ? nullptr : job->get();
}

std::optional<MemoryMaker::Result> MemoryMaker::Remembered(const std::string& request_id) const {
  if (request_id.empty()) return std::nullopt;
  std::optional<WriteResult> result = store_.FindWrite(request_id);
  if (!result) return std::nullopt;
  if (!result->digest.empty()) return *std::move(result);
  return absl::InvalidArgumentError(
      absl::StrCat("request id ", request_id, " was used to delete memory ", result->name));
}

void MemoryMaker::Write(WriteRequest request, std::shared_ptr<WriteSink> sink) {
  std::optional<Result> result;
  {
    const std::lock_guard lock(mutex_);
    const bool detached = request.detached;
    if (shutdown_) {
      result = ShuttingDown();
    } else if (Job* const job = Find(request.request_id)) {
      job->detached |= detached;
      if (!detached) job->sinks.push_back(sink);
    } else if (!(result = Remembered(request.request_id))) {
      auto added = std::make_unique<Job>(std::move(request), detached);
      if (!detached) added->sinks.push_back(sink);
      jobs_.push_back(std::move(added));
      wake_up_.notify_one();
    }
    if (!result && !detached) return;
  }
  result ? sink->OnDone(*std::move(result)) : sink->OnAccepted();
}

void MemoryMaker::Watch(const std::string& request_id, std::shared_ptr<WriteSink> sink) {
  std::optional<Result> result;
  {
    const std::lock_guard lock(mutex_);
    if (Job* const job = Find(request_id)) {
      job->sinks.push_back(std::move(sink));
      return;
    }
    result = Remembered(request_id);
  }
  if (!result) {
    result =
        absl::NotFoundError(absl::StrCat("no write with request id ", request_id,
                                         " is under way or remembered; one that failed changed nothing"));
  }
  sink->OnDone(*std::move(result));
}

bool MemoryMaker::Knows(const std::string& request_id) const {
  const std::lock_guard lock(mutex_);
  return Find(request_id) != nullptr || Remembered(request_id).has_value();
}

void MemoryMaker::Shutdown() {
  const std::lock_guard lock(mutex_);
  shutdown_ = true;
  wake_up_.notify_one();
}

void MemoryMaker::Run() {
  while (true) {
    Job* job = nullptr;
    {
      std::unique_lock lock(mutex_);
      wake_up_.wait(lock, [this] { return shutdown_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = jobs_.front().get();
    }
    Make(*job);
  }
}

void MemoryMaker::Make(Job& job) {
  const MakeHooks hooks{.step = [&](Sequence& sequence) { return engine_.Step(sequence); },
                        .check = [&] { return Check(job); },
                        .progress = [&](int64_t done, int64_t total) { OnProgress(job, done, total); }};
  const auto memory = MakeMemory(engine_.model(), engine_.tokenizer(), store_, job.request, hooks);
  const Result result = memory.ok() ? Result(WriteResult{(*memory)->info().name, (*memory)->info().digest})
                                    : Result(memory.status());
  std::unique_ptr<Job> ended;
  {
    const std::lock_guard lock(mutex_);
    ended = std::move(jobs_.front());
    jobs_.pop_front();
  }
  for (const auto& sink : ended->sinks) sink->OnDone(result);
}

absl::Status MemoryMaker::Check(Job& job) {
  std::vector<std::shared_ptr<WriteSink>> left;
  {
    const std::lock_guard lock(mutex_);
    if (shutdown_) return ShuttingDown();
    const auto gone =
        std::ranges::partition(job.sinks, [](const auto& sink) { return !sink->IsCancelled(); });
    job.abandoned = !job.detached && gone.size() == job.sinks.size();
    if (job.abandoned) return ClientLeft();
    left.assign(gone.begin(), gone.end());
    job.sinks.erase(gone.begin(), gone.end());
  }
  for (const auto& sink : left) sink->OnDone(ClientLeft());
  return absl::OkStatus();
}

void MemoryMaker::OnProgress(const Job& job, int64_t done, int64_t total) {
  std::vector<std::shared_ptr<WriteSink>> sinks;
  {
    const std::lock_guard lock(mutex_);
    sinks = job.sinks;
  }
  for (const auto& sink : sinks) sink->OnProgress(done, total);
}

}  // namespace mtm
