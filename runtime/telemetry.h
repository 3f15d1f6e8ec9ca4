// Log events and metrics. Neither is ever drawn from or hashed: what a program says must not change
// what it does.
//
// A log line is an event with a stable name ("layer_flushed"), a sentence for people and typed
// fields; tenant, timeline and trace are added by the fiber that logs. kError means that something
// is wrong with us or the world and somebody has to look: a simulated run fails on one that no
// injected fault explains.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/status.h"
#include "base/time.h"

namespace varve {

enum class Severity : uint8_t { kDebug, kInfo, kWarning, kError };

struct Field {
  std::string_view name;
  std::variant<int64_t, uint64_t, std::string> value;

  Field(std::string_view n, int v) : name(n), value(int64_t{v}) {}
  Field(std::string_view n, int64_t v) : name(n), value(v) {}
  Field(std::string_view n, uint64_t v) : name(n), value(v) {}
  Field(std::string_view n, uint32_t v) : name(n), value(uint64_t{v}) {}
  Field(std::string_view n, std::string v) : name(n), value(std::move(v)) {}
  Field(std::string_view n, const char* v) : name(n), value(std::string(v)) {}
  Field(std::string_view n, Lsn v) : name(n), value(v.to_string()) {}
  Field(std::string_view n, const Status& v) : name(n), value(v.to_string()) {}
  Field(std::string_view n, Duration v) : name(n), value(v.to_micros()) {}
  template <class Tag>
  Field(std::string_view n, Number<Tag> v) : name(n), value(v.value) {}
  template <class Tag>
  Field(std::string_view n, const Id128<Tag>& v) : name(n), value(v.to_string()) {}
};

class Log {
 public:
  virtual ~Log() = default;
  // Never suspends, never fails. `event` and field names are literals.
  virtual void write(Severity severity, std::string_view event, std::string_view message,
                     std::vector<Field> fields) = 0;

  void debug(std::string_view event, std::string_view message, std::vector<Field> fields = {}) {
    write(Severity::kDebug, event, message, std::move(fields));
  }
  void info(std::string_view event, std::string_view message, std::vector<Field> fields = {}) {
    write(Severity::kInfo, event, message, std::move(fields));
  }
  void warning(std::string_view event, std::string_view message, std::vector<Field> fields = {}) {
    write(Severity::kWarning, event, message, std::move(fields));
  }
  void error(std::string_view event, std::string_view message, std::vector<Field> fields = {}) {
    write(Severity::kError, event, message, std::move(fields));
  }
};

enum class MetricKind : uint8_t { kCounter, kGauge, kHistogram };

// One row of a room's metric table: `name` as exposed ("varve_safekeeper_flush_bytes"), with its
// unit.
struct MetricInfo {
  const char* name;
  MetricKind kind;
  const char* unit;  // "bytes", "us", "count"
  const char* help;
};

// Values of one process. Series are (metric, account name); past `series_limit` accounts per metric
// all further ones are one series called "other", so that a fleet of tenants can't fill memory.
class Metrics {
 public:
  explicit Metrics(size_t series_limit = 1000) : series_limit_(series_limit) {}

  void add(const MetricInfo& metric, uint64_t amount, std::string_view account = {});
  void set(const MetricInfo& metric, int64_t value, std::string_view account = {});
  // Histograms have buckets at powers of two.
  void observe(const MetricInfo& metric, uint64_t value, std::string_view account = {});
  // Counter or gauge value; count of observations for a histogram; 0 if never touched.
  int64_t value(const MetricInfo& metric, std::string_view account = {}) const;
  // Prometheus' text format.
  std::string expose() const;

 private:
  struct Series {
    int64_t value = 0;
    uint64_t sum = 0;
    std::vector<uint64_t> buckets;
  };
  struct Family {
    const MetricInfo* info = nullptr;
    std::map<std::string, Series, std::less<>> series;
  };
  Series& series(const MetricInfo& metric, std::string_view account);

  size_t series_limit_;
  std::map<std::string, Family, std::less<>> families_;
};

}  // namespace varve
