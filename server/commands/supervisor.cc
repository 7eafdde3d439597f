// SPDX-License-Identifier: Apache-2.0
#include "server/commands/supervisor.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace mtm {
namespace {

// Whether the datagram went out; errno says why not.
bool Send(std::string_view path, std::string_view state) {
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  if (path.size() >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    return false;
  }
  std::ranges::copy(path, address.sun_path);
  if (path[0] == '@') address.sun_path[0] = '\0';  // an abstract one
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool sent =
      sendto(fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
             size) == static_cast<ssize_t>(state.size());
  const int error = errno;
  close(fd);
  errno = error;
  return sent;
}

}  // namespace

void NotifySupervisor(std::string_view state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || *path == '\0' || Send(path, state)) return;
  spdlog::warn("event=supervisor_not_notified state={} socket={} error=\"{}\"", state, path,
               std::strerror(errno));
}

}  // namespace mtm
