// SPDX-License-Identifier: Apache-2.0
#include "client/tls_files.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace mtm::client {
namespace {

constexpr size_t kMaxBytes = 1 << 20;

template <auto kFree>
struct Free {
  void operator()(auto* object) const { kFree(object); }
};
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;

// An encrypted key is an error, not a question on the terminal.
int NoPassword(char*, int, int, void*) { return 0; }

// The first object of PEM text, as a function of OpenSSL's reads it; null where there is none.
template <typename Object, typename Read>
Object FromPem(const std::string& pem, Read read) {
  const std::unique_ptr<BIO, Free<BIO_free_all>> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Object object(read(bio.get(), nullptr, NoPassword, nullptr));
  ERR_clear_error();  // gRPC's handshakes on this thread must not find it
  return object;
}

absl::Status CheckPair(const TlsOptions& options, const grpc::SslCredentialsOptions& content) {
  const auto certificate = FromPem<Certificate>(content.pem_cert_chain, PEM_read_bio_X509);
  if (certificate == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.certificate_file, " is no certificate in PEM form"));
  }
  const auto key = FromPem<Key>(content.pem_private_key, PEM_read_bio_PrivateKey);
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.key_file, " is no private key in PEM form without a password"));
  }
  const bool fits = X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(options.key_file, " is not the key of the certificate in ", options.certificate_file));
}

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(const std::string& file) {
  const auto refuse = [&file](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", why));
  };
  const std::unique_ptr<std::FILE, Free<std::fclose>> stream(std::fopen(file.c_str(), "re"));
  if (stream == nullptr) return refuse(std::strerror(errno));
  std::string content(kMaxBytes + 1, '\0');
  content.resize(std::fread(content.data(), 1, content.size(), stream.get()));
  if (std::ferror(stream.get())) return refuse(std::strerror(errno));
  if (content.size() > kMaxBytes) return refuse("is larger than 1 MiB");
  return content;
}

absl::StatusOr<grpc::SslCredentialsOptions> ReadTlsFiles(const TlsOptions& options) {
  grpc::SslCredentialsOptions content;
  for (const auto& [file, target] : {std::pair(&options.ca_file, &content.pem_root_certs),
                                     std::pair(&options.certificate_file, &content.pem_cert_chain),
                                     std::pair(&options.key_file, &content.pem_private_key)}) {
    if (file->empty()) continue;
    auto read = ReadSmallFile(*file);
    if (!read.ok()) return read.status();
    *target = *std::move(read);
  }
  if (options.certificate_file.empty() != options.key_file.empty()) {
    return absl::InvalidArgumentError("a client's certificate and its key go together");
  }
  if (!options.ca_file.empty() &&
      FromPem<Certificate>(content.pem_root_certs, PEM_read_bio_X509) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(options.ca_file, " holds no certificate in PEM form"));
  }
  if (options.certificate_file.empty()) return content;
  if (absl::Status status = CheckPair(options, content); !status.ok()) return status;
  return content;
}

}  // namespace mtm::client
