#include "consensus/safekeeper/token_check.h"

namespace varve::consensus {

Status SignedTokenCheck::check(std::string_view token, const TenantTimelineId& id) {
  return verifier_.verify_for(token, TokenScope::kTimeline, id.tenant, id.timeline, clock_.wall())
      .status();
}

}  // namespace varve::consensus
