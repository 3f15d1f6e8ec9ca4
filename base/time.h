// Three kinds of time that must not be mixed.
//
// Duration is a length. Instant is a reading of one node's monotonic clock in one life of its
// process: it never crosses a wire and is never persisted. WallTime is what people and Postgres
// mean by time; nothing is ordered by it.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace varve {

struct Duration {
  int64_t nanoseconds = 0;

  constexpr auto operator<=>(const Duration&) const = default;
  static constexpr Duration nanos(int64_t n) { return Duration{n}; }
  static constexpr Duration micros(int64_t n) { return Duration{n * 1000}; }
  static constexpr Duration millis(int64_t n) { return Duration{n * 1000000}; }
  static constexpr Duration seconds(int64_t n) { return Duration{n * 1000000000}; }
  static constexpr Duration max() { return Duration{std::numeric_limits<int64_t>::max()}; }
  constexpr int64_t to_micros() const { return nanoseconds / 1000; }
  constexpr int64_t to_millis() const { return nanoseconds / 1000000; }

  constexpr Duration operator+(Duration o) const { return {nanoseconds + o.nanoseconds}; }
  constexpr Duration operator-(Duration o) const { return {nanoseconds - o.nanoseconds}; }
  constexpr Duration operator*(int64_t n) const { return {nanoseconds * n}; }
  constexpr Duration operator/(int64_t n) const { return {nanoseconds / n}; }
};

struct Instant {
  int64_t nanoseconds = 0;

  constexpr auto operator<=>(const Instant&) const = default;
  // Later than every reading: "no deadline".
  static constexpr Instant never() { return Instant{std::numeric_limits<int64_t>::max()}; }
  constexpr Instant operator+(Duration d) const {
    if (d.nanoseconds > 0 && nanoseconds > std::numeric_limits<int64_t>::max() - d.nanoseconds) {
      return never();
    }
    return {nanoseconds + d.nanoseconds};
  }
  constexpr Duration operator-(Instant o) const { return {nanoseconds - o.nanoseconds}; }
};

// Microseconds since 2000-01-01 00:00:00 UTC, Postgres' TimestampTz, so that no conversion can be
// forgotten between a commit record and an answer.
struct WallTime {
  int64_t microseconds = 0;

  constexpr auto operator<=>(const WallTime&) const = default;
  // 2000-01-01 in microseconds since 1970-01-01.
  static constexpr int64_t kUnixOffset = 946684800LL * 1000000;
  static constexpr WallTime from_unix_micros(int64_t us) { return {us - kUnixOffset}; }
  constexpr int64_t to_unix_micros() const { return microseconds + kUnixOffset; }
  constexpr int64_t to_unix_seconds() const { return to_unix_micros() / 1000000; }
};

}  // namespace varve
