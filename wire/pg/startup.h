// The first packet of a Postgres connection: no type byte, a length, a code.
//
// Protocol 3.0 as in "Frontend/Backend Protocol" of the PostgreSQL manual. Pure: bytes to values
// and back.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/codec.h"
#include "base/status.h"

namespace varve::pg {

inline constexpr size_t kMaxStartupBytes = 10000;  // Postgres' own limit, length field included

enum class StartupKind : uint8_t { kStartup, kSslRequest, kGssRequest, kCancelRequest };

// Names and values in the order in which they came. A name that comes twice counts as its last
// value, as in Postgres.
class Parameters {
 public:
  void add(std::string name, std::string value) {
    entries_.emplace_back(std::move(name), std::move(value));
  }
  std::optional<std::string_view> find(std::string_view name) const;
  const std::vector<std::pair<std::string, std::string>>& entries() const { return entries_; }
  bool operator==(const Parameters&) const = default;

 private:
  std::vector<std::pair<std::string, std::string>> entries_;
};

struct Startup {
  StartupKind kind = StartupKind::kStartup;
  uint16_t major = 3;
  uint16_t minor = 0;
  Parameters parameters;    // of kStartup: user, database, application_name, replication, …
  Parameters options;       // what the parameter "options" sets, parsed
  uint32_t process_id = 0;  // of kCancelRequest
  uint32_t secret_key = 0;  // of kCancelRequest
};

// `body` is the packet behind its length field. Invalid says what is malformed; Unsupported names
// another protocol's number.
Result<Startup> parse_startup(std::span<const uint8_t> body);

// The value of the parameter "options": settings separated by blanks, each `-c name=value`,
// `-cname=value`,
// `--name=value` or plain `name=value`; a backslash keeps the next character. In names '-' counts
// as '_'. Invalid names the word that is none of these.
Result<Parameters> parse_options(std::string_view options);

// A whole startup packet with its length field, protocol 3.0. Invariant: no NUL in names or values,
// no empty name, at most kMaxStartupBytes.
std::vector<uint8_t> encode_startup(const Parameters& parameters);
// Escapes one value for use inside "options".
std::string escape_option(std::string_view value);

}  // namespace varve::pg
