// SPDX-License-Identifier: Apache-2.0
#include <google/protobuf/util/json_util.h>

#include "absl/time/time.h"
#include "server/rpc/convert.h"

namespace mtm {
namespace {

google::protobuf::Timestamp ToProto(absl::Time time) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  google::protobuf::Timestamp proto;
  proto.set_seconds(seconds);
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return proto;
}

v1::DataType ToProto(DataType dtype) {
  return dtype == DataType::kF16 ? v1::DATA_TYPE_F16 : v1::DATA_TYPE_F32;
}

}  // namespace

v1::WeightType ToProto(WeightType weights) {
  switch (weights) {
    case WeightType::kF32:
      return v1::WEIGHT_TYPE_F32;
    case WeightType::kF16:
      return v1::WEIGHT_TYPE_F16;
    case WeightType::kInt8:
      return v1::WEIGHT_TYPE_INT8;
    case WeightType::kBF16:
      return v1::WEIGHT_TYPE_BF16;
  }
  return v1::WEIGHT_TYPE_UNSPECIFIED;
}

namespace {

v1::Memory::State ToProto(MemoryState state) {
  switch (state) {
    case MemoryState::kOnDisk:
      return v1::Memory::STATE_ON_DISK;
    case MemoryState::kResident:
      return v1::Memory::STATE_RESIDENT;
    case MemoryState::kQuarantined:
      return v1::Memory::STATE_QUARANTINED;
  }
  return v1::Memory::STATE_UNSPECIFIED;
}

void FillSpec(const MemorySpec& spec, v1::Memory& proto) {
  if (spec.layers.empty()) return;  // its files cannot be read
  proto.set_model_fingerprint(spec.model_fingerprint);
  proto.mutable_layers()->Add(spec.layers.begin(), spec.layers.end());
  proto.set_head_count(spec.n_head);
  proto.set_head_dim(spec.head_dim);
  proto.mutable_leading_token_ids()->Add(spec.leading.begin(), spec.leading.end());
  proto.set_data_type(ToProto(spec.dtype));
  proto.set_weight_type(ToProto(spec.weights));
}

v1::MemoryVersion ToProto(const MemoryRecord::Version& version) {
  v1::MemoryVersion proto;
  proto.set_digest(version.digest);
  proto.set_source_digest(version.source_digest);
  proto.set_token_count(version.n_tokens);
  proto.set_size_bytes(version.size_bytes);
  *proto.mutable_create_time() = ToProto(version.create_time);
  return proto;
}

v1::MemorySource ToProto(const MemoryRecord::Source& source) {
  v1::MemorySource proto;
  proto.set_label(source.label);
  proto.set_first_token(source.first_token);
  proto.set_token_count(source.n_tokens);
  return proto;
}

}  // namespace

v1::Memory ToProto(const MemoryRecord& record, bool with_versions) {
  const MemoryInfo& info = record.info;
  v1::Memory proto;
  proto.set_name(info.name);
  proto.set_digest(info.digest);
  proto.set_source_digest(info.source_digest);
  FillSpec(info.spec, proto);
  proto.set_token_count(info.n_tokens);
  proto.set_size_bytes(info.size_bytes);
  *proto.mutable_create_time() = ToProto(info.create_time);
  proto.mutable_labels()->insert(record.labels.begin(), record.labels.end());
  if (!record.metadata.empty() &&
      !google::protobuf::util::JsonStringToMessage(record.metadata, proto.mutable_metadata()).ok()) {
    proto.clear_metadata();  // another program's, that is no JSON
  }
  proto.set_state(ToProto(record.state));
  proto.set_state_reason(record.reason);
  for (const MemoryRecord::Source& source : record.sources) *proto.add_sources() = ToProto(source);
  if (info.n_indexed > 0) {
    proto.mutable_index()->set_indexed_token_count(info.n_indexed);
    proto.mutable_index()->set_recall_at_10(info.index_recall);
  }
  if (!with_versions) return proto;
  for (const MemoryRecord::Version& version : record.versions) *proto.add_versions() = ToProto(version);
  return proto;
}

}  // namespace mtm
