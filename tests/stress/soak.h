// SPDX-License-Identifier: Apache-2.0
// What the clients of a soak share.
#ifndef MTM_TESTS_STRESS_SOAK_H_
#define MTM_TESTS_STRESS_SOAK_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mtm/v1/inference_service.grpc.pb.h"
#include "mtm/v1/model.pb.h"

namespace mtm {

// RESOURCE_EXHAUSTED with google.rpc.RetryInfo: to be tried again.
bool IsRefusal(const grpc::Status& status);

// The server that is soaked, and what came of the requests to it. Thread-safe.
class Soak {
 public:
  Soak(int port, v1::Model model, std::vector<std::string> memories)
      : port_(port), model_(std::move(model)), memories_(std::move(memories)) {}

  int port() const { return port_; }
  const v1::Model& model() const { return model_; }
  // Those that are there all the time, with all layers.
  const std::vector<std::string>& memories() const { return memories_; }

  // A connection of its own.
  std::shared_ptr<grpc::Channel> Connect() const;

  // Something ended as it should: `what` was done and came to `outcome`.
  void Count(const std::string& what, const std::string& outcome);
  void Fail(const std::string& fault);

  // For clients: whether the end has come, and a wait that the end cuts short.
  bool stopped() const { return stop_; }
  const std::atomic<bool>& stop() const { return stop_; }
  void Pause(std::chrono::milliseconds duration);
  void Stop();

  // Once all clients have ended.
  int64_t n_counted() const;
  int64_t n_failed() const { return n_failed_; }
  std::string Report() const;

 private:
  const int port_;
  const v1::Model model_;
  const std::vector<std::string> memories_;
  std::atomic<bool> stop_ = false;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable stopped_;
  std::map<std::string, std::map<std::string, int64_t>> outcomes_;
  std::atomic<int64_t> n_failed_ = 0;
};

}  // namespace mtm

#endif  // MTM_TESTS_STRESS_SOAK_H_
