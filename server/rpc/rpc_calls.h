// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_RPC_CALLS_H_
#define MTM_SERVER_RPC_RPC_CALLS_H_

#include <grpcpp/server_context.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/generation/request.h"
#include "server/generation/waiting_line.h"
#include "server/rpc/access.h"

namespace mtm {

// What is known of an rpc when it has ended. Never holds a prompt or another text of the client's.
struct RpcRecord {
  std::string rpc;
  std::string trace_id;   // W3C's: the caller's, or one of our own
  std::string principal;  // name of its token; empty: none is wanted, or it is not known
  std::string memory;  // that it reads or changes, as `name` or `name@digest`; empty: none, or no proper name
  absl::Status status;
  RequestStats stats;  // of a generation or a score
  absl::Duration duration;
};

class RpcCalls;

// One rpc under way, from its first byte to its last. Thread-safe.
class RpcCall {
 public:
  RpcCall(RpcCalls& calls, std::string_view rpc, std::string trace_id, absl::Status admission,
          std::string authorization, Principal principal, Requester requester);
  // The rpc has ended: it is counted out and observed.
  ~RpcCall();
  RpcCall(const RpcCall&) = delete;
  RpcCall& operator=(const RpcCall&) = delete;

  // OK; UNAVAILABLE where the server was draining when it came; UNAUTHENTICATED.
  const absl::Status& admission() const { return admission_; }

  // Who it is done for, with the rights of when it came.
  const Principal& principal() const { return principal_; }

  // The same for those who let clients take turns.
  const Requester& requester() const { return requester_; }

  // The same with the rights of now, for a stream that may outlive them. UNAUTHENTICATED: the token is gone.
  absl::StatusOr<Principal> Identify() const;

  void set_status(const absl::Status& status);
  void set_memory(std::string_view reference);  // one that was checked
  void set_stats(const RequestStats& stats);

 private:
  RpcCalls& calls_;
  const absl::Status admission_;
  const std::string authorization_;
  const Principal principal_;
  const Requester requester_;
  const absl::Time start_;
  std::mutex mutex_;
  RpcRecord record_;  // under the mutex
};

// All rpcs under way. Thread-safe; outlives its calls.
class RpcCalls {
 public:
  using Observer = std::function<void(const RpcRecord&)>;

  // `observer` is called once for each rpc when it has ended, from any thread. `access` knows who may do
  // what, and outlives this; null: everybody everything.
  explicit RpcCalls(Observer observer, Access* access = nullptr)
      : observer_(std::move(observer)), access_(access) {}

  // Every rpc of the services begins here. The answer's trailing metadata gets its place in the caller's
  // trace.
  std::unique_ptr<RpcCall> Begin(std::string_view rpc, grpc::ServerContextBase& context);

  // From now on rpcs are refused.
  void Drain();

  // Under way.
  int active() const;

  // False where some were still under way at the deadline.
  bool WaitUntilIdle(absl::Time deadline) const;

 private:
  friend class RpcCall;
  absl::StatusOr<Principal> Identify(const std::string& authorization) const;
  void End(const RpcRecord& record);

  const Observer observer_;
  Access* const access_;
  mutable std::mutex mutex_;  // guards what follows
  mutable std::condition_variable idle_;
  int active_ = 0;
  bool draining_ = false;
};

using Metadata = std::multimap<grpc::string_ref, grpc::string_ref>;

// The value of a name that stands there once; otherwise empty: whoever sits between may have looked at
// another one.
std::string OnlyValue(const Metadata& metadata, const char* name);

// Writes one line to the log.
void LogRpc(const RpcRecord& record);

}  // namespace mtm

#endif  // MTM_SERVER_RPC_RPC_CALLS_H_
