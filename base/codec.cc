#include "base/codec.h"

namespace varve {

std::string_view Reader::cstring() {
  const auto rest = this->rest();
  const void* end = failed_ || rest.empty() ? nullptr : std::memchr(rest.data(), 0, rest.size());
  if (end == nullptr) {
    failed_ = true;
    return {};
  }
  const size_t length = static_cast<size_t>(static_cast<const uint8_t*>(end) - rest.data());
  position_ += length + 1;
  return {reinterpret_cast<const char*>(rest.data()), length};
}

void Writer::cstring(std::string_view text) {
  VARVE_CHECK(text.find('\0') == std::string_view::npos);
  this->text(text);
  u8(0);
}

}  // namespace varve
