// SPDX-License-Identifier: Apache-2.0
#include "tests/stress/perform.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <chrono>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace mtm {
namespace {

using Kind = Operation::Kind;

constexpr size_t kChunk = 40;           // token ids of a message
constexpr size_t kImportChunk = 16384;  // bytes of a message

// A call that hangs is a fault like any other.
class Call {
 public:
  Call() { context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(120)); }
  grpc::ClientContext* operator&() { return &context_; }

 private:
  grpc::ClientContext context_;
};

// Of an earlier version `name@digest`.
std::string Reference(const Operation& operation, const Names& names, const Digests& digests) {
  return absl::StrCat(operation.from, "@",
                      digests.Find(names.at(operation.from).versions[operation.version]));
}

void SetOptions(const Operation& operation, v1::WriteOptions& options) {
  options.set_request_id(operation.request_id);
  options.set_detached(operation.detached);
}

template <typename Stream>
grpc::Status ReadWrite(Stream& stream, v1::Memory& memory, bool& accepted) {
  for (v1::WriteMemoryResponse event; stream.Read(&event);) {
    if (event.has_memory()) memory = event.memory();
    accepted = accepted || event.has_accepted();
  }
  return stream.Finish();
}

grpc::Status Watch(v1::MemoryService::Stub& stub, const std::string& request_id, v1::Memory& memory) {
  Call call;
  v1::WatchWriteRequest request;
  request.set_request_id(request_id);
  const auto stream = stub.WatchWrite(&call, request);
  bool accepted = false;
  return ReadWrite(*stream, memory, accepted);
}

template <typename Request, typename Stream>
grpc::Status Upload(Stream& stream, const Request& spec, const std::vector<int32_t>& tokens,
                    v1::Memory& memory, bool& accepted) {
  bool open = stream.Write(spec);
  for (size_t first = 0; open && first < tokens.size(); first += kChunk) {
    Request part;
    const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(first);
    const auto n = static_cast<std::ptrdiff_t>(std::min(kChunk, tokens.size() - first));
    part.mutable_token_ids()->mutable_ids()->Add(begin, begin + n);
    open = stream.Write(part);
  }
  stream.WritesDone();
  return ReadWrite(stream, memory, accepted);
}

grpc::Status Create(v1::MemoryService::Stub& stub, const Operation& operation, v1::Memory& memory,
                    bool& accepted) {
  v1::CreateMemoryRequest request;
  auto& spec = *request.mutable_spec();
  spec.set_name(operation.name);
  spec.set_dropped_token_count(static_cast<int>(operation.settings.leading.size()));
  spec.set_data_type(operation.settings.half ? v1::DATA_TYPE_F16 : v1::DATA_TYPE_F32);
  spec.set_source(operation.source);
  spec.mutable_labels()->insert(operation.labels.begin(), operation.labels.end());
  SetOptions(operation, *spec.mutable_options());
  std::vector<int32_t> tokens = operation.settings.leading;
  tokens.insert(tokens.end(), operation.tokens.begin(), operation.tokens.end());
  Call call;
  const auto stream = operation.kind == Kind::kCreate ? stub.CreateMemory(&call) : stub.ReplaceMemory(&call);
  return Upload(*stream, request, tokens, memory, accepted);
}

grpc::Status Append(v1::MemoryService::Stub& stub, const Operation& operation, v1::Memory& memory,
                    bool& accepted) {
  v1::AppendToMemoryRequest request;
  request.mutable_spec()->set_name(operation.name);
  request.mutable_spec()->set_source(operation.source);
  SetOptions(operation, *request.mutable_spec()->mutable_options());
  Call call;
  const auto stream = stub.AppendToMemory(&call);
  return Upload(*stream, request, operation.tokens, memory, accepted);
}

grpc::Status Forget(v1::MemoryService::Stub& stub, const Operation& operation, v1::Memory& memory,
                    bool& accepted) {
  v1::ForgetFromMemoryRequest request;
  request.set_name(operation.name);
  if (operation.kind == Kind::kForgetSource) {
    request.set_source(operation.source);
  } else {
    request.mutable_tokens()->set_first(operation.first);
    request.mutable_tokens()->set_count(operation.count);
  }
  request.set_purge_older_versions(operation.purge_older_versions);
  SetOptions(operation, *request.mutable_options());
  Call call;
  const auto stream = stub.ForgetFromMemory(&call, request);
  return ReadWrite(*stream, memory, accepted);
}

grpc::Status Export(v1::MemoryService::Stub& stub, const std::string& reference,
                    v1::ExportMemoryResponse::Header& header, std::string& data) {
  v1::ExportMemoryRequest request;
  request.set_name(reference);
  Call call;
  const auto stream = stub.ExportMemory(&call, request);
  for (v1::ExportMemoryResponse part; stream->Read(&part);) {
    if (part.has_header()) header = part.header();
    data += part.data();
  }
  return stream->Finish();
}

grpc::Status Import(v1::MemoryService::Stub& stub, const Operation& operation, const std::string& reference,
                    v1::Memory& memory) {
  v1::ExportMemoryResponse::Header header;
  std::string data;
  if (grpc::Status status = Export(stub, reference, header, data); !status.ok()) return status;

  v1::ImportMemoryRequest request;
  auto& spec = *request.mutable_spec();
  spec.set_name(operation.name);
  spec.set_digest(header.digest());
  spec.set_total_bytes(header.total_bytes());
  spec.mutable_labels()->insert(operation.labels.begin(), operation.labels.end());
  spec.set_request_id(operation.request_id);
  Call call;
  const auto stream = stub.ImportMemory(&call);
  bool open = stream->Write(request);
  v1::ImportMemoryResponse event;
  if (open && stream->Read(&event)) {
    if (event.has_memory()) memory = event.memory();  // the request id was known
    size_t offset = static_cast<size_t>(event.resume().offset());
    for (; open && event.has_resume() && offset < data.size(); offset += kImportChunk) {
      request.set_data(data.substr(offset, kImportChunk));
      open = stream->Write(request);
    }
  }
  stream->WritesDone();
  while (stream->Read(&event)) {
    if (event.has_memory()) memory = event.memory();
  }
  return stream->Finish();
}

grpc::Status Update(v1::MemoryService::Stub& stub, const Operation& operation, v1::Memory& memory) {
  v1::UpdateMemoryRequest request;
  request.set_name(operation.name);
  request.mutable_labels()->mutable_labels()->insert(operation.labels.begin(), operation.labels.end());
  (*request.mutable_metadata()->mutable_fields())["note"].set_string_value(operation.note);
  Call call;
  return stub.UpdateMemory(&call, request, &memory);
}

grpc::Status Rollback(v1::MemoryService::Stub& stub, const Operation& operation, const std::string& digest,
                      v1::Memory& memory) {
  v1::RollbackMemoryRequest request;
  request.set_name(operation.name);
  request.set_digest(digest);
  request.set_request_id(operation.request_id);
  Call call;
  return stub.RollbackMemory(&call, request, &memory);
}

grpc::Status Copy(v1::MemoryService::Stub& stub, const Operation& operation, const std::string& reference,
                  v1::Memory& memory) {
  v1::CopyMemoryRequest request;
  request.set_source(reference);
  request.set_destination(operation.name);
  request.set_request_id(operation.request_id);
  Call call;
  return stub.CopyMemory(&call, request, &memory);
}

grpc::Status Delete(v1::MemoryService::Stub& stub, const Operation& operation) {
  v1::DeleteMemoryRequest request;
  request.set_name(operation.name);
  request.set_request_id(operation.request_id);
  Call call;
  v1::DeleteMemoryResponse response;
  return stub.DeleteMemory(&call, request, &response);
}

grpc::Status RebuildIndex(v1::MemoryService::Stub& stub, const std::string& name, v1::Memory& memory) {
  v1::RebuildIndexRequest request;
  request.set_name(name);
  Call call;
  const auto stream = stub.RebuildIndex(&call, request);
  for (v1::CheckMemoryResponse event; stream->Read(&event);) {
    if (event.has_memory()) memory = event.memory();
  }
  return stream->Finish();
}

std::string Key(const Content& content) {
  std::string key = SourceDigest(content);
  for (const Window& window : content.windows) absl::StrAppend(&key, "/", window.source);
  return key;
}

}  // namespace

std::string Describe(const grpc::Status& status) {
  std::string text = absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()));
  if (!status.error_message().empty()) absl::StrAppend(&text, ": ", status.error_message());
  return text;
}

std::optional<std::string> Digests::Check(const Content& content, const std::string& digest) {
  const std::lock_guard lock(mutex_);
  const auto [known, added] = digests_.emplace(Key(content), digest);
  if (known->second == digest) return std::nullopt;
  return absl::StrCat("content of source digest ", SourceDigest(content), " has the digest ", digest,
                      ", before it had ", known->second);
}

std::string Digests::Find(const Content& content) const {
  const std::lock_guard lock(mutex_);
  const auto known = digests_.find(Key(content));
  return known == digests_.end() ? "" : known->second;
}

std::optional<std::string> CheckDigests(const ExpectedMemory& expected, const v1::Memory& memory,
                                        Digests& digests) {
  for (size_t i = 0; i < expected.versions.size(); ++i) {
    const auto difference =
        digests.Check(expected.versions[i], memory.versions(static_cast<int>(i)).digest());
    if (difference) return difference;
  }
  return std::nullopt;
}

grpc::Status Perform(v1::MemoryService::Stub& stub, const Operation& operation, const Names& names,
                     const Digests& digests, v1::Memory& memory) {
  bool accepted = false;
  grpc::Status status;
  switch (operation.kind) {
    case Kind::kCreate:
    case Kind::kReplace:
      status = Create(stub, operation, memory, accepted);
      break;
    case Kind::kAppend:
      status = Append(stub, operation, memory, accepted);
      break;
    case Kind::kForgetTokens:
    case Kind::kForgetSource:
      status = Forget(stub, operation, memory, accepted);
      break;
    case Kind::kRollback:
      return Rollback(stub, operation, digests.Find(names.at(operation.name).versions[operation.version]),
                      memory);
    case Kind::kCopy:
      return Copy(stub, operation, Reference(operation, names, digests), memory);
    case Kind::kImport:
      return Import(stub, operation, Reference(operation, names, digests), memory);
    case Kind::kUpdate:
      return Update(stub, operation, memory);
    case Kind::kDelete:
      return Delete(stub, operation);
    case Kind::kRebuildIndex:
      return RebuildIndex(stub, operation.name, memory);
  }
  return status.ok() && accepted ? Watch(stub, operation.request_id, memory) : status;
}

grpc::Status GetMemory(v1::MemoryService::Stub& stub, const std::string& name, v1::Memory& memory) {
  Call call;
  v1::GetMemoryRequest request;
  request.set_name(name);
  return stub.GetMemory(&call, request, &memory);
}

grpc::Status VerifyMemory(v1::MemoryService::Stub& stub, const std::string& name) {
  Call call;
  v1::VerifyMemoryRequest request;
  request.set_name(name);
  const auto stream = stub.VerifyMemory(&call, request);
  for (v1::CheckMemoryResponse event; stream->Read(&event);) {
  }
  return stream->Finish();
}

}  // namespace mtm
