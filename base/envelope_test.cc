// Damage anywhere in a sealed file is seen, and a file of the future is refused by name.
#include "base/envelope.h"

#include <gtest/gtest.h>
// gtest must come before this one, or FAIL does not compile.
#include <rapidcheck/gtest.h>

#include "base/codec.h"

namespace varve {
namespace {

constexpr EnvelopeType kSample = {"sample", 3, 2};

TEST(Envelopes, ANewerFormatIsRefusedByNameAndNumber) {
  const Bytes sealed = seal({"sample", 9, 9}, {}, {}, as_bytes("x"));
  const auto opened = open_envelope(kSample, sealed, "file");
  ASSERT_TRUE(opened.is(Code::kUnsupported));
  EXPECT_NE(opened.status().message().find("format 9"), std::string::npos);
  EXPECT_TRUE(open_envelope({"other", 9, 9}, sealed, "file").is(Code::kCorrupt));
}

RC_GTEST_PROP(Envelopes, RoundTripAndEveryDamagedByteIsSeen, (std::string payload, uint32_t at)) {
  TenantId tenant;
  tenant.bytes[3] = 7;
  const Bytes sealed = seal(kSample, tenant, {}, as_bytes(payload));
  const auto opened = open_envelope(kSample, sealed, "file");
  RC_ASSERT(opened.ok());
  RC_ASSERT(opened->tenant == tenant);
  RC_ASSERT(opened->payload.view() == payload);

  std::vector<uint8_t> damaged(sealed.span().begin(), sealed.span().end());
  damaged[at % damaged.size()] ^= 0x10;
  RC_ASSERT(!open_envelope(kSample, Bytes::copy(damaged), "file").ok());
  RC_ASSERT(open_envelope(kSample, sealed.slice(0, at % sealed.size()), "file").is(Code::kCorrupt));
}

}  // namespace
}  // namespace varve
