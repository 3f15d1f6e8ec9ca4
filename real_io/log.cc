#include "real_io/log.h"

#include <fmt/format.h>
#include <spdlog/common.h>
#include <spdlog/details/log_msg.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <time.h>

#include <algorithm>
#include <cctype>

#include "runtime/scheduler.h"

namespace varve::real_io {
namespace {

const char* severity_name(Severity severity) {
  switch (severity) {
    case Severity::kDebug:
      return "DEBUG";
    case Severity::kInfo:
      return "INFO";
    case Severity::kWarning:
      return "WARNING";
    case Severity::kError:
      return "ERROR";
  }
  VARVE_UNREACHABLE("no such severity");
}

spdlog::level::level_enum level_of(Severity severity) {
  switch (severity) {
    case Severity::kDebug:
      return spdlog::level::debug;
    case Severity::kInfo:
      return spdlog::level::info;
    case Severity::kWarning:
      return spdlog::level::warn;
    case Severity::kError:
      return spdlog::level::err;
  }
  VARVE_UNREACHABLE("no such severity");
}

bool is_plain(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return c > ' ' && c < 0x7F && c != '"' && c != '\\' && c != '=';
  });
}

void append_quoted(std::string& line, std::string_view text) {
  line += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (c == '\n') {
      line += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += c;
    }
  }
  line += '"';
}

void append_value(std::string& line, const Field& field) {
  if (const auto* number = std::get_if<int64_t>(&field.value)) {
    line += std::to_string(*number);
  } else if (const auto* natural = std::get_if<uint64_t>(&field.value)) {
    line += std::to_string(*natural);
  } else {
    const auto& text = std::get<std::string>(field.value);
    if (is_plain(text)) {
      line += text;
    } else {
      append_quoted(line, text);
    }
  }
}

class RealLog final : public Log {
 public:
  RealLog(std::shared_ptr<spdlog::sinks::sink> sink, Severity threshold, const Clock& clock)
      : sink_(std::move(sink)), threshold_(threshold), clock_(clock) {
    sink_->set_formatter(std::make_unique<spdlog::pattern_formatter>("%v"));
  }

  void write(Severity severity, std::string_view event, std::string_view message,
             std::vector<Field> fields) override {
    if (severity < threshold_) return;
    const Scheduler* scheduler = Scheduler::current_or_null();
    if (scheduler != nullptr && scheduler->current_fiber() != nullptr) {
      const FiberContext& context = fiber_context();
      if (context.account.number != 0) fields.emplace_back("account", context.account.number);
      if (context.trace != 0) fields.emplace_back("trace", context.trace);
    }
    const std::string line = format_line(clock_.wall(), severity, event, message, fields);
    try {
      sink_->log(spdlog::details::log_msg("", level_of(severity), line));
      sink_->flush();
    } catch (const spdlog::spdlog_ex&) {
      // A full disk must not stop what the log is about.
    }
  }

 private:
  std::shared_ptr<spdlog::sinks::sink> sink_;
  Severity threshold_;
  const Clock& clock_;
};

}  // namespace

std::string format_time(WallTime time) {
  const int64_t micros = time.to_unix_micros();
  int64_t fraction = micros % 1000000;
  if (fraction < 0) fraction += 1000000;
  const time_t seconds = (micros - fraction) / 1000000;
  struct tm parts {};
  (void)::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     fraction);
}

std::string format_line(WallTime time, Severity severity, std::string_view event,
                        std::string_view message, const std::vector<Field>& fields) {
  std::string line = fmt::format("{} {} {} ", format_time(time), severity_name(severity), event);
  append_quoted(line, message);
  for (const Field& field : fields) {
    line += ' ';
    line += field.name;
    line += '=';
    append_value(line, field);
  }
  return line;
}

Result<std::unique_ptr<Log>> open_log(const LogOptions& options, const Clock& clock) {
  std::shared_ptr<spdlog::sinks::sink> sink;
  try {
    if (options.path.empty()) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.path);
    }
  } catch (const spdlog::spdlog_ex& error) {
    return Status(Code::kRefused, std::string("open the log: ") + error.what())
        .with_object(options.path);
  }
  return std::unique_ptr<Log>(new RealLog(std::move(sink), options.threshold, clock));
}

}  // namespace varve::real_io
