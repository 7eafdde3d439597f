// SPDX-License-Identifier: Apache-2.0
// Certificates by the openssl command, for tests.
#ifndef MTM_TESTS_RPC_CERTIFICATES_H_
#define MTM_TESTS_RPC_CERTIFICATES_H_

#include <cstdlib>
#include <filesystem>
#include <string>

#include "gtest/gtest.h"

namespace mtm {

inline void OpenSsl(const std::string& arguments) {
  const std::string command = "openssl " + arguments + " >/dev/null 2>&1";
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

// <name>.crt, signed by itself for a day, and <name>.key in `folder`. `key`: as openssl req -newkey takes it.
inline void MakeCertificate(const std::filesystem::path& folder, const std::string& name,
                            const std::string& key = "ec -pkeyopt ec_paramgen_curve:prime256v1") {
  const std::string path = (folder / name).string();
  OpenSsl("req -x509 -nodes -days 1 -subj /CN=" + name + " -newkey " + key + " -keyout " + path +
          ".key -out " + path + ".crt");
}

}  // namespace mtm

#endif  // MTM_TESTS_RPC_CERTIFICATES_H_
