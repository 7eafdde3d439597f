// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/status.h"

#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/generation/stop_reasons.h"
#include "server/text/utf8.h"

namespace mtm {
namespace {

// Percent-encoding triples a text at worst and base64 adds a third: 3000 + 4/3 * 3000 stays below 8 KiB.
constexpr size_t kMaxMessageBytes = 1000;
constexpr size_t kMaxDetailsBytes = 3000;

constexpr char kEllipsis[] = "...";

std::string SerializeDetails(const absl::Status& status, const std::string& message) {
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(message);
  if (const auto delay = RetryDelay(status)) {
    google::rpc::RetryInfo info;
    info.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(*delay));
    info.mutable_retry_delay()->set_nanos(static_cast<int32_t>((*delay % absl::Seconds(1)) / absl::Nanoseconds(1)));
    details.add_details()->PackFrom(info);
  }
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    if (type == kRetryDelayPayload) return;
    google::protobuf::Any& any = *details.add_details();
    any.set_type_url(std::string(type));
    any.set_value(std::string(payload));
    if (details.ByteSizeLong() > kMaxDetailsBytes) details.mutable_details()->RemoveLast();
  });
  return details.details().empty() ? "" : details.SerializeAsString();
}

}  // namespace

std::string Shorten(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes && !FindInvalidUtf8(text)) return std::string(text);
  std::string valid = ReplaceInvalidUtf8(text.substr(0, max_bytes));
  if (text.size() <= max_bytes && valid.size() <= max_bytes) return valid;
  valid.resize(std::min(valid.size(), max_bytes - sizeof(kEllipsis) + 1));
  valid.resize(SettledUtf8Length(valid));
  return valid + kEllipsis;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  // Both sides number google.rpc.Code.
  const auto code = static_cast<grpc::StatusCode>(status.code());
  const std::string message = Shorten(std::string(status.message()), kMaxMessageBytes);
  return grpc::Status(code, message, SerializeDetails(status, message));
}

}  // namespace mtm
