#include "tools/varve/moment.h"

#include <cctype>
#include <cstdio>

namespace varve::tool {
namespace {

Status not_a_moment(const std::string& text, const char* why) {
  return Status(Code::kInvalid, std::string("'") + text + "' is no moment: " + why)
      .with_hint(
          "a position such as 0/16B3748, or a time such as '2026-11-21 03:04:05.678+00'; "
          "Postgres prints both: SELECT pg_current_wal_insert_lsn(), now()");
}

// Days from 1970-01-01 to a date of the proleptic Gregorian calendar (Hinnant, "chrono-Compatible
// Low-Level Date Algorithms").
int64_t days_from_civil(int64_t year, int64_t month, int64_t day) {
  year -= month <= 2;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const int64_t year_of_era = year - era * 400;
  const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + day_of_era - 719468;
}

int days_in(int year, int month) {
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (month == 2) return leap ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

// ".678901" to microseconds; further digits are cut off. Moves `at` behind it.
int64_t parse_fraction(const char*& at) {
  int64_t micros = 0;
  if (*at != '.') return 0;
  ++at;
  int64_t unit = 100000;
  for (; std::isdigit(static_cast<unsigned char>(*at)) != 0; ++at, unit /= 10) {
    micros += (*at - '0') * unit;
  }
  return micros;
}

// "Z", "+02", "-05:30", "+0530" to seconds east of UTC; nothing if it isn't one.
std::optional<int64_t> parse_zone(const char* at) {
  while (*at == ' ') ++at;
  if ((at[0] == 'Z' || at[0] == 'z') && at[1] == '\0') return 0;
  if (std::string_view(at) == "UTC") return 0;
  if (*at != '+' && *at != '-') return std::nullopt;
  const int64_t sign = *at == '-' ? -1 : 1;
  unsigned hours = 0;
  unsigned minutes = 0;
  int used = 0;
  if (std::sscanf(at + 1, "%2u:%2u%n", &hours, &minutes, &used) == 2 ||
      std::sscanf(at + 1, "%2u%2u%n", &hours, &minutes, &used) == 2 ||
      std::sscanf(at + 1, "%2u%n", &hours, &used) == 1) {
    if (at[1 + used] == '\0' && hours <= 15 && minutes <= 59) {
      return sign * (int64_t{hours} * 3600 + int64_t{minutes} * 60);
    }
  }
  return std::nullopt;
}

}  // namespace

Status parse_moment(const std::string& text, BranchPoint& point) {
  if (const std::optional<Lsn> lsn = Lsn::parse(text)) {
    point.lsn = lsn;
    return Status();
  }
  int year = 0;
  int month = 0;
  int day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  int used = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2d%*1[ T]%2d:%2d:%2d%n", &year, &month, &day, &hour,
                  &minute, &second, &used) != 6 ||
      used == 0) {
    return not_a_moment(text, "neither a position nor a time");
  }
  const char* rest = text.c_str() + used;
  const int64_t micros = parse_fraction(rest);
  const std::optional<int64_t> zone = parse_zone(rest);
  if (!zone) return not_a_moment(text, "its time zone is missing");
  if (month < 1 || month > 12 || day < 1 || day > days_in(year, month) || hour < 0 || hour > 23 ||
      minute < 0 || minute > 59 || second < 0 || second > 60) {
    return not_a_moment(text, "there is no such date or time");
  }
  const int64_t seconds =
      days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - *zone;
  point.time = WallTime::from_unix_micros(seconds * 1000000 + micros);
  return Status();
}

}  // namespace varve::tool
