// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/write_stream.h"

#include "server/generation/forget.h"
#include "server/generation/make_memory.h"
#include "server/rpc/convert.h"
#include "server/rpc/memory_rights.h"

namespace mtm {
namespace {

absl::Status Check(const Backend& backend, const CreateRequest& request) {
  const auto record = backend.store.Find(request.name);
  if (request.replace) return record.status();
  if (!record.ok()) return absl::OkStatus();
  const bool damaged = (*record)->state == MemoryState::kQuarantined;
  return absl::AlreadyExistsError(absl::StrCat("spec.name: there is a memory ", request.name, " already",
                                               damaged ? ", a damaged one; delete it first" : ""));
}

absl::Status Check(const Backend& backend, const AppendRequest& request) {
  return FindBase(backend.store, backend.model, request.memory).status();
}

absl::Status Check(const Backend& backend, const ForgetRequest& request) {
  const absl::Status status = CheckForgettable(request.content, backend.info.tokenizer);
  if (!status.ok()) return status;
  return FindBase(backend.store, backend.model, request.memory).status();
}

const std::string& Target(const CreateRequest& request) { return request.name; }
const std::string& Target(const AppendRequest& request) { return request.memory; }
const std::string& Target(const ForgetRequest& request) { return request.memory; }

}  // namespace

bool MakesNewMemory(const WriteRequest& request) {
  const auto* create = std::get_if<CreateRequest>(&request.change);
  return create != nullptr && !create->replace;
}

absl::Status CheckTarget(const Backend& backend, const Principal& principal, const WriteRequest& request) {
  const auto check = [&] {
    if (backend.maker.Knows(principal.OwnRequestId(request.request_id))) return absl::OkStatus();
    return std::visit([&](const auto& change) { return Check(backend, change); }, request.change);
  };
  if (MakesNewMemory(request)) {
    const absl::Status allowed = principal.CheckNew(TargetOf(request));
    return allowed.ok() ? check() : allowed;
  }
  return WithRight(principal, Right::kWrite, TargetOf(request), backend.store, check);
}

const std::string& TargetOf(const WriteRequest& request) {
  return std::visit([](const auto& change) -> const std::string& { return Target(change); }, request.change);
}

v1::Memory DescribeResult(const MemoryStore& store, const WriteResult& result) {
  const auto record = store.Find(absl::StrCat(result.name, "@", result.digest));
  if (record.ok() && (*record)->info.digest == result.digest)
    return ToProto(**record, /*with_versions=*/false);
  v1::Memory memory;  // replaced or deleted since
  memory.set_name(result.name);
  memory.set_digest(result.digest);
  return memory;
}

}  // namespace mtm
