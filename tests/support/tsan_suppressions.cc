// SPDX-License-Identifier: Apache-2.0
// Linked into every program in builds with ThreadSanitizer.

extern "C" const char* __tsan_default_options() {
  // Neither gRPC nor abseil nor LibTorch is built with it: what their code touches by itself is not looked at.
  return "ignore_noninstrumented_modules=1";
}

extern "C" const char* __tsan_default_suppressions() {
  // gRPC hands a call from thread to thread by queues that ThreadSanitizer cannot see into, so each use of what went
  // through gRPC looks like a race: in its own templates, and in reactions on its threads. That leaves what engine,
  // maker, worker and tests do among themselves, and all that is under our own mutexes.
  // The count of a status goes down in abseil's library, out of sight.
  return "race:libgrpc.so\n"
         "race:libgrpc++.so\n"
         "race:/usr/include/grpcpp/\n"
         "race:google::protobuf::\n"
         "race:absl::debian3::Status::\n";
}
