// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/requester.h"

#include "gtest/gtest.h"

namespace mtm {
namespace {

TEST(ClientOfPeerTest, AnotherHostIsOneClientWhateverItsPort) {
  EXPECT_EQ(ClientOfPeer("ipv4:10.0.0.1:5000"), "10.0.0.1");
  EXPECT_EQ(ClientOfPeer("ipv4:10.0.0.1:5001"), "10.0.0.1");
  EXPECT_EQ(ClientOfPeer("ipv6:%5B2001:db8::1%5D:5000"), "%5B2001:db8::1%5D");
}

TEST(ClientOfPeerTest, OnThisHostEachConnectionIsOne) {
  EXPECT_EQ(ClientOfPeer("ipv4:127.0.0.1:5000"), "127.0.0.1:5000");
  EXPECT_EQ(ClientOfPeer("ipv6:%5B::1%5D:5000"), "%5B::1%5D:5000");
}

TEST(ClientOfPeerTest, AUnixSocketTellsNobodyApart) {
  EXPECT_EQ(ClientOfPeer("unix:"), "");
  EXPECT_EQ(ClientOfPeer("unix:/run/mtm.sock"), "");
  EXPECT_EQ(ClientOfPeer("unix-abstract:mtm"), "");
}

TEST(ClientOfPeerTest, WhatIsNoAddressIsTakenAsItIs) {
  EXPECT_EQ(ClientOfPeer(""), "");
  EXPECT_EQ(ClientOfPeer("unknown"), "unknown");
  EXPECT_EQ(ClientOfPeer("a:b"), "b");
}

}  // namespace
}  // namespace mtm
