#include "wire/pg/startup.h"

#include <algorithm>

namespace varve::pg {
namespace {

// Codes in place of a protocol version, chosen by Postgres to be none.
constexpr uint32_t kCancelCode = (1234u << 16) | 5678;
constexpr uint32_t kSslCode = (1234u << 16) | 5679;
constexpr uint32_t kGssCode = (1234u << 16) | 5680;

bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// Words between blanks, backslashes resolved.
std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  size_t i = 0;
  while (true) {
    while (i < text.size() && is_blank(text[i])) ++i;
    if (i == text.size()) return words;
    std::string word;
    for (; i < text.size() && !is_blank(text[i]); ++i) {
      if (text[i] == '\\' && i + 1 < text.size()) ++i;
      word += text[i];
    }
    words.push_back(std::move(word));
  }
}

Status not_an_option(std::string_view word) {
  return Status(Code::kInvalid, "'" + std::string(word) + "' in the startup options is no setting")
      .with_hint("write name=value or -c name=value, separated by blanks");
}

}  // namespace

std::optional<std::string_view> Parameters::find(std::string_view name) const {
  const auto found = std::find_if(entries_.rbegin(), entries_.rend(),
                                  [&](const auto& entry) { return entry.first == name; });
  if (found == entries_.rend()) return std::nullopt;
  return found->second;
}

Result<Parameters> parse_options(std::string_view options) {
  Parameters parsed;
  const std::vector<std::string> words = split_words(options);
  for (size_t i = 0; i < words.size(); ++i) {
    std::string_view setting = words[i];
    if (setting == "-c") {
      if (i + 1 == words.size()) return not_an_option(words[i]);
      setting = words[++i];
    } else if (setting.starts_with("-c") || setting.starts_with("--")) {
      setting.remove_prefix(2);
    }
    const size_t equals = setting.find('=');
    if (equals == std::string_view::npos || equals == 0 || setting[0] == '-') {
      return not_an_option(words[i]);
    }
    std::string name(setting.substr(0, equals));
    std::replace(name.begin(), name.end(), '-', '_');
    parsed.add(std::move(name), std::string(setting.substr(equals + 1)));
  }
  return parsed;
}

Result<Startup> parse_startup(std::span<const uint8_t> body) {
  Reader reader(body);
  Startup startup;
  const uint32_t code = reader.be<uint32_t>();
  if (code == kSslCode || code == kGssCode || code == kCancelCode) {
    startup.kind = code == kSslCode   ? StartupKind::kSslRequest
                   : code == kGssCode ? StartupKind::kGssRequest
                                      : StartupKind::kCancelRequest;
    if (startup.kind == StartupKind::kCancelRequest) {
      startup.process_id = reader.be<uint32_t>();
      startup.secret_key = reader.be<uint32_t>();
    }
    if (!reader.done()) return Status(Code::kInvalid, "a request packet has the wrong length");
    return startup;
  }
  if (!reader.ok()) return Status(Code::kInvalid, "a startup packet has no protocol version");
  startup.major = static_cast<uint16_t>(code >> 16);
  startup.minor = static_cast<uint16_t>(code);
  if (startup.major != 3) {
    return Status(Code::kUnsupported, "frontend protocol " + std::to_string(startup.major) + "." +
                                          std::to_string(startup.minor) +
                                          " is not spoken here, only 3.0");
  }
  while (true) {
    const std::string_view name = reader.cstring();
    if (!reader.ok()) return Status(Code::kInvalid, "the startup packet lacks its terminator");
    if (name.empty()) break;
    const std::string_view value = reader.cstring();
    if (!reader.ok()) {
      return Status(Code::kInvalid, "startup parameter '" + std::string(name) + "' has no value");
    }
    startup.parameters.add(std::string(name), std::string(value));
  }
  if (!reader.done()) return Status(Code::kInvalid, "bytes follow the startup packet's terminator");
  if (const auto options = startup.parameters.find("options")) {
    VARVE_TRY_ASSIGN(startup.options, parse_options(*options));
  }
  return startup;
}

std::vector<uint8_t> encode_startup(const Parameters& parameters) {
  Writer writer;
  writer.be<uint32_t>(0);
  writer.be<uint32_t>(3u << 16);
  for (const auto& [name, value] : parameters.entries()) {
    VARVE_CHECK(!name.empty());
    writer.cstring(name);
    writer.cstring(value);
  }
  writer.u8(0);
  VARVE_CHECK(writer.size() <= kMaxStartupBytes);
  writer.patch_be<uint32_t>(0, static_cast<uint32_t>(writer.size()));
  return writer.take();
}

std::string escape_option(std::string_view value) {
  std::string escaped;
  for (char c : value) {
    if (is_blank(c) || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

}  // namespace varve::pg
