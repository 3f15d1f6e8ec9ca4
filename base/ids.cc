#include "base/ids.h"

namespace varve {
namespace {

constexpr char kDigits[] = "0123456789abcdef";

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<uint8_t> parse_byte(std::string_view text) {
  const int high = digit(text[0]);
  const int low = digit(text[1]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<uint8_t>(high << 4 | low);
}

void append_byte(std::string& text, uint8_t byte) {
  text += kDigits[byte >> 4];
  text += kDigits[byte & 15];
}

}  // namespace

template <class Tag>
std::string Id128<Tag>::to_string() const {
  std::string text;
  text.reserve(32);
  for (uint8_t byte : bytes) append_byte(text, byte);
  return text;
}

template <class Tag>
std::optional<Id128<Tag>> Id128<Tag>::parse(std::string_view text) {
  if (text.size() != 32) return std::nullopt;
  Id128 id;
  for (size_t i = 0; i < 16; ++i) {
    const auto byte = parse_byte(text.substr(2 * i, 2));
    if (!byte) return std::nullopt;
    id.bytes[i] = *byte;
  }
  return id;
}

template struct Id128<TenantIdTag>;
template struct Id128<TimelineIdTag>;

std::string TenantShardId::to_string() const {
  std::string text = tenant.to_string();
  text += '-';
  append_byte(text, number);
  append_byte(text, count);
  return text;
}

std::optional<TenantShardId> TenantShardId::parse(std::string_view text) {
  if (text.size() != 37 || text[32] != '-') return std::nullopt;
  const auto tenant = TenantId::parse(text.substr(0, 32));
  const auto number = parse_byte(text.substr(33, 2));
  const auto count = parse_byte(text.substr(35, 2));
  if (!tenant || !number || !count || *count == 0 || *number >= *count) return std::nullopt;
  return TenantShardId{*tenant, *number, *count};
}

}  // namespace varve
