// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/messages.h"

#include <google/protobuf/unknown_field_set.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "mtm/v1/inference_service.grpc.pb.h"  // gRPC's serialization of messages
#include "server/rpc/field_errors.h"
#include "server/text/utf8.h"

namespace mtm {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;

// Adds an error for each string field below `bytes`, a serialized `type`, that is no UTF-8.
void FindBrokenText(const Descriptor& type, const std::string& bytes, const std::string& prefix,
                    FieldErrors& errors) {
  UnknownFieldSet fields;
  if (!fields.ParseFromString(bytes)) return;
  std::map<int, int> seen;
  for (int i = 0; i < fields.field_count(); ++i) {
    const UnknownField& field = fields.field(i);
    const FieldDescriptor* known = type.FindFieldByNumber(field.number());
    if (known == nullptr || field.type() != UnknownField::TYPE_LENGTH_DELIMITED) continue;
    std::string path = absl::StrCat(prefix, known->name());
    if (known->is_repeated()) absl::StrAppend(&path, "[", seen[field.number()]++, "]");
    if (known->type() == FieldDescriptor::TYPE_MESSAGE) {
      FindBrokenText(*known->message_type(), field.length_delimited(), path + ".", errors);
    } else if (known->type() == FieldDescriptor::TYPE_STRING) {
      const auto at = FindInvalidUtf8(field.length_delimited());
      if (at) errors.Add(path, absl::StrCat("is no UTF-8 at byte ", *at));
    }
  }
}

absl::Status DescribeFailure(const grpc::ByteBuffer& bytes, const Descriptor& type) {
  std::vector<grpc::Slice> slices;
  FieldErrors errors;
  if (bytes.Dump(&slices).ok()) {
    std::string all;
    for (const grpc::Slice& slice : slices)
      all.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    FindBrokenText(type, all, "", errors);
  }
  if (!errors.empty()) return errors.ToStatus();
  return absl::InvalidArgumentError(absl::StrCat("the request's bytes are no ", type.full_name()));
}

}  // namespace

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message& message) {
  grpc::ByteBuffer copy = bytes;  // shares the slices; deserializing consumes it
  using Traits = grpc::SerializationTraits<google::protobuf::Message>;
  if (Traits::Deserialize(&copy, &message).ok()) return absl::OkStatus();
  return DescribeFailure(bytes, *message.GetDescriptor());
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message) {
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  grpc::SerializationTraits<google::protobuf::Message>::Serialize(message, &bytes, &own_buffer);
  return bytes;
}

}  // namespace mtm
