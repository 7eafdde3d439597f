// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_TESTS_SUPPORT_FAKE_SERVICE_H_
#define MTM_TESTS_SUPPORT_FAKE_SERVICE_H_

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "grpcpp/server.h"
#include "mtm/v1/inference_service.grpc.pb.h"
#include "mtm/v1/memory_service.grpc.pb.h"

namespace mtm {

// What the fake server remembers, and what a test told it to do. Thread-safe.
class FakeState {
 public:
  // The next `times` calls of any rpc end with `status` at once.
  void FailNext(const grpc::Status& status, int times = 1);
  // Generation sends one token, then nothing until its client leaves.
  void HangAfterFirstToken();
  // Making a memory sends one progress, then nothing until its client leaves.
  void HangAfterFirstProgress();
  // Returns once a client has left a call that hung. False after ten seconds.
  bool WaitUntilClientLeft();
  // Lists a memory as damaged.
  void AddDamaged(const std::string& name, const std::string& reason);

  int call_count() const;
  v1::GenerateRequest last_generate() const;
  v1::ScoreRequest last_score() const;
  v1::CreateMemoryRequest::Spec last_spec() const;
  // The text that a memory was made of; token ids separated by spaces. Empty where there is no such memory.
  std::string TextOf(const std::string& name) const;

 private:
  friend class FakeInference;
  friend class FakeMemories;

  // Counts a call; an error where FailNext asked for it.
  grpc::Status Begin();
  // Blocks until the client of `context` has left.
  void Hang(grpc::ServerContext* context);

  mutable std::mutex mutex_;  // and not absl's, which tsan does not see; guards all below
  std::condition_variable left_;
  int calls_ = 0;
  int failures_left_ = 0;
  grpc::Status failure_;
  bool hang_generation_ = false;
  bool hang_creation_ = false;
  bool client_left_ = false;
  v1::GenerateRequest last_generate_;
  v1::ScoreRequest last_score_;
  v1::CreateMemoryRequest::Spec last_spec_;
  std::map<std::string, std::pair<v1::Memory, std::string>> memories_;
  std::vector<std::pair<std::string, std::string>> damaged_;
};

// Both services of proto/mtm/v1 on a loopback port, without a model: a byte of text is a token, and what is
// generated is " bark" again and again, or " purr" with a memory. Checks k, empty prompts and names, as the
// real one does.
class FakeServer {
 public:
  FakeServer();
  ~FakeServer();

  std::string address() const;
  FakeState& state() { return state_; }

 private:
  FakeState state_;
  std::unique_ptr<grpc::Service> inference_;
  std::unique_ptr<grpc::Service> memories_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// A status with a google.rpc.BadRequest, as the server sends them.
grpc::Status BadRequestStatus(const std::vector<std::pair<std::string, std::string>>& violations);

}  // namespace mtm

#endif  // MTM_TESTS_SUPPORT_FAKE_SERVICE_H_
