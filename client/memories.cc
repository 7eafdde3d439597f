// SPDX-License-Identifier: Apache-2.0
// The calls of Client that list, watch, check and change memories without the model.
#include <utility>

#include "absl/time/clock.h"
#include "client/call.h"
#include "client/client.h"
#include "client/events.h"
#include "client/request_id.h"

namespace mtm::client {
namespace {

using Stub = v1::MemoryService::Stub;

constexpr int kPageSize = 1000;

// The memory at the end of a check. `open` begins the call.
template <typename Open>
absl::StatusOr<v1::Memory> Check(const ClientOptions& options, const CallOptions& call_options,
                                 const ProgressCallback& progress, const Open& open) {
  auto last = Follow<v1::CheckMemoryResponse>(options, call_options, progress, open);
  if (!last.ok()) return last.status();
  return std::move(*last->mutable_memory());
}

}  // namespace

absl::StatusOr<v1::Memory> Client::RollbackMemory(v1::RollbackMemoryRequest request,
                                                  const CallOptions& call) {
  EnsureRequestId(request);
  return Unary(options_, call, *memories_, &Stub::RollbackMemory, request);
}

absl::StatusOr<v1::Memory> Client::CopyMemory(v1::CopyMemoryRequest request, const CallOptions& call) {
  EnsureRequestId(request);
  return Unary(options_, call, *memories_, &Stub::CopyMemory, request);
}

absl::StatusOr<v1::Memory> Client::UpdateMemory(const v1::UpdateMemoryRequest& request,
                                                const CallOptions& call) {
  return Unary(options_, call, *memories_, &Stub::UpdateMemory, request);
}

absl::Status Client::DeleteMemory(const std::string& reference, const CallOptions& call) {
  v1::DeleteMemoryRequest request;
  request.set_name(reference);
  request.set_request_id(NewRequestId());
  return Unary(options_, call, *memories_, &Stub::DeleteMemory, request).status();
}

absl::StatusOr<v1::Memory> Client::GetMemory(const std::string& reference, const CallOptions& call) {
  v1::GetMemoryRequest request;
  request.set_name(reference);
  return Unary(options_, call, *memories_, &Stub::GetMemory, request);
}

absl::StatusOr<std::vector<v1::Memory>> Client::ListMemories(const v1::MemoryFilter& filter,
                                                             const CallOptions& call) {
  v1::ListMemoriesRequest request;
  *request.mutable_filter() = filter;
  request.set_page_size(kPageSize);
  std::vector<v1::Memory> memories;
  const absl::Time deadline = absl::Now() + call.timeout;
  do {
    const CallOptions rest = {.timeout = deadline - absl::Now(), .stop = call.stop};
    auto page = Unary(options_, rest, *memories_, &Stub::ListMemories, request);
    if (!page.ok()) return page.status();
    for (v1::Memory& memory : *page->mutable_memories()) memories.push_back(std::move(memory));
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  return memories;
}

absl::Status Client::WatchMemories(const v1::MemoryFilter& filter, const WatchCallback& callback,
                                   const CallOptions& call_options) {
  v1::WatchMemoriesRequest request;
  *request.mutable_filter() = filter;
  bool begun = false;
  absl::Status lost;
  const absl::Status status = CallWithRetries(options_, call_options, [&](Call& call) {
    const auto stream = memories_->WatchMemories(&call.context(), request);
    for (v1::WatchMemoriesResponse event; stream->Read(&event);) {
      begun = true;
      if (callback(event)) continue;
      call.context().TryCancel();
      break;
    }
    for (v1::WatchMemoriesResponse rest; stream->Read(&rest);) {
    }
    const absl::Status ended = call.Finish(stream->Finish());
    if (!begun) return ended;
    lost = ended;  // deletions may have been missed: the caller begins anew, and knows it
    return absl::OkStatus();
  });
  return begun ? lost : status;
}

absl::StatusOr<v1::Memory> Client::LoadMemory(const std::string& reference, const CallOptions& call) {
  v1::LoadMemoryRequest request;
  request.set_name(reference);
  return Unary(options_, call, *memories_, &Stub::LoadMemory, request);
}

absl::StatusOr<v1::Memory> Client::UnloadMemory(const std::string& name, const CallOptions& call) {
  v1::UnloadMemoryRequest request;
  request.set_name(name);
  return Unary(options_, call, *memories_, &Stub::UnloadMemory, request);
}

absl::StatusOr<v1::Memory> Client::VerifyMemory(const std::string& reference,
                                                const ProgressCallback& progress, const CallOptions& call) {
  v1::VerifyMemoryRequest request;
  request.set_name(reference);
  return Check(options_, call, progress,
               [&](grpc::ClientContext* context) { return memories_->VerifyMemory(context, request); });
}

absl::StatusOr<v1::Memory> Client::RebuildIndex(const std::string& name, const ProgressCallback& progress,
                                                const CallOptions& call) {
  v1::RebuildIndexRequest request;
  request.set_name(name);
  return Check(options_, call, progress,
               [&](grpc::ClientContext* context) { return memories_->RebuildIndex(context, request); });
}

}  // namespace mtm::client
