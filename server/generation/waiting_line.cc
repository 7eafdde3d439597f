// SPDX-License-Identifier: Apache-2.0
#include "server/generation/waiting_line.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/generation/stop_reasons.h"

namespace mtm {
namespace {

constexpr double kNewest = 0.1;  // weight of the newest interval in the average
constexpr absl::Duration kMinRetryDelay = absl::Milliseconds(100);
constexpr absl::Duration kMaxRetryDelay = absl::Minutes(1);

}  // namespace

absl::Status WaitingLine::Add(Admission& admission, absl::Time now) {
  if (admission.urgent) {
    urgent_.push_back(std::move(admission));
    return absl::OkStatus();
  }
  const absl::Duration wait = ExpectedWait();
  const absl::Duration retry = RetryDelayNow();
  const TaskCost& cost = admission.cost;
  if (cost.cache_bytes > limits_.max_cache_bytes) {
    ++refusals_.too_large;
    return absl::ResourceExhaustedError(absl::StrCat(
        "the request needs ", cost.cache_bytes, " bytes of key-value cache, and this server gives ",
        limits_.max_cache_bytes, " in all; ask for fewer tokens or samples"));
  }
  if (queue_.size() >= limits_.max_waiting) {
    ++refusals_.line_full;
    return Overloaded(absl::StrCat("the server is overloaded: ", queue_.size(), " requests wait already"),
                      retry);
  }
  const std::string& client = admission.requester.client;
  if (const auto n = n_of_client_.find(client);
      !client.empty() && n != n_of_client_.end() && n->second >= limits_.max_client_requests) {
    ++refusals_.client_limit;
    return Overloaded(absl::StrCat("this client has ", n->second, " requests under way, as many as it may"),
                      retry);
  }
  if (!queue_.empty() && now + wait > admission.requester.deadline) {
    ++refusals_.deadline;
    return absl::DeadlineExceededError(absl::StrCat(
        "the request would wait about ", absl::FormatDuration(wait), ", longer than its deadline allows"));
  }
  ++n_of_client_[client];
  auto waiting = std::make_shared<Admission>(std::move(admission));
  waiting->last_moment = now + limits_.max_wait;
  queue_.Push(waiting->requester.client, std::max<int64_t>(1, waiting->cost.n_rows), waiting);
  return absl::OkStatus();
}

bool WaitingLine::Fits(const TaskCost& cost, const Load& load) const {
  if (load.n_tasks == 0) return true;
  return load.cache_bytes + cost.cache_bytes <= limits_.max_cache_bytes &&
         (load.n_sequences == 0 || load.n_sequences + cost.n_sequences <= limits_.max_sequences);
}

bool WaitingLine::CanTake(const Load& load) const {
  return !urgent_.empty() || (!queue_.empty() && Fits(queue_.Front()->cost, load));
}

Admission WaitingLine::TakeNext(const Load& load) {
  if (!CanTake(load)) return {};
  if (urgent_.empty()) return std::move(*queue_.Pop());
  Admission next = std::move(urgent_.front());
  urgent_.pop_front();
  return next;
}

absl::Status WaitingLine::ReasonToRemove(const Admission& admission, absl::Time now) {
  if (admission.task->IsCancelled()) return ClientLeft();
  if (now >= admission.requester.deadline) {
    ++refusals_.deadline;
    return absl::DeadlineExceededError("the deadline came before its turn");
  }
  if (now >= admission.last_moment) {
    ++refusals_.max_wait;
    return Overloaded(absl::StrCat("the server is overloaded: no place came free in ",
                                   absl::FormatDuration(limits_.max_wait)),
                      RetryDelayNow());
  }
  return absl::OkStatus();
}

std::vector<WaitingLine::Removed> WaitingLine::RemoveUnwanted(absl::Time now) {
  std::vector<Removed> removed;
  absl::Status reason;
  queue_.RemoveUnless(
      [&](const std::shared_ptr<Admission>& a) { return (reason = ReasonToRemove(*a, now)).ok(); },
      [&](std::shared_ptr<Admission> a) {
        removed.push_back({std::move(*a), reason});
      });
  return removed;
}

std::vector<WaitingLine::Removed> WaitingLine::RemoveAll() {
  std::vector<Removed> removed;
  const auto remove = [&](Admission& a) { removed.push_back({std::move(a), ShuttingDown()}); };
  queue_.RemoveUnless([](const auto&) { return false; }, [&](std::shared_ptr<Admission> a) { remove(*a); });
  std::ranges::for_each(urgent_, remove);
  urgent_.clear();
  return removed;
}

absl::Time WaitingLine::NextExpiry() const {
  absl::Time next = absl::InfiniteFuture();
  queue_.ForEach([&](const std::shared_ptr<Admission>& a) {
    next = std::min({next, a->requester.deadline, a->last_moment});
  });
  return next;
}

void WaitingLine::Finished(const Admission& admission, absl::Time now) {
  if (admission.urgent) return;
  const auto n = n_of_client_.find(admission.requester.client);
  if (--n->second == 0) n_of_client_.erase(n);
  if (queue_.empty()) {
    last_end_ = absl::InfinitePast();  // an idle server's pauses say nothing of its speed
    return;
  }
  if (last_end_ != absl::InfinitePast()) interval_ = (1 - kNewest) * interval_ + kNewest * (now - last_end_);
  last_end_ = now;
}

absl::Duration WaitingLine::ExpectedWait() const { return interval_ * static_cast<double>(queue_.size()); }

absl::Duration WaitingLine::RetryDelayNow() const {
  return std::clamp(ExpectedWait(), kMinRetryDelay, kMaxRetryDelay);
}

}  // namespace mtm
