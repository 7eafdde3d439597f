// SPDX-License-Identifier: Apache-2.0
// Linked into every program in builds with AddressSanitizer.

extern "C" const char* __lsan_default_suppressions() {
  // gRPC's resolver of names: Debian's c-ares loses ten bytes of its configuration.
  return "leak:libcares.so\n";
}
