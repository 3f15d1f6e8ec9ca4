#include "tools/demo/narrator.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace varve::demo {
namespace {

void print(const std::string& line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

std::string length(double seconds) {
  return seconds < 1 ? fmt::format("{:.0f} ms", seconds * 1000) : fmt::format("{:.2f} s", seconds);
}

}  // namespace

void Narrator::chapter(const std::string& title) {
  print(isatty(1) == 1 ? "\n\033[1m" + title + "\033[0m" : "\n" + title);
}

Status Narrator::step(const std::string& title, const std::function<Result<std::string>()>& work) {
  const double before = seconds();
  const Result<std::string> result = work();
  const double took = seconds() - before;
  const std::string text = result.ok() ? *result : "FAILED: " + result.status().to_string();
  print(fmt::format("  {:7.2f} s  {} ({}){}{}", before, title, length(took),
                    text.empty() ? "" : ": ", text));
  return result.status();
}

void Narrator::remark(const std::string& text) {
  print("             " + text);
}

double Narrator::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
}

}  // namespace varve::demo
