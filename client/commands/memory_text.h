// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_CLIENT_COMMANDS_MEMORY_TEXT_H_
#define MTM_CLIENT_COMMANDS_MEMORY_TEXT_H_

#include <string>

#include "google/protobuf/timestamp.pb.h"
#include "mtm/v1/memory.pb.h"

// A memory in words. What others may have chosen comes out escaped.
namespace mtm::client {

// cats: 90 tokens, layers 1-5, 568.0 KiB, digest 39bb442f440e
std::string MemoryLine(const v1::Memory& memory);

std::string StateText(v1::Memory::State state);

// topic=pets, owner=me
std::string LabelsText(const v1::Memory& memory);

// {"a":1}; empty where there is none.
std::string MetadataText(const v1::Memory& memory);

// 2026-01-31 12:00
std::string LocalTime(const google::protobuf::Timestamp& timestamp);

}  // namespace mtm::client

#endif  // MTM_CLIENT_COMMANDS_MEMORY_TEXT_H_
