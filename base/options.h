// Limits as data. Every tunable of a component is a field of a plain struct, described once by a
// static `describe` function:
//
//   struct SafekeeperOptions {
//     uint64_t segment_bytes = 16 << 20;
//     Duration flush_interval = Duration::seconds(1);
//     template <class V> static void describe(V&& v) {
//       v(&SafekeeperOptions::segment_bytes, {"segment_bytes", "bytes", 1 << 20, 64 << 20,
//                                             "size of a WAL segment; Postgres' own unless
//                                             testing"});
//     }
//   };
//
// Production fills the struct from DIR/varve.toml and flags; the simulator draws each field from
// its range; both refuse what lies outside. So the same object files run in both worlds.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/random.h"
#include "base/status.h"
#include "base/time.h"

namespace varve {

// For a Duration, minimum and maximum are milliseconds. For a bool, 0 and 1.
struct OptionInfo {
  const char* name;
  const char* unit;  // "bytes", "count", "ms", "bool"
  int64_t minimum;
  int64_t maximum;
  const char* why;  // one line
};

namespace internal {

template <class T>
int64_t option_get(const T& field) {
  if constexpr (std::is_same_v<T, Duration>) {
    return field.to_millis();
  } else {
    return static_cast<int64_t>(field);
  }
}

template <class T>
void option_set(T& field, int64_t value) {
  if constexpr (std::is_same_v<T, Duration>) {
    field = Duration::millis(value);
  } else {
    field = static_cast<T>(value);
  }
}

}  // namespace internal

// Sets the option called `name` (as described) from text. Invalid names the option, its range and
// its unit.
template <class Options>
Status set_option(Options& options, std::string_view name, std::string_view text) {
  Status status(Code::kInvalid, "no option is called '" + std::string(name) + "'");
  Options::describe([&](auto member, const OptionInfo& info) {
    if (name != info.name) return;
    int64_t value = 0;
    if (text == "true" || text == "false") {
      value = text == "true" ? 1 : 0;
    } else {
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc{} || end != text.data() + text.size()) value = info.minimum - 1;
    }
    if (value < info.minimum || value > info.maximum) {
      status = Status(Code::kInvalid, std::string(info.name) + " = '" + std::string(text) +
                                          "' is not between " + std::to_string(info.minimum) +
                                          " and " + std::to_string(info.maximum) + " " + info.unit);
      return;
    }
    internal::option_set(options.*member, value);
    status = Status();
  });
  return status;
}

// Draws every option from its range: half of them keep their default, the rest lean to the small
// end, since small queues and small files reach their limits more often.
template <class Options>
void draw_options(Options& options, RandomStream& random) {
  Options::describe([&](auto member, const OptionInfo& info) {
    if (random.chance(500000)) return;
    uint64_t span = static_cast<uint64_t>(info.maximum - info.minimum);
    if (random.chance(700000)) span = span >> random.below(24);
    internal::option_set(options.*member,
                         info.minimum + static_cast<int64_t>(random.between(0, span)));
  });
}

}  // namespace varve
