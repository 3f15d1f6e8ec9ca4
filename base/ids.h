// Identities. Each kind is a type of its own, so that a term can't be passed for a generation.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace varve {

// A number that means one thing. `Tag` is never defined; it only keeps the kinds apart.
template <class Tag>
struct Number {
  uint64_t value = 0;
  constexpr Number() = default;
  constexpr explicit Number(uint64_t v) : value(v) {}
  constexpr auto operator<=>(const Number&) const = default;
  constexpr Number next() const { return Number(value + 1); }
  std::string to_string() const { return std::to_string(value); }
};

using NodeId = Number<struct NodeIdTag>;          // a process' place in the fleet; 0 = none
using Term = Number<struct TermTag>;              // numbers proposers of one timeline
using Generation = Number<struct GenerationTag>;  // numbers attachments of a tenant to a pageserver
using Configuration = Number<struct ConfigurationTag>;  // numbers the safekeeper set of a timeline
using Incarnation = Number<struct IncarnationTag>;  // numbers the lives of a process (random nonce)

// Sixteen random bytes, written as 32 lower-case hexadecimal digits.
template <class Tag>
struct Id128 {
  std::array<uint8_t, 16> bytes{};
  constexpr auto operator<=>(const Id128&) const = default;
  constexpr bool is_zero() const { return *this == Id128{}; }
  std::string to_string() const;
  // Exactly 32 hexadecimal digits, else nothing.
  static std::optional<Id128> parse(std::string_view text);
};

using TenantId = Id128<struct TenantIdTag>;
using TimelineId = Id128<struct TimelineIdTag>;

// One shard of a tenant. Text is "<32 hex>-NNCC" (number, count, in hexadecimal); unsharded is
// "-0001", so that paths, object keys and labels have one shape from the first file on.
struct TenantShardId {
  TenantId tenant;
  uint8_t number = 0;
  uint8_t count = 1;
  constexpr auto operator<=>(const TenantShardId&) const = default;
  std::string to_string() const;
  static std::optional<TenantShardId> parse(std::string_view text);
};

// What most components are keyed by.
struct TenantTimelineId {
  TenantId tenant;
  TimelineId timeline;
  constexpr auto operator<=>(const TenantTimelineId&) const = default;
  std::string to_string() const { return tenant.to_string() + "/" + timeline.to_string(); }
};

extern template struct Id128<TenantIdTag>;
extern template struct Id128<TimelineIdTag>;

}  // namespace varve
