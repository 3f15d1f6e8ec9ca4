// Who may use a timeline's log.
#pragma once

#include <string_view>

#include "base/ids.h"
#include "base/status.h"
#include "runtime/clock.h"
#include "wire/token.h"

namespace varve::consensus {

// Checks a token for a timeline: success, or Refused with the reason. May suspend.
class TokenCheck {
 public:
  virtual ~TokenCheck() = default;
  virtual Status check(std::string_view token, const TenantTimelineId& id) = 0;
};

// Tokens of one installation: the timeline's own, its tenant's, a node's or an administrator's.
class SignedTokenCheck : public TokenCheck {
 public:
  // Both must outlive it.
  SignedTokenCheck(const TokenVerifier& verifier, const Clock& clock)
      : verifier_(verifier), clock_(clock) {}
  Status check(std::string_view token, const TenantTimelineId& id) override;

 private:
  const TokenVerifier& verifier_;
  const Clock& clock_;
};

}  // namespace varve::consensus
