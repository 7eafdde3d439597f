// SPDX-License-Identifier: Apache-2.0
#include "tests/load/load.h"

#include <chrono>
#include <mutex>
#include <thread>

#include "client/client.h"

namespace mtm::load {
namespace {

using Clock = std::chrono::steady_clock;

// Of a closed loop after a failure: a server that refuses is not to be hammered.
constexpr auto kBackOff = std::chrono::milliseconds(50);

class Load {
 public:
  Load(const std::string& address, const LoadOptions& options)
      : client_({.address = address, .max_attempts = 1}) {
    if (options.timeout_s > 0) call_.timeout = absl::Seconds(options.timeout_s);
  }

  double Now() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  void WaitUntil(double seconds) const {
    std::this_thread::sleep_until(
        start_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)));
  }

  // One request, from its first byte to its last.
  absl::StatusCode Send(const Workload::Draw& draw, double due) {
    Record record{.kind = draw.kind, .start = due};
    const absl::Status status = client_.StreamGenerate(
        draw.request,
        [&](const v1::StreamGenerateResponse& event) {
          if (event.has_token()) record.tokens.push_back(Now());
          return true;
        },
        call_);
    record.end = Now();
    record.code = status.code();
    const std::lock_guard lock(mutex_);
    records_.push_back(std::move(record));
    return status.code();
  }

  std::vector<Record> Take() { return std::move(records_); }

 private:
  const Clock::time_point start_ = Clock::now();
  client::Client client_;
  client::CallOptions call_;
  std::mutex mutex_;
  std::vector<Record> records_;  // under the mutex
};

}  // namespace

std::vector<Record> RunLoad(const std::string& address, const v1::Model& model,
                            const std::vector<RequestKind>& kinds, const LoadOptions& options) {
  Load load(address, options);
  std::vector<std::jthread> threads;
  if (options.rate > 0) {
    Workload workload(kinds, model, options.seed);
    for (double due = workload.NextArrival(options.rate); due < options.seconds;
         due += workload.NextArrival(options.rate)) {
      load.WaitUntil(due);
      threads.emplace_back([&load, due, draw = workload.Next()] { load.Send(draw, due); });
    }
  } else {
    for (int i = 0; i < options.clients; ++i) {
      threads.emplace_back([&, i] {
        Workload workload(kinds, model, options.seed + static_cast<uint64_t>(i));
        while (load.Now() < options.seconds) {
          const Workload::Draw draw = workload.Next();
          if (load.Send(draw, load.Now()) != absl::StatusCode::kOk) std::this_thread::sleep_for(kBackOff);
        }
      });
    }
  }
  threads.clear();  // waits for them
  return load.Take();
}

}  // namespace mtm::load
