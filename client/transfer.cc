// SPDX-License-Identifier: Apache-2.0
// The calls of Client that carry a version between servers.
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/call.h"
#include "client/client.h"
#include "client/request_id.h"

namespace mtm::client {
namespace {

using ImportStream = grpc::ClientReaderWriter<v1::ImportMemoryRequest, v1::ImportMemoryResponse>;

// Sends the bytes from `offset` on. OK too where the server stopped listening: its status says why.
absl::Status SendBytes(const DataSource& source, int64_t offset, int64_t total,
                       const ProgressCallback& progress, ImportStream& stream) {
  while (true) {
    if (progress) progress(offset, total);
    auto data = source(offset);
    if (!data.ok()) return data.status();
    if (data->empty()) break;
    offset += static_cast<int64_t>(data->size());
    v1::ImportMemoryRequest request;
    request.set_data(*std::move(data));
    if (!stream.Write(request)) return absl::OkStatus();
  }
  stream.WritesDone();
  return absl::OkStatus();
}

}  // namespace

absl::Status Client::ExportMemory(const std::string& reference, int64_t offset, const DataSink& sink,
                                  const ProgressCallback& progress, const CallOptions& call_options) {
  v1::ExportMemoryRequest request;
  request.set_name(reference);
  int64_t total = 0;
  return CallWithRetries(options_, call_options, [&](Call& call) {
    request.set_offset(offset);
    const auto stream = memories_->ExportMemory(&call.context(), request);
    absl::Status taken;
    for (v1::ExportMemoryResponse response; taken.ok() && stream->Read(&response);) {
      if (response.has_header()) {
        // Another attempt goes on with this version, whatever becomes of the name.
        request.set_name(
            absl::StrCat(reference.substr(0, reference.find('@')), "@", response.header().digest()));
        total = response.header().total_bytes();
      } else {
        taken = sink(response.data());
        if (taken.ok()) offset += static_cast<int64_t>(response.data().size());
      }
      if (progress) progress(offset, total);
    }
    if (!taken.ok()) call.context().TryCancel();
    for (v1::ExportMemoryResponse rest; stream->Read(&rest);) {
    }
    const absl::Status status = call.Finish(stream->Finish());
    if (!taken.ok() || !status.ok()) return taken.ok() ? status : taken;
    if (offset == total) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat("the server ended after ", offset, " of ", total, " bytes"));
  });
}

absl::StatusOr<v1::Memory> Client::ImportMemory(v1::ImportMemoryRequest::Spec spec, const DataSource& source,
                                                const ProgressCallback& progress,
                                                const CallOptions& call_options) {
  EnsureRequestId(spec);
  v1::ImportMemoryRequest first;
  *first.mutable_spec() = std::move(spec);
  v1::ImportMemoryResponse event;
  absl::Status status = CallWithRetries(options_, call_options, [&](Call& call) {
    const auto stream = memories_->ImportMemory(&call.context());
    stream->Write(first);
    absl::Status sent;
    while (stream->Read(&event)) {
      if (event.has_resume()) {
        sent = SendBytes(source, event.resume().offset(), first.spec().total_bytes(), progress, *stream);
      }
      // Half of it must not wait for the rest that never comes.
      if (!sent.ok()) call.context().TryCancel();
    }
    const absl::Status ended = call.Finish(stream->Finish());
    return sent.ok() ? ended : sent;
  });
  if (!status.ok()) return status;
  if (!event.has_memory()) return absl::InternalError("the server ended without a memory");
  return std::move(*event.mutable_memory());
}

}  // namespace mtm::client
