#include "tools/varve/output.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "real_io/log.h"

namespace varve::tool {
namespace {

// Counted in code points, as a terminal shows most of them.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

bool is_number(const std::string& text) {
  return !text.empty() && text.size() <= 15 && (text == "0" || text.front() != '0') &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
}

void print_line(const std::vector<std::string>& cells, const std::vector<size_t>& widths) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    line += cells[i];
    if (i + 1 < cells.size()) line += std::string(widths[i] - width_of(cells[i]) + 2, ' ');
  }
  line.erase(line.find_last_not_of(' ') + 1);
  std::printf("%s\n", line.c_str());
}

}  // namespace

void print_rows(const std::vector<std::string>& columns,
                const std::vector<std::vector<std::string>>& rows, bool json) {
  if (json) {
    for (const auto& row : rows) {
      nlohmann::ordered_json object;
      for (size_t i = 0; i < columns.size(); ++i) {
        if (row[i] == "true" || row[i] == "false") {
          object[columns[i]] = row[i] == "true";
        } else if (is_number(row[i])) {
          object[columns[i]] = std::stoll(row[i]);
        } else {
          object[columns[i]] = row[i];
        }
      }
      std::printf("%s\n",
                  object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    }
    return;
  }
  std::vector<size_t> widths;
  for (const std::string& column : columns) widths.push_back(width_of(column));
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::vector<std::string> titles = columns;
  for (std::string& title : titles) {
    for (char& c : title) {
      c = c == '_' ? ' ' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
  }
  print_line(titles, widths);
  for (const auto& row : rows) print_line(row, widths);
}

std::string format_moment(WallTime time) {
  std::string text = real_io::format_time(time);  // 2026-11-21T03:04:05.678901Z
  text.replace(text.find('T'), 1, " ");
  return text.substr(0, text.find('.')) + " UTC";
}

}  // namespace varve::tool
