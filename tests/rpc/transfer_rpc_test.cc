// SPDX-License-Identifier: Apache-2.0
// ExportMemory and ImportMemory.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/memories_fixture.h"

namespace mtm {
namespace {

using testing::ElementsAre;
using testing::Gt;
using testing::HasSubstr;
using testing::SizeIs;

class TransferRpcTest : public MemoriesFixture {
 protected:
  TransferRpcTest() {
    AddMemory(SmallModel(), *store_, "a", {1, 2, 3, 4}, 100, 5000);  // 2.5 MB: several pieces
    a_ = Get("a");
  }

  using ImportStream = grpc::ClientReaderWriter<v1::ImportMemoryRequest, v1::ImportMemoryResponse>;

  grpc::Status Export(const std::string& request, std::string* bytes,
                      v1::ExportMemoryResponse::Header* header = nullptr) {
    grpc::ClientContext context;
    const auto reader =
        server_->memories().ExportMemory(&context, FromText<v1::ExportMemoryRequest>(request));
    bool first = true;
    for (v1::ExportMemoryResponse event; reader->Read(&event); first = false) {
      EXPECT_EQ(event.has_header(), first);
      if (header != nullptr && event.has_header()) *header = event.header();
      bytes->append(event.data());
    }
    return reader->Finish();
  }
  std::string Export(const std::string& request) {
    std::string bytes;
    const grpc::Status status = Export(request, &bytes);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return bytes;
  }

  static v1::ImportMemoryRequest Spec(const std::string& name, const std::string& digest, size_t total) {
    v1::ImportMemoryRequest message;
    message.mutable_spec()->set_name(name);
    message.mutable_spec()->set_digest(digest);
    message.mutable_spec()->set_total_bytes(static_cast<int64_t>(total));
    return message;
  }
  static v1::ImportMemoryRequest Data(const std::string& data) {
    v1::ImportMemoryRequest message;
    message.set_data(data);
    return message;
  }

  // Sends what `resume` asks for of `bytes`, in pieces; the last event that came.
  grpc::Status Import(const v1::ImportMemoryRequest& spec, const std::string& bytes,
                      v1::Memory* memory = nullptr, int64_t* resumed_at = nullptr) {
    grpc::ClientContext context;
    const auto stream = server_->memories().ImportMemory(&context);
    stream->Write(spec);
    v1::ImportMemoryResponse event;
    if (!stream->Read(&event)) return stream->Finish();
    if (event.has_resume()) {
      if (resumed_at != nullptr) *resumed_at = event.resume().offset();
      constexpr size_t kPiece = 300'000;
      for (size_t at = static_cast<size_t>(event.resume().offset()); at < bytes.size(); at += kPiece) {
        if (!stream->Write(Data(bytes.substr(at, kPiece)))) break;
      }
      stream->WritesDone();
      stream->Read(&event);
    }
    if (memory != nullptr) *memory = event.memory();
    return stream->Finish();
  }

  v1::Memory a_;
};

TEST_F(TransferRpcTest, AnExportComesInUnderAnotherNameWithItsDigest) {
  std::string bytes;
  v1::ExportMemoryResponse::Header header;
  ASSERT_TRUE(Export("name: 'a'", &bytes, &header).ok());
  EXPECT_EQ(header.digest(), a_.digest());
  EXPECT_EQ(header.total_bytes(), static_cast<int64_t>(bytes.size()));
  EXPECT_THAT(bytes, SizeIs(Gt(2 << 20)));
  EXPECT_EQ(server_->records().Take("ExportMemory").memory, "a");

  auto spec = Spec("team/b", header.digest(), bytes.size());
  (*spec.mutable_spec()->mutable_labels())["stage"] = "live";
  v1::Memory memory;
  const grpc::Status status = Import(spec, bytes, &memory);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(memory.name(), "team/b");
  EXPECT_EQ(memory.digest(), a_.digest());
  EXPECT_EQ(memory.source_digest(), a_.source_digest());
  EXPECT_EQ(memory.labels().at("stage"), "live");
  EXPECT_EQ(Export("name: 'team/b'"), bytes);
  EXPECT_EQ(server_->records().Take("ImportMemory").memory, "team/b@" + a_.digest());
}

TEST_F(TransferRpcTest, AMemoryMovesToAnotherFolder) {
  const std::string bytes = Export("name: 'a'");
  Must(&Stub::DeleteMemory, "name: 'a'");
  v1::Memory memory;
  ASSERT_TRUE(Import(Spec("b", a_.digest(), bytes.size()), bytes, &memory).ok());
  EXPECT_EQ(memory.digest(), a_.digest());
  server_->Generate("prompt: 'Hi' memory_uses { memory: 'b' layers: 1 }");
  Restart();
  server_->Generate("prompt: 'Hi' memory_uses { memory: 'b' layers: 1 }");
}

TEST_F(TransferRpcTest, AnExportGoesOnFromAnOffset) {
  const std::string bytes = Export("name: 'a'");
  for (const size_t offset : {size_t{1}, size_t{1'234'567}, bytes.size() - 1, bytes.size()}) {
    EXPECT_EQ(Export(absl::StrCat("name: 'a' offset: ", offset)), bytes.substr(offset)) << offset;
  }
}

TEST_F(TransferRpcTest, BadExportsAreRefused) {
  std::string bytes;
  const std::string end = absl::StrCat(Export("name: 'a'").size());
  EXPECT_EQ(Export("name: 'b'", &bytes).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(Violations(Export("name: 'A' offset: -1", &bytes)),
              ElementsAre(HasSubstr("name: "), HasSubstr("offset: is -1")));
  EXPECT_THAT(Violations(Export("name: 'a' offset: 999999999", &bytes)),
              ElementsAre("offset: is 999999999; must be 0 to " + end));
  EXPECT_EQ(bytes, "");
}

TEST_F(TransferRpcTest, AnExportThatIsNotReadEndsWithItsClient) {
  grpc::ClientContext context;
  const auto reader =
      server_->memories().ExportMemory(&context, FromText<v1::ExportMemoryRequest>("name: 'a'"));
  v1::ExportMemoryResponse event;
  ASSERT_TRUE(reader->Read(&event));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(server_->records().Take("ExportMemory").status.code(), absl::StatusCode::kCancelled);
}

TEST_F(TransferRpcTest, StalledTransfersDoNotKeepAServerUp) {
  ServerOptions options;
  options.shutdown_grace_ms = 0;
  Restart({}, options);
  grpc::ClientContext export_context, import_context;
  const auto reader =
      server_->memories().ExportMemory(&export_context, FromText<v1::ExportMemoryRequest>("name: 'a'"));
  v1::ExportMemoryResponse exported;
  ASSERT_TRUE(reader->Read(&exported));
  const auto stream = server_->memories().ImportMemory(&import_context);
  ASSERT_TRUE(stream->Write(Spec("b", a_.digest(), 1'000'000)));
  v1::ImportMemoryResponse imported;
  ASSERT_TRUE(stream->Read(&imported));
  server_->server().Shutdown();
  while (reader->Read(&exported)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
  EXPECT_FALSE(stream->Read(&imported));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TransferRpcTest, ABrokenImportGoesOnWhereItWas) {
  const std::string bytes = Export("name: 'a'");
  constexpr size_t kSent = 1'000'000;
  {
    grpc::ClientContext context;
    const auto stream = server_->memories().ImportMemory(&context);
    ASSERT_TRUE(stream->Write(Spec("b", a_.digest(), bytes.size())));
    v1::ImportMemoryResponse event;
    ASSERT_TRUE(stream->Read(&event));
    EXPECT_EQ(event.resume().offset(), 0);
    ASSERT_TRUE(stream->Write(Data(bytes.substr(0, kSent))));
    ASSERT_TRUE(stream->Write(Data(bytes.substr(kSent, 1))));
    context.TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
    EXPECT_EQ(server_->records().Take("ImportMemory").status.code(), absl::StatusCode::kCancelled);
  }
  EXPECT_EQ(Fails(&Stub::GetMemory, "name: 'b'").error_code(), grpc::StatusCode::NOT_FOUND);
  Restart();
  v1::Memory memory;
  int64_t resumed_at = -1;
  ASSERT_TRUE(Import(Spec("b", a_.digest(), bytes.size()), bytes, &memory, &resumed_at).ok());
  EXPECT_LE(resumed_at, static_cast<int64_t>(kSent + 1));
  EXPECT_EQ(memory.digest(), a_.digest());
}

TEST_F(TransferRpcTest, AnImportClosedTooEarlyKeepsWhatCame) {
  const std::string bytes = Export("name: 'a'");
  const auto spec = Spec("b", a_.digest(), bytes.size());
  const grpc::Status status = Import(spec, bytes.substr(0, 1'000'000));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << status.error_message();
  int64_t resumed_at = -1;
  ASSERT_TRUE(Import(spec, bytes, nullptr, &resumed_at).ok());
  EXPECT_EQ(resumed_at, 1'000'000);
}

TEST_F(TransferRpcTest, OtherBytesAreNoMemory) {
  std::string bytes = Export("name: 'a'");
  bytes[bytes.size() / 2] ^= 1;
  const auto spec = Spec("b", a_.digest(), bytes.size());
  EXPECT_EQ(Import(spec, bytes).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Import(spec, "no memory at all\n" + bytes.substr(17)).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Fails(&Stub::GetMemory, "name: 'b'").error_code(), grpc::StatusCode::NOT_FOUND);
  bytes[bytes.size() / 2] ^= 1;
  EXPECT_TRUE(Import(spec, bytes).ok());
}

TEST_F(TransferRpcTest, BadImportsAreRefusedBeforeTheBytes) {
  EXPECT_EQ(Import(Spec("a", a_.digest(), 1'000'000), "").error_code(), grpc::StatusCode::ALREADY_EXISTS);
  auto spec = Spec("B", "x", 0);
  (*spec.mutable_spec()->mutable_labels())["A"] = "";
  spec.mutable_spec()->set_request_id("\x01");
  EXPECT_THAT(
      Violations(Import(spec, "")),
      ElementsAre(HasSubstr("spec.name: "), HasSubstr("spec.digest: "), HasSubstr("spec.total_bytes: "),
                  HasSubstr("spec.labels[A]: "), HasSubstr("spec.request_id: ")));
  EXPECT_THAT(Violations(Import(Data("bytes"), "")),
              ElementsAre("spec: is missing; the first message must be `spec`"));
  grpc::ClientContext context;
  const auto stream = server_->memories().ImportMemory(&context);
  stream->WritesDone();
  EXPECT_THAT(Violations(stream->Finish()),
              ElementsAre("spec: is missing; the first message must be `spec`"));
}

TEST_F(TransferRpcTest, AnImportWithAnIdThatSucceededIsAnsweredAtOnce) {
  const std::string bytes = Export("name: 'a'");
  auto spec = Spec("b", a_.digest(), bytes.size());
  spec.mutable_spec()->set_request_id("import-1");
  v1::Memory first, again;
  ASSERT_TRUE(Import(spec, bytes, &first).ok());
  ASSERT_TRUE(Import(spec, "", &again).ok());
  EXPECT_EQ(again.DebugString(), first.DebugString());
}

TEST_F(TransferRpcTest, AServerThatOnlyReadsExportsAndImportsNothing) {
  StoreOptions options;
  options.read_only = true;
  Restart(options);
  const std::string bytes = Export("name: 'a'");
  EXPECT_EQ(Import(Spec("b", a_.digest(), bytes.size()), bytes).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace mtm
