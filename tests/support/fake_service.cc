// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fake_service.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/server_builder.h"

namespace mtm {

grpc::Status BadRequestStatus(const std::vector<std::pair<std::string, std::string>>& violations) {
  google::rpc::BadRequest bad_request;
  for (const auto& [field, description] : violations) {
    auto* added = bad_request.add_field_violations();
    added->set_field(field);
    added->set_description(description);
  }
  google::rpc::Status status;
  status.set_code(grpc::StatusCode::INVALID_ARGUMENT);
  status.set_message("invalid request");
  status.add_details()->PackFrom(bad_request);
  return {grpc::StatusCode::INVALID_ARGUMENT, status.message(), status.SerializeAsString()};
}

void FakeState::FailNext(const grpc::Status& status, int times) {
  const std::lock_guard lock(mutex_);
  failure_ = status;
  failures_left_ = times;
}

void FakeState::LoseNextReply() {
  const std::lock_guard lock(mutex_);
  lose_reply_ = true;
}

void FakeState::BreakNextTransfer(size_t bytes) {
  const std::lock_guard lock(mutex_);
  break_transfer_ = bytes;
}

void FakeState::HangAfterFirstToken() {
  const std::lock_guard lock(mutex_);
  hang_generation_ = true;
}

void FakeState::BreakAfterFirstToken() {
  const std::lock_guard lock(mutex_);
  break_generation_ = true;
}

void FakeState::HangAfterFirstProgress() {
  const std::lock_guard lock(mutex_);
  hang_creation_ = true;
}

bool FakeState::WaitUntilClientLeft() {
  std::unique_lock lock(mutex_);
  return left_.wait_for(lock, std::chrono::seconds(10), [this] { return client_left_; });
}

void FakeState::AddQuarantined(const std::string& name, const std::string& reason) {
  const std::lock_guard lock(mutex_);
  Memory& memory = memories_[name];
  memory.versions.push_back({{}, std::string(64, 'a')});
  memory.listed.set_name(name);
  memory.listed.set_state(v1::Memory::STATE_QUARANTINED);
  memory.listed.set_state_reason(reason);
}

int FakeState::call_count() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}

std::string FakeState::TextOf(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = memories_.find(name);
  std::string text;
  if (found == memories_.end()) return text;
  for (const auto& [source, piece] : found->second.versions.back().pieces) text += piece;
  return text;
}

grpc::Status FakeState::Begin(const google::protobuf::Message* request) {
  if (request != nullptr) Keep(*request);
  const std::lock_guard lock(mutex_);
  ++calls_;
  if (failures_left_ == 0) return grpc::Status::OK;
  --failures_left_;
  return failure_;
}

void FakeState::Keep(const google::protobuf::Message& request) {
  const std::lock_guard lock(mutex_);
  requests_[request.GetDescriptor()->full_name()] = request.SerializeAsString();
}

grpc::Status FakeState::AfterFirstToken(grpc::ServerContext* context) {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(break_generation_, false)) return {grpc::StatusCode::UNAVAILABLE, "broken"};
    if (!hang_generation_) return grpc::Status::OK;
  }
  Hang(context);
  return grpc::Status::CANCELLED;
}

void FakeState::Hang(grpc::ServerContext* context) {
  // The synchronous server has no notice of a client that leaves.
  while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
  const std::lock_guard lock(mutex_);
  client_left_ = true;
  left_.notify_all();
}

FakeServer::FakeServer() : inference_(NewFakeInference(state_)), memories_(NewFakeMemories(state_)) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(inference_.get());
  builder.RegisterService(memories_.get());
  server_ = builder.BuildAndStart();
}

FakeServer::~FakeServer() { server_->Shutdown(std::chrono::system_clock::now()); }

std::string FakeServer::address() const { return absl::StrCat("127.0.0.1:", port_); }

}  // namespace mtm
