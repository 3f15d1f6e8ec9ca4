// Tokens: what is signed is what is read, and one changed bit is refused.
#include <gtest/gtest.h>
// gtest must come before this one, or FAIL does not compile.
#include <rapidcheck/gtest.h>

#include "base/random.h"
#include "wire/token.h"

namespace varve {
namespace {

TokenSigner signer(uint64_t seed) {
  std::array<uint8_t, kTokenKeySize> bytes{};
  RandomStream random(seed, "key");
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.next());
  return TokenSigner::from_seed(bytes);
}

template <class Id>
Id id(uint8_t fill) {
  Id id;
  id.bytes.fill(fill);
  return id;
}

TokenClaims claims_of(TokenScope scope) {
  TokenClaims claims;
  claims.scope = scope;
  if (scope == TokenScope::kTimeline || scope == TokenScope::kTenant)
    claims.tenant = id<TenantId>(1);
  if (scope == TokenScope::kTimeline) claims.timeline = id<TimelineId>(2);
  claims.issued_to = "compute-7";
  return claims;
}

constexpr TokenScope kScopes[] = {TokenScope::kTimeline, TokenScope::kTenant, TokenScope::kNode,
                                  TokenScope::kAdmin};

WallTime at(int64_t unix_seconds) {
  return WallTime::from_unix_micros(unix_seconds * 1000000);
}

TEST(Token, SignedClaimsComeBack) {
  const TokenSigner key = signer(1);
  const TokenVerifier verifier({signer(2).public_key(), key.public_key()});
  for (const TokenScope scope : kScopes) {
    TokenClaims claims = claims_of(scope);
    claims.expiry = 1000;
    const std::string token = key.sign(claims);
    EXPECT_EQ(
        token.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"),
        std::string::npos);
    const auto read = verifier.verify(token, at(999));
    ASSERT_TRUE(read.ok()) << read.status().to_string();
    EXPECT_EQ(*read, claims);
    const auto late = verifier.verify(token, at(1000));
    EXPECT_TRUE(late.is(Code::kRefused));
    EXPECT_NE(late.status().message().find("expired"), std::string::npos);
  }
}

TEST(Token, EveryChangedCharacterIsRefused) {
  const TokenSigner key = signer(1);
  const TokenVerifier verifier({key.public_key()});
  const std::string token = key.sign(claims_of(TokenScope::kTimeline));
  RandomStream random(3, "edits");
  for (size_t i = 0; i < token.size(); ++i) {
    std::string edited = token;
    edited[i] = edited[i] == 'A' ? 'B' : 'A';
    EXPECT_TRUE(verifier.verify(edited, at(0)).is(Code::kRefused)) << i;
    EXPECT_TRUE(verifier.verify(token.substr(0, i), at(0)).is(Code::kRefused)) << i;
  }
  EXPECT_TRUE(verifier.verify(token + "A", at(0)).is(Code::kRefused));
  EXPECT_TRUE(TokenVerifier({signer(2).public_key()}).verify(token, at(0)).is(Code::kRefused));
  EXPECT_TRUE(verifier.verify(token, at(0)).ok());
}

RC_GTEST_PROP(Token, HostileTextIsRefused, (std::string text)) {
  const TokenVerifier verifier({signer(1).public_key()});
  RC_ASSERT(verifier.verify(text, at(0)).is(Code::kRefused));
  RC_ASSERT(verifier.verify("vt1_" + text, at(0)).is(Code::kRefused));
}

// The whole table: who may do what.
TEST(Token, ScopesTenantsAndTimelines) {
  const TenantId tenant = id<TenantId>(1);
  const TimelineId timeline = id<TimelineId>(2);
  const bool covers[4][4] = {
      // needed: timeline, tenant, node, admin
      {true, false, false, false},  // timeline
      {true, true, false, false},   // tenant
      {true, true, true, false},    // node
      {true, true, false, true},    // admin
  };
  for (int held = 0; held < 4; ++held) {
    const TokenClaims claims = claims_of(kScopes[held]);
    for (int needed = 0; needed < 4; ++needed) {
      EXPECT_EQ(authorize(claims, kScopes[needed], tenant, timeline, at(5)).ok(),
                covers[held][needed])
          << held << needed;
    }
  }
  const TokenClaims of_tenant = claims_of(TokenScope::kTenant);
  EXPECT_TRUE(authorize(of_tenant, TokenScope::kTimeline, id<TenantId>(9), timeline, at(5))
                  .is(Code::kRefused));
  EXPECT_TRUE(authorize(of_tenant, TokenScope::kTimeline, tenant, id<TimelineId>(9), at(5)).ok());
  const TokenClaims of_timeline = claims_of(TokenScope::kTimeline);
  EXPECT_FALSE(
      authorize(of_timeline, TokenScope::kTimeline, tenant, id<TimelineId>(9), at(5)).ok());
  EXPECT_FALSE(authorize(of_timeline, TokenScope::kTimeline, tenant, {}, at(5)).ok());
  TokenClaims old = claims_of(TokenScope::kAdmin);
  old.expiry = 4;
  EXPECT_FALSE(authorize(old, TokenScope::kAdmin, {}, {}, at(5)).ok());
}

TEST(Token, KeysSurviveTheirFiles) {
  const TokenSigner key = signer(4);
  const auto again = TokenSigner::from_pem(key.to_pem());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->public_key(), key.public_key());
  const auto verifier = TokenVerifier::from_pem(TokenVerifier::to_pem(signer(5).public_key()) +
                                                TokenVerifier::to_pem(key.public_key()));
  ASSERT_TRUE(verifier.ok());
  EXPECT_TRUE(verifier->verify(again->sign(claims_of(TokenScope::kNode)), at(0)).ok());
  EXPECT_TRUE(TokenSigner::from_pem("no key").is(Code::kInvalid));
  EXPECT_TRUE(TokenVerifier::from_pem("").is(Code::kInvalid));
}

// RFC 8032, section 7.1, test 1: the public key of a known private one.
TEST(Token, KnownKey) {
  const std::array<uint8_t, 32> seed = {0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60,
                                        0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
                                        0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19,
                                        0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60};
  const TokenPublicKey known = {0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe,
                                0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6,
                                0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a};
  EXPECT_EQ(TokenSigner::from_seed(seed).public_key(), known);
}

}  // namespace
}  // namespace varve
