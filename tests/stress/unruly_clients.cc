// SPDX-License-Identifier: Apache-2.0
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "mtm/v1/memory_service.grpc.pb.h"
#include "tests/stress/perform.h"
#include "tests/stress/soak_clients.h"

namespace mtm {
namespace {

using grpc::StatusCode;
using std::chrono::milliseconds;

// What costs nothing must not take all of the time.
constexpr milliseconds kBreath(5);

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  // 0 <= result < n.
  int Below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(random_); }
  std::string Bytes(int most) {
    std::string bytes(static_cast<size_t>(1 + Below(most)), '\0');
    for (char& byte : bytes) byte = static_cast<char>(Below(256));
    return bytes;
  }

 private:
  std::mt19937_64 random_;
};

// Goes on until somebody ends it, with `trace_entries` lookups in each message.
v1::GenerateRequest EndlessRequest(const Soak& soak, Dice& dice, int trace_entries) {
  v1::GenerateRequest request;
  for (int i = 0; i < 8; ++i)
    request.mutable_prompt_tokens()->add_ids(dice.Below(soak.model().vocabulary_size()));
  v1::MemoryUse& use = *request.add_memory_uses();
  use.set_memory(soak.memories().front());
  use.set_memory_fraction(50);
  use.set_k(32);
  v1::GenerationParameters& parameters = *request.mutable_parameters();
  parameters.set_mode(v1::MODE_EXACT);  // the cached mode ends with the context
  parameters.set_max_tokens(100'000);
  parameters.set_ignore_end_of_text(true);
  if (trace_entries > 0) parameters.mutable_trace()->set_max_entries(trace_entries);
  return request;
}

bool IsOneOf(const grpc::Status& status, std::initializer_list<StatusCode> codes) {
  for (const StatusCode code : codes) {
    if (status.error_code() == code) return true;
  }
  return IsRefusal(status);
}

void Judge(Soak& soak, const std::string& what, const grpc::Status& status,
           std::initializer_list<StatusCode> expected) {
  if (!IsOneOf(status, expected)) return soak.Fail(absl::StrCat(what, ": ", Describe(status)));
  soak.Count(what, Describe({status.error_code(), ""}));
}

class Socket {
 public:
  explicit Socket(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Socket() { close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  bool connected() const { return connected_; }
  void Send(const std::string& bytes) const { send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  // Takes what comes until the server closes the connection or has nothing to say for so long.
  void Drain(milliseconds most) const {
    pollfd waited{.fd = fd_, .events = POLLIN};
    char buffer[4096];
    while (poll(&waited, 1, static_cast<int>(most.count())) > 0) {
      if (recv(fd_, buffer, sizeof(buffer), 0) <= 0) return;
    }
  }

 private:
  const int fd_;
  bool connected_ = false;
};

// Every rpc of the two services.
std::vector<std::string> Methods() {
  std::vector<std::string> methods;
  for (const char* service :
       {v1::InferenceService::service_full_name(), v1::MemoryService::service_full_name()}) {
    const auto* descriptor = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
    for (int i = 0; i < descriptor->method_count(); ++i)
      methods.push_back(absl::StrCat("/", service, "/", descriptor->method(i)->name()));
  }
  return methods;
}

grpc::Status CallWithBytes(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                           const std::string& bytes) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  grpc::CompletionQueue queue;
  const grpc::Slice slice(bytes);
  const auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  return status;
}

}  // namespace

void Leave(Soak& soak, uint64_t seed) {
  Dice dice(seed);
  while (!soak.stopped()) {
    // Half of them take their connection with them.
    const auto stub = v1::InferenceService::NewStub(soak.Connect());
    for (int requests = 1 + dice.Below(2); requests > 0 && !soak.stopped(); --requests) {
      grpc::ClientContext context;
      const auto stream = stub->StreamGenerate(&context, EndlessRequest(soak, dice, 0));
      v1::StreamGenerateResponse event;
      for (int n = dice.Below(20); n > 0 && stream->Read(&event); --n) {
      }
      context.TryCancel();
      Judge(soak, "clients that leave", stream->Finish(), {StatusCode::CANCELLED});
    }
  }
}

void StopReading(Soak& soak, uint64_t seed) {
  Dice dice(seed);
  const auto stub = v1::InferenceService::NewStub(soak.Connect());
  while (!soak.stopped()) {
    grpc::ClientContext context;
    const auto stream = stub->StreamGenerate(&context, EndlessRequest(soak, dice, 1000));
    v1::StreamGenerateResponse event;
    stream->Read(&event);
    soak.Pause(milliseconds(500 + dice.Below(4000)));
    // Some go on then, as slow readers do.
    for (int n = dice.Below(3) * 100; n > 0 && stream->Read(&event); --n) {
    }
    context.TryCancel();
    // DEADLINE_EXCEEDED: of the server's --stall-timeout-ms.
    Judge(soak, "clients that stop reading", stream->Finish(),
          {StatusCode::CANCELLED, StatusCode::DEADLINE_EXCEEDED});
  }
}

void RunOutOfTime(Soak& soak, uint64_t seed) {
  Dice dice(seed);
  const auto stub = v1::InferenceService::NewStub(soak.Connect());
  while (!soak.stopped()) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + milliseconds(1 + dice.Below(50)));
    v1::GenerateResponse response;
    const grpc::Status status = stub->Generate(&context, EndlessRequest(soak, dice, 0), &response);
    Judge(soak, "deadlines of milliseconds", status, {StatusCode::DEADLINE_EXCEEDED});
    soak.Pause(4 * kBreath);
  }
}

void AbandonWrites(Soak& soak, uint64_t seed) {
  Dice dice(seed);
  const auto stub = v1::MemoryService::NewStub(soak.Connect());
  const std::string name = absl::StrCat("abandoned/", seed);
  while (!soak.stopped()) {
    grpc::ClientContext context;
    const auto stream = stub->CreateMemory(&context);
    v1::CreateMemoryRequest spec, part;
    spec.mutable_spec()->set_name(name);
    for (int i = 0; i < 40; ++i)
      part.mutable_token_ids()->add_ids(dice.Below(soak.model().vocabulary_size()));
    stream->Write(spec);
    for (int parts = dice.Below(5); parts > 0; --parts) stream->Write(part);
    soak.Pause(milliseconds(dice.Below(20)));
    context.TryCancel();
    Judge(soak, "abandoned uploads", stream->Finish(), {StatusCode::CANCELLED});
  }
  grpc::ClientContext context;
  v1::GetMemoryRequest request;
  request.set_name(name);
  v1::Memory memory;
  const grpc::Status status = stub->GetMemory(&context, request, &memory);
  Judge(soak, "memories of abandoned uploads", status, {StatusCode::NOT_FOUND});
}

void SendNoMessages(Soak& soak, uint64_t seed) {
  Dice dice(seed);
  const auto channel = soak.Connect();
  const std::vector<std::string> methods = Methods();
  while (!soak.stopped()) {
    const std::string& method = methods[static_cast<size_t>(dice.Below(static_cast<int>(methods.size())))];
    // A field that is longer than what comes.
    const grpc::Status status = CallWithBytes(channel, method, "\x0a\xff" + dice.Bytes(100));
    Judge(soak, "bytes that are no message", status, {StatusCode::INVALID_ARGUMENT});
    soak.Pause(kBreath);
  }
}

void SendNoHttp(Soak& soak, uint64_t seed) {
  Dice dice(seed);
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  const std::string settings("\0\0\0\4\0\0\0\0\0", 9);
  while (!soak.stopped()) {
    const Socket socket(soak.port());
    if (!socket.connected()) return soak.Fail("the server takes no connection");
    switch (dice.Below(5)) {
      case 0:
        socket.Send(dice.Bytes(5000));
        break;
      case 1:
        socket.Send(preface + dice.Bytes(5000));
        break;
      case 2:
        socket.Send(preface + settings + dice.Bytes(5000));
        break;
      case 3:
        socket.Send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        break;
      default:
        soak.Pause(milliseconds(dice.Below(1000)));
        break;  // says nothing
    }
    if (dice.Below(2) == 0) socket.Drain(milliseconds(200));
    soak.Count("bytes that are no HTTP/2", "closed");
  }
}

}  // namespace mtm
