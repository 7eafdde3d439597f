// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/tls_material.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <ctime>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "memory_store/absl_view.h"
#include "server/rpc/small_file.h"

namespace mtm {
namespace {

template <auto kFree>
struct Free {
  void operator()(auto* object) const { kFree(object); }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Context = std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>>;

// gRPC's handshakes on this thread must not find what ours left.
class OpenSslErrors {
 public:
  OpenSslErrors() { ERR_clear_error(); }
  ~OpenSslErrors() { ERR_clear_error(); }
  OpenSslErrors(const OpenSslErrors&) = delete;
  OpenSslErrors& operator=(const OpenSslErrors&) = delete;

  static absl::Status Last(const std::filesystem::path& file, std::string_view what) {
    const char* reason = ERR_reason_error_string(ERR_peek_last_error());
    return absl::InvalidArgumentError(absl::StrCat(file.string(), ": ", AbslView(what),
                                                   " (OpenSSL: ", reason ? reason : "no reason given", ")"));
  }
};

Bio Read(const std::string& pem) { return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))); }

// An encrypted key is an error, not a question on the terminal.
int NoPassword(char*, int, int, void*) { return 0; }

absl::StatusOr<std::vector<Certificate>> ParseCertificates(const std::filesystem::path& file,
                                                           const std::string& pem) {
  std::vector<Certificate> certificates;
  const Bio bio = Read(pem);
  while (auto* certificate = PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr)) {
    certificates.emplace_back(certificate);
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (certificates.empty() || !at_end) return OpenSslErrors::Last(file, "not a certificate in PEM form");
  ERR_clear_error();
  return certificates;
}

absl::StatusOr<Key> ParseKey(const std::filesystem::path& file, const std::string& pem) {
  Key key(PEM_read_bio_PrivateKey(Read(pem).get(), nullptr, NoPassword, nullptr));
  if (key == nullptr) return OpenSslErrors::Last(file, "not a private key in PEM form without a password");
  return key;
}

absl::Time ExpiryOf(const X509& certificate) {
  std::tm time{};
  ASN1_TIME_to_tm(X509_get0_notAfter(&certificate), &time);
  return absl::FromTimeT(timegm(&time));
}

// As gRPC will do it, to know before it fails what is wrong.
absl::Status CheckPair(const TlsFiles& files, const std::vector<Certificate>& chain, EVP_PKEY* key) {
  const Context context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr) return absl::InternalError("cannot set up OpenSSL");
  if (SSL_CTX_use_certificate(context.get(), chain.front().get()) != 1) {
    return OpenSslErrors::Last(files.certificate, "the certificate is refused");
  }
  if (X509_check_private_key(chain.front().get(), key) != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        files.key.string(), ": not the key of the first certificate in ", files.certificate.string()));
  }
  if (SSL_CTX_use_PrivateKey(context.get(), key) != 1) {
    return OpenSslErrors::Last(files.key, "the key is refused");
  }
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) != 1) {
      return OpenSslErrors::Last(files.certificate, absl::StrCat("its certificate ", i + 1, " is refused"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadFile(const std::filesystem::path& file, std::string& content) {
  if (file.empty()) return absl::OkStatus();
  auto read = ReadSmallFile(file);
  if (!read.ok()) return read.status();
  content = *std::move(read);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TlsMaterial> ReadTlsMaterial(const TlsFiles& files) {
  TlsMaterial material;
  absl::Status status = ReadFile(files.certificate, material.certificate);
  status.Update(ReadFile(files.key, material.key));
  status.Update(ReadFile(files.client_ca, material.client_ca));
  if (!status.ok()) return status;
  const OpenSslErrors errors;
  const auto chain = ParseCertificates(files.certificate, material.certificate);
  if (!chain.ok()) return chain.status();
  const auto key = ParseKey(files.key, material.key);
  if (!key.ok()) return key.status();
  status = CheckPair(files, *chain, key->get());
  if (status.ok() && !files.client_ca.empty()) {
    status = ParseCertificates(files.client_ca, material.client_ca).status();
  }
  if (!status.ok()) return status;
  material.expiry = ExpiryOf(*chain->front());
  return material;
}

}  // namespace mtm
