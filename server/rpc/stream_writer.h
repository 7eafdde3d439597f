// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_STREAM_WRITER_H_
#define MTM_SERVER_RPC_STREAM_WRITER_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace mtm {

// The messages on their way to a client, for a ServerWriteReactor or ServerBidiReactor of byte buffers: one
// write outstanding, the rest queued; the reactor is finished behind the last one and never touched again. It
// must not be finished in another way, so that it lives for as long as the writer needs it. Thread-safe.
template <typename Reactor>
class StreamWriter {
 public:
  // `reactor` passes OnWriteDone and OnCancel on. HasRoom is false from `max_queued` messages on.
  StreamWriter(Reactor* reactor, size_t max_queued) : max_queued_(max_queued), reactor_(reactor) {}

  // False, and the message is dropped, where the client is gone or the writer finished. A `replaceable`
  // message that was not yet begun gives way to the next one.
  bool Write(grpc::ByteBuffer message, bool replaceable = false) {
    const std::lock_guard lock(mutex_);
    if (gone_ || status_) return false;
    if (!queue_.empty() && queue_.back().replaceable) queue_.pop_back();
    queue_.push_back({std::move(message), replaceable});
    Pump();
    return true;
  }

  // Ends the rpc when everything is written, or the client gone. Only the first call counts.
  void Finish(grpc::Status status) {
    const std::lock_guard lock(mutex_);
    if (status_) return;
    status_ = std::move(status);
    Pump();
  }

  // Every false that it returns is followed by a true of OnWriteDone, or by OnCancel.
  bool HasRoom() {
    const std::lock_guard lock(mutex_);
    const bool room = gone_ || queue_.size() < max_queued_;
    if (!room) full_ = true;
    return room;
  }

  // True where there is room again after HasRoom found none.
  bool OnWriteDone(bool ok) {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) Leave();
    Pump();
    // Not at each message, so that the producer does not stop and go.
    if (!full_ || queue_.size() > max_queued_ / 2) return false;
    full_ = false;
    return true;
  }

  void OnCancel() {
    const std::lock_guard lock(mutex_);
    Leave();
    Pump();
  }

 private:
  struct Message {
    grpc::ByteBuffer bytes;
    bool replaceable;
  };

  // With the mutex held, as Pump.
  void Leave() {
    gone_ = true;
    queue_.clear();
  }

  // No reaction runs inside of gRPC's Start calls, so they may be made under the lock.
  void Pump() {
    if (writing_ || reactor_ == nullptr) return;
    if (!queue_.empty()) {
      writing_ = true;
      current_ = std::move(queue_.front().bytes);
      queue_.pop_front();
      reactor_->StartWrite(&current_);
    } else if (status_) {
      std::exchange(reactor_, nullptr)->Finish(*status_);
    }
  }

  const size_t max_queued_;
  std::mutex mutex_;  // guards what follows
  Reactor* reactor_;
  std::deque<Message> queue_;
  grpc::ByteBuffer current_;
  std::optional<grpc::Status> status_;
  bool writing_ = false;
  bool gone_ = false;
  bool full_ = false;
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_STREAM_WRITER_H_
