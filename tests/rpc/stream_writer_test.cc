// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/stream_writer.h"

#include <grpcpp/support/slice.h>

#include <condition_variable>
#include <mutex>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

grpc::ByteBuffer Bytes(const std::string& text) {
  const grpc::Slice slice(text);
  return {&slice, 1};
}

std::string TextOf(const grpc::ByteBuffer& message) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(message.Dump(&slices).ok());
  return {reinterpret_cast<const char*>(slices[0].begin()), slices[0].size()};
}

// A reactor that a test steps by hand.
struct ManualReactor {
  void StartWrite(const grpc::ByteBuffer* message) {
    EXPECT_FALSE(writing);
    EXPECT_FALSE(finished);
    writing = true;
    written.push_back(TextOf(*message));
  }
  void Finish(const grpc::Status& status) {
    EXPECT_FALSE(writing);
    EXPECT_FALSE(finished) << "finished twice";
    finished = true;
    code = status.error_code();
  }

  bool writing = false;
  bool finished = false;
  grpc::StatusCode code = grpc::StatusCode::UNKNOWN;
  std::vector<std::string> written;
};

// A reactor whose writes another thread waits for.
class Mailbox {
 public:
  void StartWrite(const grpc::ByteBuffer* message) {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(writing_ || finished_);
    writing_ = true;
    written_.push_back(TextOf(*message));
    changed_.notify_all();
  }
  void Finish(const grpc::Status&) {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(writing_ || finished_);
    finished_ = true;
    changed_.notify_all();
  }
  // False where the stream is finished.
  bool WaitForWrite() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return writing_ || finished_; });
    return std::exchange(writing_, false);
  }
  std::vector<std::string> written() const { return written_; }

 private:
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool writing_ = false;
  bool finished_ = false;
  std::vector<std::string> written_;
};

class StreamWriterTest : public testing::Test {
 protected:
  bool WriteDone(bool ok = true) {
    reactor_.writing = false;
    return writer_.OnWriteDone(ok);
  }

  ManualReactor reactor_;
  StreamWriter<ManualReactor> writer_{&reactor_, 4};
};

TEST_F(StreamWriterTest, OneWriteIsOutstandingAndTheOrderKept) {
  EXPECT_TRUE(writer_.Write(Bytes("a")));
  EXPECT_TRUE(writer_.Write(Bytes("b")));
  EXPECT_TRUE(writer_.Write(Bytes("c")));
  EXPECT_THAT(reactor_.written, ElementsAre("a"));
  WriteDone();
  WriteDone();
  EXPECT_THAT(reactor_.written, ElementsAre("a", "b", "c"));
}

TEST_F(StreamWriterTest, FinishesBehindTheLastWrite) {
  writer_.Write(Bytes("a"));
  writer_.Write(Bytes("b"));
  writer_.Finish(grpc::Status::OK);
  EXPECT_FALSE(writer_.Write(Bytes("late")));
  WriteDone();
  EXPECT_FALSE(reactor_.finished);
  WriteDone();
  EXPECT_TRUE(reactor_.finished);
  EXPECT_EQ(reactor_.code, grpc::StatusCode::OK);
  EXPECT_THAT(reactor_.written, ElementsAre("a", "b"));
  writer_.Finish(grpc::Status::CANCELLED);
}

TEST_F(StreamWriterTest, FinishesAtOnceWhereNothingIsToWrite) {
  writer_.Finish(grpc::Status::CANCELLED);
  EXPECT_EQ(reactor_.code, grpc::StatusCode::CANCELLED);
}

TEST_F(StreamWriterTest, AClientThatLeftGetsNothingMore) {
  writer_.Write(Bytes("a"));
  writer_.Write(Bytes("b"));
  writer_.OnCancel();
  EXPECT_FALSE(writer_.Write(Bytes("c")));
  EXPECT_TRUE(writer_.HasRoom()) << "nothing to wait for";
  writer_.Finish(grpc::Status::CANCELLED);
  EXPECT_FALSE(reactor_.finished) << "a write is outstanding";
  WriteDone(false);
  EXPECT_TRUE(reactor_.finished);
  EXPECT_THAT(reactor_.written, ElementsAre("a"));
}

TEST_F(StreamWriterTest, AFailedWriteIsTheEnd) {
  writer_.Write(Bytes("a"));
  writer_.Write(Bytes("b"));
  WriteDone(false);
  EXPECT_FALSE(writer_.Write(Bytes("c")));
  writer_.Finish(grpc::Status::OK);
  EXPECT_TRUE(reactor_.finished);
  EXPECT_THAT(reactor_.written, ElementsAre("a"));
}

TEST_F(StreamWriterTest, RoomComesBackWhenHalfIsWritten) {
  writer_.Write(Bytes("outstanding"));
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(writer_.HasRoom());
    writer_.Write(Bytes("queued"));
  }
  EXPECT_FALSE(writer_.HasRoom());
  EXPECT_FALSE(WriteDone());
  EXPECT_TRUE(WriteDone());
  EXPECT_FALSE(WriteDone()) << "told once";
  EXPECT_TRUE(writer_.HasRoom());
}

TEST_F(StreamWriterTest, NobodyIsToldOfRoomThatWasNotMissed) {
  for (int i = 0; i < 5; ++i) writer_.Write(Bytes("x"));
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(WriteDone());
}

TEST_F(StreamWriterTest, ReplaceableMessagesGiveWay) {
  writer_.Write(Bytes("1"), true);
  writer_.Write(Bytes("2"), true);
  writer_.Write(Bytes("3"), true);
  WriteDone();
  EXPECT_THAT(reactor_.written, ElementsAre("1", "3"));
  writer_.Write(Bytes("4"), true);
  writer_.Write(Bytes("last"));
  WriteDone();
  EXPECT_THAT(reactor_.written, ElementsAre("1", "3", "last"));
}

// One thread writes when there is room, another ends the writes, a third leaves in half of the rounds: what
// engine and gRPC do, where ThreadSanitizer can see it.
TEST(StreamWriterThreadsTest, ProducerReaderAndCancelMayMeet) {
  for (int round = 0; round < 200; ++round) {
    Mailbox mailbox;
    StreamWriter<Mailbox> writer(&mailbox, 4);
    std::counting_semaphore<> room(0);
    std::thread reader([&] {
      while (mailbox.WaitForWrite()) {
        if (writer.OnWriteDone(true)) room.release();
      }
    });
    std::thread client([&] {
      if (round % 2 == 0) writer.OnCancel();
      room.release();
    });
    for (int i = 0; i < 50; ++i) {
      while (!writer.HasRoom()) room.acquire();
      writer.Write(Bytes(std::to_string(i)));
    }
    writer.Finish(grpc::Status::OK);
    client.join();
    reader.join();
    const std::vector<std::string> written = mailbox.written();
    EXPECT_TRUE(round % 2 == 0 || written.size() == 50) << written.size();
    for (size_t i = 0; i < written.size(); ++i) EXPECT_EQ(written[i], std::to_string(i));
  }
}

}  // namespace
}  // namespace mtm
