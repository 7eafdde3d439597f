// SPDX-License-Identifier: Apache-2.0
#include "tests/stress/crash_client.h"

#include <grpcpp/client_context.h>

#include <set>

#include "absl/strings/str_cat.h"

namespace mtm {
namespace {

std::string Describe(const Operation& operation) {
  return absl::StrCat(
      NameOf(operation.kind), " of ", operation.name,
      operation.request_id.empty() ? "" : absl::StrCat(" (request ", operation.request_id, ")"));
}

}  // namespace

std::optional<std::string> CrashClient::Settle(v1::MemoryService::Stub& stub, const std::atomic<bool>& killed,
                                               bool verify_all, bool& done) {
  done = false;
  if (pending_) {
    const auto fault = SettlePending(stub, killed, done);
    if (fault || !done) return fault;
  }
  if (const auto fault = CompareAll(stub, killed, done); fault || !done) return fault;
  const size_t drawn = names_.empty() ? 0 : random_.Draw(names_.size());
  size_t number = 0;
  for (const auto& [name, state] : names_) {
    if (number++ != drawn && !verify_all) continue;
    const grpc::Status status = VerifyMemory(stub, name);
    if (!status.ok()) {
      done = false;
      if (killed) return std::nullopt;
      return absl::StrCat("VerifyMemory of ", name, ": ", Describe(status));
    }
  }
  return std::nullopt;
}

std::optional<std::string> CrashClient::SettlePending(v1::MemoryService::Stub& stub,
                                                      const std::atomic<bool>& killed, bool& done) {
  done = false;
  const Operation& operation = *pending_;
  const Names after = Apply(names_, operation, window_);
  std::optional<std::string> not_before, not_after;
  grpc::Status status = Compare(stub, operation.name, names_, not_before);
  if (status.ok()) status = Compare(stub, operation.name, after, not_after);
  if (!status.ok()) {
    if (killed) return std::nullopt;
    return absl::StrCat("GetMemory of ", operation.name, ": ", Describe(status));
  }
  if (not_before && not_after) {
    return absl::StrCat("after a ", Describe(operation), " without an answer: neither what was before (",
                        *not_before, ") nor what it makes (", *not_after, ")");
  }
  if (!operation.request_id.empty()) {
    v1::Memory memory;
    status = Perform(stub, operation, names_, digests_, memory);
    if (!status.ok()) {
      if (killed) return std::nullopt;
      return absl::StrCat(Describe(operation), " again, which had ",
                          not_after ? "not happened: " : "happened: ", Describe(status));
    }
    if (const auto fault = CheckAnswer(operation, after, memory)) return absl::StrCat("again, ", *fault);
  }
  ++(not_after ? n_lost_ : n_happened_);
  if (!not_after || !operation.request_id.empty()) names_ = after;
  pending_.reset();
  done = true;
  return std::nullopt;
}

std::optional<std::string> CrashClient::CompareAll(v1::MemoryService::Stub& stub,
                                                   const std::atomic<bool>& killed, bool& done) {
  done = false;
  for (const auto& [name, state] : names_) {
    std::optional<std::string> difference;
    const grpc::Status status = Compare(stub, name, names_, difference);
    if (!status.ok()) {
      if (killed) return std::nullopt;
      return absl::StrCat("GetMemory of ", name, ": ", Describe(status));
    }
    if (difference) return absl::StrCat(name, ": ", *difference);
  }
  grpc::ClientContext context;
  v1::ListMemoriesRequest request;
  request.mutable_filter()->set_name_prefix(prefix_);
  v1::ListMemoriesResponse response;
  const grpc::Status status = stub.ListMemories(&context, request, &response);
  if (!status.ok()) {
    if (killed) return std::nullopt;
    return absl::StrCat("ListMemories: ", Describe(status));
  }
  std::set<std::string> listed, expected;
  for (const v1::Memory& memory : response.memories()) listed.insert(memory.name());
  for (const auto& [name, state] : names_) expected.insert(name);
  if (listed != expected)
    return absl::StrCat(listed.size(), " memories are listed instead of ", expected.size());
  done = true;
  return std::nullopt;
}

grpc::Status CrashClient::Compare(v1::MemoryService::Stub& stub, const std::string& name,
                                  const Names& expected, std::optional<std::string>& difference) {
  v1::Memory memory;
  const grpc::Status status = GetMemory(stub, name, memory);
  const auto state = expected.find(name);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
    if (state != expected.end()) difference = "it is not there";
    return grpc::Status::OK;
  }
  if (!status.ok()) return status;
  if (state == expected.end()) {
    difference = "it is there";
  } else {
    difference = Difference(state->second, memory);
    if (!difference) difference = CheckDigests(state->second, memory, digests_);
  }
  return status;
}

std::optional<std::string> CrashClient::CheckAnswer(const Operation& operation, const Names& after,
                                                    const v1::Memory& memory) {
  if (operation.kind == Operation::Kind::kDelete) return std::nullopt;
  const ExpectedMemory& state = after.at(operation.name);
  std::optional<std::string> fault = Difference(state, memory);
  if (!fault) fault = digests_.Check(state.current(), memory.digest());
  if (fault) return absl::StrCat(Describe(operation), " answered with another memory: ", *fault);
  return std::nullopt;
}

std::optional<std::string> CrashClient::Work(v1::MemoryService::Stub& stub, const std::atomic<bool>& killed) {
  while (!killed) {
    pending_ = random_.Next(names_);
    v1::Memory memory;
    const grpc::Status status = Perform(stub, *pending_, names_, digests_, memory);
    if (!status.ok()) {
      if (killed) return std::nullopt;
      return absl::StrCat(Describe(*pending_), ": ", Describe(status));
    }
    const Names after = Apply(names_, *pending_, window_);
    if (auto fault = CheckAnswer(*pending_, after, memory)) return fault;
    ++answered_[pending_->kind];
    names_ = after;
    pending_.reset();
  }
  return std::nullopt;
}

}  // namespace mtm
