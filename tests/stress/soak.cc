// SPDX-License-Identifier: Apache-2.0
#include "tests/stress/soak.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <iostream>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace mtm {
namespace {

constexpr int64_t kMostFaultsPrinted = 20;

}  // namespace

bool IsRefusal(const grpc::Status& status) {
  google::rpc::Status details;
  if (status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED) return false;
  if (!details.ParseFromString(status.error_details())) return false;
  for (const auto& detail : details.details()) {
    if (detail.Is<google::rpc::RetryInfo>()) return true;
  }
  return false;
}

std::shared_ptr<grpc::Channel> Soak::Connect() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port_), grpc::InsecureChannelCredentials(),
                                   arguments);
}

void Soak::Count(const std::string& what, const std::string& outcome) {
  const std::lock_guard lock(mutex_);
  ++outcomes_[what][outcome];
}

void Soak::Fail(const std::string& fault) {
  const std::lock_guard lock(mutex_);
  if (++n_failed_ <= kMostFaultsPrinted) std::cout << "FAILED: " << fault << std::endl;
}

void Soak::Pause(std::chrono::milliseconds duration) {
  std::unique_lock lock(mutex_);
  stopped_.wait_for(lock, duration, [this] { return stopped(); });
}

void Soak::Stop() {
  const std::lock_guard lock(mutex_);
  stop_ = true;
  stopped_.notify_all();
}

int64_t Soak::n_counted() const {
  const std::lock_guard lock(mutex_);
  int64_t n = 0;
  for (const auto& [what, by_outcome] : outcomes_) {
    for (const auto& [outcome, count] : by_outcome) n += count;
  }
  return n;
}

std::string Soak::Report() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  for (const auto& [what, by_outcome] : outcomes_) {
    absl::StrAppend(&text, what, ":");
    for (const auto& [outcome, count] : by_outcome) absl::StrAppend(&text, " ", outcome, " ", count, ",");
    text.back() = '\n';
  }
  return text;
}

}  // namespace mtm
