#include "tools/varve/settings.h"

#include <algorithm>
#include <map>
#include <optional>

#include "tools/varve/files.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace varve::tool {
namespace {

// Which options stand in which table. Names are unique within a table.
template <class F>
void for_each_options(Settings& s, F f) {
  f("supervisor", s.supervisor);
  f("control", s.control);
  f("safekeeper", s.safekeeper);
  f("pageserver", s.pageserver);
  f("pageserver", s.pageserver.storage.timeline);
  f("pageserver", s.pageserver.storage.compaction);
  f("pageserver", s.pageserver.storage.format);
  f("pageserver", s.pageserver.storage.ingest);
  f("compute", s.compute);
  f("compute", s.compute.agent);
  f("compute", s.compute.agent.gate);
  f("compute", s.compute.proposer);
  f("compute", s.postgres_host);
  f("io", s.io);
  f("io", s.io.network);
  f("rpc", s.rpc_server.limits);
  f("rpc", s.rpc_server);
  f("rpc", s.rpc_client);
}

constexpr const char* kPostgresTable = "postgres";

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string nearest(std::string_view wanted, const std::vector<std::string>& known) {
  std::string best;
  // Further away it would be no help.
  size_t best_distance = wanted.size() / 2 + 2;
  for (const std::string& name : known) {
    const size_t distance = edit_distance(wanted, name);
    if (distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

struct Unit {
  std::string_view suffix;
  std::string_view of;
  int64_t factor;
};
constexpr Unit kUnits[] = {
    {"ms", "ms", 1},           {"s", "ms", 1000},         {"min", "ms", 60000},
    {"B", "bytes", 1},         {"KiB", "bytes", 1 << 10}, {"MiB", "bytes", 1 << 20},
    {"GiB", "bytes", 1 << 30},
};

// "16MiB" to "16777216" for an option in bytes; as it is when it has no unit that fits.
std::string without_unit(const std::string& text, std::string_view unit) {
  const size_t digits = text.find_first_not_of("0123456789");
  if (digits == 0 || digits == std::string::npos || digits > 12) return text;
  std::string_view suffix = std::string_view(text).substr(digits);
  while (suffix.starts_with(' ')) suffix.remove_prefix(1);
  for (const Unit& known : kUnits) {
    if (known.suffix != suffix || known.of != unit) continue;
    int64_t product = 0;
    if (__builtin_mul_overflow(std::stoll(text), known.factor, &product)) return text;
    return std::to_string(product);
  }
  return text;
}

// Text of a value as set_option() takes it; nothing for a table, an array, a time, a fraction.
std::optional<std::string> text_of(const toml::node& node) {
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* text = node.as_string()) return text->get();
  return std::nullopt;
}

class Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)) {
    for_each_options(settings_, [&](const char* table, auto& options) {
      std::decay_t<decltype(options)>::describe(
          [&](auto, const OptionInfo& info) { units_[table][info.name] = info.unit; });
    });
  }

  Result<Settings> read(const toml::table& root) {
    for (const auto& [key, node] : root) {
      const std::string table(key.str());
      if (table == "listen") {
        VARVE_TRY(read_text(table, node, settings_.listen));
      } else if (table == "postgres_binaries") {
        VARVE_TRY(read_text(table, node, settings_.postgres_host.binaries));
      } else if (node.is_table() && table == kPostgresTable) {
        VARVE_TRY(read_postgres(*node.as_table()));
      } else if (node.is_table() && units_.contains(table)) {
        VARVE_TRY(read_table(table, *node.as_table()));
      } else {
        return unknown(key, node, "", tables());
      }
    }
    return settings_;
  }

 private:
  std::string place(const toml::node& node) const {
    return name_ + ", line " + std::to_string(node.source().begin.line);
  }

  Status unknown(const toml::key& key, const toml::node& node, const std::string& table,
                 const std::vector<std::string>& known) const {
    const std::string near = nearest(key.str(), known);
    std::string hint = near.empty() ? "" : "the nearest known one is '" + near + "'";
    for (const auto& [other, names] : units_) {
      if (names.contains(std::string(key.str())))
        hint = "it belongs into the table [" + other + "]";
    }
    return Status(Code::kInvalid, "there is no setting '" + std::string(key.str()) + "'" +
                                      (table.empty() ? "" : " in [" + table + "]"))
        .with_object(place(node))
        .with_hint(hint + (hint.empty() ? "" : "; ") + "`varve config` shows all");
  }

  std::vector<std::string> tables() const {
    std::vector<std::string> names = {"listen", "postgres_binaries", kPostgresTable};
    for (const auto& [table, options] : units_) names.push_back(table);
    return names;
  }

  Status read_text(const std::string& key, const toml::node& node, std::string& value) const {
    const auto* text = node.as_string();
    if (text == nullptr || text->get().empty()) {
      return Status(Code::kInvalid, "'" + key + "' is a text in quotation marks")
          .with_object(place(node));
    }
    value = text->get();
    return Status();
  }

  Status read_postgres(const toml::table& table) {
    for (const auto& [key, node] : table) {
      const std::optional<std::string> value = text_of(node);
      if (!value) {
        return Status(Code::kInvalid,
                      "'" + std::string(key.str()) + "' is a number, a text, true or false")
            .with_object(place(node));
      }
      settings_.postgres.emplace_back(key.str(), *value);
    }
    return Status();
  }

  Status read_table(const std::string& table, const toml::table& values) {
    for (const auto& [key, node] : values) {
      const std::string name(key.str());
      const auto& units = units_.at(table);
      const auto known = units.find(name);
      if (known == units.end()) {
        std::vector<std::string> names;
        for (const auto& [option, unit] : units) names.push_back(option);
        return unknown(key, node, table, names);
      }
      const std::optional<std::string> text = text_of(node);
      if (!text) {
        return Status(Code::kInvalid, "'" + name + "' is a number or a text with a unit")
            .with_object(place(node));
      }
      VARVE_TRY(set(table, name, without_unit(*text, known->second), node));
    }
    return Status();
  }

  Status set(const std::string& table, const std::string& name, const std::string& text,
             const toml::node& node) {
    Status result;
    for_each_options(settings_, [&](const char* of, auto& options) {
      bool here = false;
      std::decay_t<decltype(options)>::describe(
          [&](auto, const OptionInfo& info) { here = here || name == info.name; });
      if (table != of || !here || !result.ok()) return;
      result = set_option(options, name, text);
    });
    return result.ok() ? result : std::move(result).with_object(place(node));
  }

  std::string name_;
  Settings settings_;
  std::map<std::string, std::map<std::string, std::string>> units_;  // table, option
};

}  // namespace

Result<Settings> parse_settings(const std::string& text, const std::string& name) {
  const toml::parse_result parsed = toml::parse(text, name);
  if (!parsed) {
    return Status(Code::kInvalid, std::string(parsed.error().description()))
        .with_object(name + ", line " + std::to_string(parsed.error().source().begin.line));
  }
  return Reader(name).read(parsed.table());
}

Result<Settings> load_settings(const std::string& path) {
  if (!exists(path)) return Settings();
  VARVE_TRY_ASSIGN(const std::string text, read_file(path));
  return parse_settings(text, path);
}

std::string describe_settings(const Settings& settings) {
  Settings values = settings;
  Settings defaults;
  std::map<std::pair<std::string, std::string>, int64_t> usual;
  for_each_options(defaults, [&](const char* table, auto& options) {
    std::decay_t<decltype(options)>::describe([&](auto member, const OptionInfo& info) {
      usual[{table, info.name}] = internal::option_get(options.*member);
    });
  });
  std::string text = settings.listen == defaults.listen ? "# " : "";
  text += "listen = \"" + settings.listen + "\"\n";
  const std::string& binaries = settings.postgres_host.binaries;
  if (binaries == defaults.postgres_host.binaries) text += "# ";
  text += "postgres_binaries = \"" + binaries + "\"\n";
  std::string current;
  for_each_options(values, [&](const char* table, auto& options) {
    if (current != table) text += "\n[" + (current = table) + "]\n";
    std::decay_t<decltype(options)>::describe([&](auto member, const OptionInfo& info) {
      const int64_t value = internal::option_get(options.*member);
      text += "# " + std::string(info.why) + "\n";
      if (value == usual[{table, info.name}]) text += "# ";
      text += std::string(info.name) + " = " + std::to_string(value) + "  # " + info.unit + ", " +
              std::to_string(info.minimum) + " to " + std::to_string(info.maximum) + "\n";
    });
  });
  text += "\n[postgres]\n";
  for (const auto& [name, value] : settings.postgres) text += name + " = \"" + value + "\"\n";
  return text;
}

}  // namespace varve::tool
