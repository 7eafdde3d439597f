// SPDX-License-Identifier: Apache-2.0
#include "memory_store/saved_tensor.h"

#include <zip.h>

#include <bit>
#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "memory_store/pickle_reader.h"

namespace mtm {
namespace {

static_assert(std::endian::native == std::endian::little, "saved tensors are little-endian");

constexpr char kPickleSuffix[] = "/data.pkl";

struct Discard {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct CloseEntry {
  void operator()(zip_file_t* entry) const { zip_fclose(entry); }
};
using Archive = std::unique_ptr<zip_t, Discard>;

absl::StatusOr<Archive> OpenArchive(const std::filesystem::path& path) {
  int error = 0;
  Archive archive(zip_open(path.c_str(), ZIP_RDONLY, &error));
  if (archive != nullptr) return archive;
  if (error == ZIP_ER_NOENT) return absl::NotFoundError("there is no such file");
  zip_error_t described;
  zip_error_init_with_code(&described, error);
  const std::string cause = zip_error_strerror(&described);
  zip_error_fini(&described);
  return absl::InvalidArgumentError(absl::StrCat("it is not the zip that torch.save writes: ", cause));
}

// The size of an entry of at most `max_size` bytes; NOT_FOUND where it is absent.
absl::StatusOr<uint64_t> EntrySize(zip_t* archive, const std::string& name, uint64_t max_size) {
  zip_stat_t status;
  if (zip_stat(archive, name.c_str(), 0, &status) != 0) {
    return absl::NotFoundError(absl::StrCat("it has no entry ", absl::CHexEscape(name)));
  }
  constexpr zip_uint64_t kNeeded = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
  // torch.save does not compress; so no small file claims a large tensor.
  if ((status.valid & kNeeded) != kNeeded || status.comp_method != ZIP_CM_STORE ||
      status.comp_size != status.size || status.size > max_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("its entry ", absl::CHexEscape(name), " is compressed or too large"));
  }
  return status.size;
}

absl::Status ReadEntry(zip_t* archive, const std::string& name, std::span<std::byte> out) {
  const std::unique_ptr<zip_file_t, CloseEntry> entry(zip_fopen(archive, name.c_str(), 0));
  std::byte past_the_end;
  zip_int64_t n = entry == nullptr ? -1 : 0;
  for (size_t done = 0; n >= 0 && done < out.size(); done += static_cast<size_t>(n)) {
    n = zip_fread(entry.get(), out.data() + done, out.size() - done);
    if (n == 0) n = -1;
  }
  // The last read, of nothing, is the one that checks the CRC.
  if (n >= 0 && zip_fread(entry.get(), &past_the_end, 1) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("its entry ", absl::CHexEscape(name), " is damaged or encrypted"));
}

absl::StatusOr<std::string> ReadTextEntry(zip_t* archive, const std::string& name) {
  const absl::StatusOr<uint64_t> size = EntrySize(archive, name, kMaxPickleSize);
  if (!size.ok()) return size.status();
  std::string text(*size, '\0');
  if (absl::Status status = ReadEntry(archive, name, std::as_writable_bytes(std::span(text))); !status.ok()) {
    return status;
  }
  return text;
}

// The folder inside the archive: what stands before "/data.pkl".
absl::StatusOr<std::string> FindPrefix(zip_t* archive) {
  const zip_int64_t n_entries = zip_get_num_entries(archive, 0);
  for (zip_int64_t i = 0; i < n_entries; ++i) {
    const char* const name = zip_get_name(archive, static_cast<zip_uint64_t>(i), 0);
    if (name != nullptr && absl::EndsWith(name, kPickleSuffix)) {
      return std::string(absl::StripSuffix(name, kPickleSuffix));
    }
  }
  return absl::InvalidArgumentError("it has no data.pkl: torch.save did not write it");
}

// Does the view of two dimensions lie within its storage of `storage_size` elements?
absl::Status CheckView(const PickledTensor& tensor) {
  if (tensor.sizes.size() != 2 || tensor.strides.size() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("its tensor has ", tensor.sizes.size(), " dimensions instead of 2"));
  }
  // Below 2^40 no product or sum here overflows. More elements than the storage has: an expanded view, or a
  // lie.
  constexpr int64_t kLimit = int64_t{1} << 40;
  bool good = tensor.storage_size >= 0 && tensor.storage_size < kLimit && tensor.offset >= 0;
  int64_t left = tensor.storage_size - 1 - tensor.offset;  // how far the last element may be from the first
  int64_t n_elements = 1;
  for (size_t i = 0; i < 2 && good; ++i) {
    const int64_t size = tensor.sizes[i];
    const int64_t stride = tensor.strides[i];
    good = size >= 1 && stride >= 0 && size <= tensor.storage_size / n_elements &&
           (size == 1 || stride <= left / (size - 1)) && left >= 0;
    if (!good) break;
    n_elements *= size;
    left -= size == 1 ? 0 : (size - 1) * stride;
  }
  return good ? absl::OkStatus()
              : absl::InvalidArgumentError("its tensor is empty or reaches beyond its storage");
}

absl::StatusOr<Matrix> Read(const std::filesystem::path& path) {
  const absl::StatusOr<Archive> archive = OpenArchive(path);
  if (!archive.ok()) return archive.status();
  zip_t* const zip = archive->get();
  const absl::StatusOr<std::string> prefix = FindPrefix(zip);
  if (!prefix.ok()) return prefix.status();
  const absl::StatusOr<std::string> pickle = ReadTextEntry(zip, absl::StrCat(*prefix, kPickleSuffix));
  if (!pickle.ok()) return pickle.status();
  const absl::StatusOr<PickledTensor> tensor = ReadPickledTensor(*pickle);
  if (!tensor.ok()) return tensor.status();
  if (absl::Status status = CheckView(*tensor); !status.ok()) return status;
  // Older versions of torch write no such entry and are little-endian.
  const absl::StatusOr<std::string> byte_order = ReadTextEntry(zip, absl::StrCat(*prefix, "/byteorder"));
  if (byte_order.ok() ? *byte_order != "little" : !absl::IsNotFound(byte_order.status())) {
    return absl::InvalidArgumentError("its byte order is not little-endian");
  }

  const std::string name = absl::StrCat(*prefix, "/data/", tensor->storage_key);
  const absl::StatusOr<uint64_t> size = EntrySize(zip, name, std::numeric_limits<int64_t>::max());
  if (!size.ok()) return size.status();
  const auto storage_size = static_cast<size_t>(tensor->storage_size);
  if (*size != storage_size * sizeof(float) || *size > std::filesystem::file_size(path)) {
    return absl::InvalidArgumentError(
        absl::StrCat("its data has ", *size, " bytes where its pickle says ", storage_size, " numbers"));
  }
  std::vector<float> storage(storage_size);
  if (absl::Status status = ReadEntry(zip, name, std::as_writable_bytes(std::span(storage))); !status.ok()) {
    return status;
  }

  Matrix matrix{.n_rows = tensor->sizes[0], .n_columns = tensor->sizes[1], .data = {}};
  matrix.data.reserve(static_cast<size_t>(matrix.n_rows * matrix.n_columns));
  for (int64_t row = 0; row < matrix.n_rows; ++row) {
    for (int64_t column = 0; column < matrix.n_columns; ++column) {
      const int64_t at = tensor->offset + row * tensor->strides[0] + column * tensor->strides[1];
      matrix.data.push_back(storage[static_cast<size_t>(at)]);
    }
  }
  return matrix;
}

}  // namespace

absl::StatusOr<Matrix> ReadSavedMatrix(const std::filesystem::path& path) {
  absl::StatusOr<Matrix> matrix = Read(path);
  if (matrix.ok()) return matrix;
  // Only a missing file is NOT_FOUND; a missing part of it is not.
  const bool no_file = absl::IsNotFound(matrix.status()) && !std::filesystem::exists(path);
  return absl::Status(no_file ? absl::StatusCode::kNotFound : absl::StatusCode::kInvalidArgument,
                      absl::StrCat(path.string(), ": ", matrix.status().message()));
}

}  // namespace mtm
