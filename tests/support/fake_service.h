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

#include "google/protobuf/message.h"
#include "grpcpp/server.h"
#include "mtm/v1/inference_service.grpc.pb.h"
#include "mtm/v1/memory_service.grpc.pb.h"

namespace mtm {

// What the fake server remembers, and what a test told it to do. Thread-safe.
class FakeState {
 public:
  // The next `times` calls of any rpc end with `status` at once.
  void FailNext(const grpc::Status& status, int times = 1);
  // The next write is done, and its reply is lost: UNAVAILABLE.
  void LoseNextReply();
  // The next transfer ends with UNAVAILABLE after so many bytes.
  void BreakNextTransfer(size_t bytes);
  // Generation sends one token, then nothing until its client leaves.
  void HangAfterFirstToken();
  // The next stream of generation ends with UNAVAILABLE after one token.
  void BreakAfterFirstToken();
  // Making a memory sends one progress, then nothing until its client leaves.
  void HangAfterFirstProgress();
  // Returns once a client has left a call that hung. False after ten seconds.
  bool WaitUntilClientLeft();
  // Lists a memory as quarantined.
  void AddQuarantined(const std::string& name, const std::string& reason);

  int call_count() const;

  // The last request of a kind, or the last spec of a stream.
  template <typename Request>
  Request last() const {
    const std::lock_guard lock(mutex_);
    Request request;
    const auto found = requests_.find(Request::descriptor()->full_name());
    if (found != requests_.end()) request.ParseFromString(found->second);
    return request;
  }

  // The text that a memory was made of; token ids separated by spaces. Empty where there is no such memory.
  std::string TextOf(const std::string& name) const;

 private:
  friend class FakeInference;
  friend class FakeMemories;

  // A version: pieces of text with their source labels. A byte is a token.
  struct Version {
    std::vector<std::pair<std::string, std::string>> pieces;
    std::string digest;
  };
  struct Memory {
    std::vector<Version> versions;
    v1::Memory listed;  // labels, metadata, state, reason
    int made = 0;       // versions ever made: the next one's digest
  };

  // Counts a call and keeps its request; an error where FailNext asked for it.
  grpc::Status Begin(const google::protobuf::Message* request = nullptr);
  void Keep(const google::protobuf::Message& request);
  // What becomes of a stream of generation after its first token; blocks where it hangs.
  grpc::Status AfterFirstToken(grpc::ServerContext* context);
  // Blocks until the client of `context` has left.
  void Hang(grpc::ServerContext* context);

  mutable std::mutex mutex_;  // and not absl's, which tsan does not see; guards all below
  std::condition_variable left_;
  int calls_ = 0;
  int failures_left_ = 0;
  grpc::Status failure_;
  bool lose_reply_ = false;
  size_t break_transfer_ = 0;  // 0: not
  bool hang_generation_ = false;
  bool break_generation_ = false;
  bool hang_creation_ = false;
  bool client_left_ = false;
  std::map<std::string, std::string> requests_;  // by type, serialized
  std::map<std::string, Memory> memories_;
  std::map<std::string, v1::Memory> writes_;    // by request id
  std::map<std::string, std::string> imports_;  // what has arrived, by digest
};

// Both services of proto/mtm/v1 on a loopback port, without a model: a byte of text is a token, and what is
// generated is " bark" again and again, or " purr" with a memory. Checks k, empty prompts and names, as the
// real one does. A memory's versions have the digests aaa..., bbb... and so on.
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

std::unique_ptr<grpc::Service> NewFakeInference(FakeState& state);
std::unique_ptr<grpc::Service> NewFakeMemories(FakeState& state);

// A status with a google.rpc.BadRequest, as the server sends them.
grpc::Status BadRequestStatus(const std::vector<std::pair<std::string, std::string>>& violations);

}  // namespace mtm

#endif  // MTM_TESTS_SUPPORT_FAKE_SERVICE_H_
