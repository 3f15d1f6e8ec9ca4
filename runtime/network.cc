#include "runtime/network.h"

#include <charconv>
#include <cstring>

namespace varve {

Result<Address> Address::parse(std::string_view text) {
  const size_t colon = text.rfind(':');
  uint16_t port = 0;
  bool good = colon != std::string_view::npos;
  if (good) {
    const std::string_view digits = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    good = error == std::errc{} && end == digits.data() + digits.size();
  }
  if (!good) {
    return Status(Code::kInvalid, "'" + std::string(text) + "' is not an address")
        .with_hint("write host:port, for example 127.0.0.1:5454");
  }
  return Address{std::string(text.substr(0, colon)), port};
}

Status Stream::write(Bytes data) {
  std::vector<Bytes> pieces;
  pieces.push_back(std::move(data));
  return write(std::move(pieces));
}

Result<Bytes> BufferedReader::read_exactly(size_t count) {
  if (count == 0) return Bytes();
  if (rest_.size() >= count) {
    Bytes piece = rest_.slice(0, count);
    rest_ = rest_.slice(count);
    return piece;
  }
  std::vector<Bytes> pieces;
  size_t have = rest_.size();
  if (have != 0) pieces.push_back(std::exchange(rest_, Bytes()));
  while (have < count) {
    VARVE_TRY_ASSIGN(Bytes piece, stream_.read());
    if (piece.empty()) {
      if (have == 0) return Status(Code::kNotFound, "the stream has ended");
      return Status(Code::kUnavailable, "the stream ended after " + std::to_string(have) + " of " +
                                            std::to_string(count) + " bytes");
    }
    have += piece.size();
    pieces.push_back(std::move(piece));
  }
  if (have > count) {
    Bytes& last = pieces.back();
    const size_t keep = last.size() - (have - count);
    rest_ = last.slice(keep);
    last = last.slice(0, keep);
  }
  return concatenate(pieces);
}

Result<Bytes> BufferedReader::read_some() {
  if (!rest_.empty()) return std::exchange(rest_, Bytes());
  return stream_.read();
}

}  // namespace varve
