#include "consensus/safekeeper/missing_prefix.h"

namespace varve::consensus {
namespace {

constexpr std::string_view kMissing = "prefix-missing";
constexpr std::string_view kMissingOf = "prefix-missing-of-";

}  // namespace

std::string MissingPrefix::file_name() const {
  return parent ? std::string(kMissingOf) + parent->to_string() : std::string(kMissing);
}

std::optional<MissingPrefix> MissingPrefix::parse_file_name(std::string_view name) {
  if (name == kMissing) return MissingPrefix();
  if (!name.starts_with(kMissingOf)) return std::nullopt;
  const auto parent = TimelineId::parse(name.substr(kMissingOf.size()));
  if (!parent) return std::nullopt;
  return MissingPrefix{parent};
}

}  // namespace varve::consensus
