// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

#include "mtm/v1/memory_service.pb.h"
#include "server/rpc/convert.h"
#include "server/rpc/memory_filter.h"
#include "server/rpc/memory_streams.h"
#include "server/rpc/response_stream.h"

namespace mtm {
namespace {

// What a client does not know yet, one event at a time. It has been told one catalog and is being told
// another; they share the records that are the same, so that a client costs two maps, however slowly it
// reads. Not thread-safe.
class CatalogChanges {
 public:
  void set_filter(MemoryFilter filter) { filter_ = std::move(filter); }
  void set_reader(Principal reader) { filter_.set_reader(std::move(reader)); }

  // The next event on the way from what was told to `latest`, or nothing where the two are one.
  std::optional<v1::WatchMemoriesResponse> Next(const std::shared_ptr<const Catalog>& latest) {
    for (;;) {
      if (telling_ == nullptr) {
        if (told_ == latest) return std::nullopt;
        Begin(latest);
      }
      if (auto event = Step()) return event;
      if (old_ != told_->end() || new_ != telling_->end()) continue;
      told_ = std::exchange(telling_, nullptr);
      if (!std::exchange(synced_, true)) {
        v1::WatchMemoriesResponse event;
        event.mutable_synced();
        return event;
      }
    }
  }

 private:
  using Iterator = Catalog::const_iterator;

  void Begin(std::shared_ptr<const Catalog> latest) {
    telling_ = std::move(latest);
    old_ = told_->begin();
    new_ = telling_->begin();
  }

  // Past one name of either catalog.
  std::optional<v1::WatchMemoriesResponse> Step() {
    const bool has_old = old_ != told_->end();
    const bool has_new = new_ != telling_->end();
    if (!has_old && !has_new) return std::nullopt;
    const bool old_first = has_old && (!has_new || old_->first < new_->first);
    const bool new_first = has_new && (!has_old || new_->first < old_->first);
    const MemoryRecord* before = new_first ? nullptr : (old_++)->second.get();
    const MemoryRecord* after = old_first ? nullptr : (new_++)->second.get();
    if (before == after) return std::nullopt;
    v1::WatchMemoriesResponse event;
    if (after != nullptr && filter_.Matches(*after)) {
      *event.mutable_updated() = ToProto(*after, /*with_versions=*/false);
    } else if (before != nullptr && filter_.Matches(*before)) {
      event.set_deleted(before->info.name);
    } else {
      return std::nullopt;
    }
    return event;
  }

  MemoryFilter filter_;
  std::shared_ptr<const Catalog> told_ = std::make_shared<const Catalog>();
  std::shared_ptr<const Catalog> telling_;  // null: nothing under way
  Iterator old_, new_;                      // the next of each
  bool synced_ = false;
};

class Watch final : public ResponseStream<WriteReactor>, public std::enable_shared_from_this<Watch> {
 public:
  Watch(WriteReactor* reactor, RpcCall* call, Backend& backend)
      : ResponseStream(reactor, call, backend.max_queued_messages), backend_(backend) {}

  void Start(const v1::WatchMemoriesRequest& request) {
    FieldErrors errors;
    changes_.set_filter(MemoryFilter("filter", request.filter(), errors));
    if (!errors.empty()) {
      Finish(errors.ToStatus());
      return;
    }
    listener_ = backend_.store.Listen([this] { Wake(); });
    drained_.emplace(backend_.draining, [this] { Finish(ShuttingDown()); });
    Send();
  }

 private:
  // On the thread of whoever changed the store, which must not wait for a client's mutex.
  void Wake() {
    if (woken_.exchange(true)) return;
    backend_.worker.Run([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->Send();
    });
  }

  // The rights of now. What they were before decides nothing, and neither is told what only they changed.
  absl::Status Identify() {
    absl::StatusOr<Principal> reader = ClientLeft();
    IfOpen([&](WriteReactor&, RpcCall& call) { reader = call.Identify(); });
    if (reader.ok()) changes_.set_reader(*std::move(reader));
    return reader.status();
  }

  // Whatever there is to tell and room for.
  void Send() {
    const std::lock_guard lock(mutex_);
    woken_.store(false);  // what changes from here on wakes again
    const absl::Status status = Identify();
    if (!status.ok()) Finish(status);
    while (!finished() && HasRoom()) {
      const auto event = changes_.Next(backend_.store.catalog());
      if (!event || !Write(*event)) return;
    }
  }
  void OnRoom() override { Send(); }

  Backend& backend_;
  std::atomic<bool> woken_ = false;
  std::mutex mutex_;
  CatalogChanges changes_;  // under the mutex

  // The first to go: their ends wait for calls under way.
  std::shared_ptr<void> listener_;
  std::optional<std::stop_callback<std::function<void()>>> drained_;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchMemories(Backend& backend,
                                                          grpc::CallbackServerContext& context,
                                                          const grpc::ByteBuffer& request) {
  return StreamAnswer<v1::WatchMemoriesRequest, Watch>("WatchMemories", backend, context, request);
}

}  // namespace mtm
