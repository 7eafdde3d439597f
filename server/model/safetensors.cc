// SPDX-License-Identifier: Apache-2.0
#include "server/model/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "server/model/json_file.h"

namespace mtm {
namespace {

using Json = nlohmann::json;

constexpr size_t kLengthBytes = 8;

absl::Status Malformed(absl::string_view what) { return absl::InvalidArgumentError(what); }

// Bytes of an element; 0 for a type that the format does not know.
int64_t ElementSize(absl::string_view dtype) {
  static const auto* const kSizes = new absl::flat_hash_map<absl::string_view, int64_t>{
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"U16", 2}, {"I16", 2},
      {"F16", 2},  {"BF16", 2}, {"U32", 4}, {"I32", 4},     {"F32", 4},     {"U64", 8}, {"I64", 8}, {"F64", 8}};
  const auto it = kSizes->find(dtype);
  return it == kSizes->end() ? 0 : it->second;
}

absl::StatusOr<std::vector<int64_t>> ParseShape(const Json& json) {
  if (!json.is_array() || json.size() > 8) return Malformed("shape is not a list of at most 8 dimensions");
  std::vector<int64_t> shape;
  for (const Json& dimension : json) {
    if (!dimension.is_number_unsigned() || dimension.get<uint64_t>() > INT32_MAX) {
      return Malformed(absl::StrCat("dimension ", ShowJson(dimension), " is out of range"));
    }
    shape.push_back(dimension.get<int64_t>());
  }
  return shape;
}

absl::StatusOr<uint64_t> TensorBytes(absl::string_view dtype, const std::vector<int64_t>& shape) {
  uint64_t bytes = ElementSize(dtype);
  if (bytes == 0) return Malformed(absl::StrCat("unknown dtype \"", dtype.substr(0, 40), "\""));
  for (int64_t dimension : shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(dimension), &bytes)) {
      return Malformed("shape overflows 64 bits");
    }
  }
  return bytes;
}

absl::StatusOr<TensorView> ParseTensor(const Json& json, std::span<const std::byte> data) {
  if (!json.is_object() || !json.contains("dtype") || !json["dtype"].is_string() || !json.contains("shape") ||
      !json.contains("data_offsets")) {
    return Malformed("expected an object with dtype, shape and data_offsets");
  }
  TensorView view;
  view.dtype = json["dtype"].get<std::string>();
  auto shape = ParseShape(json["shape"]);
  if (!shape.ok()) return shape.status();
  view.shape = *std::move(shape);
  const auto expected = TensorBytes(view.dtype, view.shape);
  if (!expected.ok()) return expected.status();

  const Json& offsets = json["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return Malformed("data_offsets is not a pair of offsets");
  }
  const uint64_t begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
  if (begin > end || end > data.size()) {
    return Malformed(absl::StrCat("data_offsets [", begin, ", ", end, "] lie outside the ", data.size(),
                                  " bytes of data; is the file truncated?"));
  }
  if (end - begin != *expected) {
    return Malformed(absl::StrCat("data_offsets span ", end - begin, " bytes, dtype and shape need ", *expected));
  }
  view.bytes = data.subspan(begin, end - begin);
  return view;
}

// The format wants every byte of data to belong to exactly one tensor.
absl::Status CheckLayout(const std::map<std::string, TensorView>& tensors, std::span<const std::byte> data) {
  std::vector<std::pair<const std::byte*, const std::string*>> order;
  for (const auto& [name, view] : tensors) {
    if (!view.bytes.empty()) order.emplace_back(view.bytes.data(), &name);
  }
  std::sort(order.begin(), order.end());
  const std::byte* end = data.data();
  for (const auto& [begin, name] : order) {
    if (begin != end) return Malformed(absl::StrCat("tensor \"", *name, "\" overlaps another or leaves a hole"));
    end += tensors.at(*name).bytes.size();
  }
  if (end != data.data() + data.size()) {
    return Malformed(absl::StrCat(data.data() + data.size() - end, " bytes after the last tensor"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::map<std::string, TensorView>> ParseSafetensors(std::span<const std::byte> file) {
  if (file.size() < kLengthBytes) return Malformed("shorter than the 8 bytes of a safetensors header length");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), kLengthBytes);
  if (header_bytes > file.size() - kLengthBytes) {
    return Malformed(absl::StrCat("header length ", header_bytes, " exceeds the file's ", file.size(), " bytes"));
  }
  if (header_bytes > kMaxJsonBytes) {
    return Malformed(absl::StrCat("header length ", header_bytes, " is above ", kMaxJsonBytes));
  }
  const auto* text = reinterpret_cast<const char*>(file.data() + kLengthBytes);
  const Json header = Json::parse(text, text + header_bytes, nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) return Malformed("the header is not a JSON object");

  const auto data = file.subspan(kLengthBytes + header_bytes);
  std::map<std::string, TensorView> tensors;
  for (const auto& [name, json] : header.items()) {
    if (name == "__metadata__") continue;
    auto view = ParseTensor(json, data);
    if (!view.ok()) return Malformed(absl::StrCat("tensor \"", name, "\": ", view.status().message()));
    tensors.emplace(name, *std::move(view));
  }
  if (absl::Status status = CheckLayout(tensors, data); !status.ok()) return status;
  return tensors;
}

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Open(const std::filesystem::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::NotFoundError(absl::StrCat(path.string(), ": ", std::strerror(errno)));
  struct stat stat {};
  if (fstat(fd, &stat) != 0 || !S_ISREG(stat.st_mode) || stat.st_size == 0) {
    close(fd);
    return Malformed(absl::StrCat(path.string(), ": not a file with content"));
  }
  const auto size = static_cast<size_t>(stat.st_size);
  void* address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  close(fd);
  if (address == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat(path.string(), ": cannot be mapped: ", std::strerror(error)));
  }
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile({static_cast<const std::byte*>(address), size}));
  auto tensors = ParseSafetensors(file->mapping_);
  if (!tensors.ok()) return Malformed(absl::StrCat(path.string(), ": ", tensors.status().message()));
  file->tensors_ = *std::move(tensors);
  return file;
}

SafetensorsFile::~SafetensorsFile() { munmap(const_cast<std::byte*>(mapping_.data()), mapping_.size()); }

void ReleasePages(std::span<const std::byte> part) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(part.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(part.data() + part.size());
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace mtm
