#include "runtime/telemetry.h"

#include <bit>

namespace varve {

Metrics::Series& Metrics::series(const MetricInfo& metric, std::string_view account) {
  Family& family = families_[metric.name];
  family.info = &metric;
  const auto found = family.series.find(account);
  if (found != family.series.end()) return found->second;
  if (!account.empty() && family.series.size() >= series_limit_) account = "other";
  return family.series[std::string(account)];
}

void Metrics::add(const MetricInfo& metric, uint64_t amount, std::string_view account) {
  series(metric, account).value += static_cast<int64_t>(amount);
}

void Metrics::set(const MetricInfo& metric, int64_t value, std::string_view account) {
  series(metric, account).value = value;
}

void Metrics::observe(const MetricInfo& metric, uint64_t value, std::string_view account) {
  Series& s = series(metric, account);
  s.buckets.resize(65);
  ++s.buckets[static_cast<size_t>(std::bit_width(value))];
  s.sum += value;
  ++s.value;
}

int64_t Metrics::value(const MetricInfo& metric, std::string_view account) const {
  const auto family = families_.find(metric.name);
  if (family == families_.end()) return 0;
  const auto found = family->second.series.find(account);
  return found == family->second.series.end() ? 0 : found->second.value;
}

std::string Metrics::expose() const {
  static constexpr const char* kKinds[] = {"counter", "gauge", "histogram"};
  std::string text;
  for (const auto& [name, family] : families_) {
    text += "# HELP " + name + " " + family.info->help + " (" + family.info->unit + ")\n";
    text += "# TYPE " + name + " " + kKinds[static_cast<size_t>(family.info->kind)] + "\n";
    for (const auto& [account, s] : family.series) {
      const std::string label = account.empty() ? "" : "account=\"" + account + "\"";
      const std::string braces = label.empty() ? "" : "{" + label + "}";
      if (family.info->kind != MetricKind::kHistogram) {
        text += name + braces + " " + std::to_string(s.value) + "\n";
        continue;
      }
      uint64_t below = 0;
      for (size_t i = 0; i < s.buckets.size(); ++i) {
        if (s.buckets[i] == 0) continue;
        below += s.buckets[i];
        const uint64_t bound = i >= 64 ? ~uint64_t{0} : (uint64_t{1} << i) - 1;
        text += name + "_bucket{" + label + (label.empty() ? "" : ",") + "le=\"" +
                std::to_string(bound) + "\"} " + std::to_string(below) + "\n";
      }
      text += name + "_bucket{" + label + (label.empty() ? "" : ",") + "le=\"+Inf\"} " +
              std::to_string(s.value) + "\n";
      text += name + "_sum" + braces + " " + std::to_string(s.sum) + "\n";
      text += name + "_count" + braces + " " + std::to_string(s.value) + "\n";
    }
  }
  return text;
}

}  // namespace varve
