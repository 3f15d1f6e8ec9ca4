#include "base/lsn.h"

#include <charconv>
#include <cstdio>

namespace varve {

std::string Lsn::to_string() const {
  char buffer[24];
  std::snprintf(buffer, sizeof buffer, "%X/%X", static_cast<unsigned>(value >> 32),
                static_cast<unsigned>(value & 0xFFFFFFFF));
  return buffer;
}

std::optional<Lsn> Lsn::parse(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view halves[2] = {text.substr(0, slash), text.substr(slash + 1)};
  uint64_t value = 0;
  for (std::string_view half : halves) {
    uint32_t part = 0;
    if (half.empty() || half.size() > 8) return std::nullopt;
    const auto [end, error] = std::from_chars(half.data(), half.data() + half.size(), part, 16);
    if (error != std::errc{} || end != half.data() + half.size()) return std::nullopt;
    value = (value << 32) | part;
  }
  return Lsn(value);
}

}  // namespace varve
