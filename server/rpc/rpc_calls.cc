// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/rpc_calls.h"

#include <spdlog/spdlog.h>

#include <iterator>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/generation/stop_reasons.h"
#include "server/rpc/requester.h"
#include "server/rpc/trace_context.h"

namespace mtm {
namespace {

// A client's own mistakes are told to the client alone: their texts quote what it sent.
bool IsServersFault(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kResourceExhausted:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string OnlyValue(const Metadata& metadata, const char* name) {
  const auto [first, last] = metadata.equal_range(name);
  if (first == last || std::next(first) != last) return "";
  return std::string(first->second.data(), first->second.size());
}

RpcCall::RpcCall(RpcCalls& calls, std::string_view rpc, std::string trace_id, absl::Status admission,
                 std::string authorization, Principal principal, Requester requester)
    : calls_(calls),
      admission_(std::move(admission)),
      authorization_(std::move(authorization)),
      principal_(std::move(principal)),
      requester_(std::move(requester)),
      start_(absl::Now()) {
  record_.rpc = std::string(rpc);
  record_.trace_id = std::move(trace_id);
  record_.principal = principal_.name();
}

absl::StatusOr<Principal> RpcCall::Identify() const { return calls_.Identify(authorization_); }

void RpcCall::set_status(const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  record_.status = status;
}

void RpcCall::set_memory(std::string_view reference) {
  const std::lock_guard lock(mutex_);
  record_.memory = std::string(reference);
}

void RpcCall::set_stats(const RequestStats& stats) {
  const std::lock_guard lock(mutex_);
  record_.stats = stats;
}

RpcCall::~RpcCall() {
  const std::lock_guard lock(mutex_);
  record_.duration = absl::Now() - start_;
  calls_.End(record_);
}

std::unique_ptr<RpcCall> RpcCalls::Begin(std::string_view rpc, grpc::ServerContextBase& context) {
  const auto trace = TraceContext::From(OnlyValue(context.client_metadata(), TraceContext::kMetadata));
  // Initial metadata would end gRPC's retries: a refusal that has it counts as an answer that has begun.
  context.AddTrailingMetadata(TraceContext::kMetadata, trace.ToTraceparent());
  std::string authorization = OnlyValue(context.client_metadata(), "authorization");
  const absl::StatusOr<Principal> identified = Identify(authorization);
  absl::Status admission = identified.status();
  const Principal principal = identified.ok() ? *identified : Principal();
  const std::lock_guard lock(mutex_);
  ++active_;
  if (draining_) admission = ShuttingDown();
  return std::make_unique<RpcCall>(*this, rpc, trace.trace_id, std::move(admission), std::move(authorization),
                                   principal, RequesterOf(principal, context));
}

absl::StatusOr<Principal> RpcCalls::Identify(const std::string& authorization) const {
  if (access_ == nullptr) return Principal();
  return access_->Authenticate(authorization);
}

void RpcCalls::End(const RpcRecord& record) {
  observer_(record);
  const std::lock_guard lock(mutex_);
  if (--active_ == 0) idle_.notify_all();
}

void RpcCalls::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

int RpcCalls::active() const {
  const std::lock_guard lock(mutex_);
  return active_;
}

bool RpcCalls::WaitUntilIdle(absl::Time deadline) const {
  std::unique_lock lock(mutex_);
  return idle_.wait_until(lock, absl::ToChronoTime(deadline), [this] { return active_ == 0; });
}

void LogRpc(const RpcRecord& record) {
  const absl::StatusCode code = record.status.code();
  const bool fault = IsServersFault(code);
  const std::string principal = record.principal.empty() ? "" : absl::StrCat(" principal=", record.principal);
  const std::string memory = record.memory.empty() ? "" : absl::StrCat(" memory=", record.memory);
  std::string error;
  if (fault) error = absl::StrCat(" error=\"", absl::CEscape(record.status.message()), "\"");
  spdlog::log(fault ? spdlog::level::warn : spdlog::level::info,
              "rpc={}{}{} status={} prompt_tokens={} generated_tokens={} seconds={:.3f} trace={}{}",
              record.rpc, principal, memory, absl::StatusCodeToString(code), record.stats.usage.prompt_tokens,
              record.stats.usage.generated_tokens, absl::ToDoubleSeconds(record.duration), record.trace_id,
              error);
}

}  // namespace mtm
