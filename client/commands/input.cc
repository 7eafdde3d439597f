// SPDX-License-Identifier: Apache-2.0
#include "client/commands/input.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace mtm::client {
namespace {

constexpr size_t kChunkBytes = 64 << 10;
constexpr int kPollMilliseconds = 50;

}  // namespace

absl::StatusOr<std::unique_ptr<Input>> Input::Open(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  int error = descriptor < 0 ? errno : 0;
  struct stat info;
  if (error == 0 && fstat(descriptor, &info) == 0 && S_ISDIR(info.st_mode)) {
    close(descriptor);
    error = EISDIR;
  }
  if (error != 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", path, ": ", std::strerror(error)));
  }
  return std::unique_ptr<Input>(new Input(descriptor, /*owned=*/true));
}

std::unique_ptr<Input> Input::FromDescriptor(int descriptor) {
  return std::unique_ptr<Input>(new Input(descriptor, /*owned=*/false));
}

Input::~Input() {
  if (owned_) close(descriptor_);
}

absl::StatusOr<std::string> Input::Next(const std::stop_token& stop) {
  std::string chunk(kChunkBytes, '\0');
  while (!stop.stop_requested()) {
    pollfd waiting = {descriptor_, POLLIN, 0};
    const int ready = poll(&waiting, 1, kPollMilliseconds);
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    const ssize_t size = ready < 0 ? -1 : read(descriptor_, chunk.data(), chunk.size());
    if (size >= 0) {
      chunk.resize(static_cast<size_t>(size));
      return chunk;
    }
    if (errno != EINTR && errno != EAGAIN) {
      return absl::UnknownError(absl::StrCat("cannot read the input: ", std::strerror(errno)));
    }
  }
  return absl::CancelledError("stopped");
}

absl::StatusOr<std::string> Input::ReadAll(const std::stop_token& stop) {
  std::string text;
  while (true) {
    auto chunk = Next(stop);
    if (!chunk.ok()) return chunk.status();
    if (chunk->empty()) return text;
    text += *chunk;
  }
}

}  // namespace mtm::client
