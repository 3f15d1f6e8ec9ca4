// A compute's token says under which start of its endpoint it was given out, so that a report of an
// earlier start is known for one, whatever it says of itself.
#pragma once

#include <charconv>
#include <optional>
#include <string>

#include "base/ids.h"
#include "wire/token.h"

namespace varve::control {

inline constexpr std::string_view kComputeStart = "compute start ";

inline TokenClaims compute_claims(const TenantTimelineId& timeline, uint64_t start) {
  TokenClaims claims;
  claims.scope = TokenScope::kTimeline;
  claims.tenant = timeline.tenant;
  claims.timeline = timeline.timeline;
  claims.issued_to = std::string(kComputeStart) + std::to_string(start);
  return claims;
}

// Nothing when the token is not a compute's.
inline std::optional<uint64_t> start_of(const TokenClaims& claims) {
  const std::string& text = claims.issued_to;
  if (claims.scope != TokenScope::kTimeline || !text.starts_with(kComputeStart)) return {};
  uint64_t start = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + kComputeStart.size(), end, start);
  if (error != std::errc{} || rest != end) return {};
  return start;
}

}  // namespace varve::control
