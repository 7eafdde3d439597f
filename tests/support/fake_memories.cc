// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/fake_service.h"

namespace mtm {

class FakeMemories final : public v1::MemoryService::Service {
 public:
  explicit FakeMemories(FakeState& state) : state_(state) {}

  // ---- Writes that run the model.

  using Writer = grpc::ServerWriter<v1::WriteMemoryResponse>;
  template <typename Request>
  using Stream = grpc::ServerReaderWriter<v1::WriteMemoryResponse, Request>;

  grpc::Status CreateMemory(grpc::ServerContext* context, Stream<v1::CreateMemoryRequest>* stream) override {
    return Take(context, *stream, /*must_exist=*/false, [](Memory& memory, const Piece& piece) {
      memory.versions.push_back({{piece}, ""});
    });
  }

  grpc::Status ReplaceMemory(grpc::ServerContext* context, Stream<v1::CreateMemoryRequest>* stream) override {
    return Take(context, *stream, /*must_exist=*/true, [](Memory& memory, const Piece& piece) {
      memory.versions.push_back({{piece}, ""});
    });
  }

  grpc::Status AppendToMemory(grpc::ServerContext* context,
                              Stream<v1::AppendToMemoryRequest>* stream) override {
    return Take(context, *stream, /*must_exist=*/true, [](Memory& memory, const Piece& piece) {
      Version version = memory.versions.back();
      version.pieces.push_back(piece);
      memory.versions.push_back(version);
    });
  }

  grpc::Status ForgetFromMemory(grpc::ServerContext*, const v1::ForgetFromMemoryRequest* request,
                                Writer* writer) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex_);
    Memory* memory = Find(request->name());
    if (memory == nullptr) return Missing(request->name());
    Version version = memory->versions.back();
    if (request->has_source()) {
      std::erase_if(version.pieces, [&](const Piece& piece) { return piece.first == request->source(); });
    }
    if (request->purge_older_versions()) memory->versions.clear();
    memory->versions.push_back(version);
    return Finish(request->name(), request->options(), *writer);
  }

  grpc::Status WatchWrite(grpc::ServerContext*, const v1::WatchWriteRequest* request,
                          Writer* writer) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex_);
    const auto done = state_.writes_.find(request->request_id());
    if (done == state_.writes_.end()) {
      return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no write ", request->request_id())};
    }
    v1::WriteMemoryResponse response;
    *response.mutable_memory() = done->second;
    writer->Write(response);
    return grpc::Status::OK;
  }

  // ---- Other writes.

  grpc::Status RollbackMemory(grpc::ServerContext*, const v1::RollbackMemoryRequest* request,
                              v1::Memory* response) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    return Once(request->request_id(), response, [&](v1::Memory& result) {
      Memory* memory = Find(request->name());
      if (memory == nullptr) return Missing(request->name());
      for (const Version& version : memory->versions) {
        if (!absl::StartsWith(version.digest, request->digest())) continue;
        memory->versions.push_back(Version(version));
        result = Describe(request->name(), *memory);
        return grpc::Status::OK;
      }
      return grpc::Status(grpc::StatusCode::NOT_FOUND, absl::StrCat("no version ", request->digest()));
    });
  }

  grpc::Status CopyMemory(grpc::ServerContext*, const v1::CopyMemoryRequest* request,
                          v1::Memory* response) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    return Once(request->request_id(), response, [&](v1::Memory& result) {
      Memory* memory = Find(request->source());
      if (memory == nullptr) return Missing(request->source());
      if (state_.memories_.contains(request->destination())) return Taken(request->destination());
      Memory copy = *memory;
      result = Describe(request->destination(), state_.memories_[request->destination()] = copy);
      return grpc::Status::OK;
    });
  }

  grpc::Status UpdateMemory(grpc::ServerContext*, const v1::UpdateMemoryRequest* request,
                            v1::Memory* response) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex_);
    Memory* memory = Find(request->name());
    if (memory == nullptr) return Missing(request->name());
    if (request->has_labels()) *memory->listed.mutable_labels() = request->labels().labels();
    if (request->has_metadata()) *memory->listed.mutable_metadata() = request->metadata();
    *response = Describe(request->name(), *memory);
    return grpc::Status::OK;
  }

  grpc::Status DeleteMemory(grpc::ServerContext*, const v1::DeleteMemoryRequest* request,
                            v1::DeleteMemoryResponse*) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    v1::Memory deleted;
    return Once(request->request_id(), &deleted, [&](v1::Memory&) {
      return state_.memories_.erase(request->name()) ? grpc::Status::OK : Missing(request->name());
    });
  }

  // ---- Reading.

  grpc::Status GetMemory(grpc::ServerContext*, const v1::GetMemoryRequest* request,
                         v1::Memory* response) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex_);
    const Memory* memory = Find(request->name());
    if (memory == nullptr) return Missing(request->name());
    *response = Describe(request->name(), *memory);
    for (const Version& version : memory->versions) {
      response->add_versions()->set_digest(version.digest);
      response->mutable_versions()->rbegin()->set_token_count(TokenCount(version));
    }
    return grpc::Status::OK;
  }

  // Two memories a page, whatever size is asked for.
  grpc::Status ListMemories(grpc::ServerContext*, const v1::ListMemoriesRequest* request,
                            v1::ListMemoriesResponse* response) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex_);
    for (const auto& [name, memory] : state_.memories_) {
      if (name <= request->page_token() || !absl::StartsWith(name, request->filter().name_prefix())) continue;
      if (response->memories_size() == 2) {
        response->set_next_page_token(response->memories(1).name());
        break;
      }
      *response->add_memories() = Describe(name, memory);
    }
    return grpc::Status::OK;
  }

  // Nothing changes while somebody watches, but for a memory that was never there.
  grpc::Status WatchMemories(grpc::ServerContext* context, const v1::WatchMemoriesRequest* request,
                             grpc::ServerWriter<v1::WatchMemoriesResponse>* writer) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    v1::WatchMemoriesResponse event;
    {
      const std::lock_guard lock(state_.mutex_);
      for (const auto& [name, memory] : state_.memories_) {
        *event.mutable_updated() = Describe(name, memory);
        writer->Write(event);
      }
    }
    event.mutable_synced();
    writer->Write(event);
    event.set_deleted("gone");
    writer->Write(event);
    state_.Hang(context);
    return grpc::Status::CANCELLED;
  }

  grpc::Status LoadMemory(grpc::ServerContext*, const v1::LoadMemoryRequest* request,
                          v1::Memory* response) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    return SetState(request->name(), v1::Memory::STATE_RESIDENT, response);
  }

  grpc::Status UnloadMemory(grpc::ServerContext*, const v1::UnloadMemoryRequest* request,
                            v1::Memory* response) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    return SetState(request->name(), v1::Memory::STATE_ON_DISK, response);
  }

  using CheckWriter = grpc::ServerWriter<v1::CheckMemoryResponse>;

  grpc::Status VerifyMemory(grpc::ServerContext*, const v1::VerifyMemoryRequest* request,
                            CheckWriter* writer) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    return CheckAll(request->name(), *writer);
  }

  grpc::Status RebuildIndex(grpc::ServerContext*, const v1::RebuildIndexRequest* request,
                            CheckWriter* writer) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    return CheckAll(request->name(), *writer);
  }

  // ---- Between servers.

  grpc::Status ExportMemory(grpc::ServerContext*, const v1::ExportMemoryRequest* request,
                            grpc::ServerWriter<v1::ExportMemoryResponse>* writer) override {
    if (auto status = state_.Begin(request); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex_);
    const Memory* memory = Find(request->name());
    if (memory == nullptr) return Missing(request->name());
    const std::string bytes = ExportOf(memory->versions.back());
    const auto offset = static_cast<size_t>(request->offset());
    if (offset > bytes.size()) return BadRequestStatus({{"offset", "is beyond the end"}});
    v1::ExportMemoryResponse response;
    response.mutable_header()->set_digest(memory->versions.back().digest);
    response.mutable_header()->set_total_bytes(static_cast<int64_t>(bytes.size()));
    writer->Write(response);
    const size_t broken = std::exchange(state_.break_transfer_, 0);
    response.set_data(broken > 0 ? bytes.substr(offset, broken) : bytes.substr(offset));
    writer->Write(response);
    return broken > 0 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken") : grpc::Status::OK;
  }

  grpc::Status ImportMemory(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::ImportMemoryResponse, v1::ImportMemoryRequest>* stream) override {
    v1::ImportMemoryRequest request;
    if (!stream->Read(&request) || !request.has_spec())
      return BadRequestStatus({{"spec", "must come first"}});
    const v1::ImportMemoryRequest::Spec spec = request.spec();
    if (auto status = state_.Begin(&spec); !status.ok()) return status;
    std::unique_lock lock(state_.mutex_);
    std::string& bytes = state_.imports_[spec.digest()];
    v1::ImportMemoryResponse response;
    response.mutable_resume()->set_offset(static_cast<int64_t>(bytes.size()));
    stream->Write(response);
    while (stream->Read(&request)) {
      const size_t broken = std::exchange(state_.break_transfer_, 0);
      bytes += broken > 0 ? request.data().substr(0, broken) : request.data();
      if (broken > 0) return {grpc::StatusCode::UNAVAILABLE, "broken"};
    }
    if (static_cast<int64_t>(bytes.size()) != spec.total_bytes()) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "bytes are missing"};
    }
    Memory& memory = state_.memories_[spec.name()];
    memory.versions = {{{{"", bytes.substr(bytes.find('\n') + 1)}}, spec.digest()}};
    *memory.listed.mutable_labels() = spec.labels();
    *response.mutable_memory() = Describe(spec.name(), memory);
    stream->Write(response);
    return grpc::Status::OK;
  }

 private:
  using Memory = FakeState::Memory;
  using Version = FakeState::Version;
  using Piece = std::pair<std::string, std::string>;

  static grpc::Status Missing(const std::string& name) {
    return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no memory ", name)};
  }

  static grpc::Status Taken(const std::string& name) {
    return {grpc::StatusCode::ALREADY_EXISTS, absl::StrCat("there is a memory ", name)};
  }

  static int64_t TokenCount(const Version& version) {
    size_t count = 0;
    for (const Piece& piece : version.pieces) count += piece.second.size();
    return static_cast<int64_t>(count);
  }

  static std::string ExportOf(const Version& version) {
    std::string bytes = absl::StrCat(R"({"digest":")", version.digest, "\",\"format\":2}\n");
    for (const Piece& piece : version.pieces) bytes += piece.second;
    return bytes;
  }

  // By name or name@digest. The lock is held, as for all below.
  Memory* Find(const std::string& reference) {
    const auto found = state_.memories_.find(reference.substr(0, reference.find('@')));
    return found == state_.memories_.end() ? nullptr : &found->second;
  }

  v1::Memory Describe(const std::string& reference, const Memory& memory) {
    v1::Memory described = memory.listed;
    const Version& version = memory.versions.back();
    described.set_name(reference.substr(0, reference.find('@')));
    described.set_digest(version.digest);
    described.set_token_count(TokenCount(version));
    for (int layer = 1; layer <= 4; ++layer) described.add_layers(layer);
    described.set_head_count(2);
    described.set_size_bytes(2048);
    described.mutable_create_time()->set_seconds(1'700'000'000);
    if (described.state() == v1::Memory::STATE_UNSPECIFIED) described.set_state(v1::Memory::STATE_ON_DISK);
    for (const Piece& piece : version.pieces) {
      v1::MemorySource& source = *described.add_sources();
      source.set_label(piece.first);
      source.set_token_count(static_cast<int64_t>(piece.second.size()));
    }
    return described;
  }

  // What the write with this id has made, or what it makes now.
  grpc::Status Once(const std::string& request_id, v1::Memory* result,
                    const std::function<grpc::Status(v1::Memory&)>& write) {
    const std::lock_guard lock(state_.mutex_);
    const auto done = state_.writes_.find(request_id);
    if (done != state_.writes_.end()) {
      *result = done->second;
      return grpc::Status::OK;
    }
    if (auto status = write(*result); !status.ok()) return status;
    state_.writes_[request_id] = *result;
    return LostReply();
  }

  grpc::Status LostReply() {
    if (!std::exchange(state_.lose_reply_, false)) return grpc::Status::OK;
    return {grpc::StatusCode::UNAVAILABLE, "connection lost"};
  }

  // Ends a write whose version has been put into the memory.
  template <typename AnyStream>
  grpc::Status Finish(const std::string& reference, const v1::WriteOptions& options, AnyStream& stream) {
    Memory& memory = *Find(reference);
    memory.versions.back().digest = std::string(64, static_cast<char>('a' + memory.made++));
    v1::WriteMemoryResponse response;
    *response.mutable_memory() = Describe(reference, memory);
    state_.writes_[options.request_id()] = response.memory();
    if (auto status = LostReply(); !status.ok()) return status;
    if (options.detached()) response.mutable_accepted()->set_request_id(options.request_id());
    stream.Write(response);
    return grpc::Status::OK;
  }

  template <typename Request>
  grpc::Status Take(grpc::ServerContext* context, Stream<Request>& stream, bool must_exist,
                    const std::function<void(Memory&, const Piece&)>& add) {
    Request part;
    if (!stream.Read(&part) || !part.has_spec()) return BadRequestStatus({{"spec", "must come first"}});
    const auto spec = part.spec();
    if (auto status = state_.Begin(&spec); !status.ok()) return status;
    v1::WriteMemoryResponse response;
    {
      const std::lock_guard lock(state_.mutex_);
      const auto done = state_.writes_.find(spec.options().request_id());
      if (done != state_.writes_.end()) {
        *response.mutable_memory() = done->second;
        stream.Write(response);
        return grpc::Status::OK;
      }
      if (must_exist && Find(spec.name()) == nullptr) return Missing(spec.name());
      if (!must_exist && Find(spec.name()) != nullptr) return Taken(spec.name());
    }
    std::string text;
    while (stream.Read(&part)) {
      text += part.text();
      for (const int id : part.token_ids().ids()) absl::StrAppend(&text, text.empty() ? "" : " ", id);
      response.mutable_progress()->set_tokens_done(static_cast<int64_t>(text.size()));
      stream.Write(response);
      if (Hanging()) {
        state_.Hang(context);
        return grpc::Status::CANCELLED;
      }
    }
    if (context->IsCancelled()) return grpc::Status::CANCELLED;
    if (text.empty()) return BadRequestStatus({{"text", "must not be empty"}});
    const std::lock_guard lock(state_.mutex_);
    Memory& memory = state_.memories_[spec.name().substr(0, spec.name().find('@'))];
    add(memory, {spec.source(), text});
    if constexpr (std::is_same_v<Request, v1::CreateMemoryRequest>) {
      if (spec.labels_size() > 0) *memory.listed.mutable_labels() = spec.labels();
      if (spec.has_metadata()) *memory.listed.mutable_metadata() = spec.metadata();
    }
    return Finish(spec.name(), spec.options(), stream);
  }

  bool Hanging() const {
    const std::lock_guard lock(state_.mutex_);
    return state_.hang_creation_;
  }

  grpc::Status SetState(const std::string& name, v1::Memory::State state, v1::Memory* response) {
    const std::lock_guard lock(state_.mutex_);
    Memory* memory = Find(name);
    if (memory == nullptr) return Missing(name);
    memory->listed.set_state(state);
    *response = Describe(name, *memory);
    return grpc::Status::OK;
  }

  grpc::Status CheckAll(const std::string& name, CheckWriter& writer) {
    const std::lock_guard lock(state_.mutex_);
    const Memory* memory = Find(name);
    if (memory == nullptr) return Missing(name);
    if (memory->listed.state() == v1::Memory::STATE_QUARANTINED) {
      return {grpc::StatusCode::DATA_LOSS, memory->listed.state_reason()};
    }
    v1::CheckMemoryResponse response;
    response.mutable_progress()->set_bytes_done(1024);
    response.mutable_progress()->set_bytes_total(2048);
    writer.Write(response);
    *response.mutable_memory() = Describe(name, *memory);
    writer.Write(response);
    return grpc::Status::OK;
  }

  FakeState& state_;
};

std::unique_ptr<grpc::Service> NewFakeMemories(FakeState& state) {
  return std::make_unique<FakeMemories>(state);
}

}  // namespace mtm
