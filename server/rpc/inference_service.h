// SPDX-License-Identifier: Apache-2.0
#ifndef MTM_SERVER_RPC_INFERENCE_SERVICE_H_
#define MTM_SERVER_RPC_INFERENCE_SERVICE_H_

#include "mtm/v1/inference_service.grpc.pb.h"
#include "server/rpc/backend.h"

namespace mtm {

// clang-format off
using RawInferenceService =
    v1::InferenceService::WithRawCallbackMethod_Generate<
    v1::InferenceService::WithRawCallbackMethod_StreamGenerate<
    v1::InferenceService::WithRawCallbackMethod_Score<
    v1::InferenceService::WithRawCallbackMethod_Tokenize<
    v1::InferenceService::WithRawCallbackMethod_Detokenize<
    v1::InferenceService::WithRawCallbackMethod_GetModel<
    v1::InferenceService::Service>>>>>>;
// clang-format on

// mtm.v1.InferenceService. Takes requests as bytes: messages.h says why. Thread-safe.
class InferenceService final : public RawInferenceService {
 public:
  explicit InferenceService(Backend& backend) : backend_(backend) {}

  grpc::ServerUnaryReactor* Generate(grpc::CallbackServerContext*, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* StreamGenerate(grpc::CallbackServerContext*,
                                                             const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext*, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext*, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext*, const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext*, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;

 private:
  Backend& backend_;
};

}  // namespace mtm

#endif  // MTM_SERVER_RPC_INFERENCE_SERVICE_H_
