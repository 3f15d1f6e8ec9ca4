#include "storage/format/layer.h"

namespace varve::storage {
namespace {

std::string hex(uint64_t value, int digits) {
  std::string text(static_cast<size_t>(digits), '0');
  for (int i = digits; i-- > 0; value >>= 4)
    text[static_cast<size_t>(i)] = "0123456789ABCDEF"[value & 15];
  return text;
}

}  // namespace

std::string LayerDescriptor::name() const {
  std::string text = is_image() ? "image-" : "delta-";
  text += keys.start.to_hex() + "-" + keys.end.to_hex() + "-" + hex(lsn.start.value, 16);
  if (!is_image()) text += "-" + hex(lsn.end.value, 16);
  return text + "-" + hex(generation.value, 8) + "-" + hex(number, 8);
}

}  // namespace varve::storage
